"""U-Net (Ronneberger, Fischer and Brox 2015, arXiv 1505.04597), as used in the study."""

from functools import partial

from networks.blocks import convolution_block
from networks.u_shape import check_levels, strides_with_z, u_shape


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
    output_activation=None,
):
    """Build the 2D U-Net of the study (Ronneberger et al. 2015, figure 1): 1,940,817 parameters at the defaults.

    Deviations from the paper: ``same`` padding instead of unpadded convolutions and cropped skips, ELU instead of ReLU,
    dropout between the two convolutions of each level, a sigmoid output, and a quarter of the feature maps.

    Without normalisation, dropout between the convolutions makes training and inference disagree for many epochs. For
    short trainings set ``drop_values`` to zeros.

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
        Kernel initialiser of the convolutions.
    n_classes : int
        1: sigmoid; more: softmax over the classes, background included.
    output_activation : str, optional
        ``sigmoid`` for independent channels, such as instance targets, instead of classes.

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
    check_levels(image_shape, depth, FEATURE_MAPS=feature_maps, DROP_VALUES=drop_values)
    options = {"activation": activation, "spatial_dropout": spatial_dropout, "batch_norm": batch_norm, "k_init": k_init}
    block = partial(convolution_block, **options)
    levels = {"feature_maps": feature_maps, "drop_values": drop_values, "strides": [(2, 2)] * depth}
    return u_shape("U_Net_2D", image_shape, block, **levels, n_classes=n_classes, output_activation=output_activation)


def U_Net_3D(  # noqa: N802 - published name
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
    output_activation=None,
):
    """Build the 3D U-Net of the study (Cicek et al. 2016, arXiv 1606.06650): 5,599,713 parameters at the defaults.

    With the feature maps of the 3D template, (28, 36, 48, 64), it has 788,817. Deviations from the paper (figure 2):
    ``same`` padding instead of unpadded convolutions and cropped skips, ELU instead of ReLU, dropout between the two
    convolutions of each level, no batch normalisation unless asked for, a sigmoid output, and half of the feature maps,
    which do not double before each pooling.

    Parameters
    ----------
    image_shape : tuple of int or None
        ``(z, y, x, c)``; z, y and x may be None. Any size works: what a pooling rounds up is cut off behind the
        upsampling.
    activation, feature_maps, depth, drop_values, spatial_dropout, batch_norm, k_init, n_classes, output_activation
        As `U_Net_2D`.
    z_down : int or sequence of int
        Factor of the poolings along z, for all or one each (y and x are always halved): 1 for volumes whose slices
        are much thicker than their pixels, ``(1, 2, 2)`` where they are twice as thick.

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, z, y, x, c)`` in 0 .. 1, output ``(n, z, y, x, n_classes)``, float32.

    Raises
    ------
    ValueError
        If ``feature_maps``, ``drop_values`` or ``z_down`` do not fit the depth.

    Examples
    --------
    >>> U_Net_3D((None, None, None, 1)).count_params()
    5599713
    """
    check_levels(image_shape, depth, "zyx", FEATURE_MAPS=feature_maps, DROP_VALUES=drop_values)
    options = {"activation": activation, "spatial_dropout": spatial_dropout, "batch_norm": batch_norm, "k_init": k_init}
    block = partial(convolution_block, **options)
    levels = {"feature_maps": feature_maps, "drop_values": drop_values, "strides": strides_with_z(depth, z_down)}
    return u_shape("U_Net_3D", image_shape, block, **levels, n_classes=n_classes, output_activation=output_activation)
