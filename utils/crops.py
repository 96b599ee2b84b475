"""Cutting images into crops that cover every pixel, and putting crops together again."""

import math

import numpy as np


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
    """
    return (value,) * n_axes if np.isscalar(value) else tuple(value)


def crop_grid(image_shape, crop_shape, overlap=0.0):
    """Return the upper left corners of the crops of an image, row by row.

    Parameters
    ----------
    image_shape, crop_shape : tuple of int
        ``(y, x, ...)``.
    overlap : float or tuple of float
        Minimum overlap, per axis.

    Returns
    -------
    list of (int, int)
        Corners ``(y, x)``.
    """
    overlap_y, overlap_x = per_axis(overlap)
    rows = crop_starts(image_shape[0], crop_shape[0], overlap_y)
    columns = crop_starts(image_shape[1], crop_shape[1], overlap_x)
    return [(row, column) for row in rows for column in columns]


def pad_to(image, shape):
    """Pad an image evenly on both sides by mirroring, until it is at least ``shape``.

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)``.
    shape : tuple of int
        Wanted size ``(y, x, ...)``; axes that are large enough stay.

    Returns
    -------
    padded : numpy.ndarray
        The image itself when nothing was missing.
    inside : tuple of slice
        Where the image lies in it: ``padded[inside]`` is the image.
    """
    missing = [max(0, wanted - size) for wanted, size in zip(shape[:2], image.shape[:2], strict=True)]
    before = [m // 2 for m in missing]
    inside = tuple(slice(b, b + size) for b, size in zip(before, image.shape[:2], strict=True))
    if not any(missing):
        return image, inside
    widths = [(b, m - b) for b, m in zip(before, missing, strict=True)] + [(0, 0)]
    return np.pad(image, widths, mode="symmetric"), inside


def pad_to_multiple(image, divisor):
    """Pad an image by mirroring until both sides are multiples of ``divisor``.

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)``.
    divisor : int
        E.g. ``2 ** depth`` of a U-Net.

    Returns
    -------
    padded, inside
        As ``pad_to``.
    """
    return pad_to(image, [math.ceil(size / divisor) * divisor for size in image.shape[:2]])


def crop_images(images, crop_shape, *, overlap=0.0):
    """Cut images into crops; images smaller than a crop are padded by mirroring.

    Parameters
    ----------
    images : iterable of numpy.ndarray
        Each ``(y, x, c)``, sizes may differ.
    crop_shape : tuple of int
        ``(y, x)`` or ``(y, x, c)``.
    overlap : float or tuple of float
        Minimum overlap, per axis.

    Returns
    -------
    list of numpy.ndarray
        Crops ``(y, x, c)`` in the order of ``crop_grid``, image after image: views of the images where no padding was
        needed.
    """
    return [crop for image in images for crop in iterate_crops(image, crop_shape, overlap=overlap)]


def iterate_crops(image, crop_shape, *, overlap=0.0):
    """Yield the crops of one image (see ``crop_images``).

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)``.
    crop_shape : tuple of int
        ``(y, x)`` or ``(y, x, c)``.
    overlap : float or tuple of float
        Minimum overlap, per axis.

    Yields
    ------
    numpy.ndarray
        ``(y, x, c)``.
    """
    padded, _ = pad_to(image, crop_shape)
    height, width = crop_shape[:2]
    for y, x in crop_grid(image.shape, crop_shape, overlap):
        yield padded[y : y + height, x : x + width]


def merge_crops(crops, image_shape, *, overlap=0.0, window=None):
    """Put the crops of one image together; where they overlap, the (weighted) mean is taken.

    Parameters
    ----------
    crops : iterable of numpy.ndarray
        ``(y, x, c)`` each, in the order of ``crop_grid``; read one by one, so a generator keeps memory at one image.
    image_shape : tuple of int
        ``(y, x, ...)`` of the image that was cropped.
    overlap : float or tuple of float
        The overlap it was cropped with.
    window : numpy.ndarray, optional
        Weights ``(y, x, 1)`` of a crop's pixels, all above 0; equal weights without it.

    Returns
    -------
    numpy.ndarray
        ``(y, x, c)``, float32.
    """
    crops = iter(crops)
    first = next(crops)
    crop_shape = first.shape
    size = [max(have, crop) for have, crop in zip(image_shape[:2], crop_shape[:2], strict=True)]
    total = np.zeros((*size, crop_shape[-1]), np.float32)
    weight = np.zeros((*size, 1), np.float32)
    window = np.float32(1) if window is None else window
    corners = crop_grid(image_shape, crop_shape, overlap)
    for number, (y, x) in enumerate(corners):
        crop = first if number == 0 else next(crops)
        place = np.s_[y : y + crop_shape[0], x : x + crop_shape[1]]
        total[place] += crop * window
        weight[place] += window
    total /= weight
    _, inside = pad_to(np.empty((*image_shape[:2], 0)), crop_shape)
    return total[inside]


def spline_window(crop_shape):
    """Return the blending window: a squared (second order) spline hill, separable, mean 1, above 0 everywhere.

    Along each axis the weight rises as ``t**2 / 2`` from the border and meets its mirror image half way, with
    ``t`` from 0 at the border to 2 at the centre; shifted by half a crop, the windows sum to a constant.

    Parameters
    ----------
    crop_shape : tuple of int
        ``(y, x, ...)``.

    Returns
    -------
    numpy.ndarray
        ``(y, x, 1)``, float32.
    """
    axes = []
    for size in crop_shape[:2]:
        t = 2 * (1 - np.abs(2 * (np.arange(size) + 0.5) / size - 1))
        hill = np.where(t < 1, t**2 / 2, 1 - (2 - t) ** 2 / 2)
        axes.append(hill / hill.mean())
    window = axes[0][:, np.newaxis] * axes[1][np.newaxis, :]
    return np.maximum(window, 1e-6).astype(np.float32)[..., np.newaxis]
