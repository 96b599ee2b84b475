"""Tests of the targets made from instance labels: contours, and distances against one transform for each instance."""

import numpy as np
import pytest
from scipy import ndimage

from utils.data.instance_targets import instance_targets


def contours_of(labels):
    return instance_targets(labels, targets=("contour",))


def distances_within(labels, **options):
    return instance_targets(labels, targets=("distance",), **options)


def random_labels(shape, seed, n_labels=12):
    """Return labels in which many instances touch: nearest of some random points, with background between some."""
    rng = np.random.default_rng(seed)
    seeds = np.zeros(shape, np.int32)
    seeds[tuple(rng.integers(0, side, n_labels) for side in shape)] = np.arange(1, n_labels + 1)
    nearest = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    labels = seeds[tuple(nearest)]
    labels[ndimage.gaussian_filter(rng.random(shape), 2) > 0.5] = 0
    return labels[..., np.newaxis]


def naive_distances(labels, size):
    distance = np.zeros(labels.shape)
    for number in np.unique(labels[labels > 0]):
        part = labels[..., 0] == number
        distance[part, 0] = ndimage.distance_transform_edt(part, size)[part]
    return distance


TWO_SQUARES = np.zeros((9, 16, 1), np.uint8)
TWO_SQUARES[1:8, 1:8], TWO_SQUARES[1:8, 8:15] = 1, 2


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "shape, size", [((50, 60), 1.0), ((50, 60), (4.6, 5)), ((9, 25, 30), 5), ((9, 25, 30), (50, 5, 5))]
)
def test_distances_equal_one_transform_for_each_instance(seed, shape, size):
    labels = random_labels(shape, seed)
    found = distances_within(labels, voxel_size_nm=size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, naive_distances(labels, size), rtol=1e-6)


def test_normalised_distances_reach_one_in_every_instance():
    labels = random_labels((50, 60), 0)
    distance, normalised = distances_within(labels), distances_within(labels, normalised=True)
    for number in np.unique(labels[labels > 0]):
        part = labels == number
        np.testing.assert_allclose(normalised[part], distance[part] / distance[part].max(), rtol=1e-6)
    assert (normalised[labels == 0] == 0).all()


def test_known_distances_of_squares_that_touch():
    assert distances_within(TWO_SQUARES)[4, :, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1, 1, 2, 3, 4, 3, 2, 1, 0]
    assert distances_within(TWO_SQUARES, voxel_size_nm=(5, 100))[4, 4, 0] == 20


def test_instance_as_large_as_the_image():
    assert distances_within(np.full((5, 5, 1), 3))[2, :, 0].tolist() == [1, 2, 3, 2, 1]


def test_contours_part_touching_instances_and_lie_inside():
    contour = contours_of(TWO_SQUARES)[..., 0]
    assert contour[4].tolist() == [0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0]
    assert not contour[TWO_SQUARES[..., 0] == 0].any()
    assert contour.sum() == 2 * (49 - 25)


def test_contours_of_volumes_lie_inside_along_z_too():
    volume = np.zeros((7, 9, 16, 1), np.uint8)
    volume[2:5] = TWO_SQUARES
    assert contours_of(volume)[2, 4, 4, 0] == 1 and contours_of(volume)[3, 4, 4, 0] == 0


@pytest.mark.parametrize("shape", [(20, 25), (5, 12, 14)])
def test_contours_equal_the_definition_voxel_by_voxel(shape):
    labels = random_labels(shape, 1)
    found = contours_of(labels)[..., 0]
    for place in np.ndindex(shape):
        around = labels[tuple(slice(max(0, p - 1), p + 2) for p in place)]
        near_another = (around != labels[place]).any() and labels[place][0] > 0
        assert found[place] == near_another


def test_no_contour_along_the_border_of_the_image():
    assert not contours_of(np.ones((6, 6, 1), int)).any()


def test_channels_in_the_order_asked_for():
    all_three = instance_targets(TWO_SQUARES, normalised=True)
    assert all_three.shape == (9, 16, 3) and all_three.dtype == np.float32
    np.testing.assert_array_equal(all_three[..., :1], TWO_SQUARES > 0)
    np.testing.assert_array_equal(all_three[..., 1:2], contours_of(TWO_SQUARES))
    np.testing.assert_array_equal(all_three[..., 2:], distances_within(TWO_SQUARES, normalised=True))
    two = instance_targets(TWO_SQUARES, targets=("distance", "binary"), normalised=True)
    np.testing.assert_array_equal(two, all_three[..., [2, 0]])


def test_binary_masks_have_components_as_instances():
    mask = TWO_SQUARES > 0
    assert instance_targets(mask, instances=False)[4, 7, 1] == 0
    mask[:, 7] = 0
    labels = np.where(mask, TWO_SQUARES, 0)
    np.testing.assert_array_equal(instance_targets(mask, instances=False), instance_targets(labels))


def test_volumes_and_empty_labels():
    assert instance_targets(random_labels((4, 9, 10), 0)).shape == (4, 9, 10, 3)
    assert not instance_targets(np.zeros((8, 9, 1), np.uint8)).any()


def test_unknown_words_are_refused():
    with pytest.raises(ValueError, match="target 'countour' is not known; did you mean 'contour'"):
        instance_targets(TWO_SQUARES, targets=("countour",))
    with pytest.raises(ValueError, match="choose at least one of"):
        instance_targets(TWO_SQUARES, targets=())
    with pytest.raises(ValueError, match="wanted positive nanometres"):
        distances_within(TWO_SQUARES, voxel_size_nm=0)
    with pytest.raises(ValueError, match="dtype float64"):
        distances_within(TWO_SQUARES / 2)
