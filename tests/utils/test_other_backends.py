"""What computes with tensors computes the same on JAX and torch: the tests against NumPy twins, run there."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from warm_process import environment

ROOT = Path(__file__).resolve().parents[2]
FILES = ("utils/training/test_losses", "utils/training/test_adabound", "utils/test_devices")
FILES += ("utils/pictures/test_looking_inside", "networks/test_deep_supervision")
TWINS = "twin or known or gradient or linear or changes_nothing or compiled_step or outputs_learn"


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_numpy_twins_agree_on_another_backend(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    files = [f"tests/{name}.py" for name in FILES]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *files, "-k", TWINS]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(backend), cwd=ROOT)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
    assert " passed" in result.stdout and "skipped" not in result.stdout
