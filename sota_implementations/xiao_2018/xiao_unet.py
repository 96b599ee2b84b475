"""The deeply supervised residual network of Xiao et al. (2018, Frontiers in Neuroanatomy 12:92)."""

import keras
from keras import layers

from networks.blocks import CropTo, classifier, convolution, max_pooling
from networks.deep_supervision import DeeplySupervised
from sota_implementations.builder_checks import check_dropout_and_filters

# Sum of the output weights in the paper; `DeeplySupervised` divides the losses by it.
SUM_OF_WEIGHTS = 1 + 0.15 + 0.3
REGULARIZER = keras.regularizers.L2(0.01 / SUM_OF_WEIGHTS)


def U_Net_3D_Xiao(  # noqa: N802 - published name
    image_shape, n_classes=2, feature_maps=(32, 48, 64, 80), activation="elu", k_init="he_normal"
):
    """Build the 3D network of Xiao et al. (2018): 1,075,515 parameters at the defaults.

    A residual U-Net for anisotropic volumes: z is never reduced, skips are added, not concatenated, and the decoder has
    two auxiliary classifiers, one after its deepest block, one before its last. Outputs: the main one, that of the
    deepest block, the other one, with the weights 1, 0.15 and 0.3 in the loss. `DeeplySupervised` divides these weights
    by their sum, 1.45. The L2 penalties are divided by it too, so the loss is the published one divided by 1.45.

    As in the published code, L2 of 0.01 applies only to the auxiliary classifiers and the last 3x3x3 convolution, which
    has 3 feature maps, like the first one. Deviations: the layers that follow an enlargement by nearest neighbour
    (1x1x1 convolutions, normalisation, activation, auxiliary classifiers) come before it here, which gives the same
    values at a quarter or a sixteenth of the cost; the main output comes first; any size works.

    Parameters
    ----------
    image_shape : tuple of int or None
        ``(z, y, x, c)``; z, y and x may be None.
    n_classes, activation
        As `networks.unet.U_Net_3D`.
    feature_maps : sequence of int
        Feature maps of the three levels and of the bottleneck.
    k_init : str
        Kernel initialiser of all convolutions but the classifiers.

    Returns
    -------
    networks.deep_supervision.DeeplySupervised
        Not compiled. Input ``(n, z, y, x, c)`` in 0 .. 1; three outputs ``(n, z, y, x, n_classes)``, float32.

    Raises
    ------
    ValueError
        If ``feature_maps`` does not hold four whole numbers above 0.

    Examples
    --------
    >>> model = U_Net_3D_Xiao((None, None, None, 1), feature_maps=(2, 3, 4, 5))
    >>> model.predict_on_batch(keras.ops.ones((1, 2, 9, 10, 1))).shape
    (1, 2, 9, 10, 2)
    """
    if len(feature_maps) != 4:
        raise ValueError(f"FEATURE_MAPS holds {len(feature_maps)} values {tuple(feature_maps)}; the network has 4.")
    check_dropout_and_filters(
        dropout={}, filters={f"FEATURE_MAPS[{n}]": number for n, number in enumerate(feature_maps)}
    )

    def unit(x, filters, size=3, **options):
        x = layers.BatchNormalization()(convolution(x, filters, size=size, kernel_initializer=k_init, **options))
        return layers.Activation(activation)(x)

    def residual(x, filters):
        return layers.Add()([unit(x, filters, size=1), unit(unit(x, filters), filters)])

    inputs = keras.Input(image_shape, name="image")
    x, skips = unit(inputs, 3), []
    for filters in feature_maps[:-1]:
        x = residual(x, filters)
        skips.append(x)
        x = max_pooling(x, (1, 2, 2))
    x = residual(x, feature_maps[-1])
    decoded, projected = [], []
    for skip in reversed(skips):
        projected.append(unit(x, skip.shape[-1], size=1))
        x = residual(layers.Add()([_enlarge(projected[-1], 2, skip), skip]), skip.shape[-1])
        decoded.append(x)
    auxiliary = [_auxiliary(decoded[0], 4, inputs, n_classes), _auxiliary(projected[-1], 2, inputs, n_classes)]
    main = classifier(unit(x, 3, kernel_regularizer=REGULARIZER), n_classes)
    return DeeplySupervised(inputs, [main, *auxiliary], name="U_Net_3D_Xiao")


def _enlarge(x, factor, reference, **options):
    return CropTo(**options)([layers.UpSampling3D((1, factor, factor), **options)(x), reference])


def _auxiliary(x, factor, image, n_classes):
    activation = "sigmoid" if n_classes == 1 else "softmax"
    options = {"kernel_regularizer": REGULARIZER, "name": f"auxiliary_{factor}"}
    x = convolution(x, n_classes, size=1, activation=activation, dtype="float32", **options)
    return _enlarge(x, factor, image, dtype="float32")
