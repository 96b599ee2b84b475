"""Tests of the benchmarks: each runs and prints its table. Nothing is asked of the numbers."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import warm_process

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


def run(script, *arguments, folder):
    """Run a benchmark, and the processes that it starts to measure, in forks of a process that has imported Keras."""
    command = [Path(__file__).with_name("benchmark_in_forks.py"), REPOSITORY / "benchmarks" / script, *arguments]
    return warm_process.run(command, cwd=folder)


@pytest.mark.parametrize("name", ROWS)
def test_benchmark_prints_its_table(name, tmp_path):
    answer = run(f"{name}.py", "--quick", folder=tmp_path)
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
    answer = run("architectures.py", *arguments, folder=tmp_path)
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert message in answer.stderr.splitlines()[-1]


def test_architectures_of_several_machines_are_refused(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    only_device = importlib.import_module("architectures").only_device
    assert only_device({"U-Net": {"device": "CPU (A)"}, "M-Net": {"device": "CPU (A)"}}) == "CPU (A)"
    with pytest.raises(ValueError, match=r"several machines: U-Net on CPU \(A\); M-Net on CPU \(B\)\. Give another"):
        only_device({"U-Net": {"device": "CPU (A)"}, "M-Net": {"device": "CPU (B)"}})


def test_measuring_processes_answer_in_their_last_line(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    call_json = importlib.import_module("measuring").call_json
    assert call_json([sys.executable, "-c", "print('on the way'); print('[1, 2]')"]) == [1, 2]
    with pytest.raises(RuntimeError, match="(?s)failed:\n.*ZeroDivisionError"):
        call_json([sys.executable, "-c", "1 / 0"])
