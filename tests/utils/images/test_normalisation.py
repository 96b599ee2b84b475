"""Tests of grey value ranges measured on training images."""

import numpy as np
import pytest

from utils.data.image_set import ImageSet
from utils.images import normalisation
from utils.images.image_files import ImageName
from utils.images.intensity import ZScore, to_network_input
from utils.images.normalisation import (
    ANY_GREY_VALUES,
    mean_and_std,
    measure_intensity_range,
    percentiles_of,
    readable_range,
    stretch_each,
)

DTYPES = (np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float32, np.float64)


def images_of(dtype, *, seed=0):
    """Return images of different sizes whose values are skewed, negative ones included where the dtype has them."""
    rng = np.random.default_rng(seed)
    shapes = [(20, 31, 1), (7, 13, 3), (3, 8, 9, 1), (1, 1, 1)]
    images = [40 * rng.standard_normal(shape) ** 2 - 20 for shape in shapes]
    if np.dtype(dtype).kind == "f":
        return [image.astype(dtype) for image in images]
    limits = np.iinfo(dtype)
    return [np.clip(image, limits.min, limits.max).astype(dtype) for image in images]


def all_values(images):
    return np.concatenate([image.ravel() for image in images]).astype(np.float64)


@pytest.fixture(params=[7, 4_000_000], ids=["small slabs", "one slab"])
def slab(request, monkeypatch):
    monkeypatch.setattr(normalisation, "SLAB", request.param)


# --- statistics agree with NumPy's over one array of everything


@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_and_deviation_of_all_images_together(dtype, slab):
    images = images_of(dtype)
    values = all_values(images)
    expected = (values.mean(), values.std(), values.min(), values.max())
    np.testing.assert_allclose(mean_and_std(images), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("percentiles", [(1, 99), (0, 100), (12.5, 50), (99.99, 99.999)])
def test_percentiles_of_all_images_together(dtype, percentiles, slab):
    images = images_of(dtype)
    np.testing.assert_allclose(
        percentiles_of(images, percentiles), np.percentile(all_values(images), percentiles), rtol=1e-12, atol=1e-12
    )


def test_views_of_a_volume_are_measured_like_copies(slab):
    volume = np.random.default_rng(0).integers(0, 65536, (6, 9, 10, 1), np.uint16)
    view = volume[1:5, ::2, 3:]
    assert mean_and_std([view]) == pytest.approx(mean_and_std([view.copy()]))
    assert percentiles_of([view], (1, 99)) == percentiles_of([view.copy()], (1, 99))


def test_deviation_keeps_its_digits_far_from_zero():
    values = 1e8 + np.random.default_rng(0).standard_normal((50, 50, 1))
    assert mean_and_std([values])[1] == pytest.approx(values.std(), rel=1e-6)


def test_percentiles_of_many_floats_come_from_a_sample_that_outliers_do_not_disturb(monkeypatch):
    monkeypatch.setattr(normalisation, "SAMPLE", 3000)
    images = [np.random.default_rng(number).random((64, 64, 1), np.float32) for number in range(8)]
    images[3][5, 5] = 1e30
    np.testing.assert_allclose(percentiles_of(images, (1, 99)), (0.01, 0.99), atol=0.01)


def test_a_sample_does_not_keep_to_the_same_columns(monkeypatch):
    monkeypatch.setattr(normalisation, "SAMPLE", 64 * 64 // 2)
    stripes = np.zeros((64, 64, 1), np.float32)
    stripes[:, ::2] = 1
    assert percentiles_of([stripes], (10, 90)) == (0, 1)


# --- from images to a range


def test_mean_and_deviation_make_scores_of_mean_0_and_deviation_1():
    images = images_of(np.uint16)
    found = measure_intensity_range(images, "mean_std")
    assert isinstance(found, ZScore)
    scores = np.concatenate([to_network_input(image, found).ravel() for image in images])
    assert scores.mean(dtype=np.float64) == pytest.approx(0, abs=1e-6)
    assert scores.std(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    assert scores.max() > 2, "nothing is cut off"


def test_the_test_images_are_scaled_by_the_training_images():
    train, test = [np.array([[[100]], [[200]]], np.uint8)], np.array([[[50]], [[250]]], np.uint8)
    np.testing.assert_allclose(
        to_network_input(test, measure_intensity_range(train, "mean_std")).ravel(), [-2, 2], atol=1e-6
    )
    percentile = measure_intensity_range(train, "percentile", percentiles=(0, 100))
    assert percentile == (100, 200)
    assert to_network_input(test, percentile).ravel().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.array([[[7], [9]]], np.uint8), (0, 255)),
        (np.array([[[0.25], [0.5]]], np.float32), (0, 1)),
        (np.array([[[-3], [9]]], np.float32), (-3, 9)),
        (np.array([[[-3], [90000]]], np.int32), (-3, 90000)),
    ],
    ids=["uint8", "unit floats", "other floats", "int32"],
)
def test_black_and_white_of_scores_are_those_of_the_dtype_or_the_extremes(image, expected):
    assert measure_intensity_range([image], "mean_std")[:2] == expected


@pytest.mark.parametrize(("name", "expected"), [("dtype", (3, 9)), ("percentile_per_image", None)])
def test_nothing_is_measured_where_nothing_is_to_be(name, expected):
    assert measure_intensity_range([], name, intensity_range=(3, 9)) == expected


@pytest.mark.parametrize("name", ["percentile", "mean_std"])
def test_images_of_one_value_are_refused(name):
    with pytest.raises(ValueError, match="training images are 4"):
        measure_intensity_range([np.full((2, 2, 1), 4, np.uint8)], name)


@pytest.mark.parametrize("name", ["percentile", "mean_std"])
def test_images_of_different_dtypes_are_refused(name):
    train, test = [np.zeros((2, 2, 1), np.uint8)], [np.zeros((2, 2, 1), np.uint16)]
    with pytest.raises(ValueError, match=rf"'{name}' measures.*dtypes uint16, uint8.*'percentile_per_image'"):
        measure_intensity_range(train, name, others=test)


# --- settings


def test_readable_values():
    assert readable_range("dtype") is None
    assert readable_range("dtype", (1, 99), (0, 9)) == (0, 9)
    for name in ("percentile", "percentile_per_image", "mean_std"):
        assert readable_range(name) == ANY_GREY_VALUES


@pytest.mark.parametrize("percentiles", [(99, 1), (5, 5), (-1, 99), (1, 101), (1,), (1, 2, 3)], ids=str)
def test_percentiles_that_are_no_range_are_refused(percentiles):
    with pytest.raises(ValueError, match=r"PERCENTILES is .*two rising numbers from 0 to 100"):
        readable_range("percentile", percentiles)


def test_unknown_normalisation_is_refused_with_the_closest():
    with pytest.raises(ValueError, match="NORMALISATION 'percentiles' is not known; did you mean 'percentile'"):
        readable_range("percentiles")


@pytest.mark.parametrize("name", ["percentile", "percentile_per_image", "mean_std"])
def test_a_stated_range_and_a_measured_one_exclude_each_other(name):
    with pytest.raises(ValueError, match=rf"INTENSITY_RANGE=\(0, 9\) .* NORMALISATION='{name}'"):
        readable_range(name, (1, 99), (0, 9))


# --- each image by its own percentiles


def image_set(*images):
    return ImageSet(list(images), None, [ImageName(f"{number}.tif") for number in range(len(images))], ())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_each_image_is_stretched_between_its_own_percentiles(dtype):
    images = [
        np.arange(101).reshape(101, 1, 1).astype(dtype),
        (20 + np.arange(101) // 2).reshape(101, 1, 1).astype(dtype),
    ]
    stretched = stretch_each(image_set(*images), "percentile_per_image", percentiles=(10, 90)).x
    top = np.iinfo(dtype).max if dtype in (np.uint8, np.uint16) else 1
    for before, after in zip(images, stretched, strict=True):
        low, high = np.percentile(before, (10, 90))
        expected = np.clip((before - low) / (high - low), 0, 1) * top
        assert after.dtype == (dtype if top > 1 else np.float32)
        np.testing.assert_allclose(after, np.rint(expected) if top > 1 else expected, atol=1e-6)


@pytest.mark.parametrize(("dtype", "expected"), [(np.uint8, np.uint8), (np.float64, np.float32)])
def test_an_image_of_one_value_becomes_black(dtype, expected):
    (stretched,) = stretch_each(image_set(np.full((3, 4, 1), 7, dtype)), "percentile_per_image").x
    assert stretched.dtype == expected and not stretched.any()


def test_other_normalisations_leave_the_images_alone():
    images = image_set(np.zeros((2, 2, 1)))
    assert all(stretch_each(images, name) is images for name in ("dtype", "percentile", "mean_std"))
