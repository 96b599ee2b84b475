"""Tests of the losses against their NumPy twins."""

import keras
import numpy as np
import pytest

from utils.training.losses import LOSSES, SegmentationLoss, balancing_weight, get_loss

FOREGROUND_WEIGHT = 3.5
TERMS = {  # cross-entropy, Dice, Jaccard, as published; focal, Tversky
    "bce": (1, 0, 0, 0, 0),
    "w_bce": (1, 0, 0, 0, 0),
    "dice": (0, 1, 0, 0, 0),
    "jaccard": (0, 0, 1, 0, 0),
    "bce_dice": (0.5, 0.5, 0, 0, 0),
    "w_bce_dice": (0.33, 0.66, 0, 0, 0),
    "focal": (0, 0, 0, 1, 0),
    "tversky": (0, 0, 0, 0, 1),
}
every_loss = pytest.mark.parametrize("name", TERMS)


def make_loss(name):
    return get_loss(name, foreground_weight=FOREGROUND_WEIGHT if name.startswith("w_") else None)


def numpy_loss(name, truth, probability, weight=1.0, *, class_weights=None, gamma=2.0, alpha=0.3, beta=0.7):
    """Compute a loss in float64, written from the formulas and not from the module."""
    p = probability.astype(np.float64)
    weight = np.broadcast_to(weight, truth.shape).astype(np.float64)
    if p.shape[-1] == 1:
        p = np.concatenate([1 - p, p], axis=-1)
    t = (truth == np.arange(p.shape[-1])).astype(np.float64)
    class_weight = np.array(class_weights or np.ones(p.shape[-1]))
    class_weight[1:] *= FOREGROUND_WEIGHT if name.startswith("w_") else 1
    entropy = np.mean(weight[..., 0] * -(class_weight * t * np.log(p)).sum(axis=-1))
    focal = np.mean(weight[..., 0] * -(class_weight * t * (1 - p) ** gamma * np.log(p)).sum(axis=-1))
    t, p = t[..., 1:], p[..., 1:]
    common, total = (weight * t * p).sum(), (weight * t).sum() + (weight * p).sum()
    dice = 1 - (2 * common + 1) / (total + 1)
    jaccard = 1 - (common + 1) / (total - common + 1)
    false, missed = (weight * (1 - t) * p).sum(), (weight * t * (1 - p)).sum()
    tversky = 1 - (common + 1) / (common + alpha * false + beta * missed + 1)
    return np.dot(TERMS[name], (entropy, dice, jaccard, focal, tversky))


@pytest.fixture(params=[1, 3], ids=["sigmoid", "softmax"])
def batch(request):
    """Return truth and probability of one class and of three."""
    rng = np.random.default_rng(request.param)
    logits = rng.normal(size=(2, 5, 7, request.param))
    probability = (
        1 / (1 + np.exp(-logits)) if request.param == 1 else np.exp(logits) / np.exp(logits).sum(-1)[..., None]
    )
    return rng.integers(0, max(2, request.param), (2, 5, 7, 1), np.uint8), probability.astype(np.float32)


def test_every_loss_is_tested():
    assert set(TERMS) == set(LOSSES)


@every_loss
def test_loss_equals_its_numpy_twin(name, batch):
    assert float(make_loss(name)(*batch)) == pytest.approx(numpy_loss(name, *batch), rel=1e-5)


@every_loss
@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 5, 7, 1)])
def test_pixel_weights_equal_the_numpy_twin(name, batch, shape):
    weight = np.random.default_rng(5).uniform(0, 4, shape).astype(np.float32)
    found = float(make_loss(name)(*batch, sample_weight=weight))
    assert found == pytest.approx(numpy_loss(name, *batch, weight.reshape(2, 5, 7, 1)), rel=1e-5)
    assert found != pytest.approx(float(make_loss(name)(*batch)), rel=1e-3)


@every_loss
def test_pixels_of_weight_zero_do_not_matter(name, batch):
    truth, probability = batch
    weight = np.ones((2, 5, 7, 1), np.float32)
    weight[:, :, 4:] = 0
    changed = probability.copy()
    changed[:, :, 4:] = 1 / probability.shape[-1]
    loss = make_loss(name)
    assert float(loss(truth, changed, weight)) == pytest.approx(float(loss(truth, probability, weight)), rel=1e-6)


@every_loss
def test_perfect_prediction_costs_nothing_and_the_opposite_is_finite(name):
    truth = np.zeros((1, 8, 8, 1), np.float32)
    truth[:, 2:5] = 1
    loss = make_loss(name)
    assert float(loss(truth, truth)) == pytest.approx(0, abs=1e-5)
    worst = float(loss(truth, 1 - truth))
    assert np.isfinite(worst)
    assert worst > 0.5


def test_foreground_weight_multiplies_foreground_only():
    truth = np.array([1, 0], np.float32).reshape(1, 1, 2, 1)
    half = np.full((1, 1, 2, 1), 0.5, np.float32)
    assert float(get_loss("bce")(truth, half)) == pytest.approx(np.log(2))
    assert float(get_loss("w_bce", foreground_weight=9)(truth, half)) == pytest.approx((9 + 1) / 2 * np.log(2))


def test_known_dice_and_jaccard():
    truth, probability = np.ones((1, 1, 4, 1)), np.array([1, 1, 0, 0.0]).reshape(1, 1, 4, 1)
    assert float(get_loss("dice")(truth, probability)) == pytest.approx(1 - 5 / 7)
    assert float(get_loss("jaccard")(truth, probability)) == pytest.approx(1 - 3 / 5)


def test_known_focal_and_tversky():
    # Half sure of the truth: a quarter of the cross-entropy. Two of four hit, one false: 3 / (2 + 0.3 + 2 * 0.7 + 1).
    truth, half = np.ones((1, 1, 4, 1)), np.full((1, 1, 4, 1), 0.5)
    assert float(get_loss("focal")(truth, half)) == pytest.approx(np.log(2) / 4)
    truth = np.array([1, 1, 1, 1, 0.0]).reshape(1, 1, 5, 1)
    predicted = np.array([1, 1, 0, 0, 1.0]).reshape(1, 1, 5, 1)
    assert float(get_loss("tversky")(truth, predicted)) == pytest.approx(1 - 3 / 4.7)


def test_focal_loss_without_focus_is_the_cross_entropy(batch):
    found = float(get_loss("focal", focal_gamma=0)(*batch))
    assert found == pytest.approx(float(get_loss("bce")(*batch)), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 1, 5])
def test_focal_gamma_equals_the_numpy_twin(batch, gamma):
    found = float(get_loss("focal", focal_gamma=gamma)(*batch))
    assert found == pytest.approx(numpy_loss("focal", *batch, gamma=gamma), rel=1e-5)


def test_class_weights_are_the_alpha_of_the_focal_loss():
    rng = np.random.default_rng(2)
    truth, p = rng.integers(0, 2, (1, 4, 6, 1)), rng.uniform(0.01, 0.99, (1, 4, 6, 1))
    true = np.where(truth, p, 1 - p)
    expected = np.mean(np.where(truth, 0.25, 0.75) * -((1 - true) ** 2) * np.log(true))
    found = get_loss("focal", n_classes=1, class_weights=(0.75, 0.25))(truth, p)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_tversky_weights_equal_the_numpy_twin_and_all_of_them_are_jaccard(batch):
    found = float(get_loss("tversky", tversky_weights=(0.9, 0.2))(*batch))
    assert found == pytest.approx(numpy_loss("tversky", *batch, alpha=0.9, beta=0.2), rel=1e-5)
    all_of_them = float(get_loss("tversky", tversky_weights=(1, 1))(*batch))
    assert all_of_them == pytest.approx(float(get_loss("jaccard")(*batch)), rel=1e-6)


@pytest.mark.parametrize("name", ["bce", "w_bce", "bce_dice", "w_bce_dice", "focal"])
def test_class_weights_multiply_the_foreground_weight_and_equal_the_numpy_twin(name, batch):
    n_classes = batch[1].shape[-1]
    weights = (0.5, 3.0) if n_classes == 1 else (0.5, 3.0, 0.1)
    loss = get_loss(
        name,
        n_classes=n_classes,
        class_weights=weights,
        foreground_weight=FOREGROUND_WEIGHT if name.startswith("w_") else None,
    )
    found = float(loss(*batch))
    assert found == pytest.approx(numpy_loss(name, *batch, class_weights=weights), rel=1e-5)
    assert found != pytest.approx(numpy_loss(name, *batch), rel=1e-3)


def test_class_weights_of_one_change_nothing(batch):
    n_classes = batch[1].shape[-1]
    loss = get_loss("bce", n_classes=n_classes, class_weights=(1,) * max(2, n_classes))
    assert float(loss(*batch)) == float(get_loss("bce")(*batch))


def test_class_weights_and_options_survive_saving(batch):
    weights = (2.0, 1.0) if batch[1].shape[-1] == 1 else (2.0, 1.0, 3.0)
    loss = SegmentationLoss(focal=1, tversky=1, class_weights=weights, focal_gamma=3.0, tversky_weights=(0.1, 0.2))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.get_config() == loss.get_config()
    assert float(again(*batch)) == float(loss(*batch))


@every_loss
def test_loss_survives_saving(name, batch):
    loss = make_loss(name)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.get_config() == loss.get_config()
    assert again.name == name
    assert float(again(*batch)) == float(loss(*batch))


@pytest.mark.parametrize("name", ["w_bce_dice", "jaccard"])
def test_loss_trains_a_model_with_pixel_weights(name):
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid")(inputs))
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=make_loss(name))
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 4, 4, 1)).astype(np.float32), rng.integers(0, 2, (2, 4, 4, 1), np.uint8)
    weight = rng.uniform(0, 4, (2, 4, 4, 1)).astype(np.float32)
    expected = numpy_loss(name, y, np.asarray(model.predict_on_batch(x)), weight)
    assert float(model.train_on_batch(x, y, sample_weight=weight)) == pytest.approx(expected, rel=1e-4)


def test_balancing_weight_is_background_by_foreground_over_all_masks():
    masks = [np.array([0, 0, 0, 1]), np.array([[0, 0], [2, 0]])]
    assert balancing_weight(iter(masks)) == 3


def test_balancing_weight_without_foreground_is_refused():
    with pytest.raises(ValueError, match="no foreground.*Check train/y"):
        balancing_weight([np.zeros((4, 4))])


def test_balanced_weight_comes_from_the_masks_unless_it_is_given():
    masks = [np.array([0, 0, 0, 0, 1])]
    assert get_loss("w_bce", masks=masks).foreground_weight == 4
    assert get_loss("w_bce", masks=masks, foreground_weight=2).foreground_weight == 2
    assert get_loss("bce", masks=masks).foreground_weight == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "bse"}, "LOSS 'bse' is not known; did you mean 'bce'.*w_bce_dice"),
        ({"name": "w_bce"}, "needs a positive FOREGROUND_WEIGHT"),
        ({"name": "w_bce", "foreground_weight": 0}, "needs a positive FOREGROUND_WEIGHT.*got 0"),
        ({"name": "w_bce_dice", "foreground_weight": -1.0}, "got -1"),
        ({"name": "bce", "foreground_weight": 2.0}, "does not use FOREGROUND_WEIGHT=2.0.*'w_bce'"),
        ({"name": "focal", "foreground_weight": 2.0}, "'focal' does not use FOREGROUND_WEIGHT=2.0. Leave it None"),
        ({"name": "focal", "focal_gamma": -1}, "FOCAL_GAMMA is -1; it must be 0 or more"),
        ({"name": "tversky", "tversky_weights": (0.3,)}, "TVERSKY_WEIGHTS is .0.3,.; wanted the costs"),
        ({"name": "tversky", "tversky_weights": (0.3, -0.1)}, "none below 0"),
        ({"name": "tversky", "tversky_weights": (0, 0)}, "and one above"),
        (
            {"name": "dice", "class_weights": (1, 2)},
            r"'dice' does not use CLASS_WEIGHTS=\(1, 2\). Use one of .*'focal'",
        ),
        ({"name": "tversky", "class_weights": (1, 2)}, "'tversky' does not use CLASS_WEIGHTS"),
        ({"name": "bce", "n_classes": 1, "class_weights": (1, 2, 3)}, "wanted 2 numbers above 0.*1 output channels"),
        ({"name": "bce", "n_classes": 3, "class_weights": (1, 2)}, "wanted 3 numbers above 0.*background first"),
        ({"name": "bce", "n_classes": 2, "class_weights": (1, 0)}, "numbers above 0"),
        ({"name": "bce", "class_weights": (1, 2)}, "CLASS_WEIGHTS .* need n_classes"),
    ],
)
def test_wrong_choices_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        get_loss(**arguments)


@pytest.mark.parametrize("name", ["dice", "jaccard", "bce_dice"])
def test_remedy_names_only_losses_that_exist(name):
    with pytest.raises(ValueError, match="does not use FOREGROUND_WEIGHT") as error:
        get_loss(name, foreground_weight=2.0)
    assert f"w_{name}" in LOSSES or f"w_{name}" not in str(error.value)


def test_several_terms_add_up(batch):
    loss = SegmentationLoss(cross_entropy=0.2, dice=0.3, jaccard=0.5)
    parts = {name: numpy_loss(name, *batch) for name in ("bce", "dice", "jaccard")}
    expected = 0.2 * parts["bce"] + 0.3 * parts["dice"] + 0.5 * parts["jaccard"]
    assert float(loss(*batch)) == pytest.approx(expected, rel=1e-5)
