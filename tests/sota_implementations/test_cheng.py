"""Tests of the networks of Cheng and Varshney, and of their stochastic downsampling."""

import importlib.util
import itertools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from sota_implementations.cheng_2017.asymmetric_network import asymmetric_3D_network, asymmetric_network
from sota_implementations.cheng_2017.stochastic_downsampling import StochasticDownsampling2D, StochasticDownsampling3D
from utils.training.losses import get_loss

LAYERS = {2: StochasticDownsampling2D, 3: StochasticDownsampling3D}
SIZES = [(8, 12), (7, 5), (6, 9), (1, 2), (4, 8, 12), (3, 5, 6)]


def batch(shape=(2, 16, 24, 1), seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def places(size, n=2, channels=3):
    """Return a batch whose every value says where it is: sample, indices along the axes, channel."""
    return np.arange(n * np.prod(size) * channels, dtype=np.float32).reshape(n, *size, channels)


def in_training(layer, x):
    return ops.convert_to_numpy(layer(ops.convert_to_tensor(x), training=True))


def drawn(output, x):
    """Return what was drawn along each axis; the output must be that grid of every sample and channel."""
    indices = np.unravel_index(output[0, ..., 0].astype(int), x.shape)[1:-1]
    grid = [np.unique(axis) for axis in indices]
    np.testing.assert_array_equal(output, x[:, *np.ix_(*grid)])
    return grid


@pytest.fixture
def bfloat16():
    """Use mixed precision for one test."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_dtype_policy(before)


@pytest.mark.parametrize("t", [2, 4, 6])
@pytest.mark.parametrize("size", SIZES)
def test_training_keeps_half_of_each_group_of_every_sample_and_channel(size, t):
    layer, x = LAYERS[len(size)](t, seed=1), places(size)
    for _ in range(5):
        output = in_training(layer, x)
        assert output.shape == (2, *(-(-s // 2) for s in size), 3) == layer.compute_output_shape(x.shape)
        for kept, length in zip(drawn(output, x), size, strict=True):
            for start in range(0, length, t):
                in_group = ((kept >= start) & (kept < start + t)).sum()
                assert in_group == -(-min(t, length - start) // 2)


def test_every_pattern_of_two_in_four_is_equally_likely_and_groups_are_independent():
    layer, x = StochasticDownsampling2D(seed=0), places((8, 1200), 1, 1)
    kept = drawn(in_training(layer, x), x)[1].reshape(-1, 2) % 4
    patterns, counts = np.unique(kept, axis=0, return_counts=True)
    assert [tuple(pattern) for pattern in patterns.tolist()] == list(itertools.combinations(range(4), 2))
    assert counts.min() > 25 and counts.max() < 80, "50 are expected of each"


@pytest.mark.parametrize("rest", [1, 2, 3])
def test_every_pixel_of_the_last_group_has_a_chance(rest):
    layer, x = StochasticDownsampling2D(seed=0), places((1, 4 + rest), 1, 1)
    kept = np.concatenate([drawn(in_training(layer, x), x)[1] for _ in range(30)])
    assert set(range(4, 4 + rest)) <= set(kept.tolist())


def test_calls_differ_and_a_seed_repeats_them():
    x = places((16, 16))
    layer, again = StochasticDownsampling2D(seed=3), StochasticDownsampling2D(seed=3)
    first, second = in_training(layer, x), in_training(layer, x)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(in_training(again, x), first)
    np.testing.assert_array_equal(in_training(again, x), second)
    assert not np.array_equal(in_training(StochasticDownsampling2D(seed=4), x), first)


@pytest.mark.parametrize("size", SIZES)
def test_inference_is_the_mean_of_pairs_along_each_axis(size):
    layer, x = LAYERS[len(size)](), batch((2, *size, 3))
    output = ops.convert_to_numpy(layer(x))
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x)), output)
    expected = x
    for axis, length in enumerate(size, start=1):
        pairs = np.array_split(expected, range(2, length, 2), axis=axis)
        expected = np.concatenate([pair.mean(axis=axis, keepdims=True) for pair in pairs], axis=axis)
    np.testing.assert_allclose(output, expected, atol=1e-6)


def test_inference_lies_where_the_drawn_pixels_lie_on_average():
    layer, x = StochasticDownsampling2D(seed=0), np.tile(np.arange(400, dtype=np.float32)[:, None, None], (1, 1, 4, 1))
    shift = np.mean([in_training(layer, x) - ops.convert_to_numpy(layer(x)) for _ in range(20)])
    assert abs(shift) < 0.05


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
@pytest.mark.parametrize("n_axes", [2, 3])
def test_unknown_sizes_in_a_compiled_graph(n_axes, jit_compile):
    inputs = keras.Input((*(None,) * n_axes, 3))
    outputs = LAYERS[n_axes](seed=0)(inputs)
    assert outputs.shape == (None, *(None,) * n_axes, 3)
    model = keras.Model(inputs, outputs)
    model.compile(loss="mse", jit_compile=jit_compile)
    for size in ((5, 6, 8)[:n_axes], (9, 4, 7)[:n_axes]):
        assert model.predict_on_batch(places(size)).shape == (2, *(-(-s // 2) for s in size), 3)
        target = np.zeros((2, *(-(-s // 2) for s in size), 3), np.float32)
        losses = {float(model.train_on_batch(places(size), target)) for _ in range(4)}
        assert len(losses) > 1, "the pattern is drawn in each call, not once when the graph is built"


def test_gradient_reaches_the_kept_pixels_only():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    weighted = keras.layers.EinsumDense("nyxc,yxc->nyxc", output_shape=(8, 8, 1), kernel_initializer="ones")
    model = keras.Model(inputs, StochasticDownsampling2D(seed=0)(weighted(inputs)))
    model.compile(keras.optimizers.SGD(1.0), loss="mse", run_eagerly=True)
    model.train_on_batch(np.ones((1, 8, 8, 1), np.float32), np.zeros((1, 4, 4, 1), np.float32))
    changed = weighted.get_weights()[0][..., 0] != 1
    assert changed.sum() == 16
    assert sorted(changed.sum(axis=0))[4:] == sorted(changed.sum(axis=1))[4:] == [4] * 4


def test_layer_is_saved_with_its_settings_and_keeps_the_dtype(tmp_path):
    inputs = keras.Input((None, None, 1))
    keras.Model(inputs, StochasticDownsampling2D(6, seed=2)(inputs)).save(tmp_path / "model.keras")
    layer = keras.models.load_model(tmp_path / "model.keras").layers[-1]
    assert (layer.t, layer.seed) == (6, 2)
    for training in (True, False):
        output = LAYERS[3](dtype="bfloat16")(ops.ones((1, 3, 4, 5, 2)), training=training)
        assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_layer_does_the_same_on_another_backend(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = os.environ | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"}
    sizes = "(size1 or size5)"  # one odd size in each dimension: JAX compiles for each size anew
    selected = f"training_keeps and {sizes} or a_seed_repeats or inference_is and {sizes} or gradient_reaches"
    command = [sys.executable, "-m", "pytest", __file__, "-k", selected, "-p", "no:cacheprovider"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stdout[-3000:]


def test_a_group_may_be_a_number_of_numpy(tmp_path):
    inputs = keras.Input((None, None, 1))
    keras.Model(inputs, StochasticDownsampling2D(np.int64(4))(inputs)).save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").layers[-1].t == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fixed_dropout": 1.5}, "DROP_VALUE is 1.5; wanted a fraction"),
        ({"numInitChannels": 0}, "NUM_INIT_CHANNELS is 0; wanted a whole number"),
    ],
)
def test_impossible_dropout_and_feature_maps_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        asymmetric_network((None, None, 1), **options)


@pytest.mark.parametrize("t", [3, 0, -2, 2.0, None, True])
def test_groups_that_have_no_half_are_refused(t):
    with pytest.raises(ValueError, match=r"t is .*; half of each group is kept"):
        StochasticDownsampling2D(t)


@pytest.mark.parametrize(
    ("builder", "n_axes", "count", "trainable"),
    [(asymmetric_network, 2, 595_447, 591_909), (asymmetric_3D_network, 3, 791_831, 788_293)],
)
def test_parameter_count_and_layers(builder, n_axes, count, trainable):
    model = builder((*(None,) * n_axes, 1))
    assert model.count_params() == count
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == trainable
    assert not model.compiled
    assert sum(isinstance(layer, LAYERS[n_axes]) for layer in model.layers) == 2
    assert sum("max_pooling" in layer.name for layer in model.layers) == 1
    kernels = [layer for layer in model.layers if hasattr(layer, "kernel")]
    assert all(layer.kernel_regularizer.l2 == pytest.approx(0.01) for layer in kernels)


@pytest.mark.parametrize(
    ("builder", "shape", "n_classes"),
    [
        (asymmetric_network, (13, 10, 3), 1),
        (asymmetric_network, (8, 16, 1), 3),
        (asymmetric_3D_network, (3, 10, 9, 1), 2),
    ],
)
def test_output_is_a_probability_of_the_size_of_the_input(builder, shape, n_classes):
    model = builder((*(None,) * (len(shape) - 1), shape[-1]), 4, fixed_dropout=0.1, n_classes=n_classes)
    output = model.predict_on_batch(batch((2, *shape)))
    assert output.shape == (2, *shape[:-1], n_classes)
    assert output.dtype == np.float32
    assert 0 <= output.min() <= output.max() <= 1
    np.testing.assert_array_equal(model.predict_on_batch(batch((2, *shape))), output)
    if n_classes > 1:
        np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("builder", "shape"), [(asymmetric_network, (16, 16, 1)), (asymmetric_3D_network, (8,) * 3 + (1,))]
)
def test_training_downsamples_at_random_also_with_unknown_sizes(builder, shape):
    model, x = builder((*(None,) * (len(shape) - 1), 1), 4), batch((1, *shape))
    outputs = [in_training(model, x) for _ in range(3)]
    assert len({output.tobytes() for output in outputs}) == 3, "there is no dropout, so that nothing else is random"


def test_output_stays_float32_in_mixed_precision(bfloat16):
    output = ops.convert_to_numpy(asymmetric_network((None, None, 1), 4)(batch()))
    assert output.dtype == np.float32
    assert np.abs(output.sum(axis=-1) - 1).max() < 1e-5, "a bfloat16 probability has three digits"


def test_steps_lower_the_loss_and_the_saved_model_predicts_the_same(tmp_path):
    keras.utils.set_random_seed(0)
    x = batch((2, 16, 16, 1))
    model = asymmetric_network((None, None, 1), 4)
    model.compile(optimizer=keras.optimizers.Adam(0.002), loss=get_loss("jaccard"), run_eagerly=True)
    losses = [float(model.train_on_batch(x, (x > 0.5).astype(np.uint8))) for _ in range(6)]
    assert losses[0] > losses[2] > losses[-1]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict_on_batch(x), model.predict_on_batch(x), atol=1e-6)
