"""Tests of M-Net."""

import keras
import numpy as np
import pytest

from networks.mnet import MNet
from utils.metrics.pixels import ForegroundIoU
from utils.training.losses import get_loss

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


def all_outputs(model, x):
    return [keras.ops.convert_to_numpy(output) for output in model(x, training=True)]


def test_parameter_count():
    model = MNet((256, 256, 1))
    assert model.count_params() == 8_538_596
    assert len(model.outputs) == 5
    assert not model.compiled


@pytest.mark.parametrize(("channels", "n_classes"), [(1, 1), (3, 1), (1, 4)])
def test_prediction_is_a_probability_of_the_size_of_the_input(channels, n_classes):
    model = MNet((None, None, channels), **TINY, n_classes=n_classes)
    output = model.predict_on_batch(batch((2, 20, 12, channels)))
    assert output.shape == (2, 20, 12, n_classes)
    assert output.dtype == np.float32
    assert 0 <= output.min() <= output.max() <= 1
    assert np.ptp(output) > 0
    if n_classes > 1:
        np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-5)


def test_prediction_is_the_average_of_the_levels_the_deepest_first():
    model = MNet((None, None, 1), feature_maps=(4, 6, 8, 8), depth=3)
    main, *sides = all_outputs(model, batch())
    np.testing.assert_allclose(model.predict_on_batch(batch()), main, atol=1e-6)
    np.testing.assert_allclose(main, np.mean(sides, axis=0), atol=1e-6)
    for side, factor in zip(sides, (4, 2, 1), strict=True):
        assert side.shape == main.shape
        np.testing.assert_array_equal(side, side[:, ::factor, ::factor].repeat(factor, 1).repeat(factor, 2))


def test_outputs_stay_float32_in_mixed_precision(bfloat16):
    model = MNet((None, None, 1), **TINY)
    outputs = all_outputs(model, batch())
    assert model.output_names[0] == "probability"
    assert {output.dtype for output in outputs} == {np.dtype("float32")}
    assert len(np.unique(outputs[0])) > 256, "a bfloat16 probability has three digits"


@pytest.mark.parametrize("n_classes", [1, 3])
def test_a_step_lowers_the_loss(n_classes):
    keras.utils.set_random_seed(0)
    model = MNet((16, 16, 1), **TINY, n_classes=n_classes)
    optimizer = keras.optimizers.Adam(0.005)
    model.compile(optimizer=optimizer, loss=get_loss("bce"), metrics=[ForegroundIoU()], loss_weights=(0.8, 0.1, 0.1))
    x = batch((4, 16, 16, 1))
    y = (x * max(2, n_classes)).astype(np.uint8)
    losses = [float(model.train_on_batch(x, y)[0]) for _ in range(4)]
    assert losses[0] > losses[1] > losses[-1]


def test_saved_model_predicts_the_same(tmp_path):
    model = MNet((None, None, 1), **TINY)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict_on_batch(batch()), model.predict_on_batch(batch()), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_shape": (250, 256, 1)}, r"image_shape \(250, 256, 1\): 250 is not divisible by 16 \(4 poolings\)"),
        ({"feature_maps": (4, 8)}, r"FEATURE_MAPS holds 2 values \(4, 8\); DEPTH 4 needs 5"),
        ({"feature_maps": (4, 8), "depth": 1}, "DEPTH is 1; M-Net averages the outputs of at least 2 levels"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MNet(**{"image_shape": (None, None, 1)} | options)
