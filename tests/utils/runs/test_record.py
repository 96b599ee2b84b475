import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from utils.files import write_csv, write_json
from utils.images.intensity import ZScore
from utils.runs.record import RunRecord


@pytest.fixture
def folder(tmp_path):
    """Return the folder of a finished run that trained."""
    folder = tmp_path / "results" / "a_b_3"
    facts = {"settings": {"EPOCHS": 2, "CROP": [1, 2]}, "seed": 45, "precision": "auto", "deterministic": False}
    facts |= {"template": "templates/A_template.py", "data_dir": "/data", "command": ["A_template.py"]}
    write_json(folder / "settings.json", facts)
    write_json(folder / "environment.json", {"end": "now", "seconds": 60, "earlier_seconds": 30})
    write_json(folder / "scores.json", [{"metric": "dice", "value": 0.5}])
    write_json(folder / "checkpoints" / "state.json", {"best_epoch": 1})
    write_json(folder / "checkpoints" / "network.json", {"n_classes": 1, "intensity_range": [0, 4095]})
    with h5py.File(folder / "checkpoints" / "best.weights.h5", "w") as file:
        file["layer"] = [1.0]
    write_csv(folder / "history.csv", [{"epoch": 1, "loss": 0.5}])
    return folder


def test_a_record_has_all_that_the_run_left(folder):
    record = RunRecord(str(folder))
    assert (record.name, record.id, record.rid, record.state, record.minutes) == ("a_b_3", "a_b", 3, "finished", 1.5)
    assert record.settings == {"EPOCHS": 2, "CROP": [1, 2]} and record.seed == 45
    assert (record.template, record.data_dir, record.command) == (
        "templates/A_template.py",
        "/data",
        ["A_template.py"],
    )
    assert record.scores[0]["value"] == 0.5 and record.history == [{"epoch": "1", "loss": "0.5"}]
    assert record.training_state == {"best_epoch": 1}
    assert record.weights_file() == folder / "checkpoints" / "best.weights.h5"
    assert record.network() == {"voxel_size_nm": None, "n_classes": 1, "intensity_range": (0, 4095)}


def test_a_run_that_does_not_exist_yet_is_new_and_empty(tmp_path):
    record = RunRecord(tmp_path / "400_0")
    assert record.state == "new" and record.seed is None and record.minutes is None
    assert not (record.settings or record.scores or record.history or record.environment or record.training_state)


def test_states_of_a_run(folder):
    (folder / "environment.json").unlink()
    assert RunRecord(folder).state == "begun"
    (folder / "checkpoints" / "state.json").unlink()
    assert RunRecord(folder).state == "new"


def test_a_weights_file_has_its_network_beside_it(folder, tmp_path):
    moved = tmp_path / "elsewhere"
    (folder / "checkpoints").rename(moved)
    write_json(moved / "network.json", {"intensity_range": {"mean": 120.0, "std": 30.0, "low": 0.0, "high": 255.0}})
    record = RunRecord(moved / "best.weights.h5")
    assert record.weights_file() == moved / "best.weights.h5"
    assert record.network()["intensity_range"] == ZScore(low=0.0, high=255.0, mean=120.0, std=30.0)


@pytest.mark.parametrize(
    ("content", "size"),
    [({}, None), ({"settings": {"VOXEL_SIZE_NM": [8, 4, 4]}}, [8, 4, 4]), ({"voxel_size_nm": 5}, 5)],
)
def test_the_size_of_a_voxel_is_known_of_earlier_runs_too(folder, content, size):
    write_json(folder / "checkpoints" / "network.json", {"intensity_range": None} | content)
    assert RunRecord(folder).network()["voxel_size_nm"] == size


def test_what_differs_from_a_new_start_is_said(folder):
    now = {
        "settings": {"EPOCHS": 3, "CROP": (1, 2), "NEW": None},
        "seed": 45,
        "precision": "auto",
        "data_dir": "/other",
    }
    assert RunRecord(folder).changes(now) == [
        "EPOCHS was 2, is 3",
        "NEW was not there, is None",
        "the data folder was /data, is /other",
    ]
    assert RunRecord(folder).changes({"settings": {"EPOCHS": 2, "CROP": (1, 2)}, "deterministic": True}) == [
        "--deterministic was False, is True"
    ]


def test_a_broken_file_is_named(folder):
    (folder / "scores.json").write_text("[{")
    with pytest.raises(ValueError, match=r"scores\.json cannot be read \(.*\)\. Restore it, or repeat the run"):
        RunRecord(folder).scores  # noqa: B018


def test_a_record_is_read_without_keras():
    code = "import sys; import utils.runs.record; assert not {'keras', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
