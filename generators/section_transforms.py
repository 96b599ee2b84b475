"""Faults of sections and their images: misalignment, which is part of the geometry, and missing sections.

In two dimensions a misalignment moves all rows from one on, along the row, and a band across the image is missing. In
three it moves one section or all from one on, and whole sections are missing.
"""

import math

import numpy as np

from generators.geometry import rotation, shift
from generators.options import check_numbers, fill_value, number_range, whole_range


def section_options(*, misalignment, misalignment_rotation, missing_sections, missing_fill, n_axes):
    """Return the options of this module, checked.

    Parameters
    ----------
    misalignment, misalignment_rotation, missing_sections, missing_fill
        As ``VoxelDataGenerator``.
    n_axes : int
        2 or 3. Only in three dimensions a section has a neighbour to be filled with.

    Returns
    -------
    dict of str to object
        None for options that are off.

    Raises
    ------
    ValueError
        If an option is out of its range; the message gives it.
    """
    check_numbers(misalignment_rotation=(misalignment_rotation, 0, 1))
    return {
        "misalignment": whole_range("misalignment", misalignment, example=(1, 16), lowest=0),
        "misalignment_rotation": misalignment_rotation,
        "missing_sections": number_range(
            "missing_sections", missing_sections, example=(0.05, 0.2), zero_allowed=True, highest=1
        ),
        "missing_fill": fill_value("missing_fill", missing_fill, ("mean", "neighbour")[: n_axes - 1]),
    }


def moved_by(matrix, shape):
    """Return by how much a matrix displaces the pixels of an image.

    Parameters
    ----------
    matrix : numpy.ndarray
        ``(3, 3)`` from ``generators.geometry``, about the centre.
    shape : tuple of int
        ``(y, x)``.

    Returns
    -------
    numpy.ndarray
        float32 ``(2, y, x)``: where in the source an output pixel comes from, along x and y, minus its own place. For a
        shift, which is the same everywhere, ``(2, 1, 1)``.

    Examples
    --------
    >>> moved_by(shift(0, 3), (2, 2)).tolist()
    [[[-3.0]], [[0.0]]]
    """
    if np.array_equal(matrix[:2, :2], np.eye(2)):
        return matrix[:2, 2].astype(np.float32).reshape(2, 1, 1)
    y, x = (np.arange(length, dtype=np.float32) - np.float32((length - 1) / 2) for length in shape)
    along, across, moves = (matrix - np.eye(3))[:2].astype(np.float32).T[..., np.newaxis, np.newaxis]
    return along * x + (across * y[:, np.newaxis] + moves)


def turn_by_pixels(pixels, shape):
    """Return the matrix ``(3, 3)`` of the rotation that moves the corners of an image by so many pixels.

    Parameters
    ----------
    pixels : float
        Distance of the move of a corner; its sign is that of the angle.
    shape : tuple of int
        ``(y, x)``.

    Returns
    -------
    numpy.ndarray

    Examples
    --------
    >>> bool(np.allclose(turn_by_pixels(10, (6, 8)), rotation(180)))
    True
    """
    diagonal = math.hypot(*shape)
    return rotation(math.degrees(2 * math.asin(max(-1, min(1, pixels / diagonal)))))


def draw_fault(rng, shape, *, distance, rotation_share):
    """Draw a misalignment: which rows or sections move, and how.

    After K. Lee, J. Zung, P. Li, V. Jain and H. S. Seung, "Superhuman accuracy on the SNEMI3D connectomics challenge",
    arXiv 1706.00120 (2017), where slip and translation are defined.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    shape : tuple of int
        ``(y, x)`` or ``(z, y, x)``.
    distance : tuple of int
        ``(low, high)`` of the whole pixels it moves by; a rotation moves the corners so far.
    rotation_share : float
        Share of the misalignments that are rotations, 0 to 1.

    Returns
    -------
    matrix : numpy.ndarray
        ``(3, 3)`` about the centre of the image or section, applied before the rest of the geometry: a rotation, or a
        shift by whole pixels, so that nothing is smoothed.
    is_moved : numpy.ndarray
        bool, ``(y,)`` or ``(z,)``: in two dimensions all rows from one on, in three one section (slip) or all from one
        on (translation), each with probability 0.5.

    Examples
    --------
    >>> matrix, is_moved = draw_fault(np.random.default_rng(0), (9, 5), distance=(3, 3), rotation_share=0)
    >>> abs(float(matrix[0, 2])), is_moved.shape
    (3.0, (9,))
    """
    pixels = int(rng.integers(distance[0], distance[1] + 1))
    kind, angle, slip = rng.random(3)
    side = 1 if angle < 0.5 else -1
    down, right = (0, side) if len(shape) == 2 else (math.sin(2 * math.pi * angle), math.cos(2 * math.pi * angle))
    if kind < rotation_share:
        matrix = turn_by_pixels(side * pixels, shape[-2:])
    else:
        matrix = shift(round(down * pixels), round(right * pixels))
    numbers, later_one = np.arange(shape[0]), int(rng.integers(1, max(2, shape[0])))
    if len(shape) == 3 and slip < 0.5:
        return matrix, numbers == rng.integers(shape[0])
    return matrix, numbers >= later_one


def displaced_by(fault, shape):
    """Return a misalignment as a displacement that can be added to another one.

    Parameters
    ----------
    fault : tuple of numpy.ndarray
        From `draw_fault`.
    shape : tuple of int
        ``(y, x)`` or ``(z, y, x)``.

    Returns
    -------
    numpy.ndarray
        float32, ``(2, y, x)`` or ``(2, z, y, x)``, of size 1 where constant: added to the x and y of an output pixel
        before the rest of the geometry says where it comes from.

    Examples
    --------
    >>> displaced_by((shift(0, -3), np.array([False, True])), (2, 5))[0].tolist()
    [[0.0], [3.0]]
    """
    matrix, is_moved = fault
    moved, is_moved = moved_by(matrix, shape[-2:]), is_moved.astype(np.float32)
    if len(shape) == 2:
        return moved * is_moved[:, np.newaxis]
    return moved[:, np.newaxis] * is_moved[:, np.newaxis, np.newaxis]


def lose_band(image, ends, width, grey):
    """Fill a straight band across an image.

    Parameters
    ----------
    image : numpy.ndarray
        float32 ``(y, x, c)``; changed.
    ends : tuple of tuple of float
        Two points ``(y, x)`` on its middle line.
    width : float
        Its width in pixels.
    grey : float or numpy.ndarray
        Grey value, for all channels or one each.

    Examples
    --------
    >>> image = np.ones((3, 2, 1), np.float32)
    >>> lose_band(image, ((1, 0), (1, 2)), 1, 0)
    >>> image[:, 0, 0].tolist()
    [1.0, 0.0, 1.0]
    """
    (y0, x0), (y1, x1) = ends
    y, x = (np.arange(length) for length in image.shape[:2])
    down, right = np.subtract((y1, x1), (y0, x0)) / math.dist(*ends)
    distance = down * (x - x0) - (right * (y - y0))[:, np.newaxis]
    np.copyto(image, grey, where=(np.abs(distance) < width / 2)[..., np.newaxis])


def lose_sections(volume, sections, grey):
    """Fill whole sections of a volume.

    Parameters
    ----------
    volume : numpy.ndarray
        float32 ``(z, y, x, c)``; changed.
    sections : sequence of int
        Their numbers along z.
    grey : float, numpy.ndarray or None
        As `lose_band`; None repeats the nearest section that is left, of two the one before.

    Examples
    --------
    >>> volume = np.arange(5, dtype=np.float32).reshape(5, 1, 1, 1)
    >>> lose_sections(volume, [0, 3], None)
    >>> volume.ravel().tolist()
    [1.0, 1.0, 2.0, 2.0, 4.0]
    """
    if grey is not None:
        volume[sections] = grey
        return
    left = np.setdiff1d(np.arange(len(volume)), sections)
    for section in sections:
        volume[section] = volume[left[np.abs(left - section).argmin()]]


def lose_at_random(image, share, rng, *, fill, limits):
    """Lose a band of an image or sections of a volume; masks do not change.

    Parameters
    ----------
    image : numpy.ndarray
        float32, ``(y, x, c)`` or ``(z, y, x, c)``; changed.
    share : float
        Lost share, 0 to 1. In two dimensions a band from a random point of one side to one of the opposite side, which
        covers this share of the image unless it extends beyond it. In three dimensions whole sections, drawn without
        repetition: at least one is lost, unless the share is 0, and at least one stays.
    rng : numpy.random.Generator
        Source of randomness.
    fill, limits
        As `grey_of`; ``neighbour`` is the nearest section that is left.
    """
    grey = None if fill == "neighbour" else grey_of(fill, image, limits)
    if image.ndim == 3:
        (height, width), (first, second), level = image.shape[:2], rng.random(2), rng.random() < 0.5
        ends = (first * height, 0), (second * height, width)
        if not level:
            ends = (0, first * width), (height, second * width)
        lose_band(image, ends, share * height * width / math.dist(*ends), grey)
        return
    count = min(max(1, round(share * len(image))) if share else 0, len(image) - 1)
    lose_sections(image, np.sort(rng.choice(len(image), count, replace=False)), grey)


def grey_of(fill, image, limits):
    """Return the grey value that a fill stands for, for all channels or one each.

    Parameters
    ----------
    fill : float or str
        0 for black to 1 for white, or ``mean`` of the image.
    image : numpy.ndarray
        Channels last.
    limits : tuple of float
        Grey values of black and white.

    Returns
    -------
    float or numpy.ndarray
    """
    if fill == "mean":
        return image.mean(axis=tuple(range(image.ndim - 1)), dtype=np.float64)
    return limits[0] + fill * (limits[1] - limits[0])
