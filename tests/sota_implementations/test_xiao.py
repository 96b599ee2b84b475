"""Tests of the network of Xiao et al."""

import keras
import numpy as np
import pytest

from sota_implementations.xiao_2018.xiao_unet import U_Net_3D_Xiao
from utils.training.losses import get_loss

TINY = {"feature_maps": (2, 3, 4, 5)}
OUTPUT_WEIGHTS = (1.0, 0.15, 0.3)


def batch(shape=(2, 3, 8, 16, 1), seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def all_outputs(model, x):
    return [keras.ops.convert_to_numpy(output) for output in model(x, training=True)]


@pytest.fixture
def bfloat16():
    """Use mixed precision for one test."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_dtype_policy(before)


def test_parameter_count():
    model = U_Net_3D_Xiao((20, 256, 256, 1))
    assert model.count_params() == 1_075_515
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == 1_073_007
    assert not model.compiled
    assert len(model.outputs) == 3


@pytest.mark.parametrize(("channels", "n_classes"), [(1, 2), (3, 1)])
@pytest.mark.parametrize("size", [(1, 8, 16), (2, 9, 13)])
def test_all_outputs_are_probabilities_of_the_size_of_the_input(size, channels, n_classes):
    model = U_Net_3D_Xiao((None, None, None, channels), n_classes, **TINY)
    outputs = [model.predict_on_batch(batch((2, *size, channels))), *all_outputs(model, batch((2, *size, channels)))]
    assert len(outputs) == 4
    for output in outputs:
        assert output.shape == (2, *size, n_classes)
        assert output.dtype == np.float32
        assert 0 <= output.min() <= output.max() <= 1
        if n_classes > 1:
            np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-5)


def test_main_output_comes_first_then_the_deepest_auxiliary_one():
    model = U_Net_3D_Xiao((None, None, None, 1), **TINY)
    _, deep, shallow = all_outputs(model, batch())
    assert model.output_names[0] == "probability"
    for output, factor in ((deep, 4), (shallow, 2)):
        np.testing.assert_array_equal(
            output, output[..., ::factor, ::factor, :].repeat(factor, -3).repeat(factor, -2), f"blocks of {factor}"
        )
    assert np.ptp(shallow[0, 0, :4, :4, 0]) > 0


def test_z_is_never_reduced_and_regularisers_are_where_they_belong():
    model = U_Net_3D_Xiao((None, None, None, 1), **TINY)
    pools = [layer.pool_size for layer in model.layers if "pooling" in layer.name]
    assert pools == [(1, 2, 2)] * 3
    regularised = [layer.filters for layer in model.layers if getattr(layer, "kernel_regularizer", None)]
    assert sorted(regularised) == [2, 2, 3]


def test_outputs_stay_float32_in_mixed_precision(bfloat16):
    outputs = all_outputs(U_Net_3D_Xiao((None, None, None, 1), **TINY), batch())
    assert {output.dtype for output in outputs} == {np.dtype("float32")}
    assert len(np.unique(outputs[0])) > 256, "a bfloat16 probability has three digits"


def test_a_step_lowers_the_loss_and_the_saved_model_predicts_the_same(tmp_path):
    keras.utils.set_random_seed(0)
    model = U_Net_3D_Xiao((None, None, None, 1), **TINY)
    options = {"loss": get_loss("bce"), "loss_weights": OUTPUT_WEIGHTS, "run_eagerly": True}
    model.compile(optimizer=keras.optimizers.Adam(0.005), **options)
    x = batch()
    losses = [float(model.train_on_batch(x, (x > 0.5).astype(np.uint8))) for _ in range(4)]
    assert losses[0] > losses[1] > losses[-1]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict_on_batch(x), model.predict_on_batch(x), atol=1e-6)


def test_wrong_number_of_levels_is_refused():
    with pytest.raises(ValueError, match=r"FEATURE_MAPS holds 3 values \(2, 3, 4\); the network has 4"):
        U_Net_3D_Xiao((None, None, None, 1), feature_maps=(2, 3, 4))
    with pytest.raises(ValueError, match=r"FEATURE_MAPS\[1\] is 0; wanted a whole number of feature maps"):
        U_Net_3D_Xiao((None, None, None, 1), feature_maps=(2, 0, 4, 5))


def test_the_loss_is_the_published_one_up_to_a_common_factor():
    keras.utils.set_random_seed(0)
    model = U_Net_3D_Xiao((None, None, None, 1), **TINY)
    model.compile(loss=get_loss("bce"), loss_weights=OUTPUT_WEIGHTS)
    x = batch()
    y = (x > 0.5).astype(np.uint8)
    outputs = model(x, training=True)
    losses = [float(get_loss("bce")(y, output)) for output in outputs]
    kernels = [
        keras.ops.convert_to_numpy(layer.kernel)
        for layer in model.layers
        if getattr(layer, "kernel_regularizer", None) is not None
    ]
    published = np.dot(OUTPUT_WEIGHTS, losses) + sum(0.01 * np.square(kernel).sum() for kernel in kernels)
    assert len(kernels) == 3
    found = float(model.compute_loss(x, y, outputs))
    assert found == pytest.approx(published / 1.45, rel=1e-5)
