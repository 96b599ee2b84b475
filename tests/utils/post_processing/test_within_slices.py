"""Tests of the post-processing within slices: doubtful objects are removed, holes are filled."""

import numpy as np
import pytest
from scipy import ndimage

from utils.post_processing.within_slices import check_min_probability, fill_holes, spurious_filter

SHAPE = (72, 96)


def disc(center, radius, shape=SHAPE):
    y, x = np.indices(shape)
    return (y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2


def probability(*parts, shape=SHAPE, background=0.1):
    """Return a float32 (y, x, 1) of masks and their values; later ones lie on top."""
    image = np.full(shape, background, np.float32)
    for mask, value in parts:
        image[mask] = value
    return image[..., np.newaxis]


def spurious(prediction, **settings):
    [found] = spurious_filter([prediction], **settings)
    return found


MITOCHONDRION, BLOB = disc((30, 30), 14), disc((50, 80), 4)


def filled(prediction):
    [found] = fill_holes([prediction])
    return found


def ring(hole=np.s_[4:6, 4:7], shape=(12, 14)):
    image = np.full(shape, 0.1, np.float32)
    image[2:8, 2:9] = 0.9
    image[hole] = 0.3
    return image[..., np.newaxis]


def noise(shape, seed):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1)
    return (smooth > np.quantile(smooth, 0.45)).astype(np.float32)[..., np.newaxis]


def test_spurious_blob_goes_and_mitochondrion_stays():
    prediction = probability((MITOCHONDRION, 0.95), (BLOB, 0.7))
    found = spurious(prediction)
    assert not found[BLOB].any()
    assert np.array_equal(found[~BLOB], prediction[~BLOB])
    assert found.dtype == prediction.dtype


def test_the_mean_decides_not_each_pixel():
    prediction = probability((MITOCHONDRION, 0.55), (disc((30, 30), 12), 1.0))
    assert np.array_equal(spurious(prediction), prediction)


@pytest.mark.parametrize("weak", range(4))
def test_every_component_is_examined_the_last_one_too(weak):
    places = [np.s_[2:6, 2:6], np.s_[2:6, 20:24], np.s_[30:34, 2:6], np.s_[68:72, 92:96]]
    prediction = probability(*((place, 0.6 if number == weak else 0.9) for number, place in enumerate(places)))
    found = spurious(prediction)
    assert [bool(found[place].any()) for place in places] == [number != weak for number in range(4)]


def test_diagonal_neighbours_are_one_doubtful_component():
    prediction = np.array([[0.95, 0.0], [0.0, 0.7]])[..., np.newaxis]
    assert np.array_equal(spurious(prediction), prediction)
    assert spurious(prediction, min_probability=0.9).max() == 0


def test_limit_itself_stays_and_half_removes_nothing():
    prediction = probability((MITOCHONDRION, 0.75), (BLOB, 0.51))
    assert spurious(prediction, min_probability=0.75)[MITOCHONDRION].all()
    assert np.array_equal(spurious(prediction, min_probability=0.5), prediction)


@pytest.mark.parametrize("value, stays", [(0.0, True), (0.7, False), (1.0, True)])
def test_uniform_slices(value, stays):
    prediction = np.full((*SHAPE, 1), value, np.float32)
    assert np.array_equal(spurious(prediction), prediction if stays else np.zeros_like(prediction))


def test_spurious_filter_takes_volumes_and_slices_of_any_size():
    slices = [probability((MITOCHONDRION, 0.95), (BLOB, value)) for value in (0.6, 0.9, 0.7)]
    expected = np.stack(list(spurious_filter(slices)))
    [volume] = spurious_filter([np.stack(slices)])
    assert np.array_equal(volume, expected)
    assert [bool(image[BLOB].any()) for image in volume] == [False, True, False]
    sizes = [(4, 5, 1), (7, 3, 1)]
    assert [found.shape for found in spurious_filter(np.zeros(size) for size in sizes)] == sizes
    assert list(spurious_filter([])) == []


@pytest.mark.parametrize("value", [0.4, 1.1, -1, float("nan")])
def test_impossible_probabilities_are_refused(value):
    with pytest.raises(ValueError, match="min_probability is .* such as 0.8"):
        list(spurious_filter([probability()], value))


def test_the_check_names_the_variable_of_a_template():
    with pytest.raises(ValueError, match="^SPURIOUS_BELOW is 0.3"):
        check_min_probability(0.3, name="SPURIOUS_BELOW")
    check_min_probability(0.5)


def test_holes_get_one_and_all_else_stays():
    image = ring()
    found = filled(image)
    expected = image.copy()
    expected[4:6, 4:7] = 1
    assert np.array_equal(found, expected) and found.dtype == image.dtype


def test_what_meets_the_border_is_no_hole():
    image = ring(np.s_[4:6, 4:14])
    assert np.array_equal(filled(image), image)
    cut = ring()[4:]  # the hole is cut by the border
    assert np.array_equal(filled(cut), cut)


def test_a_diagonal_gap_closes_a_hole():
    image = ring()
    image[2, 2] = image[3, 3] = 0.1
    assert filled(image)[4, 4, 0] == 1


def test_an_object_in_a_hole_stays_and_the_ring_around_it_is_filled():
    image = np.full((15, 15, 1), 0.9)
    image[3:12, 3:12] = 0.2
    image[6:9, 6:9] = 0.7
    found = filled(image)
    assert (found[6:9, 6:9] == 0.7).all() and (found[3:6, 3:12] == 1).all()


@pytest.mark.parametrize("seed", range(4))
def test_equals_scipy(seed):
    image = noise((40, 50), seed)
    # SciPy takes what is beyond the array for background, as we do, so both agree.
    expected = ndimage.binary_fill_holes(image[..., 0])
    assert np.array_equal(filled(image)[..., 0] > 0.5, expected)


def test_volumes_are_filled_slice_by_slice():
    slices = [ring(), ring(np.s_[4:6, 3:7]), ring(np.s_[4:6, 4:14])]
    [volume] = fill_holes([np.stack(slices)])
    assert np.array_equal(volume, np.stack(list(fill_holes(iter(slices)))))
    assert (volume[:2, 4, 4] == 1).all() and volume[2, 4, 4] < 0.5


@pytest.mark.parametrize("process", [fill_holes, spurious_filter])
def test_two_classes_sizes_and_inputs_left_alone(process):
    both = np.concatenate([1 - ring(), ring()], axis=-1)
    before = both.copy()
    [found] = process([both])
    [alone] = process([ring()])
    assert np.array_equal(both, before)
    np.testing.assert_allclose(found[..., 1:], alone)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)
    sizes = [(4, 5, 1), (7, 3, 1)]
    assert [found.shape for found in process(np.zeros(size) for size in sizes)] == sizes
    assert list(process([])) == []


@pytest.mark.parametrize("process", [fill_holes, spurious_filter])
def test_slices_are_read_as_needed(process):
    read = []
    slices = (read.append(number) or ring() for number in range(10))
    next(process(slices))
    assert len(read) <= 2


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_uniform_volumes_have_no_holes(value):
    volume = np.full((3, 6, 7, 1), value, np.float32)
    assert np.array_equal(filled(volume), volume)


@pytest.mark.parametrize("process", [fill_holes, spurious_filter])
@pytest.mark.parametrize(
    "prediction, message",
    [(np.zeros((*SHAPE, 3)), "3 classes.*one by one"), (np.zeros((*SHAPE, 1), np.uint8), "dtype uint8.*floats")],
    ids=["classes", "dtype"],
)
def test_what_is_no_foreground_probability_is_refused(process, prediction, message):
    with pytest.raises(ValueError, match=message):
        list(process([prediction]))
