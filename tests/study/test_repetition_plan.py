import json
import sys
from pathlib import Path

import pytest

from study.repetition_plan import parse_gpus, parse_grid, parse_numbers, plan_runs
from utils.runs.record import describe_origin

REPOSITORY = Path(__file__).resolve().parents[2]
TEMPLATE = Path(__file__).with_name("fake_template.txt")


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "data").mkdir()
    return REPOSITORY, tmp_path / "data", tmp_path / "job"


def made(folder, *, settings, end=True, state=False, template=TEMPLATE, data=None, command=()):
    """Write what an earlier run left."""
    folder.mkdir(parents=True)
    origin = describe_origin(template, data or folder.parents[2] / "data")
    (folder / "settings.json").write_text(json.dumps({"settings": settings, "command": command} | origin))
    (folder / "environment.json").write_text(json.dumps({"end": "now"} if end else {}))
    if state:
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "state.json").write_text("{}")


def test_a_plan_has_every_repetition_with_its_command(folders):
    runs = plan_runs(TEMPLATE, folders, id="400", rids="0-1,5", assignments=["SEED=5", "LOSS=dice"], keep_seed=True)
    assert [(run.id, run.rid, run.name) for run in runs] == [("400", n, f"400_{n}") for n in (0, 1, 5)]
    places = [str(part) for part in (TEMPLATE, *folders)]
    options = ["--id", "400", "--rid", "5", "--keep-seed", "--set", "SEED=5", "--set", "LOSS=dice"]
    assert list(runs[2].command) == [sys.executable, "-u", *places, *options]
    assert runs[2].folder == folders[2] / "results" / "400_5"
    assert runs[2].settings["SEED"] == 5 and runs[2].settings["LOSS"] == "dice"
    assert runs[2].settings["CROP_SHAPE"] == [8, 8, 1]  # as settings.json has it


def test_a_grid_is_every_combination_and_its_first_repetitions_come_first(folders):
    grid = ["learning_rate=0.1,1e-3", "CROP_SHAPE=(8,8,1),(16, 16, 1)"]
    runs = plan_runs(TEMPLATE, folders, id="a_b", rids="0-1", grid=grid)
    rates, shapes = ("0.1", "1e-3"), ("8x8x1", "16x16x1")
    ids = [f"a_b-LEARNING_RATE-{rate}-CROP_SHAPE-{shape}" for rate in rates for shape in shapes]
    assert [run.name for run in runs] == [f"{name}_{rid}" for rid in (0, 1) for name in ids]
    assert runs[3].settings["LEARNING_RATE"] == 0.001 and runs[3].settings["CROP_SHAPE"] == [16, 16, 1]
    assert "CROP_SHAPE=(16, 16, 1)" in runs[3].command


def test_all_problems_are_named_at_once(folders, tmp_path):
    with pytest.raises(ValueError) as error:
        plan_runs(
            TEMPLATE,
            (tmp_path, tmp_path / "nowhere", tmp_path),
            id="400",
            rids="3-1",
            assignments=["SEEDS=1", "LOSS", "seed=x"],
            grid=["SEED=1,2", "LEARNING_RATE=0.1,,1"],
        )
    text = str(error.value)
    assert text.startswith("8 problems in the repetition:\n  - ")
    for part in (
        f"code_dir {tmp_path} is not a copy of this repository",
        f"data_dir {tmp_path / 'nowhere'} does not exist",
        "--rids 3-1: '3-1' is neither a number nor a range. Give them as 0-4 or 0,1,7",
        "--grid LEARNING_RATE=0.1,,1: wanted NAME=VALUE,VALUE,... without empty values",
        "there is no variable SEEDS; did you mean 'SEED'?",
        "'LOSS' is not NAME=VALUE",
        "SEED=x is of type str, wanted int",
        "SEED is set more than once",
    ):
        assert part in text


def test_a_variable_in_set_and_grid_is_refused(folders):
    with pytest.raises(ValueError, match="SEED is set more than once"):
        plan_runs(TEMPLATE, folders, id="400", rids="0", assignments=["seed=1"], grid=["SEED=1,2"])


@pytest.mark.parametrize("text", ["nothing.py", "no_template.py"])
def test_a_missing_template_or_another_script_is_refused(text, folders, tmp_path):
    (tmp_path / "no_template.py").write_text("EPOCHS = 3\n")
    with pytest.raises(
        ValueError, match="nothing.py does not exist|not a template: it has no cell '# %% Experiment var"
    ):
        plan_runs(tmp_path / text, folders, id="400", rids="0")


def test_points_of_a_grid_with_one_name_are_refused(folders):
    with pytest.raises(ValueError, match="two points of the grid are called 400-WAIT_FOR-1xa-b_0"):
        plan_runs(TEMPLATE, folders, id="400", rids="0", grid=["WAIT_FOR=(1,'a/b'),(1,'a&b')"])


@pytest.mark.parametrize(
    ("grid", "twins"),
    [
        (["LEARNING_RATE=0.001,1e-3"], "400-LEARNING_RATE-0.001 and 400-LEARNING_RATE-1e-3"),
        (["learning_rate=1,1.0", "LOSS=bce,dice"], "400-LEARNING_RATE-1-LOSS-dice and 400-LEARNING_RATE-1.0-LOSS-dice"),
        (["WAIT_FOR=(0,'a'),(0x0,'a')"], "400-WAIT_FOR-0xa and 400-WAIT_FOR-0x0xa"),
    ],
)
def test_points_of_a_grid_with_the_same_values_are_refused(grid, twins, folders):
    with pytest.raises(ValueError) as error:
        plan_runs(TEMPLATE, folders, id="400", rids="0-1", grid=grid)
    assert f"--grid: {twins} have the same values" in str(error.value) and str(error.value).count(twins) == 1


@pytest.mark.parametrize("name", ["", "  ", "..", "a/b", "/tmp/a", "a\\b"])
def test_an_id_that_is_no_name_of_a_folder_is_refused(name, folders):
    with pytest.raises(ValueError, match="--id .* is no name; wanted letters"):
        plan_runs(TEMPLATE, folders, id=name, rids="0")


@pytest.mark.parametrize("text", ["", "a", "0,", "0;1", "-2", "0-3"])
def test_what_is_no_list_of_gpus_is_refused(text):
    assert parse_gpus("0,12") == ["0", "12"] and parse_gpus("-1") == ["-1"]
    with pytest.raises(ValueError, match=f"--gpus {text}: wanted GPU numbers"):
        parse_gpus(text)


def test_runs_made_with_other_settings_are_refused_all_at_once(folders):
    results = folders[2] / "results"
    settings = plan_runs(TEMPLATE, folders, id="400", rids="0")[0].settings
    made(results / "400_0", settings=settings | {"LOSS": "dice", "OLD": 1}, command=["--keep-seed"])
    made(results / "400_1", settings=settings | {"SEED": 7}, end=False, state=True)
    made(results / "400_2", settings=settings | {"SEED": 8}, end=False)  # failed before its first epoch: starts anew
    made(results / "400_3", settings={name: value for name, value in settings.items() if name != "LOSS"})
    made(results / "400_4", settings=settings)
    made(results / "400_5", settings=settings, command=["--keep-seed"])
    with pytest.raises(ValueError) as error:
        plan_runs(TEMPLATE, folders, id="400", rids="0-5")
    assert str(error.value) == (
        "4 problems in the repetition:"
        "\n  - 400_0 is another run (LOSS was dice, is bce; OLD was 1, is not there): choose another --id"
        "\n  - 400_1 is another run (SEED was 7, is 42): choose another --id"
        "\n  - 400_3 is another run (LOSS was not there, is bce): choose another --id"
        "\n  - 400_5 is another run (--keep-seed was given): choose another --id"
    )


def test_of_many_changed_settings_some_are_shown(folders):
    names = ("SEED", "LOSS", "LEARNING_RATE", "FAILING_SEED", "CUT_OFF", "STOPS_EARLY", "CROP_SHAPE", "WAIT_FOR")
    made(folders[2] / "results" / "400_0", settings=dict.fromkeys(names, "other"))
    with pytest.raises(ValueError, match=r"is bce; FAILING_SEED was other, is -1; and 3 more\): choose another --id"):
        plan_runs(TEMPLATE, folders, id="400", rids="0")


@pytest.mark.parametrize("end", [True, False])
def test_runs_of_another_template_or_data_are_not_taken_for_the_own(end, folders, tmp_path, monkeypatch):
    settings = plan_runs(TEMPLATE, folders, id="400", rids="0")[0].settings
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    runs = {0: (TEMPLATE, "data"), 1: ("templates/fake_template.txt", "data"), 2: (TEMPLATE, "other")}
    for rid, (template, data) in runs.items():
        folder = folders[2] / "results" / f"400_{rid}"
        made(folder, settings=settings, end=end, state=True, template=template, data=data)
    with pytest.raises(ValueError) as error:
        plan_runs(TEMPLATE, folders, id="400", rids="0-2")
    assert str(error.value) == (
        "2 problems in the repetition:"
        "\n  - 400_1 is another run (the template was templates/fake_template.txt, is fake_template.txt): "
        "choose another --id"
        f"\n  - 400_2 is another run (the data folder was {tmp_path / 'other'}, is {tmp_path / 'data'}): "
        "choose another --id"
    )


@pytest.mark.parametrize("text", ["", "a", "1-", "2-1", "-1", "1,,2", "1.5"])
def test_what_is_no_list_of_numbers_is_refused(text):
    with pytest.raises(ValueError, match=f"--rids {text}: '.*' is neither a number nor a range"):
        parse_numbers(text)


def test_a_number_that_comes_twice_is_refused():
    with pytest.raises(ValueError, match="--rids 0-3,2: a number comes twice"):
        parse_numbers("0-3,2")


def test_values_of_a_grid_keep_their_brackets():
    assert parse_grid("x=((1,2),[3,4]),'a', None") == ["X=((1,2),[3,4])", "X='a'", "X=None"]


@pytest.mark.parametrize("text", ["LOSS", "LOSS=", "=1,2", "LOSS=a,"])
def test_what_is_no_grid_is_refused(text):
    with pytest.raises(ValueError, match=f"--grid {text}: wanted NAME=VALUE,VALUE"):
        parse_grid(text)
