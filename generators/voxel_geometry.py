"""Geometry of augmentation in space: matrices, composed into one per sample, and smooth displacements.

Matrices are 4x4 and act on ``(x, y, z, 1)`` with the origin at the centre of the window, so that a matrix of
``generators.geometry`` is their part in the y-x plane. They say where in the source an output voxel comes from.
"""

import functools
import math

import numpy as np

QUARTER_TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])


def in_space(matrix, axes=(0, 1)):
    """Return the matrix ``(4, 4)`` of space for a matrix of a plane.

    Parameters
    ----------
    matrix : numpy.ndarray
        ``(3, 3)``, e.g. from ``generators.geometry.rotation``.
    axes : tuple of int
        The plane in which it acts, as numbers of x (0), y (1) and z (2): ``(0, 1)`` does not change z, ``(0, 2)`` turns
        about the y axis.

    Returns
    -------
    numpy.ndarray
    """
    rows = [*axes, 3]
    space = np.eye(4)
    space[np.ix_(rows, rows)] = matrix
    return space


def scale_in_space(factor_z, factor_y, factor_x):
    """Return the matrix ``(4, 4)`` that scales the coordinates: a factor above 1 shows more of the source, smaller.

    Parameters
    ----------
    factor_z, factor_y, factor_x : float
        Factors along the axes; -1 mirrors.

    Returns
    -------
    numpy.ndarray
    """
    return np.diag([factor_x, factor_y, factor_z, 1.0])


def shift_in_space(voxels_z, voxels_y, voxels_x):
    """Return the matrix ``(4, 4)`` that moves the content to higher z, down and right.

    Parameters
    ----------
    voxels_z, voxels_y, voxels_x : float
        Distances.

    Returns
    -------
    numpy.ndarray
    """
    matrix = np.eye(4)
    matrix[:3, 3] = -voxels_x, -voxels_y, -voxels_z
    return matrix


def right_angle_turn(number):
    """Return the matrix ``(4, 4)`` of one of the 24 right-angle turns of a cube.

    Parameters
    ----------
    number : int
        0 to 23; the first four turn in the y-x plane.

    Returns
    -------
    numpy.ndarray
    """
    facing, turns = divmod(number, 4)
    # Four turns about x bring both z and y to the front, two about y bring x there.
    axes, quarters = ((1, 2), facing) if facing < 4 else ((0, 2), 2 * facing - 7)
    turn_over = np.linalg.matrix_power(in_space(QUARTER_TURN, axes), quarters)
    return np.linalg.matrix_power(in_space(QUARTER_TURN), turns) @ turn_over


def is_exact_in_space(matrix):
    """Return whether a matrix only mirrors and turns by right angles, so that no voxel has to be interpolated.

    Parameters
    ----------
    matrix : numpy.ndarray
        ``(4, 4)``.

    Returns
    -------
    bool
    """
    turn, shift = np.abs(matrix[:3, :3]), matrix[:3, 3]
    one_each = (turn.sum(axis=0) == 1).all() and (turn.sum(axis=1) == 1).all()
    return bool(np.isin(turn, (0, 1)).all() and one_each and not shift.any())


def keeps_slices(matrix):
    """Return whether every output slice comes from one slice of the source: z is mirrored or moved by whole slices.

    Parameters
    ----------
    matrix : numpy.ndarray
        ``(4, 4)``.

    Returns
    -------
    bool
    """
    apart = not matrix[2, :2].any() and not matrix[:2, 2].any()
    return bool(apart and abs(matrix[2, 2]) == 1 and matrix[2, 3] % 1 == 0)


def smooth_noise(rng, shape, sigma, *, strength=1.0):
    """Draw Gaussian noise that varies smoothly: mean 0 and the same variance in every voxel.

    It equals white noise blurred by a Gaussian, but is drawn only on a grid of step ``sigma`` and spread from there.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    shape : tuple of int
        Of the result.
    sigma : float
        Standard deviation of the blur, in pixels along each axis.
    strength : float
        Standard deviation of the values.

    Returns
    -------
    numpy.ndarray
        float32.
    """
    bells = [_bells(length, sigma) for length in shape]
    noise = rng.standard_normal([bell.shape[1] for bell in bells], dtype=np.float32) * np.float32(strength)
    for bell in bells:  # each takes the first axis away and puts it, in full length, behind the others
        noise = np.tensordot(noise, bell, axes=(0, 1))
    return noise


@functools.lru_cache(maxsize=64)
def _bells(length, sigma, reach=4):
    """Return the weight of each grid point for each position along an axis, ``(positions, grid points)``."""
    grid = np.arange(-reach, math.ceil((length - 1) / sigma) + reach + 1)
    distance = np.arange(length)[:, np.newaxis] / sigma - grid
    # Not even the smallest numbers further out: floats that small make processors slow.
    weights = np.where(np.abs(distance) <= reach, np.exp(-(distance**2) / 2), 0)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)
