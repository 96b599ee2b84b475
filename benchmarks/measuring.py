"""What the benchmarks share: the command line, taking turns, medians and ratios, tables, the name of the machine."""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path


def parse_arguments(description, *, repetitions, **more):
    """Read the command line of a benchmark.

    Parameters
    ----------
    description : str
        Docstring of the benchmark.
    repetitions : int
        Default of ``--repetitions``.
    **more
        Further options: name without dashes and the keyword arguments of ``add_argument``.

    Returns
    -------
    argparse.Namespace
        With ``quick``, ``repetitions`` (1 when quick) and ``busy_cores``, from ``count_busy_cores``.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few seconds on toy sizes; the numbers mean nothing")
    parser.add_argument("--repetitions", type=int, default=repetitions, help="rounds; the medians are printed")
    for name, options in more.items():
        parser.add_argument("--" + name.replace("_", "-"), **options)
    args = parser.parse_args()
    if args.repetitions < 1:
        parser.error(f"--repetitions is {args.repetitions}; it must be at least 1.")
    if args.quick:
        args.repetitions = 1
    args.busy_cores = None if getattr(args, "measure", None) else count_busy_cores()
    return args


def count_busy_cores(seconds=0.5):
    """Return how many cores other programs keep busy while this one sleeps.

    Parameters
    ----------
    seconds : float
        How long to look.

    Returns
    -------
    float or None
        None where the system does not tell (anything but Linux).
    """
    counters = Path("/proc/stat")
    if not counters.exists():
        return None
    readings = []
    for pause in (seconds, 0):
        times = [int(value) for value in counters.read_text().splitlines()[0].split()[1:9]]
        readings.append((sum(times), times[3] + times[4]))
        time.sleep(pause)
    total, idle = (after - before for before, after in zip(*readings, strict=True))
    return (1 - idle / max(1, total)) * os.cpu_count()


def alternate(measures, repetitions):
    """Let all candidates take turns (A B A B ...), so that a slow minute of the machine meets each of them.

    Parameters
    ----------
    measures : dict of str to callable
        Each does its work and returns the amount of it. Called once more beforehand, which does not count.
    repetitions : int
        Rounds.

    Returns
    -------
    dict of str to list of float
        Amount of work per second, one value for each round.
    """
    for measure in measures.values():
        measure()
    rates = {name: [] for name in measures}
    for _ in range(repetitions):
        for name, measure in measures.items():
            start = time.perf_counter()
            amount = measure()
            rates[name].append(amount / (time.perf_counter() - start))
    return rates


def ratio(values, baseline):
    """Return the median over the rounds of one candidate divided by another.

    Parameters
    ----------
    values, baseline : list of float
        One value for each round.

    Returns
    -------
    float
    """
    return statistics.median(value / base for value, base in zip(values, baseline, strict=True))


def call_json(command):
    """Run a command and return the JSON of its last line; what it says on the way is shown only if it fails.

    Parameters
    ----------
    command : list of str
        Program and arguments.

    Returns
    -------
    object

    Raises
    ------
    RuntimeError
        If it fails.
    """
    answer = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{answer.stderr[-3000:]}")
    return json.loads(answer.stdout.strip().splitlines()[-1])


def print_heading(title, device, args, *details):
    """Print what was measured, where and how often, and whether the machine was busy with something else.

    Parameters
    ----------
    title : str
        What was measured.
    device : str
        From ``utils.devices.describe_device``.
    args : argparse.Namespace
        From ``parse_arguments``.
    *details : str
        More lines.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{title}\n{device}, {cores} cores visible; median of {args.repetitions} alternating repetition(s)")
    for detail in details:
        print(detail)
    if args.quick:
        print("QUICK: toy sizes, the numbers mean nothing.")
    if args.busy_cores is not None and args.busy_cores > 0.2:
        print(
            f"BUSY: other programs kept {args.busy_cores:.1f} cores busy at the start, which slows the candidates "
            "unequally. Do not report these numbers."
        )


def print_table(header, rows):
    """Print a table; the first column is text, the others are set to the right.

    Parameters
    ----------
    header : list of str
        Titles of the columns.
    rows : list of list of str
        Cells.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    print()
    for cells in (header, ["-" * width for width in widths], *rows):
        first, *others = zip(cells, widths, strict=True)
        print("  ".join([first[0].ljust(first[1]), *[cell.rjust(width) for cell, width in others]]).rstrip())
    print(flush=True)
