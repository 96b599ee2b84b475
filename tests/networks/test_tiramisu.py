"""Tests of the fully convolutional DenseNets."""

import keras
import numpy as np
import pytest

from networks.tiramisu import FC_DenseNet103

TINY = {"n_filters_first_conv": 6, "n_pool": 2, "growth_rate": 4, "n_layers_per_block": (1, 2, 3, 2, 1)}


def batch(shape=(2, 16, 24, 1), seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.fixture
def bfloat16():
    """Use mixed precision for one test."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("options", "count", "trainable", "depth"),
    [
        ({}, 9_421_729, 9_318_657, 103),
        ({"n_pool": 4, "growth_rate": 12, "n_layers_per_block": 5}, 1_479_145, 1_456_681, 55),
    ],
)
def test_parameter_count_and_number_of_convolutions(options, count, trainable, depth):
    model = FC_DenseNet103((256, 256, 1), **options)
    assert model.count_params() == count
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == trainable
    assert sum("conv" in layer.name or layer.name == "probability" for layer in model.layers) == depth
    assert not model.compiled


@pytest.mark.parametrize(("channels", "n_classes"), [(1, 1), (3, 1), (1, 4)])
def test_output_is_a_probability_of_the_size_of_the_input(channels, n_classes):
    model = FC_DenseNet103((None, None, channels), **TINY, n_classes=n_classes)
    output = model.predict_on_batch(batch((2, 20, 12, channels)))
    assert output.shape == (2, 20, 12, n_classes)
    assert output.dtype == np.float32
    assert 0 <= output.min() <= output.max() <= 1
    assert np.ptp(output) > 0
    if n_classes > 1:
        np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-5)


def test_output_stays_float32_in_mixed_precision(bfloat16):
    model = FC_DenseNet103((None, None, 1), **TINY)
    assert {layer.compute_dtype for layer in model.layers[:-1]} == {"bfloat16"}
    output = keras.ops.convert_to_numpy(model(batch()))
    assert output.dtype == np.float32
    assert len(np.unique(output)) > 256, "a bfloat16 probability has three digits"


def test_a_step_lowers_the_loss():
    keras.utils.set_random_seed(0)
    model = FC_DenseNet103((16, 16, 1), 6, n_pool=1, growth_rate=4, n_layers_per_block=2, dropout_p=0, n_classes=3)
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer=keras.optimizers.Adam(0.005), loss=loss, run_eagerly=True)
    x = batch((4, 16, 16, 1))
    y = (x > 0.5).astype(np.uint8)
    losses = [float(model.train_on_batch(x, y)) for _ in range(4)]
    assert losses[0] > losses[1] > losses[-1]


def test_saved_model_predicts_the_same(tmp_path):
    model = FC_DenseNet103((None, None, 1), **TINY)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict_on_batch(batch()), model.predict_on_batch(batch()), atol=1e-6)


def test_only_new_feature_maps_are_enlarged():
    model = FC_DenseNet103((None, None, 1), **TINY)
    enlarged = [layer.output.shape[-1] for layer in model.layers if "transpose" in layer.name]
    assert enlarged == [3 * 4, 2 * 4]
    assert model.layers[-1].input.shape[-1] == 2 * 4 + (6 + 1 * 4) + 1 * 4, "enlarged, skip and new ones"


def test_dropout_of_zero_adds_no_layer():
    assert not any("dropout" in layer.name for layer in FC_DenseNet103((None, None, 1), **TINY, dropout_p=0).layers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_shape": (240, 256, 1)}, r"image_shape \(240, 256, 1\): 240 is not divisible by 32 \(5 poolings\)"),
        ({"n_pool": 4}, r"N_LAYERS_PER_BLOCK is \(4, 5, .*; N_POOL 4 needs one value of at least 1, or 9"),
        ({"n_pool": 0}, "N_POOL is 0"),
        ({"n_pool": 2.5}, "N_POOL is 2.5; wanted a whole number"),
        ({"n_layers_per_block": 0}, "N_LAYERS_PER_BLOCK is 0"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FC_DenseNet103(**{"image_shape": (None, None, 1)} | options)
