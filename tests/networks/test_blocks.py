"""Tests of the blocks against the same in NumPy: what comes before what, and with which function."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from networks.blocks import attention_gate, convolution_block, residual_block, squeeze_excite

SIDES = [(6, 7), (3, 5, 4)]


def image(sides, channels, seed=0):
    return np.random.default_rng(seed).normal(size=(1, *sides, channels)).astype(np.float32)


def network(block, *images):
    """Return a model of a block with random weights, and what it makes of the images."""
    inputs = [keras.Input(array.shape[1:]) for array in images]
    model = keras.Model(inputs, block(*inputs))
    rng = np.random.default_rng(9)
    for weight in model.weights:
        values = rng.normal(scale=0.5, size=weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values)
    return model, model.predict_on_batch(list(images))[0]


def kernels(model, *, size=None, channels=None):
    """Return kernel and bias of the convolutions of a size and number of input channels, in the order of the layers."""
    found = [layer.get_weights() for layer in model.layers if "Conv" in type(layer).__name__]
    return [(k, b) for k, b in found if size in (None, k.shape[0]) and channels in (None, k.shape[-2])]


def normalisations(model):
    """Return a function for each batch normalisation, in the order of the layers."""

    def function(layer):
        scale, offset, mean, variance = layer.get_weights()
        return lambda x: (x - mean) / np.sqrt(variance + layer.epsilon) * scale + offset

    return [function(layer) for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def convolve(x, kernel, bias):
    """Convolve ``(..., c)`` with zeros outside."""
    maps = [
        sum(ndimage.correlate(x[..., c], kernel[..., c, f], mode="constant") for c in range(x.shape[-1]))
        for f in range(kernel.shape[-1])
    ]
    return np.stack(maps, axis=-1) + bias


def elu(x):
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def excite(x, first, second):
    """Weigh the channels of ``(..., c)`` by two dense layers on their means."""
    means = x.mean(axis=tuple(range(x.ndim - 1)))
    return x * sigmoid(np.maximum(means @ first, 0) @ second)


@pytest.mark.parametrize("sides", SIDES)
def test_squeeze_and_excitation(sides):
    x = image(sides, 32)
    model, found = network(squeeze_excite, x)
    first, second = model.get_weights()
    assert first.shape == (32, 2)
    np.testing.assert_allclose(found, excite(x[0], first, second), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("gated", ["skip", "decoder"])
def test_attention_gate(sides, gated):
    skip, x = image(sides, 3), image(sides, 5, seed=1)
    model, found = network(lambda s, d: attention_gate(s, d, 4, gated=gated), skip, x)
    (of_skip,), (of_x,), (of_both,) = (kernels(model, channels=channels) for channels in (3, 5, 4))
    compared = np.maximum(convolve(skip[0], *of_skip) + convolve(x[0], *of_x), 0)
    attention = sigmoid(convolve(compared, *of_both))
    assert attention.shape == (*sides, 1)
    np.testing.assert_allclose(found, (skip if gated == "skip" else x)[0] * attention, rtol=1e-4, atol=1e-5)


def test_an_unknown_gate_is_refused():
    with pytest.raises(ValueError, match="gated is 'both'; wanted skip or decoder"):
        network(lambda s, d: attention_gate(s, d, 4, gated="both"), image((6, 7), 3), image((6, 7), 5))


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_convolution_block(sides, batch_norm):
    x = image(sides, 2)
    model, found = network(lambda t: convolution_block(t, 4, batch_norm=batch_norm, dropout_rate=0.3), x)
    norms = normalisations(model) or [lambda t: t] * 2
    expected = x[0]
    for kernel, norm in zip(kernels(model), norms, strict=True):
        expected = elu(norm(convolve(expected, *kernel)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sides", SIDES)
def test_convolution_block_with_excitation(sides):
    x = image(sides, 2)
    model, found = network(lambda t: convolution_block(t, 4, excite=True), x)
    dense = [layer.get_weights()[0] for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    expected = x[0]
    for number, kernel in enumerate(kernels(model)):
        expected = excite(elu(convolve(expected, *kernel)), *dense[2 * number : 2 * number + 2])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("pre_activation", [False, True])
def test_residual_block(sides, batch_norm, pre_activation):
    x = image(sides, 2)
    options = {"batch_norm": batch_norm, "pre_activation": pre_activation, "dropout_rate": 0.3}
    model, found = network(lambda t: residual_block(t, 4, **options), x)
    norms = iter(normalisations(model) or [lambda t: t] * 3)
    (shortcut,), (first,), (second,) = (
        kernels(model, size=size, channels=channels) for size, channels in ((1, 2), (3, 2), (3, 4))
    )
    expected = convolve(elu(next(norms)(x[0])) if pre_activation else x[0], *first)
    before = next(norms)(expected)
    expected = next(norms)(convolve(elu(before), *second))
    np.testing.assert_allclose(found, expected + convolve(x[0], *shortcut), rtol=1e-4, atol=1e-4)
