"""M-Net (Fu et al. 2018, arXiv 1801.00926)."""

import keras
from keras import layers

from networks.blocks import classifier, convolution, convolution_block, max_pooling, up_convolution
from networks.deep_supervision import DeeplySupervised
from networks.u_shape import check_levels


def MNet(  # noqa: N802 - published name
    image_shape,
    activation="relu",
    feature_maps=(32, 64, 128, 256, 512),
    depth=4,
    k_init="he_normal",
    n_classes=1,
):
    """Build M-Net (Fu et al. 2018, figure 2): 8,538,596 parameters at the defaults.

    A U-Net that also sees the image, halved at each pooling, and gives probabilities at each level of its decoder. They
    are enlarged to the size of the image by nearest neighbour; the network predicts their average.

    Deviations from the paper: one mask, or softmax over several classes, instead of two overlapping masks; no polar
    transformation; He initialisation. The 1x1 convolutions come before the enlargement instead of after it: the same
    result at less cost. The published code trained all five outputs with cross-entropy, weighted 0.6 for the average
    and 0.1 for each other: ``loss_weights=(0.6, 0.1, 0.1, 0.1, 0.1)``.

    Parameters
    ----------
    image_shape, activation, feature_maps, k_init, n_classes
        As `networks.unet.U_Net_2D`.
    depth : int
        Number of poolings, at least 2.

    Returns
    -------
    networks.deep_supervision.DeeplySupervised
        Not compiled. Input ``(n, y, x, c)`` in 0 .. 1; ``depth + 1`` outputs ``(n, y, x, n_classes)``, float32: the
        average, then those of the decoder, the deepest first.

    Raises
    ------
    ValueError
        As `networks.unet.U_Net_2D`, or if the depth is 1.

    Examples
    --------
    >>> MNet((None, None, 1), feature_maps=(2, 4, 8), depth=2).predict_on_batch(keras.ops.ones((1, 4, 8, 1))).shape
    (1, 4, 8, 1)
    """
    check_levels(image_shape, depth, FEATURE_MAPS=feature_maps)
    if depth < 2:
        raise ValueError(f"DEPTH is {depth}; M-Net averages the outputs of at least 2 levels.")
    options = {"activation": activation, "k_init": k_init}
    inputs = image = keras.Input(image_shape, name="image")
    x = convolution_block(inputs, feature_maps[0], **options)
    skips = [(x, feature_maps[0])]
    for filters in feature_maps[1:-1]:
        image = layers.AveragePooling2D(2)(image)
        seen = convolution(image, filters, activation=activation, kernel_initializer=k_init)
        x = convolution_block(layers.Concatenate()([seen, max_pooling(x)]), filters, **options)
        skips.append((x, filters))
    x = convolution_block(max_pooling(x), feature_maps[-1], **options)
    sides = []
    for level, (skip, filters) in reversed(list(enumerate(skips))):
        x = layers.Concatenate()([up_convolution(x, filters), skip])
        x = convolution_block(x, filters, **options)
        sides.append(_side_output(x, n_classes, 2**level))
    average = layers.Average(dtype="float32", name="probability")(sides)
    return DeeplySupervised(inputs, [average, *sides], name="MNet")


def _side_output(x, n_classes, factor):
    x = classifier(x, n_classes, name=f"side_{factor}")
    return x if factor == 1 else layers.UpSampling2D(factor, dtype="float32")(x)
