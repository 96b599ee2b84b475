"""Training on volumes on a CPU computes right gradients: see ``utils.experiment.apply_overrides``."""

import os
import subprocess
import sys

import pytest
from running import ROOT

from utils.experiment import apply_overrides

SCRIPT = """
from utils.experiment import apply_overrides
apply_overrides({"CROP_SHAPE": (4, 256, 256, 1)}, [])
import tensorflow as tf

def gradients(size, channels, maps, dtype):
    x, error = (tf.cast(tf.random.stateless_normal((1, 4, size, size, n), (1, n)), dtype) for n in (channels, maps))
    shape, ones = (3, 3, 3, channels, maps), [1] * 5
    return tf.cast(tf.raw_ops.Conv3DBackpropFilterV2(
        input=x, filter_sizes=shape, out_backprop=error, strides=ones, padding="SAME"), tf.float32)

for size, channels, maps in ((256, 8, 8), (120, 32, 16), (128, 32, 16)):
    for _ in range(2):
        right, found = (gradients(size, channels, maps, dtype) for dtype in (tf.float32, tf.bfloat16))
        error = float(tf.reduce_max(tf.abs(found - right)) / tf.reduce_max(tf.abs(right)))
        assert error < 0.02, (size, channels, maps, error)
"""


def test_gradients_of_wide_flat_volumes_are_right_in_bfloat16():
    environment = {name: value for name, value in os.environ.items() if name != "ONEDNN_MAX_CPU_ISA"}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize(("crop_shape", "limited"), [((8, 64, 64, 1), True), ((256, 256, 1), False)])
def test_only_experiments_on_volumes_do_without_amx(crop_shape, limited, monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    apply_overrides({"CROP_SHAPE": crop_shape}, [])
    assert ("ONEDNN_MAX_CPU_ISA" in os.environ) == limited


def test_a_choice_of_the_user_stays(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "DEFAULT")
    apply_overrides({"CROP_SHAPE": (8, 64, 64, 1)}, [])
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "DEFAULT"
