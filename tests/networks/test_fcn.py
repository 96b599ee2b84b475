"""Tests of the fully convolutional networks on VGG16."""

import keras
import numpy as np
import pytest

from networks.fcn import FCN8_VGG16, FCN32_VGG16, BilinearUpSampling, _bilinear_transposed

TINY = {"feature_maps": (4, 4, 6, 8, 8), "fully_connected": 16}
BUILDERS = pytest.mark.parametrize("builder", [FCN8_VGG16, FCN32_VGG16])


def batch(shape=(2, 64, 96, 1), seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.fixture
def bfloat16():
    """Use mixed precision for one test."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_dtype_policy(before)


@pytest.mark.parametrize(("builder", "count"), [(FCN8_VGG16, 50_384_198), (FCN32_VGG16, 50_381_506)])
def test_parameter_count(builder, count):
    # Zeros are quicker to make than random numbers.
    model = builder((256, 256, 1), n_classes=2, k_init="zeros")
    assert model.count_params() == count
    assert model.output_shape == (None, 256, 256, 2)
    assert not model.compiled


@BUILDERS
@pytest.mark.parametrize(("channels", "n_classes"), [(1, 1), (3, 1), (2, 3)])
def test_output_is_a_probability_of_the_size_of_the_input(builder, channels, n_classes):
    model = builder((None, None, channels), **TINY, n_classes=n_classes)
    for size in ((32, 64), (96, 32)):
        output = model.predict_on_batch(batch((2, *size, channels)))
        assert output.shape == (2, *size, n_classes)
        assert output.dtype == np.float32
        assert 0 <= output.min() <= output.max() <= 1
        assert np.ptp(output) > 0
    if n_classes > 1:
        np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-5)


@BUILDERS
def test_output_stays_float32_in_mixed_precision(builder, bfloat16):
    model = builder((None, None, 1), **TINY)
    assert model.get_layer("block1_conv1").compute_dtype == "bfloat16"
    output = keras.ops.convert_to_numpy(model(batch()))
    assert model.layers[-1].name == "probability"
    assert output.dtype == np.float32
    assert len(np.unique(output)) > 1000, "a bfloat16 probability has three digits"


@BUILDERS
def test_a_step_lowers_the_loss(builder):
    keras.utils.set_random_seed(0)
    model = builder((64, 64, 1), **TINY, drop_value=0)
    model.compile(optimizer=keras.optimizers.Adam(0.003), loss="binary_crossentropy")
    x = batch((2, 64, 64, 1))
    x[:, :32] /= 4
    y = np.zeros_like(x)
    y[:, :32] = 1
    losses = [float(model.train_on_batch(x, y)) for _ in range(4)]
    assert losses[0] > losses[1] > losses[-1]


@BUILDERS
def test_saved_model_predicts_the_same(tmp_path, builder):
    model = builder((None, None, 1), **TINY)
    model.save(tmp_path / "fcn.keras")
    again = keras.models.load_model(tmp_path / "fcn.keras")
    np.testing.assert_allclose(again.predict_on_batch(batch()), model.predict_on_batch(batch()), atol=1e-6)


@pytest.mark.parametrize("size", [(1, 4), (5, 3)])
def test_bilinear_enlargement_is_that_of_keras_at_any_size(size):
    any_size, fixed = keras.Input((None, None, 2)), keras.Input((*size, 2))
    ours = keras.Model(any_size, BilinearUpSampling(4)(any_size))
    expected = keras.Model(fixed, keras.layers.UpSampling2D(4, interpolation="bilinear")(fixed))
    x = batch((2, *size, 2))
    assert ours.output_shape == (None, None, None, 2)
    np.testing.assert_allclose(ours.predict_on_batch(x), expected.predict_on_batch(x), atol=1e-6)


@pytest.mark.parametrize("factor", [2, 8])
def test_transposed_convolutions_start_bilinear_and_centred(factor):
    x = keras.Input((5, 6, 2))
    bilinear = keras.layers.UpSampling2D(factor, interpolation="bilinear")(x)
    ours, expected = keras.Model(x, [_bilinear_transposed(x, factor), bilinear]).predict_on_batch(batch((1, 5, 6, 2)))
    inside = slice(factor, -factor)  # zeros are beyond the border, where the interpolation repeats it
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours[:, inside, inside], expected[:, inside, inside], atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_trained_encoder_sees_what_it_was_trained_on(tmp_path, channels):
    trained = keras.applications.VGG16(include_top=False, weights=None)
    trained.save_weights(tmp_path / "vgg16.weights.h5")
    path = tmp_path / "vgg16.weights.h5"
    model = FCN32_VGG16((None, None, channels), fully_connected=4, k_init="zeros", encoder_weights=path)
    x = batch((1, 32, 32, channels))
    rgb = np.broadcast_to(x, (1, 32, 32, 3)) * 255
    expected = trained.get_layer("block2_conv1").output
    expected = keras.Model(trained.input, expected)(keras.applications.vgg16.preprocess_input(rgb.copy()))
    features = keras.Model(model.input, model.get_layer("block2_conv1").output)(x)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(*(m.get_layer("block5_conv3").get_weights()[0] for m in (model, trained)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_shape": (250, 256, 1)}, r"image_shape \(250, 256, 1\): 250 is not divisible by 32 \(5 poolings\)"),
        ({"image_shape": (None, 48, 1)}, "48 is not divisible by 32"),
        ({"feature_maps": (4, 8)}, r"FEATURE_MAPS holds 2 values \(4, 8\); VGG16 needs 5"),
        ({"feature_maps": 64}, "FEATURE_MAPS is 64; VGG16 needs 5 values"),
        ({"encoder_weights": "imagenet"}, r"ENCODER_WEIGHTS 'imagenet' are for FEATURE_MAPS .*; got \(4, 4, 6, 8, 8\)"),
        ({"encoder_weights": "imagenet", "feature_maps": (64, 128, 256, 512, 512)}, "and 2 channels"),
        (
            {"encoder_weights": "none.h5", "feature_maps": (64, 128, 256, 512, 512), "image_shape": (32, 32, 1)},
            "none.h5' cannot be read",
        ),
    ],
)
@BUILDERS
def test_what_does_not_fit_is_refused(builder, options, message):
    with pytest.raises(ValueError, match=message):
        builder(**{"image_shape": (None, None, 2), **TINY} | options)
