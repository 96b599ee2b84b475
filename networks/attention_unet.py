"""Attention U-Net (Oktay et al. 2018, arXiv 1804.03999), as used in the study."""

from functools import partial

from networks.blocks import GATED, attention_gate, convolution_block
from networks.u_shape import check_levels, strides_with_z, u_shape


def Attention_U_Net_2D(  # noqa: N802 - published name
    image_shape,
    activation="elu",
    feature_maps=(16, 32, 64, 128, 256),
    depth=4,
    drop_values=(0.1, 0.1, 0.2, 0.2, 0.3),
    spatial_dropout=False,
    batch_norm=False,
    k_init="he_normal",
    n_classes=1,
    gate="skip",
):
    """Build the 2D Attention U-Net of the study (Oktay et al. 2018, figures 1 and 2): 1,985,061 parameters.

    The U-Net of `networks.unet.U_Net_2D` with an attention gate on each skip. Deviations from the paper: the gating
    signal is the upsampled decoder, so that the gate works at the size of the skip and resamples nothing; the skip of
    full resolution is gated too; no deep supervision.

    Parameters
    ----------
    image_shape, activation, feature_maps, depth, drop_values, spatial_dropout, batch_norm, k_init, n_classes
        As `networks.unet.U_Net_2D`.
    gate : str
        The factor of the attention: ``skip`` (the encoder's features, as in the paper) or ``decoder`` (the upsampled
        features, as in the published code, where the encoder reached the decoder only through the gate).

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, y, x, c)`` in 0 .. 1, output ``(n, y, x, n_classes)``, float32.

    Raises
    ------
    ValueError
        As `networks.unet.U_Net_2D`, or if the gate is unknown.

    Examples
    --------
    >>> Attention_U_Net_2D((None, None, 1)).count_params()
    1985061
    """
    check_levels(image_shape, depth, FEATURE_MAPS=feature_maps, DROP_VALUES=drop_values)
    options = {"activation": activation, "spatial_dropout": spatial_dropout, "batch_norm": batch_norm, "k_init": k_init}
    levels = {"feature_maps": feature_maps, "drop_values": drop_values, "strides": [(2, 2)] * depth}
    return _attention_u_net("Attention_U_Net_2D", image_shape, options, levels, gate, n_classes)


def Attention_U_Net_3D(  # noqa: N802 - published name
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
    gate="skip",
):
    """Build the 3D Attention U-Net of the study: 5,643,396 parameters at the defaults.

    With the feature maps of the template, (28, 36, 48, 64), it has 797,924. Gates as `Attention_U_Net_2D`.

    Parameters
    ----------
    image_shape, activation, feature_maps, depth, drop_values, spatial_dropout, batch_norm, k_init, z_down, n_classes
        As `networks.unet.U_Net_3D`.
    gate : str
        As `Attention_U_Net_2D`.

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, z, y, x, c)`` in 0 .. 1, output ``(n, z, y, x, n_classes)``, float32.

    Raises
    ------
    ValueError
        As `networks.unet.U_Net_3D`, or if the gate is unknown.

    Examples
    --------
    >>> Attention_U_Net_3D((None, None, None, 1)).count_params()
    5643396
    """
    check_levels(image_shape, depth, "zyx", FEATURE_MAPS=feature_maps, DROP_VALUES=drop_values)
    options = {"activation": activation, "spatial_dropout": spatial_dropout, "batch_norm": batch_norm, "k_init": k_init}
    levels = {"feature_maps": feature_maps, "drop_values": drop_values, "strides": strides_with_z(depth, z_down)}
    return _attention_u_net("Attention_U_Net_3D", image_shape, options, levels, gate, n_classes)


def _attention_u_net(name, image_shape, options, levels, gate, n_classes):
    if gate not in GATED:
        raise ValueError(f"GATE is {gate!r}; wanted one of {', '.join(GATED)}.")
    block = partial(convolution_block, **options)
    gate_function = partial(attention_gate, batch_norm=options["batch_norm"], gated=gate)
    return u_shape(name, image_shape, block, gate=gate_function, **levels, n_classes=n_classes)
