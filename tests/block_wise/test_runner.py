"""Tests of workers: order of tasks, processes on this machine, one of them killed, a scheduler that is not there."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from fake_volume_network import FakeNetwork, blobs, make_job

from block_wise.job import begin_blocks
from block_wise.labels import label_blocks
from block_wise.post_processing import mask_blocks, z_filter_blocks
from block_wise.prediction import predict_blocks
from block_wise.results import UnreadableBlock, read_box
from block_wise.runner import Task, block_workers, run_tasks


def run_here(tasks, **options):
    with block_workers(0) as workers:
        return list(run_tasks(workers, tasks, title="Test", **options))


def fail(error):
    raise error


def test_tasks_run_once_all_that_they_need_is_done(capsys):
    tasks = {
        "c": Task(str, ("third",), needs=("a", "b", "done before")),
        "a": Task(str, ("first",), amount=3),
        "b": Task(str, ("second",), needs=("a",), amount=1),
    }
    assert run_here(tasks, done=4) == [("a", "first"), ("b", "second"), ("c", "third")]
    said = capsys.readouterr().out
    assert "Test: 4 done before, 2 to do." in said and "Test: 2 of 2" in said and "voxels/s" in said


def test_progress_says_the_time_left(capsys, monkeypatch):
    monkeypatch.setattr("block_wise.runner.SECONDS_BETWEEN_LINES", 0)
    clock = iter(range(0, 1000, 60))
    monkeypatch.setattr("block_wise.runner.time.monotonic", lambda: next(clock))
    run_here({number: Task(str, (), amount=600) for number in range(3)})
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "Test: 1 of 3, 0:01:00, 10 voxels/s, 0:02:00 left",
        "Test: 2 of 3, 0:02:00, 10 voxels/s, 0:01:00 left",
        "Test: 3 of 3, 0:03:00, 10 voxels/s",
    ]


def test_what_cannot_be_read_is_left_out_and_said_at_the_end():
    tasks = {
        "bad": Task(fail, (UnreadableBlock("v.zarr cannot be read at z 0 to 8"),)),
        "worse": Task(fail, (UnreadableBlock("v.zarr cannot be read at z 8 to 16"),)),
        "needs bad": Task(fail, (AssertionError("must not run"),), needs=("bad",)),
        "good": Task(str, ("fine",)),
    }
    seen = []
    with (
        block_workers(0) as workers,
        pytest.raises(ValueError, match=r"(?s)2 problems in the volume; .* 0 to 8.* 8 to"),
    ):
        for name, _ in run_tasks(workers, tasks, title="Test"):
            seen.append(name)
    assert seen == ["good"]


def test_any_other_error_ends_the_work():
    with pytest.raises(OSError, match="the disk is full"):
        run_here({"a": Task(fail, (OSError(28, "the disk is full"),)), "b": Task(fail, (AssertionError("not run"),))})


def test_a_negative_number_of_workers_is_refused():
    with pytest.raises(ValueError, match="--workers -1"), block_workers(-1):
        pass


def test_a_missing_package_is_said_with_its_requirements_file(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    message = r"dask\.distributed.*env/requirements-big\.txt, or --workers 0"
    with pytest.raises(ImportError, match=message), block_workers(2):
        pass


def test_a_scheduler_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr("block_wise.runner.SECONDS_TO_CONNECT", 1)
    message = r"no dask scheduler answers at 'tcp://127\.0\.0\.1:1'\. Start one with `dask scheduler`"
    with pytest.raises(ValueError, match=message), block_workers(0, scheduler="tcp://127.0.0.1:1"):
        pass


# --- processes


def process_of_worker():
    return os.getpid()


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def everything(path):
    return read_box(path, (slice(None),) * 3)


def wait_until_started(workers, count):
    """Wait until the processes that watch over workers know of them: they do not replace one that dies before."""
    workers._client.wait_for_workers(count, timeout=60)

    def status(dask_worker):  # within a function, so that it travels as code
        return dask_worker.process.status.name

    for _ in range(600):
        if list(workers._client.run(status, nanny=True).values()) == ["running"] * count:
            return
        time.sleep(0.1)
    raise TimeoutError


def predict_and_label(job, workers):
    begin_blocks(job)
    predict_blocks(job, workers)
    mask = mask_blocks(job, workers, z_filter_blocks(job, workers, 3))
    labels, _ = label_blocks(job, workers, mask)
    return [everything(path) for path in (job.output("probability"), job.output("z_filter"), labels)]


def test_two_processes_one_killed_give_the_bits_of_one(tmp_path):
    volume = blobs((16, 48, 48))
    options = {"crop": (6, 16, 16), "block": (8, 16, 16), "network": FakeNetwork(seconds=0.005)}
    (tmp_path / "one").mkdir()
    with block_workers(0) as workers:
        expected = predict_and_label(make_job(tmp_path / "one", volume, **options), workers)
    job = make_job(tmp_path, volume, **options)
    logs = job.folder / "workers"
    with block_workers(2, log_folder=logs) as workers:
        client = workers._client
        wait_until_started(workers, 2)
        before = client.run(os.getpid)
        submit, killed = workers.submit, []

        def kill_one_in_the_middle(function, *arguments):
            if len(job.markers("probability").done()) >= 5 and not killed:
                killed.append(next(iter(before.values())))
                os.kill(killed[0], signal.SIGKILL)
            return submit(function, *arguments)

        workers.submit = kill_one_in_the_middle
        found = predict_and_label(job, workers)
        for _ in range(100):  # the nanny starts another one
            after = set(client.run(os.getpid).values())
            if len(after) == 2:
                break
            time.sleep(0.1)
    assert killed and killed[0] not in after and len(after) == 2
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert "killed by signal 9" in "".join(path.read_text() for path in logs.glob("worker_*.log"))


def test_a_task_that_kills_every_worker_is_said():
    def too_large():
        import os
        import time

        time.sleep(1)  # a worker that dies before it is known to be there is not replaced
        os.abort()

    with block_workers(1) as workers:
        with pytest.raises(
            ValueError, match="killed its worker again and again.*fewer --workers; or anew, with another --rid"
        ):
            list(run_tasks(workers, {"a": Task(too_large, ())}, title="Test"))


def test_an_existing_scheduler_is_used_and_left_running():
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as first:
        with block_workers(0, scheduler=cluster.scheduler_address) as second:
            assert list(run_tasks(second, {"a": Task(abs, (-3,))}, title="Test")) == [("a", 3)]
        assert first.submit(abs, -4).result() == 4


def test_a_scheduler_that_goes_away_is_said():
    with block_workers(1) as workers:
        wait_until_started(workers, 1)
        future = workers.submit(time.sleep, 60)
        workers._client.cluster.close()
        with pytest.raises(ConnectionError, match="(scheduler is gone|no worker process is left).*same command again"):
            workers.result(workers.finished([future])[0])


@pytest.fixture
def scheduler(tmp_path):
    """Return the address of `dask scheduler`, a process of its own, and a function that starts a `dask worker`."""
    processes = []

    def start(*arguments):
        command = [sys.executable, "-m", "dask", *arguments]
        options = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        processes.append(subprocess.Popen(command, **options))

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--dashboard-address", "127.0.0.1:0")
    address = f"tcp://127.0.0.1:{port}"
    yield address, lambda: start("worker", address, "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard")
    for process in reversed(processes):
        process.terminate()
        process.wait(30)


def test_a_scheduler_waits_for_its_worker_which_then_predicts(tmp_path, scheduler, monkeypatch, capsys):
    address, start_worker = scheduler
    volume = blobs((16, 48, 48))
    (tmp_path / "one").mkdir()
    options = {"crop": (6, 16, 16), "block": (8, 24, 48)}
    with block_workers(0) as workers:
        expected = predict_and_label(make_job(tmp_path / "one", volume, **options), workers)
    monkeypatch.setattr("block_wise.runner.SECONDS_BETWEEN_REMINDERS", 0)
    monkeypatch.setattr("block_wise.runner.SECONDS_TO_CONNECT", 120)
    with block_workers(0, scheduler=address) as workers:
        check, asked = workers._check_workers, []

        def start_one_after_the_first_question():
            check()
            asked.append(capsys.readouterr().out)
            if len(asked) == 1:
                start_worker()

        workers._check_workers = start_one_after_the_first_question
        found = predict_and_label(make_job(tmp_path, volume, **options), workers)
    assert f"No worker is at the dask scheduler {address} yet" in asked[0]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def scheduler_address(workers):
    return workers._client.scheduler.address


def test_a_stranger_on_this_machine_is_refused(tmp_path):
    import distributed

    with block_workers(1, log_folder=tmp_path) as workers:
        address = scheduler_address(workers)
        assert address.startswith("tls://127.0.0.1:")
        for stranger in (address, address.replace("tls", "tcp")):
            with pytest.raises((OSError, ValueError, TypeError)):
                distributed.Client(stranger, timeout=2, set_as_default=False)
        workers._client.wait_for_workers(1, timeout=60)
        future = workers.submit(os.getpid)
        while not workers.finished([future]):
            pass
        assert workers.result(future) != os.getpid()


def test_when_all_processes_die_the_run_says_so(tmp_path):
    with block_workers(2, log_folder=tmp_path) as workers:
        wait_until_started(workers, 2)
        future = workers.submit(time.sleep, 100)
        nannies = [child for child in psutil.Process().children() if "dask" in child.cmdline()]
        assert len(nannies) == 2
        for nanny in nannies:
            for process in (*nanny.children(recursive=True), nanny):
                process.kill()
        start = time.monotonic()
        with pytest.raises(ConnectionError, match="no worker process is left; the logs .* Finished blocks are kept"):
            workers.finished([future])
        assert time.monotonic() - start < 10


def test_when_the_run_is_killed_its_workers_end(tmp_path):
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]);"
        "from block_wise.runner import block_workers\n"
        "with block_workers(1, log_folder=sys.argv[2]) as workers:\n"
        "    workers._client.wait_for_workers(1, timeout=60); print('started', flush=True); time.sleep(100)"
    )
    root = str(Path(__file__).resolve().parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", code, root, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "started\n"
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        process.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    for child in alive:
        child.kill()
    assert not alive
