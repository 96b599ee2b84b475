"""Running tasks on blocks: in this process, in worker processes on this machine, or on a dask scheduler anywhere.

A task is a function of a module with its arguments; its return value is small, results are written to disk. Tasks run
in any order that their needs allow. If a worker is killed, another one gets its tasks.
"""

import shutil
import tempfile
import time
from collections import deque
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from block_wise.local_workers import local_cluster, orphans_end, worker_setup
from block_wise.results import DamagedResult, UnreadableBlock
from utils.errors import raise_problems

SECONDS_TO_CONNECT = 5
SECONDS_WITHOUT_WORKERS = 90
SECONDS_BETWEEN_REMINDERS = 60
SECONDS_BETWEEN_LINES = 20


class Task(NamedTuple):
    """One step of the work.

    Attributes
    ----------
    function : callable
        Of a module, so that a worker can import it.
    arguments : tuple
        Small: addresses and numbers, no arrays.
    needs : tuple
        Names of tasks that must be done before; names that are not in the list are done already.
    amount : float
        Voxels, for the progress line.
    """

    function: object
    arguments: tuple
    needs: tuple = ()
    amount: float = 0


@contextmanager
def block_workers(workers=0, *, scheduler=None, gpus="-1", log_folder=None):
    """Provide workers for `run_tasks`.

    Parameters
    ----------
    workers : int
        Processes on this machine, each with its own model; 0: this process does the work alone. They share its
        processor cores and take turns at the GPUs.
    scheduler : str, optional
        Address of a dask scheduler, such as ``tcp://node7:8786``, whose workers are used instead.
    gpus : str
        As ``--gpu``.
    log_folder : str or Path, optional
        Gets ``worker_<number>.log`` of each process on this machine.

    Yields
    ------
    object
        For `run_tasks`.

    Raises
    ------
    ValueError
        If no scheduler answers at the address, or the number of workers is negative.
    """
    if workers < 0:
        raise ValueError(f"--workers {workers}: wanted a number of processes, or 0 for this one alone.")
    if not workers and scheduler is None:
        yield _ThisProcess()
        return
    distributed = _distributed()
    scratch = tempfile.mkdtemp(prefix="blocks_")
    cluster = client = None
    processes = []
    try:
        # Local workers that do not start never will; a scheduler of a queue may have none for days.
        patience = SECONDS_WITHOUT_WORKERS if scheduler is None else float("inf")
        if scheduler is None:
            cluster = local_cluster(workers, Path(scratch), Path(log_folder or scratch), processes)
        client = _connect(distributed, cluster or scheduler)
        client.register_plugin(worker_setup(distributed, gpus if scheduler is None else "-1"))
        if scheduler is None:
            for plugin in orphans_end(distributed):
                client.register_plugin(plugin)
        yield _DaskWorkers(distributed, client, patience, scheduler, processes)
    finally:
        for part in (client, cluster):
            if part is not None:
                part.close(timeout=10)
        shutil.rmtree(scratch, ignore_errors=True)


def run_tasks(workers, tasks, *, title, done=0):
    """Run tasks until all are done, and print the progress and the time that is left.

    A task that cannot read its input is skipped, with those that need it, and the error is raised at the end, so that
    one damaged chunk does not cost a night. Any other error ends the work at once. Finished tasks remain done if they
    record it themselves.

    Parameters
    ----------
    workers : object
        From `block_workers`.
    tasks : dict of object to Task
        By name; earlier ones start first.
    title, done
        As `Progress`.

    Yields
    ------
    (name, result)
        Of each task as soon as it is done.

    Raises
    ------
    ValueError
        With all parts of the input that could not be read.
    """
    waiting = {name: {need for need in task.needs if need in tasks} for name, task in tasks.items()}
    users = {name: [] for name in tasks}
    for name, needs in waiting.items():
        for need in needs:
            users[need].append(name)
    ready = deque(name for name, needs in waiting.items() if not needs)
    running, problems, damaged = {}, [], []
    progress = Progress(title, [task.amount for task in tasks.values()], done)
    while ready or running:
        while ready and len(running) < workers.slots():
            name = ready.popleft()
            running[workers.submit(tasks[name].function, *tasks[name].arguments)] = name
        for future in workers.finished(list(running)):
            name = running.pop(future)
            try:
                result = workers.result(future)
            except UnreadableBlock as error:
                (damaged if isinstance(error, DamagedResult) else problems).append(str(error))
                continue
            for user in users[name]:
                waiting[user].remove(name)
                if not waiting[user]:
                    ready.appendleft(user)  # what frees memory and disk goes first
            progress.add(tasks[name].amount)
            yield name, result
    raise_problems("the volume; all other blocks are done: repair these and start the same command again", problems)
    raise_problems("results on disk, which no longer count as done: start the same command again", damaged)


class _ThisProcess:
    def slots(self):
        return 1

    def submit(self, function, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def finished(self, futures):
        return futures

    def result(self, future):
        return future.result()


class _DaskWorkers:
    """Workers of a dask scheduler. Two tasks for each, so that none waits for this process."""

    def __init__(self, distributed, client, patience, address, processes):
        self._distributed, self._client, self._patience, self._address = distributed, client, patience, address
        self._processes = processes
        self._count, self._last_seen, self._asked = 1, time.monotonic(), 0.0
        self._last_reminder = self._last_seen

    def slots(self):
        if time.monotonic() - self._asked > 5:
            self._asked = time.monotonic()
            self._count = len(self._client.scheduler_info(n_workers=-1)["workers"])
        return 2 * max(1, self._count)

    def submit(self, function, *arguments):
        import cloudpickle

        # Packed, because a scheduler unpacks what it passes on, and may not have this repository.
        return self._client.submit(_unpacker(), cloudpickle.dumps((function, arguments)), pure=False)

    def finished(self, futures):
        while True:
            try:
                with self._client.as_current():
                    return list(self._distributed.wait(futures, timeout=5, return_when="FIRST_COMPLETED").done)
            except (TimeoutError, self._distributed.TimeoutError):
                self._check_workers()
            except (CancelledError, OSError) as error:
                raise self._gone() from error

    def result(self, future):
        try:
            return future.result()
        except self._distributed.KilledWorker as error:
            raise ValueError(
                "a block killed its worker again and again, most likely for lack of memory. Finished blocks are kept: "
                "start the same command again with fewer --workers; or anew, with another --rid and a smaller "
                "BLOCK_SHAPE or BATCH_SIZE."
            ) from error
        except CancelledError as error:
            raise self._gone() from error

    def _gone(self):
        return ConnectionError(
            "the dask scheduler is gone. Finished blocks are kept: start the same command again when one is running."
        )

    def _check_workers(self):
        if self._client.status != "running":
            raise self._gone()
        if self._processes and all(process.returncode is not None for process in self._processes):
            raise self._nobody_left()
        self.slots()
        now = time.monotonic()
        if self._count:
            self._last_seen = now
        elif self._address and now - max(self._last_reminder, self._last_seen) >= SECONDS_BETWEEN_REMINDERS:
            self._last_reminder = now
            print(f"No worker is at the dask scheduler {self._address} yet; waiting for one.", flush=True)
        elif now - self._last_seen > self._patience:
            raise self._nobody_left()

    def _nobody_left(self):
        return ConnectionError(
            "no worker process is left; the logs in the folder workers of the run say why. Finished blocks are kept: "
            "start the same command again."
        )


def _unpacker():
    # A function within a function travels as code.
    def run_packed(packed):
        import pickle

        function, arguments = pickle.loads(packed)  # noqa: S301
        return function(*arguments)

    return run_packed


def _distributed():
    try:
        import distributed
    except ImportError as error:
        raise ImportError(
            "--workers and --scheduler need the package dask.distributed, which is not installed: "
            "pip install -r env/requirements-big.txt, or --workers 0"
        ) from error
    return distributed


def _connect(distributed, address):
    try:
        return distributed.Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # TypeError: tls without keys
        raise ValueError(
            f"no dask scheduler answers at {address!r}. Start one with `dask scheduler` and give its address, such as "
            "tcp://node7:8786, or omit --scheduler for worker processes on this machine."
        ) from error


class Progress:
    """A line every 20 seconds, and one at the end.

    Parameters
    ----------
    title : str
        What is being done.
    amounts : list of float
        Voxels of all tasks.
    done : int
        Tasks that an earlier command finished.
    """

    def __init__(self, title, amounts, done):
        self._title, self._amount = title, sum(amounts)
        # Small tasks that follow the large ones are not counted.
        self._count = sum(amount > 0 for amount in amounts) if self._amount else len(amounts)
        self._start = self._last_line = time.monotonic()
        self._done, self._worked = 0, 0.0
        if done:
            print(f"{title}: {done} done before, {self._count} to do.", flush=True)

    def add(self, amount):
        """Count a task of this amount as done."""
        if self._amount and not amount:
            return
        self._done, self._worked = self._done + 1, self._worked + amount
        now = time.monotonic()
        last = self._done == self._count
        if not last and now - self._last_line < SECONDS_BETWEEN_LINES:
            return
        self._last_line, seconds = now, max(now - self._start, 1e-9)
        share = self._worked / self._amount if self._amount else self._done / self._count
        left = "" if last else f", {_clock(seconds * (1 / max(share, 1e-9) - 1))} left"
        rate = f", {self._worked / seconds:,.0f} voxels/s" if self._amount else ""
        print(f"{self._title}: {self._done} of {self._count}, {_clock(seconds)}{rate}{left}", flush=True)


def _clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
