"""Tests of Grad-CAM against networks whose gradients are known, and of kernels, feature maps and their pictures."""

import cv2
import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from networks.deep_supervision import DeeplySupervised
from networks.unet import U_Net_2D, U_Net_3D
from utils.pictures.looking_inside import (
    check_layers,
    draw_feature_maps,
    draw_grad_cam,
    draw_kernels,
    feature_maps,
    grad_cam,
    kernels,
    look_inside,
)

RNG = np.random.default_rng(0)
IMAGE = RNG.random((8, 12, 1)).astype(np.float32)
FIRST, LAST = RNG.normal(size=(1, 3)), RNG.normal(size=(3, 3))  # weights of 1x1 convolutions: 1 -> 3 -> 1 or 3


def network(n_classes, *, pooled=False):
    """Return a network of two 1x1 convolutions without bias, so that scores = image FIRST LAST."""
    inputs = keras.Input((None, None, 1))
    x = layers.Conv2D(3, 1, use_bias=False, name="first")(inputs)
    if pooled:
        x = layers.UpSampling2D(name="up")(layers.AveragePooling2D(2, name="pooling")(x))
    activation = "sigmoid" if n_classes == 1 else "softmax"
    outputs = layers.Conv2D(n_classes, 1, use_bias=False, activation=activation, name="last")(x)
    model = keras.Model(inputs, outputs)
    model.set_weights([FIRST[None, None], LAST[None, None, :, :n_classes]])
    return model


def relative(found):
    found = np.maximum(found, 0)
    return found / (found.max() or 1)


@pytest.mark.parametrize(("class_index", "sign"), [(1, 1), (0, -1)])
def test_the_map_of_a_linear_network_is_its_score(class_index, sign):
    # s = sum LAST_k A_k, so ds/dA_k = LAST_k everywhere, and the map is the score itself where it is positive.
    image = IMAGE * 2 - 1
    found = grad_cam(network(1), image, layer="first", class_index=class_index)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, relative(sign * (image @ FIRST @ LAST[:, :1])[..., 0]), atol=1e-5)


@pytest.mark.parametrize("class_index", [0, 1, 2])
def test_the_map_of_a_softmax_equals_its_numpy_twin(class_index):
    maps = IMAGE @ FIRST
    scores = maps @ LAST
    p = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    others = p * (np.arange(3) != class_index)
    others /= others.sum(axis=-1, keepdims=True)
    # Log odds = z_c - log of the sum of the other exp(z_j).
    slopes = LAST[:, class_index] - others @ LAST.T
    expected = relative(maps @ slopes.mean(axis=(0, 1)))
    found = grad_cam(network(3), IMAGE, layer="first", class_index=class_index)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_map_of_a_smaller_layer_is_enlarged_linearly():
    pooled = IMAGE.reshape(4, 2, 6, 2).mean(axis=(1, 3))
    scores = np.maximum(pooled * (FIRST @ LAST[:, :1]), 0)
    expected = cv2.resize(scores, (12, 8), interpolation=cv2.INTER_LINEAR)
    found = grad_cam(network(1, pooled=True), IMAGE, layer="pooling")
    np.testing.assert_allclose(found, expected / expected.max(), atol=1e-5)


def test_nothing_that_speaks_for_the_class_is_a_map_of_zeros():
    model = network(1)
    model.set_weights([np.ones((1, 1, 1, 3)), -np.ones((1, 1, 3, 1))])
    assert not grad_cam(model, IMAGE, layer="first").any()
    assert grad_cam(model, IMAGE, layer="first", class_index=0).max() == 1


def test_grey_values_are_scaled_as_in_prediction():
    stored = np.rint(IMAGE * 255).astype(np.uint8)
    as_stored = grad_cam(network(1, pooled=True), stored, layer="first")
    scaled = grad_cam(network(1, pooled=True), stored / np.float32(255), layer="first")
    ranged = grad_cam(network(1, pooled=True), stored * 0.5, layer="first", intensity_range=(0, 127.5))
    np.testing.assert_allclose(as_stored, scaled, atol=1e-6)
    np.testing.assert_allclose(ranged, scaled, atol=1e-6)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_kind_of_layer_of_a_u_net_has_a_map_and_feature_maps(dimensions):
    keras.utils.set_random_seed(2)
    builder, size = {2: (U_Net_2D, (8, 12)), 3: (U_Net_3D, (4, 8, 12))}[dimensions]
    model = builder((*(None,) * dimensions, 1), feature_maps=(2, 3), depth=1, drop_values=(0.1, 0.1))
    image = np.random.default_rng(1).integers(0, 255, (*size, 1), np.uint8)
    kinds = {type(layer): layer for layer in reversed(model.layers)}
    for layer in [*kinds.values(), model.get_layer("probability")]:
        maps = feature_maps(model, image, layer=layer.name)
        assert maps.shape == (*maps.shape[:-1], layer.output.shape[-1]) and maps.ndim == dimensions + 1
        if layer.name in ("image", "probability"):
            with pytest.raises(ValueError, match=f"LAYER '{layer.name}' is the beginning or the end"):
                grad_cam(model, image, layer=layer.name)
            continue
        found = grad_cam(model, image, layer=layer.name)
        assert found.shape == size and found.min() >= 0 and found.max() in (0, 1)
    output = feature_maps(model, image, layer="probability")
    np.testing.assert_allclose(output, model.predict_on_batch(image[None] / np.float32(255))[0], atol=1e-5)


def test_a_network_with_several_outputs_is_asked_for_the_first():
    inputs = keras.Input((None, None, 1))
    x = layers.Conv2D(2, 3, padding="same", name="first")(inputs)
    aside = layers.Conv2D(2, 3, padding="same", name="aside")(x)
    heads = [layers.Conv2D(1, 1, activation="sigmoid")(part) for part in (x, aside)]
    model = DeeplySupervised(inputs, heads)
    assert grad_cam(model, IMAGE, layer="first").shape == (8, 12)
    assert not grad_cam(model, IMAGE, layer="aside").any()


def test_looking_changes_nothing():
    model = U_Net_2D((None, None, 1), feature_maps=(2, 3), depth=1, drop_values=(0.1, 0.1), batch_norm=True)
    before = [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in model.variables]
    grad_cam(model, IMAGE, layer=model.layers[3].name)
    for variable, value in zip(model.variables, before, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(variable.value), value)


def test_kernels_are_input_maps_by_output_maps_also_where_keras_stores_them_the_other_way():
    inputs = keras.Input((None, None, 2))
    x = layers.Conv2D(3, (5, 3), name="down")(inputs)
    model = keras.Model(inputs, layers.Conv2DTranspose(4, 2, name="up")(x))
    assert kernels(model, "down").shape == (5, 3, 2, 3)
    assert kernels(model, "up").shape == (2, 2, 3, 4)
    np.testing.assert_array_equal(kernels(model, "down"), model.get_weights()[0])
    np.testing.assert_array_equal(kernels(model, "up")[..., 1, 2], model.get_weights()[2][..., 2, 1])


def test_all_layers_are_checked_before_they_are_looked_at():
    model = network(1)
    check_layers(model)
    check_layers(model, grad_cam_layer="first", feature_maps_layer="first", kernels_layer="first")
    with pytest.raises(ValueError) as error:
        check_layers(model, grad_cam_layer=model.layers[-1].name, feature_maps_layer="frist", kernels_layer="no")
    for part in ("3 problems", "GRAD_CAM_LAYER: LAYER", "the end of", "FEATURE_MAPS_LAYER: LAYER 'frist'", "KERNELS"):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="class 2 does not exist"):
        check_layers(model, grad_cam_layer="first", grad_cam_class=2)


def test_only_what_a_layer_is_named_for_is_drawn(tmp_path):
    model = network(3)
    look_inside(tmp_path, model, IMAGE)
    assert not list(tmp_path.iterdir())
    look_inside(tmp_path, model, IMAGE, grad_cam_layer="first", grad_cam_class=2, kernels_layer="first")
    assert {path.name for path in tmp_path.iterdir()} == {"grad_cam.png", "kernels.png"}
    look_inside(tmp_path, model, IMAGE, feature_maps_layer="first")
    assert (tmp_path / "feature_maps.png").stat().st_size > 1000


def test_layers_and_classes_that_do_not_exist_are_refused():
    inputs = keras.Input((8, 12, 1))
    x = layers.Conv2D(2, 3, padding="same", name="first")(inputs)
    model = keras.Model(inputs, layers.Dense(1, name="dense")(layers.Flatten(name="flat")(x)))
    with pytest.raises(ValueError, match="LAYER 'frist' is not known; did you mean 'first'.*'flat', 'dense'"):
        feature_maps(model, IMAGE, layer="frist")
    with pytest.raises(ValueError, match="LAYER 'flat' has no feature maps"):
        grad_cam(model, IMAGE, layer="flat")
    with pytest.raises(ValueError, match=r"LAYER 'dense' is no convolution of the network. Use one of \['first'\]"):
        kernels(model, "dense")
    with pytest.raises(ValueError, match="LAYER 'firsd' is no convolution.*did you mean 'first'"):
        kernels(model, "firsd")
    with pytest.raises(ValueError, match="class 2 does not exist: the network has the classes 0 to 1"):
        grad_cam(network(1), IMAGE, layer="first", class_index=2)


def colours_of(path):
    return np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).astype(int)


@pytest.mark.parametrize("shape", [(8, 12), (3, 8, 12)])
def test_the_picture_of_grad_cam_tints_the_image_of_the_middle_slice(tmp_path, shape):
    image, found = np.full((*shape, 1), 128, np.uint8), np.zeros(shape, np.float32)
    draw_grad_cam(tmp_path / "none.png", image, found)
    found[(1, 4) if len(shape) == 3 else 4] = 1
    draw_grad_cam(tmp_path / "some.png", image, found, title="first, class 1")
    dark_red = [
        ((colours_of(tmp_path / f"{name}.png") - (128, 64, 64)) ** 2).sum(axis=1) < 1500 for name in ("none", "some")
    ]
    assert dark_red[1].sum() > dark_red[0].sum() + 1000


def test_kernels_are_drawn_on_one_scale_from_blue_to_red(tmp_path):
    found = np.zeros((3, 3, 2, 10), np.float32)
    found[..., 0, :5], found[..., 0, 5:] = 1, -1
    draw_kernels(tmp_path / "kernels.png", found, title="first")
    red, green, blue = colours_of(tmp_path / "kernels.png").T
    assert ((red - blue > 60) & (green < 60)).sum() > 5000
    assert ((blue - red > 60) & (green < 60)).sum() > 5000
    draw_kernels(tmp_path / "volume.png", found[None])
    assert colours_of(tmp_path / "volume.png").min(axis=0).max() < 250


def test_feature_maps_are_drawn_each_on_its_own_scale(tmp_path):
    maps = np.zeros((2, 8, 8, 11), np.float32)
    maps[1, 2:6, 2:6] = np.arange(1, 12) * 100.0
    draw_feature_maps(tmp_path / "maps.png", maps, title="pooling")
    white = (colours_of(tmp_path / "maps.png") > 250).all(axis=1).mean()
    draw_feature_maps(tmp_path / "constant.png", np.zeros_like(maps), title="pooling")
    assert white > (colours_of(tmp_path / "constant.png") > 250).all(axis=1).mean() + 0.05
