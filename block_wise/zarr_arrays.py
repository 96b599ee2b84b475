"""Results in zarr arrays of which any box is written and read by itself; a block is a chunk, so writers never meet."""

import errno
import functools
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from utils.files import atomic_path


class UnreadableBlock(ValueError):
    """A part of a volume that is there, but cannot be read."""


class DamagedResult(UnreadableBlock):
    """A part of a result of the run itself; whoever raises it sees to it that it counts as not done."""


def import_zarr(name):
    """Return the package zarr.

    Parameters
    ----------
    name : str
        What needs it, for the error.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import zarr
    except ImportError as error:
        raise ImportError(
            f"{name} needs the package zarr, which is not installed: pip install -r env/requirements-big.txt"
        ) from error
    return zarr


def describe_unreadable(box, error):
    """Say that and why a box of a volume cannot be read.

    Parameters
    ----------
    box : tuple of slice
        ``(z, y, x)``.
    error : Exception
        What the format or codec raised.

    Returns
    -------
    str
    """
    reason = (str(error).splitlines() or [""])[0] or type(error).__name__
    where = ", ".join(f"{axis} {part.start} to {part.stop}" for axis, part in zip("zyx", box, strict=True))
    return f"cannot be read at {where}: {reason}"


def create_volume(path, shape, *, chunks, dtype):
    """Make a zarr array of zeros, or open it if it is there already.

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

    Raises
    ------
    ImportError
        If zarr is not installed.
    """
    zarr, path = import_zarr(Path(path).name), Path(path)
    if is_empty_file(path / "zarr.json"):
        (path / "zarr.json").unlink()
    if not (path / "zarr.json").exists():
        # lz4 with shuffled bytes: probabilities shrink little in any codec, so a fast one.
        compressor = zarr.codecs.BloscCodec(cname="lz4", clevel=3, shuffle="shuffle")
        options = {"chunks": (*chunks, *shape[3:]), "dtype": np.dtype(dtype), "compressors": compressor}
        with said_if_full(path):
            zarr.create_array(str(path), shape=tuple(shape), fill_value=0, **options)


def read_box(path, box):
    """Read a box of a zarr array that this project wrote.

    Parameters
    ----------
    path : str or Path
        From `create_volume`.
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
    array = _array(str(path), "r")
    try:
        return array[box]
    except Exception as error:
        raise UnreadableBlock(f"{Path(path).name} {describe_unreadable(box, error)}") from error


@functools.lru_cache(maxsize=16)
def _array(path, mode):
    return import_zarr(Path(path).name).open_array(path, mode=mode)


def write_box(path, box, values):
    """Write a block of a zarr array.

    Parameters
    ----------
    path : str or Path
        From `create_volume`.
    box : tuple of slice
        ``(z, y, x)``: whole chunks.
    values : numpy.ndarray
        ``(z, y, x)`` or ``(z, y, x, c)``, as the array.

    Raises
    ------
    OSError
        If the disk is full, or it cannot be written for another reason; the message says which.
    """
    with said_if_full(path):
        _array(str(path), "r+")[box] = values


def is_empty_file(path):
    """Return whether a file is there, but without content, as some are after a power cut.

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
    """Return the file of a chunk, which is only there if something in it is not 0.

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
        What goes in.

    Raises
    ------
    OSError
        As `write_box`.
    """
    with said_if_full(path), atomic_path(path) as temporary, temporary.open("wb") as file:
        if isinstance(content, dict):
            np.savez(file, **content)
        else:  # what is not quite a file, because NumPy hides why it cannot write to one
            np.save(SimpleNamespace(write=file.write), content)


@contextmanager
def said_if_full(path):
    """Say of an error in writing why it is, and that block-wise runs go on by the same command.

    Parameters
    ----------
    path : str or Path
        What is written.

    Raises
    ------
    OSError
        In place of one that says less.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason, remedy = ("the disk is full", "free some space") if full else (error.strerror or error, "mend that")
        raise OSError(
            error.errno,
            f"{path} could not be written: {reason}. No finished block is lost: {remedy} and start the same command "
            "again.",
        ) from error
