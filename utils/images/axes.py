"""Axes of what image files hold: pages ``(n, y, x, c)`` out of whatever a format calls them, and plain channels."""

import numpy as np


def stacked_pages(array, axes):
    """Order the axes of a series of pages.

    Parameters
    ----------
    array : numpy.ndarray
        Any number of axes.
    axes : str
        Their names as tifffile gives them, e.g. ``ZYX``, ``YXS``, ``SYX`` or ``ZCYX``; all but y, x and channels are
        pages.

    Returns
    -------
    numpy.ndarray
        ``(n, y, x, c)``, a view where possible; an alpha channel is dropped.

    Examples
    --------
    >>> stacked_pages(np.zeros((7, 3, 20, 30)), "ZCYX").shape
    (7, 20, 30, 3)
    """
    # ImageJ files without declared axes call the slices of a stack channels.
    is_colour = "C" in axes and array.shape[axes.index("C")] in (1, 3)
    channel = "S" if "S" in axes else "C" if is_colour else "none"
    order = [axes.index(axis) for axis in axes if axis not in ("Y", "X", channel)]
    order += [axes.index("Y"), axes.index("X")] + ([axes.index(channel)] if channel in axes else [])
    array = array.transpose(order)
    array = array if channel in axes else array[..., np.newaxis]
    pages = array.reshape(-1, *array.shape[-3:])
    return pages[..., :3] if channel == "S" and pages.shape[-1] == 4 else pages


def pages_shape(shape, axes):
    """Return the shape that `stacked_pages` would give, without any data.

    Parameters
    ----------
    shape : tuple of int
        Of the array.
    axes : str
        Names of its axes.

    Returns
    -------
    tuple of int
        ``(n, y, x, c)``.

    Examples
    --------
    >>> pages_shape((7, 20, 30), "ZYX")
    (7, 20, 30, 1)
    """
    return stacked_pages(np.broadcast_to(np.uint8(0), shape), axes).shape


def check_axes_of_volume(series):
    """Check that there is one series whose axes are z, y, x and perhaps channels, by whatever name.

    Parameters
    ----------
    series : list of (str, tuple of int)
        Axes and shape of each series of a file.

    Raises
    ------
    ValueError
        If it is not so.
    """
    if len(series) > 1:
        raise ValueError(f"its pages have {len(series)} different sizes; the slices of a volume must have one")
    for axes, shape in series:
        along_z = [
            f"{axis} {size}"
            for axis, size in zip(axes, shape, strict=True)
            if axis not in "YXS" and size > 1 and not (axis == "C" and size == 3)
        ]
        if len(along_z) > 1:
            raise ValueError(
                f"it has more axes than z, y, x and channels: {', '.join(along_z)} beside y and x. "
                "Save each volume in a file of its own"
            )


def axes_of_volume(axes):
    """Return the axes of a volume, of which tifffile calls z channels or samples where it has three or four slices.

    Parameters
    ----------
    axes : str
        As tifffile gives them.

    Returns
    -------
    str
        ``ZYX`` for ``SYX`` and ``CYX``; others as they are.
    """
    return "ZYX" if axes in ("SYX", "CYX") else axes


def plain_channels(image, name, *, keep_colour=False):
    """Make one channel of three equal ones, 0 and 255 of one-bit images, and the byte order of this machine.

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)`` or ``(n, y, x, c)``.
    name : str
        Of the file, for the message.
    keep_colour : bool
        Leave three equal channels as they are.

    Returns
    -------
    numpy.ndarray
        With 1 or 3 channels, C-contiguous.

    Raises
    ------
    ValueError
        If there are not 1 or 3 channels.
    """
    if image.shape[-1] not in (1, 3):
        raise ValueError(f"{name} has the shape {image.shape}; wanted (y, x) with 1 or 3 channels, or pages of it")
    if image.shape[-1] == 3 and not keep_colour and (image == image[..., :1]).all():
        image = image[..., :1]
    image = image * np.uint8(255) if image.dtype == bool else image
    return np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("="))
