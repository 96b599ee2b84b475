"""Tests of closing holes and removing small objects, slice by slice and in volumes."""

import numpy as np
import pytest
from scipy import ndimage

from utils.post_processing.morphology import fill_holes, remove_small_components


def filled(prediction, **settings):
    [found] = fill_holes([prediction], **settings)
    return found


def without_small(prediction, min_pixels):
    [found] = remove_small_components([prediction], min_pixels)
    return found


def ring(hole=np.s_[4:6, 4:7], shape=(12, 14)):
    image = np.full(shape, 0.1, np.float32)
    image[2:8, 2:9] = 0.9
    image[hole] = 0.3
    return image[..., np.newaxis]


def noise(shape, seed):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1)
    return (smooth > np.quantile(smooth, 0.45)).astype(np.float32)[..., np.newaxis]


def test_holes_get_one_and_all_else_stays():
    image = ring()
    found = filled(image)
    expected = image.copy()
    expected[4:6, 4:7] = 1
    assert np.array_equal(found, expected) and found.dtype == image.dtype


@pytest.mark.parametrize("max_size, closed", [(None, True), (6, True), (5, False), (0, False)])
def test_size_of_holes(max_size, closed):
    assert (filled(ring(), max_size=max_size)[4, 4, 0] == 1) == closed


def test_what_meets_the_border_is_no_hole():
    image = ring(np.s_[4:6, 4:14])
    assert np.array_equal(filled(image), image)
    cut = ring()[4:]  # the hole is cut by the border
    assert np.array_equal(filled(cut), cut)


def test_a_diagonal_gap_closes_a_hole():
    image = ring()
    image[2, 2] = image[3, 3] = 0.1
    assert filled(image)[4, 4, 0] == 1


def test_an_object_in_a_hole_stays_and_the_ring_around_it_closes():
    image = np.full((15, 15, 1), 0.9)
    image[3:12, 3:12] = 0.2
    image[6:9, 6:9] = 0.7
    found = filled(image, max_size=72)
    assert (found[6:9, 6:9] == 0.7).all() and (found[3:6, 3:12] == 1).all()
    assert np.array_equal(filled(image, max_size=71), image)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("per_slice, shape", [(True, (40, 50)), (False, (8, 14, 16)), (False, (1, 20, 20))])
def test_equals_scipy(seed, per_slice, shape):
    volume = noise(shape, seed)
    # SciPy takes what is beyond the array for background, as we do, so both agree.
    expected = ndimage.binary_fill_holes(volume[..., 0])
    assert np.array_equal(filled(volume, per_slice=per_slice)[..., 0] > 0.5, expected)


def test_a_tube_along_z_is_closed_slice_by_slice_only():
    tube = np.stack([ring()] * 5)
    assert (filled(tube)[:, 4, 4] == 1).all()
    assert np.array_equal(filled(tube, per_slice=False), tube)
    tube[0] = tube[-1] = ring(np.s_[0:0, 0:0])
    assert (filled(tube, per_slice=False)[1:-1, 4, 4] == 1).all()
    assert (filled(tube, per_slice=False, max_size=17)[1:-1, 4, 4] < 0.5).all()


def test_slices_are_one_volume_and_volumes_each_their_own():
    closed, open_ = ring(np.s_[0:0, 0:0]), ring()
    slices = [closed, open_, closed]
    for process in (lambda p: fill_holes(p, per_slice=False), fill_holes):
        [volume] = process([np.stack(slices)])
        assert np.array_equal(np.stack(list(process(iter(slices)))), volume)
    two = [np.stack([closed, open_]), np.stack([open_, closed])]
    assert all(np.array_equal(a, b) for a, b in zip(fill_holes(two, per_slice=False), two, strict=True))


def test_small_components_go_slice_by_slice():
    image = ring()
    image[10:12, 10:13] = 0.6  # 6 pixels
    expected = image.copy()
    expected[10:12, 10:13] = 0
    assert np.array_equal(without_small(image, 7), expected)
    assert np.array_equal(without_small(image, 6), image)
    volume = np.stack([image, ring()])
    assert np.array_equal(without_small(volume, 7), np.stack([expected, ring()]))


def test_diagonal_neighbours_are_one_component():
    image = np.array([[0.9, 0.0], [0.0, 0.7]])[..., np.newaxis]
    assert np.array_equal(without_small(image, 2), image)
    assert not without_small(image, 3).any()


@pytest.mark.parametrize("seed", range(3))
def test_small_components_equal_the_definition(seed):
    image = 1 - noise((40, 50), seed)
    labels, count = ndimage.label(image[..., 0], np.ones((3, 3)))
    assert count > 3
    expected = sum((labels == k) * 1.0 for k in range(1, count + 1) if (labels == k).sum() >= 20)
    assert np.array_equal(without_small(image, 20)[..., 0], expected)


@pytest.mark.parametrize("process", [fill_holes, lambda p: remove_small_components(p, 5)])
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


@pytest.mark.parametrize("process", [fill_holes, lambda p: remove_small_components(p, 5)])
def test_slices_are_read_as_needed(process):
    read = []
    slices = (read.append(number) or ring() for number in range(10))
    next(process(slices))
    assert len(read) <= 2


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("per_slice", [True, False])
def test_uniform_volumes_stay(value, per_slice):
    volume = np.full((3, 6, 7, 1), value, np.float32)
    assert np.array_equal(filled(volume, per_slice=per_slice), volume)


def test_mistakes_are_said():
    with pytest.raises(ValueError, match="max_size is -1.*None"):
        list(fill_holes([ring()], max_size=-1))
    with pytest.raises(ValueError, match="min_pixels is -1"):
        list(remove_small_components([ring()], -1))
    with pytest.raises(ValueError, match=r"shapes \(4, 4, 1\) and \(4, 5, 1\)"):
        list(fill_holes([np.zeros((4, 4, 1)), np.zeros((4, 5, 1))], per_slice=False))
    with pytest.raises(ValueError, match="3 classes"):
        list(fill_holes([np.zeros((4, 4, 3))]))
