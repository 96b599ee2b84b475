"""A table of what instances measure, in nanometres or, if the size of a voxel is not known, in voxels."""

import itertools

import numpy as np
from scipy.spatial import ConvexHull, SphericalVoronoi

from utils.metrics.components import boxes_of, check_labels, check_voxel_size

# So many points are compared without their convex hull, and at a time.
FEW_POINTS = 200


def measure_instances(labels, *, voxel_size_nm):
    """Measure each instance; ``utils.files.write_csv`` writes the rows as a table.

    Without a voxel size the names below end with ``px`` instead of ``nm``: a voxel has the side 1.

    - ``label``, ``voxels``: its number and size.
    - ``area_nm2`` (2D) or ``volume_nm3`` (3D): voxels times the size of one.
    - ``perimeter_nm`` (2D) or ``surface_nm2`` (3D): its outline, including the cut where the array ends; see below.
    - ``length_nm``: largest distance between any two points of its voxels, which are boxes (maximal Feret diameter).
    - ``elongation``: ratio of the longest to the second longest axis of the ellipse or ellipsoid with the same second
      moments, at least 1. For a box it is the ratio of the sides.
    - ``centroid_z_nm`` (3D), ``centroid_y_nm``, ``centroid_x_nm``: mean of the voxel centres; the centre of the first
      voxel of the array is at 0.
    - ``touches_border``: whether it reaches the end of an axis and may continue beyond; only the part inside counts.

    The outline is computed from how often lines in 4 (2D) or 13 (3D) directions cross it, each weighted by the angles
    it stands for (Cauchy-Crofton formula). It is right on average over all orientations. With cubic voxels, spheres and
    ellipsoids are right within 1 %, boxes along the axes are 8 % too small; with voxels 5 or 10 times as high as wide,
    ellipsoids are right within 8 %, such boxes about 20 % too small. Marching squares or cubes, as in many programs,
    are right for faces along the axes but make curved outlines too large: discs by 5 %, spheres by 9 %, and by 20 to 30
    % with such voxels.

    Parameters
    ----------
    labels : numpy.ndarray
        ``(y, x, 1)`` or ``(z, y, x, 1)``, integers, 0 for background.
    voxel_size_nm : float, sequence of float or None
        One for all axes, or ``(y, x)`` or ``(z, y, x)``; None if it is not known.

    Returns
    -------
    list of dict
        One row an instance, by increasing label, with the columns above.

    Raises
    ------
    ValueError
        If a voxel size is not positive, or the array holds no labels.

    Examples
    --------
    >>> labels = np.zeros((6, 9, 1), np.int32)
    >>> labels[1:3, 1:5] = 7
    >>> row = measure_instances(labels, voxel_size_nm=10)[0]
    >>> row["label"], row["area_nm2"], round(row["length_nm"], 2), round(row["elongation"], 2), row["centroid_x_nm"]
    (7, 800.0, 44.72, 2.0, 25.0)
    """
    labels = check_labels(labels)
    unit = "px" if voxel_size_nm is None else "nm"
    sizes = np.array(check_voxel_size(1.0 if voxel_size_nm is None else voxel_size_nm, labels.ndim))
    directions = _directions(sizes)
    return [_measure(labels, number, box, sizes, directions, unit) for number, box in boxes_of(labels)]


def _measure(labels, number, box, sizes, directions, unit):
    part = labels[box] == number
    points = np.argwhere(part) * sizes
    centroid = (points.mean(axis=0) + [side.start * size for side, size in zip(box, sizes, strict=True)]).tolist()
    in_plane, in_space = (f"area_{unit}2", f"perimeter_{unit}"), (f"volume_{unit}3", f"surface_{unit}2")
    content, outline = in_plane if part.ndim == 2 else in_space
    return {
        "label": number,
        "voxels": len(points),
        content: float(len(points) * sizes.prod()),
        outline: _crossings(np.pad(part, 1), directions),
        f"length_{unit}": _feret_diameter(part, sizes),
        "elongation": _elongation(points, sizes),
        **{f"centroid_{axis}_{unit}": place for axis, place in zip("zyx"[-part.ndim :], centroid, strict=True)},
        "touches_border": any(
            side.start == 0 or side.stop == length for side, length in zip(box, labels.shape, strict=True)
        ),
    }


def _directions(sizes):
    """Return steps to neighbours, one for each pair of opposite ones, and how much outline one crossing stands for.

    A surface S meets lines of one direction, averaged over all directions, S / 2 times per area they stand on (a
    perimeter P: 2 P / pi times per length). Lines along a step of length d stand on (size of a voxel) / d each.
    """
    steps = [step for step in itertools.product((-1, 0, 1), repeat=len(sizes)) if any(step)]
    vectors = np.array(steps) * sizes
    lengths = np.linalg.norm(vectors, axis=1)
    if len(sizes) == 3:
        shares = SphericalVoronoi(vectors / lengths[:, np.newaxis]).calculate_areas() / (4 * np.pi)
        per_crossing = 2.0
    else:
        angles = np.arctan2(*vectors.T)
        order = np.argsort(angles)
        gaps = np.diff(angles[order], append=angles[order[0]] + 2 * np.pi)
        shares = np.empty(len(steps))
        shares[order] = (gaps + np.roll(gaps, 1)) / (4 * np.pi)
        per_crossing = np.pi / 2
    weights = 2 * per_crossing * shares * sizes.prod() / lengths
    return [(step, weight) for step, weight in zip(steps, weights, strict=True) if step > (0,) * len(sizes)]


def _crossings(closed, directions):
    """Return the perimeter or surface of a mask with empty borders, from how often lines enter or leave it."""
    total = 0.0
    for step, weight in directions:
        here = tuple(slice(max(0, -s), min(0, -s) or None) for s in step)
        there = tuple(slice(max(0, s), min(0, s) or None) for s in step)
        total += weight * np.count_nonzero(closed[here] != closed[there])
    return float(total)


def _elongation(points, sizes):
    # Each voxel is a box, whose variance along an axis is size^2 / 12.
    covariance = np.cov(points.T, bias=True) + np.diag(sizes**2 / 12)
    second, first = np.linalg.eigvalsh(covariance)[-2:]
    return float(np.sqrt(first / second))


def _feret_diameter(part, sizes):
    """Return the largest distance between two points of a mask, whose voxels are boxes."""
    # Only the two ends of each row along x can be the farthest points, and among these only the corners of their hull.
    rows = np.argwhere(part.any(axis=-1))
    first, last = part.argmax(axis=-1), part.shape[-1] - 1 - part[..., ::-1].argmax(axis=-1)
    ends = [np.column_stack([rows, place[tuple(rows.T)]]) for place in (first, last)]
    points = np.unique(np.concatenate(ends), axis=0) * sizes
    spread = np.ptp(points, axis=0) > 0  # qhull cannot do without an extent along each axis
    if len(points) > FEW_POINTS and spread.sum() > 1:
        points = points[ConvexHull(points[:, spread], qhull_options="QJ").vertices]
    squares = [
        ((np.abs(points[start : start + FEW_POINTS, np.newaxis] - points) + sizes) ** 2).sum(axis=-1).max()
        for start in range(0, len(points), FEW_POINTS)
    ]
    return float(np.sqrt(max(squares)))
