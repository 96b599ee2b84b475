"""Carry out planned runs, several at once: skip the finished ones, resume the interrupted ones, start the rest."""

import subprocess
import time
from collections import deque

from utils.files import lock_file

POLL_SECONDS = 0.5


def carry_out(runs, *, at_once=1, gpus=("0",)):
    """Make the runs that are not finished, several at once, and print what happens.

    A finished run is skipped, an interrupted one is resumed, one that failed before its first epoch starts anew. A run
    that fails does not stop the others. Each run prints into its log and locks it, so that a second program that
    repeats the same experiment leaves the run alone. If this program is stopped, it stops its runs; the same call
    resumes them.

    Parameters
    ----------
    runs : list of PlannedRun
        From `study.repetition_plan.plan_runs`.
    at_once : int
        How many runs at the same time.
    gpus : sequence of str
        Taken in turns, one for each run; ``-1`` is the CPU.

    Returns
    -------
    dict of str to str
        For each run by name: ``finished`` (now), ``skipped`` (was finished), ``failed``, or ``busy`` (another
        repetition runs it).

    Raises
    ------
    ValueError
        If ``at_once`` is less than 1 or ``gpus`` is empty.
    """
    if at_once < 1 or not gpus:
        raise ValueError(f"--at-once {at_once} with --gpus {','.join(gpus)}: at least 1 run and 1 GPU (or -1) needed.")
    outcomes = {run.name: "skipped" if run.record.state == "finished" else None for run in runs}
    waiting = deque(run for run in runs if outcomes[run.name] is None)
    print(f"{len(runs)} runs: {len(runs) - len(waiting)} are finished, {len(waiting)} to do, {at_once} at once.")
    free, running = deque(gpus[number % len(gpus)] for number in range(at_once)), []
    try:
        while waiting or running:
            while waiting and free:
                run = waiting.popleft()
                process, outcomes[run.name] = _start(run, free[0])
                if process is not None:
                    running.append((run, process, free.popleft(), time.monotonic()))
            time.sleep(POLL_SECONDS if running else 0)
            for job in [job for job in running if job[1].poll() is not None]:
                running.remove(job)
                run, process, gpu, start = job
                free.append(gpu)
                outcomes[run.name] = _outcome(run, process.returncode, (time.monotonic() - start) / 60)
    finally:
        for _, process, _, _ in running:
            process.terminate()
        for run, process, _, _ in running:
            process.wait()
            print(f"{run.name}: stopped; the same command resumes it.", flush=True)
    return outcomes


def _start(run, gpu):
    """Start a run and return its process and None, or None and the outcome if another program was faster."""
    run.log.parent.mkdir(parents=True, exist_ok=True)
    with run.log.open("a", encoding="utf-8") as log:
        if not lock_file(log):
            print(f"{run.name}: another program runs it, left alone.", flush=True)
            return None, "busy"
        state = run.record.state
        if state == "finished":
            return None, "skipped"
        command = [*run.command, "--gpu", gpu] + ["--resume"] * (state == "begun")
        print(f"{run.name}: {'resumed' if state == 'begun' else 'started'}, GPU {gpu}, log {run.log}", flush=True)
        # The run inherits the open log and keeps the lock even if this program is killed.
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT), None  # noqa: S603


def _outcome(run, status, minutes):
    """Return and print the outcome of a run that has ended."""
    if status == 0 and run.record.state == "finished":
        print(f"{run.name}: finished in {minutes:.1f} minutes.", flush=True)
        return "finished"
    said = [line for line in run.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    last = said[-1] if said else "it printed nothing"
    print(f"{run.name}: failed with status {status} after {minutes:.1f} minutes: {last}", flush=True)
    return "failed"
