"""Tests of the 2D U-Net and its building blocks."""

import keras
import numpy as np
import pytest

from networks.blocks import convolution_block, dropout, max_pooling, n_spatial, up_convolution
from networks.unet import U_Net_2D, U_Net_3D

TINY = {"feature_maps": (4, 6, 8), "depth": 2, "drop_values": (0.1, 0.1, 0.2)}


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
    ("options", "count"),
    [({}, 1_940_817), ({"feature_maps": (32, 64, 128, 256, 512)}, 7_759_521), ({"batch_norm": True}, 1_946_705)],
)
def test_parameter_count(options, count):
    assert U_Net_2D((256, 256, 1), **options).count_params() == count


def test_batch_normalisation_has_2944_values_that_are_not_trained():
    model = U_Net_2D((256, 256, 1), batch_norm=True)
    assert sum(int(keras.ops.size(weight)) for weight in model.trainable_weights) == 1_943_761


def test_model_is_not_compiled():
    assert not U_Net_2D((None, None, 1), **TINY).compiled


@pytest.mark.parametrize(
    "options", [{}, {"batch_norm": True}, {"spatial_dropout": True, "activation": "relu"}], ids=str
)
@pytest.mark.parametrize("channels", [1, 3])
def test_output_is_a_float32_probability_of_the_size_of_the_input(options, channels):
    model = U_Net_2D((None, None, channels), **TINY, **options)
    output = model.predict_on_batch(batch((2, 16, 24, channels)))
    assert output.shape == (2, 16, 24, 1)
    assert output.dtype == np.float32
    assert output.min() >= 0
    assert output.max() <= 1
    assert np.ptp(output) > 0


@pytest.mark.parametrize("size", [(16, 16), (48, 80), (112, 16)])
def test_default_depth_takes_odd_multiples_of_16(size):
    model = U_Net_2D((None, None, 1), feature_maps=(2, 2, 3, 3, 4))
    assert model.predict_on_batch(batch((1, *size, 1))).shape == (1, *size, 1)


@pytest.mark.parametrize("n_classes", [2, 5])
def test_several_classes_sum_to_one(n_classes):
    output = U_Net_2D((None, None, 1), **TINY, n_classes=n_classes).predict_on_batch(batch())
    assert output.shape == (2, 16, 24, n_classes)
    np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-5)
    assert output.min() >= 0


def test_output_stays_float32_in_mixed_precision(bfloat16):
    model = U_Net_2D((None, None, 1), **TINY)
    assert {layer.compute_dtype for layer in model.layers if "conv" in layer.name} == {"bfloat16"}
    output = keras.ops.convert_to_numpy(model(batch()))
    assert output.dtype == np.float32
    assert len(np.unique(output)) > 256, "a bfloat16 probability has three digits"


@pytest.mark.parametrize("options", [{}, {"batch_norm": True}, {"n_classes": 3}], ids=str)
def test_a_step_lowers_the_loss(options):
    keras.utils.set_random_seed(0)
    model = U_Net_2D((16, 16, 1), **TINY | {"drop_values": (0, 0, 0)}, **options)
    loss = "sparse_categorical_crossentropy" if "n_classes" in options else "binary_crossentropy"
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss=loss)
    x = batch((4, 16, 16, 1))
    y = (x > 0.5).astype(np.uint8)
    losses = [float(model.train_on_batch(x, y)) for _ in range(3)]
    assert losses[0] > losses[1] > losses[2]


def test_every_weight_gets_a_gradient():
    keras.utils.set_random_seed(0)
    model = U_Net_2D((16, 16, 1), **TINY)
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="binary_crossentropy")
    before = [weight.copy() for weight in model.get_weights()]
    x = batch((4, 16, 16, 1))
    model.train_on_batch(x, (x > 0.5).astype(np.uint8))
    unchanged = [w.path for w, b, a in zip(model.weights, before, model.get_weights(), strict=True) if (a == b).all()]
    assert [path for path in unchanged if "seed" not in path] == []


@pytest.mark.parametrize("options", [{}, {"batch_norm": True}], ids=str)
def test_saved_model_predicts_the_same(tmp_path, options):
    model = U_Net_2D((None, None, 1), **TINY, **options)
    model.save(tmp_path / "unet.keras")
    again = keras.models.load_model(tmp_path / "unet.keras")
    np.testing.assert_allclose(again.predict_on_batch(batch()), model.predict_on_batch(batch()), atol=1e-6)


def test_dropout_acts_in_training_only():
    model = U_Net_2D((None, None, 1), **TINY)
    quiet, loud = ([keras.ops.convert_to_numpy(model(batch(), training=t)) for _ in range(2)] for t in (False, True))
    assert np.array_equal(*quiet)
    assert not np.array_equal(*loud)


def test_dropout_of_zero_adds_no_layer():
    model = U_Net_2D((None, None, 1), **TINY | {"drop_values": (0, 0, 0.5)})
    assert sum("dropout" in layer.name for layer in model.layers) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature_maps": (4, 8)}, r"FEATURE_MAPS holds 2 values \(4, 8\); DEPTH 4 needs 5"),
        ({"depth": 3}, "FEATURE_MAPS holds 5 values .*; DEPTH 3 needs 4"),
        ({"drop_values": [0.1]}, r"DROP_VALUES holds 1 values \(0.1,\); DEPTH 4 needs 5"),
        ({"image_shape": (250, 256, 1)}, r"image_shape \(250, 256, 1\): 250 is not divisible by 16 \(4 poolings\)"),
        ({"image_shape": (None, 40, 1)}, "40 is not divisible by 16"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        U_Net_2D(**{"image_shape": (None, None, 1)} | options)


# --- blocks in two and three dimensions


@pytest.fixture(params=[2, 3])
def volume(request):
    """Return a symbolic image or volume of any size."""
    return keras.Input((*[None] * request.param, 1))


def test_number_of_spatial_dimensions(volume):
    assert n_spatial(volume) == len(volume.shape) - 2


@pytest.mark.parametrize("options", [{}, {"batch_norm": True}, {"dropout_rate": 0.2, "spatial_dropout": True}], ids=str)
def test_convolution_block_keeps_the_size(volume, options):
    model = keras.Model(volume, convolution_block(volume, 3, **options))
    shape = (1, 4, 6, 8)[: n_spatial(volume) + 1]
    assert model.predict_on_batch(batch((*shape, 1))).shape == (*shape, 3)
    kernel = 3 ** n_spatial(volume)
    normalisation = 2 * 4 * 3 if options.get("batch_norm") else 0
    assert model.count_params() == (kernel * 1 * 3 + 3) + (kernel * 3 * 3 + 3) + normalisation


def test_pooling_halves_and_up_convolution_doubles(volume):
    model = keras.Model(volume, [max_pooling(volume), up_convolution(volume, 5)])
    size = (4, 6, 8)[: n_spatial(volume)]
    pooled, doubled = model.predict_on_batch(batch((1, *size, 1)))
    assert pooled.shape == (1, *(s // 2 for s in size), 1)
    assert doubled.shape == (1, *(2 * s for s in size), 5)


def test_factors_can_differ_per_axis():
    x = keras.Input((4, 8, 8, 1))
    assert max_pooling(x, (1, 2, 2)).shape == (None, 4, 4, 4, 1)
    assert up_convolution(x, 3, (1, 2, 2)).shape == (None, 4, 16, 16, 3)


@pytest.mark.parametrize("strides", [2, (1, 2, 2)])
def test_kernel_of_the_up_convolution_is_two_whatever_the_strides(strides):
    x = keras.Input((4, 8, 8, 2))
    model = keras.Model(x, up_convolution(x, 3, strides))
    assert model.count_params() == 2**3 * 2 * 3 + 3
    assert model.output_shape == (None, 8 if strides == 2 else 4, 16, 16, 3)


def test_dropout_rate_of_zero_returns_its_input(volume):
    assert dropout(volume, 0) is volume


def test_spatial_dropout_drops_whole_feature_maps(volume):
    model = keras.Model(volume, dropout(convolution_block(volume, 40, activation="linear"), 0.5, spatial=True))
    shape = (1, 4, 4, 4)[: n_spatial(volume) + 1]
    output = keras.ops.convert_to_numpy(model(batch((*shape, 1)), training=True)).reshape(-1, 40)
    dropped = (output == 0).all(axis=0)
    assert 5 < dropped.sum() < 35
    assert (output[:, ~dropped] != 0).all()


# --- three dimensions


TINY_3D = {"feature_maps": (3, 4, 5), "depth": 2, "drop_values": (0.1, 0.1, 0.2)}


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 5_599_713), ({"feature_maps": (28, 36, 48, 64)}, 788_817), ({"z_down": (1, 2, 2)}, 5_599_713)],
)
def test_parameter_count_in_3d(options, count):
    assert U_Net_3D((None, None, None, 1), **options).count_params() == count


def test_parameter_count_in_3d_with_colours():
    model = U_Net_3D((40, 256, 256, 3), feature_maps=(28, 36, 48, 64), z_down=1)
    assert model.count_params() == 790_329


@pytest.mark.parametrize("z_down", [1, 2, (1, 2)])
@pytest.mark.parametrize("size", [(8, 8, 12), (5, 8, 8), (1, 4, 4), (7, 9, 11)])
def test_volumes_of_any_size_are_predicted(z_down, size):
    model = U_Net_3D((None, None, None, 1), **TINY_3D, z_down=z_down)
    output = model.predict_on_batch(batch((2, *size, 1)))
    assert output.shape == (2, *size, 1)
    assert output.dtype == np.float32
    assert 0 <= output.min() <= output.max() <= 1


def test_z_is_pooled_by_its_own_factors():
    model = U_Net_3D((12, 16, 16, 1), **TINY_3D, z_down=(1, 2))
    pooled = [layer.output.shape[1:4] for layer in model.layers if isinstance(layer, keras.layers.MaxPooling3D)]
    assert pooled == [(12, 8, 8), (6, 4, 4)]


def test_without_pooling_along_z_only_the_convolutions_reach_other_slices():
    # Ten convolutions of three slices and two transposed ones of two reach twelve slices far, whatever the pooling.
    model = U_Net_3D((None, None, None, 1), **TINY_3D, z_down=1)
    volume = batch((1, 25, 8, 8, 1))
    changed = volume.copy()
    changed[:, 0] += 1
    difference = np.abs(model.predict_on_batch(volume) - model.predict_on_batch(changed)).max(axis=(0, 2, 3, 4))
    assert (difference[:4] > 0).all()
    assert (difference[13:] == 0).all()


@pytest.mark.parametrize("z_down", [0, 3, (1, 2, 2), (2,)])
def test_z_down_must_fit_the_depth(z_down):
    with pytest.raises(ValueError, match="Z_DOWN is .* wanted 1 or 2"):
        U_Net_3D((None, None, None, 1), **TINY_3D, z_down=z_down)


def test_the_3d_network_is_saved_and_loaded_with_its_layers(tmp_path):
    model = U_Net_3D((None, None, None, 1), **TINY_3D)
    model.save(tmp_path / "model.keras")
    volume = batch((1, 6, 7, 8, 1))
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(loaded.predict_on_batch(volume), model.predict_on_batch(volume))


def test_a_step_lowers_the_loss_in_3d():
    keras.utils.set_random_seed(0)
    model = U_Net_3D((None, None, None, 1), **TINY_3D | {"drop_values": (0.0, 0.0, 0.0)})
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="binary_crossentropy")
    volume = batch((1, 5, 8, 8, 1))
    mask = (volume > 0.5).astype(np.uint8)
    losses = [float(model.train_on_batch(volume, mask)) for _ in range(8)]
    assert losses[-1] < losses[0]
