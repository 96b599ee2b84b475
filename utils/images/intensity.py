"""Grey values: scaled by their dtype, by a stated range or by one measured on training images, never by the maximum.

``intensity_range`` means the same everywhere: None (the dtype decides: 0..255 for uint8, 0..65535 for uint16, 0..1 for
floats), ``(low, high)`` (these grey values become 0 and 1, values outside are clipped) or a ``ZScore`` (the network
sees ``(value - mean) / std``, everything else 0..1). ``utils.images.normalisation`` measures ranges on training images.
"""

import functools
from typing import NamedTuple

import numpy as np


class ZScore(NamedTuple):
    """An intensity range with which a network sees ``(grey value - mean) / std``; nothing is clipped.

    Pictures, augmentation and post-processing still use ``low`` and ``high`` as black and white.

    Attributes
    ----------
    low, high : float
        Grey values of black and white.
    mean, std : float
        Of the training images, in grey values; ``std`` above 0.
    """

    low: float
    high: float
    mean: float
    std: float


@functools.lru_cache
def dtype_range(dtype):
    """Return the grey value range that a dtype stands for.

    Parameters
    ----------
    dtype : numpy.dtype
        Dtype of an image.

    Returns
    -------
    tuple of float or None
        None for a dtype other than uint8, uint16 and floats: its range must be stated.
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return (0.0, 1.0)
    if dtype in (np.uint8, np.uint16):
        return (0.0, float(np.iinfo(dtype).max))
    return None


def black_and_white(dtype, intensity_range=None):
    """Return the grey values that become 0 and 1.

    Parameters
    ----------
    dtype : numpy.dtype
        Stored dtype of an image.
    intensity_range : tuple of float or ZScore, optional
        As stated or measured.

    Returns
    -------
    low, high : float

    Raises
    ------
    ValueError
        If the range is empty, or not stated for a dtype that has none.
    """
    low, high = (intensity_range or dtype_range(dtype) or (0, 0))[:2]
    if not low < high:
        raise ValueError(
            f"images of dtype {dtype} with the intensity range {intensity_range} cannot be scaled. "
            "Give INTENSITY_RANGE=(low, high), the grey values of black and white."
        )
    return low, high


def scale_in_place(image, low, high, *, clip):
    """Scale grey values so that ``low`` becomes 0 and ``high`` 1.

    Parameters
    ----------
    image : numpy.ndarray
        float32, any shape; changed.
    low, high : float
        From `black_and_white` or `network_scale`.
    clip : bool
        Clip values outside.

    Returns
    -------
    numpy.ndarray
        The image.
    """
    if low:
        image -= np.float32(low)
    if high - low != 1:
        image *= np.float32(1 / (high - low))
    return np.clip(image, 0, 1, out=image) if clip else image


def to_unit_range(image, intensity_range=None):
    """Scale grey values to 0..1.

    Parameters
    ----------
    image : numpy.ndarray
        Any shape and dtype.
    intensity_range : tuple of float or ZScore, optional
        As `black_and_white`; values outside a given range are clipped.

    Returns
    -------
    numpy.ndarray
        float32, same shape; a new array.

    Examples
    --------
    >>> to_unit_range(np.array([0, 255], np.uint8)).tolist()
    [0.0, 1.0]
    """
    low, high = black_and_white(image.dtype, intensity_range)
    return scale_in_place(image.astype(np.float32), low, high, clip=intensity_range is not None)


def network_scale(dtype, intensity_range=None):
    """Return the grey values that become 0 and 1 at the input of a network, and whether values outside are clipped.

    Parameters
    ----------
    dtype, intensity_range
        As `black_and_white`; a ``ZScore`` turns its mean into 0 and its mean plus one standard deviation into 1.

    Returns
    -------
    low, high : float
    clip : bool

    Examples
    --------
    >>> network_scale(np.uint8), network_scale(np.uint8, (20, 230)), network_scale(np.uint8, ZScore(0, 255, 120, 30))
    ((0.0, 255.0, False), (20, 230, True), (120, 150, False))
    """
    if isinstance(intensity_range, ZScore):
        return intensity_range.mean, intensity_range.mean + intensity_range.std, False
    return *black_and_white(dtype, intensity_range), intensity_range is not None


def to_network_input(image, intensity_range=None):
    """Scale grey values as a network sees them: 0..1, or z-scores if the range is a ``ZScore``.

    Parameters
    ----------
    image, intensity_range
        As `to_unit_range`.

    Returns
    -------
    numpy.ndarray
        float32, same shape; a new array.
    """
    low, high, clip = network_scale(image.dtype, intensity_range)
    return scale_in_place(image.astype(np.float32), low, high, clip=clip)


def from_network_input(image, intensity_range=None):
    """Turn the input of a network into 0..1 for a picture of it.

    Parameters
    ----------
    image : numpy.ndarray
        From `to_network_input`.
    intensity_range : tuple of float or ZScore, optional
        The range it was made with.

    Returns
    -------
    numpy.ndarray
        float32; the image itself unless the range is a ``ZScore``.
    """
    if not isinstance(intensity_range, ZScore):
        return image
    return to_unit_range(image * np.float32(intensity_range.std) + np.float32(intensity_range.mean), intensity_range)


def intensity_problem(image, intensity_range=None):
    """Return what is wrong with the grey values of an image as a clause, or None.

    Parameters
    ----------
    image : numpy.ndarray
        Any shape.
    intensity_range : tuple of float or ZScore, optional
        With a stated range only NaN and infinite values are wrong.

    Returns
    -------
    str or None
    """
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        return "holds NaN or infinite values"
    if intensity_range is not None:
        return None
    if dtype_range(image.dtype) is None:
        return f"has the dtype {image.dtype}; give INTENSITY_RANGE=(low, high)"
    if image.dtype.kind == "f" and (image.min() < 0 or image.max() > 1):
        low, high = float(image.min()), float(image.max())
        return f"holds float values {low:g} to {high:g}, outside 0 to 1; give INTENSITY_RANGE=(low, high)"
    return None
