"""MultiResUNet (Ibtehaz and Rahman 2020, arXiv 1902.04049)."""

import keras
from keras import layers

from networks.blocks import convolution, max_pooling, probability, up_convolution
from networks.u_shape import check_levels

ALPHA = 1.67
SHARES = (0.167, 0.333, 0.5)


def MultiResUNet(  # noqa: N802 - published name
    image_shape,
    activation="relu",
    feature_maps=(32, 64, 128, 256, 512),
    depth=4,
    k_init="he_normal",
    n_classes=1,
):
    """Build MultiResUNet (Ibtehaz and Rahman 2020, figure 5): 7,262,504 parameters at the defaults.

    A U-Net whose levels are chains of three 3x3 convolutions, all concatenated, with a 1x1 shortcut (figure 3c), and
    whose skips pass a chain of residual convolutions (figure 4), the longer the higher the level.

    As in the authors' code, and not in the paper: a normalisation behind each concatenation and each sum, no scale and
    no bias where a convolution is normalised, and a normalisation between the last convolution and the probability,
    so that its scores have unit variance. Deviation from both: He initialisation instead of Glorot's.

    Parameters
    ----------
    image_shape, activation, depth, k_init, n_classes
        As `networks.unet.U_Net_2D`.
    feature_maps : sequence of int
        ``depth + 1`` values, the bottleneck last: U of each level in the paper, whose convolutions have 0.167, 0.333
        and 0.5 times ``1.67 * U`` feature maps.

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, y, x, c)`` in 0 .. 1, output ``(n, y, x, n_classes)``, float32.

    Raises
    ------
    ValueError
        If ``feature_maps`` do not hold ``depth + 1`` values, each of at least 4, or a given size is not divisible.

    Examples
    --------
    >>> MultiResUNet((None, None, 1), feature_maps=(4, 8), depth=1).output_shape
    (None, None, None, 1)
    """
    check_levels(image_shape, depth, FEATURE_MAPS=feature_maps)
    if min(feature_maps) < 4:
        raise ValueError(f"FEATURE_MAPS are {tuple(feature_maps)}; below 4 the first of three convolutions is empty.")
    options = {"activation": activation, "kernel_initializer": k_init}
    inputs = x = keras.Input(image_shape, name="image")
    skips = []
    for level, filters in enumerate(feature_maps[:-1]):
        x = _multires_block(x, filters, **options)
        skips.append((_res_path(x, filters, depth - level, **options), filters))
        x = max_pooling(x)
    x = _multires_block(x, feature_maps[-1], **options)
    for skip, filters in reversed(skips):
        x = layers.Concatenate()([up_convolution(x, filters), skip])
        x = _multires_block(x, filters, **options)
    scores = _normalised(x, n_classes, 1, dtype="float32")
    return keras.Model(inputs, probability(scores), name="MultiResUNet")


def _normalised(x, filters, size, *, activation=None, dtype=None, **options):
    x = convolution(x, filters, size=size, use_bias=False, dtype=dtype, **options)
    x = layers.BatchNormalization(scale=False, dtype=dtype)(x)
    return layers.Activation(activation)(x) if activation else x


def _residual(x, main, *, activation, **options):
    """Add a 1x1 shortcut of ``x`` to the main path."""
    total = layers.Add()([_normalised(x, main.shape[-1], 1, **options), main])
    return layers.BatchNormalization()(layers.Activation(activation)(total))


def _multires_block(x, filters, **options):
    chain = [x]
    for share in SHARES:
        chain.append(_normalised(chain[-1], int(ALPHA * filters * share), 3, **options))
    return _residual(x, layers.BatchNormalization()(layers.Concatenate()(chain[1:])), **options)


def _res_path(x, filters, length, **options):
    for _ in range(length):
        x = _residual(x, _normalised(x, filters, 3, **options), **options)
    return x
