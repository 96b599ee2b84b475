"""Tests of components, boxes, sizes and distances, against SciPy over the whole array."""

import numpy as np
import pytest
from scipy import ndimage

from utils.metrics.components import (
    boxes_of,
    check_labels,
    check_voxel_size,
    connected_components,
    distance_to_background,
    sizes_of,
    without_channel,
)


def noise(shape, seed, share=0.4):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.2)
    return smooth > np.quantile(smooth, 1 - share)


@pytest.mark.parametrize("shape", [(40, 50), (9, 30, 25)])
@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_distances_equal_those_of_the_whole_array(shape, share):
    mask = noise(shape, 3, share)
    size = (40, 6, 5)[-len(shape) :]
    expected = ndimage.distance_transform_edt(mask, size)
    np.testing.assert_allclose(distance_to_background(mask, voxel_size_nm=size), expected, rtol=1e-6)


def test_distances_without_background_and_without_foreground():
    assert distance_to_background(np.ones((5, 7))).tolist()[2] == [1, 2, 3, 3, 3, 2, 1]
    assert not distance_to_background(np.zeros((5, 7))).any()


@pytest.mark.parametrize("shape", [(4, 4), (3, 3, 3)])
def test_diagonal_neighbours_are_connected(shape):
    mask = np.zeros(shape)
    mask[(0,) * len(shape)] = mask[(1,) * len(shape)] = 1
    assert connected_components(mask).max() == 1
    assert connected_components(mask).dtype == np.int32


def test_boxes_and_sizes_know_gaps():
    labels = np.zeros((6, 8), np.int32)
    labels[1:3, 2:5], labels[5, 7] = 2, 5
    assert boxes_of(labels) == [(2, np.s_[1:3, 2:5]), (5, np.s_[5:6, 7:8])]
    assert all(labels[box].size == size for (_, box), size in zip(boxes_of(labels, margin=1), (20, 4), strict=True))
    assert sizes_of(labels).tolist() == [0, 0, 6, 0, 0, 1]
    assert boxes_of(np.zeros((3, 3), int)) == [] and sizes_of(np.zeros((3, 3), int)).tolist() == [0]


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 2), (1, 4, 5, 6, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"the mask has the shape .* wanted \(y, x, 1\)"):
        without_channel(np.zeros(shape))


def test_what_is_no_labels_is_refused():
    with pytest.raises(ValueError, match="the labels have the dtype float32.*instances_from_probability"):
        check_labels(np.zeros((4, 5, 1), np.float32))
    for value in (-1, 2_000_000_000):
        with pytest.raises(ValueError, match=f"{value}.*relabel_sequential"):
            check_labels(np.full((2, 1, 1), value))


@pytest.mark.parametrize("size", [0, -5, float("nan"), float("inf"), (5, 0, 5)])
def test_impossible_voxels_are_refused(size):
    with pytest.raises(ValueError, match="wanted positive nanometres"):
        check_voxel_size(size, 3)


def test_one_size_for_each_axis():
    with pytest.raises(ValueError, match="2 values for 3 axes"):
        check_voxel_size((5, 5), 3)
