"""Axes of the arrays in image files: any of them ordered as pages ``(n, y, x, c)``, and plain channels.

Axes are one letter each, as tifffile names them: ``ZYX``, ``YXS``, ``ZCYX``.
"""

import numpy as np

# Numbers of channels of grey images and of colour images.
CHANNELS = (1, 3)


class UnusableImage(ValueError):
    """An image file that is intact but does not hold what is wanted."""


def axes_of_shape(shape):
    """Guess the axes of an array whose file does not name them.

    Parameters
    ----------
    shape : tuple of int
        ``(y, x)`` or ``(z, y, x)``, or the latter with 1 or 3 channels at one end; before them any number of axes of
        length 1, which are called ``T``.

    Returns
    -------
    str

    Raises
    ------
    UnusableImage
        If the shape fits none of these.

    Examples
    --------
    >>> axes_of_shape((30, 40, 50)), axes_of_shape((1, 1, 30, 40, 50)), axes_of_shape((30, 40, 50, 3))
    ('ZYX', 'TTZYX', 'ZYXC')
    """
    n_single = 0
    while len(shape) - n_single > 3 and shape[n_single] == 1 and not _is_colour_volume(shape[n_single:]):
        n_single += 1
    rest = shape[n_single:]
    axes = {2: "YX", 3: "ZYX"}.get(len(rest))
    if _is_colour_volume(rest):
        axes = "ZYXC"
    elif len(rest) == 4 and rest[0] in CHANNELS:
        axes = "CZYX"
    if axes is None:
        raise UnusableImage(
            f"the axes of the shape {tuple(shape)} are unknown; wanted (z, y, x), (z, y, x, c) or (c, z, y, x)"
        )
    return "T" * n_single + axes


def _is_colour_volume(shape):
    return len(shape) == 4 and shape[-1] in CHANNELS


def channel_axis(axes, shape):
    """Return the axis of the channels.

    Parameters
    ----------
    axes : str
        Names of the axes.
    shape : tuple of int
        Their lengths.

    Returns
    -------
    str
        ``S``, ``C`` or nothing. ImageJ calls the slices of a stack channels, so ``C`` means pages unless it is 1 or 3
        long.
    """
    if "S" in axes:
        return "S"
    return "C" if "C" in axes and shape[axes.index("C")] in CHANNELS else ""


def stacked_pages(array, axes):
    """Order the axes of an array as pages.

    Parameters
    ----------
    array : numpy.ndarray
        Any number of axes.
    axes : str
        Their names; all but y, x and channels are pages.

    Returns
    -------
    numpy.ndarray
        ``(n, y, x, c)``, a view where possible, without an alpha channel.

    Examples
    --------
    >>> stacked_pages(np.zeros((7, 3, 20, 30)), "ZCYX").shape
    (7, 20, 30, 3)
    """
    channel = channel_axis(axes, array.shape)
    pages = [number for number, axis in enumerate(axes) if axis not in ("Y", "X", channel)]
    array = array.transpose([*pages, *(axes.index(axis) for axis in ("Y", "X", *channel))])
    array = array if channel else array[..., np.newaxis]
    array = array.reshape(-1, *array.shape[-3:])
    return array[..., :3] if channel == "S" and array.shape[-1] == 4 else array


def pages_shape(shape, axes):
    """Return the shape that `stacked_pages` would give, without any data.

    Parameters
    ----------
    shape, axes
        As `channel_axis`.

    Returns
    -------
    tuple of int
        ``(n, y, x, c)``.
    """
    return stacked_pages(np.broadcast_to(np.uint8(0), shape), axes).shape


def check_axes_of_volume(axes, shape):
    """Check that the axes are z, y, x and perhaps channels, whatever the file calls z.

    Parameters
    ----------
    axes, shape
        As `channel_axis`.

    Raises
    ------
    UnusableImage
        If a second axis beside y, x and channels is longer than 1, or y or x is missing.
    """
    channel = channel_axis(axes, shape)
    along_z = [
        f"{axis} {size}" for axis, size in zip(axes, shape, strict=True) if axis not in ("Y", "X", channel) and size > 1
    ]
    if len(along_z) > 1:
        raise UnusableImage(
            f"it has more axes than z, y, x and channels: {', '.join(along_z)} beside y and x. "
            "Save each volume in a file of its own"
        )
    if not {"Y", "X"} <= set(axes):
        raise UnusableImage(f"it has the axes {axes} {tuple(shape)}; wanted z, y, x and perhaps channels")


def plain_values(image):
    """Turn one-bit images into 0 and 255, and others into the byte order of this machine.

    Parameters
    ----------
    image : numpy.ndarray
        Any shape.

    Returns
    -------
    numpy.ndarray
        C-contiguous.
    """
    image = image * np.uint8(255) if image.dtype == bool else image
    return np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("="))


def plain_channels(image, name, *, keep_colour=False):
    """Reduce three equal channels to one, and refuse other numbers of channels than 1 and 3.

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)`` or ``(n, y, x, c)``.
    name : str
        Name of the file, for the message.
    keep_colour : bool
        Leave three equal channels as they are.

    Returns
    -------
    numpy.ndarray
        C-contiguous.
    """
    if image.shape[-1] not in CHANNELS:
        raise ValueError(f"{name} has the shape {image.shape}; wanted (y, x) with 1 or 3 channels, or pages of it")
    if image.shape[-1] == 3 and not keep_colour and (image == image[..., :1]).all():
        image = image[..., :1]
    return np.ascontiguousarray(image)
