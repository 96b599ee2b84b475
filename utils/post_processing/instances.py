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
from utils.post_processing.z_filter import foreground_of


def instances_from_probability(
    probability,
    *,
    threshold=0.5,
    seed_threshold=None,
    min_distance=0.0,
    voxel_size_nm=1.0,
    min_voxels=0,
    contour=None,
    contour_threshold=0.5,
    distance=None,
):
    """Part the foreground into instances.

    The foreground is where the probability exceeds ``threshold``; its connected components (diagonal neighbours
    included) are divided further where they hold several markers. Markers are the components of what is surely inside:
    probability above ``seed_threshold``, contour not above ``contour_threshold``, distance to the background above
    ``min_distance``. From there a watershed floods the contour map, if there is one, else minus the distance, so that
    instances meet at contours or necks. With the default of all three, every component is one instance.

    A neck narrower than about twice ``min_distance`` parts what it connects; what is narrower everywhere stays whole.
    What would become a part of less than ``min_voxels`` stays with its neighbour.

    Parameters
    ----------
    probability : numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``, float, 0 .. 1, with the foreground or background and foreground as classes.
    threshold : float
        Of the foreground, 0 .. 1.
    seed_threshold : float, optional
        Of the markers, not below ``threshold``; None: the same.
    min_distance : float
        At least 0; nanometres, or in the unit of ``distance`` if that is given.
    voxel_size_nm : float or sequence of float
        One for all axes, or one each; the default counts in voxels.
    min_voxels : int
        Components with fewer voxels are removed, at least 0.
    contour : numpy.ndarray, optional
        Predicted probability of contours, 0 .. 1, shape of the probability with one channel.
    contour_threshold : float
        0 .. 1.
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
    seed_threshold = threshold if seed_threshold is None else seed_threshold
    _check_limits(threshold, seed_threshold, min_distance, min_voxels, contour_threshold)
    foreground = foreground_of(probability)
    sampling = check_voxel_size(voxel_size_nm, foreground.ndim)
    contour, distance = (
        _same_shape(array, foreground, name) for name, array in (("contour", contour), ("distance", distance))
    )
    mask = foreground > threshold
    labels = connected_components(mask)
    if min_voxels > 1:
        labels = _renumbered(labels, sizes_of(labels) >= min_voxels)
    if contour is None and min_distance == 0 and seed_threshold == threshold:
        return labels[..., np.newaxis]

    if distance is None and (contour is None or min_distance > 0):
        distance = distance_to_background(mask, voxel_size_nm=sampling)
    seeds = foreground > seed_threshold
    if contour is not None:
        seeds &= contour <= contour_threshold
    if distance is not None:
        seeds &= distance > min_distance
    _part(labels, seeds, distance if contour is None else contour, sign=-1 if contour is None else 1, limit=min_voxels)
    return labels[..., np.newaxis]


def _part(labels, seeds, relief, *, sign, limit):
    """Divide, in place, the components that hold several markers; the new parts get labels of their own."""
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
    """Return which marker each voxel of the part belongs to, from 1; markers that get too few voxels are given up."""
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


def _check_limits(threshold, seed_threshold, min_distance, min_voxels, contour_threshold):
    shares = {"threshold": threshold, "seed_threshold": seed_threshold, "contour_threshold": contour_threshold}
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}, but a probability from 0 to 1 is needed. Use 0.5, say.")
    if seed_threshold < threshold:
        raise ValueError(
            f"seed_threshold is {seed_threshold}, below the threshold {threshold}, but markers lie inside the "
            "foreground. Use a higher one, such as 0.8, or None."
        )
    if not 0 <= min_distance < np.inf:
        raise ValueError(f"min_distance is {min_distance}, but a distance is needed. Use 0 for none.")
    if not isinstance(min_voxels, int | np.integer) or min_voxels < 0:
        raise ValueError(f"min_voxels is {min_voxels!r}, but a number of voxels is needed. Use 0 to keep all.")
