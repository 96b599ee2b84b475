"""Tests of the patch classifiers of Oztel et al., their patches, and their maps of whole images."""

import keras
import numpy as np
import pytest

from sota_implementations.oztel_2017.network import create_oztel_model, create_oztel_model_V1
from sota_implementations.oztel_2017.patches import create_patches, dense_probability, split_and_balance
from utils.losses import get_loss

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
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss=get_loss("bce"))
    x, y = batch() * np.array([1, 0.3, 1, 0.3]).reshape(-1, 1, 1, 1), labels_of(2, 2)[[0, 2, 1, 3]]
    losses = [float(model.train_on_batch(x, y)) for _ in range(4)]
    assert losses[0] > losses[1] > losses[-1]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict_on_batch(x), model.predict_on_batch(x), atol=1e-6)


def test_patches_are_almost_all_foreground_or_background():
    image, mask = np.zeros((2 * 10, 3 * 10 + 7, 2), np.uint8), np.zeros((20, 37, 1), np.uint8)
    for number, fraction in enumerate((1.0, 0.8, 0.79, 0.21, 0.2, 0.0)):
        y, x = 10 * (number // 3), 10 * (number % 3)
        image[y : y + 10, x : x + 10] = number
        tile = np.arange(100).reshape(10, 10, 1) < round(100 * fraction)
        mask[y : y + 10, x : x + 10] = tile
    mask[:, 30:] = 1
    patches, labels = create_patches([image, image[:10]], [mask, mask[:10]], size=10)
    assert patches.shape == (6, 10, 10, 2) and patches.dtype == np.uint8
    assert patches[:, 0, 0, 0].tolist() == [0, 1, 4, 5, 0, 1]
    assert (patches == patches[:, :1, :1]).all()
    assert labels.shape == (6, 1, 1, 1) and labels.dtype == np.uint8
    assert labels.ravel().tolist() == [1, 1, 0, 0, 1, 1]


def test_images_smaller_than_a_patch_give_none():
    patches, labels = create_patches([np.zeros((31, 64, 1))], [np.zeros((31, 64, 1))])
    assert patches.shape == (0, 32, 32, 1) and labels.shape == (0, 1, 1, 1)


@pytest.mark.parametrize(("repeats", "expected"), [(None, 40), (20, 160), (1, 8)])
def test_split_keeps_a_fifth_of_each_class_and_repeats_the_foreground(repeats, expected):
    labels = labels_of(50, 10)
    patches = np.arange(60).reshape(-1, 1, 1, 1)
    (x, y), (x_held, y_held) = split_and_balance(patches, labels, repeats=repeats, seed=1)
    assert np.bincount(y.ravel()).tolist() == [40, expected]
    assert np.bincount(y_held.ravel()).tolist() == [10, 2]
    assert len(np.unique(x_held)) == 12 and set(x.ravel()) | set(x_held.ravel()) == set(range(60))
    assert not set(x.ravel()) & set(x_held.ravel())
    np.testing.assert_array_equal(y.ravel(), x.ravel() >= 50)
    again, other = (split_and_balance(patches, labels, seed=seed)[1][0] for seed in (1, 2))
    np.testing.assert_array_equal(again, x_held)
    assert not np.array_equal(other, x_held)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: create_patches([0], [0, 0]), "1 images but 2 masks"),
        (lambda: create_patches([np.ones((4, 4, 1))], [np.ones((4, 5, 1))]), r"image 0 is \(4, 4\)"),
        (lambda: create_patches([], [], foreground_above=0.2), "background up to 0.2 and foreground from 0.2 on"),
        (lambda: split_and_balance(np.ones((3, 1, 1, 1)), labels_of(3, 0)), "3 of class 0 and 0 of class 1"),
        (lambda: split_and_balance(np.ones((2, 1, 1, 1)), labels_of(1, 1), validation=1), "validation is 1"),
        (lambda: create_oztel_model(2, (32, 36, 1)), "36 is below 32 or not divisible by 8"),
        (lambda: create_oztel_model_V1(dropout_rates=(0,)), "DROPOUT_RATES holds 1 values"),
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


def test_the_ensemble_turns_with_the_image(mean_of_patch):
    image = batch((50, 61, 1))
    (straight,) = dense_probability(create_oztel_model(), [image], ensemble=True)
    assert straight.shape == image.shape and 0 <= straight.min() <= straight.max() <= 1
    (plain,), (turned,) = (dense_probability(mean_of_patch, [im], ensemble=True) for im in (image, np.rot90(image)))
    np.testing.assert_allclose(np.rot90(plain), turned, atol=1e-5)
