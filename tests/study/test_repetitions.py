import threading
import time
from pathlib import Path

import pytest

from study import repetitions
from study.repetition_plan import plan_runs
from study.repetitions import carry_out

REPOSITORY = Path(__file__).resolve().parents[2]
TEMPLATE = Path(__file__).with_name("fake_template.txt")


@pytest.fixture(autouse=True)
def look_often(monkeypatch):
    monkeypatch.setattr(repetitions, "POLL_SECONDS", 0.02)


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "data").mkdir()

    def make(rids, *assignments):
        folders = (REPOSITORY, tmp_path / "data", tmp_path / "job")
        return plan_runs(TEMPLATE, folders, id="400", rids=rids, assignments=["SEED=0", *assignments])

    return make


def attempts(run):
    return [path.read_text() for path in sorted(run.folder.glob("attempt_*"))]


def test_runs_are_made_and_finished_ones_are_skipped(plan, capsys):
    assert carry_out(plan("0-1")) == {"400_0": "finished", "400_1": "finished"}
    runs = plan("0-2")
    assert carry_out(runs) == {"400_0": "skipped", "400_1": "skipped", "400_2": "finished"}
    assert [attempts(run) for run in runs] == [["gpu 0, resume False"]] * 3
    assert "3 runs: 2 are finished, 1 to do, 1 at once." in capsys.readouterr().out
    assert "it began" in runs[0].log.read_text()


def test_a_run_that_was_cut_off_is_resumed(plan, capsys):
    runs = plan("0", "CUT_OFF=True")
    assert carry_out(runs) == {"400_0": "failed"}
    assert "400_0: failed with status 9" in capsys.readouterr().out
    assert carry_out(runs) == {"400_0": "finished"}
    assert attempts(runs[0]) == ["gpu 0, resume False", "gpu 0, resume True"]
    assert "400_0: resumed" in capsys.readouterr().out


def test_a_failed_run_stops_no_other_and_starts_anew_the_next_time(plan, capsys):
    runs = plan("0-2", "FAILING_SEED=1")
    assert carry_out(runs) == {"400_0": "finished", "400_1": "failed", "400_2": "finished"}
    assert "400_1: failed with status 1 after 0.0 minutes: this seed fails" in capsys.readouterr().out
    assert carry_out(runs) == {"400_0": "skipped", "400_1": "failed", "400_2": "skipped"}
    assert attempts(runs[1]) == ["gpu 0, resume False"] * 2


def test_a_run_that_ends_without_finishing_has_failed(plan, capsys):
    assert carry_out(plan("0", "STOPS_EARLY=True")) == {"400_0": "failed"}
    assert "failed with status 0 after 0.0 minutes: it began" in capsys.readouterr().out


def test_several_run_at_once_each_on_its_gpu(plan):
    # Each waits for the other to begin: one after the other they would wait in vain.
    runs = plan("0-1", "WAIT_FOR=(2,'started')")
    assert set(carry_out(runs, at_once=2, gpus=("-1", "0")).values()) == {"finished"}
    assert [attempts(run) for run in runs] == [["gpu -1, resume False"], ["gpu 0, resume False"]]


def test_no_more_run_than_are_asked_for_and_gpus_come_back(plan, monkeypatch):
    running, most, gpus = set(), [], []

    def start(run, gpu):
        process, outcome = real_start(run, gpu)
        running.add(run.name)
        most.append(len(running))
        gpus.append(gpu)
        return process, outcome

    def end(run, status, minutes):
        running.discard(run.name)
        return real_end(run, status, minutes)

    real_start, real_end = repetitions._start, repetitions._outcome
    monkeypatch.setattr(repetitions, "_start", start)
    monkeypatch.setattr(repetitions, "_outcome", end)
    assert set(carry_out(plan("0-4"), at_once=2, gpus=("-1", "0")).values()) == {"finished"}
    assert max(most) == 2 and len(most) == 5 and set(gpus) == {"-1", "0"}


def wait_for(path):
    deadline = time.monotonic() + 30
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.exists()


def test_a_run_that_goes_on_elsewhere_is_left_alone(plan, tmp_path, capsys):
    pytest.importorskip("fcntl")
    runs, first = plan("0", "WAIT_FOR=(1,'go')"), {}
    thread = threading.Thread(target=lambda: first.update(carry_out(runs)))
    thread.start()
    wait_for(tmp_path / "data" / "400_0.started")
    assert carry_out(runs) == {"400_0": "busy"}
    (tmp_path / "data" / "x.go").touch()
    thread.join()
    assert first == {"400_0": "finished"} and len(attempts(runs[0])) == 1
    assert "400_0: another program runs it, left alone." in capsys.readouterr().out


def test_a_run_that_was_finished_elsewhere_meanwhile_is_skipped(plan, monkeypatch):
    runs = plan("0-1", "WAIT_FOR=(0,'go')")
    real_start = repetitions._start

    def start(run, gpu):
        if run.rid == 1:
            real_start(run, gpu)[0].wait()  # another program makes it first
        return real_start(run, gpu)

    monkeypatch.setattr(repetitions, "_start", start)
    assert carry_out(runs) == {"400_0": "finished", "400_1": "skipped"}
    assert len(attempts(runs[1])) == 1


def test_when_it_is_stopped_its_runs_are_stopped_too(plan, monkeypatch, capsys):
    started = []
    real_start = repetitions._start

    def start(run, gpu):
        started.append(real_start(run, gpu))
        return started[-1]

    def stop(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(repetitions, "_start", start)
    monkeypatch.setattr(repetitions.time, "sleep", stop)
    with pytest.raises(KeyboardInterrupt):
        carry_out(plan("0-3", "WAIT_FOR=(1,'go')"), at_once=2)
    assert [process.returncode not in (None, 0) for process, _ in started] == [True, True]
    assert "400_1: stopped; the same command resumes it." in capsys.readouterr().out


@pytest.mark.parametrize("options", [{"at_once": 0}, {"gpus": ()}])
def test_none_at_once_or_no_gpu_is_refused(options, plan):
    with pytest.raises(ValueError, match="at least 1 run and 1 GPU"):
        carry_out(plan("0"), **options)
