"""U-Net with squeeze and excitation (Hu, Shen and Sun 2018, arXiv 1709.01507), as used in the study."""

from functools import partial

from networks.blocks import convolution_block
from networks.u_shape import check_levels, strides_with_z, u_shape


def SE_U_Net_2D(  # noqa: N802 - published name
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
    """Build the 2D squeeze-and-excitation U-Net of the study: 1,951,697 parameters at the defaults.

    The U-Net of `networks.unet.U_Net_2D` whose channels are weighted behind each activation, except in the bottleneck
    (Hu et al. 2018, figure 2, ratio 16; at least one unit between the dense layers). The weights come from means over
    the whole input, so crops and full images are not predicted quite equally.

    Parameters
    ----------
    image_shape, activation, feature_maps, depth, drop_values, spatial_dropout, batch_norm, k_init, n_classes
        As `networks.unet.U_Net_2D`.

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, y, x, c)`` in 0 .. 1, output ``(n, y, x, n_classes)``, float32.

    Examples
    --------
    >>> SE_U_Net_2D((None, None, 1)).count_params()
    1951697
    """
    check_levels(image_shape, depth, FEATURE_MAPS=feature_maps, DROP_VALUES=drop_values)
    options = {"activation": activation, "spatial_dropout": spatial_dropout, "batch_norm": batch_norm, "k_init": k_init}
    bottleneck = partial(convolution_block, **options)
    levels = {"feature_maps": feature_maps, "drop_values": drop_values, "strides": [(2, 2)] * depth}
    block = partial(bottleneck, excite=True)
    return u_shape("SE_U_Net_2D", image_shape, block, bottleneck=bottleneck, **levels, n_classes=n_classes)


def SE_U_Net_3D(  # noqa: N802 - published name
    image_shape,
    activation="elu",
    feature_maps=(32, 64, 128, 256),
    depth=3,
    drop_values=(0.1, 0.1, 0.1, 0.1),
    spatial_dropout=False,
    batch_norm=False,
    k_init="he_normal",
    z_down=2,
    n_classes=1,
):
    """Build the 3D squeeze-and-excitation U-Net of the study: 5,610,465 parameters at the defaults.

    With the feature maps of the template, (28, 36, 48, 64), it has 790,769. Blocks as `SE_U_Net_2D`; the published one
    had no ``z_down``.

    Parameters
    ----------
    image_shape, activation, feature_maps, depth, drop_values, spatial_dropout, batch_norm, k_init, z_down, n_classes
        As `networks.unet.U_Net_3D`.

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, z, y, x, c)`` in 0 .. 1, output ``(n, z, y, x, n_classes)``, float32.

    Examples
    --------
    >>> SE_U_Net_3D((None, None, None, 1)).count_params()
    5610465
    """
    check_levels(image_shape, depth, "zyx", FEATURE_MAPS=feature_maps, DROP_VALUES=drop_values)
    options = {"activation": activation, "spatial_dropout": spatial_dropout, "batch_norm": batch_norm, "k_init": k_init}
    bottleneck = partial(convolution_block, **options)
    levels = {"feature_maps": feature_maps, "drop_values": drop_values, "strides": strides_with_z(depth, z_down)}
    block = partial(bottleneck, excite=True)
    return u_shape("SE_U_Net_3D", image_shape, block, bottleneck=bottleneck, **levels, n_classes=n_classes)
