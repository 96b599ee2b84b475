"""Tests of the matrices in space and of smooth noise."""

import itertools

import numpy as np
import pytest

from generators.geometry import rotation, shear, shift
from generators.voxel_geometry import (
    in_space,
    is_exact_in_space,
    keeps_slices,
    right_angle_turn,
    scale_in_space,
    shift_in_space,
    smooth_noise,
)

X, Y, Z = np.eye(4)[:3]


@pytest.mark.parametrize(
    ("axes", "turned", "expected"), [((0, 1), X, Y), ((0, 2), X, Z), ((1, 2), Y, Z)], ids=["y-x", "z-x", "z-y"]
)
def test_in_space_acts_in_one_plane_and_leaves_the_third_axis(axes, turned, expected):
    matrix = in_space(rotation(90), axes)
    np.testing.assert_allclose(matrix @ turned, expected, atol=1e-12)
    (third,) = {0, 1, 2} - set(axes)
    np.testing.assert_allclose(matrix @ np.eye(4)[third], np.eye(4)[third])


def test_matrices_of_the_plane_are_the_part_in_the_plane():
    matrix = shift(2, 3) @ shear(20) @ rotation(10)
    space = in_space(matrix)
    assert np.array_equal(space[np.ix_([0, 1, 3], [0, 1, 3])], matrix)
    assert np.array_equal(in_space(shift(2, 3)), shift_in_space(0, 2, 3))


def test_scale_and_shift_take_z_first():
    point = np.array([1, 1, 1, 1])  # x, y, z
    assert (scale_in_space(2, 3, 5) @ point).tolist() == [5, 3, 2, 1]
    assert (shift_in_space(2, 3, 5) @ point).tolist() == [-4, -2, -1, 1]


def test_right_angle_turns_are_the_24_proper_ones():
    turns = [right_angle_turn(number) for number in range(24)]
    assert len({turn.astype(int).tobytes() for turn in turns}) == 24
    for turn in turns:
        assert is_exact_in_space(turn)
        assert np.linalg.det(turn) == pytest.approx(1)
    assert [keeps_slices(turn) for turn in turns] == [number // 4 in (0, 2) for number in range(24)]
    assert all(np.array_equal(turn[2], Z) for turn in turns[:4])


@pytest.mark.parametrize("mirrors", list(itertools.product((1, -1), repeat=3)), ids=str)
def test_mirrors_are_exact_and_keep_slices(mirrors):
    matrix = scale_in_space(*mirrors) @ right_angle_turn(1)
    assert is_exact_in_space(matrix)
    assert keeps_slices(matrix)


@pytest.mark.parametrize(
    ("matrix", "slices_kept"),
    [
        (in_space(rotation(30)), True),
        (in_space(rotation(45) @ shear(45)), True),
        (in_space(shear(45)), True),
        (scale_in_space(1, 2, 2), True),
        (shift_in_space(3, 0.5, 1), True),
        (shift_in_space(1, 0, 0) @ scale_in_space(-1, 1, 1), True),
        (shift_in_space(0.5, 0, 0), False),
        (scale_in_space(2, 1, 1), False),
        (in_space(rotation(1), (0, 2)), False),
        (in_space(rotation(1), (1, 2)), False),
    ],
)
def test_everything_else_is_not_exact_and_may_mix_slices(matrix, slices_kept):
    assert not is_exact_in_space(matrix)
    assert keeps_slices(matrix) is slices_kept


# --- smooth noise


@pytest.mark.parametrize("sigma", [1, 2.5, 8])
def test_noise_has_mean_0_and_the_same_variance_in_every_voxel(sigma):
    rng = np.random.default_rng(0)
    noise = np.stack([smooth_noise(rng, (3, 5, 9), sigma, strength=2) for _ in range(4000)])
    assert noise.dtype == np.float32
    assert np.abs(noise.mean(axis=0)).max() < 0.16
    assert np.abs(noise.std(axis=0) - 2).max() < 0.12


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("distance", [1, 3, 6])
def test_noise_is_as_smooth_as_white_noise_blurred_by_a_gaussian(axis, distance):
    rng, sigma, shape = np.random.default_rng(0), 3, [1, 1, 1]
    shape[axis] = 12
    noise = np.stack([smooth_noise(rng, shape, sigma).ravel() for _ in range(4000)])
    found = np.mean(noise[:, :-distance] * noise[:, distance:]) / np.mean(noise**2)
    assert found == pytest.approx(np.exp(-(distance**2) / (4 * sigma**2)), abs=0.03)


def test_noise_depends_on_the_generator_only():
    first, second, third = (smooth_noise(np.random.default_rng(seed), (4, 6, 8), 2) for seed in (0, 0, 1))
    assert first.shape == (4, 6, 8)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)
