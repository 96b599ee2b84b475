"""The commands of data_sets/: each is run as a user runs it, without Keras, and says mistakes in one sentence."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

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
    assert nothing.returncode == 1 and nothing.stderr.startswith("FileNotFoundError: the folder")


def test_prepare_names_what_is_missing(tmp_path):
    done = run("prepare", "kasthuri++", tmp_path / "data", "--files", tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "4 problems in" in done.stderr and "http://www.casser.io/files/kasthuri_pp.zip" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["prepare", "check", "import_labels"])
def test_help_shows_how_it_is_called(command):
    done = run(command, "--help")
    assert done.returncode == 0 and f"python data_sets/{command}.py" in done.stdout
