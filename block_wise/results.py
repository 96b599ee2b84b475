"""Results in OME-Zarr whose boxes are written and read independently; a block is a chunk, so writers never meet."""

import errno
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from utils.files import atomic_path
from utils.images.formats.ome_zarr import create_ome_zarr, open_level


class UnreadableBlock(ValueError):
    """A part of a volume that exists but cannot be read."""


class DamagedResult(UnreadableBlock):
    """A damaged part of a result of the run itself; whoever raises this makes it count as not done."""


def describe_box(box):
    """Return the place of a box in words.

    Parameters
    ----------
    box : tuple of slice
        ``(z, y, x)``.

    Returns
    -------
    str

    Examples
    --------
    >>> describe_box((slice(2, 5), slice(0, 8), slice(0, 9)))
    'z 2 to 5, y 0 to 8, x 0 to 9'
    """
    return ", ".join(f"{axis} {part.start} to {part.stop}" for axis, part in zip("zyx", box, strict=True))


def create_volume(path, shape, *, chunks, dtype, scale=None, labels=False):
    """Make an OME-Zarr image of zeros, as `utils.images.formats.ome_zarr.create_ome_zarr`, unless it exists.

    Parameters
    ----------
    path : str or Path
        Folder ``*.zarr``, or in ``*.zarr/labels``.
    shape : tuple of int
        ``(z, y, x)`` or ``(z, y, x, c)``; channels are stored first.
    chunks : tuple of int
        ``(z, y, x)``: a block, so that no two processes ever write the same chunk.
    dtype : str or numpy.dtype
        Of the values.
    scale, labels
        As `utils.images.formats.ome_zarr.create_ome_zarr`.
    """
    n_channels = shape[3] if len(shape) == 4 else None
    with explain_write_errors(path):
        options = {"dtype": dtype, "scale": scale, "n_channels": n_channels, "labels": labels}
        create_ome_zarr(Path(path), tuple(shape[:3]), chunks=tuple(chunks), **options)


def read_box(path, box, *, level=0):
    """Read a box of a result from `create_volume`.

    Parameters
    ----------
    path : str or Path
        Its folder.
    box : tuple of slice
        ``(z, y, x)``.
    level : int
        0 is the full resolution.

    Returns
    -------
    numpy.ndarray
        ``(z, y, x)`` or ``(z, y, x, c)``.

    Raises
    ------
    UnreadableBlock
        If a chunk is damaged.
    """
    array = open_level(str(path), level, "r")
    try:
        return np.moveaxis(array[:, *box], 0, -1) if array.ndim == 4 else array[box]
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise UnreadableBlock(f"{Path(path).name} cannot be read at {describe_box(box)}: {reason}") from error


def write_box(path, box, values, *, level=0):
    """Write a block of a result from `create_volume`.

    Parameters
    ----------
    path, box, level
        As `read_box`; whole chunks.
    values : numpy.ndarray
        ``(z, y, x)`` or ``(z, y, x, c)``.
    """
    array = open_level(str(path), level, "r+")
    with explain_write_errors(path):
        if array.ndim == 4:
            array[:, *box] = np.moveaxis(values, -1, 0)
        else:
            array[box] = values


def chunk_file(path, block, *, level=0):
    """Return the file of a chunk, which exists only if a value in it is not 0.

    Parameters
    ----------
    path : Path
        From `create_volume`.
    block : tuple of int
        Number of the chunk ``(z, y, x)``.
    level : int
        As `read_box`.

    Returns
    -------
    Path
    """
    # All channels are in one chunk; without them the number of axes is that of the block.
    channels = () if not (path / str(level)).is_dir() else (0,) * (open_level(str(path), level, "r").ndim - 3)
    return path.joinpath(str(level), "c", *map(str, (*channels, *block)))


def save_arrays(path, content):
    """Write one array (``.npy``), or several by name (``.npz``), whole or not at all.

    Parameters
    ----------
    path : str or Path
        The file.
    content : numpy.ndarray or dict of str to numpy.ndarray
        The array or arrays.
    """
    with explain_write_errors(path), atomic_path(path) as temporary, temporary.open("wb") as file:
        if isinstance(content, dict):
            np.savez(file, **content)
        else:  # not quite a file: for real ones NumPy hides why it cannot write
            np.save(SimpleNamespace(write=file.write), content)


@contextmanager
def explain_write_errors(path):
    """Explain in an ``OSError`` why something cannot be written, and that the same command continues a block-wise run.

    Parameters
    ----------
    path : str or Path
        What the ``with`` block writes.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason, remedy = ("the disk is full", "free some space") if full else (error.strerror or error, "correct that")
        raise OSError(
            error.errno,
            f"{path} could not be written: {reason}. No finished block is lost: {remedy} and start the same command "
            "again.",
        ) from error
