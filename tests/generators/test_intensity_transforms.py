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
    drop_pixels,
    intensity_ranges,
    line_kernel,
    median_blur,
    motion_blur,
)
from generators.streams import Streams

ALL_ON = {
    "blur_sigma": (0.5, 2), "median_size": (3, 7), "motion_length": (3, 8), "brightness_range": (0.7, 0.9),
    "contrast_range": (0.6, 0.9), "gamma": (1.2, 2), "noise_std": (0.02, 0.1), "dropout": (0.1, 0.2),
}  # fmt: skip
OFF = dict.fromkeys(INTENSITY_OPTIONS)


def noise(shape=(4, 12, 10, 1), low=0.0, high=255.0, seed=0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def changed(function, image, *args, **options):
    result = image.copy()
    assert function(result, *args, **options) is None
    return result


def change(image, ranges, *, seed=0, limits=(0, 255), probability=1.0, **options):
    options |= {"limits": limits, "probabilities": dict.fromkeys(INTENSITY_OPTIONS, probability)}
    return changed(change_intensity, image, ranges, Streams(np.random.default_rng(seed)), **options)


@pytest.mark.parametrize("shape", [(4, 12, 10, 1), (4, 12, 10, 3), (12, 10, 1)], ids=str)
def test_blur_is_a_gaussian_in_the_plane_of_each_slice(shape):
    image = noise(shape)
    sigmas = (*[0] * (len(shape) - 3), 1.5, 1.5, 0)
    expected = ndimage.gaussian_filter(image, sigmas, mode="reflect")
    np.testing.assert_allclose(changed(blur, image, 1.5), expected, atol=0.5)


@pytest.mark.parametrize("sigma", [0.6, 1.5, 3])
def test_blur_of_isotropic_voxels_goes_along_z_too(sigma):
    image = noise((20, 16, 18, 2))
    expected = ndimage.gaussian_filter(image, (sigma, sigma, sigma, 0), mode="reflect")
    np.testing.assert_allclose(changed(blur, image, sigma, isotropic=True), expected, atol=0.5)
    flat = noise((16, 18, 2))
    assert np.array_equal(changed(blur, flat, sigma, isotropic=True), changed(blur, flat, sigma))


@pytest.mark.parametrize("shape", [(4, 12, 10, 1), (3, 12, 10, 2), (12, 10, 5)], ids=str)
@pytest.mark.parametrize(("size", "atol"), [(1, 0), (3, 0), (5, 0), (7, 0.51), (11, 0.51)])
def test_median_is_that_of_scipy_in_the_plane_of_each_slice(shape, size, atol):
    image = noise(shape, low=-100, high=155)
    expected = ndimage.median_filter(image, (*[1] * (len(shape) - 3), size, size, 1), mode="nearest")
    np.testing.assert_allclose(changed(median_blur, image, size, (-100, 155)), expected, atol=atol)


def test_median_removes_a_single_pixel_and_keeps_an_edge():
    image = np.zeros((12, 12, 1), np.float32)
    image[:, 6:] = 200
    spotted = image.copy()
    spotted[3, 3], spotted[8, 9] = 200, 0
    for size in (3, 5, 7):
        np.testing.assert_allclose(changed(median_blur, spotted, size, (0, 255))[2:-2], image[2:-2], atol=1e-4)


@pytest.mark.parametrize(
    ("length", "direction", "expected"),
    [
        (1, (0, 3, 4), [[[1]]]),
        (3, (0, 0, 1), [[[1 / 3, 1 / 3, 1 / 3]]]),
        (3, (0, -2, 0), [[[1 / 3], [1 / 3], [1 / 3]]]),
        (2, (0, 0, 1), [[[0.25, 0.5, 0.25]]]),
        (3, (5, 0, 0), [[[1 / 3]], [[1 / 3]], [[1 / 3]]]),
    ],
    ids=str,
)
def test_known_lines(length, direction, expected):
    np.testing.assert_allclose(line_kernel(length, direction), expected, atol=1e-6)


@pytest.mark.parametrize("length", [2, 5, 8])
@pytest.mark.parametrize("direction", [(0, 1, 1), (0, 1, -3), (1, 2, 3), (-2, 1, 0)], ids=str)
def test_lines_have_their_direction_length_and_weight_1(length, direction):
    kernel = line_kernel(length, direction)
    assert kernel.sum() == pytest.approx(1)
    assert kernel.min() >= 0
    assert np.array_equal(kernel, kernel[::-1, ::-1, ::-1])
    places = np.stack(np.nonzero(kernel)).T - (np.array(kernel.shape) - 1) / 2
    spread = np.einsum("n,ni,nj->ij", kernel[kernel > 0], places, places)
    values, axes = np.linalg.eigh(spread)
    unit = np.array(direction) / np.linalg.norm(direction)
    assert abs(axes[:, -1] @ unit) > 0.98
    assert values[-1] == pytest.approx((length**2 - 1) / 12, abs=0.5)  # the variance of so many points one apart


@pytest.mark.parametrize(
    ("shape", "direction"),
    [((12, 10, 1), (0, 1, 2)), ((12, 10, 3), (0, 1, 0)), ((5, 12, 10, 1), (0, -1, 2)), ((5, 12, 10, 2), (1, 2, -1))],
    ids=str,
)
def test_motion_is_the_mean_of_the_image_moved_along_the_line(shape, direction):
    image = noise(shape)
    volume = image if image.ndim == 4 else image[np.newaxis]
    unit = np.array(direction) / np.linalg.norm(direction)
    moved = [ndimage.shift(volume, (*step * unit, 0), order=1, mode="reflect") for step in (-2, -1, 0, 1, 2)]
    found = changed(motion_blur, image, line_kernel(5, direction))
    np.testing.assert_allclose(found, np.mean(moved, axis=0).reshape(shape), atol=1e-2)


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


def test_dropout_makes_the_stated_share_black_in_all_channels():
    image = np.full((8, 50, 50, 3), 500, np.float32)
    result = changed(drop_pixels, image, 0.3, (-100, 1000), np.random.default_rng(0))
    assert set(np.unique(result)) == {-100, 500}
    black = result == -100
    assert (black.all(axis=-1) == black.any(axis=-1)).all()
    assert black.mean() == pytest.approx(0.3, abs=0.01)
    assert np.corrcoef(black[1:].ravel(), black[:-1].ravel())[0, 1] == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("name", INTENSITY_OPTIONS)
@pytest.mark.parametrize("limits", [(0, 255), (0, 1), (-300, 300)], ids=str)
def test_results_stay_between_black_and_white(name, limits):
    strong = {"blur_sigma": 3, "brightness_range": 9, "contrast_range": 9, "gamma": 9, "noise_std": 3}
    strong |= {"median_size": 7, "motion_length": 7, "dropout": 0.5}
    image = noise(low=limits[0], high=limits[1])
    result = change(image, OFF | {name: (strong[name],) * 2}, limits=limits)
    assert np.isfinite(result).all()
    assert not np.array_equal(result, image)
    slack = 1e-4 * (limits[1] - limits[0]) if name == "motion_length" else 0  # weights add up to 1 only as float32 can
    assert result.min() >= limits[0] - slack
    assert result.max() <= limits[1] + slack


def test_nothing_happens_when_all_is_off_or_the_probability_is_0():
    image = noise()
    assert np.array_equal(change(image, OFF), image)
    assert np.array_equal(change(image, ALL_ON, probability=0.0), image)


def test_strength_0_does_nothing():
    image, ranges = noise(), OFF | {"blur_sigma": (0, 0), "noise_std": (0, 0), "dropout": (0, 0), "median_size": (1, 1)}
    assert np.array_equal(change(image, ranges), image)


def test_one_option_does_not_change_the_draws_of_another():
    image = np.full((1, 2, 2, 1), 100, np.float32)
    alone = OFF | {"brightness_range": (0.5, 2), "noise_std": (0.01, 0.1)}
    # These leave an even image as it is; larger medians would round its grey value.
    both = alone | {"blur_sigma": (1, 2), "contrast_range": (0.9, 1), "median_size": (3, 5), "motion_length": (2, 5)}
    first, second = (change(image, ranges, limits=(0, 1000), seed=3) for ranges in (alone, both))
    np.testing.assert_allclose(first, second, rtol=1e-5)


def test_each_change_is_drawn_by_itself():
    ranges = OFF | {"brightness_range": (0.5, 0.5), "noise_std": (0.01, 0.01)}
    image, seen = np.full((1, 2, 2, 1), 100, np.float32), []
    for seed in range(400):
        result = change(image, ranges, probability=0.5, seed=seed)
        seen.append((result.mean() < 80, np.ptp(result) > 0))
    for outcome in ((True, True), (True, False), (False, True), (False, False)):
        assert 60 < seen.count(outcome) < 140


def test_each_change_has_its_own_probability():
    image, ranges = np.full((1, 2, 2, 1), 100, np.float32), OFF | {"brightness_range": (2, 2), "gamma": (2, 2)}
    for name in ("brightness_range", "gamma"):
        probabilities = dict.fromkeys(INTENSITY_OPTIONS, 0.0) | {name: 1.0}
        options = {"limits": (0, 1000), "probabilities": probabilities}
        result = changed(change_intensity, image, ranges, Streams(np.random.default_rng(0)), **options)
        np.testing.assert_allclose(result, 200 if name == "brightness_range" else 10, rtol=1e-5)


def drawn_strengths(monkeypatch, name, function, ranges, count=300):
    """Return the strengths with which a transform is called."""
    seen = []
    record = {"line_kernel": lambda length, direction: seen.append(length) or np.ones((1, 1, 1), np.float32)}
    record = record.get(function, lambda image, strength, *args, **options: seen.append(strength))
    monkeypatch.setattr(f"generators.intensity_transforms.{function}", record)
    for seed in range(count):
        change(np.zeros((1, 1, 1), np.float32), OFF | {name: ranges}, seed=seed)
    return seen


@pytest.mark.parametrize(
    ("name", "function", "ends", "expected"),
    [
        ("median_size", "median_blur", (3, 7), {3, 5, 7}),
        ("median_size", "median_blur", (5, 5), {5}),
        ("motion_length", "line_kernel", (3, 8), {3, 4, 5, 6, 7, 8}),
    ],
)
def test_whole_strengths_reach_both_ends(monkeypatch, name, function, ends, expected):
    assert set(drawn_strengths(monkeypatch, name, function, ends)) == expected


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("blur_sigma", "blur"),
        ("brightness_range", "change_brightness"),
        ("contrast_range", "change_contrast"),
        ("gamma", "change_gamma"),
        ("noise_std", "add_noise"),
        ("dropout", "drop_pixels"),
    ],
)
def test_strengths_fill_their_range(monkeypatch, name, function):
    found = drawn_strengths(monkeypatch, name, function, (0.2, 0.6))
    assert len(found) == 300
    assert 0.2 <= min(found) < 0.22
    assert 0.58 < max(found) <= 0.6
    assert np.mean(found) == pytest.approx(0.4, abs=0.03)


def test_motion_has_all_directions_and_goes_along_z_only_with_isotropic_voxels(monkeypatch):
    seen = []
    monkeypatch.setattr("generators.intensity_transforms.motion_blur", lambda image, kernel: None)
    record = lambda length, direction: seen.append(direction)  # noqa: E731
    monkeypatch.setattr("generators.intensity_transforms.line_kernel", record)
    for isotropic in (False, True):
        seen.clear()
        for seed in range(200):
            change(np.zeros((2, 2, 2, 1), np.float32), OFF | {"motion_length": (3, 3)}, seed=seed, isotropic=isotropic)
        directions = np.array(seen) / np.linalg.norm(seen, axis=1, keepdims=True)
        spread = (directions**2).mean(axis=0)
        np.testing.assert_allclose(spread, [1 / 3] * 3 if isotropic else [0, 0.5, 0.5], atol=0.08)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"median_size": (4, 4)},
            r"median_size is \(4, 4\); sizes are odd, and none lies from low to high. Take e.g. \(",
        ),
        (
            {"median_size": (3.5, 5)},
            r"median_size is \(3.5, 5\); it must be two whole numbers \(low, high\) with 1 <= low",
        ),
        ({"motion_length": 5}, "motion_length is 5; it must be two whole numbers"),
        ({"motion_length": (0, 5)}, r"motion_length is \(0, 5\)"),
        (
            {"dropout": (0.5, 1.5)},
            r"dropout is \(0.5, 1.5\); it must be \(low, high\) with 0 <= low <= high <= 1, e.g.",
        ),
    ],
)
def test_impossible_ranges_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        intensity_ranges(**OFF | options)


@pytest.mark.parametrize(
    ("given", "kept"), [((4, 8), (5, 7)), ((3, 7), (3, 7)), ((1, 2), (1, 1)), (None, None), (0, None)]
)
def test_median_sizes_are_odd(given, kept):
    assert intensity_ranges(**OFF | {"median_size": given})["median_size"] == kept
