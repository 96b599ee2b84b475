"""Padding images ``(y, x, c)`` and volumes ``(z, y, x, c)`` beyond their borders, and cutting the padding off again."""

import math

import numpy as np

PADDING_MODES = ("mirror", "median")


def per_axis(value, n_axes=2):
    """Return a number as a tuple of one value per axis, and a sequence as a tuple.

    Parameters
    ----------
    value : float or sequence of float
        One for all axes, or one each.
    n_axes : int
        Number of axes.

    Returns
    -------
    tuple

    Raises
    ------
    ValueError
        If a sequence does not hold one value per axis.
    """
    values = (value,) * n_axes if np.isscalar(value) else tuple(value)
    if len(values) != n_axes:
        raise ValueError(f"{values} holds {len(values)} values for {n_axes} axes; give one number, or one per axis.")
    return values


def pad(image, before, after, mode="mirror"):
    """Pad an image or volume.

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``.
    before, after : sequence of int
        Pixels to add at both ends of each axis.
    mode : str
        ``mirror`` repeats the border pixel first (``b a | a b``); ``median`` fills each side with the median of the
        face it continues, as the published 3D code does.

    Returns
    -------
    numpy.ndarray
        Of the same dtype; the image itself if there is nothing to add.
    """
    if not any(before) and not any(after):
        return image
    widths = [*zip(before, after, strict=True), (0, 0)]
    if mode == "mirror":
        return np.pad(image, widths, mode="symmetric")
    for axis, width in enumerate(widths[:-1]):
        faces = [np.median(np.take(image, [end], axis), axis=tuple(range(image.ndim - 1))) for end in (0, -1)]
        shapes = [(*image.shape[:axis], length, *image.shape[axis + 1 :]) for length in width]
        sides = [np.broadcast_to(face.astype(image.dtype), shape) for face, shape in zip(faces, shapes, strict=True)]
        image = np.concatenate([sides[0], image, sides[1]], axis)
    return image


def pad_to(image, shape, mode="mirror"):
    """Pad an image evenly on both sides until it is at least as large as ``shape``.

    Parameters
    ----------
    image, mode
        As `pad`.
    shape : tuple of int
        Wanted size, with or without channels.

    Returns
    -------
    padded : numpy.ndarray
        The image itself if it is large enough.
    inside : tuple of slice
        ``padded[inside]`` is the image.
    """
    sizes = image.shape[:-1]
    missing = [max(0, wanted - size) for wanted, size in zip(shape, sizes, strict=False)]
    if not any(missing):
        return image, tuple(map(slice, sizes))
    before = [m // 2 for m in missing]
    inside = tuple(slice(b, b + size) for b, size in zip(before, sizes, strict=True))
    return pad(image, before, [m - b for m, b in zip(missing, before, strict=True)], mode), inside


def pad_to_multiple(image, divisor):
    """Pad an image by mirroring until its sides are multiples of ``divisor``.

    Parameters
    ----------
    image : numpy.ndarray
        As `pad`.
    divisor : int or tuple of int
        E.g. ``2 ** depth`` of a U-Net, or one per axis.

    Returns
    -------
    padded, inside
        As `pad_to`.
    """
    sizes = image.shape[:-1]
    divisors = per_axis(divisor, len(sizes))
    return pad_to(image, [math.ceil(size / step) * step for size, step in zip(sizes, divisors, strict=True)])
