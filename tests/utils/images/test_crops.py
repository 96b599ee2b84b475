"""Tests of cutting images into crops and putting them together again."""

import numpy as np
import pytest

from utils.images.crops import (
    crop_grid,
    crop_images,
    crop_starts,
    iterate_crops,
    merge_crops,
    spline_window,
)
from utils.images.padding import PADDING_MODES

OVERLAPS = (0, 0.1, 0.25, 0.33, 0.5, 0.8, 0.9)
SIZES = [(64, 64), (50, 37), (33, 64), (16, 16), (17, 31), (10, 40), (40, 10), (5, 7), (1, 1), (1, 30)]


def random_image(shape, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, channels), np.uint8)


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("crop_shape", [(16, 16), (12, 20), (1, 1)])
def test_crop_then_merge_is_the_identity(shape, crop_shape, overlap):
    image = random_image(shape, channels=2)
    merged = merge_crops(iterate_crops(image, crop_shape, overlap=overlap), image.shape, overlap=overlap)
    assert merged.dtype == np.float32
    np.testing.assert_allclose(merged, image, rtol=1e-6)


@pytest.mark.parametrize("overlap", [(0, 0.5), (0.8, 0.1)])
def test_overlap_can_differ_per_axis(overlap):
    image = random_image((40, 50))
    crops = crop_images([image], (16, 16), overlap=overlap)
    assert len(crops) == len(crop_starts(40, 16, overlap[0])) * len(crop_starts(50, 16, overlap[1]))
    np.testing.assert_allclose(merge_crops(crops, image.shape, overlap=overlap), image, rtol=1e-6)


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("crop", [1, 2, 5, 16, 31])
def test_every_pixel_is_covered_and_the_last_crop_is_flush(crop, overlap):
    for length in range(1, 80):
        starts = crop_starts(length, crop, overlap)
        covered = np.zeros(max(length, crop), int)
        for start in starts:
            covered[start : start + crop] += 1
        assert covered.all()
        assert starts[0] == 0
        assert starts[-1] == max(0, length - crop)
        assert all(a < b for a, b in zip(starts, starts[1:], strict=False)), "each crop is there once, in order"


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize(("length", "crop"), [(100, 16), (1000, 64), (77, 20), (513, 256)])
def test_neighbours_overlap_by_the_wanted_fraction_within_a_pixel(length, crop, overlap):
    steps = np.diff(crop_starts(length, crop, overlap))
    assert steps.max() < crop * (1 - overlap) + 1


@pytest.mark.parametrize(
    ("length", "crop", "overlap", "count"),
    [(1024, 256, 0, 4), (1024, 256, 0.5, 7), (1025, 256, 0, 5), (768, 256, 0, 3), (256, 256, 0.9, 1),
     (100, 256, 0.5, 1), (9, 5, 0.8, 5), (30, 10, 0.9, 21)],
)  # fmt: skip
def test_number_of_crops(length, crop, overlap, count):
    assert len(crop_starts(length, crop, overlap)) == count


def test_grid_is_listed_row_by_row():
    assert crop_grid((4, 6, 1), (2, 3, 1)) == [(0, 0), (0, 3), (2, 0), (2, 3)]


@pytest.mark.parametrize("overlap", [1, 1.0, 1.5, -0.1, float("nan")])
def test_impossible_overlap_is_refused(overlap):
    with pytest.raises(ValueError, match=f"overlap of {overlap} is not possible.*below 1"):
        crop_starts(100, 10, overlap)


def test_crops_are_views_when_nothing_is_padded():
    image = random_image((32, 48))
    assert all(np.shares_memory(crop, image) for crop in crop_images([image], (16, 16), overlap=0.5))


def test_crops_of_several_images_come_image_after_image():
    first, second = random_image((16, 32), seed=1), random_image((32, 16), seed=2)
    crops = crop_images([first, second], (16, 16, 1))
    expected = [first[:, :16], first[:, 16:], second[:16], second[16:]]
    assert len(crops) == 4
    assert all(np.array_equal(a, b) for a, b in zip(crops, expected, strict=True))


def test_small_image_gives_one_mirrored_crop():
    image = np.array([[1, 2], [3, 4]], np.uint8)[..., np.newaxis]
    (crop,) = crop_images([image], (4, 4))
    assert crop[..., 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


def test_merging_uint8_does_not_overflow():
    crops = [np.full((4, 4, 1), 200, np.uint8)] * 3
    merged = merge_crops(crops, (4, 8), overlap=0.5)
    assert np.all(merged == 200)


def test_overlapping_crops_are_averaged():
    crops = [np.zeros((1, 4, 1), np.float32), np.ones((1, 4, 1), np.float32)]
    merged = merge_crops(crops, (1, 6), overlap=0.5)
    assert merged[0, :, 0].tolist() == [0, 0, 0.5, 0.5, 1, 1]


def test_window_weights_the_mean():
    window = np.array([1, 1, 1, 3], np.float32).reshape(1, 4, 1)
    crops = [np.zeros((1, 4, 1), np.float32), np.ones((1, 4, 1), np.float32)]
    merged = merge_crops(crops, (1, 6), overlap=0.5, window=window)
    assert merged[0, :, 0].tolist() == [0, 0, 1 / 2, 1 / 4, 1, 1]


def test_merging_reads_crops_one_by_one():
    read = []
    crops = (read.append(number) or np.zeros((4, 4, 1)) for number in range(100))
    merge_crops(crops, (8, 8))
    assert read == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [2, 8, 16, 100, 256])
def test_spline_windows_shifted_by_half_a_crop_sum_to_a_constant(size):
    window = spline_window((size, size))[..., 0]
    along_y = window + np.roll(window, size // 2, axis=0)
    both = along_y + np.roll(along_y, size // 2, axis=1)
    np.testing.assert_allclose(both, 4, atol=1e-4)


@pytest.mark.parametrize("shape", [(16, 16), (17, 33), (1, 1), (256, 64), (512, 512), (4, 17, 8)])
def test_spline_window_is_positive_symmetric_and_has_mean_one(shape):
    window = spline_window(shape)
    assert window.shape == (*shape, 1)
    assert window.dtype == np.float32
    assert window.min() > 0
    assert window.mean() == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(window, np.flip(window, range(window.ndim - 1)), rtol=1e-4, atol=1e-6)


def test_spline_window_peaks_in_the_middle():
    window = spline_window((32, 32))[..., 0]
    assert np.unravel_index(window.argmax(), window.shape) in [(15, 15), (15, 16), (16, 15), (16, 16)]
    assert window.max() > 3 > 1e-2 > window[0, 0]


# --- volumes


VOLUME_SIZES = [(20, 24, 28), (5, 24, 9), (1, 7, 30), (33, 8, 8)]


@pytest.mark.parametrize("overlap", (0, 0.33, 0.5, 0.8, (0.5, 0, 0.25)))
@pytest.mark.parametrize("size", VOLUME_SIZES)
@pytest.mark.parametrize("crop_shape", [(8, 8, 8, 1), (4, 12, 10), (1, 16, 16)])
def test_crop_then_merge_is_the_identity_for_volumes(size, crop_shape, overlap):
    volume = random_image(size, channels=2)
    merged = merge_crops(iterate_crops(volume, crop_shape, overlap=overlap), volume.shape, overlap=overlap)
    np.testing.assert_allclose(merged, volume, rtol=1e-6)


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("padding", [1, (2, 3, 0)])
@pytest.mark.parametrize("overlap", [0, 0.5])
@pytest.mark.parametrize("size", VOLUME_SIZES)
def test_crop_with_margins_then_merge_is_the_identity(size, overlap, padding, mode):
    volume = random_image(size)
    crops = list(iterate_crops(volume, (8, 10, 8), overlap=overlap, padding=padding, padding_mode=mode))
    assert {crop.shape for crop in crops} == {(8, 10, 8, 1)}
    merged = merge_crops(crops, volume.shape, overlap=overlap, padding=padding)
    np.testing.assert_allclose(merged, volume, rtol=1e-6)


def test_margins_are_not_merged():
    volume = random_image((6, 12, 12))
    crops = [np.full(crop.shape, 9.0) for crop in iterate_crops(volume, (6, 6, 6), padding=(1, 1, 1))]
    for crop in crops:
        crop[1:-1, 1:-1, 1:-1] = 1
    assert (merge_crops(crops, volume.shape, padding=(1, 1, 1)) == 1).all()


@pytest.mark.parametrize("padding", [4, (0, 5, 0), -1])
def test_margins_that_leave_nothing_are_refused(padding):
    with pytest.raises(ValueError, match="Use less than half of the crop"):
        list(iterate_crops(random_image((9, 9, 9)), (8, 8, 8), padding=padding))
