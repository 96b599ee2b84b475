"""The runs that repeat a template over ``--rid`` numbers and grids of variables."""

import ast
import itertools
import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

from utils.command_line import apply_overrides
from utils.errors import raise_problems
from utils.files import why_not_there
from utils.runs.record import RunRecord, describe_origin
from utils.template_text import VARIABLES_CELL, template_variables
from utils.variables import id_problem

KEEP_SEED = "--keep-seed"
LOG_FOLDER = "repeat_logs"
SHOWN_CHANGES = 5


class PlannedRun(NamedTuple):
    """One run to make: its id and rid, its folder, its log, the command that starts it, and its variables."""

    id: str
    rid: int
    folder: Path
    log: Path
    command: tuple
    settings: dict

    @property
    def name(self):
        """Name of the run's folder."""
        return self.folder.name

    @property
    def record(self):
        """What the folder holds now."""
        return RunRecord(self.folder)


def plan_runs(template, folders, *, id, rids, assignments=(), grid=(), keep_seed=False):
    """List the runs of a repeated experiment: every point of the grid, with every ``rid``.

    Parameters
    ----------
    template : str or Path
        The template.
    folders : tuple of (str or Path)
        ``code_dir, data_dir, job_dir`` of the template.
    id : str
        Name of the experiment. A point of a grid gets its own: ``400-LEARNING_RATE-0.001``.
    rids : str
        Numbers of the repetitions, as `parse_numbers`.
    assignments : sequence of str
        ``NAME=VALUE``, as for ``--set``.
    grid : sequence of str
        ``NAME=VALUE,VALUE,...``, as `parse_grid`; several make a grid of all combinations.
    keep_seed : bool
        Whether all repetitions have the same seed, as with ``--keep-seed``.

    Returns
    -------
    list of PlannedRun
        The first repetition of every point comes first, so that you can compare all points early.

    Raises
    ------
    ValueError
        With all problems: a file or folder is missing, a name, type or number is wrong, two points of the grid share
        their values or a name, or a run of that name has other settings, another template or other data.
    """
    template, problems = Path(template), [problem for problem in (id_problem(id),) if problem]
    code_dir, data_dir, job_dir = (Path(folder) for folder in folders)
    if not (code_dir / "utils" / "command_line.py").is_file():
        problems.append(f"code_dir {code_dir} is not a copy of this repository")
    if not data_dir.is_dir():
        problems.append(f"data_dir {why_not_there(data_dir)}")
    numbers = _tried(problems, parse_numbers, rids) or []
    axes = [axis for axis in (_tried(problems, parse_grid, text) for text in grid) if axis]
    defaults = _template_defaults(template, problems)
    if defaults is not None:
        problems += _assignment_problems(defaults, assignments, axes)
    raise_problems("the repetition", problems)

    runs = []
    for rid, point in itertools.product(numbers, itertools.product(*axes)):
        name = "-".join([id, *(part for assignment in point for part in _name_parts(assignment))])
        overrides = [*assignments, *point]
        command = [sys.executable, "-u", template, code_dir, data_dir, job_dir, "--id", name, "--rid", rid]
        command += [KEEP_SEED] * keep_seed + [part for text in overrides for part in ("--set", text)]
        folder, log = job_dir / "results" / f"{name}_{rid}", job_dir / LOG_FOLDER / f"{name}_{rid}.txt"
        settings = json.loads(json.dumps(apply_overrides(dict(defaults), overrides)))
        runs.append(PlannedRun(name, rid, folder, log, tuple(str(part) for part in command), settings))
    names = [run.name for run in runs]
    problems = [f"--grid: {text}" for text in _equal_points(runs)]
    problems += [f"two points of the grid are called {name}" for name in sorted(set(names)) if names.count(name) > 1]
    raise_problems("the repetition", problems + [text for run in runs for text in _other_settings(run)])
    return runs


def parse_numbers(text):
    """Read the numbers of repetitions.

    Parameters
    ----------
    text : str
        Numbers and ranges, both ends included, separated by commas.

    Returns
    -------
    list of int

    Raises
    ------
    ValueError
        If the text is not such a list, or a number comes twice.

    Examples
    --------
    >>> parse_numbers("0-3,7")
    [0, 1, 2, 3, 7]
    """
    numbers = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"--rids {text}: {part!r} is neither a number nor a range. Give them as 0-4 or 0,1,7.")
        numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"--rids {text}: a number comes twice. Give each once.")
    return numbers


def parse_gpus(text):
    """Read the GPUs that runs take in turns.

    Parameters
    ----------
    text : str
        Numbers separated by commas, or ``-1`` for the CPU.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If the text is not such a list.
    """
    gpus = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"\d+|-1", gpu) for gpu in gpus):
        raise ValueError(f"--gpus {text}: wanted GPU numbers such as 0 or 0,1, or -1 for the CPU.")
    return gpus


def parse_grid(text):
    """Read the values of one variable of a grid.

    Parameters
    ----------
    text : str
        ``NAME=VALUE,VALUE,...``; commas within brackets belong to a value.

    Returns
    -------
    list of str
        ``NAME=VALUE`` for each value, with the name in upper case.

    Raises
    ------
    ValueError
        If the name or a value is empty.

    Examples
    --------
    >>> parse_grid("crop_shape=(80,80,1),(96,96,1)")
    ['CROP_SHAPE=(80,80,1)', 'CROP_SHAPE=(96,96,1)']
    """
    name, _, values = text.partition("=")
    depth, parts = 0, [""]
    for character in values:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if not name.strip() or not all(part.strip() for part in parts):
        raise ValueError(f"--grid {text}: wanted NAME=VALUE,VALUE,... without empty values.")
    return [f"{name.strip().upper()}={part.strip()}" for part in parts]


def _tried(problems, read, text):
    """Return what ``read`` makes of a text, or None after adding its message to the problems."""
    try:
        return read(text)
    except ValueError as error:
        problems.append(str(error).rstrip("."))
        return None


def _template_defaults(template, problems):
    """Return the variables of a template, or None and a problem if it is not a template."""
    if not template.is_file():
        problems.append(f"template {why_not_there(template)}")
        return None
    source = template.read_text(encoding="utf-8", errors="replace")
    if VARIABLES_CELL not in source:
        problems.append(f"{template} is not a template: it has no cell {VARIABLES_CELL!r}")
        return None
    return {name: ast.literal_eval(value) for name, value, _ in template_variables(source)}


def _assignment_problems(defaults, assignments, axes):
    """Return what is wrong with the names and types of ``--set`` and ``--grid``."""
    problems = []
    for assignment in dict.fromkeys([*assignments, *itertools.chain(*axes)]):
        try:
            apply_overrides(dict(defaults), [assignment])
        except ValueError as error:
            problems.append(str(error).removeprefix("--set: ").rstrip("."))
    names = [text.partition("=")[0].strip().upper() for text in (*assignments, *(axis[0] for axis in axes))]
    problems += [f"{name} is set more than once" for name in dict.fromkeys(names) if names.count(name) > 1]
    return list(dict.fromkeys(problems))


def _equal_points(runs):
    """Return as problems the points of the grid that have the same values, only written differently."""
    points = [run for run in runs if run.rid == runs[0].rid]
    pairs = itertools.combinations(points, 2)
    return [f"{a.id} and {b.id} have the same values" for a, b in pairs if a.settings == b.settings and a.id != b.id]


def _name_parts(assignment):
    """Return the name and value of a variable as parts of a folder's name: ``(80,80,1)`` becomes ``80x80x1``."""
    name, _, value = assignment.partition("=")
    return name, re.sub(r"[^\w.+-]", "-", re.sub(r"[()\[\]'\"\s]", "", value).strip(",").replace(",", "x"))


def _other_settings(run):
    """Return as a problem how an earlier run of the same name differs from the planned one."""
    record = run.record
    if record.state == "new":
        return []
    changed = record.changes({"settings": run.settings} | describe_origin(run.command[2], run.command[4]))
    kept, keeps = (KEEP_SEED in command for command in (record.command, run.command))
    if kept != keeps and run.rid:  # repetition 0 has the same seed either way
        changed.append(f"{KEEP_SEED} was {'' if kept else 'not '}given")
    more = len(changed) - SHOWN_CHANGES
    shown = "; ".join(changed[:SHOWN_CHANGES]) + f"; and {more} more" * (more > 0)
    return [f"{run.name} is another run ({shown}): choose another --id"] if changed else []
