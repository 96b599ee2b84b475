"""Reading and writing image files: png, jpeg and bmp through pillow, tif (pages, stacks, volumes) through tifffile."""

import re
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import Image

from utils.files import atomic_path
from utils.images.axes import axes_of_volume, check_axes_of_volume, plain_channels, stacked_pages
from utils.images.datasets import VOLUME_SUFFIXES, ZARR_SUFFIX, read_dataset, split_address

TIF_SUFFIXES = (".tif", ".tiff")
# What pillow's modes become: without alpha channel, palette and single bits.
PLAIN_MODES = {"1": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGBA": "RGB", "CMYK": "RGB"}
# EM slices are large on purpose; pillow would take them for an attack.
Image.MAX_IMAGE_PIXELS = None
# A tif beyond 4 GiB has to be a BigTIFF; what is left is for its directory.
CLASSIC_TIF_BYTES = 2**32 - 2**25
IMAGE_SUFFIXES = (".png", *TIF_SUFFIXES, ".jpg", ".jpeg", ".bmp", *VOLUME_SUFFIXES)


class Source(NamedTuple):
    """Where an image came from: a file name and, in a file of several pages, the page."""

    file: str
    page: int | None = None
    slices = ()  # as VolumeSource has

    def __str__(self):
        return self.file if self.page is None else f"{self.file} page {self.page}"


class VolumeSource(NamedTuple):
    """Where a volume came from: a file, or the slices of a folder, whose names are kept."""

    file: str
    slices: tuple = ()
    page = None  # as Source has

    def __str__(self):
        return self.file


def list_images(folder):
    """List the image files of a folder in natural order (``im_2`` before ``im_10``).

    Hidden files and files that are not images by their suffix (``Thumbs.db``, ``notes.txt``) are passed over. A
    folder that holds nothing but one sub-folder is entered, so that Keras' doubled layout ``x/x/`` works too.

    Parameters
    ----------
    folder : str or Path
        The folder.

    Returns
    -------
    list of Path
        Empty when there are none.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder {folder} does not exist")
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "~"))]
    suffixes = {entry: entry.suffix.lower() for entry in entries}
    files = [entry for entry in entries if entry.is_file() and suffixes[entry] in IMAGE_SUFFIXES]
    files += [entry for entry in entries if entry.is_dir() and suffixes[entry] == ZARR_SUFFIX]
    folders = [entry for entry in entries if entry.is_dir() and suffixes[entry] != ZARR_SUFFIX]
    if not files and len(folders) == 1:
        return list_images(folders[0])
    return sorted(files, key=lambda path: (natural_key(path.name), path.name))


def natural_key(name):
    """Return a sort key that compares the numbers in a name by value.

    Parameters
    ----------
    name : str
        A file name.

    Returns
    -------
    tuple

    Examples
    --------
    >>> sorted(["im_10", "im_2"], key=natural_key)
    ['im_2', 'im_10']
    """
    return tuple((int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", name))


def read_images(path, *, keep_colour=False, dataset=None, one_volume=False):
    """Read every page of an image file, or every slice of a volume, in its stored dtype.

    An alpha channel is dropped, and an RGB image whose three channels are equal is read as grey. One-bit images become
    0 and 255.

    Parameters
    ----------
    path : str or Path
        A file with one of ``IMAGE_SUFFIXES``; an array in one of hdf5 or zarr as ``file.h5:dataset``.
    keep_colour : bool
        Leave RGB images as they are, even if all their pixels are grey.
    dataset : str, optional
        Name of the array in an hdf5 or zarr file that holds several.
    one_volume : bool
        The pages must be the slices of a single volume: axes z, y, x and perhaps channels.

    Returns
    -------
    list of numpy.ndarray
        Each ``(y, x, c)`` with c 1 or 3.

    Raises
    ------
    ValueError
        If the file is truncated, is no image, or has axes that are not pages, y, x and 1 or 3 channels (and alpha).
    """
    path, dataset = split_address(path, dataset)
    with reading(path):
        if path.suffix.lower() in TIF_SUFFIXES:
            pages = _read_tif(path, one_volume)
        elif path.suffix.lower() in VOLUME_SUFFIXES:
            pages = stacked_pages(*read_dataset(path, dataset))
        else:
            pages = [_read_with_pillow(path)]
    return [plain_channels(page, path.name, keep_colour=keep_colour) for page in pages]


@contextmanager
def reading(path):
    """Turn whatever is raised for a broken file into a ``ValueError`` that names the file.

    Parameters
    ----------
    path : Path
        What is read inside of the ``with`` block.

    Raises
    ------
    ValueError
        Whatever the reader raised, but for an ``ImportError``.
    """
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # the readers raise some twenty different types for broken files
        reason = str(error).replace(str(path), path.name).splitlines() or [type(error).__name__]
        hint = " (install imagecodecs, or save it uncompressed)" if "imagecodecs" in reason[0] else ""
        raise ValueError(f"{path.name} cannot be read: {reason[0]}{hint}") from error


def _read_with_pillow(path):
    with Image.open(path) as image:
        image = image.convert(PLAIN_MODES[image.mode]) if image.mode in PLAIN_MODES else image
        pixels = np.asarray(image)
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _read_tif(path, one_volume):
    pages = []
    with tifffile.TiffFile(path) as tif:
        if one_volume:
            check_axes_of_volume([(series.axes, series.shape) for series in tif.series])
        if len(tif.series) > 1:  # pages of different sizes, which tifffile groups by size
            return [page for item in tif.pages for page in stacked_pages(item.asarray(), item.axes)]
        for series in tif.series:
            axes = axes_of_volume(series.axes) if one_volume else series.axes
            pages.extend(stacked_pages(series.asarray(), axes))
    if not pages:
        raise ValueError("it holds no image")
    return pages


class ImageWriter:
    """Write images or volumes one by one; a file appears under its name once its last page is written.

    Parameters
    ----------
    folders : list of Path
        One folder for each image given to ``write``.
    sources : list of Source or VolumeSource
        Names and pages, in the order in which ``write`` is called; a volume that came as slices counts as its slices.
    """

    def __init__(self, folders, sources):
        self._folders = [Path(folder) for folder in folders]
        self._sources = [part for source in sources for part in source.slices or [source]]
        self._position = 0
        self._open = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._open is not None:
            # A stack that is not complete never appears under its name.
            reason = error if error[0] is not None else (ValueError, ValueError("a page is missing"), None)
            self._open[1].__exit__(*reason)
            self._open = None

    def write(self, *images):
        """Write the next image or volume of every folder.

        Parameters
        ----------
        *images : numpy.ndarray
            ``(y, x, c)`` or ``(z, y, x, c)``; one channel is written without its axis. A volume becomes a tif with
            the axes ZYX, or ZYXS with several channels.
        """
        source = self._sources[self._position]
        self._position += 1
        if self._open is None:
            stack = ExitStack()
            writers = []
            following = self._sources[self._position - 1 :]
            pages = sum(1 for _ in takewhile(lambda other: other.file == source.file, following))
            for folder, image in zip(self._folders, images, strict=True):
                temporary = stack.enter_context(atomic_path(folder / output_name(source)))
                is_big = pages * image.nbytes > CLASSIC_TIF_BYTES
                writers.append(stack.enter_context(tifffile.TiffWriter(temporary, bigtiff=is_big)))
            self._open = writers, stack
        for writer, image in zip(self._open[0], images, strict=True):
            _write_image(writer, image)
        last = self._position == len(self._sources) or self._sources[self._position].file != source.file
        if last:
            self._open[1].close()
            self._open = None


def _write_image(writer, image):
    """Append an image, or a volume with its axes, to an open tif."""
    is_volume, n_channels = image.ndim == 4, image.shape[-1]
    image = image[..., 0] if n_channels == 1 else image
    options = {"photometric": "rgb" if n_channels == 3 else "minisblack"}
    options |= {"planarconfig": "contig"} if n_channels > 1 else {}
    options["metadata"] = {"axes": "ZYX" if n_channels == 1 else "ZYXS"} if is_volume else None
    writer.write(image, compression="zlib", compressionargs={"level": 1}, **options)


def write_pairs(folder, images, masks, *, max_pairs=4):
    """Write images or volumes with their masks as tifs, to look at them in a viewer.

    Parameters
    ----------
    folder : str or Path
        Gets ``x/00.tif``, ``y/00.tif`` and so on.
    images, masks : sequence of numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``; written as they are.
    max_pairs : int
        How many at most.
    """
    sources = [Source(f"{number:02d}.tif") for number in range(min(len(images), max_pairs))]
    with ImageWriter([Path(folder) / "x", Path(folder) / "y"], sources) as writer:
        for image, mask in zip(images[:max_pairs], masks[:max_pairs], strict=True):
            writer.write(image, mask)


def output_name(source):
    """Return the name under which what belongs to a source is written: the input's name as tif.

    Parameters
    ----------
    source : Source
        Where the image came from.

    Returns
    -------
    str
    """
    return str(Path(source.file).with_suffix(".tif"))


class SavedImages(Sequence):
    """Images or volumes on disk that read like a list: one is in memory at a time.

    Parameters
    ----------
    folder : Path
        Where ``ImageWriter`` wrote them.
    sources : list of Source or VolumeSource
        Their names and pages.
    """

    def __init__(self, folder, sources):
        self.folder = Path(folder)
        self._sources = list(sources)

    def __len__(self):
        return len(self._sources)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return SavedImages(self.folder, self._sources[index])
        source = self._sources[index]
        if not isinstance(source, VolumeSource):
            return self._read(source, dimensions=3, key=source.page or 0)
        if source.slices:
            return np.stack([self._read(part, dimensions=3, key=part.page or 0) for part in source.slices])
        return self._read(source, dimensions=4)

    def _read(self, source, dimensions, **options):
        image = tifffile.imread(self.folder / output_name(source), **options)
        return image[..., np.newaxis] if image.ndim == dimensions - 1 else image
