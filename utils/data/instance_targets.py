"""Targets of networks that tell instances apart: foreground, contours, and distances to the outline."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from utils.errors import check_choice
from utils.images.padding import per_axis
from utils.metrics.components import check_labels, connected_components, distance_to_background

TARGETS = ("binary", "contour", "distance")
CONTOUR_MODES = ("inner", "thick")


def instance_targets(
    labels,
    *,
    targets=TARGETS,
    instances=True,
    contour_mode="inner",
    thickness=1,
    voxel_size_nm=1.0,
    normalised=False,
):
    """Turn instance labels into the channels that a network learns.

    Unlike the published ones, contours stand between touching instances too, and inner ones inside the instances.

    Parameters
    ----------
    labels : numpy.ndarray
        ``(y, x, 1)`` or ``(z, y, x, 1)``, integers or bool, 0 for background.
    targets : sequence of str
        The channels, in order: ``binary`` (1 in every instance), ``contour`` (`contours_of`) and ``distance``
        (`distances_within`).
    instances : bool
        True: the values are instance labels. False: instances are the connected components of what is not 0.
    contour_mode, thickness
        As ``mode`` and ``thickness`` of `contours_of`.
    voxel_size_nm, normalised
        As `distances_within`.

    Returns
    -------
    numpy.ndarray
        ``(y, x, targets)`` or ``(z, y, x, targets)``, float32; all 0 .. 1 but distances that are not normalised.

    Raises
    ------
    ValueError
        If a target is unknown, or as `contours_of` and `distances_within`.

    Examples
    --------
    >>> labels = np.array([[0, 1, 1, 1, 2, 2, 2]])[..., np.newaxis]
    >>> instance_targets(labels)[0].T.tolist()  # doctest: +NORMALIZE_WHITESPACE
    [[0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
     [0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0],
     [0.0, 1.0, 2.0, 1.0, 1.0, 2.0, 3.0]]
    """
    flat = check_labels(labels)
    if not targets:
        raise ValueError(f"targets is {targets}; choose at least one of {list(TARGETS)}.")
    for target in targets:
        check_choice("target", target, TARGETS)
    flat = flat if instances else connected_components(flat)
    channels = np.empty((*flat.shape, len(targets)), np.float32)
    for number, target in enumerate(targets):
        if target == "binary":
            channels[..., number] = flat > 0
        elif target == "contour":
            channels[..., number] = _contours(flat, contour_mode, thickness)
        else:
            channels[..., number] = _distances(flat, voxel_size_nm, normalised)
    return channels


def learn_instances(data, targets):
    """Give the training and validation crops of an experiment instance targets in place of their masks.

    Instances are the connected components of the foreground of a crop, distances go from 0 to 1, and the first channel
    is ``binary``, as metrics and predictions expect. Test images keep their masks.

    Parameters
    ----------
    data : ExperimentData
        Of one foreground class.
    targets : sequence of str
        As `instance_targets`, ``binary`` first.

    Returns
    -------
    ExperimentData
        It remembers its targets, which take 12 bytes a pixel of memory if they are three.

    Raises
    ------
    ValueError
        If the first target is not ``binary`` or another is unknown.
    """
    if targets[0] != "binary":
        raise ValueError(f"INSTANCE_TARGETS is {tuple(targets)}; it must begin with 'binary', which is what is scored.")
    options = {"targets": targets, "instances": False, "voxel_size_nm": data.voxel_size_nm or 1.0, "normalised": True}
    train, validation = (
        replace(crops, y=[instance_targets(mask, **options) for mask in crops.y])
        for crops in (data.train_crops, data.validation_crops)
    )
    return replace(data, train_crops=train, validation_crops=validation, instance_targets=tuple(targets))


def contours_of(labels, *, mode="inner", thickness=1):
    """Mark the voxels that are near another label.

    A voxel is part of a contour if the box of ``2 thickness + 1`` voxels around it holds two labels, of which
    the background is one. What lies beyond the array counts as more of the same, so that no contour runs along the
    border of the image.

    Parameters
    ----------
    labels : numpy.ndarray
        ``(y, x, 1)`` or ``(z, y, x, 1)``, integers, 0 for background.
    mode : str
        ``inner``: of the instances only; ``thick``: of the background next to them too.
    thickness : int or sequence of int
        Voxels at each side of an outline, at least 0, one for all axes or one each. ``(0, 1, 1)`` draws the
        contours slice by slice, which suits anisotropic volumes.

    Returns
    -------
    numpy.ndarray
        uint8, 0 and 1, shape of the labels.

    Raises
    ------
    ValueError
        If the mode is unknown, the thickness is impossible, or the labels are none.

    Examples
    --------
    >>> labels = np.array([[0, 0, 0, 1, 1, 1, 1, 2, 2]])[..., np.newaxis]
    >>> contours_of(labels)[0, :, 0].tolist(), contours_of(labels, mode="thick")[0, :, 0].tolist()
    ([0, 0, 0, 1, 0, 0, 1, 1, 0], [0, 0, 1, 1, 0, 0, 1, 1, 0])
    """
    return _contours(check_labels(labels), mode, thickness)[..., np.newaxis].view(np.uint8)


def _contours(labels, mode, thickness):
    check_choice("contour mode", mode, CONTOUR_MODES)
    steps = per_axis(thickness, labels.ndim)
    if not all(isinstance(step, int | np.integer) and step >= 0 for step in steps) or max(steps) == 0:
        raise ValueError(
            f"thickness is {thickness!r}, but whole voxels are needed, at least 1 along some axis. Use 1, or (0, 1, 1)."
        )
    size = [2 * step + 1 for step in steps]
    contour = ndimage.maximum_filter(labels, size, mode="nearest") != ndimage.minimum_filter(
        labels, size, mode="nearest"
    )
    if mode == "inner":
        contour &= labels > 0
    return contour


def distances_within(labels, *, voxel_size_nm=1.0, normalised=False):
    """Compute the distance of each voxel of an instance to the nearest voxel outside of that instance.

    Outside is the background and every other instance; distances go from centre to centre. What lies beyond the array
    is unknown and not outside, unless one instance fills it. It takes as many distance transforms as it takes colours
    to give touching instances different ones, a few, however many instances there are, and is exact: the nearest voxel
    outside has a face in common with the instance.

    Parameters
    ----------
    labels : numpy.ndarray
        ``(y, x, 1)`` or ``(z, y, x, 1)``, integers, 0 for background.
    voxel_size_nm : float or sequence of float
        One for all axes, or one each; nanometres. The default gives the distance in voxels.
    normalised : bool
        Divide by the largest distance in each instance, for a range of 0 .. 1.

    Returns
    -------
    numpy.ndarray
        float32, shape of the labels, 0 in the background, in the unit of the voxel size.

    Raises
    ------
    ValueError
        If a voxel size is not positive, or the labels are none.

    Examples
    --------
    >>> labels = np.array([[0, 1, 1, 1, 2, 2, 2, 0]])[..., np.newaxis]
    >>> distances_within(labels, voxel_size_nm=5)[0, :, 0].tolist()
    [0.0, 5.0, 10.0, 5.0, 5.0, 10.0, 5.0, 0.0]
    """
    return _distances(check_labels(labels), voxel_size_nm, normalised)[..., np.newaxis]


def _distances(labels, voxel_size_nm, normalised):
    colours = _colours(labels)
    distance = np.zeros(labels.shape, np.float32)
    for colour in range(1, int(colours.max(initial=0)) + 1):
        distance += distance_to_background((colours == colour)[labels], voxel_size_nm=voxel_size_nm)
    if normalised:
        inside = labels > 0
        largest = np.zeros(len(colours), np.float32)
        np.maximum.at(largest, labels[inside], distance[inside])
        distance[inside] /= largest[labels[inside]]
    return distance


def _colours(labels):
    """Return a colour from 1 on for each label, 0 for the background; labels that share a face differ in colour."""
    neighbours = [set() for _ in range(int(labels.max(initial=0)) + 1)]
    for axis in range(labels.ndim):
        low, high = (np.moveaxis(labels, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        touch = (low != high) & (low > 0) & (high > 0)
        for one, other in np.unique(np.stack([low[touch], high[touch]], axis=1), axis=0).tolist():
            neighbours[one].add(other)
            neighbours[other].add(one)
    colours = np.zeros(len(neighbours), np.int32)
    for label in sorted(range(1, len(neighbours)), key=lambda label: -len(neighbours[label])):
        taken = {colours[other] for other in neighbours[label]}
        colours[label] = next(colour for colour in range(1, len(taken) + 2) if colour not in taken)
    return colours
