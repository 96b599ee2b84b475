import csv

import cv2
import numpy as np
import pytest

from study.study_runs import summarise
from study.study_tables import draw_box_plot, format_spread, write_study
from utils.files import write_json
from utils.runs.record import RunRecord


@pytest.fixture
def run(tmp_path):
    """Write a run by hand and return its record."""

    def make(name, rid, value, *, post="none", seconds=60.0, **settings):
        folder = tmp_path / "results" / f"{name}_{rid}"
        score = {"protocol": "per_image", "post": post, "n": 3, "label": "x"}
        scores = [score | {"metric": metric, "value": value} for metric in ("foreground_iou", "overall_iou", "dice")]
        origin = {"template": "templates/A_template.py", "data_dir": "data"}
        write_json(folder / "settings.json", {"settings": settings, "seed": rid} | origin)
        environment = {"seconds": seconds, "peak_memory_gib": 1.5, "git_commit": "c"}
        write_json(folder / "environment.json", environment)
        write_json(folder / "scores.json", scores)
        return RunRecord(folder)

    return make


@pytest.fixture
def runs(run):
    return [
        run("400", 0, 0.7, EPOCHS=3),
        run("400", 1, 0.9, EPOCHS=3, seconds=180.0),
        run("401", 0, 0.4, EPOCHS=5, post="z|filter"),
    ]


PUBLISHED = {"template": "templates/A_template.py", "method": "paper", "protocol": "per_image", "post": "none"}
PUBLISHED |= {"metric": "foreground_iou", "values": [0.85], "std": 0.01, "source": "journal, table 2"}


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_tables_have_mean_and_deviation_beside_what_was_published(runs, tmp_path):
    page = write_study(tmp_path / "tables", runs, published=[PUBLISHED], notes=["402_0 is not finished"])
    assert page == (tmp_path / "tables" / "summary.md").read_text(encoding="utf-8")
    lines = page.splitlines()
    assert lines[0] == "# Scores of 3 runs" and "ddof = 1" in page
    assert "| 400 | templates/A_template.py | 0, 1 | 0, 1 | EPOCHS=3 | 2.0 ± 1.4 | 1.50 |" in lines
    assert "| 401 | templates/A_template.py | 0 | 0 | EPOCHS=5 | 1.0 | 1.50 |" in lines
    foreground, overall = page.split("## foreground_iou")[1].split("## overall_iou")
    assert "| protocol | post-processing | 400 | 401 | published: paper |" in foreground
    assert "| per_image | none | 0.8000 ± 0.1414 (2) |  | 0.8500 ± 0.0100 |" in foreground
    assert "| per_image | z\\|filter |  | 0.4000 (1) |  |" in foreground
    assert "| per_image | none | 0.8000 ± 0.1414 (2) |  |" in overall and "published: paper" not in overall
    assert "- paper: journal, table 2" in lines and lines[-1] == "- 402_0 is not finished."
    assert "dice" not in page


def test_csv_files_have_every_run_and_every_metric(runs, tmp_path):
    write_study(tmp_path / "tables", runs, published=[PUBLISHED])
    long_rows, rows = read(tmp_path / "tables" / "scores_of_runs.csv"), read(tmp_path / "tables" / "summary.csv")
    assert [(row["id"], row["rid"], row["metric"]) for row in long_rows[:2]] == [
        ("400", "0", "foreground_iou"),
        ("400", "0", "overall_iou"),
    ]
    assert len(long_rows) == 9 and [float(row["value"]) for row in long_rows[::3]] == [0.7, 0.9, 0.4]
    assert [row["metric"] for row in rows] == ["foreground_iou", "overall_iou", "dice"] * 2 + ["foreground_iou"]
    assert float(rows[2]["mean"]) == pytest.approx(0.8) and float(rows[2]["std"]) == pytest.approx(0.02**0.5)
    assert rows[3]["std"] == "" and rows[6]["source"] == "journal, table 2" and "values" not in rows[0]


def test_tables_replace_earlier_tables_and_nothing_else(runs, tmp_path):
    for _ in range(2):
        write_study(tmp_path / "tables", runs)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "summary.csv").write_text("mine")
    with pytest.raises(ValueError, match="mine is there already and is not overwritten"):
        write_study(tmp_path / "mine", runs)
    assert (tmp_path / "mine" / "summary.csv").read_text() == "mine"


def test_what_is_odd_about_the_repetitions_is_noted(run, tmp_path):
    page = write_study(tmp_path / "tables", [run("400", 0, 0.5, EPOCHS=1), run("400", 1, 0.5, EPOCHS=2)])
    assert page.endswith("- the runs of 400 differ in EPOCHS: their spread is not that of repetitions.\n")


def test_metrics_that_no_run_has_are_all_named_before_anything_is_written(runs, tmp_path):
    with pytest.raises(ValueError, match="2 problems in --metrics: no run has iou, but .*dice; no run has det"):
        write_study(tmp_path / "tables", runs, metrics=["iou", "dice", "det"])
    assert not (tmp_path / "tables").exists()


def test_a_metric_without_a_single_number_has_a_table_and_no_picture(run, tmp_path):
    page = write_study(tmp_path / "tables", [run("400", 0, None)], metrics=["dice"])
    assert "| per_image | none | nothing to score |" in page
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == [
        "scores_of_runs.csv",
        "summary.csv",
        "summary.md",
    ]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"mean": 0.5, "std": 0.25, "n_runs": 3}, "0.5000 ± 0.2500 (3)"),
        ({"mean": 0.5, "std": 0.0, "n_runs": None}, "0.5000 ± 0.0000"),
        ({"mean": None, "std": None, "n_runs": 0}, "nothing to score"),
    ],
)
def test_how_a_spread_is_written(row, text):
    assert format_spread(row) == text


def pixels_near(picture, colour):
    """Return how many pixels have a colour (red, green, blue), almost."""
    return (np.abs(picture[..., ::-1].astype(int) - colour) < 12).all(axis=-1).sum()


def test_the_box_plot_shows_each_experiment_in_its_colour(runs, tmp_path):
    rows = [row for row in summarise(runs) if row["metric"] == "dice"]
    draw_box_plot(tmp_path / "one.png", rows[:1], title="dice")
    draw_box_plot(tmp_path / "both.png", rows, title="dice")
    one, both = (cv2.imread(str(tmp_path / f"{name}.png")) for name in ("one", "both"))
    blue, orange = (31, 119, 180), (255, 127, 14)
    assert pixels_near(one, blue) > 50 and pixels_near(one, orange) == 0
    assert pixels_near(both, blue) > 20 and pixels_near(both, orange) > 20
    assert both.shape[0] > one.shape[0]


def test_every_metric_has_its_picture(runs, tmp_path):
    write_study(tmp_path / "tables", runs, metrics=["foreground_iou", "dice"], published=[PUBLISHED])
    assert sorted(path.name for path in (tmp_path / "tables").glob("*.png")) == ["dice.png", "foreground_iou.png"]
