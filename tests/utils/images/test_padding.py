"""Tests of padding images and volumes and of cutting the padding off."""

import numpy as np
import pytest

from utils.images.padding import pad, pad_to, pad_to_multiple, per_axis


def random_image(shape, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, channels), np.uint8)


@pytest.mark.parametrize("wanted", [(10, 10), (3, 9), (20, 4), (1, 1)])
def test_pad_to_is_large_enough_and_cuts_back(wanted):
    image = random_image((5, 7), channels=3)
    padded, inside = pad_to(image, wanted)
    assert padded.shape == (max(5, wanted[0]), max(7, wanted[1]), 3)
    assert np.array_equal(padded[inside], image)


def test_padding_mirrors_as_often_as_needed():
    image = np.array([1, 2, 3]).reshape(1, 3, 1)
    assert pad_to(image, (1, 7))[0].ravel().tolist() == [2, 1, 1, 2, 3, 3, 2]
    assert pad_to(image, (1, 12))[0].ravel().tolist() == [3, 3, 2, 1, 1, 2, 3, 3, 2, 1, 1, 2]


def test_pad_to_returns_the_image_itself_when_nothing_is_missing():
    image = random_image((5, 7))
    assert pad_to(image, (5, 7))[0] is image


@pytest.mark.parametrize("shape", [(1, 1), (16, 17), (15, 33), (48, 32)])
@pytest.mark.parametrize("divisor", [1, 2, 16])
def test_pad_to_multiple_is_divisible_minimal_and_cuts_back(shape, divisor):
    image = random_image(shape)
    padded, inside = pad_to_multiple(image, divisor)
    assert all(size % divisor == 0 for size in padded.shape[:2])
    assert all(new - old < divisor for new, old in zip(padded.shape[:2], shape, strict=True))
    assert np.array_equal(padded[inside], image)


@pytest.mark.parametrize(("value", "expected"), [(0.5, (0.5, 0.5)), ([1, 2], (1, 2)), ((3, 4), (3, 4))])
def test_per_axis(value, expected):
    assert per_axis(value) == expected


def test_median_padding_continues_each_face_with_its_median():
    image = np.array([[1, 2, 9], [3, 4, 9], [5, 6, 9]], np.uint8)[..., np.newaxis]
    padded = pad(image, (1, 0), (0, 2), "median")[..., 0]
    assert padded.dtype == np.uint8
    assert padded.tolist() == [[2, 2, 2, 9, 9], [1, 2, 9, 9, 9], [3, 4, 9, 9, 9], [5, 6, 9, 9, 9]]


def test_median_padding_takes_each_channel_by_itself():
    volume = np.zeros((2, 2, 2, 3), np.uint16) + np.array([1, 500, 60_000], np.uint16)
    assert (pad(volume, (1, 2, 3), (0, 1, 2), "median") == [1, 500, 60_000]).all()


def test_nothing_to_pad_gives_the_image_itself():
    image = random_image((4, 4))
    assert pad(image, (0, 0), (0, 0), "median") is image
    assert pad_to(image, (4, 3))[0] is image


def test_values_per_axis_must_fit_the_number_of_axes():
    with pytest.raises(ValueError, match="holds 2 values for 3 axes"):
        per_axis((0.5, 0.5), 3)
