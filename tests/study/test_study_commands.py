"""The commands of study/: each is run once as a user runs it, and says mistakes in one sentence."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from study.repetition_plan import plan_runs
from study.study_runs import read_published
from utils.runs.scores import METRIC_LABELS, POST_LABELS, PROTOCOL_LABELS

REPOSITORY = Path(__file__).resolve().parents[2]
TEMPLATE = Path(__file__).with_name("fake_template.txt")
PUBLISHED = REPOSITORY / "study" / "published_scores.csv"


def run(command, *arguments):
    script = REPOSITORY / "study" / f"{command}.py"
    command = [sys.executable, script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def places(tmp_path):
    (tmp_path / "data").mkdir()
    return TEMPLATE, REPOSITORY, tmp_path / "data", tmp_path / "job"


def test_repeat_then_collect_then_report(places, tmp_path):
    results = tmp_path / "job" / "results"
    options = ["--id", "400", "--rids", "1-3", "--set", "SEED=0", "--grid", "LOSS=bce,dice"]
    listed = run("repeat", *places, *options, "--list")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["new"] * 6 and not results.exists()
    done = run("repeat", *places, *options, "--at-once", 3, "--gpus", "-1")
    assert done.returncode == 0 and "All 6 runs are finished" in done.stdout, done.stdout + done.stderr
    again = run("repeat", *places, *options)
    assert "6 runs: 6 are finished, 0 to do, 1 at once." in again.stdout

    tables = tmp_path / "tables"
    collected = run("collect", results, "--ids", "400*", "--output", tables, "--metrics", "foreground_iou")
    assert collected.returncode == 0, collected.stderr
    # The fake score is a tenth of the seed, SEED + rid: mean of 0.1, 0.2 and 0.3, and 0.1 as sample standard deviation.
    row = "| per_image | none | 0.2000 ± 0.1000 (3) | 0.2000 ± 0.1000 (3) |"
    assert row in collected.stdout and row in (tables / "summary.md").read_text(encoding="utf-8")
    assert "LOSS=bce" in collected.stdout and "## Notes" not in collected.stdout
    assert sorted(path.name for path in tables.glob("*.png")) == ["foreground_iou.png"]

    folder = results / "400-LOSS-dice_2"
    assert run("report", folder).stdout.strip() == str(folder / "report.html")
    assert "<td>foreground_iou</td>" not in (folder / "report.html").read_text(encoding="utf-8")
    assert '<td class="number">0.2000</td>' in (folder / "report.html").read_text(encoding="utf-8")


def test_a_failed_run_gives_status_1_and_is_named(places):
    done = run("repeat", *places, "--id", "7", "--rids", "0-1", "--set", "SEED=0", "--set", "FAILING_SEED=1")
    assert done.returncode == 1
    assert "1 of 2 runs are not done: 7_1 (failed). Their output is in" in done.stdout


def test_repetitions_can_keep_the_seed_and_are_told_what_they_show(places, tmp_path):
    options = ["--id", "7", "--rids", "0-1", "--keep-seed", "--set", "SEED=3"]
    done = run("repeat", *places, *options, "--at-once", 2, "--gpus", "-1")
    assert "All repetitions have the same seed" in done.stdout and "All 2 runs are finished" in done.stdout
    collected = run(
        "collect", tmp_path / "job" / "results", "--output", tmp_path / "tables", "--metrics", "foreground_iou"
    )
    assert "| per_image | none | 0.3000 ± 0.0000 (2) |" in collected.stdout
    assert "| 0, 1 | 3, 3 |" in collected.stdout and "runs of 7 share a seed" in collected.stdout
    other = run("repeat", *places, "--id", "7", "--rids", "0-1", "--set", "SEED=3")
    assert "7_1 is another run (--keep-seed was given): choose another --id" in other.stderr


def test_mistakes_are_one_sentence(places, tmp_path):
    answers = [
        run("repeat", *places, "--id", "7", "--set", "SEEDS=1"),
        run("collect", tmp_path / "nowhere"),
        run("collect", tmp_path, "--published", "Luchi"),
        run("report", tmp_path),
        run("repeat", *places, "--id", "7", "--gpus", "0;1"),
    ]
    said = [answer.stderr.strip() for answer in answers]
    assert all(answer.returncode == 1 for answer in answers) and not any("Traceback" in text for text in said)
    assert said[0] == "ValueError: the repetition: there is no variable SEEDS; did you mean 'SEED'?"
    assert "nowhere does not exist. Give job_dir/results." in said[1]
    assert said[4].startswith("ValueError: --gpus 0;1: wanted GPU numbers such as 0 or 0,1")
    assert "did you mean 'Lucchi'" in said[2] and "not the folder of a run" in said[3]


def test_a_real_template_can_be_planned(tmp_path):
    template = REPOSITORY / "templates" / "U-Net_2D_template.py"
    grid = ["learning_rate=0.001,0.0001"]
    runs = plan_runs(template, (REPOSITORY, tmp_path, tmp_path), id="1", rids="0-1", assignments=["SEED=7"], grid=grid)
    values = [(run.settings["LEARNING_RATE"], run.settings["SEED"], run.rid) for run in runs]
    assert values == [(0.001, 7, 0), (0.0001, 7, 0), (0.001, 7, 1), (0.0001, 7, 1)]


# --- the file of published scores


def test_published_scores_have_a_source_a_template_and_the_names_of_this_repository():
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    folders = ("templates", "sota_implementations")
    names = {path.relative_to(REPOSITORY) for folder in folders for path in REPOSITORY.glob(f"{folder}/**/*.py")}
    for row in rows:
        assert row["source"] and row["method"] and row["data"]
        assert any(name.match(row["template"]) for name in names), row["template"]
        assert row["protocol"] in (*PROTOCOL_LABELS, "not stated") and row["post"] in (*POST_LABELS, "not stated")
        assert row["metric"] in METRIC_LABELS
        values = [float(value) for value in row["values"].split()]
        assert values and all(0 < value < 1 for value in values) and (not row["std"] or len(values) == 1)


def test_published_scores_are_read_by_data_set():
    assert {row["data"] for row in read_published(PUBLISHED, "Lucchi++")} == {"Lucchi++"}
    rows = read_published(PUBLISHED, "Lucchi")
    full = next(row for row in rows if (row["protocol"], row["metric"]) == ("full_image", "foreground_iou"))
    assert sum(full["values"]) / 5 == pytest.approx(0.8700, abs=5e-5)
