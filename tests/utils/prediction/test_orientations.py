"""Tests of the eight orientations."""

import numpy as np
import pytest

from utils.prediction.orientations import count_orientations, orient, restore

EIGHT = range(8)


@pytest.fixture
def oblong():
    """Return an image in which every value occurs once."""
    return np.arange(3 * 5 * 2).reshape(3, 5, 2)


def test_eight_orientations_are_distinct():
    square = np.arange(9).reshape(3, 3, 1)
    assert len({orient(square, number).tobytes() for number in EIGHT}) == 8


@pytest.mark.parametrize("orientation", EIGHT)
def test_restore_inverts_orient(oblong, orientation):
    assert np.array_equal(restore(orient(oblong, orientation), orientation), oblong)


@pytest.mark.parametrize("orientation", EIGHT)
def test_odd_orientations_swap_y_and_x(oblong, orientation):
    expected = (5, 3, 2) if orientation % 2 else (3, 5, 2)
    assert orient(oblong, orientation).shape == expected


def test_known_orientations():
    image = np.array([[1, 2], [3, 4]])[..., np.newaxis]
    assert orient(image, 0)[..., 0].tolist() == [[1, 2], [3, 4]]
    assert orient(image, 1)[..., 0].tolist() == [[2, 4], [1, 3]]
    assert orient(image, 4)[..., 0].tolist() == [[2, 1], [4, 3]]


@pytest.mark.parametrize("orientation", EIGHT)
def test_channels_stay_together(oblong, orientation):
    turned = orient(oblong, orientation)
    assert np.array_equal(turned[..., 1], turned[..., 0] + 1)


@pytest.mark.parametrize("orientation", EIGHT)
def test_nothing_is_copied(oblong, orientation):
    assert np.shares_memory(orient(oblong, orientation), oblong)


# --- volumes


@pytest.fixture
def volume():
    return np.arange(2 * 3 * 4).reshape(2, 3, 4, 1)


def test_a_cube_has_sixteen_different_orientations():
    cube = np.arange(27).reshape(3, 3, 3, 1)
    assert count_orientations(cube) == 16
    assert len({orient(cube, number).tobytes() for number in range(16)}) == 16


@pytest.mark.parametrize("orientation", range(16))
def test_orientations_of_volumes_are_inverted_and_leave_z_in_its_place(volume, orientation):
    turned = orient(volume, orientation)
    assert np.array_equal(restore(turned, orientation), volume)
    order = [1, 0] if orientation >= 8 else [0, 1]
    assert [set(slice_.ravel()) for slice_ in turned] == [set(volume[z].ravel()) for z in order]
    assert turned.shape == ((2, 4, 3, 1) if orientation % 2 else (2, 3, 4, 1))


@pytest.mark.parametrize("orientation", EIGHT)
def test_the_first_eight_turn_every_slice_as_an_image(volume, orientation):
    assert np.array_equal(orient(volume, orientation), [orient(slice_, orientation) for slice_ in volume])
