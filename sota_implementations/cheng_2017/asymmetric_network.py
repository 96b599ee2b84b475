"""The asymmetric networks of Cheng and Varshney (2017, ICIP), in two and three dimensions."""

from functools import partial

import keras
from keras import layers, ops

from networks.blocks import CropTo, convolution, dropout, max_pooling, n_spatial, probability, up_convolution
from sota_implementations.builder_checks import check_dropout_and_filters
from sota_implementations.cheng_2017.stochastic_downsampling import StochasticDownsampling2D, StochasticDownsampling3D

# Blocks at each size, without those that halve.
ENCODER_BLOCKS = (2, 3, 6)
# Feature maps and number of the blocks after each enlargement.
DECODER_BLOCKS = ((64, 4), (32, 2))
# Feature maps that each block of the encoder adds.
GROWTH = 8
REGULARIZER = keras.regularizers.L2(0.01)


def asymmetric_network(
    image_shape,
    numInitChannels=16,  # noqa: N803 - published name
    fixed_dropout=0.0,
    t_downsmp_layer=4,
    k_init="he_normal",
    n_classes=2,
):
    """Build the 2D network of Cheng and Varshney (2017): 595,447 parameters at the defaults.

    A deep encoder of residual blocks, a light decoder, no skips. The encoder's convolutions are factorised: 1x3 and 3x1
    side by side, each giving half of the feature maps. Each block adds 8 feature maps. Where the encoder halves, the
    shortcut is a `StochasticDownsampling2D`. All kernels have L2 of 0.01. Train it with the loss ``jaccard``.

    As in the published code, the decoder has neither normalisation nor activation. Deviations: stochastic downsampling
    works; the published code used max pooling in 2D, with as many parameters, and a wrong layer in 3D (see
    `StochasticDownsampling2D`). Any size works.

    Parameters
    ----------
    image_shape : tuple of int or None
        ``(y, x, c)``; y and x may be None.
    numInitChannels : int
        Feature maps of the first convolution.
    fixed_dropout : float
        Dropout between the convolutions of an encoder block; 0 adds no layer.
    t_downsmp_layer : int
        As ``t`` of `StochasticDownsampling2D`.
    k_init : str
        Kernel initialiser of all convolutions but the transposed ones and those on shortcuts.
    n_classes : int
        1: sigmoid; more: softmax over the classes, background included.

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, y, x, c)`` in 0 .. 1, output ``(n, y, x, n_classes)``, float32.

    Raises
    ------
    ValueError
        If ``t_downsmp_layer`` is not an even number, or as `check_dropout_and_filters`.

    Examples
    --------
    >>> asymmetric_network((None, None, 1)).count_params()
    595447
    """
    downsampling = partial(StochasticDownsampling2D, t_downsmp_layer)
    options = {"rate": fixed_dropout, "k_init": k_init, "downsampling": downsampling}
    return _asymmetric("asymmetric_network", image_shape, numInitChannels, n_classes, options)


def asymmetric_3D_network(  # noqa: N802 - published name
    image_shape,
    numInitChannels=16,  # noqa: N803 - published name
    fixed_dropout=0.0,
    t_downsmp_layer=4,
    k_init="he_normal",
    n_classes=2,
):
    """Build the 3D network of Cheng and Varshney (2017): 791,831 parameters at the defaults.

    As `asymmetric_network`, with convolutions along z, y and x that each give a third of the feature maps.

    Parameters
    ----------
    image_shape : tuple of int or None
        ``(z, y, x, c)``; z, y and x may be None.
    numInitChannels, fixed_dropout, t_downsmp_layer, k_init, n_classes
        As `asymmetric_network`.

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, z, y, x, c)`` in 0 .. 1, output ``(n, z, y, x, n_classes)``, float32.

    Examples
    --------
    >>> asymmetric_3D_network((None, None, None, 1)).count_params()
    791831
    """
    downsampling = partial(StochasticDownsampling3D, t_downsmp_layer)
    options = {"rate": fixed_dropout, "k_init": k_init, "downsampling": downsampling}
    return _asymmetric("asymmetric_3D_network", image_shape, numInitChannels, n_classes, options)


def _asymmetric(name, image_shape, channels, n_classes, options):
    check_dropout_and_filters(dropout={"DROP_VALUE": options["rate"]}, filters={"NUM_INIT_CHANNELS": channels})
    inputs = keras.Input(image_shape, name="image")
    first = _convolution(inputs, channels, strides=2, kernel_initializer=options["k_init"])
    x = layers.Concatenate()([first, max_pooling(inputs)])
    not_halved = []
    for number, n_blocks in enumerate(ENCODER_BLOCKS):
        if number:
            not_halved.append(x)
            channels += GROWTH
            x = _encoder_block(x, channels, halve=True, **options)
        for _ in range(n_blocks):
            channels += GROWTH
            x = _encoder_block(x, channels, halve=False, **options)
    for filters, n_blocks in DECODER_BLOCKS:
        x = CropTo()([_transposed(x, filters), not_halved.pop()])
        for _ in range(n_blocks):
            x = _bottleneck(x, filters, options["k_init"])
    scores = up_convolution(x, n_classes, kernel_regularizer=REGULARIZER, dtype="float32")
    return keras.Model(inputs, probability(CropTo(dtype="float32")([scores, inputs])), name=name)


def _convolution(x, filters, size=3, **kwargs):
    return convolution(x, filters, size=size, kernel_regularizer=REGULARIZER, **kwargs)


def _factorised(x, filters, **kwargs):
    """Convolve along each axis separately; if the axes do not divide the filters, the first ones get one more."""
    n_axes = n_spatial(x)
    sizes = [tuple(3 if axis == along else 1 for axis in range(n_axes)) for along in range(n_axes)]
    shares = [(filters + n_axes - 1 - along) // n_axes for along in range(n_axes)]
    parts = [_convolution(x, share, size=size, **kwargs) for share, size in zip(shares, sizes, strict=True)]
    return layers.Concatenate()(parts)


def _encoder_block(x, filters, *, halve, rate, k_init, downsampling):
    shared_axes = list(range(1, n_spatial(x) + 1))
    if halve:
        shortcut = _convolution(downsampling()(x), filters, size=1)
    else:
        shortcut = ops.pad(x, [(0, 0)] * (len(x.shape) - 1) + [(0, filters - x.shape[-1])])
    for strides, dropout_rate in ((2 if halve else 1, rate), (1, 0.0)):
        x = layers.PReLU(shared_axes=shared_axes)(layers.BatchNormalization()(x))
        x = dropout(_factorised(x, filters, strides=strides, kernel_initializer=k_init), dropout_rate)
    return layers.Add()([shortcut, x])


def _transposed(x, filters):
    layer = (layers.Conv2DTranspose, layers.Conv3DTranspose)[n_spatial(x) - 2]
    return layer(filters, 3, strides=2, padding="same", kernel_regularizer=REGULARIZER)(x)


def _bottleneck(x, filters, k_init):
    shortcut = _convolution(x, filters, size=1)
    for channels, size in ((filters // 4, 1), (filters // 4, 3), (filters, 1)):
        x = _convolution(x, channels, size=size, kernel_initializer=k_init)
    return layers.Add()([shortcut, x])
