"""Tests of MultiResUNet."""

import keras
import numpy as np
import pytest

from networks.multiresunet import MultiResUNet

TINY = {"feature_maps": (4, 6, 8), "depth": 2}


def batch(shape=(2, 16, 24, 1), seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.fixture
def bfloat16():
    """Use mixed precision for one test."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_dtype_policy(before)


def test_parameter_count():
    model = MultiResUNet((256, 256, 1))
    assert model.count_params() == 7_262_504
    assert sum(w.numpy().size for w in model.trainable_weights) == 7_237_982
    assert not model.compiled


def test_paths_are_longer_at_higher_levels():
    model = MultiResUNet((None, None, 1), **TINY)
    sums = sum(isinstance(layer, keras.layers.Add) for layer in model.layers)
    assert sums == 5 + 2 + 1, "one for each block, and one for each step of the two paths"


@pytest.mark.parametrize(("channels", "n_classes"), [(1, 1), (3, 1), (1, 4)])
def test_output_is_a_probability_of_the_size_of_the_input(channels, n_classes):
    model = MultiResUNet((None, None, channels), **TINY, n_classes=n_classes)
    output = model.predict_on_batch(batch((2, 20, 12, channels)))
    assert output.shape == (2, 20, 12, n_classes)
    assert output.dtype == np.float32
    assert 0 <= output.min() <= output.max() <= 1
    assert np.ptp(output) > 0
    if n_classes > 1:
        np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-5)


def test_output_stays_float32_in_mixed_precision(bfloat16):
    model = MultiResUNet((None, None, 1), **TINY)
    assert {layer.compute_dtype for layer in model.layers[:-3] if layer.weights} == {"bfloat16"}
    output = keras.ops.convert_to_numpy(model(batch()))
    assert model.layers[-1].name == "probability"
    assert output.dtype == np.float32
    assert len(np.unique(output)) > 256, "a bfloat16 probability has three digits"


def test_a_step_lowers_the_loss():
    keras.utils.set_random_seed(0)
    model = MultiResUNet((16, 16, 1), feature_maps=(4, 6), depth=1)
    model.compile(optimizer=keras.optimizers.Adam(0.005), loss="binary_crossentropy", run_eagerly=True)
    x = batch((4, 16, 16, 1))
    y = (x > 0.5).astype(np.uint8)
    losses = [float(model.train_on_batch(x, y)) for _ in range(4)]
    assert losses[0] > losses[1] > losses[-1]


def test_saved_model_predicts_the_same(tmp_path):
    model = MultiResUNet((None, None, 1), **TINY)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict_on_batch(batch()), model.predict_on_batch(batch()), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_shape": (250, 256, 1)}, r"image_shape \(250, 256, 1\): 250 is not divisible by 16 \(4 poolings\)"),
        ({"feature_maps": (4, 8)}, r"FEATURE_MAPS holds 2 values \(4, 8\); DEPTH 4 needs 5"),
        ({"feature_maps": (3, 4, 4, 4, 4)}, "below 4 the first of three convolutions is empty"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MultiResUNet(**{"image_shape": (None, None, 1)} | options)
