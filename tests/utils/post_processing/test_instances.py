"""Tests of instances from probabilities: what touches parts at necks, what is merely long stays whole."""

import numpy as np
import pytest
from scipy import ndimage

from utils.post_processing.instances import instances_from_probability

Y, X = np.indices((60, 100))


def disc(y, x, radius):
    return (Y - y) ** 2 + (X - x) ** 2 <= radius**2


def capsule(y, x_first, x_last, radius):
    return (Y - y) ** 2 + (X - np.clip(X, x_first, x_last)) ** 2 <= radius**2


def prediction(mask, value=0.9):
    return (value * mask).astype(np.float32)[..., np.newaxis]


def instances(mask, **settings):
    return instances_from_probability(prediction(mask), **settings)[..., 0]


TOUCHING = disc(30, 30, 14) | disc(30, 54, 14)  # the neck between them is 14 wide
LONG = capsule(30, 20, 80, 12)


def test_touching_discs_part_in_the_middle():
    labels = instances(TOUCHING, min_distance=9)
    assert labels.dtype == np.int32 and labels.max() == 2
    assert np.array_equal(labels > 0, TOUCHING)
    assert len(np.unique(labels[:, :42][TOUCHING[:, :42]])) == 1 == len(np.unique(labels[:, 43:][TOUCHING[:, 43:]]))
    assert labels[30, 30] != labels[30, 54]


@pytest.mark.parametrize("min_distance", [0, 3, 6, 9, 11, 13])
def test_a_long_object_stays_whole(min_distance):
    assert np.array_equal(instances(LONG, min_distance=min_distance), LONG)


@pytest.mark.parametrize("min_distance, count", [(0, 1), (6.9, 1), (8.5, 2), (13, 2), (15, 1)])
def test_necks_below_twice_the_distance_part(min_distance, count):
    assert instances(TOUCHING, min_distance=min_distance).max() == count


def test_distances_are_in_nanometres():
    assert instances(TOUCHING, min_distance=45, voxel_size_nm=5).max() == 2
    assert instances(TOUCHING, min_distance=30, voxel_size_nm=5).max() == 1


def spheres(voxel_size_nm):
    z, y, x = (np.arange(0, length, size) for length, size in zip((200, 200, 340), voxel_size_nm, strict=True))
    z, y, x = np.meshgrid(z, y, x, indexing="ij")
    return [(z - 100) ** 2 + (y - 100) ** 2 + (x - center) ** 2 <= 80**2 for center in (100, 240)]


@pytest.mark.parametrize("voxel_size_nm", [(10, 10, 10), (40, 5, 5)])
def test_touching_spheres_part_in_anisotropic_volumes(voxel_size_nm):
    left, right = spheres(voxel_size_nm)
    labels = instances(left | right, min_distance=55, voxel_size_nm=voxel_size_nm)
    assert labels.max() == 2 and np.array_equal(labels > 0, left | right)
    for sphere in (left, right):
        _, counts = np.unique(labels[sphere], return_counts=True)
        assert counts.max() > 0.97 * sphere.sum()


@pytest.mark.parametrize("size, min_distance, count", [((4, 4, 4), 6, 2), ((40, 4, 4), 6, 1), ((40, 4, 4), 45, 2)])
def test_a_neck_of_one_slice_is_as_thick_as_the_slice(size, min_distance, count):
    mask = np.zeros((7, 40, 70), bool)
    mask[1:6, 5:35, 5:30] = mask[1:6, 5:35, 40:65] = True
    mask[3, 5:35, 30:40] = True  # 30 voxels wide
    assert instances(mask, min_distance=min_distance, voxel_size_nm=size).max() == count


def test_contours_part():
    contour = prediction(np.abs(X - 42) <= 1, 1.0)
    labels = instances_from_probability(prediction(TOUCHING), contour=contour)[..., 0]
    assert labels.max() == 2 and np.array_equal(labels > 0, TOUCHING)
    assert len(np.unique(labels[:, :41][TOUCHING[:, :41]])) == 1 == len(np.unique(labels[:, 44:][TOUCHING[:, 44:]]))
    assert instances_from_probability(prediction(TOUCHING), contour=0.4 * contour).max() == 1
    assert instances_from_probability(prediction(TOUCHING), contour=0.6 * contour).max() == 2


def test_predicted_distances_are_used_in_their_own_unit():
    distance = np.maximum(1 - np.hypot(Y - 30, X - 30) / 14, 1 - np.hypot(Y - 30, X - 54) / 14)
    for dtype, scale in ((np.float32, 1), (np.uint8, 200)):
        predicted = np.clip(scale * distance, 0, None).astype(dtype)[..., np.newaxis]
        settings = {"distance": predicted, "voxel_size_nm": 5}
        assert instances(TOUCHING, min_distance=0.4 * scale, **settings).max() == 2
        assert instances(TOUCHING, min_distance=0.05 * scale, **settings).max() == 1


def test_every_component_is_an_instance_by_default():
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((40, 50)), 1.5)
    mask = smooth > np.quantile(smooth, 0.7)
    expected, count = ndimage.label(mask, np.ones((3, 3)))
    assert count > 3 and np.array_equal(instances(mask), expected)


def test_small_components_go_and_numbers_have_no_gaps():
    mask = disc(10, 10, 1) | disc(30, 40, 8) | disc(50, 10, 1) | disc(50, 80, 6)
    labels = instances(mask, min_voxels=20)
    assert sorted(np.unique(labels)) == [0, 1, 2]
    assert np.array_equal(labels > 0, disc(30, 40, 8) | disc(50, 80, 6))
    for limit, count in ((5, 4), (6, 2), (10**6, 0)):
        assert instances(mask, min_voxels=limit).max() == count


def test_small_parts_stay_with_their_neighbour():
    mask = disc(30, 30, 14) | disc(30, 50, 8)
    assert instances(mask, min_distance=7.5).max() == 2
    assert np.array_equal(instances(mask, min_distance=7.5, min_voxels=400), mask)
    assert np.array_equal(instances(TOUCHING, min_distance=9, min_voxels=1000), TOUCHING)
    three = TOUCHING | disc(30, 76, 10)
    assert instances(three, min_distance=9).max() == 3
    labels = instances(three, min_distance=9, min_voxels=400)
    assert labels.max() == 2 and labels[30, 76] == labels[30, 54] and np.array_equal(labels > 0, three)


def test_what_hangs_on_by_a_corner_gets_the_label_of_its_neighbour():
    for column in (30, 54):
        mask = TOUCHING.copy()
        mask[15, column + 1] = True  # the top of the disc is one pixel, at (16, column)
        labels = instances(mask, min_distance=9)
        assert labels.max() == 2 and labels[15, column + 1] == labels[16, column]


@pytest.mark.parametrize("predicted_distance", [False, True])
def test_parts_meet_at_the_neck_however_different_they_are(predicted_distance):
    large, small = disc(30, 30, 22), disc(30, 61, 10)
    distance = np.maximum(22 - np.hypot(Y - 30, X - 30), 10 - np.hypot(Y - 30, X - 61)).clip(0)[..., np.newaxis]
    settings = {"distance": distance} if predicted_distance else {}
    labels = instances(large | small, min_distance=5, **settings)
    assert labels.max() == 2
    assert (labels[large & ~small] == labels[30, 30]).mean() > 0.99
    assert (labels[small & ~large] == labels[30, 61]).mean() > 0.97


def test_parts_meet_where_the_contour_is_strongest():
    bar = (np.abs(Y - 30) < 10) & (np.abs(X - 50) < 45)
    contour = np.where(X < 40, 1 - (40 - X) / 4, 1 - (X - 40) / 40).clip(0)[..., np.newaxis]
    labels = instances_from_probability(prediction(bar), contour=contour)[..., 0]
    assert labels.max() == 2
    assert (labels[bar & (X < 39)] == labels[30, 10]).all() and (labels[bar & (X > 41)] == labels[30, 90]).all()


def test_numbers_of_several_parted_objects_are_different_and_have_no_gaps():
    parted = np.concatenate([TOUCHING[:, :75]] * 3, axis=1)
    for settings, count in (({}, 6), ({"min_voxels": 1000}, 3)):
        labels = instances(parted, min_distance=9, **settings)
        assert sorted(np.unique(labels)) == list(range(count + 1))
        assert all(ndimage.label(labels == number, np.ones((3, 3)))[1] == 1 for number in range(1, count + 1))
    whole_then_parted = np.concatenate([TOUCHING[:, :75], disc(38, 25, 21) | disc(38, 63, 21)], axis=1)
    labels = instances(whole_then_parted, min_distance=12, min_voxels=700)
    assert len({labels[30, 30], labels[38, 75 + 25], labels[38, 75 + 63]}) == labels.max() == 3
    assert labels[30, 30] == labels[30, 54]


def test_two_classes_and_inputs_left_alone():
    probability = prediction(TOUCHING, 0.6)
    both = np.concatenate([1 - probability, probability], axis=-1)
    before = both.copy()
    found = instances_from_probability(both, min_distance=9)
    assert np.array_equal(found, instances_from_probability(probability, min_distance=9))
    assert np.array_equal(both, before)


def test_nothing_and_everything():
    empty = np.zeros((20, 30, 1), np.float32)
    assert instances_from_probability(empty, min_distance=3).max() == 0
    assert (instances_from_probability(empty + 1, min_distance=3) == 1).all()


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"min_distance": -1}, "min_distance is -1"),
        ({"min_distance": float("nan")}, "min_distance is nan"),
        ({"min_voxels": -1}, "min_voxels is -1"),
        ({"min_voxels": 1.5}, "min_voxels is 1.5"),
        ({"voxel_size_nm": (5, 5, 5)}, "3 values for 2 axes"),
        ({"voxel_size_nm": 0}, "wanted positive nanometres"),
        ({"contour": np.zeros((60, 99, 1))}, r"predicted contour has the size \(60, 99\)"),
        ({"distance": np.zeros((60, 100, 2))}, r"predicted distance has the shape \(60, 100, 2\)"),
    ],
)
def test_mistakes_are_said(wrong, message):
    with pytest.raises(ValueError, match=message):
        instances_from_probability(prediction(TOUCHING), **wrong)


def test_masks_and_several_classes_are_refused():
    with pytest.raises(ValueError, match="dtype uint8"):
        instances_from_probability(TOUCHING[..., np.newaxis].astype(np.uint8))
    with pytest.raises(ValueError, match="3 classes"):
        instances_from_probability(np.zeros((4, 5, 3)))
