"""The settings of a block-wise run and its finished blocks, so that it can be stopped at any moment.

``manifest.json`` holds the settings that determine the results; a marker is written for each block once its result is
on disk. Markers and manifest appear whole or not at all.
"""

import hashlib
import shutil
from pathlib import Path

from block_wise.results import explain_write_errors
from utils.errors import raise_problems
from utils.files import read_json, write_json


def check_manifest(folder, settings, *, until=None):
    """Compare settings with the manifest of an earlier start of this run.

    A run without a single block or part on disk counts as not started.

    Parameters
    ----------
    folder : str or Path
        Holds ``manifest.json``, ``done/<stage>/`` and ``parts/``, or nothing.
    settings : dict of str to object
        All that determines the results, made of what JSON holds.
    until : dict of str to sequence of str, optional
        Names of settings that may change as long as no block of these stages is done.

    Returns
    -------
    bool
        Whether the run was started before.

    Raises
    ------
    ValueError
        With each setting that differs; or if the manifest is damaged.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_manifest(folder, {"overlap": 0.5})
    >>> check_manifest(folder, {"overlap": 0.0})
    False
    >>> Markers(folder / "done" / "probability").mark((0, 0, 0))
    >>> check_manifest(folder, {"overlap": 0.0})
    Traceback (most recent call last):
    ValueError: these blocks were started with other settings; use the same again, or another --rid: overlap ...
    """
    folder = Path(folder)
    path = folder / "manifest.json"
    if not any(folder.glob("done/*/[0-9]*.json")) and not any(folder.glob("parts/[0-9]*.npy")):
        return False
    try:
        old = read_json(path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} is missing or damaged, and with it the settings of these blocks. Use another --rid."
        ) from error
    settings = {name: _as_json(value) for name, value in settings.items()}
    begun = {stage.name for stage in (folder / "done").glob("*") if Markers(stage).done()}
    free = {name for name, stages in (until or {}).items() if begun.isdisjoint(stages)}
    changed = [
        f"{name} was {old.get(name)!r}, is {settings.get(name)!r}"
        for name in old | settings
        if name not in free and old.get(name) != settings.get(name)
    ]
    raise_problems("these blocks were started with other settings; use the same again, or another --rid", changed)
    return True


def write_manifest(folder, settings):
    """Write the settings that `check_manifest` compares with.

    Parameters
    ----------
    folder, settings
        As there.
    """
    path = Path(folder) / "manifest.json"
    with explain_write_errors(path):
        write_json(path, {name: _as_json(value) for name, value in settings.items()})


def hash_file(path):
    """Return the SHA-256 of a file as hexadecimal text.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    str
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Markers:
    """The finished blocks of one stage.

    Parameters
    ----------
    folder : str or Path
        Holds one small file for each finished block.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def done(self):
        """Return the set of finished blocks ``(z, y, x)``; empty files do not count."""
        found = self.folder.glob("[0-9]*.json") if self.folder.exists() else ()
        return {tuple(map(int, path.stem.split("_"))) for path in found if path.stat().st_size}

    def mark(self, block, content=None):
        """Mark a block ``(z, y, x)`` as done, once its result is written; ``content`` is a dict of small results."""
        path = self._path(block)
        with explain_write_errors(path):
            write_json(path, content or {})

    def forget(self, block):
        """Mark a block as not done."""
        self._path(block).unlink(missing_ok=True)

    def read(self, block):
        """Return the content of the marker of a block, a dict."""
        return read_json(self._path(block))

    def _path(self, block):
        return self.folder / ("_".join(map(str, block)) + ".json")


def check_disk(folder, needed):
    """Check that the results fit on the disk, before days are spent.

    Parameters
    ----------
    folder : str or Path
        Where they will be written; it need not exist.
    needed : int
        Bytes, before compression.

    Raises
    ------
    ValueError
        If less is free.
    """
    folder = Path(folder).resolve()
    free = shutil.disk_usage(next(parent for parent in (folder, *folder.parents) if parent.exists())).free
    if needed > free:
        raise ValueError(
            f"the results need up to {needed / 2**30:.1f} GiB in {folder}, but {free / 2**30:.1f} GiB are free. Free "
            "some space, take another job_dir, or OUTPUT_DTYPE=float16, which halves it."
        )


def _as_json(value):
    return [_as_json(part) for part in value] if isinstance(value, tuple | list) else value
