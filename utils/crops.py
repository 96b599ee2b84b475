"""Cutting images and volumes into crops that cover every pixel, and putting crops together again.

Everything here works in two and three dimensions: an image is ``(y, x, c)``, a volume ``(z, y, x, c)``, and shapes are
given in the same order. ``crop_shape`` may end with the channels or leave them out.
"""

import itertools
import math

import numpy as np

PADDING_MODES = ("mirror", "median")


def crop_starts(length, crop, overlap=0.0):
    """Return where crops start along one axis: even steps, the last crop flush with the border, every pixel covered.

    Parameters
    ----------
    length : int
        Size of the image along the axis.
    crop : int
        Size of the crop along the axis.
    overlap : float
        Minimum overlap of neighbours as a fraction of the crop, 0 <= overlap < 1.

    Returns
    -------
    list of int
        ``[0]`` when the crop is as large as the image or larger.

    Raises
    ------
    ValueError
        If the overlap is not in [0, 1).

    Examples
    --------
    >>> crop_starts(1024, 256)
    [0, 256, 512, 768]
    >>> crop_starts(300, 128, 0.33)
    [0, 57, 115, 172]
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"an overlap of {overlap} is not possible. Use a fraction from 0 to below 1, e.g. 0.5.")
    if length <= crop:
        return [0]
    # The small number keeps 0.8 * 5 = 4.000000001 from asking for one crop too many.
    n_crops = math.ceil((length - crop) / max(1.0, crop * (1 - overlap)) - 1e-9) + 1
    return [round(start) for start in np.linspace(0, length - crop, n_crops)]


def per_axis(value, n_axes=2):
    """Return a number as one value per axis; a sequence is returned as a tuple.

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


def crop_grid(image_shape, crop_shape, overlap=0.0):
    """Return the first corners of the crops of an image, the last axis running fastest.

    Parameters
    ----------
    image_shape : tuple of int
        ``(y, x, c)`` or ``(z, y, x, c)``.
    crop_shape : tuple of int
        Size of a crop, with or without channels.
    overlap : float or tuple of float
        Minimum overlap, per axis.

    Returns
    -------
    list of tuple of int
        Corners ``(y, x)`` or ``(z, y, x)``.
    """
    axes = range(len(image_shape) - 1)
    overlaps = per_axis(overlap, len(axes))
    return list(itertools.product(*(crop_starts(image_shape[a], crop_shape[a], overlaps[a]) for a in axes)))


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
        Of the same dtype; the image itself when there is nothing to add.
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
    """Pad an image evenly on both sides until it is at least ``shape``.

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``.
    shape : tuple of int
        Wanted size, with or without channels; axes that are large enough stay.
    mode : str
        As ``pad``.

    Returns
    -------
    padded : numpy.ndarray
        The image itself when nothing was missing.
    inside : tuple of slice
        Where the image lies in it: ``padded[inside]`` is the image.
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
        ``(y, x, c)`` or ``(z, y, x, c)``.
    divisor : int or tuple of int
        E.g. ``2 ** depth`` of a U-Net, or one per axis.

    Returns
    -------
    padded, inside
        As ``pad_to``.
    """
    sizes = image.shape[:-1]
    divisors = per_axis(divisor, len(sizes))
    return pad_to(image, [math.ceil(size / step) * step for size, step in zip(sizes, divisors, strict=True)])


def crop_images(images, crop_shape, *, overlap=0.0):
    """Cut images into crops; images smaller than a crop are padded by mirroring.

    Parameters
    ----------
    images : iterable of numpy.ndarray
        Each ``(y, x, c)`` or ``(z, y, x, c)``, sizes may differ.
    crop_shape : tuple of int
        Size of a crop, with or without channels.
    overlap : float or tuple of float
        Minimum overlap, per axis.

    Returns
    -------
    list of numpy.ndarray
        Crops in the order of ``crop_grid``, image after image: views of the images where no padding was needed.
    """
    return [crop for image in images for crop in iterate_crops(image, crop_shape, overlap=overlap)]


def iterate_crops(image, crop_shape, *, overlap=0.0, padding=0, padding_mode="mirror"):
    """Yield the crops of one image (see ``crop_images``).

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``.
    crop_shape : tuple of int
        Size of a crop, with or without channels.
    overlap : float or tuple of float
        Minimum overlap, per axis; with padding, of the crops without their margins.
    padding : int or tuple of int
        Margin of each crop, per axis, that ``merge_crops`` throws away again. The image is padded by as much.
    padding_mode : str
        As ``pad``.

    Yields
    ------
    numpy.ndarray
        Of the shape of a crop, margins included.
    """
    inner_shape, margins = _inner_shape(crop_shape, padding, image.ndim - 1)
    padded = pad(pad_to(image, inner_shape, padding_mode)[0], margins, margins, padding_mode)
    for corner in crop_grid(image.shape, inner_shape, overlap):
        yield padded[_box(corner, crop_shape)]


def merge_crops(crops, image_shape, *, overlap=0.0, window=None, padding=0):
    """Put the crops of one image together; where they overlap, the (weighted) mean is taken.

    Parameters
    ----------
    crops : iterable of numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)`` each, in the order of ``crop_grid``; read one by one, so a generator keeps
        memory at one image.
    image_shape : tuple of int
        Size of the image that was cropped, with or without channels.
    overlap : float or tuple of float
        The overlap it was cropped with.
    window : numpy.ndarray, optional
        Weights of a crop's pixels, all above 0; equal weights without it.
    padding : int or tuple of int
        The padding it was cropped with.

    Returns
    -------
    numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``, float32.
    """
    crops = iter(crops)
    first = next(crops)
    sizes = image_shape[: first.ndim - 1]
    inner_shape, margins = _inner_shape(first.shape[:-1], padding, len(sizes))
    padded_size = [max(have, crop) for have, crop in zip(sizes, inner_shape, strict=True)]
    total = np.zeros((*padded_size, first.shape[-1]), np.float32)
    weight = np.zeros((*padded_size, 1), np.float32)
    inner = _box(margins, inner_shape)
    window = np.float32(1) if window is None else window[inner]
    corners = crop_grid((*sizes, 1), inner_shape, overlap)
    for corner, crop in zip(corners, itertools.chain([first], itertools.islice(crops, len(corners) - 1)), strict=True):
        place = _box(corner, inner_shape)
        total[place] += crop[inner] * window
        weight[place] += window
    total /= weight
    _, inside = pad_to(np.empty((*sizes, 0)), inner_shape)
    return total[inside]


def spline_window(size):
    """Return the blending window: a squared (second order) spline hill, separable, mean 1, above 0 everywhere.

    Along each axis the weight rises as ``t**2 / 2`` from the border and meets its mirror image half way, with
    ``t`` from 0 at the border to 2 at the centre; shifted by half a crop, the windows sum to a constant.

    Parameters
    ----------
    size : tuple of int
        ``(y, x)`` or ``(z, y, x)`` of a crop, without channels.

    Returns
    -------
    numpy.ndarray
        ``(y, x, 1)`` or ``(z, y, x, 1)``, float32.
    """
    window = np.ones(1)
    for length in size:
        t = 2 * (1 - np.abs(2 * (np.arange(length) + 0.5) / length - 1))
        hill = np.where(t < 1, t**2 / 2, 1 - (2 - t) ** 2 / 2)
        window = window[..., np.newaxis] * (hill / hill.mean())
    return np.maximum(window[0], 1e-6).astype(np.float32)[..., np.newaxis]


def _box(corner, shape):
    return tuple(slice(start, start + size) for start, size in zip(corner, shape, strict=False))


def _inner_shape(crop_shape, padding, n_axes):
    """Return the size of a crop without its margins, and the margins."""
    margins = per_axis(padding, n_axes)
    inner = tuple(size - 2 * margin for size, margin in zip(crop_shape, margins, strict=False))
    if min(inner) < 1 or min(margins) < 0:
        raise ValueError(
            f"a padding of {margins} leaves nothing of a crop of {tuple(crop_shape[:n_axes])}. Use less than half of "
            "the crop along each axis."
        )
    return inner, margins
