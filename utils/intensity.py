"""Grey values: scaled by their dtype or by a stated range, never by looking at the maximum."""

import numpy as np


def dtype_range(dtype):
    """Return the grey value range that a dtype stands for.

    Parameters
    ----------
    dtype : numpy.dtype
        Dtype of an image.

    Returns
    -------
    tuple of float or None
        ``(0, 255)`` for uint8, ``(0, 65535)`` for uint16, ``(0, 1)`` for floats; None where a range must be stated.
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return (0.0, 1.0)
    if dtype in (np.uint8, np.uint16):
        return (0.0, float(np.iinfo(dtype).max))
    return None


def grey_value_limits(dtype):
    """Return the grey values that a dtype can or should hold.

    Parameters
    ----------
    dtype : numpy.dtype
        Dtype of an image.

    Returns
    -------
    tuple of float
        ``dtype_range``, or the limits of an integer type that has none.
    """
    if dtype_range(dtype):
        return dtype_range(dtype)
    return np.iinfo(dtype).min, np.iinfo(dtype).max


def scaled_batch(images, intensity_range=None):
    """Stack images of one size and scale them to 0 .. 1, each by its own dtype.

    Parameters
    ----------
    images : list of numpy.ndarray
        ``(y, x, c)`` each.
    intensity_range : tuple of float, optional
        As ``to_unit_range``.

    Returns
    -------
    numpy.ndarray
        ``(n, y, x, c)``, float32.
    """
    if len({image.dtype for image in images}) == 1:  # one pass over the batch
        return to_unit_range(np.stack(images), intensity_range)
    return np.stack([to_unit_range(image, intensity_range) for image in images])


def to_unit_range(image, intensity_range=None):
    """Scale grey values to 0 .. 1.

    Parameters
    ----------
    image : numpy.ndarray
        Any shape and dtype.
    intensity_range : tuple of float, optional
        ``(low, high)``: the values that become 0 and 1; values outside are clipped. Without it the dtype decides:
        0..255 for uint8, 0..65535 for uint16, 0..1 for floats.

    Returns
    -------
    numpy.ndarray
        float32, same shape.

    Raises
    ------
    ValueError
        If no range is stated and the dtype has none, or the range is empty.

    Examples
    --------
    >>> to_unit_range(np.array([0, 255], np.uint8)).tolist()
    [0.0, 1.0]
    """
    low, high = intensity_range or dtype_range(image.dtype) or (0, 0)
    if not low < high:
        raise ValueError(
            f"images of dtype {image.dtype} with the intensity range {intensity_range} cannot be scaled. "
            "Give INTENSITY_RANGE=(low, high), the grey values of black and white."
        )
    if low == 0:
        scaled = np.multiply(image, np.float32(1 / high), dtype=np.float32, casting="unsafe")
    else:
        scaled = (image.astype(np.float32) - np.float32(low)) * np.float32(1 / (high - low))
    return np.clip(scaled, 0, 1, out=scaled) if intensity_range else scaled


def intensity_problem(image, intensity_range=None):
    """Say what is wrong with the grey values of an image, or return None.

    Parameters
    ----------
    image : numpy.ndarray
        Any shape.
    intensity_range : tuple of float, optional
        The stated range.

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
