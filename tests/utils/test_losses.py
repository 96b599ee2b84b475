"""Tests of the losses against their NumPy twins."""

import keras
import numpy as np
import pytest

from utils.losses import LOSSES, SegmentationLoss, balancing_weight, get_loss

FOREGROUND_WEIGHT = 3.5
TERMS = {  # cross-entropy, Dice, Jaccard, as published
    "bce": (1, 0, 0),
    "w_bce": (1, 0, 0),
    "dice": (0, 1, 0),
    "jaccard": (0, 0, 1),
    "bce_dice": (0.5, 0.5, 0),
    "w_bce_dice": (0.33, 0.66, 0),
}
every_loss = pytest.mark.parametrize("name", TERMS)


def make_loss(name):
    return get_loss(name, foreground_weight=FOREGROUND_WEIGHT if name.startswith("w_") else None)


def numpy_loss(name, truth, probability, weight=1.0):
    """Compute a loss in float64, written from the formulas and not from the module."""
    p = probability.astype(np.float64)
    weight = np.broadcast_to(weight, truth.shape).astype(np.float64)
    if p.shape[-1] == 1:
        p = np.concatenate([1 - p, p], axis=-1)
    t = (truth == np.arange(p.shape[-1])).astype(np.float64)
    class_weight = np.ones(p.shape[-1])
    class_weight[1:] = FOREGROUND_WEIGHT if name.startswith("w_") else 1
    entropy = np.mean(weight[..., 0] * -(class_weight * t * np.log(p)).sum(axis=-1))
    t, p = t[..., 1:], p[..., 1:]
    common, total = (weight * t * p).sum(), (weight * t).sum() + (weight * p).sum()
    dice = 1 - (2 * common + 1) / (total + 1)
    jaccard = 1 - (common + 1) / (total - common + 1)
    return np.dot(TERMS[name], (entropy, dice, jaccard))


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
