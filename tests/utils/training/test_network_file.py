"""Tests of whether weights of another run mean the same in a network."""

import json
from types import SimpleNamespace

import keras
import pytest

from networks.attention_unet import Attention_U_Net_2D
from networks.nnunet import nnUNet_2D
from networks.unet import U_Net_2D
from utils.data.experiment_data import NetworkInput
from utils.training.network_file import check_same_network, network_config, write_network

LEVELS = {"feature_maps": (2, 3, 4), "depth": 2, "drop_values": (0.0, 0.1, 0.2)}
IMAGE = (None, None, 1)


@pytest.fixture
def weights_of(tmp_path):
    """Return the path of a weights file, which nobody reads, beside the description of a network."""

    def make(model, settings):
        content = {"network": network_config(model), "settings": settings}
        (tmp_path / "network.json").write_text(json.dumps(content))
        return tmp_path / "best.weights.h5"

    return make


@pytest.fixture
def bfloat16():
    """Use mixed precision for what is built in the rest of a test."""
    before = keras.mixed_precision.dtype_policy()
    yield lambda: keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    keras.mixed_precision.set_dtype_policy(before)


def test_names_sizes_number_formats_dropout_and_initial_values_may_differ(weights_of, bfloat16):
    weights = weights_of(U_Net_2D(IMAGE, **LEVELS), {"DEPTH": 2})
    bfloat16()
    other = U_Net_2D((8, 12, 1), **LEVELS | {"drop_values": (0.3, 0.0, 0.0), "k_init": "glorot_uniform"})
    check_same_network(other, weights, {"DEPTH": 2})


def test_another_gate_has_the_same_weights_and_is_refused(weights_of):
    none = {"LOAD_WEIGHTS": None}
    weights = weights_of(
        Attention_U_Net_2D(IMAGE, **LEVELS, gate="decoder"), {"GATE": "decoder", "OLD": 1, "A": [1]} | none
    )
    check_same_network(Attention_U_Net_2D(IMAGE, **LEVELS, gate="decoder"), weights, {})
    message = (
        r"best.weights.h5 was trained in another network than this one \(.*network.json describes it\)\. "
        r"Variables that differ: GATE was decoder, is skip\. Use its template and settings"
    )
    with pytest.raises(ValueError, match=message):
        check_same_network(
            Attention_U_Net_2D(IMAGE, **LEVELS),
            weights,
            {"GATE": "skip", "NEW": 2, "A": (1,), "LOAD_WEIGHTS": str(weights)},
        )


def test_another_activation_is_refused(weights_of):
    weights = weights_of(U_Net_2D(IMAGE, **LEVELS), {})
    with pytest.raises(ValueError, match="Variables that differ: none. Use its template"):
        check_same_network(U_Net_2D(IMAGE, **LEVELS, activation="relu"), weights, {})


def test_without_the_further_outputs_it_is_another_network(weights_of):
    weights = weights_of(nnUNet_2D((16, 16, 1), feature_maps=2), {})
    check_same_network(nnUNet_2D((16, 16, 1), feature_maps=2), weights, {})
    with pytest.raises(ValueError, match="another network"):
        check_same_network(nnUNet_2D((16, 16, 1), feature_maps=2, deep_supervision=False), weights, {})


def test_images_that_are_scaled_in_a_network_in_the_network_are_noticed(weights_of):
    def network(scale):
        image = keras.Input(IMAGE)
        inner = keras.Sequential([keras.Input(IMAGE), keras.layers.Rescaling(scale), keras.layers.Conv2D(1, 1)])
        return keras.Model(image, inner(image))

    weights = weights_of(network(2.0), {})
    check_same_network(network(2.0), weights, {})
    with pytest.raises(ValueError, match="another network"):
        check_same_network(network(3.0), weights, {})


def with_operations(*, factor=255.0, first=0, channel=0, shared=True):
    """Return a network with everything that only the way in which layers are joined tells."""
    image = keras.Input((None, None, 2))
    convolution = keras.layers.Conv2D(2, 3, padding="same")
    again = convolution if shared else keras.layers.Conv2D(2, 3, padding="same")
    x = again(keras.layers.Activation("relu")(convolution(image * factor)))
    outputs = [x, keras.layers.Activation("tanh")(x)]
    return keras.Model(image, [outputs[first][..., channel], outputs[1 - first]])


def test_operations_shared_layers_and_the_order_of_outputs_count(weights_of):
    weights = weights_of(with_operations(), {})
    check_same_network(with_operations(), weights, {})
    for change in ({"factor": 1.0}, {"first": 1}, {"channel": 1}, {"shared": False}):
        with pytest.raises(ValueError, match="another network"):
            check_same_network(with_operations(**change), weights, {})


def test_an_option_that_an_older_keras_did_not_write_down_does_not_count(weights_of):
    model = U_Net_2D(IMAGE, **LEVELS)
    weights = weights_of(model, {})
    path = weights.with_name("network.json")
    content = json.loads(path.read_text())
    convolution = next(layer for layer in content["network"]["config"]["layers"] if layer["class_name"] == "Conv2D")
    del convolution["config"]["groups"]
    convolution["config"]["bygone"] = 1
    path.write_text(json.dumps(content))
    check_same_network(model, weights, {})


def test_weights_without_a_description_are_taken_as_they_are(tmp_path):
    check_same_network(U_Net_2D(IMAGE, **LEVELS), tmp_path / "best.weights.h5", {})


class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x


class Times(keras.layers.Layer):
    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, x):
        return self.factor * x


@pytest.mark.parametrize(("layer", "said"), [(Twice(), "the layer Twice of .* is neither of Keras"), (Times(2), "")])
def test_a_layer_that_could_not_be_loaded_again_is_refused_before_the_training(tmp_path, layer, said):
    image = keras.Input(IMAGE)
    model = keras.Model(image, layer(image))
    run = SimpleNamespace(folder=tmp_path, checkpoints=tmp_path / "checkpoints")
    data = NetworkInput(crop_shape=(8, 8, 1))
    with pytest.raises(ValueError, match=f"could not be loaded again: .*{said}.*register_keras_serializable"):
        write_network(run, model, data, batch_size=1)
    assert not (tmp_path / "checkpoints").exists()
