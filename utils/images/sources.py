"""Opening image files: what they hold, from their headers, and reading any part. Every image is read here."""

import functools
import importlib.util
import math
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageMode

from utils.images.axes import (
    UnusableImage,
    axes_of_shape,
    channel_axis,
    check_axes_of_volume,
    pages_shape,
    plain_channels,
    plain_values,
    stacked_pages,
)
from utils.images.datasets import open_array
from utils.images.image_files import H5_SUFFIXES, NPY_SUFFIX, TIF_SUFFIXES, is_zarr, split_address

# The modes of pillow that are converted: no alpha channel, palette or single bits.
PLAIN_MODES = {"1": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGBA": "RGB", "CMYK": "RGB"}
# EM slices are large on purpose; pillow would take them for an attack.
Image.MAX_IMAGE_PIXELS = None
IF_BROKEN = "if the file is broken, copy it again, or remove it and its partner"
# Height and width that are read at once if the format can read any part of a page.
TILE = 1024


@dataclass(eq=False, slots=True)
class Source:
    """Pages of one size on disk: an image, several images, or a volume.

    Attributes
    ----------
    path : Path
        The file.
    shape : tuple of int
        ``(n, y, x, c)`` as stored: three equal channels count as three.
    dtype : numpy.dtype
        Dtype that `read` returns: uint8 for single bits, in the byte order of this machine.
    block_shape : tuple of int
        ``(n, y, x)`` that the format reads at once; the blocks begin at the first corner.
    read_stored : callable
        Takes three slices ``(n, y, x)`` and returns the stored pixels ``(n, y, x, c)``.
    """

    path: Path
    shape: tuple
    dtype: np.dtype
    block_shape: tuple
    read_stored: callable

    def __post_init__(self):
        self.dtype = np.dtype(np.uint8) if self.dtype == bool else self.dtype.newbyteorder("=")

    @property
    def name(self):
        """Name of the file."""
        return self.path.name

    @property
    def n_bytes(self):
        """Bytes of a page."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

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


def open_sources(path, *, dataset=None, one_volume=False):
    """Read the header of an image file.

    Parameters
    ----------
    path : str or Path
        A file with one of ``IMAGE_SUFFIXES``; an array in an hdf5 or zarr file as ``file.h5:dataset``.
    dataset : str, optional
        Name of the array in an hdf5 or zarr file with several.
    one_volume : bool
        The pages must be the slices of a single volume: axes z, y, x and perhaps channels.

    Returns
    -------
    list of Source
        One, or one for each page of a tif whose pages differ in size.

    Raises
    ------
    ValueError
        If the file is truncated, is no image, or has axes other than pages, y, x and channels.
    ImportError
        If the format needs a package that is not installed.
    """
    path, dataset = split_address(path, dataset)
    suffix = path.suffix.lower()
    with reading(path):
        if suffix in TIF_SUFFIXES:
            found = _open_tif(path, one_volume)
        elif suffix in H5_SUFFIXES or is_zarr(path):
            found = [_open_dataset(path, dataset)]
        elif suffix == NPY_SUFFIX:
            found = [_open_npy(path)]
        else:
            found = [_open_picture(path)]
    return found


def read_images(path, *, keep_colour=False, dataset=None, one_volume=False):
    """Read every page of an image file, or every slice of a volume, in its stored dtype.

    An RGB image whose three channels are equal is read as grey. One-bit images become 0 and 255.

    Parameters
    ----------
    path, dataset, one_volume
        As `open_sources`, which also names the errors.
    keep_colour : bool
        Keep three channels even if they are equal.

    Returns
    -------
    list of numpy.ndarray
        Each ``(y, x, c)`` with c 1 or 3.
    """
    sources = open_sources(path, dataset=dataset, one_volume=one_volume)
    pages = [page for source in sources for page in source.read()]
    return [plain_channels(page, sources[0].name, keep_colour=keep_colour) for page in pages]


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
        remedy = "install imagecodecs, or save it uncompressed" if "imagecodecs" in reason[0] else IF_BROKEN
        raise ValueError(f"{path.name} cannot be read: {reason[0]} ({remedy})") from error


def _open_picture(path):
    """Read the header of a png, jpeg or bmp; its pixels are read as a whole."""
    with Image.open(path) as image:
        mode = ImageMode.getmode(PLAIN_MODES.get(image.mode, image.mode))
        width, height = image.size
    shape = 1, height, width, len(mode.bands)
    return Source(path, shape, np.dtype(mode.typestr), shape[:3], partial(_read_picture, path))


def _read_picture(path, window):
    with Image.open(path) as image:
        pixels = np.asarray(image.convert(PLAIN_MODES[image.mode]) if image.mode in PLAIN_MODES else image)
    return pixels.reshape(1, *pixels.shape[:2], -1)[window]


def _open_tif(path, one_volume):
    """Read the header of a tif; without compression any part of its pixels is read, otherwise whole pages."""
    with tifffile.TiffFile(path) as tif:
        if not tif.series:
            raise UnusableImage("it holds no image")
        if len(tif.series) > 1 and one_volume:
            raise UnusableImage(
                f"its pages have {len(tif.series)} different sizes; the slices of a volume must have one"
            )
        if len(tif.series) > 1:  # pages of different sizes, which tifffile groups by size
            return [
                Source(path, shape, page.dtype, shape[:3], partial(_read_tif_pages, path, [number]))
                for number, page in enumerate(tif.pages)
                for shape in [pages_shape(page.shape, page.axes)]
            ]
        series = tif.series[0]
        axes = series.axes
        if one_volume:  # tifffile takes three or four slices for the channels or samples of one image
            axes = "ZYX" if axes in ("SYX", "CYX") else axes
            check_axes_of_volume(axes, series.shape)
        shape = count, height, width, _ = pages_shape(series.shape, axes)
        numbers = [None if page is None else page.index for page in series.pages]
        if series.dataoffset is not None:
            stored = np.dtype(tif.byteorder + series.dtype.char), series.dataoffset, series.shape
            block, read = (1, min(height, TILE), min(width, TILE)), partial(_read_mapped, path, *stored, axes)
        elif len(numbers) == count and None not in numbers:
            block, read = (1, height, width), partial(_read_tif_pages, path, numbers)
            if one_volume and len(series.pages[0].dataoffsets) > 1:
                read = partial(_read_tif_segments, path, numbers, axes, (height, width))
        else:  # channels of a page stand apart, or pages are missing
            block, read = shape[:3], partial(_read_whole_tif, path, axes)
        return [Source(path, shape, series.dtype, block, read)]


def _read_mapped(path, dtype, offset, shape, axes, window):
    """Read a part of pixels that lie in the file as in memory."""
    mapped = np.memmap(path, dtype, "r", offset=offset, shape=shape)
    return np.array(stacked_pages(mapped, axes)[window])


def _read_tif_pages(path, numbers, window):
    """Read pages of a tif, each as a whole, and cut the window out."""
    numbers = numbers[window[0]]
    with tifffile.TiffFile(path) as tif:
        axes = tif.pages[numbers[0]].axes
        pixels = tif.asarray(key=numbers)
    return stacked_pages(pixels, axes if len(numbers) == 1 else f"Q{axes}")[:, *window[1:]]


def _read_tif_segments(path, numbers, axes, shape, window):
    """Read only the tiles or strips that hold a part of the pages if zarr is installed, otherwise whole pages."""
    is_part = [part.stop - part.start for part in window[1:]] != list(shape)
    if is_part and importlib.util.find_spec("zarr") is not None:
        return _read_part(_tif_as_array(str(path), path.stat().st_mtime_ns), axes, window)
    return _read_tif_pages(path, numbers, window)


@functools.lru_cache(maxsize=4)
def _tif_as_array(path, changed):
    """Return the pages of a tif as a zarr array; ``changed`` tells files of one name apart."""
    import zarr

    return zarr.open(tifffile.TiffFile(path).series[0].aszarr(), mode="r")


def _read_whole_tif(path, axes, window):
    with tifffile.TiffFile(path) as tif:
        return stacked_pages(tif.series[0].asarray(), axes)[window]


def _open_dataset(path, dataset):
    """Read the header of an hdf5 or zarr file; its pixels are read in chunks."""
    array, axes = open_array(path, dataset)
    check_axes_of_volume(axes, array.shape)
    along = dict(zip(axes, array.chunks or array.shape, strict=True))
    if array.chunks is None:
        along = {axis: min(size, TILE) if axis in "YX" else 1 for axis, size in along.items()}
    block = along.get(_page_axis(axes, array.shape), 1), along["Y"], along["X"]
    shape = pages_shape(array.shape, axes)
    return Source(path, shape, np.dtype(array.dtype), block, partial(_read_dataset, path, dataset))


def _read_dataset(path, dataset, window):
    return _read_part(*open_array(path, dataset), window)


def _read_part(array, axes, window):
    """Read a window ``(n, y, x)`` of an array that has at most one axis of pages."""
    index = dict(zip((_page_axis(axes, array.shape), "Y", "X"), window, strict=True))
    return stacked_pages(np.asarray(array[tuple(index.get(axis, slice(None)) for axis in axes)]), axes)


def _page_axis(axes, shape):
    """Return the axis of the pages; other axes beside y, x and channels have length 1."""
    channel = channel_axis(axes, shape)
    pages = [(size, axis) for axis, size in zip(axes, shape, strict=True) if axis not in ("Y", "X", channel)]
    return max(pages, default=(1, ""))[1]


def _open_npy(path):
    """Read the header of a NumPy file; any part of its pixels is read."""
    array = np.load(path, mmap_mode="r")
    axes = axes_of_shape(array.shape)
    shape = pages_shape(array.shape, axes)
    block = 1, min(shape[1], TILE), min(shape[2], TILE)
    return Source(path, shape, array.dtype, block, partial(_read_npy, path, axes))


def _read_npy(path, axes, window):
    return np.array(stacked_pages(np.load(path, mmap_mode="r"), axes)[window])
