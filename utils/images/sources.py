"""What holds images on disk, and how a broken file is reported."""

import math
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.images.axes import UnusableImage, plain_values, stacked_pages
from utils.images.scale import Scale

IF_BROKEN = "if the file is broken, copy it again, or remove it and its partner"
ALPHA_NOTE = "has an alpha channel without content, which is left out"
# Height and width that are read at once if the format can read any part of a page.
TILE = 1024
FORMATS_FILE = "requirements-formats.txt"


@dataclass(eq=False, slots=True)
class Source:
    """Pages of one size on disk: an image, several images, or a volume.

    Attributes
    ----------
    path : Path
        The file.
    shape : tuple of int
        ``(n, y, x, c)`` as stored: three equal channels count as three, a palette as one. An alpha channel is left out.
    dtype : numpy.dtype
        Dtype that `read` returns: uint8 for single bits, in the byte order of this machine.
    block_shape : tuple of int
        ``(n, y, x)`` that the format reads at once; the blocks begin at the first corner.
    read_stored : callable
        Takes three slices ``(n, y, x)`` and returns the stored pixels ``(n, y, x, c)``.
    shown_values : numpy.ndarray or None
        ``(values, c)``: what a viewer shows for each stored number, if that is something else: the colours of a
        palette, or the grey values of few bits.
    scale : Scale or None
        Size of a voxel and its position, if the file states them.
    notes : tuple of str
        What was left out; each goes on after the name of the file.
    """

    path: Path
    shape: tuple
    dtype: np.dtype
    block_shape: tuple
    read_stored: callable
    shown_values: np.ndarray | None = None
    scale: Scale | None = None
    notes: tuple = ()

    def __post_init__(self):
        self.dtype = np.dtype(np.uint8) if self.dtype == bool else self.dtype.newbyteorder("=")
        if self.dtype.kind not in "iuf":
            raise UnusableImage(f"it holds {self.dtype} numbers; wanted whole numbers or floats")

    @property
    def name(self):
        """Name of the file."""
        return self.path.name

    @property
    def n_bytes(self):
        """Bytes of a page."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def shown_channels(self):
        """Channels of what a viewer shows."""
        return self.shape[-1] if self.shown_values is None else self.shown_values.shape[-1]

    @property
    def shown_dtype(self):
        """Dtype of what a viewer shows."""
        return self.dtype if self.shown_values is None else self.shown_values.dtype

    @property
    def has_palette(self):
        """Whether the stored numbers stand for colours."""
        return self.shown_values is not None and self.shown_values.shape[-1] == 3

    def shown(self, pixels):
        """Return what a viewer shows for stored pixels ``(..., c)``."""
        return pixels if self.shown_values is None else self.shown_values[pixels[..., 0]]

    def block_numbers(self):
        """Iterate over the numbers ``(n, y, x)`` of all blocks."""
        return np.ndindex(*(-(-length // step) for length, step in zip(self.shape[:3], self.block_shape, strict=True)))

    def block_window(self, number):
        """Return the slices ``(n, y, x)`` of a block."""
        corners = zip(number, self.block_shape, self.shape[:3], strict=True)
        return tuple(slice(i * step, min((i + 1) * step, length)) for i, step, length in corners)

    def read(self, window=None):
        """Read pixels ``(n, y, x, c)``: a window ``(n, y, x)`` of slices with start and stop, or all.

        Raises
        ------
        ValueError
            If the file is broken or has changed since its header was read.
        """
        window = tuple(map(slice, (0, 0, 0), self.shape[:3])) if window is None else tuple(window)
        with reading(self.path):
            pixels = plain_values(self.read_stored(window))
        wanted = (*(part.stop - part.start for part in window), self.shape[3])
        if (pixels.shape, pixels.dtype) != (wanted, self.dtype):
            raise ValueError(
                f"{self.name} has changed since its header was read, from {wanted} {self.dtype} to {pixels.shape} "
                f"{pixels.dtype} (n, y, x, c). Start again."
            )
        return pixels


@contextmanager
def reading(path):
    """Turn all that readers raise for a broken file, except an ``ImportError``, into a ``ValueError`` that names it.

    Parameters
    ----------
    path : Path
        The file that the ``with`` block reads.
    """
    try:
        yield
    except ImportError:
        raise
    except UnusableImage as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
    except Exception as error:  # the readers raise some twenty different types for broken files
        reason = str(error).replace(str(path), path.name).splitlines() or [type(error).__name__]
        codecs = f"install imagecodecs, pip install -r env/{FORMATS_FILE}, or save it uncompressed"
        remedy = codecs if "imagecodecs" in reason[0] else IF_BROKEN
        raise ValueError(f"{path.name} cannot be read: {reason[0]} ({remedy})") from error


@contextmanager
def needing(package, name, requirements=FORMATS_FILE):
    """Say which package a file needs, if an import in the ``with`` block fails.

    Parameters
    ----------
    package : str
        As it is installed.
    name : str
        Name of the file.
    requirements : str
        The file in ``env/`` that installs the package.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"{name} needs the package {package}, which is not installed: pip install -r env/{requirements}"
        ) from error


def choose_image(titles, name=None):
    """Return the number of the image that is meant in a file of several.

    Parameters
    ----------
    titles : list of str
        Of all images; some may be empty or equal.
    name : str or int, optional
        Title or number of an image; may be omitted if there is only one.

    Returns
    -------
    int

    Raises
    ------
    UnusableImage
        If the image must be named, or does not exist.
    """
    names = ", ".join(f"{number} {title}".strip() for number, title in enumerate(titles))
    if len(titles) == 1:
        return 0
    if name is None:
        raise UnusableImage(
            f"it holds {len(titles)} images: {names}. Say which by name or number (IMAGE_DATASET, MASK_DATASET), or "
            "save each in a file of its own"
        )
    chosen = [number for number, title in enumerate(titles) if str(name) in (str(number), title)]
    if len(chosen) != 1:
        raise UnusableImage(f"it holds no series {name}; it holds {names}")
    return chosen[0]


def read_mapped(path, dtype, offset, shape, order, axes, window):
    """Read a part of pixels that lie in a file as in memory.

    Parameters
    ----------
    path : Path
        The file.
    dtype, offset, shape, order : numpy.dtype, int, tuple of int, str
        Of the array in it, as `numpy.memmap` takes them.
    axes : str
        From `utils.images.axes.settle_axes`.
    window : sequence of slice
        ``(n, y, x)``.

    Returns
    -------
    numpy.ndarray
        ``(n, y, x, c)``.
    """
    mapped = np.memmap(path, dtype, "r", offset=offset, shape=shape, order=order)
    return np.array(stacked_pages(mapped, axes)[window])


def without_alpha(pixels):
    """Return pixels without their last channel, which must be the same everywhere.

    Parameters
    ----------
    pixels : numpy.ndarray
        ``(..., c)``.

    Returns
    -------
    numpy.ndarray
        ``(..., c - 1)``, a view.

    Raises
    ------
    UnusableImage
        If something was drawn in the last channel.
    """
    alpha = pixels[..., -1]
    if alpha.min() != alpha.max():
        raise UnusableImage(
            f"its alpha channel holds values {alpha.min():g} to {alpha.max():g}, so something may be drawn in it. Save "
            "it without alpha channel, or as a mask of its own"
        )
    return pixels[..., :-1]
