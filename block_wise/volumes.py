"""Volumes on disk whose boxes are read independently: finding and opening them, reading boxes."""

import functools
from pathlib import Path
from typing import NamedTuple

from block_wise.results import UnreadableBlock, describe_box
from utils.data.paired_sources import open_volume_sources
from utils.images.axes import plain_channels
from utils.images.image_files import DATASET_SUFFIXES, list_images, split_address
from utils.images.lazy_images import LazyImage
from utils.images.scale import scale_of


class VolumeAddress(NamedTuple):
    """Where a volume is, and how many channels it must have.

    Attributes
    ----------
    path : str or Path
        A file, a zarr folder or a folder of slices.
    dataset : str, optional
        Name of the array in an hdf5 or zarr file with several.
    channels : int, optional
        Channels that are wanted; 1 reads three equal ones as one, None keeps them as stored.
    as_labels : bool
        Keep the stored numbers of files with a palette instead of the colours that they stand for.
    """

    path: str
    dataset: str | None = None
    channels: int | None = None
    as_labels: bool = False

    @property
    def name(self):
        """Name of the file or folder, for messages."""
        return split_address(self.path)[0].name


def open_volume(address):
    """Open a volume for reading, once per process.

    Parameters
    ----------
    address : VolumeAddress
        Where it is.

    Returns
    -------
    LazyImage
        ``(z, y, x, c)``; exactly what is indexed is read.

    Raises
    ------
    FileNotFoundError
        If it does not exist.
    ValueError
        If it is no volume, cannot be opened, or holds several arrays and none is named.
    """
    path, _ = split_address(address.path, address.dataset)
    changed = path.stat().st_mtime_ns if path.exists() else None  # a volume that was replaced is opened anew
    return _open(address._replace(path=str(address.path)), changed)


@functools.lru_cache(maxsize=4)
def _open(address, changed):
    sources = open_volume_sources(address.path, dataset=address.dataset, channels=address.channels)
    stored = sources[0].shape[-1], sources[0].dtype
    found, dtype = stored if address.as_labels else (sources[0].shown_channels, sources[0].shown_dtype)
    channels = 1 if address.channels == 1 else found
    finish = functools.partial(_finish, channels=channels, as_labels=address.as_labels)
    return LazyImage(sources, finish, channels=channels, dtype=dtype)


def _finish(pixels, source, *, channels, as_labels):
    pixels = plain_channels(pixels if as_labels else source.shown(pixels), keep_colour=channels == 3)
    if pixels.shape[-1] != channels:
        raise ValueError(f"{source.name} has {pixels.shape[-1]} channels, but {channels} is wanted; save it in grey")
    return pixels


def volume_scale(address, voxel_size_nm=None):
    """Return the size of a voxel of a volume and its position.

    Parameters
    ----------
    address : VolumeAddress
        Where it is.
    voxel_size_nm : float or tuple of float, optional
        As stated; None: as the file states it.

    Returns
    -------
    Scale or None
    """
    stated = scale_of(voxel_size_nm)
    found = open_volume_sources(address.path, dataset=address.dataset, channels=address.channels)[0].scale
    return stated._replace(offset_nm=found.offset_nm) if stated and found else stated or found


def read_volume(address, box):
    """Read a box of a volume.

    Parameters
    ----------
    address : VolumeAddress
        Where the volume is.
    box : tuple of slice
        ``(z, y, x)``, with start and stop.

    Returns
    -------
    numpy.ndarray
        ``(z, y, x, c)``.

    Raises
    ------
    UnreadableBlock
        If that part of the file is damaged.
    """
    try:
        return open_volume(address)[box]
    except ValueError as error:
        raise UnreadableBlock(f"{str(error).rstrip('.')}, at {describe_box(box)}") from error


def middle_box(shape):
    """Return the middle of the middle slice, at most 1024 x 1024, for looking at a volume that is too large.

    Parameters
    ----------
    shape : tuple of int
        ``(z, y, x)`` or ``(z, y, x, c)``.

    Returns
    -------
    tuple of slice
        ``(z, y, x)``.
    """
    starts = [shape[0] // 2, *(max(0, (size - 1024) // 2) for size in shape[1:3])]
    lengths = (1, *(min(1024, size) for size in shape[1:3]))
    return tuple(slice(start, start + length) for start, length in zip(starts, lengths, strict=True))


def find_volume(folder):
    """Find the one volume of a data folder.

    Parameters
    ----------
    folder : str or Path
        The volume itself, or a data folder with one file, or slices, in ``test/x/``.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If ``test/x/`` holds several volumes, or none.
    FileNotFoundError
        If there is no such file or folder.
    """
    folder = Path(folder).resolve()
    if not split_address(folder)[0].exists():
        raise FileNotFoundError(f"the volume {split_address(folder)[0]} does not exist")
    return _only_volume(folder / "test" / "x") if (folder / "test" / "x").is_dir() else folder


def find_truth(folder):
    """Find the truth of the volume of a data folder.

    Parameters
    ----------
    folder : str or Path
        As `find_volume`.

    Returns
    -------
    Path or None
        What ``test/y/`` holds; None if there is no such folder.
    """
    inner = Path(folder).resolve() / "test" / "y"
    return _only_volume(inner) if inner.is_dir() else None


def _only_volume(folder):
    found = list_images(folder)
    if len(found) == 1:
        return found[0]
    if not found or any(path.suffix.lower() in DATASET_SUFFIXES for path in found):
        names = ", ".join(path.name for path in found) or "nothing"
        raise ValueError(f"{folder} holds {names}; wanted one volume. Give its path as data_dir.")
    return found[0].parent
