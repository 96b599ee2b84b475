"""The runs of experiments: their scores with mean and standard deviation, and published scores."""

import csv
import re
import statistics
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from utils.errors import check_choice, did_you_mean, raise_problems
from utils.files import why_not_there
from utils.runs.record import RunRecord


def read_runs(results, ids=("*",), *, unfinished=False):
    """Find the runs of experiments that have scores.

    Parameters
    ----------
    results : str or Path
        ``job_dir/results``, with a folder ``<id>_<rid>`` for each run.
    ids : sequence of str
        Names of experiments, in the order wanted; ``*`` stands for anything, so ``400*`` is 400 and its grid.
    unfinished : bool
        True also takes unfinished runs that have scores.

    Returns
    -------
    runs : list of RunRecord
        By experiment and number.
    notes : list of str
        Which runs were left out and why.

    Raises
    ------
    ValueError
        If there is no such folder or experiment, or none of its runs has scores.
    """
    results = Path(results)
    if not results.is_dir():
        raise ValueError(f"{why_not_there(results)}. Give job_dir/results.")
    matches = [re.fullmatch(r"(.+)_(\d+)", folder.name) for folder in sorted(results.iterdir()) if folder.is_dir()]
    found = sorted({(match[1], int(match[2])) for match in matches if match})
    there = dict.fromkeys(name for name, _ in found)
    unknown = [pattern for pattern in ids if not any(fnmatchcase(name, pattern) for name in there)]
    problems = [f"there is no experiment {pattern}{did_you_mean(pattern, there)}" for pattern in unknown]
    raise_problems(str(results), problems)
    chosen = dict.fromkeys(name for pattern in ids for name in there if fnmatchcase(name, pattern))
    runs, notes = [], []
    for name in chosen:
        for rid in (number for other, number in found if other == name):
            run = RunRecord(results / f"{name}_{rid}")
            problem, usable = _problem(run, unfinished=unfinished)
            runs += [run] if usable else []
            notes += [f"{run.name} {problem}"] if problem else []
    if not runs:
        raise ValueError(f"{results}: no run with scores among {', '.join(chosen)}: {'; '.join(notes)}.")
    return runs, notes


def _problem(run, *, unfinished):
    """Return what is wrong with a run, if anything, and whether its scores can be used."""
    try:
        finished, scores, _ = run.state == "finished", run.scores, run.facts
    except ValueError as error:
        return f"is left out: {str(error).rstrip('.')}", False
    if not scores:
        return "has no scores" if finished else "is not finished", False
    if not finished:
        return "is not finished" + ", its scores are used" * unfinished, unfinished
    return None, True


def mean_and_std(values):
    """Return mean and sample standard deviation.

    Parameters
    ----------
    values : sequence of float
        One value for each run.

    Returns
    -------
    mean : float
    std : float or None
        ``sqrt(sum((value - mean) ** 2) / (n - 1))``, since the runs are a sample of all that could be made; None for a
        single value. Whether the published study divided by n - 1 or n is not known.
    """
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def long_table(runs):
    """List every score of every run.

    Parameters
    ----------
    runs : list of RunRecord
        From `read_runs`.

    Returns
    -------
    list of dict
        ``id, rid, protocol, post, metric, value``; a score that could not be computed is None.
    """
    keys = ("protocol", "post", "metric", "value")
    return [{"id": run.id, "rid": run.rid} | {key: row[key] for key in keys} for run in runs for row in run.scores]


def summarise(runs, published=()):
    """Return mean, standard deviation and range of every score over the runs of each experiment.

    Parameters
    ----------
    runs : list of RunRecord
        From `read_runs`.
    published : sequence of dict
        From `read_published`; added if a run has the same template.

    Returns
    -------
    list of dict
        ``id, protocol, post, metric, n_runs, mean, std, min, max, values``, without the scores that are None; ``std``
        as `mean_and_std`. Rows of published methods have their name as ``id``, and a ``source``.
    """
    groups = {}
    for row in long_table(runs):
        values = groups.setdefault((row["id"], row["protocol"], row["post"], row["metric"]), [])
        values += [] if row["value"] is None else [row["value"]]
    rows = [dict(zip(("id", "protocol", "post", "metric"), key, strict=True)) | _spread(v) for key, v in groups.items()]
    templates = {run.template for run in runs}
    for row in published:
        if any(PurePosixPath(template).match(row["template"]) for template in templates):
            spread = _spread(row["values"])
            spread["std"] = row["std"] if row["std"] is not None else spread["std"]
            if row["std"] is not None:  # its value is a mean: number, lowest and highest of the runs are not known
                spread |= {"n_runs": None, "min": None, "max": None}
            key = {name: row[name] for name in ("protocol", "post", "metric", "source")}
            rows.append({"id": f"published: {row['method']}"} | key | spread)
    return rows


def _spread(values):
    if not values:
        return {"n_runs": 0, "mean": None, "std": None, "min": None, "max": None, "values": []}
    mean, std = mean_and_std(values)
    return {"n_runs": len(values), "mean": mean, "std": std, "min": min(values), "max": max(values), "values": values}


def read_published(path, data):
    """Read published scores on one data set.

    Parameters
    ----------
    path : str or Path
        A csv with ``template, data, method, protocol, post, metric, values, std, source``. ``template`` is a path in
        the repository and may contain ``*``; ``values`` are single runs, or the one mean to which ``std`` belongs.
    data : str
        Name of the data set, as in the file.

    Returns
    -------
    list of dict
        With ``values`` (list of float) and ``std`` (float or None) as numbers.

    Raises
    ------
    ValueError
        If the file has no scores on the data set.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    check_choice("data set", data, tuple(dict.fromkeys(row["data"] for row in rows)))
    rows = [row for row in rows if row["data"] == data]
    for row in rows:
        row["values"] = [float(value) for value in row["values"].split()]
        row["std"] = float(row["std"]) if row["std"] else None
    return rows


def odd_repetitions(runs):
    """Say where the runs of an experiment are not repetitions of each other.

    Parameters
    ----------
    runs : list of RunRecord
        From `read_runs`.

    Returns
    -------
    list of str
        Clauses about experiments whose runs differ in more than the seed, or share a seed.
    """
    notes = []
    for name in dict.fromkeys(run.id for run in runs):
        own = [run for run in runs if run.id == name]
        if len({run.template for run in own}) > 1:
            notes.append(f"the runs of {name} have different templates")
        if len({run.data_dir for run in own}) > 1:
            notes.append(f"the runs of {name} have different data folders")
        differing = ", ".join(_differing(own))
        if differing:
            notes.append(f"the runs of {name} differ in {differing}: their spread is not that of repetitions")
        if len({run.environment.get("git_commit") for run in own}) > 1:
            notes.append(f"the runs of {name} were made with different commits of the repository")
        seeds = [run.seed for run in own if run.seed is not None]
        if len(seeds) > len(set(seeds)):
            notes.append(f"runs of {name} share a seed: they show what the hardware scatters, not what chance does")
    return notes


def differing_settings(runs):
    """Return for each experiment the variables that are not the same in all experiments.

    Parameters
    ----------
    runs : list of RunRecord
        From `read_runs`.

    Returns
    -------
    dict of str to dict
        Variables and values by experiment, from its first run.
    """
    first = {}
    for run in runs:
        first.setdefault(run.id, run)
    names = _differing(list(first.values()))
    return {run.id: {name: run.settings[name] for name in names if name in run.settings} for run in first.values()}


def _differing(runs):
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return [name for name in names if len({repr(run.settings.get(name)) for run in runs}) > 1]
