"""Tests of the post-processing across slices: what is small or seen once goes, gaps of one slice close."""

import numpy as np
import pytest
from scipy import ndimage

from utils.post_processing.across_slices import check_min_overlap, check_min_size, fuse_layers, remove_small_objects


def volume_of(*boxes, shape=(10, 12, 14), value=0.9):
    """Return a float32 (z, y, x, 1) that is ``value`` in some boxes and 0.1 elsewhere."""
    volume = np.full((*shape, 1), 0.1, np.float32)
    for box in boxes:
        volume[box] = value
    return volume


def without_small(volume, *limits, **options):
    return np.stack(list(remove_small_objects(iter(volume), *limits, **options)))


def fused(volume, **options):
    return np.stack(list(fuse_layers(iter(volume), **options)))


MITOCHONDRION = np.s_[1:8, 2:6, 2:7]
BLOB = np.s_[3:5, 9:11, 10:12]
ONE_LAYER = np.s_[6:7, 8:12, 8:13]
LAST = np.s_[8:10, 10:12, 12:14]


@pytest.mark.parametrize("limits", [{"min_size": 30}, {"min_size": 0, "min_slices": 3}])
def test_small_object_goes_and_mitochondrion_stays(limits):
    volume = volume_of(MITOCHONDRION, BLOB)
    assert np.array_equal(without_small(volume, **limits)[MITOCHONDRION], volume[MITOCHONDRION])
    assert not without_small(volume, **limits)[BLOB].any()
    assert np.array_equal(without_small(volume, **limits) == 0.1, volume == 0.1)


@pytest.mark.parametrize(
    "limits, kept",
    [((8, 1), 3), ((9, 1), 2), ((20, 1), 2), ((21, 1), 1), ((140, 1), 1), ((141, 1), 0)]
    + [((0, 2), 2), ((0, 3), 1), ((0, 7), 1), ((0, 8), 0)],
)
def test_each_limit_by_itself(limits, kept):
    voxels, slices = limits
    volume = volume_of(MITOCHONDRION, BLOB, ONE_LAYER)  # 140 voxels in 7 slices, 8 in 2, 20 in 1
    order = (MITOCHONDRION, ONE_LAYER, BLOB) if slices == 1 else (MITOCHONDRION, BLOB, ONE_LAYER)
    found = without_small(volume, voxels, min_slices=slices)
    assert [bool(found[box].any()) for box in order] == [number < kept for number in range(3)]


@pytest.mark.parametrize("small", [MITOCHONDRION, BLOB, LAST])
def test_the_last_object_is_examined(small):
    boxes = [MITOCHONDRION, BLOB, LAST]
    volume = volume_of(*boxes)
    volume[small] = 0.1
    corner = tuple(slice(part.start, part.start + 1) for part in small)
    volume[corner] = 0.9
    found = without_small(volume, 2)
    expected = volume.copy()
    expected[corner] = 0
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("limits", [(0, 1), (4, 1), (12, 2), (1, 4), (60, 3), (10**6, 1)])
def test_equals_the_components_of_the_whole_volume(seed, limits):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 14)), 11, 13)
    noise = ndimage.gaussian_filter(rng.random(shape), (0.5, 0.5, 0.5))
    volume = (noise > np.quantile(noise, 0.7)).astype(np.float32)[..., np.newaxis]
    neighbours = np.zeros((3, 3, 3), int)
    neighbours[1] = neighbours[:, 1, 1] = 1
    labels, count = ndimage.label(volume[..., 0], neighbours)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    lengths = np.array([0] + [box[0].stop - box[0].start for box in ndimage.find_objects(labels)])
    keep = (sizes >= limits[0]) & (lengths >= limits[1])
    keep[0] = False
    assert np.array_equal(without_small(volume, limits[0], min_slices=limits[1])[..., 0] > 0.5, keep[labels])


def test_branches_that_join_later_are_one_object():
    volume = volume_of(np.s_[0:6, 2:4, 2:4], np.s_[0:6, 2:4, 9:11], np.s_[6:7, 2:4, 2:11])
    assert np.array_equal(without_small(volume, 66), volume)
    assert without_small(volume, 67).max() < 0.5


def test_slices_are_read_as_needed():
    volume, read = volume_of(np.s_[0:100, 2:6, 2:6], np.s_[50:52, 9:11, 9:11], shape=(100, 12, 14)), []
    slices = (read.append(number) or image for number, image in enumerate(volume))
    ahead = [len(read) - number for number, _ in enumerate(remove_small_objects(slices, 100, min_slices=5))]
    assert max(ahead) <= 9


@pytest.mark.parametrize("process", [lambda v: without_small(v, 30), fused])
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_uniform_volumes_stay(process, value, length):
    volume = np.full((length, 6, 7, 1), value, np.float32)
    assert np.array_equal(process(volume), volume)


@pytest.mark.parametrize("process", [lambda v: remove_small_objects(v, 30), fuse_layers])
def test_volumes_each_by_itself_and_empty_ones(process):
    volumes = [volume_of(MITOCHONDRION, ONE_LAYER), volume_of(BLOB, shape=(6, 12, 14))]
    for volume, found in zip(volumes, process(iter(volumes)), strict=True):
        assert np.array_equal(found, np.stack(list(process(volume))))
        assert found.shape == volume.shape and found.dtype == volume.dtype
    assert list(process([])) == []


@pytest.mark.parametrize("process", [lambda v: without_small(v, 30), fused])
def test_two_classes_and_inputs_left_alone(process):
    volume = volume_of(MITOCHONDRION, BLOB, ONE_LAYER)
    both = np.concatenate([1 - volume, volume], axis=-1)
    before = both.copy()
    found = process(both)
    assert np.array_equal(both, before)
    np.testing.assert_allclose(found[..., 1:], process(volume), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)


def test_gap_of_one_slice_closes():
    volume = volume_of(MITOCHONDRION)
    expected = volume.copy()
    volume[4] = 0.1
    assert np.array_equal(fused(volume), expected)
    assert np.array_equal(fused(volume, min_overlap=0), expected)


def test_gap_closes_with_what_both_neighbours_show():
    volume = volume_of(np.s_[0:3, 2:6, 2:8], np.s_[4:7, 2:6, 5:11])
    assert np.array_equal(fused(volume)[3, ..., 0] > 0.5, volume_of(np.s_[0:1, 2:6, 5:8])[0, ..., 0] > 0.5)


def test_gap_of_two_slices_stays():
    volume = volume_of(MITOCHONDRION)
    volume[3:5] = 0.1
    assert np.array_equal(fused(volume), volume)


def test_what_one_slice_shows_goes_and_outlines_stay():
    volume = volume_of(MITOCHONDRION, ONE_LAYER, np.s_[4:5, 1:7, 1:8])  # the mitochondrion is wider in one slice
    found = fused(volume)
    assert not found[ONE_LAYER].any()
    expected = volume.copy()
    expected[ONE_LAYER] = 0
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("z, stays", [(0, True), (9, True), (4, False)])
def test_ends_of_the_volume(z, stays):
    box = np.s_[z : z + 1, 2:6, 2:6]
    volume = volume_of(box, np.s_[1:2, 2:6, 2:6], np.s_[8:9, 2:6, 2:6])
    assert (fused(volume)[box] > 0.5).all() == stays


def test_gap_closed_first_does_not_part_an_object():
    volume = volume_of(MITOCHONDRION)
    expected = volume.copy()
    volume[4] = 0.1
    assert np.array_equal(without_small(fused(volume), 0, min_slices=4), expected)
    assert fused(without_small(volume, 0, min_slices=4)).max() < 0.5


def test_single_slice_stays():
    volume = volume_of(np.s_[:, 2:6, 2:6], shape=(1, 8, 8))
    assert np.array_equal(fused(volume), volume)


@pytest.mark.parametrize("overlap, stays", [(0.0, True), (0.25, True), (0.26, False), (1.0, False)])
def test_share_of_overlap(overlap, stays):
    volume = volume_of(np.s_[0:3, 2:6, 0:4], np.s_[3:4, 2:6, 3:7])
    assert (fused(volume, min_overlap=overlap)[3, 2:6, 3:7] > 0.5).all() == stays


@pytest.mark.parametrize("limits", [{"min_size": -1}, {"min_size": 5, "min_slices": 0}])
def test_impossible_limits_are_refused(limits):
    with pytest.raises(ValueError, match="at least 0 and 1 are needed.*1000 and 3"):
        list(remove_small_objects([], **limits))
    with pytest.raises(ValueError, match="^MIN_VOXELS is .* and MIN_SLICES "):
        check_min_size(limits["min_size"], limits.get("min_slices", 1), names=("MIN_VOXELS", "MIN_SLICES"))


@pytest.mark.parametrize("overlap", [-0.1, 1.1, float("nan")])
def test_impossible_shares_are_refused(overlap):
    with pytest.raises(ValueError, match="min_overlap is .* Use 0.2"):
        list(fuse_layers([], min_overlap=overlap))
    with pytest.raises(ValueError, match="^MIN_LAYER_OVERLAP is "):
        check_min_overlap(overlap, name="MIN_LAYER_OVERLAP")


@pytest.mark.parametrize("process", [lambda v: remove_small_objects(v, 30), fuse_layers])
def test_slices_of_different_sizes_and_several_classes_are_refused(process):
    with pytest.raises(ValueError, match=r"shapes \(4, 4, 1\) and \(4, 5, 1\)"):
        list(process([np.zeros((4, 4, 1)), np.zeros((4, 5, 1))]))
    with pytest.raises(ValueError, match="3 classes"):
        list(process([np.zeros((4, 4, 3))] * 3))


def ring_and_blob():
    image = np.full((12, 14, 1), 0.1, np.float32)
    image[2:8, 2:9] = 0.9
    image[4:6, 4:7] = 0.3
    image[10:12, 10:13] = 0.6  # 6 pixels
    return image


def without_small_per_slice(prediction, min_size):
    [found] = remove_small_objects([prediction], min_size, per_slice=True)
    return found


def test_per_slice_each_component_is_judged_by_itself():
    image = ring_and_blob()
    expected = image.copy()
    expected[10:12, 10:13] = 0
    assert np.array_equal(without_small_per_slice(image, 7), expected)
    assert np.array_equal(without_small_per_slice(image, 6), image)
    volume = np.stack([image, expected, image])  # connected along z the blob would have 12 voxels
    assert np.array_equal(without_small_per_slice(volume, 7), np.stack([expected] * 3))


def test_per_slice_diagonal_neighbours_are_one_component():
    image = np.array([[0.9, 0.0], [0.0, 0.7]])[..., np.newaxis]
    assert np.array_equal(without_small_per_slice(image, 2), image)
    assert not without_small_per_slice(image, 3).any()


@pytest.mark.parametrize("seed", range(3))
def test_per_slice_equals_the_definition(seed):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random((40, 50)), 1)
    mask = smooth <= np.quantile(smooth, 0.45)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    assert count > 3
    expected = sum((labels == k) * 1.0 for k in range(1, count + 1) if (labels == k).sum() >= 20)
    assert np.array_equal(without_small_per_slice(mask[..., np.newaxis] * 1.0, 20)[..., 0], expected)


def test_per_slice_two_classes_sizes_and_inputs_left_alone():
    both = np.concatenate([1 - ring_and_blob(), ring_and_blob()], axis=-1)
    before = both.copy()
    found = without_small_per_slice(both, 7)
    assert np.array_equal(both, before)
    np.testing.assert_allclose(found[..., 1:], without_small_per_slice(ring_and_blob(), 7))
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)
    sizes = [(4, 5, 1), (7, 3, 1)]
    found = remove_small_objects((np.zeros(size) for size in sizes), 5, per_slice=True)
    assert [image.shape for image in found] == sizes
    assert list(remove_small_objects([], 5, per_slice=True)) == []


def test_per_slice_slices_are_read_as_needed():
    read = []
    slices = (read.append(number) or ring_and_blob() for number in range(10))
    next(remove_small_objects(slices, 5, per_slice=True))
    assert len(read) <= 2


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_per_slice_uniform_volumes_stay(value):
    volume = np.full((3, 6, 7, 1), value, np.float32)
    assert np.array_equal(without_small_per_slice(volume, 5), volume)
