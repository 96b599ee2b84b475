"""Instances from probabilities: a watershed from markers, in physical units."""

import numpy as np
from skimage.segmentation import watershed

from utils.metrics.components import (
    boxes_of,
    check_voxel_size,
    connected_components,
    distance_to_background,
    sizes_of,
    without_channel,
)
from utils.post_processing.slices import foreground_of


def instances_from_probability(
    probability, *, min_distance=0.0, voxel_size_nm=1.0, min_voxels=0, contour=None, distance=None
):
    """Divide the foreground into instances.

    The foreground is where the probability exceeds 0.5 (for another threshold see `apply_threshold`). Its connected
    components, diagonal neighbours included, are divided further where they hold several markers. Markers are the
    components of the sure inside: contour not above 0.5, distance to the background above ``min_distance``. From
    there a watershed floods the contour map, if there is one, else minus the distance, so that instances meet at
    contours or necks. With the defaults every component is one instance.

    An object is divided at a neck narrower than about twice ``min_distance``; an object that is narrower everywhere
    stays whole. A part that would have fewer than ``min_voxels`` stays with its neighbour.

    Parameters
    ----------
    probability : numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``, float, 0 .. 1: one channel for the foreground or two, background and
        foreground.
    min_distance : float
        At least 0; nanometres, or in the unit of ``distance`` if that is given.
    voxel_size_nm : float or sequence of float
        One for all axes, or one each; the default counts in voxels.
    min_voxels : int
        Components with fewer voxels are removed, at least 0.
    contour : numpy.ndarray, optional
        Predicted probability of contours, 0 .. 1, shape of the probability with one channel.
    distance : numpy.ndarray, optional
        Predicted distance to the outline, shape of the probability with one channel, in any unit. None: computed from
        the foreground.

    Returns
    -------
    numpy.ndarray
        ``(y, x, 1)`` or ``(z, y, x, 1)``, int32, 0 for background, instances 1, 2, ...

    Raises
    ------
    ValueError
        If a limit is out of range, shapes do not agree, or there are several foreground classes.

    Examples
    --------
    >>> y, x = np.indices((20, 40))
    >>> discs = ((y - 10) ** 2 + (x - 12) ** 2 < 81) | ((y - 10) ** 2 + (x - 28) ** 2 < 81)
    >>> probability = 0.9 * discs[..., np.newaxis]
    >>> [int(instances_from_probability(probability, min_distance=limit).max()) for limit in (0, 6)]
    [1, 2]
    """
    if not 0 <= min_distance < np.inf:
        raise ValueError(f"min_distance is {min_distance}, but a distance is needed. Use 0 for none.")
    if not isinstance(min_voxels, int | np.integer) or min_voxels < 0:
        raise ValueError(f"min_voxels is {min_voxels!r}, but a number of voxels is needed. Use 0 to keep all.")
    foreground = foreground_of(probability)
    sampling = check_voxel_size(voxel_size_nm, foreground.ndim)
    contour, distance = (
        _same_shape(array, foreground, name) for name, array in (("contour", contour), ("distance", distance))
    )
    mask = foreground > 0.5
    labels = connected_components(mask)
    if min_voxels > 1:
        labels = _renumbered(labels, sizes_of(labels) >= min_voxels)
    if contour is None and min_distance == 0:
        return labels[..., np.newaxis]

    if distance is None and (contour is None or min_distance > 0):
        distance = distance_to_background(mask, voxel_size_nm=sampling)
    seeds = mask if contour is None else mask & (contour <= 0.5)
    if distance is not None:
        seeds = seeds & (distance > min_distance)
    _part(labels, seeds, distance if contour is None else contour, sign=-1 if contour is None else 1, limit=min_voxels)
    return labels[..., np.newaxis]


def _part(labels, seeds, relief, *, sign, limit):
    """Divide, in place, the components that hold several markers; the new parts get new labels."""
    last = int(labels.max(initial=0))
    for number, box in boxes_of(labels):
        part = labels[box] == number
        markers = connected_components(seeds[box] & part)
        if markers.max() < 2:
            continue
        parts = _flooded(sign * relief[box].astype(np.float32), markers, part, limit)
        labels[box][part] = np.where(parts > 1, parts + (last - 1), number)[part]
        last += int(parts.max()) - 1


def _flooded(relief, markers, part, min_voxels):
    """Return which marker each voxel of the part belongs to, from 1; markers with too few voxels are dropped."""
    neighbours = np.ones((3,) * part.ndim)
    parts = watershed(relief, markers, connectivity=neighbours, mask=part)
    large = sizes_of(parts) >= min_voxels
    if large[1:].all():
        return parts
    if not large[1:].any():
        return part.astype(np.int32)
    return watershed(relief, _renumbered(markers, large), connectivity=neighbours, mask=part)


def _renumbered(labels, keep):
    """Return the labels for which ``keep`` is True, numbered 1, 2, ..., and 0 for the others."""
    keep = keep.copy()
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]


def _same_shape(array, foreground, name):
    if array is None:
        return None
    array = without_channel(array, f"predicted {name}")
    if array.shape != foreground.shape:
        raise ValueError(
            f"the predicted {name} has the size {array.shape}, the probability {foreground.shape}. "
            "Give both of the same image."
        )
    return array
