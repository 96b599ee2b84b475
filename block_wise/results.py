"""Results in zarr arrays whose boxes are written and read independently; a block is a chunk, so writers never meet."""

import errno
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from utils.files import atomic_path
from utils.images.formats.array_files import create_zarr, open_zarr


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


def create_volume(path, shape, *, chunks, dtype):
    """Make a zarr array of zeros unless it exists.

    Parameters
    ----------
    path : str or Path
        Folder ``*.zarr``.
    shape : tuple of int
        ``(z, y, x)`` or ``(z, y, x, c)``.
    chunks : tuple of int
        ``(z, y, x)``: a block, so that no two processes ever write the same chunk.
    dtype : str or numpy.dtype
        Of the values.
    """
    path = Path(path)
    if is_empty_file(path / "zarr.json"):
        (path / "zarr.json").unlink()
    if not (path / "zarr.json").exists():
        with explain_write_errors(path):
            create_zarr(path, tuple(shape), chunks=(*chunks, *shape[3:]), dtype=np.dtype(dtype))


def read_box(path, box):
    """Read a box of a zarr array from `create_volume`.

    Parameters
    ----------
    path : str or Path
        Its folder.
    box : tuple of slice
        ``(z, y, x)``.

    Returns
    -------
    numpy.ndarray
        ``(z, y, x)`` or ``(z, y, x, c)``, as the array.

    Raises
    ------
    UnreadableBlock
        If a chunk is damaged.
    """
    array = open_zarr(str(path), "r")
    try:
        return array[box]
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise UnreadableBlock(f"{Path(path).name} cannot be read at {describe_box(box)}: {reason}") from error


def write_box(path, box, values):
    """Write a block of a zarr array from `create_volume`.

    Parameters
    ----------
    path, box
        As `read_box`; whole chunks.
    values : numpy.ndarray
        ``(z, y, x)`` or ``(z, y, x, c)``, as the array.
    """
    with explain_write_errors(path):
        open_zarr(str(path), "r+")[box] = values


def is_empty_file(path):
    """Return whether a file exists without content, as after a power cut.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    bool
    """
    return path.is_file() and path.stat().st_size == 0


def chunk_file(path, block):
    """Return the file of a chunk, which exists only if a value in it is not 0.

    Parameters
    ----------
    path : Path
        From `create_volume`.
    block : tuple of int
        Number of the chunk ``(z, y, x)``.

    Returns
    -------
    Path
    """
    file = path.joinpath("c", *map(str, block))
    return file / "0" if file.is_dir() else file  # a folder where there are channels


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
