"""Objects in masks and instance labels: components, their boxes, distances to the background."""

import math

import numpy as np
from scipy import ndimage

from utils.images.padding import per_axis

# Labels above this and above the number of voxels are database ids, too large for tables by label.
LARGEST_LABEL = 1_000_000


def without_channel(array, name="mask"):
    """Return a mask, labels or one map without its channel axis.

    Parameters
    ----------
    array : numpy.ndarray
        ``(y, x, 1)`` or ``(z, y, x, 1)``, any dtype.
    name : str
        Name for the error.

    Returns
    -------
    numpy.ndarray
        ``(y, x)`` or ``(z, y, x)``, a view.

    Raises
    ------
    ValueError
        If it has another shape.
    """
    if array.ndim not in (3, 4) or array.shape[-1] != 1:
        raise ValueError(
            f"the {name} has the shape {array.shape}; wanted (y, x, 1) or (z, y, x, 1). "
            "Use array[..., np.newaxis] to add the channel, array[..., [number]] to choose one."
        )
    return array[..., 0]


def check_labels(labels, name="labels"):
    """Check that an array can be instance labels, and return it without its channel axis.

    Parameters
    ----------
    labels : numpy.ndarray
        ``(y, x, 1)`` or ``(z, y, x, 1)``, integers or bool, 0 for background.
    name : str
        Name for errors.

    Returns
    -------
    numpy.ndarray
        ``(y, x)`` or ``(z, y, x)``, int32.

    Raises
    ------
    ValueError
        If shape or dtype are wrong, or a label is negative or too large for tables by label.
    """
    labels = without_channel(labels, name)
    if labels.dtype.kind not in "iub":
        raise ValueError(
            f"the {name} have the dtype {labels.dtype}, but instance labels are integers. "
            "Use utils.post_processing.instances.instances_from_probability for probabilities."
        )
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0 or high > max(labels.size, LARGEST_LABEL):
        raise ValueError(
            f"the {name} hold the values {low} to {high}; wanted 0 for background and instances from 1 on without "
            "large gaps. Renumber them with skimage.segmentation.relabel_sequential or np.unique(return_inverse=True)."
        )
    return labels.astype(np.int32, copy=False)


def check_voxel_size(voxel_size_nm, n_axes):
    """Return the size of a voxel along each axis.

    Parameters
    ----------
    voxel_size_nm : float or sequence of float
        Nanometres: one for all axes, or ``(y, x)`` or ``(z, y, x)``.
    n_axes : int
        2 or 3.

    Returns
    -------
    tuple of float

    Raises
    ------
    ValueError
        If a size is not positive, or there is not one for each axis.
    """
    sizes = tuple(float(size) for size in per_axis(voxel_size_nm, n_axes))
    if not all(0 < size < math.inf for size in sizes):
        raise ValueError(
            f"voxel_size_nm is {voxel_size_nm}; wanted positive nanometres, such as (40, 5, 5) for (z, y, x)."
        )
    return sizes


def connected_components(mask):
    """Label the connected components of a mask; diagonal neighbours are connected.

    Parameters
    ----------
    mask : numpy.ndarray
        ``(y, x)`` or ``(z, y, x)``; everything but 0 is foreground.

    Returns
    -------
    numpy.ndarray
        int32 of the same shape: 0 background, then 1, 2, ... (8-connected in 2D, 26-connected in 3D).

    Examples
    --------
    >>> connected_components(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]])).tolist()
    [[1, 0, 0], [0, 1, 0], [0, 0, 0], [2, 0, 0]]
    """
    return ndimage.label(mask, np.ones((3,) * mask.ndim))[0].astype(np.int32, copy=False)


def boxes_of(labels, margin=0):
    """List the bounding boxes of all labels.

    Parameters
    ----------
    labels : numpy.ndarray
        ``(y, x)`` or ``(z, y, x)``, integers.
    margin : int
        Voxels added on each side, as far as the array reaches.

    Returns
    -------
    list of (int, tuple of slice)
        Each label that occurs, in increasing order, with its box.

    Examples
    --------
    >>> boxes_of(np.array([[0, 0, 0, 3], [1, 1, 0, 3]]))
    [(1, (slice(1, 2, None), slice(0, 2, None))), (3, (slice(0, 2, None), slice(3, 4, None)))]
    """
    found = enumerate(ndimage.find_objects(labels), start=1)
    return [
        (number, tuple(slice(max(0, part.start - margin), part.stop + margin) for part in box))
        for number, box in found
        if box is not None
    ]


def sizes_of(labels):
    """Count the voxels of each label.

    Parameters
    ----------
    labels : numpy.ndarray
        Non-negative integers of any shape.

    Returns
    -------
    numpy.ndarray
        int64; element k is the size of label k, element 0 is 0.

    Examples
    --------
    >>> sizes_of(np.array([[0, 2, 2], [1, 0, 2]])).tolist()
    [0, 1, 3]
    """
    # Only the foreground is counted: bincount makes an int64 copy of its input.
    return np.bincount(labels[labels > 0], minlength=int(labels.max(initial=0)) + 1)


def distance_to_background(mask, *, voxel_size_nm=1.0):
    """Compute the distance of each foreground voxel to the nearest background voxel, centre to centre.

    Voxels beyond the array are unknown and do not count as background, unless the whole mask is foreground. The
    distance is computed in the box of each component, which is exact, since the nearest background voxel touches the
    component.

    Parameters
    ----------
    mask : numpy.ndarray
        ``(y, x)`` or ``(z, y, x)``; everything but 0 is foreground.
    voxel_size_nm : float or sequence of float
        As `check_voxel_size`; the default gives the distance in voxels.

    Returns
    -------
    numpy.ndarray
        float32 of the same shape, 0 in the background, in the unit of the voxel size.

    Raises
    ------
    ValueError
        If a voxel size is not positive.

    Examples
    --------
    >>> distance_to_background(np.array([[0, 1, 1, 1, 0]]), voxel_size_nm=(40, 5)).tolist()
    [[0.0, 5.0, 10.0, 5.0, 0.0]]
    """
    sampling = check_voxel_size(voxel_size_nm, mask.ndim)
    mask = mask != 0
    if mask.size and mask.all():
        inside = (slice(1, -1),) * mask.ndim
        return ndimage.distance_transform_edt(np.pad(mask, 1), sampling)[inside].astype(np.float32)
    objects = connected_components(mask)
    boxes = boxes_of(objects, margin=1)
    if sum(objects[box].size for _, box in boxes) > mask.size:  # widely spread objects: all at once costs less
        return ndimage.distance_transform_edt(mask, sampling).astype(np.float32)
    distance = np.zeros(mask.shape, np.float32)
    for number, box in boxes:
        part = objects[box] == number
        distance[box][part] = ndimage.distance_transform_edt(part, sampling)[part]
    return distance
