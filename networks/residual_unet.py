"""Residual U-Net: the U shape with full pre-activation residual blocks (He et al. 2016, arXiv 1603.05027)."""

from functools import partial

from networks.blocks import residual_block
from networks.u_shape import check_levels, strides_with_z, u_shape

DROP_ORDERS = ("level", "published")


def ResUNet_2D(  # noqa: N802 - published name
    image_shape,
    activation="elu",
    feature_maps=(16, 32, 64, 128, 256),
    depth=4,
    drop_values=(0.1, 0.1, 0.1, 0.1, 0.1),
    spatial_dropout=False,
    batch_norm=False,
    k_init="he_normal",
    n_classes=1,
    drop_order="level",
):
    """Build the 2D residual U-Net of the study: 2,028,609 parameters at the defaults.

    The U-Net of `networks.unet.U_Net_2D` whose levels are residual blocks (He et al. 2016, figure 4e): activation
    before convolution, a 1x1 convolution on every shortcut, nothing after the sum. Deviations from the paper: the
    shortcut is never the identity; the first block has no activation before its first convolution; ELU instead of ReLU;
    dropout behind the first convolution; no batch normalisation unless asked for, and then also behind the last
    convolution.

    Parameters
    ----------
    image_shape, activation, feature_maps, depth, drop_values, spatial_dropout, batch_norm, k_init, n_classes
        As `networks.unet.U_Net_2D`.
        The published code ignored all activations but ``elu``.
    drop_order : str
        ``level``: ``drop_values`` start at the top level; ``published``: they start at the bottleneck, as in the
        published code.

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, y, x, c)`` in 0 .. 1, output ``(n, y, x, n_classes)``, float32.

    Raises
    ------
    ValueError
        As `networks.unet.U_Net_2D`, or if the order of dropout is unknown.

    Examples
    --------
    >>> ResUNet_2D((None, None, 1)).count_params()
    2028609
    """
    check_levels(image_shape, depth, FEATURE_MAPS=feature_maps, DROP_VALUES=drop_values)
    options = {"activation": activation, "spatial_dropout": spatial_dropout, "batch_norm": batch_norm, "k_init": k_init}
    levels = {"feature_maps": feature_maps, "drop_values": drop_values, "strides": [(2, 2)] * depth}
    return _residual_u_net("ResUNet_2D", image_shape, options, levels, drop_order, n_classes)


def ResUNet_3D(  # noqa: N802 - published name
    image_shape,
    activation="elu",
    feature_maps=(16, 32, 64, 128, 256),
    depth=4,
    drop_values=(0.1, 0.1, 0.1, 0.1, 0.1),
    spatial_dropout=False,
    batch_norm=False,
    k_init="he_normal",
    z_down=2,
    n_classes=1,
    drop_order="level",
):
    """Build the 3D residual U-Net of the study: 5,732,705 parameters at the defaults.

    With the feature maps of the template, (28, 36, 48, 64, 80), it has 1,501,293. Blocks as `ResUNet_2D`.

    Parameters
    ----------
    image_shape, activation, feature_maps, depth, drop_values, spatial_dropout, batch_norm, k_init, z_down, n_classes
        As `networks.unet.U_Net_3D`.
    drop_order : str
        As `ResUNet_2D`.

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, z, y, x, c)`` in 0 .. 1, output ``(n, z, y, x, n_classes)``, float32.

    Raises
    ------
    ValueError
        As `networks.unet.U_Net_3D`, or if the order of dropout is unknown.

    Examples
    --------
    >>> ResUNet_3D((None, None, None, 1)).count_params()
    5732705
    """
    check_levels(image_shape, depth, "zyx", FEATURE_MAPS=feature_maps, DROP_VALUES=drop_values)
    options = {"activation": activation, "spatial_dropout": spatial_dropout, "batch_norm": batch_norm, "k_init": k_init}
    levels = {"feature_maps": feature_maps, "drop_values": drop_values, "strides": strides_with_z(depth, z_down)}
    return _residual_u_net("ResUNet_3D", image_shape, options, levels, drop_order, n_classes)


def _residual_u_net(name, image_shape, options, levels, drop_order, n_classes):
    if drop_order not in DROP_ORDERS:
        raise ValueError(f"DROP_ORDER is {drop_order!r}; wanted one of {', '.join(DROP_ORDERS)}.")
    if drop_order == "published":
        levels = {**levels, "drop_values": levels["drop_values"][::-1]}
    block = partial(residual_block, **options)
    first = partial(block, pre_activation=False)
    return u_shape(name, image_shape, block, first_block=first, **levels, n_classes=n_classes)
