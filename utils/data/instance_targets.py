"""Targets of networks that separate instances: foreground, contours, and distances to the outline."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from utils.errors import check_choice
from utils.metrics.components import check_labels, connected_components, distance_to_background

TARGETS = ("binary", "contour", "distance")


def instance_targets(labels, *, targets=TARGETS, instances=True, voxel_size_nm=1.0, normalised=False):
    """Turn instance labels into the channels that a network learns.

    ``binary`` is 1 in every instance. ``contour`` is 1 in the voxels of an instance that have another label or the
    background among their 8 (in volumes 26) neighbours. Unlike the published contours these lie inside the instances
    and separate touching ones; none runs along the border of the image, because the array counts as continued there.

    ``distance`` is that from the centre of a voxel to the centre of the nearest voxel outside its instance: in the
    background or another instance, not beyond the array unless one instance fills it. It is exact, and takes a few
    distance transforms however many instances there are: one for each colour when touching instances are coloured
    differently. The nearest voxel outside always has a face in common with the instance.

    Parameters
    ----------
    labels : numpy.ndarray
        ``(y, x, 1)`` or ``(z, y, x, 1)``, integers or bool, 0 for background.
    targets : sequence of str
        The channels, in order.
    instances : bool
        True: the values are instance labels. False: instances are the connected components of what is not 0.
    voxel_size_nm : float or sequence of float
        One for all axes, or one each. The default gives distances in voxels.
    normalised : bool
        Divide distances by the largest one in their instance, for a range of 0..1.

    Returns
    -------
    numpy.ndarray
        ``(y, x, targets)`` or ``(z, y, x, targets)``, float32; all 0..1 except distances that are not normalised.

    Raises
    ------
    ValueError
        If a target is unknown, a voxel size is not positive, or the labels are not labels.

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
            channels[..., number] = _contours(flat)
        else:
            channels[..., number] = _distances(flat, voxel_size_nm, normalised)
    return channels


def learn_instances(data, targets):
    """Replace the masks of the training and validation crops of an experiment by instance targets.

    Instances are the connected components of the foreground of a crop, distances are 0..1, and the first channel is
    ``binary``, as metrics and predictions expect. Test images keep their masks.

    Parameters
    ----------
    data : ExperimentData
        Of one foreground class.
    targets : sequence of str
        As `instance_targets`, ``binary`` first.

    Returns
    -------
    ExperimentData
        It remembers its targets; each takes 4 bytes of memory per pixel.

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


def _contours(labels):
    highest = ndimage.maximum_filter(labels, 3, mode="nearest")
    return (highest != ndimage.minimum_filter(labels, 3, mode="nearest")) & (labels > 0)


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
    """Return a colour for each label, 0 for the background; labels that share a face differ in colour."""
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
