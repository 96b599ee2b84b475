"""Tests of the z-filter."""

import numpy as np
import pytest
from scipy import ndimage

from utils.post_processing.z_filter import z_filter


def filtered(volume, size=5):
    return np.stack(list(z_filter(iter(volume), size)))


def test_blob_in_one_slice_goes():
    volume = np.zeros((9, 6, 7, 1), np.float32)
    volume[4, 2:4, 2:5] = 1
    assert not filtered(volume).any()


@pytest.mark.parametrize("size", [1, 3, 5])
def test_step_along_z_stays(size):
    volume = np.zeros((10, 4, 4, 1), np.float32)
    volume[5:] = 1
    assert np.array_equal(filtered(volume, size), volume)


@pytest.mark.parametrize("line", [np.s_[:, 3, :], np.s_[:, :, 2]], ids=["thin in y", "thin in x"])
def test_line_that_is_thin_within_the_slices_stays(line):
    volume = np.zeros((8, 7, 6, 1), np.float32)
    volume[line] = 1
    assert np.array_equal(filtered(volume), volume)


@pytest.mark.parametrize("length", range(1, 13))
@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_equals_the_mirrored_median_of_scipy(length, size):
    volume = np.random.default_rng(length).random((length, 4, 5, 2)).astype(np.float32)
    expected = ndimage.median_filter(volume, size=(size, 1, 1, 1), mode="reflect")
    found = filtered(volume, size)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)


def test_slices_are_read_as_needed():
    read = []
    slices = (read.append(number) or np.zeros((2, 2, 1)) for number in range(100))
    smooth = z_filter(slices, 5)
    next(smooth)
    assert len(read) <= 5
    next(smooth)
    assert len(read) <= 6


def test_input_is_left_alone():
    volume = np.random.default_rng(0).random((6, 3, 3, 1))
    before = volume.copy()
    filtered(volume)
    assert np.array_equal(volume, before)


@pytest.mark.parametrize("size", [3, 5])
def test_empty_volume_stays_empty(size):
    assert list(z_filter([], size)) == []


@pytest.mark.parametrize("size", [0, 2, 4, -3])
def test_size_without_a_middle_is_refused(size):
    with pytest.raises(ValueError, match=f"size {size} has no middle slice.*such as 5"):
        list(z_filter([np.zeros((2, 2, 1))] * 5, size))


@pytest.mark.parametrize("length", [2, 9])
def test_slices_of_different_sizes_are_refused(length):
    slices = [np.zeros((4, 4, 1))] * (length - 1) + [np.zeros((4, 5, 1))]
    with pytest.raises(ValueError, match=r"shapes \(4, 4, 1\) and \(4, 5, 1\)|shapes \(4, 5, 1\) and \(4, 4, 1\)"):
        list(z_filter(slices))


def test_volumes_are_filtered_each_by_itself():
    volumes = [np.random.default_rng(n).random((count, 4, 5, 1)).astype(np.float32) for n, count in enumerate((6, 9))]
    for volume, found in zip(volumes, z_filter(iter(volumes), 3), strict=True):
        assert np.array_equal(found, np.stack(list(z_filter(volume, 3))))
