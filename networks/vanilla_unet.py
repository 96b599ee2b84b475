"""The original 3D U-Net (Cicek et al. 2016, arXiv 1606.06650)."""

import keras
from keras import layers

from networks.blocks import CropTo, classifier, convolution, max_pooling, up_convolution
from networks.u_shape import check_count, check_levels, strides_with_z


def Vanilla_U_Net_3D(  # noqa: N802 - published name
    image_shape,
    activation="relu",
    feature_maps=(32, 64, 128, 256, 512),
    depth=3,
    k_init="he_normal",
    z_down=2,
    n_classes=1,
):
    """Build the original 3D U-Net (Cicek et al. 2016, figure 2): 19,078,337 parameters at the defaults.

    Feature maps double before each pooling, everything is batch-normalised, nothing is dropped. Deviations from the
    paper: ``same`` padding instead of unpadded convolutions and cropped skips, and a sigmoid for one class.

    Parameters
    ----------
    image_shape, activation, depth, k_init, n_classes
        As `networks.unet.U_Net_3D`.
    feature_maps : sequence of int
        ``depth + 2`` values: level i goes from ``feature_maps[i]`` to ``feature_maps[i + 1]``.
    z_down : int or sequence of int
        As `networks.unet.U_Net_3D`. The published code had no such option and took 2.

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, z, y, x, c)`` in 0 .. 1, output ``(n, z, y, x, n_classes)``, float32.

    Raises
    ------
    ValueError
        If ``feature_maps`` or ``z_down`` do not fit the depth.

    Examples
    --------
    >>> Vanilla_U_Net_3D((None, None, None, 1)).count_params()
    19078337
    """
    check_levels(image_shape, depth, "zyx")
    check_count("FEATURE_MAPS", feature_maps, depth + 2, needed_by=f"DEPTH {depth}")

    def block(x, *filters):
        for channels in filters:
            x = convolution(x, channels, kernel_initializer=k_init)
            x = layers.Activation(activation)(layers.BatchNormalization()(x))
        return x

    inputs = x = keras.Input(image_shape, name="image")
    skips = []
    for level, stride in enumerate(strides_with_z(depth, z_down)):
        x = block(x, *feature_maps[level : level + 2])
        skips.append((x, level, stride))
        x = max_pooling(x, stride)
    x = block(x, *feature_maps[-2:])
    for skip, level, stride in reversed(skips):
        x = CropTo()([up_convolution(x, feature_maps[level + 2], stride), skip])
        x = block(layers.Concatenate()([x, skip]), *(feature_maps[level + 1],) * 2)
    return keras.Model(inputs, classifier(x, n_classes), name="Vanilla_U_Net_3D")
