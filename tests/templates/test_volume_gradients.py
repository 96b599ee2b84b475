"""Networks on volumes train in a precision whose gradients are right on this machine."""

import warm_process
from running import ROOT

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import keras, numpy as np
from utils.training.training import prepare_keras

prepare_keras(seed=1, precision="auto", deterministic=False, volumes=True)
layers = {
    "wide and flat": ((4, 256, 256, 8), keras.layers.Conv3D(8, 3, padding="same")),
    "two slices": ((2, 8, 8, 17), keras.layers.Conv3D(9, 3, padding="same")),
    "factorised": ((2, 8, 8, 41), keras.layers.Conv3D(11, (3, 1, 1), padding="same")),
}

def gradient(layer, x, error):
    import tensorflow as tf
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(tf.cast(layer(x), "float32") * error)
    return tape.gradient(value, layer.kernel).numpy()

for name, (shape, layer) in layers.items():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, *shape)).astype("float32")
    error = rng.normal(size=(1, *shape[:-1], layer.filters)).astype("float32")
    found = gradient(layer, x, error)
    size = layer.kernel_size
    padded = np.pad(x, [(0, 0)] + [(length // 2, length // 2) for length in size] + [(0, 0)])
    right = np.zeros_like(found)
    for tap in np.ndindex(size):
        window = tuple(slice(start, start + length) for start, length in zip(tap, shape))
        right[tap] = np.tensordot(padded[:, *window], error, ((0, 1, 2, 3), (0, 1, 2, 3)))
    assert np.abs(found - right).max() < 0.02 * np.abs(right).max(), name
"""


def test_the_gradients_of_volumes_are_right_in_the_precision_that_auto_takes(tmp_path):
    script = tmp_path / "gradients.py"
    script.write_text(SCRIPT)
    result = warm_process.run([script, ROOT], cwd=ROOT, env=warm_process.environment("tensorflow"))
    assert result.returncode == 0, result.stderr[-2000:]
