"""Tests of U-Net++ on a ResNet."""

import keras
import numpy as np
import pytest
from keras import layers

from networks.unet_plus_plus import U_Net_plus_plus_2D
from utils.metrics.pixels import ForegroundIoU
from utils.training.losses import get_loss

TINY = {"feature_maps": (2, 3, 4, 5, 6)}


def batch(shape=(2, 32, 64, 1), seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.fixture
def bfloat16():
    """Use mixed precision for one test."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_dtype_policy(before)


@pytest.fixture
def small_resnet(monkeypatch):
    """Put a network of five convolutions, named like ResNet50's levels, in place of it; return what was asked for."""
    asked = []

    def build(**options):
        asked.append(options)
        image = x = keras.Input(options["input_shape"])
        for level in range(1, 6):
            x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name=f"conv{level}_out")(x)
        return keras.Model(image, x)

    monkeypatch.setattr(keras.applications, "ResNet50", build)
    return asked


@pytest.fixture(scope="module")
def saved_resnet(tmp_path_factory):
    """Return a ResNet50 without its top, and a file with its weights."""
    path = tmp_path_factory.mktemp("weights") / "resnet50.weights.h5"
    resnet = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(None, None, 3))
    resnet.save_weights(path)
    return resnet, path


def test_parameter_count_and_shapes():
    model = U_Net_plus_plus_2D((None, None, 1), deep_supervision=True)
    heads = (32 + 1) * 3
    assert model.count_params() == 33_042_945 + heads
    assert model.get_layer("encoder").count_params() == 23_587_712
    assert [output.shape[-1] for output in model.get_layer("encoder").outputs] == [64, 256, 512, 1024, 2048]
    assert model.output_names == ["probability", "probability_3", "probability_2", "probability_1"]
    output = keras.ops.convert_to_numpy(model(batch()))
    assert output.shape == (2, 32, 64, 1)
    assert output.dtype == np.float32
    assert 0 <= output.min() < output.max() <= 1


def test_parameter_count_without_deep_supervision(saved_resnet, monkeypatch):
    monkeypatch.setattr(keras.applications, "ResNet50", lambda **_: saved_resnet[0])
    assert U_Net_plus_plus_2D((None, None, 3)).count_params() == 33_042_945


def test_features_come_from_every_level_of_a_deeper_backbone():
    encoder = U_Net_plus_plus_2D((64, 96, 1), backbone="ResNet101", **TINY).get_layer("encoder")
    shapes = [output.shape[1:] for output in encoder(keras.Input((64, 96, 3)))]
    assert shapes == [(32, 48, 64), (16, 24, 256), (8, 12, 512), (4, 6, 1024), (2, 3, 2048)]
    names = [output._keras_history.operation.name for output in encoder.outputs]
    assert names[3:] == ["conv4_block23_out", "conv5_block3_out"]


def test_nodes_join_all_nodes_before_them_in_their_row(small_resnet):
    model = U_Net_plus_plus_2D((64, 64, 1), **TINY)
    joined = [layer.output.shape[1:] for layer in model.layers if isinstance(layer, layers.Concatenate)][1:]
    # Size, and channels: the encoder's 4, the nodes in between, the transposed convolution.
    assert sorted(joined, reverse=True) == [
        *[(32, 32, 4 + n * 3) for n in (4, 3, 2, 1)],
        *[(16, 16, 4 + n * 4) for n in (3, 2, 1)],
        *[(8, 8, 4 + n * 5) for n in (2, 1)],
        (4, 4, 4 + 6),
    ]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("options", [{"deep_supervision": True}, {"batch_norm": False, "activation": "elu"}], ids=str)
def test_output_is_a_float32_probability_of_the_size_of_the_input(small_resnet, channels, options):
    model = U_Net_plus_plus_2D((None, None, channels), **TINY, **options)
    assert not model.compiled
    for size in ((32, 32), (32, 96)):
        output = keras.ops.convert_to_numpy(model(batch((1, *size, channels))))
        assert output.shape == (1, *size, 1)
        assert output.dtype == np.float32
        assert 0 <= output.min() < output.max() <= 1


@pytest.mark.parametrize("n_classes", [2, 3])
def test_several_classes_sum_to_one_in_every_output(small_resnet, n_classes):
    model = U_Net_plus_plus_2D((32, 64, 1), **TINY, deep_supervision=True, n_classes=n_classes)
    outputs = [keras.ops.convert_to_numpy(output) for output in model(batch(), training=True)]
    assert [output.shape for output in outputs] == [(2, 32, 64, n_classes)] + [(2, 16, 32, n_classes)] * 3
    for output in outputs:
        np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-5)


def test_outputs_stay_float32_in_mixed_precision(small_resnet, bfloat16):
    model = U_Net_plus_plus_2D((32, 64, 1), **TINY, deep_supervision=True)
    assert model.get_layer("encoder").layers[-1].compute_dtype == "bfloat16"
    outputs = [keras.ops.convert_to_numpy(output) for output in model(batch(), training=True)]
    assert {output.dtype for output in outputs} == {np.dtype("float32")}
    assert len(np.unique(outputs[0])) > 256, "a bfloat16 probability has three digits"


@pytest.mark.parametrize("options", [{"deep_supervision": True}, {"n_classes": 3}], ids=str)
def test_training_lowers_the_loss_and_reaches_every_weight(small_resnet, options):
    keras.utils.set_random_seed(0)
    model = U_Net_plus_plus_2D((32, 64, 1), **TINY, **options)
    metrics = [ForegroundIoU()]
    model.compile(keras.optimizers.Adam(0.003), get_loss("bce_dice"), metrics=metrics, run_eagerly=True)
    before = [keras.ops.convert_to_numpy(weight).copy() for weight in model.trainable_weights]
    x = batch()
    y = (x > 0.5).astype(np.uint8)
    losses = [float(model.train_on_batch(x, y)[0]) for _ in range(3)]
    assert losses[-1] < losses[0]
    after = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    paths = [weight.path for weight in model.trainable_weights]
    unchanged = [path for path, b, a in zip(paths, before, after, strict=True) if np.array_equal(b, a)]
    assert [path for path in unchanged if "bias" not in path] == []  # a normalisation takes the bias before it away


def test_saved_model_predicts_the_same(tmp_path, small_resnet):
    model = U_Net_plus_plus_2D((None, None, 3), **TINY, encoder_weights="imagenet", deep_supervision=True)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    x = batch((1, 32, 64, 3))
    np.testing.assert_allclose(again.predict_on_batch(x), model.predict_on_batch(x), atol=1e-6)


# --- weights of the encoder


def test_only_imagenet_is_left_to_keras_to_find(small_resnet):
    for weights in (None, "imagenet"):
        U_Net_plus_plus_2D((None, None, 1), **TINY, encoder_weights=weights)
    expected = {"include_top": False, "input_shape": (None, None, 3)}
    assert small_resnet == [{"weights": None, **expected}, {"weights": "imagenet", **expected}]


def seen_by_encoder(model, x):
    """Return what goes into the encoder: what comes out of the layer before it."""
    before = [layer.name for layer in model.layers].index("encoder") - 1
    return keras.Model(model.inputs, model.layers[before].output).predict_on_batch(x)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_scaled_as_keras_scales_them_for_imagenet(small_resnet, channels):
    x = batch((1, 32, 32, channels))
    model = U_Net_plus_plus_2D((32, 32, channels), **TINY, encoder_weights="imagenet")
    expected = keras.applications.resnet.preprocess_input(255 * np.broadcast_to(x, (1, 32, 32, 3)))
    np.testing.assert_allclose(seen_by_encoder(model, x), expected, atol=1e-3)
    plain = U_Net_plus_plus_2D((32, 32, channels), **TINY)
    np.testing.assert_array_equal(seen_by_encoder(plain, x), np.broadcast_to(x, (1, 32, 32, 3)))


def test_a_download_that_fails_is_said_with_what_to_do(monkeypatch):
    def get_file(*_, **__):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.src.applications.resnet.file_utils, "get_file", get_file)
    with pytest.raises(ValueError, match=r"ResNet50 could not be downloaded \(URL fetch failure\)\. Without a network"):
        U_Net_plus_plus_2D((None, None, 1), **TINY, encoder_weights="imagenet")


def test_weights_come_from_a_file(saved_resnet):
    resnet, path = saved_resnet
    encoder = U_Net_plus_plus_2D((None, None, 1), **TINY, encoder_weights=path).get_layer("encoder")
    assert all(np.array_equal(a, b) for a, b in zip(encoder.get_weights(), resnet.get_weights(), strict=True))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("content", ["another network", "text", "nothing"])
def test_file_without_the_weights_of_the_backbone_is_refused(tmp_path, content):
    path = tmp_path / "some.weights.h5"
    if content == "another network":
        keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3)]).save_weights(path)
    elif content == "text":
        path.write_text("no weights")
    with pytest.raises(ValueError, match=r"ENCODER_WEIGHTS '.*some.weights.h5' cannot be read, or .* ResNet50 without"):
        U_Net_plus_plus_2D((None, None, 1), **TINY, encoder_weights=path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_weights_of_another_resnet_are_refused(saved_resnet):
    with pytest.raises(ValueError, match="does not hold the weights of ResNet101 without its top"):
        U_Net_plus_plus_2D((None, None, 1), **TINY, backbone="ResNet101", encoder_weights=str(saved_resnet[1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature_maps": (4, 8)}, r"FEATURE_MAPS holds 2 values \(4, 8\); U-Net[+][+] needs 5"),
        ({"backbone": "VGG16"}, "BACKBONE is 'VGG16'; wanted one of ResNet50, ResNet101, ResNet152"),
        ({"image_shape": (250, 256, 1)}, r"image_shape \(250, 256, 1\): 250 is not divisible by 32 \(5 poolings\)"),
        ({"image_shape": (None, 48, 1)}, "48 is not divisible by 32"),
        ({"image_shape": (None, None, 2)}, r"image_shape \(None, None, 2\): 2 channels; wanted 1 or 3"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        U_Net_plus_plus_2D(**{"image_shape": (None, None, 1)} | options)
