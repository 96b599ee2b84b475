"""Writing folders so that a reader never sees half of one, and nothing that is there is written over."""

import shutil
from contextlib import contextmanager
from pathlib import Path

from utils.files import TEMPORARY_PREFIX


@contextmanager
def atomic_folder(folder):
    """Give a temporary folder beside ``folder`` and move it there when the block ends without an error.

    On an error the temporary folder is removed and nothing appears.

    Parameters
    ----------
    folder : str or Path
        The folder to make; it must not be there, or be empty.

    Yields
    ------
    Path
        Where to write; its parent folder is made when missing.

    Raises
    ------
    ValueError
        If the folder holds something, or is a file.

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
    shutil.rmtree(temporary, ignore_errors=True)  # of an attempt that was killed
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if folder.is_dir():
            folder.rmdir()
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_free(folder):
    """Check that a folder is not there, or empty.

    Parameters
    ----------
    folder : str or Path
        The folder.

    Raises
    ------
    ValueError
        If it is there and holds something, or is a file.
    """
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ValueError(f"{folder} is there already, and nothing is written over. Give a new folder, or remove it.")
