"""A template trains on JAX and torch too, and predicts there what it predicts on TensorFlow."""

import csv
import importlib.util

import numpy as np
import pytest
import running
from running import read_scores
from test_2d_templates import TOY

SHORT = TOY | {"EPOCHS": 1, "Z_FILTER_SIZE": 0, "ENSEMBLE": False}
FLOAT32 = ("--precision", "float32")


@pytest.fixture(scope="module")
def on_tensorflow(toy_data, tmp_path_factory):
    job = tmp_path_factory.mktemp("job")
    result = running.run("U-Net_2D_template.py", toy_data, job, "--id", "tensorflow", *FLOAT32, **SHORT)
    assert result.returncode == 0, result.stderr
    return job / "results" / "tensorflow_0"


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_template_on_another_backend(backend, toy_data, tmp_path, on_tensorflow):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    flags = (*FLOAT32, "--id")
    trained = running.run("U-Net_2D_template.py", toy_data, tmp_path, *flags, "trained", backend=backend, **SHORT)
    assert trained.returncode == 0, trained.stderr
    assert f"backend {backend}" in trained.stdout
    (row,) = csv.DictReader((tmp_path / "results" / "trained_0" / "history.csv").open())
    assert np.isfinite([float(row["loss"]), float(row["val_loss"])]).all()

    weights = on_tensorflow / "checkpoints" / "best.weights.h5"
    options = SHORT | {"LOAD_WEIGHTS": weights}
    loaded = running.run("U-Net_2D_template.py", toy_data, tmp_path, *flags, "loaded", backend=backend, **options)
    assert loaded.returncode == 0, loaded.stderr
    here, there = (read_scores(folder) for folder in (tmp_path / "results" / "loaded_0", on_tensorflow))
    assert here.keys() == there.keys()
    np.testing.assert_allclose(*(np.array(list(scores.values()), float) for scores in (here, there)), atol=0.002)
