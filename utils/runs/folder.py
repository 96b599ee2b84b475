"""Which folder a run has, whether it may be written to, and on which data the run began."""

import hashlib
import shutil
from pathlib import Path

from utils.errors import shortened
from utils.files import read_json, write_json
from utils.images.image_files import is_zarr
from utils.runs.record import (
    CHECKPOINTS_NAME,
    ENVIRONMENT_NAME,
    HISTORY_NAME,
    LOG_NAME,
    SCORES_NAME,
    SETTINGS_NAME,
)
from utils.runs.report import REPORT_NAME
from utils.runs.scores import IMAGE_TABLE_NAME, TABLE_NAME

# What a start that begins anew removes: only what runs write, because users keep files of their own in the folder.
RESULTS = ("checks", "charts", "images", "tensorboard", SCORES_NAME, TABLE_NAME, IMAGE_TABLE_NAME, REPORT_NAME)
RESULTS += ("instances.csv", "instances_by_targets.csv", "validation_report.csv")
# What a dry run leaves beside them.
OF_DRY_RUNS = (SETTINGS_NAME, ENVIRONMENT_NAME, HISTORY_NAME, CHECKPOINTS_NAME, "volumes", "blocks", "workers")
DATA_NAME = "data.json"
# The first and last bytes of a file tell whether it changed; of very many files those of a sample.
KEY_BYTES, KEYED_FILES = 4096, 2000
ZARR_DESCRIPTIONS = ("zarr.json", ".zarray", ".zattrs", "*/zarr.json", "*/.zarray")


def run_folder(args):
    """Return the folder of a run, which need not exist yet.

    Parameters
    ----------
    args : argparse.Namespace
        From `utils.command_line.parse_command_line`.

    Returns
    -------
    Path
        ``job_dir/results/<id>_<rid>``.
    """
    return Path(args.job_dir) / "results" / (f"{args.id}_{args.rid}" + ("_dry_run" if args.dry_run else ""))


def check_run_folder(folder):
    """Raise an error if a folder holds something else than a run, so that nothing in it is touched.

    Parameters
    ----------
    folder : Path
        From `run_folder`.

    Raises
    ------
    FileExistsError
        If it is a file, or is not empty and has no ``settings.json`` of a run.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file, not the folder of a run. Choose another --id or --rid.")
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if not there or SETTINGS_NAME in there or there == [LOG_NAME] and _is_log_of(folder / LOG_NAME, folder.name):
        return
    what = "it lost its" if {CHECKPOINTS_NAME, LOG_NAME} <= set(there) else "it has no"
    raise FileExistsError(
        f"{folder} is not the folder of a run: {what} {SETTINGS_NAME}, but holds {shortened(there)}. Nothing in it was "
        "touched. Choose another --id or --rid, or move it away."
    )


def _is_log_of(log, name):
    """Return whether a log is that of a start that was killed at once."""
    with log.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    return not first or first.startswith(f"Run {name},")


def remove_results(folder, *, dry_run):
    """Remove the results of an earlier start that finished no epoch or trained nothing; other files stay.

    Parameters
    ----------
    folder : Path
        Of the run.
    dry_run : bool
        Whether it is that of a dry run, of which nothing is kept.
    """
    for name in RESULTS + (OF_DRY_RUNS if dry_run else ()):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def describe_data(data_dir, job_dir):
    """List the files of a data folder with what shows a change.

    Parameters
    ----------
    data_dir : str or Path
        A folder, or one file.
    job_dir : str or Path
        Left out if it lies in the data folder; otherwise its ``results/`` are, if they do.

    Returns
    -------
    dict of str to list
        Size and a key of the content by name; the key is None for files that were not looked into. Of a zarr folder
        only the files that describe it are listed.
    """
    data_dir, job_dir = Path(data_dir).resolve(), Path(job_dir).resolve()
    without = job_dir if data_dir in job_dir.parents else job_dir / "results"
    root = data_dir.parent if data_dir.is_file() else data_dir
    files = [data_dir] if data_dir.is_file() else list(_files(data_dir, without)) if data_dir.is_dir() else []
    step = -(-len(files) // KEYED_FILES) or 1
    return {
        path.relative_to(root).as_posix(): [path.stat().st_size, None if number % step else _content_key(path)]
        for number, path in enumerate(files)
    }


def _files(folder, without):
    if is_zarr(folder):
        yield from sorted(path for name in ZARR_DESCRIPTIONS for path in folder.glob(name))
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path == without:
            continue
        if path.is_dir():
            yield from _files(path, without)
        elif path.is_file():
            yield path


def _content_key(path):
    size = path.stat().st_size
    with path.open("rb") as file:
        content = file.read(KEY_BYTES)
        file.seek(max(0, size - KEY_BYTES))
        return hashlib.blake2b(content + file.read(), digest_size=8).hexdigest()


def data_changes(folder, found):
    """Say how the data differ from those that a run began with.

    Test images do not count: all that was predicted is predicted again, so that a broken one may be repaired.

    Parameters
    ----------
    folder : Path
        Of the run.
    found : dict
        From `describe_data`.

    Returns
    -------
    list of str
        A clause each; none if the run recorded no data.
    """
    path = folder / DATA_NAME
    if not path.is_file():
        return []
    try:
        before = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read ({error}). Restore it, or start with another --rid.") from error
    before, found = (
        {name: value for name, value in files.items() if not name.startswith("test/")} for files in (before, found)
    )
    both = before.keys() & found.keys()
    groups = {
        "missing": sorted(before.keys() - found.keys()),
        "new": sorted(found.keys() - before.keys()),
        "changed": sorted(name for name in both if before[name] != found[name]),
    }
    return [f"{kind}: {shortened(names)}" for kind, names in groups.items() if names]


def record_data(folder, found):
    """Write what `data_changes` compares with.

    Parameters
    ----------
    folder, found
        As there.
    """
    write_json(folder / DATA_NAME, found)
