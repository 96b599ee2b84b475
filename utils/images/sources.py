"""What an image file holds, told from its header, and reading a part of it: a page, a tile or a chunk at a time."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageMode

from utils.images.axes import axes_of_volume, check_axes_of_volume, pages_shape, plain_channels, stacked_pages
from utils.images.datasets import VOLUME_SUFFIXES, ZARR_SUFFIX, _axes_from_shape, _choose, count_single, split_address
from utils.images.image_files import PLAIN_MODES, TIF_SUFFIXES, read_images, reading

IF_BROKEN = " (if the file is broken, copy it again or take it and its partner away)"
# Height and width of what is read at once where any part of a page can be.
TILE = 1024


@dataclass(eq=False, slots=True)
class StoredPages:
    """Pages of one file that have one size and dtype, which are read block by block.

    Attributes
    ----------
    path : Path
        The file.
    shape : tuple of int
        ``(n, y, x, c)``, as stored: three channels that are equal count as three.
    dtype : numpy.dtype
        As `read_images` returns them: uint8 for single bits, in the byte order of this machine.
    block_shape : tuple of int
        ``(n, y, x)`` of what the format reads at once; the blocks begin at the first corner.
    read : callable
        Called with a tuple of three slices, which are those of a block; returns its pixels ``(n, y, x, c)``.
    """

    path: Path
    shape: tuple
    dtype: np.dtype
    block_shape: tuple
    read: callable

    def __post_init__(self):
        self.dtype = np.dtype(np.uint8) if self.dtype == bool else self.dtype.newbyteorder("=")

    @property
    def n_bytes(self):
        """Bytes of a page."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def block_numbers(self):
        """Return the numbers of all blocks.

        Returns
        -------
        iterator of tuple of int
        """
        return np.ndindex(*(-(-length // step) for length, step in zip(self.shape[:3], self.block_shape, strict=True)))

    def block_window(self, number):
        """Return where a block lies.

        Parameters
        ----------
        number : tuple of int
            Number of the block along n, y and x.

        Returns
        -------
        tuple of slice
        """
        corners = zip(number, self.block_shape, self.shape[:3], strict=True)
        return tuple(slice(i * step, min((i + 1) * step, length)) for i, step, length in corners)

    def read_block(self, number):
        """Read a block.

        Parameters
        ----------
        number : tuple of int
            As ``block_window``.

        Returns
        -------
        numpy.ndarray
            ``(n, y, x, c)``.

        Raises
        ------
        ValueError
            If the file is broken or has changed since its header was read.
        """
        window = self.block_window(number)
        try:
            block = plain_channels(self.read(window), self.path.name, keep_colour=True)
        except ValueError as error:
            raise ValueError(f"{error}{IF_BROKEN}.") from error
        wanted = (*(part.stop - part.start for part in window), self.shape[3])
        if (block.shape, block.dtype) != (wanted, self.dtype):
            raise ValueError(
                f"{self.path.name} has changed since its header was read, from {wanted} {self.dtype} to {block.shape} "
                f"{block.dtype} (n, y, x, c). Start again."
            )
        return block


def stored_pages(path, *, dataset=None, one_volume=False):
    """Read the header of an image file.

    Parameters
    ----------
    path : str or Path
        A file with one of ``IMAGE_SUFFIXES``; an array in one of hdf5 or zarr as ``file.h5:dataset``.
    dataset : str, optional
        Name of the array in an hdf5 or zarr file that holds several.
    one_volume : bool
        The pages must be the slices of a single volume.

    Returns
    -------
    list of StoredPages
        One, unless the pages differ in size; together the pages that `utils.images.image_files.read_images` returns.

    Raises
    ------
    ValueError
        As `utils.images.image_files.read_images`, as far as the header tells.
    """
    path, dataset = split_address(path, dataset)
    suffix = path.suffix.lower()
    with reading(path):
        if suffix in TIF_SUFFIXES:
            found = _of_tif(path, one_volume)
        elif suffix in VOLUME_SUFFIXES:
            found = [_of_dataset(path, dataset)]
        else:
            found = [_of_image(path)]
    for pages in found:
        if pages.shape[-1] not in (1, 3):
            raise ValueError(f"{path.name} has {pages.shape[-1]} channels; wanted 1 or 3. Save it in grey")
    return found


def _of_image(path):
    """Read the header of a png, jpeg or bmp."""
    with Image.open(path) as image:
        mode = ImageMode.getmode(PLAIN_MODES.get(image.mode, image.mode))
        width, height = image.size
    shape = 1, height, width, len(mode.bands)
    return StoredPages(path, shape, np.dtype(mode.typestr), shape[:3], partial(_read_all, path))


def _of_tif(path, one_volume):
    """Read the header of a tif, of which a part is read where it is not compressed, otherwise page by page."""
    with tifffile.TiffFile(path) as tif:
        if one_volume:
            check_axes_of_volume([(series.axes, series.shape) for series in tif.series])
        if not tif.series:
            raise ValueError("it holds no image")
        if len(tif.series) > 1:  # pages of different sizes, which tifffile groups by size
            return [
                StoredPages(path, shape, page.dtype, shape[:3], partial(_read_tif_page, path, [number]))
                for number, page in enumerate(tif.pages)
                for shape in [pages_shape(page.shape, page.axes)]
            ]
        series, byteorder = tif.series[0], tif.byteorder
        axes = axes_of_volume(series.axes) if one_volume else series.axes
        shape = pages_shape(series.shape, axes)
        count, height, width, _ = shape
        numbers = [None if page is None else page.index for page in series.pages]
        if series.dataoffset is not None:
            block = 1, min(height, TILE), min(width, TILE)
            stored = np.dtype(byteorder + series.dtype.char), series.dataoffset, series.shape
            read = partial(_read_mapped, path, *stored, axes)
        elif len(numbers) == count and None not in numbers:
            block, read = (1, height, width), partial(_read_tif_page, path, numbers)
        else:  # a page is scattered over several: channels apart, or pages that are missing
            block, read = shape[:3], partial(_read_all, path)
        return [StoredPages(path, shape, series.dtype, block, read)]


def _of_dataset(path, dataset):
    """Read the header of an hdf5 or zarr file, of which chunks are read."""
    array = _open_dataset(path, dataset)
    n_single = count_single(array.shape)
    shape = array.shape[n_single:]
    axes = _axes_from_shape(shape)
    sizes = dict(zip(axes, shape, strict=True))
    if array.chunks is None:
        block = dict(sizes) | {"Z": 1, "Y": min(sizes["Y"], TILE), "X": min(sizes["X"], TILE)}
    else:
        block = dict(zip(axes, array.chunks[n_single:], strict=True))
    dtype = np.dtype(array.dtype)
    # A zarr array keeps no file open; thousands of hdf5 files would be too many.
    opened = array if path.suffix.lower() == ZARR_SUFFIX else None
    read = partial(_read_chunk, path, dataset, opened, n_single, axes)
    return StoredPages(path, pages_shape(shape, axes), dtype, (block.get("Z", 1), block["Y"], block["X"]), read)


def _open_dataset(path, dataset):
    """Return the hdf5 dataset, which is closed when nobody holds it any more, or zarr array."""
    if path.suffix.lower() == ZARR_SUFFIX:
        try:
            import zarr
        except ImportError as error:
            raise ImportError(
                f"{path.name} cannot be read without the package zarr: pip install -r env/requirements-big.txt"
            ) from error
        root = zarr.open(path, mode="r")
        if isinstance(root, zarr.Array):
            return root
        found = {name: item for name, item in root.members(max_depth=None) if isinstance(item, zarr.Array)}
    else:
        import h5py

        file, found = h5py.File(path, "r"), {}
        file.visititems(lambda name, item: found.update({name: item} if isinstance(item, h5py.Dataset) else {}))
    return _choose(found, dataset)


def _read_all(path, window):
    """Read all pages of a file, which are one block."""
    return np.stack(read_images(path, keep_colour=True))


def _read_tif_page(path, numbers, window):
    with reading(path), tifffile.TiffFile(path) as tif:
        page = tif.pages[numbers[window[0].start]]
        return stacked_pages(page.asarray(), page.axes)


def _read_mapped(path, dtype, offset, shape, axes, window):
    """Read a part of what lies in a file as in memory."""
    with reading(path):
        mapped = np.memmap(path, dtype, "r", offset=offset, shape=shape)
        return np.array(stacked_pages(mapped, axes)[window])


def _read_chunk(path, dataset, opened, n_single, axes, window):
    along = dict(zip("ZYX", window, strict=True))
    index = (0,) * n_single + tuple(along.get(axis, slice(None)) for axis in axes)
    with reading(path):
        array = _open_dataset(path, dataset) if opened is None else opened
        return stacked_pages(array[index], axes)
