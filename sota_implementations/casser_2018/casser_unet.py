"""The small U-Net of Casser et al. (2018, arXiv 1812.06024)."""

import keras
from keras import layers

from networks.blocks import classifier, convolution, convolution_block, dropout, max_pooling
from networks.u_shape import check_levels
from sota_implementations.builder_checks import check_dropout_and_filters

DEPTH = 4


def Casser_U_Net_2D(  # noqa: N802 - published name
    image_shape, start_filters=16, dr_rate=0.2, activation="relu", k_init="he_normal", n_classes=1
):
    """Build the U-Net of Casser et al. (2018, MIDL 2020): 1,958,533 parameters at the defaults.

    A U-Net with a quarter of the usual feature maps, dropout only at the two deepest levels, and enlargements by
    nearest neighbour followed by a 2x2 convolution.

    Two surprises come from the authors' code: the third of these 2x2 convolutions has four times ``start_filters``
    feature maps, not twice, and a 3x3 convolution to two feature maps precedes the last 1x1 convolution. Deviation:
    any number of classes. The published code called the builder ``U_Net_2D``.

    Parameters
    ----------
    image_shape : tuple of int or None
        ``(y, x, c)``; y and x may be None. Images must have sides divisible by 16.
    start_filters : int
        Feature maps of the first level; each deeper level has twice as many.
    dr_rate : float
        Dropout after the fourth level, before its skip branches off, and after the bottleneck.
    activation, k_init, n_classes
        As `networks.unet.U_Net_2D`.

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, y, x, c)`` in 0 .. 1, output ``(n, y, x, n_classes)``, float32.

    Raises
    ------
    ValueError
        If a given size is not divisible, or as `check_dropout_and_filters`.

    Examples
    --------
    >>> Casser_U_Net_2D((None, None, 1)).count_params()
    1958533
    """
    check_levels(image_shape, DEPTH)
    check_dropout_and_filters(dropout={"DROP_VALUE": dr_rate}, filters={"START_FILTERS": start_filters})
    options = {"activation": activation, "kernel_initializer": k_init}

    def block(x, factor):
        return convolution_block(x, factor * start_filters, activation=activation, k_init=k_init)

    inputs = x = keras.Input(image_shape, name="image")
    skips = []
    for factor in (1, 2, 4, 8):
        x = block(x, factor)
        x = dropout(x, dr_rate) if factor == 8 else x
        skips.append(x)
        x = max_pooling(x)
    x = dropout(block(x, 16), dr_rate)
    for factor, up_factor in ((8, 8), (4, 4), (2, 4), (1, 1)):
        up = convolution(layers.UpSampling2D(2)(x), up_factor * start_filters, size=2, **options)
        x = block(layers.Concatenate()([skips.pop(), up]), factor)
    x = convolution(x, max(2, n_classes), **options)
    return keras.Model(inputs, classifier(x, n_classes), name="Casser_U_Net_2D")
