"""Cutting images and volumes into crops that cover every pixel, and putting the crops together again.

An image is ``(y, x, c)``, a volume ``(z, y, x, c)``; shapes have the same order. A crop shape may omit the channels. An
overlap is the smallest overlap of neighbouring crops, as a fraction of the crop, for all axes or one each.
"""

import itertools
import math

import numpy as np

from utils.images.lazy_images import LazyImage
from utils.images.padding import pad, pad_to, per_axis


def crop_starts(length, crop, overlap=0.0):
    """Return where crops start along one axis: in even steps, the last one ending at the border.

    Parameters
    ----------
    length, crop : int
        Sizes of the image and of the crop along the axis.
    overlap : float
        0 <= overlap < 1.

    Returns
    -------
    list of int
        ``[0]`` when the crop is at least as large as the image.

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


def crop_grid(image_shape, crop_shape, overlap=0.0):
    """Return the first corners of the crops of an image; the last axis runs fastest.

    Parameters
    ----------
    image_shape : tuple of int
        ``(y, x, c)`` or ``(z, y, x, c)``.
    crop_shape : tuple of int
        Size of a crop.
    overlap : float or tuple of float
        As `crop_starts`.

    Returns
    -------
    list of tuple of int
        ``(y, x)`` or ``(z, y, x)``.
    """
    axes = range(len(image_shape) - 1)
    overlaps = per_axis(overlap, len(axes))
    return list(itertools.product(*(crop_starts(image_shape[a], crop_shape[a], overlaps[a]) for a in axes)))


def crop_images(images, crop_shape, *, overlap=0.0):
    """Cut images into crops; images smaller than a crop are padded by mirroring.

    Parameters
    ----------
    images : iterable of numpy.ndarray or LazyImage
        Sizes may differ.
    crop_shape, overlap
        As `crop_grid`.

    Returns
    -------
    list of numpy.ndarray or LazyImage
        Image after image, in the order of `crop_grid`. Crops are views of their image unless it was padded; of an image
        on disk nothing is read.
    """
    crops = []
    for image in images:
        if isinstance(image, LazyImage):
            sizes = tuple(crop_shape[: image.ndim - 1])
            padded = image.padded_to(sizes)
            crops += [padded.crop(corner, sizes) for corner in crop_grid(image.shape, sizes, overlap)]
        else:
            crops += iterate_crops(image, crop_shape, overlap=overlap)
    return crops


def iterate_crops(image, crop_shape, *, overlap=0.0, padding=0, padding_mode="mirror"):
    """Yield the crops of one image, in the order of `crop_grid`.

    Parameters
    ----------
    image : numpy.ndarray or LazyImage
        An image on disk is read once, as a whole.
    crop_shape, overlap
        As `crop_grid`; with padding, the overlap of crops without their margins.
    padding : int or tuple of int
        Margin of each crop, per axis, which `merge_crops` cuts off. The image is padded by as much.
    padding_mode : str
        As `utils.images.padding.pad`.

    Yields
    ------
    numpy.ndarray
        A crop with its margins.
    """
    image = np.asarray(image)
    inner_shape, margins = without_margins(crop_shape, padding, image.ndim - 1)
    padded = pad(pad_to(image, inner_shape, padding_mode)[0], margins, margins, padding_mode)
    for corner in crop_grid(image.shape, inner_shape, overlap):
        yield padded[_box(corner, crop_shape)]


def merge_crops(crops, image_shape, *, overlap=0.0, window=None, padding=0):
    """Put the crops of one image together; where they overlap, take their weighted mean.

    Parameters
    ----------
    crops : iterable of numpy.ndarray
        In the order of `crop_grid`. They are read one by one, so that a generator needs memory for one image only.
    image_shape : tuple of int
        Size of the image that was cropped, with or without channels.
    overlap, padding
        As for `iterate_crops` that made the crops.
    window : numpy.ndarray, optional
        Weights of the pixels of a crop, all above 0. Without it all count the same.

    Returns
    -------
    numpy.ndarray
        float32.
    """
    crops = iter(crops)
    first = next(crops)
    sizes = image_shape[: first.ndim - 1]
    inner_shape, margins = without_margins(first.shape[:-1], padding, len(sizes))
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


def without_margins(crop_shape, padding, n_axes):
    """Return the size of a crop without its margins, and the margins.

    Parameters
    ----------
    crop_shape : tuple of int
        Size of a crop.
    padding : int or tuple of int
        Margin on both sides, per axis.
    n_axes : int
        2 or 3.

    Returns
    -------
    inner, margins : tuple of int

    Raises
    ------
    ValueError
        If nothing is left of the crop, or a margin is negative.
    """
    margins = per_axis(padding, n_axes)
    inner = tuple(size - 2 * margin for size, margin in zip(crop_shape, margins, strict=False))
    if min(inner) < 1 or min(margins) < 0:
        raise ValueError(
            f"a padding of {margins} leaves nothing of a crop of {tuple(crop_shape[:n_axes])}. Use less than half of "
            "the crop along each axis."
        )
    return inner, margins


def spline_window(size):
    """Return the blending window: a squared (second order) spline, separable, mean 1, above 0 everywhere.

    Along each axis the weight rises as ``t**2 / 2`` from the border and meets its mirror image half way, with ``t``
    from 0 at the border to 2 at the centre. Windows that are shifted by half a crop sum to a constant.

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
