"""Tiramisu, the fully convolutional DenseNet (Jegou et al. 2017, arXiv 1611.09326)."""

from numbers import Integral

import keras
from keras import layers

from networks.blocks import classifier, convolution, dropout, max_pooling
from networks.u_shape import check_levels


def FC_DenseNet103(  # noqa: N802 - published name
    image_shape,
    n_filters_first_conv=48,
    n_pool=5,
    growth_rate=16,
    n_layers_per_block=(4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4),
    dropout_p=0.2,
    k_init="he_uniform",
    n_classes=1,
):
    """Build FC-DenseNet103 (Jegou et al. 2017, table 2 and figure 1): 9,421,729 parameters at the defaults.

    Every layer sees the feature maps of all earlier layers of its block and adds ``growth_rate`` of its own. Blocks on
    the way down also pass on their input; the bottleneck and the way up pass on only the new feature maps.

    The published code's defaults, ``n_pool=4, growth_rate=12, n_layers_per_block=5``, are FC-DenseNet56 (1,479,145
    parameters), and it had a ReLU behind the first convolution, which neither paper nor authors have. Deviations from
    the paper: ``same`` padding of the transposed convolutions instead of crops, and a sigmoid for one class.

    Parameters
    ----------
    image_shape : tuple of int or None
        ``(y, x, c)``; y and x may be None. Images must have sides divisible by ``2 ** n_pool``.
    n_filters_first_conv : int
        Feature maps of the first convolution.
    n_pool : int
        Number of poolings.
    growth_rate : int
        Feature maps that each layer adds.
    n_layers_per_block : int or sequence of int
        Layers of each block, for all or ``2 * n_pool + 1`` values: down, bottleneck, up.
    dropout_p : float
        Dropout behind each convolution but the first, the last and the transposed ones; 0 adds no layer.
    k_init, n_classes
        As `networks.unet.U_Net_2D`.

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, y, x, c)`` in 0 .. 1, output ``(n, y, x, n_classes)``, float32.

    Raises
    ------
    ValueError
        If ``n_pool`` is below 1, ``n_layers_per_block`` do not hold ``2 * n_pool + 1`` values, or a given size is not
        divisible.

    Examples
    --------
    >>> FC_DenseNet103((None, None, 1), 4, n_pool=2, growth_rate=2, n_layers_per_block=1).output_shape
    (None, None, None, 1)
    """
    if not isinstance(n_pool, Integral) or n_pool < 1:
        raise ValueError(f"N_POOL is {n_pool}; wanted a whole number of at least 1.")
    check_levels(image_shape, n_pool)
    n_blocks = 2 * n_pool + 1
    n_layers = (n_layers_per_block,) * n_blocks if isinstance(n_layers_per_block, int) else tuple(n_layers_per_block)
    if len(n_layers) != n_blocks or min(n_layers) < 1:
        raise ValueError(
            f"N_LAYERS_PER_BLOCK is {n_layers_per_block}; N_POOL {n_pool} needs one value of at least 1, or {n_blocks}."
        )

    def layer(x, filters, size=3):
        x = layers.Activation("relu")(layers.BatchNormalization()(x))
        return dropout(convolution(x, filters, size=size, kernel_initializer=k_init), dropout_p)

    def dense_block(x, number):
        """Return all feature maps, and the list of the new ones."""
        new = []
        for _ in range(number):
            new.append(layer(x, growth_rate))
            x = layers.Concatenate()([x, new[-1]])
        return x, new

    inputs = keras.Input(image_shape, name="image")
    x = convolution(inputs, n_filters_first_conv, kernel_initializer=k_init)
    skips = []
    for number in n_layers[:n_pool]:
        x, _ = dense_block(x, number)
        skips.append(x)
        x = max_pooling(layer(x, x.shape[-1], size=1))
    x, new = dense_block(x, n_layers[n_pool])
    for number, skip in zip(n_layers[n_pool + 1 :], reversed(skips), strict=True):
        new = layers.Concatenate()(new) if len(new) > 1 else new[0]
        options = {"strides": 2, "padding": "same", "kernel_initializer": k_init}
        up = layers.Conv2DTranspose(new.shape[-1], 3, **options)(new)
        x, new = dense_block(layers.Concatenate()([up, skip]), number)
    return keras.Model(inputs, classifier(x, n_classes), name="FC_DenseNet103")
