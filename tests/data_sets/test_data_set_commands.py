"""The commands of data_sets/: each is run as a user runs it, without Keras, and says mistakes in one sentence."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
# Runs a command in a Python that cannot import what only networks need.
WITHOUT_KERAS = "import sys, runpy; sys.modules.update(keras=None, tensorflow=None); sys.argv = sys.argv[1:]; "
WITHOUT_KERAS += "runpy.run_path(sys.argv[0], run_name='__main__')"


def run(command, *arguments):
    script = REPOSITORY / "data_sets" / f"{command}.py"
    command = [sys.executable, "-c", WITHOUT_KERAS, script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_import_then_check_then_a_mistake(toy_data, tmp_path):
    data = tmp_path / "data"
    for part in ("train", "test"):
        (data / part).mkdir(parents=True)
        (data / part / "x").symlink_to(toy_data / part / "x")
    labels = np.zeros((8, 64, 96), np.uint16)
    labels[:, 10:30, 10:30], labels[:, 40:50, 40:60] = 3, 9
    tifffile.imwrite(tmp_path / "labels.tif", labels, photometric="minisblack")
    target = data / "train" / "y"
    wrong = run(
        "import_labels", tmp_path / "labels.tif", data / "train" / "x", target, "--as", "binary", "--classes", "3:1"
    )
    assert (
        wrong.returncode == 1
        and wrong.stderr == "ValueError: --classes goes with --as classes, not with --as binary.\n"
    )
    wrong = run(
        "import_labels", tmp_path / "labels.tif", data / "train" / "x", target, "--as", "classes", "--background", 0, 9
    )
    assert wrong.returncode == 1 and "give --classes 0:0,9:0,..." in wrong.stderr and not target.exists()
    options = ["--as", "classes", "--classes", "0:0,3:1,9:2"]
    done = run("import_labels", tmp_path / "labels.tif", data / "train" / "x", target, *options)
    assert done.returncode == 0, done.stderr
    assert "| 9 | 2 | 1600 | 3.26% |" in done.stdout and "N_CLASSES=3" in done.stdout
    ids = run("import_labels", tmp_path / "labels.tif", data / "train" / "x", tmp_path / "y", "--as", "instances")
    assert (
        "2 objects of 1,600 (id 9) to 3,200 (id 3) pixels." in ids.stdout
        and "templates read y/ as classes" in ids.stdout
    )

    checked = run("check", data, "--n-classes", 3, "--picture", tmp_path / "data.png")
    assert checked.returncode == 0, checked.stderr
    assert "Note: There is no test/y" in checked.stdout and "2: 3.26%" in checked.stdout
    assert "No problems: 8 to train on, 4 to test on; of the masks' values 0 is class 0, 1 is class 1" in checked.stdout
    assert (tmp_path / "data.png").stat().st_size > 10_000

    (data / "val").mkdir()
    (data / "val" / "x").symlink_to(toy_data / "test" / "x")
    (data / "val" / "y").symlink_to(toy_data / "test" / "y")
    with_validation = run("check", data, "--n-classes", 3)
    assert (
        "| val/x" in with_validation.stdout
        and "differ between folders: train/ 0 1 2, val/ 0 255" in with_validation.stderr
    )  # 0 and 255 there
    (data / "val" / "y").unlink()
    (data / "val" / "y").mkdir()
    for image in (data / "val" / "x").iterdir():
        tifffile.imwrite(data / "val" / "y" / f"{image.stem}.tif", labels[0] // 4, photometric="minisblack")
    with_validation = run("check", data, "--n-classes", 3)
    assert "8 to train on, 4 to validate with, 4 to test on" in with_validation.stdout, with_validation.stderr

    next(target.iterdir()).unlink()
    broken = run("check", data, "--volumes")
    assert broken.returncode == 1 and "| train/y | 7 " in broken.stdout and "Traceback" not in broken.stderr
    assert "8 images but 7 masks" in broken.stderr and "expected 2 in all" in broken.stderr
    nothing = run("check", tmp_path / "nowhere")
    assert nothing.returncode == 1 and "nowhere does not exist, and a data folder is needed" in nothing.stderr


def test_prepare_names_what_is_missing(tmp_path):
    done = run("prepare", "kasthuri++", tmp_path / "data", "--files", tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "4 problems in" in done.stderr and "http://www.casser.io/files/kasthuri_pp.zip" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["prepare", "check", "import_labels"])
def test_help_shows_how_it_is_called(command):
    done = run(command, "--help")
    assert done.returncode == 0 and f"python data_sets/{command}.py" in done.stdout


@pytest.fixture
def here(monkeypatch, capsys):
    """Run a command in this process and return what it prints as an error, or None if it ends well."""

    def run_here(command, *arguments):
        script = str(REPOSITORY / "data_sets" / f"{command}.py")
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        try:
            runpy.run_path(script, run_name="__main__")
        except Exception:
            sys.excepthook(*sys.exc_info())
            return capsys.readouterr().err

    return run_here


@pytest.fixture
def places(toy_data, tmp_path):
    """Lay out what hostile paths lead to, and return its folder."""
    for part in ("train", "test"):
        (tmp_path / "data" / part).mkdir(parents=True)
        for kind in "xy":
            (tmp_path / "data" / part / kind).symlink_to(toy_data / part / kind)
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dead").symlink_to(tmp_path / "nothing")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "mine.png")
    (tmp_path / "empty.h5").write_bytes(b"")
    tifffile.imwrite(tmp_path / "labels.tif", np.zeros((8, 64, 96), np.uint8), photometric="minisblack")
    return tmp_path


def listing(folder):
    return sorted((str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


LONG = "a" * 300
CHECK = ["check", "{}/data"]
IMPORT = ["import_labels", "{}/labels.tif", "{}/data/train/x"]
HOSTILE = [
    (["check", "{}/file"], "file is a file, and a data folder is needed"),
    (["check", "{}/mine.png"], "mine.png is a file, and a data folder is needed"),
    (["check", "{}/dead"], "dead is a link to"),
    (["check", "{}/" + LONG], "File name too long"),
    (["check", "{}"], "train/x does not exist"),
    ([*CHECK, "--picture", "{}/data/train/x/im_0000.png"], "lies among the images of"),
    ([*CHECK, "--picture", "{}/data/test/new.png"], "lies among the images of"),
    ([*CHECK, "--picture", "{}/mine.png"], "mine.png is there already and was not drawn by this tool"),
    ([*CHECK, "--picture", "{}/folder.png"], "folder.png is there already"),
    ([*CHECK, "--picture", "{}/a.xyz"], "a.xyz does not end in .png"),
    ([*CHECK, "--picture", "{}/missing/a.png"], "missing is no folder"),
    ([*CHECK, "--picture", "{}/file/a.png"], "file is no folder"),
    ([*CHECK, "--picture", "{}/" + LONG + ".png"], "File name too long"),
    ([*CHECK, "--n-classes", "-3"], "--n-classes: N_CLASSES is -3; wanted a whole number from 1 to 255"),
    ([*CHECK, "--channels", "0"], "--channels: is 0; wanted"),
    ([*CHECK, "--intensity-range", "nan", "nan"], "--intensity-range: INTENSITY_RANGE is [nan, nan]; wanted"),
    ([*CHECK, "--intensity-range", "9", "3"], "INTENSITY_RANGE is [9.0, 3.0]; wanted (low, high), rising"),
    ([*CHECK, "--intensity-range", "0", "inf"], "INTENSITY_RANGE is [0.0, inf]; wanted (low, high), rising"),
    ([*IMPORT, "{}/file"], "file is there already and is not overwritten"),
    ([*IMPORT, "{}/data/train/y"], "y is there already and is not overwritten"),
    ([*IMPORT, "{}/dead"], "dead is there already and is not overwritten"),
    ([*IMPORT, "{}/file/y"], "file is no folder"),
    ([*IMPORT, "{}/" + LONG], "File name too long"),
    ([*IMPORT, "{}/y", "--classes", ""], "--classes goes with --as classes"),
    (["import_labels", "{}/empty.h5", "{}/data/train/x", "{}/y"], "empty.h5 cannot be read"),
    (["import_labels", "{}/dead", "{}/data/train/x", "{}/y"], "dead: it is a link to"),
    (["import_labels", "{}/labels.tif", "{}/file", "{}/y"], "file is a file; give the folder of the images"),
    (["prepare", "lucchi", "{}/new", "--files", "{}/mine.png"], "mine.png is a file, and a folder is needed"),
    (["prepare", "lucchi", "{}/new", "--files", "{}/dead"], "dead is a link to"),
    (["prepare", "lucchi", "{}/file", "--files", "{}/data"], "file is there already"),
    (["prepare", "lucchi", "{}/file/new"], "file is no folder"),
    (["prepare", "lucchi", "{}/" + LONG], "File name too long"),
]


@pytest.mark.parametrize(("call", "said"), HOSTILE, ids=[" ".join(call)[:60] for call, _ in HOSTILE])
def test_what_cannot_be_is_one_sentence_and_changes_nothing(here, places, call, said):
    before = listing(places)
    as_binary = ["--as", "binary"] * (call[0] == "import_labels")
    error = here(*(argument.replace("{}", str(places)) for argument in call), *as_binary)
    assert said in error and "not foreseen" not in error and "Error: " in error.split("/")[0]
    assert error.strip().count("\n") == 0 or "problems in" in error
    assert listing(places) == before


def test_a_folder_that_may_not_be_written_to_is_said_before_anything_is_read(here, places, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    for call in ([*CHECK, "--picture", "{}/a.png"], [*IMPORT, "{}/y", "--as", "binary"], ["prepare", "lucchi", "{}/d"]):
        assert "may not be written to" in here(*(argument.replace("{}", str(places)) for argument in call))


def test_names_that_are_no_utf8_are_printed_and_only_an_own_picture_is_replaced(places):
    name = os.fsdecode(b"\xff")
    (places / name).symlink_to(places / "data")
    picture = places / f"{name}.png"
    for _ in range(2):
        done = run("check", places / name, "--picture", picture)
        assert done.returncode == 0 and "Drawn: " in done.stdout and "\\udcff.png" in done.stdout, done.stderr
    assert Image.open(picture).text["Source"] == "data_sets/check.py" and not list(places.glob("tmp_*"))
