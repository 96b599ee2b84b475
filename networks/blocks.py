"""Building blocks shared by all networks, in two and three dimensions: tensor in, tensor out.

The number of spatial dimensions is that of the tensor: ``(n, y, x, c)`` or ``(n, z, y, x, c)``.
"""

import keras
from keras import layers, ops

GATED = ("skip", "decoder")  # the factors an attention gate can multiply


def n_spatial(x):
    """Return the number of spatial dimensions of a tensor ``(n, ..., c)``: 2 or 3.

    Parameters
    ----------
    x : keras.KerasTensor
        Input.

    Returns
    -------
    int
    """
    return len(x.shape) - 2


def convolution(x, filters, size=3, **kwargs):
    """Apply a convolution with ``same`` padding.

    Parameters
    ----------
    x : keras.KerasTensor
        Input.
    filters : int
        Output channels.
    size : int or tuple of int
        Kernel size.
    **kwargs
        Further arguments of ``keras.layers.Conv2D``.

    Returns
    -------
    keras.KerasTensor
    """
    layer = (layers.Conv2D, layers.Conv3D)[n_spatial(x) - 2]
    return layer(filters, size, padding="same", **kwargs)(x)


def up_convolution(x, filters, strides=2, **kwargs):
    """Enlarge with a transposed convolution; as published, the kernel is 2 along every axis, whatever the strides.

    Parameters
    ----------
    x, filters
        As `convolution`.
    strides : int or tuple of int
        Factor per axis.
    **kwargs
        Further arguments of ``keras.layers.Conv2DTranspose``.

    Returns
    -------
    keras.KerasTensor
    """
    layer = (layers.Conv2DTranspose, layers.Conv3DTranspose)[n_spatial(x) - 2]
    return layer(filters, 2, strides=strides, padding="same", **kwargs)(x)


def max_pooling(x, size=2):
    """Reduce the size by taking maxima; a remainder at the end of an axis becomes a pixel of its own.

    Parameters
    ----------
    x : keras.KerasTensor
        Input.
    size : int or tuple of int
        Factor per axis; a side that it does not divide is rounded up.

    Returns
    -------
    keras.KerasTensor
    """
    return (layers.MaxPooling2D, layers.MaxPooling3D)[n_spatial(x) - 2](size, padding="same")(x)


@keras.saving.register_keras_serializable("em_image_segmentation")
class CropTo(layers.Layer):
    """Cut off the end of a tensor, so that it becomes as large as a second one.

    Behind an upsampling it removes what the pooling before had rounded up, so that a network works at any size.
    Call it with ``[x, reference]``, both ``(n, ..., c)``.
    """

    def call(self, inputs):
        """Return ``x`` cut to the spatial size of the reference."""
        x, reference = inputs
        return x[:, *(slice(size) for size in ops.shape(reference)[1:-1])]

    def compute_output_shape(self, input_shape):
        """Return the batch size and channels of ``x`` with the spatial size of the reference."""
        x, reference = input_shape
        return (x[0], *reference[1:-1], x[-1])


def dropout(x, rate, spatial=False):
    """Drop single values, or whole feature maps; a rate of 0 adds no layer.

    Parameters
    ----------
    x : keras.KerasTensor
        Input.
    rate : float
        Fraction dropped in training.
    spatial : bool
        Drop whole feature maps.

    Returns
    -------
    keras.KerasTensor
    """
    if rate == 0:
        return x
    layer = (layers.SpatialDropout2D, layers.SpatialDropout3D)[n_spatial(x) - 2] if spatial else layers.Dropout
    return layer(rate)(x)


def convolution_block(
    x,
    filters,
    *,
    activation="elu",
    dropout_rate=0.0,
    spatial_dropout=False,
    batch_norm=False,
    k_init="he_normal",
    excite=False,
):
    """Apply a level of the U-Net: convolution, activation, dropout, convolution, activation.

    Parameters
    ----------
    x : keras.KerasTensor
        Input.
    filters : int
        Channels of both convolutions.
    activation : str
        Name of a Keras activation.
    dropout_rate : float
        Dropped between the convolutions.
    spatial_dropout : bool
        Drop whole feature maps.
    batch_norm : bool
        Normalise before each activation.
    k_init : str
        Kernel initialiser.
    excite : bool
        Squeeze and excite behind each activation.

    Returns
    -------
    keras.KerasTensor
    """
    for rate in (dropout_rate, 0.0):
        x = convolution(x, filters, kernel_initializer=k_init)
        if batch_norm:
            x = layers.BatchNormalization()(x)
        x = layers.Activation(activation)(x)
        if excite:
            x = squeeze_excite(x, k_init=k_init)
        x = dropout(x, rate, spatial_dropout)
    return x


def residual_block(
    x,
    filters,
    *,
    activation="elu",
    dropout_rate=0.0,
    spatial_dropout=False,
    batch_norm=False,
    k_init="he_normal",
    pre_activation=True,
):
    """Apply a full pre-activation residual block (He et al. 2016, arXiv 1603.05027, figure 4e) and a 1x1 shortcut.

    There is no activation after the sum.

    Parameters
    ----------
    x, filters, activation, dropout_rate, spatial_dropout, batch_norm, k_init
        As `convolution_block`; normalisation also ends the block.
    pre_activation : bool
        False for the first block of a network, which sees the image itself.

    Returns
    -------
    keras.KerasTensor
    """
    shortcut = convolution(x, filters, size=1, kernel_initializer=k_init)
    for number, rate in enumerate((dropout_rate, 0.0)):
        if pre_activation or number:
            x = layers.BatchNormalization()(x) if batch_norm else x
            x = layers.Activation(activation)(x)
        x = dropout(convolution(x, filters, kernel_initializer=k_init), rate, spatial_dropout)
    x = layers.BatchNormalization()(x) if batch_norm else x
    return layers.Add()([shortcut, x])


def squeeze_excite(x, ratio=16, k_init="he_normal"):
    """Weight channels by their mean value (Hu et al. 2018, arXiv 1709.01507, figure 2).

    Parameters
    ----------
    x : keras.KerasTensor
        Input.
    ratio : int
        The layer between has so many times fewer channels, at least one.
    k_init : str
        Kernel initialiser of the dense layers.

    Returns
    -------
    keras.KerasTensor
    """
    channels = x.shape[-1]
    pooling = (layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D)[n_spatial(x) - 2]
    weights = pooling(keepdims=True)(x)
    for units, activation in ((max(1, channels // ratio), "relu"), (channels, "sigmoid")):
        weights = layers.Dense(units, activation=activation, use_bias=False, kernel_initializer=k_init)(weights)
    return layers.Multiply()([x, weights])


def attention_gate(skip, x, filters, *, batch_norm=False, gated="skip"):
    """Suppress what the decoder does not ask for (Oktay et al. 2018, arXiv 1804.03999, figure 2).

    Parameters
    ----------
    skip : keras.KerasTensor
        Features of the encoder.
    x : keras.KerasTensor
        Upsampled features of the decoder, of the same size.
    filters : int
        Channels in which both are compared.
    batch_norm : bool
        Normalise behind each 1x1 convolution.
    gated : str
        The factor of the attention: ``skip`` as in the paper, or ``decoder`` as in the published code.

    Returns
    -------
    keras.KerasTensor
        To be concatenated with ``x``.

    Raises
    ------
    ValueError
        If ``gated`` is neither.
    """
    if gated not in GATED:
        raise ValueError(f"gated is {gated!r}; wanted {' or '.join(GATED)}.")

    def projection(tensor, channels):
        tensor = convolution(tensor, channels, size=1)
        return layers.BatchNormalization()(tensor) if batch_norm else tensor

    compared = layers.Activation("relu")(layers.Add()([projection(skip, filters), projection(x, filters)]))
    attention = layers.Activation("sigmoid")(projection(compared, 1))
    return layers.Multiply()([skip if gated == "skip" else x, attention])


def probability(scores):
    """Turn scores into probabilities in float32: the sigmoid of one channel, the softmax over several.

    Parameters
    ----------
    scores : keras.KerasTensor
        ``(n, ..., n_classes)``.

    Returns
    -------
    keras.KerasTensor
    """
    activation = "sigmoid" if scores.shape[-1] == 1 else "softmax"
    return layers.Activation(activation, dtype="float32", name="probability")(scores)


def classifier(x, n_classes, name="probability", use_bias=True, activation=None):
    """End a network with probabilities in float32: a sigmoid channel, or a softmax over several.

    Parameters
    ----------
    x : keras.KerasTensor
        Last feature maps.
    n_classes : int
        1 for foreground against background, otherwise the number of classes, background included.
    name : str
        Name of the output.
    use_bias : bool
        Add a bias to the scores.
    activation : str, optional
        ``sigmoid`` for independent channels, such as instance targets, instead of classes.

    Returns
    -------
    keras.KerasTensor
        ``(n, ..., n_classes)``, float32, 0 .. 1.
    """
    # In float32 also under mixed precision: a bfloat16 number has three digits.
    activation = activation or ("sigmoid" if n_classes == 1 else "softmax")
    options = {"activation": activation, "use_bias": use_bias, "dtype": "float32", "name": name}
    return convolution(x, n_classes, size=1, **options)
