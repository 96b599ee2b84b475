"""Tests of new images that are stored differently from the training images."""

import numpy as np
import pytest

from utils.data.experiment_data import NetworkInput
from utils.images.intensity import ZScore, to_network_input
from utils.images.normalisation import measure_intensity_range
from utils.prediction.new_images import black_and_white_of, dtype_problem, grey_value_note, with_grey_values_of

TWELVE_BIT = np.random.default_rng(0).integers(300, 3900, (40, 40, 1)).astype(np.uint16)


def trained(normalisation="dtype", intensity_range=None, dtype="uint16"):
    known = {"normalisation": normalisation, "intensity_range": intensity_range, "dtype": dtype}
    return NetworkInput(crop_shape=(8, 8, 1), **known)


@pytest.mark.parametrize("normalisation", ["dtype", "percentile", "mean_std"])
@pytest.mark.parametrize(
    ("copied", "stated"),
    [
        ((TWELVE_BIT // 16).astype(np.uint8), (0, 65535 / 16)),
        ((TWELVE_BIT / 65535).astype(np.float32), (0, 1)),
        (TWELVE_BIT.astype(np.int32) - 1000, (-1000, 64535)),
    ],
    ids=["uint8", "float", "int32"],
)
def test_the_network_sees_what_it_saw_in_training(normalisation, copied, stated):
    grey = measure_intensity_range([TWELVE_BIT], normalisation)
    data = trained(normalisation, grey)
    found = with_grey_values_of(data, stated)
    assert found.dtype is None and type(found.intensity_range) is (type(grey) if grey else tuple)
    wanted = to_network_input(TWELVE_BIT, grey)
    one_step = 16 / (grey.std if isinstance(grey, ZScore) else 65535 if grey is None else grey[1] - grey[0])
    tolerance = one_step if copied.dtype == np.uint8 else 1e-4
    np.testing.assert_allclose(to_network_input(copied, found.intensity_range), wanted, rtol=0, atol=tolerance)


def test_a_stated_range_becomes_that_of_the_new_images_and_clips_as_before():
    data = trained(intensity_range=(0, 4095))
    found = with_grey_values_of(data, (0, 255)).intensity_range
    assert found == (0, 255)
    eight_bit = np.rint(TWELVE_BIT * (255 / 4095)).astype(np.uint8)
    seen, wanted = to_network_input(eight_bit, found), to_network_input(TWELVE_BIT, (0, 4095))
    np.testing.assert_allclose(seen, wanted, atol=0.5 / 255 + 1e-6)
    above = with_grey_values_of(trained(intensity_range=(1000, 2000)), (50, 100)).intensity_range
    assert to_network_input(np.array([200, 0], np.uint8), above).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (trained(), (0, 65535)),
        (trained(intensity_range=(0, 4095)), (0, 4095)),
        (trained("percentile", (300.0, 3900.0)), (0, 65535)),
        (trained("percentile", (-300.0, 3900.0), "int16"), (-300, 3900)),
        (trained("percentile", (10.0, 900.0), "float32"), (10, 900)),
        (trained("mean_std", ZScore(0.0, 65535.0, 900.0, 5.0)), (0, 65535)),
        (trained(dtype=None), None),
    ],
)
def test_black_and_white_are_those_of_how_images_are_stored(data, expected):
    assert black_and_white_of(data) == expected
    assert with_grey_values_of(data, None) is data
    assert with_grey_values_of(data, (0, 255)).intensity_range[1] <= 255


@pytest.mark.parametrize(("dtype", "likely"), [("uint8", "(0, 255)"), ("float64", "(0, 1)"), ("int16", "(low, high)")])
def test_another_dtype_is_refused_with_what_to_set(dtype, likely):
    for data, said in [
        (trained(), "for 0 and 65535 of the training images:"),
        (trained(intensity_range=(0, 4095)), "for 0 and 4095 of the training images:"),
        (trained("percentile", (300.0, 3900.0)), "images, most of which lay between 300 and 3900:"),
        (trained("mean_std", ZScore(0.0, 65535.0, 900.0, 5.0)), "images, whose mean was 900:"),
    ]:
        problem = dtype_problem(np.zeros(4, dtype), data)
        assert problem.startswith(f"has the dtype {dtype}, the training images had uint16; state its grey values for 0")
        assert said in problem and f'probably --set "INTENSITY_RANGE={likely}"' in problem


def test_of_floats_with_the_numbers_of_another_dtype_those_are_proposed():
    problem = dtype_problem(np.array([0, 4000], np.float32), trained(intensity_range=(0, 4095)))
    assert 'probably --set "INTENSITY_RANGE=(0, 4095)"' in problem


def test_what_means_the_same_is_not_refused():
    for dtype in ("uint16", ">u2", "<u2"):
        assert dtype_problem(np.zeros(4, dtype), trained()) is None
    assert dtype_problem(np.zeros(4, np.float64), trained(dtype="float32")) is None
    assert dtype_problem(np.zeros(4, np.uint8), trained(dtype=None)) is None
    assert dtype_problem(np.zeros(4, np.uint8), trained("percentile_per_image")) is None
    assert dtype_problem(np.zeros(4, np.uint8), with_grey_values_of(trained(), (0, 255))) is None


@pytest.mark.parametrize("stated", [(255, 0), (0, 0), (0,), 255, "dark", (0, float("nan"))])
def test_what_is_no_range_is_refused(stated):
    with pytest.raises(ValueError, match="INTENSITY_RANGE is .*; wanted two rising numbers"):
        with_grey_values_of(trained(), stated)


def test_images_normalised_each_need_no_range():
    with pytest.raises(ValueError, match="INTENSITY_RANGE is not needed: .*percentile_per_image"):
        with_grey_values_of(trained("percentile_per_image"), (0, 255))


@pytest.mark.parametrize(
    ("data", "dark", "black_and_white"),
    [
        (trained(), 255, "0 for black and 65535 for white"),
        (trained(intensity_range=(0, 4095)), 255, "0 for black and 4095 for white"),
        (trained("percentile", (500.0, 3700.0)), 1200, "500 for black and 3700 for white"),
        (trained("mean_std", ZScore(0, 65535, 2000, 500)), 1000, "500 for black and 3500 for white"),
    ],
)
def test_images_that_are_all_dark_to_the_network_are_noted(data, dark, black_and_white):
    fits = np.array([0, 60000 if data.intensity_range is None else 3000], np.uint16)
    assert grey_value_note([fits], ["a.tif"], data) is None
    odd = np.array([3, dark], np.uint16)
    note = grey_value_note([fits, odd], ["a.tif", "b.tif"], data)
    assert note.startswith(f"the grey values of b.tif lie between 3 and {dark}; the network takes {black_and_white}.")
    assert grey_value_note([odd], ["b.tif"], trained("percentile_per_image")) is None
