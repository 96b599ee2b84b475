"""Stochastic downsampling (Cheng and Varshney 2017) against a strided slice, which keeps every second pixel.

On feature maps as where the 2D network halves them, at 24 crops of 256x256, and where the 3D network first does, at 3
subvolumes of 96x128x128, all in float32: a forward pass in training mode; a training step, in which the gradient goes
back through the layer to one factor for each channel; and inference, where the layer averages. A ratio above 1 means
that the layer is faster than the slice.

    python benchmarks/stochastic_downsampling.py [--quick]
"""

import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from measuring import alternate, parse_arguments, print_heading, print_table, ratio

from sota_implementations.cheng_2017.stochastic_downsampling import StochasticDownsampling2D, StochasticDownsampling3D
from utils.devices import describe_device, use_jit

SHAPES = ((24, 128, 128, 32), (24, 64, 64, 64), (3, 48, 64, 64, 32))
QUICK_SHAPES = ((2, 8, 8, 3), (2, 4, 4, 5), (1, 4, 8, 8, 3))
PASSES = ("forward, training", "training step", "inference")


class ScaleChannels(keras.layers.Layer):
    """Multiply each channel by a factor that is learnt, so that a gradient is asked for."""

    def build(self, input_shape):
        """Make the factors."""
        self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones")

    def call(self, inputs):
        """Return the scaled channels."""
        return inputs * self.factor


def make_measures(shape):
    """Return for each pass a pair of functions, of the slice and of the layer, that go through one batch."""
    n_axes = len(shape) - 2
    layer = (StochasticDownsampling2D, StochasticDownsampling3D)[n_axes - 2]()
    features = keras.ops.convert_to_tensor(np.random.default_rng(0).random(shape, np.float32))
    targets = keras.ops.zeros((shape[0], *(size // 2 for size in shape[1:-1]), shape[-1]))

    def measure(halve, learns=False):
        inputs = keras.Input((*(None,) * n_axes, shape[-1]))  # sizes are unknown, as in the networks
        model = keras.Model(inputs, halve(ScaleChannels()(inputs) if learns else inputs))
        model.compile("sgd", loss="mse", jit_compile=use_jit())
        if learns:
            return lambda: len([float(model.train_on_batch(features, targets))])
        return lambda: len([np.asarray(model.predict_on_batch(features))])

    def strided(x):
        return x[:, *[slice(None, None, 2)] * n_axes]

    def stochastic(x):
        return layer(x, training=True)

    pairs = (
        (measure(strided), measure(stochastic)),
        (measure(strided, learns=True), measure(stochastic, learns=True)),
        (measure(strided), measure(lambda x: layer(x, training=False))),
    )
    return dict(zip(PASSES, pairs, strict=True))


def main():
    """Measure and print."""
    args = parse_arguments(__doc__, repetitions=15)
    rows = []
    for shape in QUICK_SHAPES if args.quick else SHAPES:
        for name, (strided, stochastic) in make_measures(shape).items():
            rates = alternate({"slice": strided, "layer": stochastic}, args.repetitions)
            milliseconds = [f"{1000 / statistics.median(rate):.1f}" for rate in rates.values()]
            times_as_fast = f"{ratio(rates['layer'], rates['slice']):.2f}x"
            rows.append([f"{name}, {'x'.join(map(str, shape))}", *milliseconds, times_as_fast])
    print_heading("Stochastic downsampling", describe_device(), args)
    print_table(["pass, feature maps", "strided slice, ms", "layer, ms", "ratio"], rows)


if __name__ == "__main__":
    main()
