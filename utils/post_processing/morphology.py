"""Post-processing by size: holes in objects close, and small objects of a slice go."""

import numpy as np
from scipy import ndimage

from utils.metrics.components import connected_components, sizes_of
from utils.post_processing.z_filter import foreground_of, volume_by_volume, with_foreground


def fill_holes(predictions, *, max_size=None, per_slice=True):
    """Close the holes of objects.

    A hole is a component of probability <= 0.5 (4-connected within slices, 6-connected in volumes) that does not meet
    the border of the image or volume. Holes get the probability 1. All else stays as it is. In volumes, a hole is
    enclosed along z too, whereas slice by slice the lumen of a tube that runs along z is closed.

    Parameters
    ----------
    predictions : iterable of numpy.ndarray
        Slices ``(y, x, c)`` or volumes ``(z, y, x, c)``, float, 0 .. 1, with the foreground or background and
        foreground as classes.
    max_size : int, optional
        Pixels or voxels that a hole may have to be closed; None: any number.
    per_slice : bool
        True: every slice by itself; sizes may differ. False: volumes, each as a whole, which is held in memory; slices
        that follow each other are one volume.

    Returns
    -------
    iterator of numpy.ndarray
        Probabilities of the same shape and dtype, as many as came in.

    Raises
    ------
    ValueError
        If the size is negative, there are several foreground classes, or slices of one volume differ in size.

    Examples
    --------
    >>> ring = np.full((5, 5, 1), 0.9)
    >>> ring[2, 2] = 0.1
    >>> [float(image[2, 2, 0]) for image in fill_holes([ring])]
    [1.0]
    """
    if max_size is not None and max_size < 0:
        raise ValueError(
            f"max_size is {max_size}, but a number of pixels is needed. Use None to close holes of any size."
        )
    process = _slices_without_holes if per_slice else _volume_without_holes
    return volume_by_volume(predictions, lambda slices: process(slices, max_size))


def _slices_without_holes(slices, max_size):
    return (_without_holes(image, max_size) for image in slices)


def _volume_without_holes(slices, max_size):
    slices = list(slices)
    shapes = sorted({image.shape for image in slices})
    if len(shapes) > 1:
        raise ValueError(f"got slices of the shapes {shapes[0]} and {shapes[1]}; they must be slices of one volume.")
    yield from _without_holes(np.stack(slices), max_size)


def _without_holes(prediction, max_size):
    foreground = foreground_of(prediction)
    labels, count = ndimage.label(foreground <= 0.5)
    enclosed = np.ones(count + 1, bool)
    enclosed[0] = False
    for axis in range(labels.ndim):
        for side in (0, -1):
            enclosed[labels.take(side, axis)] = False
    hole = enclosed[labels]
    if max_size is not None:
        enclosed[1:][np.bincount(labels[hole], minlength=count + 1)[1:] > max_size] = False
        hole = enclosed[labels]
    return with_foreground(np.where(hole, 1, foreground), prediction)


def remove_small_components(predictions, min_pixels):
    """Remove the objects that are small within a slice.

    In each slice, the 8-connected components of probability > 0.5 with fewer than ``min_pixels`` get the probability 0.
    All else stays as it is. This cuts off the thin ends of large objects too; what is judged by its volume in
    several slices is left to ``utils.post_processing.across_slices.remove_small_objects``.

    Parameters
    ----------
    predictions : iterable of numpy.ndarray
        Slices ``(y, x, c)`` or volumes ``(z, y, x, c)``, float, 0 .. 1, with the foreground or background and
        foreground as classes. Sizes may differ.
    min_pixels : int
        Pixels that a component must have, at least 0.

    Returns
    -------
    iterator of numpy.ndarray
        Probabilities of the same shape and dtype, as many as came in.

    Raises
    ------
    ValueError
        If the limit is negative, or there are several foreground classes.

    Examples
    --------
    >>> prediction = np.array([[0.9, 0.9, 0.0, 0.6]])[..., np.newaxis]
    >>> [p[..., 0].tolist() for p in remove_small_components([prediction], 2)]
    [[[0.9, 0.9, 0.0, 0.0]]]
    """
    if min_pixels < 0:
        raise ValueError(f"min_pixels is {min_pixels}, but a number of pixels is needed. Use 0 to keep every object.")
    return volume_by_volume(
        predictions, lambda slices: (_without_small_components(image, min_pixels) for image in slices)
    )


def _without_small_components(prediction, min_pixels):
    foreground = foreground_of(prediction)
    labels = connected_components(foreground > 0.5)
    small = sizes_of(labels) < min_pixels
    small[0] = False
    return with_foreground(np.where(small[labels], 0, foreground), prediction)
