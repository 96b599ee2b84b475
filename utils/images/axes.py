"""Axes of the arrays in image files: what they mean, and any of them ordered as pages ``(n, y, x, c)``.

Axes are one letter each, as tifffile names them: ``ZYX``, ``YXS``, ``ZCYX``. Once they are settled, the channels are
``C`` and all other axes beside y and x are pages.
"""

import numpy as np

# Numbers of channels at the end of an array whose file does not name its axes: grey and colour.
CHANNELS = (1, 3)
# Longer axes are slices, even if a file calls them channels: ImageJ does so with plain stacks.
MOST_UNASKED_CHANNELS = 4


class UnusableImage(ValueError):
    """An image file that is intact but does not hold what is wanted."""


def axes_of_shape(shape, channels=None):
    """Guess the axes of an array whose file does not name them.

    Parameters
    ----------
    shape : tuple of int
        ``(y, x)`` or ``(z, y, x)``, or the latter with channels at one end; before them any number of axes of length 1,
        which are called ``T``.
    channels : int, optional
        Channels that are wanted; 1 and 3 are always known as such.

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
    >>> axes_of_shape((40, 50, 2), channels=2)
    'YXC'
    """
    known = {*CHANNELS, channels}
    n_single = 0
    while len(shape) - n_single > 3 and shape[n_single] == 1 and not _ends_with(shape[n_single:], 4, known):
        n_single += 1
    rest = shape[n_single:]
    axes = {2: "YX", 3: "ZYX"}.get(len(rest))
    colours = known - {1, None}
    if _ends_with(rest, 4, known):
        axes = "ZYXC"
    elif len(rest) == 4 and rest[0] in known:
        axes = "CZYX"
    elif _ends_with(rest, 3, colours) and min(rest[:2]) > rest[2]:
        axes = "YXC"
    elif len(rest) == 3 and rest[0] == channels and channels > 1:
        axes = "CYX"
    if axes is None:
        raise UnusableImage(
            f"the axes of the shape {tuple(shape)} are unknown; wanted (z, y, x), (z, y, x, c) or (c, z, y, x)"
        )
    return "T" * n_single + axes


def _ends_with(shape, length, channels):
    return len(shape) == length and shape[-1] in channels


def settle_axes(axes, shape, *, channels=None, one_volume=False, certain=False):
    """Decide which of the named axes of an array are its channels.

    Parameters
    ----------
    axes : str
        Names as in the file.
    shape : tuple of int
        Their lengths.
    channels : int, optional
        Channels that are wanted; None takes what is certain and 3 for colour.
    one_volume : bool
        There must be an axis of slices.
    certain : bool
        The program that wrote the file calls nothing else ``C``.

    Returns
    -------
    str
        The axes with ``C`` for the channels and no other ``C`` or ``S``. ``S``, the samples of a pixel, are channels;
        so are ``C`` beside another axis of pages or if they are as many as wanted. ImageJ and tifffile also call the
        slices of a stack so; these are pages.

    Raises
    ------
    UnusableImage
        If y or x is missing, or if two to four channels may as well be slices.
    """
    if not {"Y", "X"} <= set(axes):
        raise UnusableImage(f"it has the axes {axes} {tuple(shape)}; wanted y, x and perhaps z and channels")
    lengths = dict(zip(axes, shape, strict=True))
    name = "S" if lengths.get("S", 1) > 1 else "C"
    count = lengths.get(name, 1)
    others = any(length > 1 for axis, length in zip(axes, shape, strict=True) if axis not in ("Y", "X", name))
    is_channels = count > 1 and (name == "S" or others or count == (channels or 3))
    if certain:
        is_channels = count > 1
    elif count > 1 and one_volume and not others and count != channels:
        is_channels = name == "S" and axes.endswith("S")
    elif count > 1 and not is_channels and channels is not None and count <= MOST_UNASKED_CHANNELS:
        is_channels = count == 3  # colour that may be grey
        if not is_channels:
            raise UnusableImage(
                f"it has {count} channels, which may be slices: end CROP_SHAPE with {count} for channels; otherwise "
                "save it with a z axis (in Fiji: Image > Hyperstacks > Re-order Hyperstack)"
            )
    if not is_channels:
        name = ""
    return "".join("C" if axis == name else "Q" if axis in "CS" else axis for axis in axes)


def stacked_pages(array, axes):
    """Order the axes of an array as pages.

    Parameters
    ----------
    array : numpy.ndarray
        Any number of axes.
    axes : str
        From `settle_axes`.

    Returns
    -------
    numpy.ndarray
        ``(n, y, x, c)``, a view where possible.

    Examples
    --------
    >>> stacked_pages(np.zeros((7, 3, 20, 30)), "ZCYX").shape
    (7, 20, 30, 3)
    """
    pages = [number for number, axis in enumerate(axes) if axis not in "CYX"]
    last = "YXC" if "C" in axes else "YX"
    array = array.transpose([*pages, *map(axes.index, last)])
    array = array if "C" in axes else array[..., np.newaxis]
    return array.reshape(-1, *array.shape[-3:])


def pages_shape(shape, axes):
    """Return the shape that `stacked_pages` would give, without any data.

    Parameters
    ----------
    shape : tuple of int
        Of the array.
    axes : str
        From `settle_axes`.

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
    axes : str
        From `settle_axes`.
    shape : tuple of int
        Their lengths.

    Raises
    ------
    UnusableImage
        If a second axis beside y, x and channels is longer than 1.
    """
    along_z = [f"{axis} {size}" for axis, size in zip(axes, shape, strict=True) if axis not in "CYX" and size > 1]
    if len(along_z) > 1:
        raise UnusableImage(
            f"it has more axes than z, y, x and channels: {', '.join(along_z)} beside y and x. "
            "Save each volume in a file of its own"
        )


def read_window(array, axes, window):
    """Read a part of an array on disk that has at most one axis of pages.

    Parameters
    ----------
    array : object
        Is indexed like a NumPy array.
    axes : str
        From `settle_axes`.
    window : sequence of slice
        ``(n, y, x)``.

    Returns
    -------
    numpy.ndarray
        ``(n, y, x, c)``.
    """
    index = dict(zip((page_axis(axes, array.shape), "Y", "X"), window, strict=True))
    return stacked_pages(np.asarray(array[tuple(index.get(axis, slice(None)) for axis in axes)]), axes)


def page_axis(axes, shape):
    """Return the axis of the pages of an array whose other axes, beside y, x and channels, have length 1.

    Parameters
    ----------
    axes : str
        From `settle_axes`.
    shape : tuple of int
        Of the array.

    Returns
    -------
    str
        Nothing if there is no such axis.
    """
    pages = [(size, axis) for axis, size in zip(axes, shape, strict=True) if axis not in "CYX"]
    return max(pages, default=(1, ""))[1]


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


def plain_channels(image, *, keep_colour=False):
    """Reduce three equal channels to one.

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)`` or ``(n, y, x, c)``.
    keep_colour : bool
        Leave three equal channels as they are.

    Returns
    -------
    numpy.ndarray
        C-contiguous.
    """
    if image.shape[-1] == 3 and not keep_colour and (image == image[..., :1]).all():
        image = image[..., :1]
    return np.ascontiguousarray(image)
