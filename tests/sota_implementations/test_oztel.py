"""Tests of the patch classifiers of Oztel et al., their patches, and their maps of whole images."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from generators.image_data_generator import ImageDataGenerator
from sota_implementations.oztel_2017.patch_classifier import create_oztel_model, create_oztel_model_V1
from sota_implementations.oztel_2017.patches import (
    PatchBatches,
    check_patch_shape,
    dense_probability,
    keep_clear_patches,
    repeat_foreground,
)
from sota_implementations.oztel_2017.validation_report import classification_report, report_validation
from utils.data.image_set import ImageSet
from utils.training.losses import get_loss
from utils.training.several_devices import SharedBatches

BUILDERS = [create_oztel_model, create_oztel_model_V1]


def batch(shape=(4, 32, 32, 1), seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.fixture
def bfloat16():
    """Use mixed precision for one test."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_dtype_policy(before)


@pytest.fixture(scope="module")
def mean_of_patch():
    """Return a classifier that takes the mean of its 32x32 patch for the probability of class 1."""
    inputs = keras.Input((None, None, 1))
    classes = keras.layers.Conv2D(2, 1)
    model = keras.Model(inputs, classes(keras.layers.AveragePooling2D(32, 8)(inputs)))
    classes.set_weights([np.array([[[[-1, 1]]]]), np.array([1, 0])])
    return model


def labels_of(*counts):
    return np.repeat([0, 1], counts).astype(np.uint8).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize(
    ("builder", "count", "trainable"),
    [(create_oztel_model, 143_462, 143_460), (create_oztel_model_V1, 68_722, 68_274)],
)
def test_parameter_count(builder, count, trainable):
    model = builder()
    assert model.count_params() == count
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == trainable
    assert not model.compiled


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_patch_has_one_class_and_an_image_a_coarse_map(builder, bfloat16):
    model = builder()
    for size, coarse in (((32, 32), (1, 1)), ((40, 64), (2, 5))):
        output = model.predict_on_batch(batch((2, *size, 1)))
        assert output.shape == (2, *coarse, 2)
        assert output.dtype == np.float32
        np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-5)
    assert builder(1, (64, 64, 3)).output_shape == (None, 5, 5, 1)


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_step_lowers_the_loss_and_the_saved_model_predicts_the_same(builder, tmp_path):
    keras.utils.set_random_seed(0)
    model = builder(2, (None, None, 1), 0) if builder is create_oztel_model else builder(dropout_rates=(0, 0, 0))
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss=get_loss("bce"), run_eagerly=True)
    x, y = batch() * np.array([1, 0.3, 1, 0.3]).reshape(-1, 1, 1, 1), labels_of(2, 2)[[0, 2, 1, 3]]
    losses = [float(model.train_on_batch(x, y)) for _ in range(4)]
    assert losses[0] > losses[1] > losses[-1]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict_on_batch(x), model.predict_on_batch(x), atol=1e-6)


def patches_of(fractions, size=10):
    """Return patches whose number is their grey value, with so much foreground each."""
    images = [np.full((size, size, 1), number, np.uint8) for number in range(len(fractions))]
    masks = [
        (np.arange(size**2).reshape(size, size, 1) < round(size**2 * fraction)).astype(np.uint8)
        for fraction in fractions
    ]
    return ImageSet(images, masks, [f"{number}.tif" for number in range(len(fractions))], (0, 1))


def numbers_of(patches):
    return [int(image[0, 0, 0]) for image in patches.x]


def test_patches_are_almost_all_foreground_or_background():
    kept = keep_clear_patches(patches_of([1.0, 0.8, 0.79, 0.21, 0.2, 0.0]))
    assert numbers_of(kept) == [0, 1, 4, 5]
    assert kept.names == ["0.tif", "1.tif", "4.tif", "5.tif"]
    assert numbers_of(keep_clear_patches(patches_of([0.5, 0.1]), foreground_above=0.5)) == [0, 1]


@pytest.mark.parametrize(("repeats", "expected"), [(None, 4), (20, 20), (1, 1)])
def test_foreground_is_repeated_until_both_classes_count_alike(repeats, expected):
    patches = repeat_foreground(patches_of([0, 1, 0, 0, 1, 0, 0, 0, 0, 0]), repeats)
    assert numbers_of(patches) == [0, 2, 3, 5, 6, 7, 8, 9, *[1, 4] * expected]


def test_batches_of_patches_have_one_label_each_and_go_on_as_those_of_pairs():
    pairs = [
        ImageDataGenerator(rotation90=True).flow(patches.x, patches.y, batch_size=3, seed=4)
        for patches in [patches_of([1, 0, 0.6, 0.4, 0.9, 0.5])] * 2
    ]
    batches = PatchBatches(pairs[0])
    for epoch in range(2):
        assert len(batches) == 2 and batches.epoch == epoch
        for (images, labels), (same_images, masks) in zip(batches, pairs[1], strict=True):
            np.testing.assert_array_equal(images, same_images)
            assert labels.shape == (3, 1, 1, 1) and labels.dtype == np.uint8
            np.testing.assert_array_equal(labels.ravel(), masks.mean(axis=(1, 2, 3)) >= 0.5)
        batches.on_epoch_end()
        pairs[1].on_epoch_end()
    batches.epoch = 0
    pairs[1].epoch = 0
    np.testing.assert_array_equal(batches[1][0], pairs[1][1][0])


def test_several_devices_can_share_batches_of_patches():
    patches = patches_of([1, 0, 0.6, 0.4, 0.9])
    shared = SharedBatches(PatchBatches(ImageDataGenerator().flow(patches.x, patches.y, batch_size=4, seed=4)), 2)
    assert len(shared) == 1 and [len(part) for part in shared[0]] == [4, 4]


def test_the_report_counts_the_validation_patches(tmp_path, capsys, mean_of_patch):
    images = [np.full((32, 32, 1), value, np.float32) for value in (0.1, 0.2, 0.9, 0.8, 0.3)]
    masks = [np.full((32, 32, 1), value, np.uint8) for value in (0, 0, 1, 0, 1)]
    batches = PatchBatches(ImageDataGenerator().flow(images, masks, batch_size=2, shuffle=False))
    run = SimpleNamespace(folder=tmp_path, charts=tmp_path / "charts")
    background, foreground = report_validation(run, mean_of_patch, batches)
    assert (background["patches"], foreground["patches"]) == (3, 2)
    assert (foreground["precision"], foreground["recall"], foreground["f1"]) == (0.5, 0.5, 0.5)
    assert (background["precision"], background["recall"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    printed = capsys.readouterr().out
    assert "accuracy 0.6000" in printed and "[[2, 1], [1, 1]]" in printed
    assert (tmp_path / "validation_report.csv").read_text().startswith("class,precision,recall,f1,patches")
    assert (tmp_path / "charts" / "confusion_matrix.png").stat().st_size > 1000


def test_a_class_that_is_missing_has_no_score():
    background, foreground = classification_report(np.array([[5, 0], [0, 0]]), ["a", "b"])
    assert background["f1"] == 1 and np.isnan([foreground["precision"], foreground["recall"], foreground["f1"]]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: keep_clear_patches(patches_of([0, 1]), foreground_above=0.4), "FOREGROUND_ABOVE 0.4; wanted"),
        (lambda: keep_clear_patches(patches_of([0, 1]), background_below=0.5), "BACKGROUND_BELOW is 0.5"),
        (lambda: keep_clear_patches(patches_of([0, 0.7, 0])), "of 3 patches 0 are foreground .* and 2 background"),
        (lambda: repeat_foreground(patches_of([0, 1]), 0), "FOREGROUND_REPEATS is 0"),
        (lambda: repeat_foreground(patches_of([0, 0.1])), "none of 2 patches is foreground.* lower FOREGROUND_ABOVE"),
        (lambda: check_patch_shape((48, 32, 1)), r"CROP_SHAPE is \(48, 32, 1\).* 32 x 32 pixels"),
        (lambda: check_patch_shape((32, 32)), r"Use \(32, 32, 1\)"),
        (lambda: create_oztel_model(2, (32, 36, 1)), "36 is below 32 or not divisible by 8"),
        (lambda: create_oztel_model_V1(dropout_rates=(0,)), "DROP_VALUES holds 1 values"),
        (lambda: create_oztel_model(dropout_rate=1.5), "DROP_VALUE is 1.5; wanted a fraction"),
        (lambda: create_oztel_model_V1(dropout_rates=(0.1, -0.2, 0)), r"DROP_VALUES\[1\] is -0.2; wanted"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize("size", [(160, 128), (157, 131), (101, 70)])
def test_a_ramp_stays_where_it_is(size, ensemble, mean_of_patch):
    ramp = np.add.outer(0.4 * np.arange(size[0]), 0.3 * np.arange(size[1]))[..., None].astype(np.float32) / 128
    for image in (ramp, ramp[::-1]):
        (probability,) = dense_probability(mean_of_patch, [image], ensemble=ensemble, intensity_range=(0, 1))
        assert probability.shape == (*size, 1) and probability.dtype == np.float32
        inside = np.s_[40:-40, 30:-30]
        np.testing.assert_allclose(probability[inside], image[inside], atol=0.002)


@pytest.mark.parametrize("place", [(60, 60), (49, 90), (3, 5), (117, 100)])
def test_a_spot_peaks_where_it_is(place, mean_of_patch):
    y, x = np.mgrid[:118, :125]
    spot = np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / (2 * 15**2))[..., None].astype(np.float32)
    for ensemble in (False, True):
        (probability,) = dense_probability(mean_of_patch, [spot], ensemble=ensemble)
        peak = np.unravel_index(probability.argmax(), probability.shape)[:2]
        assert np.abs(np.subtract(peak, place)).max() <= 5


@pytest.mark.parametrize("ensemble", [False, True])
def test_images_of_any_size_and_dtype_come_back_in_order(ensemble, mean_of_patch):
    images = [np.full((size, 40 - size, 1), size, np.uint8) for size in (8, 8, 30, 1, 32)]
    predictions = list(dense_probability(mean_of_patch, iter(images), ensemble=ensemble, batch_size=3))
    assert len(predictions) == 5
    for image, probability in zip(images, predictions, strict=True):
        assert probability.shape == image.shape and probability.dtype == np.float32
        np.testing.assert_allclose(probability, image / 255, atol=1e-5)


def test_a_network_with_one_class_gives_its_probability():
    model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.AveragePooling2D(32, 8)])
    (probability,) = dense_probability(model, [np.full((40, 50, 1), 51, np.uint8)])
    np.testing.assert_allclose(probability, np.full((40, 50, 1), 0.2), atol=1e-5)


def test_an_image_with_other_channels_than_the_network_is_refused(mean_of_patch):
    with pytest.raises(ValueError, match=r"\(40, 50, 3\) has 3 channels, but the network takes 1. .*None, 3\)"):
        list(dense_probability(mean_of_patch, [np.zeros((40, 50, 3), np.uint8)]))


def test_the_ensemble_turns_with_the_image(mean_of_patch):
    image = batch((50, 61, 1))
    (straight,) = dense_probability(create_oztel_model(), [image], ensemble=True)
    assert straight.shape == image.shape and 0 <= straight.min() <= straight.max() <= 1
    (plain,), (turned,) = (dense_probability(mean_of_patch, [im], ensemble=True) for im in (image, np.rot90(image)))
    np.testing.assert_allclose(np.rot90(plain), turned, atol=1e-5)
