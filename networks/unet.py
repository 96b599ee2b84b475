"""U-Net (Ronneberger, Fischer and Brox 2015, arXiv 1505.04597), as used in the study."""

import keras
from keras import layers

from networks.blocks import classifier, convolution_block, max_pooling, up_convolution


def U_Net_2D(  # noqa: N802 - published name
    image_shape,
    activation="elu",
    feature_maps=(16, 32, 64, 128, 256),
    depth=4,
    drop_values=(0.1, 0.1, 0.2, 0.2, 0.3),
    spatial_dropout=False,
    batch_norm=False,
    k_init="he_normal",
    n_classes=1,
):
    """Build the 2D U-Net of the study (Ronneberger et al. 2015, figure 1): 1,940,817 parameters at the defaults.

    Deviations from the paper: ``same`` padding instead of unpadded convolutions and cropped skips, ELU instead of
    ReLU, dropout between the two convolutions of each level, a sigmoid output, and a quarter of the feature maps.

    Without normalisation, dropout between the convolutions makes training and inference disagree until long schedules
    have grown out of it; for short ones set ``drop_values`` to zeros.

    Parameters
    ----------
    image_shape : tuple of int or None
        ``(y, x, c)``; y and x may be None. Images must have sides divisible by ``2 ** depth``.
    activation : str
        Name of a Keras activation.
    feature_maps : sequence of int
        Feature maps of each level, ``depth + 1`` values, the bottleneck last.
    depth : int
        Number of poolings.
    drop_values : sequence of float
        Dropout of each level, ``depth + 1`` values; 0 adds no layer.
    spatial_dropout : bool
        Drop whole feature maps.
    batch_norm : bool
        Normalise before each activation (1,946,705 parameters at the defaults).
    k_init : str
        Kernel initialiser of the 3x3 convolutions.
    n_classes : int
        1: sigmoid; more: softmax over the classes, background included.

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, y, x, c)`` in 0 .. 1, output ``(n, y, x, n_classes)``, float32.

    Raises
    ------
    ValueError
        If ``feature_maps`` or ``drop_values`` do not hold ``depth + 1`` values, or a given size is not divisible.

    Examples
    --------
    >>> U_Net_2D((None, None, 1)).count_params()
    1940817
    """
    _check_levels(image_shape, depth, FEATURE_MAPS=feature_maps, DROP_VALUES=drop_values)
    block = {"activation": activation, "spatial_dropout": spatial_dropout, "batch_norm": batch_norm, "k_init": k_init}

    inputs = x = keras.Input(image_shape, name="image")
    skips = []
    for filters, rate in zip(feature_maps[:-1], drop_values[:-1], strict=True):
        x = convolution_block(x, filters, dropout_rate=rate, **block)
        skips.append(x)
        x = max_pooling(x)
    x = convolution_block(x, feature_maps[-1], dropout_rate=drop_values[-1], **block)
    for filters, rate, skip in reversed(list(zip(feature_maps[:-1], drop_values[:-1], skips, strict=True))):
        x = layers.Concatenate()([up_convolution(x, filters), skip])
        x = convolution_block(x, filters, dropout_rate=rate, **block)
    return keras.Model(inputs, classifier(x, n_classes), name="U_Net_2D")


def _check_levels(image_shape, depth, **per_level):
    for name, values in per_level.items():
        if len(values) != depth + 1:
            raise ValueError(f"{name} holds {len(values)} values {tuple(values)}; DEPTH {depth} needs {depth + 1}.")
    wrong = [size for size in image_shape[:-1] if size is not None and size % 2**depth]
    if wrong:
        raise ValueError(
            f"image_shape {tuple(image_shape)}: {wrong[0]} is not divisible by {2**depth} ({depth} poolings)."
        )
