"""What a block-wise run has been asked for and what of it is done, so that it can be stopped at any moment.

``manifest.json`` holds the settings that decide about results; a marker is written for each block once its result is
on disk. Markers and manifest appear whole or not at all.
"""

import hashlib
import shutil
from pathlib import Path

from utils.errors import raise_problems
from utils.files import read_json, write_json


def check_manifest(folder, settings):
    """Write the manifest of a new run, or compare it with that of the run that is gone on with.

    Parameters
    ----------
    folder : str or Path
        Gets ``manifest.json``.
    settings : dict of str to object
        Whatever decides about the results; of what JSON holds.

    Returns
    -------
    bool
        True if the run was begun before.

    Raises
    ------
    ValueError
        If it was begun with other settings; each that differs is named.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> check_manifest(folder, {"overlap": 0.5}), check_manifest(folder, {"overlap": 0.5})
    (False, True)
    >>> check_manifest(folder, {"overlap": 0.0})
    Traceback (most recent call last):
    ValueError: these blocks were begun with other settings; take the same again, or another --rid: overlap was 0.5, ...
    """
    path = Path(folder) / "manifest.json"
    settings = {name: _as_json(value) for name, value in settings.items()}
    if not path.exists():
        write_json(path, settings)
        return False
    old = read_json(path)
    changed = [
        f"{name} was {old.get(name)!r}, is {settings.get(name)!r}"
        for name in old | settings
        if old.get(name) != settings.get(name)
    ]
    raise_problems("these blocks were begun with other settings; take the same again, or another --rid", changed)
    return True


def hash_file(path):
    """Return the SHA-256 of a file, such as one of weights, as text.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Markers:
    """Which blocks of one stage are done.

    Parameters
    ----------
    folder : str or Path
        Holds one small file for each block that is done.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def done(self):
        """Return the blocks ``(z, y, x)`` that are done, as a set."""
        found = self.folder.glob("[0-9]*.json") if self.folder.exists() else ()
        return {tuple(map(int, path.stem.split("_"))) for path in found}

    def mark(self, block, content=None):
        """Say that a block is done, once its result is written.

        Parameters
        ----------
        block : tuple of int
            ``(z, y, x)``.
        content : dict, optional
            Small results that go into the marker.
        """
        write_json(self._path(block), content or {})

    def read(self, block):
        """Return what the marker of a block holds, as a dict."""
        return read_json(self._path(block))

    def _path(self, block):
        return self.folder / ("_".join(map(str, block)) + ".json")


def check_disk(folder, needed):
    """Check that what will be written fits on the disk, before days are spent.

    Parameters
    ----------
    folder : str or Path
        Where it will be written; must exist.
    needed : int
        Bytes, before compression.

    Raises
    ------
    ValueError
        If less is free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"the results need up to {needed / 2**30:.1f} GiB in {folder}, but {free / 2**30:.1f} GiB are free. Free "
            "some space, take another job_dir, or OUTPUT_DTYPE=float16, which halves it."
        )


def _as_json(value):
    return [_as_json(part) for part in value] if isinstance(value, tuple | list) else value
