"""Tests of the network of Casser et al."""

import keras
import numpy as np
import pytest

from sota_implementations.casser_2018.casser_unet import Casser_U_Net_2D
from utils.training.losses import get_loss


def batch(shape=(2, 16, 32, 1), seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.fixture
def bfloat16():
    """Use mixed precision for one test."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_dtype_policy(before)


def test_parameter_count_and_place_of_dropout():
    model = Casser_U_Net_2D((512, 512, 1))
    assert model.count_params() == 1_958_533
    assert not model.compiled
    assert [layer.output.shape[-1] for layer in model.layers if "dropout" in layer.name] == [128, 256]
    enlarged = [layer.filters for layer in model.layers if getattr(layer, "kernel_size", None) == (2, 2)]
    assert enlarged == [128, 64, 64, 16]


def test_several_classes_are_told_apart_by_as_many_feature_maps():
    models = [Casser_U_Net_2D((None, None, 1), start_filters=2, n_classes=n_classes) for n_classes in (1, 2, 5)]
    assert [model.layers[-1].input.shape[-1] for model in models] == [2, 2, 5]


@pytest.mark.parametrize(("channels", "n_classes"), [(1, 1), (3, 1), (1, 3)])
def test_output_is_a_probability_of_the_size_of_the_input(channels, n_classes):
    model = Casser_U_Net_2D((None, None, channels), start_filters=2, n_classes=n_classes)
    output = model.predict_on_batch(batch((2, 16, 32, channels)))
    assert output.shape == (2, 16, 32, n_classes)
    assert output.dtype == np.float32
    assert 0 <= output.min() <= output.max() <= 1
    if n_classes > 1:
        np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-5)


def test_output_stays_float32_in_mixed_precision(bfloat16):
    model = Casser_U_Net_2D((None, None, 1), start_filters=2)
    assert keras.ops.convert_to_numpy(model(batch())).dtype == np.float32


def test_a_step_lowers_the_loss_and_the_saved_model_predicts_the_same(tmp_path):
    keras.utils.set_random_seed(0)
    model = Casser_U_Net_2D((None, None, 1), start_filters=4, dr_rate=0)
    model.compile(optimizer=keras.optimizers.Adam(0.005), loss=get_loss("bce"), run_eagerly=True)
    x = batch()
    losses = [float(model.train_on_batch(x, (x > 0.5).astype(np.uint8))) for _ in range(4)]
    assert losses[0] > losses[1] > losses[-1]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict_on_batch(x), model.predict_on_batch(x), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dr_rate": 1.0}, "DROP_VALUE is 1.0; wanted a fraction of at least 0 and below 1"),
        ({"start_filters": 0}, "START_FILTERS is 0; wanted a whole number of feature maps above 0"),
        ({"start_filters": 1.5}, "START_FILTERS is 1.5"),
    ],
)
def test_impossible_dropout_and_feature_maps_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Casser_U_Net_2D((None, None, 1), **options)


def test_sizes_that_the_poolings_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"image_shape \(500, 512, 1\): 500 is not divisible by 16 \(4 poolings\)"):
        Casser_U_Net_2D((500, 512, 1))
