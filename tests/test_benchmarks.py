"""Tests of the benchmarks: each runs and prints its table. Nothing is asked of the numbers."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
# The first column of rows that each table must have.
ROWS = {
    "augmentation": ("generators.image_data_generator", "Keras' old ImageDataGenerator"),
    "augmentation_transforms": ("elastic", "rotation in space", "cutblur", "missing sections"),
    "voxel_augmentation": ("generators.voxel_data_generator", "scipy.ndimage, map_coordinates"),
    "training_step": ("ours, auto, no dropout", "ours, float32, published dropout", "PyTorch, float32"),
    "prediction": ("crops, 50 % overlap, ensemble", "full images, ensemble", "blended, ensemble"),
    "architectures": ("U-Net ", "U-Net 3D "),
    "volume_memory": ("one subvolume", "overlap 50 %", "blended"),
    "post_processing": (
        "spurious_filter",
        "edge_watershed",
        "gradient_watershed",
        "remove_small_objects",
        "Oztel et al. (2017)",
    ),
    "flow_from_directory": (
        "steps, flow_from_directory()",
        "batches, flow_from_directory(), nothing kept",
        "30 images",
    ),
    "epoch_end": ("1 ", "2 "),
    "voxel_step": ("16x16x16", "8x24x24"),
    "big_volume": ("in memory", "block by block", "(32, 64, 64)"),
    "memory": ("blended", "full image, ensemble"),
    "inference_speed": ("bare network, crops", "full images"),
    "stochastic_downsampling": ("forward, training, 2x8x8x3", "training step, 1x4x8x8x3", "inference, 2x4x4x5"),
}


@pytest.mark.parametrize("name", ROWS)
def test_benchmark_prints_its_table(name, tmp_path):
    script = REPOSITORY / "benchmarks" / f"{name}.py"
    command = [sys.executable, script, "--quick"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode == 0, answer.stderr[-3000:]
    lines = answer.stdout.splitlines()
    assert "alternating repetition" in lines[1]
    assert any(line and set(line) == {"-", " "} for line in lines)
    for row in ROWS[name]:
        assert any(line.startswith(row) for line in lines), answer.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_benchmark_is_tested():
    scripts = [path for path in (REPOSITORY / "benchmarks").glob("*.py") if "__main__" in path.read_text()]
    assert {path.stem for path in scripts} == set(ROWS)


@pytest.mark.parametrize(
    ("minutes", "arguments", "message"),
    [
        (6.0, [], "--data and --results are required, unless --quick is given."),
        (6.0, ["--measure", "U-Net", "--quick"], "--data and --results are required, unless --quick is given."),
        (6.0, ["--data", "data", "--results", ".", "--only", "U-Net"], "minutes 6.0, wanted 15.0"),
        (15.0, ["--data", "data", "--results", ".", "--only", "U-Net"], "data None, wanted data"),
    ],
)
def test_architectures_are_refused_in_one_sentence(minutes, arguments, message, tmp_path):
    (tmp_path / "U-Net.json").write_text(json.dumps({"minutes": minutes}))
    command = [sys.executable, REPOSITORY / "benchmarks" / "architectures.py", *arguments]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert message in answer.stderr.splitlines()[-1]


def test_architectures_of_several_machines_are_refused(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    only_device = importlib.import_module("architectures").only_device
    assert only_device({"U-Net": {"device": "CPU (A)"}, "M-Net": {"device": "CPU (A)"}}) == "CPU (A)"
    with pytest.raises(ValueError, match=r"several machines: U-Net on CPU \(A\); M-Net on CPU \(B\)\. Give another"):
        only_device({"U-Net": {"device": "CPU (A)"}, "M-Net": {"device": "CPU (B)"}})
