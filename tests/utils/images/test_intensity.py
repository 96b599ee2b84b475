"""Tests of grey value scaling."""

import numpy as np
import pytest

from utils.images.intensity import (
    ZScore,
    black_and_white,
    dtype_range,
    from_network_input,
    intensity_problem,
    network_scale,
    to_network_input,
    to_unit_range,
)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(np.uint8, (0, 255)), (np.uint16, (0, 65535)), (np.float32, (0, 1)), (np.float64, (0, 1)), (np.int32, None),
     (np.int16, None), (np.uint32, None), (bool, None)],
)  # fmt: skip
def test_dtype_range(dtype, expected):
    assert dtype_range(dtype) == expected


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 51, 255], np.uint8, [0, 0.2, 1]),
        ([0, 13107, 65535], np.uint16, [0, 0.2, 1]),
        ([0, 0.25, 1], np.float32, [0, 0.25, 1]),
        ([0, 0.25, 1], np.float64, [0, 0.25, 1]),
    ],
)
def test_dtype_decides_the_scale(values, dtype, expected):
    scaled = to_unit_range(np.array(values, dtype))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, expected, atol=1e-7)


def test_maximum_is_never_guessed_from():
    assert to_unit_range(np.array([0, 1], np.uint8)).max() == pytest.approx(1 / 255)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_does_not_exceed_one(dtype):
    assert to_unit_range(np.array([np.iinfo(dtype).max], dtype)).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32])
def test_stated_range_wins_and_clips(dtype):
    scaled = to_unit_range(np.array([0, 50, 75, 100, 120], dtype), (50, 100))
    np.testing.assert_allclose(scaled, [0, 0, 0.5, 1, 1], atol=1e-7)


def test_negative_range():
    np.testing.assert_allclose(to_unit_range(np.array([-100, 0, 100], np.int16), (-100, 100)), [0, 0.5, 1], atol=1e-7)


def test_input_is_left_alone():
    image = np.array([0.0, 2.0], np.float32)
    to_unit_range(image, (0, 1))
    assert image.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("dtype", "intensity_range"), [(np.int32, None), (np.uint8, (10, 10)), (np.float32, (1, 0)), (np.uint8, (0, 0))]
)
def test_scale_that_is_not_known_is_refused(dtype, intensity_range):
    with pytest.raises(ValueError, match=r"cannot be scaled.*INTENSITY_RANGE=\(low, high\)"):
        to_unit_range(np.zeros(3, dtype), intensity_range)


@pytest.mark.parametrize(
    ("image", "intensity_range", "expected"),
    [
        (np.array([0, 255], np.uint8), None, None),
        (np.array([0, 0.5, 1]), None, None),
        (np.array([0, 300.0]), (0, 400), None),
        (np.array([1], np.int32), (0, 9), None),
        (np.array([1], np.int32), None, "has the dtype int32; give INTENSITY_RANGE=(low, high)"),
        (np.array([-0.5, 1]), None, "holds float values -0.5 to 1, outside 0 to 1; give INTENSITY_RANGE=(low, high)"),
        (np.array([0, 2.0]), None, "holds float values 0 to 2, outside 0 to 1; give INTENSITY_RANGE=(low, high)"),
        (np.array([0, np.nan]), None, "holds NaN or infinite values"),
        (np.array([0, np.inf]), (0, 1), "holds NaN or infinite values"),
    ],
)
def test_problem_with_grey_values(image, intensity_range, expected):
    assert intensity_problem(image, intensity_range) == expected


# --- what a network sees


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_scores_are_not_cut_off(dtype):
    scores = to_network_input(np.array([0, 50, 70, 90, 250], dtype), ZScore(0, 200, 70, 20))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [-3.5, -1, 0, 1, 9], atol=1e-6)


@pytest.mark.parametrize("intensity_range", [None, (20, 90)])
def test_without_scores_a_network_sees_the_unit_range(intensity_range):
    image = np.arange(256).astype(np.uint8)
    seen = to_network_input(image, intensity_range)
    assert np.array_equal(seen, to_unit_range(image, intensity_range))
    assert from_network_input(seen, intensity_range) is seen


def test_pictures_of_scores_show_black_to_white():
    score, image = ZScore(0, 200, 70, 20), np.array([0, 50, 200, 220], np.uint8)
    assert black_and_white(image.dtype, score) == (0, 200)
    np.testing.assert_allclose(to_unit_range(image, score), [0, 0.25, 1, 1], atol=1e-6)
    shown = from_network_input(to_network_input(image, score), score)
    assert shown.dtype == np.float32
    np.testing.assert_allclose(shown, [0, 0.25, 1, 1], atol=1e-6)


def test_scale_of_a_network_needs_no_dtype_range_for_scores():
    assert network_scale(np.int32, ZScore(-9, 9, 1, 2)) == (1, 3, False)
    with pytest.raises(ValueError, match="cannot be scaled"):
        network_scale(np.int32)
