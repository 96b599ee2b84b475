"""Tests of random changes of grey values."""

import numpy as np
import pytest
from scipy import ndimage

from generators.intensity_transforms import (
    INTENSITY_OPTIONS,
    add_noise,
    blur,
    change_brightness,
    change_contrast,
    change_gamma,
    change_intensity,
)

ALL_ON = {
    "blur_sigma": (0.5, 2), "brightness_range": (0.7, 0.9), "contrast_range": (0.6, 0.9), "gamma": (1.2, 2),
    "noise_std": (0.02, 0.1),
}  # fmt: skip


def noise(shape=(4, 12, 10, 1), low=0.0, high=255.0, seed=0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def changed(function, image, *args, **options):
    result = image.copy()
    function(result, *args, **options)
    return result


@pytest.mark.parametrize("shape", [(4, 12, 10, 1), (4, 12, 10, 3), (12, 10, 1)], ids=str)
def test_blur_is_a_gaussian_in_the_plane_of_each_slice(shape):
    image = noise(shape)
    sigmas = (*[0] * (len(shape) - 3), 1.5, 1.5, 0)
    expected = ndimage.gaussian_filter(image, sigmas, mode="reflect")
    np.testing.assert_allclose(changed(blur, image, 1.5), expected, atol=0.5)


@pytest.mark.parametrize(
    ("function", "strength", "limits", "values", "expected"),
    [
        (change_brightness, 2, (0, 255), [0, 100, 200], [0, 200, 255]),
        (change_brightness, 2, (-300, 300), [-200, -100, 200], [-300, -200, 300]),
        (change_contrast, 0.5, (0, 255), [0, 60, 120], [30, 60, 90]),
        (change_contrast, 3, (-100, 100), [-60, 0, 60], [-100, 0, 100]),
        (change_gamma, 2, (0, 100), [-20, 0, 50, 100, 120], [0, 0, 25, 100, 100]),
        (change_gamma, 0.5, (-100, 300), [-100, 0, 125, 300], [-100, 100, 200, 300]),
    ],
)
def test_known_answers(function, strength, limits, values, expected):
    image = np.array(values, np.float32).reshape(1, 1, -1, 1)
    np.testing.assert_allclose(changed(function, image, strength, limits).ravel(), expected, rtol=1e-5)


def test_noise_has_the_stated_deviation_and_is_independent():
    image = np.full((8, 50, 50, 1), 500, np.float32)
    difference = changed(add_noise, image, 0.05, (0, 1000), np.random.default_rng(0)) - 500
    assert difference.mean() == pytest.approx(0, abs=2)
    assert difference.std() == pytest.approx(50, rel=0.03)
    assert np.corrcoef(difference[:-1].ravel(), difference[1:].ravel())[0, 1] == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("name", INTENSITY_OPTIONS)
@pytest.mark.parametrize("limits", [(0, 255), (0, 1), (-300, 300)], ids=str)
def test_results_stay_between_black_and_white(name, limits):
    strong = {"blur_sigma": 3, "brightness_range": 9, "contrast_range": 9, "gamma": 9, "noise_std": 3}
    image = noise(low=limits[0], high=limits[1])
    options = {"limits": limits, "probability": 1.0}
    ranges = dict.fromkeys(INTENSITY_OPTIONS) | {name: (strong[name],) * 2}
    result = changed(change_intensity, image, ranges, np.random.default_rng(0), **options)
    assert np.isfinite(result).all()
    assert not np.array_equal(result, image)
    assert result.min() >= limits[0]
    assert result.max() <= limits[1]


def test_nothing_happens_when_all_is_off_or_the_probability_is_0():
    image, rng = noise(), np.random.default_rng(0)
    off, options = dict.fromkeys(INTENSITY_OPTIONS), {"limits": (0, 255)}
    assert np.array_equal(changed(change_intensity, image, off, rng, probability=1.0, **options), image)
    assert np.array_equal(changed(change_intensity, image, ALL_ON, rng, probability=0.0, **options), image)


def test_strength_0_does_nothing():
    image, options = noise(), {"limits": (0, 255), "probability": 1.0}
    ranges = dict.fromkeys(INTENSITY_OPTIONS) | {"blur_sigma": (0, 0), "noise_std": (0, 0)}
    assert np.array_equal(changed(change_intensity, image, ranges, np.random.default_rng(0), **options), image)


def test_one_option_does_not_change_the_draws_of_another():
    image, options = np.full((1, 2, 2, 1), 100, np.float32), {"limits": (0, 1000), "probability": 1.0}
    alone = dict.fromkeys(INTENSITY_OPTIONS) | {"brightness_range": (0.5, 2)}
    both = alone | {"blur_sigma": (1, 2), "contrast_range": (0.5, 2)}  # which leave an even image as it is
    first, second = (
        changed(change_intensity, image, ranges, np.random.default_rng(3), **options) for ranges in (alone, both)
    )
    np.testing.assert_allclose(first, second, rtol=1e-6)


def test_each_change_is_drawn_by_itself():
    ranges = dict.fromkeys(INTENSITY_OPTIONS) | {"brightness_range": (0.5, 0.5), "noise_std": (0.01, 0.01)}
    image, rng, seen = np.full((1, 2, 2, 1), 100, np.float32), np.random.default_rng(0), []
    for _ in range(400):
        result = changed(change_intensity, image, ranges, rng, limits=(0, 255), probability=0.5)
        seen.append((result.mean() < 80, np.ptp(result) > 0))
    for outcome in ((True, True), (True, False), (False, True), (False, False)):
        assert 60 < seen.count(outcome) < 140
