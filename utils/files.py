"""Writing files so that a reader never sees half of one, and a full disk is explained in a sentence."""

import csv
import errno
import json
import math
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path

from utils.errors import REPOSITORY

TEMPORARY_PREFIX = "tmp_"
# Where images lie in a data folder.
DATA_PARTS = ("train", "val", "test", "x", "y")


@contextmanager
def atomic_path(path, *, size=0):
    """Yield a temporary path beside ``path``, and move it there if the block ends without an error.

    After an error the temporary file is removed, and an old file at ``path`` stays as it was.

    Parameters
    ----------
    path : str or Path
        The file to write. Its folder is made if it is missing.
    size : int
        Smallest number of bytes that will be written, for writers that do not survive a full disk themselves, such as
        HDF5.

    Yields
    ------
    Path
        Where to write, in the same folder and with the same suffixes.

    Raises
    ------
    OSError
        If the file cannot be written; the message names the file, the reason and the remedy.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with atomic_path(target) as temporary:
    ...     _ = temporary.write_text("whole or not at all")
    >>> target.read_text()
    'whole or not at all'
    """
    path = Path(path)
    temporary = path.with_name(TEMPORARY_PREFIX + path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if size > shutil.disk_usage(path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, _cannot_write(path, error)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _cannot_write(path, error):
    free = shutil.disk_usage(path.parent).free if path.parent.exists() else None
    # HDF5 hides the error number, so an almost full disk counts as a full one.
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or (free is not None and free < 1_000_000):
        return (
            f"{path} could not be written: the disk is full. Nothing written before is lost; free some space "
            "and start again with --resume"
        )
    return f"{path} could not be written: {error.strerror or error}"


def write_text(path, text):
    """Write a text file atomically, in UTF-8.

    Parameters
    ----------
    path : str or Path
        The file.
    text : str
        Its content.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def why_not_there(path):
    """Say why a path is not the file or folder that is wanted.

    Parameters
    ----------
    path : str or Path
        What was looked for.

    Returns
    -------
    str
        The path with the reason: it does not exist, is a broken link, or is the other kind of the two.

    Examples
    --------
    >>> why_not_there("/nowhere"), why_not_there("/")
    ('/nowhere does not exist', '/ is a folder')
    """
    path = Path(path)
    if path.is_symlink() and not path.exists():
        return f"{path} is a link to {os.readlink(path)}, which does not exist or leads back to itself"
    return (
        f"{path} is a folder" if path.is_dir() else f"{path} is a file" if path.exists() else f"{path} does not exist"
    )


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


def write_json(path, content):
    """Write ``content`` as indented JSON, atomically; NaN and infinity become ``null``.

    Parameters
    ----------
    path : str or Path
        The file.
    content : object
        Dictionaries, lists, texts, numbers and None; other values are written as text.
    """
    write_text(path, json.dumps(_without_nan(content), indent=2, default=_plain, allow_nan=False) + "\n")


def _without_nan(content):
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def _plain(value):
    return value.item() if hasattr(value, "item") else str(value)


def read_json(path):
    """Read a JSON file.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    object
    """
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_csv(path, rows):
    """Write rows as a table, atomically; the columns are the keys in order of first appearance.

    Parameters
    ----------
    path : str or Path
        The file.
    rows : list of dict
        One dictionary a row; missing keys stay empty.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def lock_file(file):
    """Lock an open file until it is closed, for this process and its children that inherit it.

    Parameters
    ----------
    file : file object
        Opened for writing.

    Returns
    -------
    bool
        False if it is locked already, be it by another opening in this process. True also where locks do not exist: on
        Windows and on some file systems.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


@contextmanager
def atomic_folder(folder):
    """Yield a temporary folder beside ``folder``, and move it there if the block ends without an error.

    After an error the temporary folder is removed.

    Parameters
    ----------
    folder : str or Path
        The folder to make; as `check_free`.

    Yields
    ------
    Path
        Where to write.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "data"
    >>> with atomic_folder(target) as temporary:
    ...     _ = (temporary / "note.txt").write_text("whole or not at all")
    >>> [path.name for path in target.iterdir()]
    ['note.txt']
    """
    folder = Path(folder)
    check_free(folder)
    temporary = folder.absolute().with_name(TEMPORARY_PREFIX + folder.absolute().name)
    try:
        temporary.mkdir(parents=True)
    except FileExistsError as error:
        raise ValueError(f"{temporary} is there already, maybe of an attempt that was killed. Remove it.") from error
    try:
        yield temporary
        if folder.is_dir():
            folder.rmdir()
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_free(folder):
    """Raise a ``ValueError`` if a folder holds something, is no folder, or cannot be made where it is wanted.

    Parameters
    ----------
    folder : str or Path
        It may be missing or empty.
    """
    folder = Path(folder)
    if any(folder.iterdir()) if folder.is_dir() else os.path.lexists(folder):
        raise ValueError(f"{folder} is there already and is not overwritten. Give a new folder, or remove it.")
    parent = next(path for path in folder.absolute().parents if os.path.lexists(path))
    if not parent.is_dir():
        raise ValueError(f"{folder} cannot be made: {parent} is no folder. Give another folder.")
    if not os.access(parent, os.W_OK):
        raise ValueError(f"{folder} cannot be made: {parent} may not be written to. Give another folder.")


def folder_problems(code_dir, data_dir, job_dir):
    """Say what is wrong with the three folders of a command line.

    Parameters
    ----------
    code_dir, data_dir, job_dir : Path
        As given.

    Returns
    -------
    list of str
        A clause each.
    """
    problems = []
    for name, path in (("code_dir", code_dir), ("data_dir", data_dir), ("job_dir", job_dir)):
        if str(path).startswith("~"):
            problems.append(f"{name} {path} begins with ~, which a shell replaces only outside of quotes; write it out")
    if problems:
        return problems
    if not (code_dir / "utils" / "command_line.py").is_file():
        problems.append(f"code_dir {code_dir} is not a copy of this repository; give {REPOSITORY}")
    for path in (job_dir, job_dir / "results"):
        if path.exists() and not path.is_dir():
            problems.append(f"{path} is a file, but results need a folder there; give another job_dir")
    data, results = data_dir.resolve(), job_dir.resolve() / "results"
    if data == job_dir.resolve():
        problems.append(f"data_dir and job_dir are both {data}; give results a folder of their own")
    elif results == data or results in data.parents:
        problems.append(f"data_dir {data_dir} lies among the results of job_dir {job_dir}; move the data elsewhere")
    elif any(data / part in results.parents for part in DATA_PARTS):
        problems.append(f"job_dir {job_dir} lies among the images of data_dir {data_dir}; give another job_dir")
    return problems
