import json

import pytest

from study.study_runs import (
    differing_settings,
    long_table,
    mean_and_std,
    odd_repetitions,
    read_published,
    read_runs,
    summarise,
)


@pytest.fixture
def results(tmp_path):
    """Write runs by hand: folder("400_0", 0.5, seed=1) has one foreground IoU."""
    folder = tmp_path / "results"
    folder.mkdir()

    def make(name, *values, end=True, template="A_template.py", data="data", commit="c", seed=None, **settings):
        run = folder / name
        run.mkdir()
        facts = {"settings": settings, "seed": seed, "template": f"templates/{template}", "data_dir": data}
        (run / "settings.json").write_text(json.dumps(facts))
        environment = {"git_commit": commit, "peak_memory_gib": 2.0} | ({"end": "now", "seconds": 60} if end else {})
        (run / "environment.json").write_text(json.dumps(environment))
        posts = ("none", "z_filter")
        scores = [
            {"protocol": "per_image", "post": post, "metric": "foreground_iou", "value": value, "n": 3, "label": "x"}
            for post, value in zip(posts, values, strict=False)
        ]
        if scores:
            (run / "scores.json").write_text(json.dumps(scores))
        return folder

    return make


def test_mean_and_sample_standard_deviation():
    assert mean_and_std([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]) == (5.0, pytest.approx((32 / 7) ** 0.5))
    assert mean_and_std([0.7]) == (0.7, None)


def test_scores_are_summed_up_per_experiment_protocol_and_post_processing(results):
    results("400_0", 0.5, 0.6)
    results("400_1", 0.7)
    results("400_10", 0.9)
    folder = results("401_x_0", 0.1)
    runs, notes = read_runs(folder)
    assert [run.name for run in runs] == ["400_0", "400_1", "400_10", "401_x_0"] and notes == []
    rows = summarise(runs)
    assert [(row["id"], row["post"], row["n_runs"]) for row in rows] == [
        ("400", "none", 3),
        ("400", "z_filter", 1),
        ("401_x", "none", 1),
    ]
    assert rows[0]["mean"] == pytest.approx(0.7) and rows[0]["std"] == pytest.approx(0.2)
    assert (rows[0]["min"], rows[0]["max"], rows[0]["values"]) == (0.5, 0.9, [0.5, 0.7, 0.9])
    assert (rows[1]["mean"], rows[1]["std"]) == (0.6, None)
    assert long_table(runs)[1] == {
        "id": "400",
        "rid": 0,
        "protocol": "per_image",
        "post": "z_filter",
        "metric": "foreground_iou",
        "value": 0.6,
    }


def test_what_could_not_be_scored_is_not_counted(results):
    results("400_0", None, None)
    runs, _ = read_runs(results("400_1", 0.4, None))
    rows = summarise(runs)
    assert (rows[0]["n_runs"], rows[0]["mean"], rows[0]["std"]) == (1, 0.4, None)
    assert (rows[1]["n_runs"], rows[1]["mean"], rows[1]["values"]) == (0, None, [])


def test_runs_without_an_end_or_scores_are_left_out_and_named(results):
    results("400_0", 0.5)
    results("400_1", 0.9, end=False)
    results("400_2")
    results("400_3", end=False)
    folder = results("400_0_dry_run", 0.1)
    (folder / "notes.txt").touch()
    runs, notes = read_runs(folder)
    assert [run.name for run in runs] == ["400_0"]
    assert notes == ["400_1 is not finished", "400_2 has no scores", "400_3 is not finished"]
    runs, notes = read_runs(folder, unfinished=True)
    assert [run.name for run in runs] == ["400_0", "400_1"]
    assert notes[0] == "400_1 is not finished, its scores are used"


def test_a_file_that_cannot_be_read_is_named(results):
    results("400_0", 0.5)
    folder = results("400_1", 0.5)
    (folder / "400_1" / "scores.json").write_text("[{")
    runs, notes = read_runs(folder)
    assert [run.name for run in runs] == ["400_0"]
    assert notes[0].startswith("400_1 is left out: ") and "scores.json cannot be read (" in notes[0]


def test_experiments_are_chosen_by_name_and_pattern_in_the_order_given(results):
    results("400_0", 0.5)
    results("400-LOSS-dice_0", 0.5)
    folder = results("300_0", 0.5)
    assert [run.id for run in read_runs(folder, ["400*", "300"])[0]] == ["400", "400-LOSS-dice", "300"]
    assert [run.id for run in read_runs(folder, ["400", "400*"])[0]] == ["400", "400-LOSS-dice"]


def test_all_unknown_experiments_are_named(results):
    folder = results("demo_0", 0.5)
    with pytest.raises(ValueError, match="2 problems in .*: there is no experiment demp; did you mean 'demo'.*; .* 7"):
        read_runs(folder, ["demp", "demo", "7"])


def test_no_folder_or_no_scores_are_refused(results, tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist. Give job_dir/results"):
        read_runs(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no run with scores among 400: 400_0 has no scores."):
        read_runs(results("400_0"))


# --- published scores

TABLE = """template,data,method,protocol,post,metric,values,std,source
templates/A_template.py,Lucchi,many runs,per_image,none,foreground_iou,0.8 0.9,,somewhere
templates/A_*.py,Lucchi,mean of runs,per_image,none,foreground_iou,0.829,0.046,elsewhere
templates/Kasthuri++/A_template.py,Lucchi,of another folder,per_image,none,foreground_iou,0.5,,nowhere
templates/B_template.py,Lucchi,another,per_image,none,foreground_iou,0.5,,nowhere
templates/A_template.py,Lucchi++,other data,per_image,none,foreground_iou,0.6,,nowhere
"""


def test_published_scores_of_the_same_template_and_data_stand_beside(results, tmp_path):
    (tmp_path / "published.csv").write_text(TABLE)
    published = read_published(tmp_path / "published.csv", "Lucchi")
    assert len(published) == 4
    rows = summarise(read_runs(results("400_0", 0.5))[0], published)
    assert [row["id"] for row in rows] == ["400", "published: many runs", "published: mean of runs"]
    assert rows[1]["mean"] == pytest.approx(0.85) and rows[1]["std"] == pytest.approx(0.005**0.5)
    assert (rows[1]["n_runs"], rows[1]["source"]) == (2, "somewhere")
    assert (rows[2]["mean"], rows[2]["std"], rows[2]["n_runs"]) == (0.829, 0.046, None)
    assert rows[2]["min"] is rows[2]["max"] is None and rows[1]["min"] < rows[1]["max"]


def test_an_unknown_data_set_is_refused(tmp_path):
    (tmp_path / "published.csv").write_text(TABLE)
    with pytest.raises(ValueError, match="data set 'lucchi' is not known; did you mean 'Lucchi'"):
        read_published(tmp_path / "published.csv", "lucchi")


# --- are they repetitions?


def test_repetitions_differ_in_the_seed_alone(results):
    results("400_0", 0.5, seed=42, SEED=42, EPOCHS=3)
    runs, _ = read_runs(results("400_1", 0.5, seed=43, SEED=42, EPOCHS=3))
    assert odd_repetitions(runs) == []


def test_runs_that_are_no_repetitions_are_named(results):
    results("400_0", 0.5, seed=0, EPOCHS=3)
    results("400_1", 0.5, seed=0, EPOCHS=4, template="B_template.py", data="other", commit="d")
    results("401_0", 0.5, EPOCHS=3)
    runs, _ = read_runs(results("401_1", 0.5, EPOCHS=3))
    assert odd_repetitions(runs) == [
        "the runs of 400 have different templates",
        "the runs of 400 have different data folders",
        "the runs of 400 differ in EPOCHS: their spread is not that of repetitions",
        "the runs of 400 were made with different commits of the repository",
        "runs of 400 share a seed: they show what the hardware scatters, not what chance does",
    ]


def test_templates_of_one_name_in_two_folders_are_two(results):
    results("400_0", 0.5, seed=0)
    runs, _ = read_runs(results("400_1", 0.5, seed=1, template="Kasthuri++/A_template.py"))
    assert [run.template for run in runs] == ["templates/A_template.py", "templates/Kasthuri++/A_template.py"]
    assert odd_repetitions(runs) == ["the runs of 400 have different templates"]


def test_minutes_count_what_was_done_before_a_run_was_resumed(results):
    folder = results("400_0", 0.5)
    environment = json.loads((folder / "400_0" / "environment.json").read_text())
    (folder / "400_0" / "environment.json").write_text(json.dumps(environment | {"earlier_seconds": 90}))
    runs, _ = read_runs(results("400_1", 0.5, end=False), unfinished=True)
    assert [run.minutes for run in runs] == [2.5, None]


def test_settings_that_differ_between_experiments(results):
    results("400_0", 0.5, seed=0, EPOCHS=3, LOSS="bce")
    results("400_1", 0.5, seed=1, EPOCHS=3, LOSS="bce")
    runs, _ = read_runs(results("401_0", 0.5, seed=2, EPOCHS=4, LOSS="bce", DEPTH=2))
    assert differing_settings(runs) == {"400": {"EPOCHS": 3}, "401": {"EPOCHS": 4, "DEPTH": 2}}
