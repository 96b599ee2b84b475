"""Weights saved on one backend load on the others and predict the same."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import warm_process
from toy_pages import pages_of_networks

SCRIPT = Path(__file__).with_name("predict_everything.py")


def predict_everything(folder, action, backend):
    result = warm_process.run([SCRIPT, folder, action], cwd=folder, env=warm_process.environment(backend))
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.fixture(scope="module")
def saved_on_tensorflow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    predict_everything(folder, "save", "tensorflow")
    return folder


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_weights_of_tensorflow_predict_the_same(backend, saved_on_tensorflow):
    skip_without(backend)
    predict_everything(saved_on_tensorflow, "load", backend)
    compare(saved_on_tensorflow, "tensorflow", backend)


def test_tensorflow_predicts_the_same_with_weights_of_another_backend(tmp_path):
    skip_without("torch")
    predict_everything(tmp_path, "save", "torch")
    predict_everything(tmp_path, "load", "tensorflow")
    compare(tmp_path, "torch", "tensorflow")


def skip_without(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")


def compare(folder, saved_on, loaded_on):
    expected = sorted(folder.glob(f"*.{saved_on}.npy"))
    assert len(expected) == len(pages_of_networks())
    for path in expected:
        here = np.load(path.with_name(path.name.replace(saved_on, loaded_on)))
        np.testing.assert_allclose(here, np.load(path), atol=1e-4, err_msg=path.stem)
        assert np.ptp(here) > 0.01, f"{path.stem} predicts a constant"
