"""The patch classifiers of Oztel et al. (2017, BIBM): the class of a 32x32 patch, or a coarse map of a whole image."""

import keras
from keras import layers

from networks.blocks import classifier, convolution, dropout, max_pooling
from sota_implementations.builder_checks import check_dropout_and_filters


def create_oztel_model(num_classes=2, input_shape=(None, None, 1), dropout_rate=0.5, k_init="glorot_uniform"):
    """Build the network of Oztel et al. (2017): 143,462 parameters at the defaults.

    The image is batch-normalised. After three poolings, a convolution sees all that remains of a patch: 32x32 pixels
    become one. All layers are convolutional, so an image ``(y, x)`` becomes ``(y / 8 - 3, x / 8 - 3)``: the classes of
    the patches that start at every eighth pixel (see `patches.dense_probability`). The paper classified one window
    after the other.

    Parameters
    ----------
    num_classes : int
        1: sigmoid; more: softmax over the classes, background included.
    input_shape : tuple of int or None
        ``(y, x, c)``; y and x may be None. Patches of 32x32, or larger images with sides divisible by 8.
    dropout_rate : float
        Dropout after the second pooling; 0 adds no layer.
    k_init : str
        Kernel initialiser.

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, y, x, c)`` in 0 .. 1, output ``(n, y / 8 - 3, x / 8 - 3, num_classes)``, float32.

    Raises
    ------
    ValueError
        If a given side of the input is not divisible by 8, or below 32, or the dropout is no fraction below 1.

    Examples
    --------
    >>> model = create_oztel_model()
    >>> model.count_params(), model.predict_on_batch(keras.ops.ones((1, 32, 32, 1))).shape
    (143462, (1, 1, 1, 2))
    """
    _check_sizes(input_shape)
    check_dropout_and_filters(dropout={"DROP_VALUE": dropout_rate}, filters={})
    options = {"kernel_initializer": k_init}
    inputs = keras.Input(input_shape, name="image")
    x = convolution(layers.BatchNormalization()(inputs), 32, size=5, **options)
    # ReLU after max pooling gives the same as before it, on a quarter of the pixels.
    x = layers.Activation("relu")(layers.MaxPooling2D(3, 2, padding="same")(x))
    x = convolution(x, 32, size=5, activation="relu", **options)
    x = dropout(layers.AveragePooling2D(3, 2, padding="same")(x), dropout_rate)
    x = convolution(x, 64, size=5, activation="relu", **options)
    x = layers.AveragePooling2D(3, 2, padding="same")(x)
    x = layers.Conv2D(64, 4, activation="relu", **options)(x)
    return keras.Model(inputs, classifier(x, num_classes), name="create_oztel_model")


def create_oztel_model_V1(  # noqa: N802 - published name
    num_classes=2, input_shape=(None, None, 1), dropout_rates=(0.1, 0.2, 0.3), k_init="glorot_uniform"
):
    """Build the published improvement on `create_oztel_model`, not from the paper: 68,722 parameters at the defaults.

    Three blocks of two normalised 3x3 convolutions, each followed by a 2x2 pooling, replace the 5x5 convolutions.

    Parameters
    ----------
    num_classes, input_shape, k_init
        As `create_oztel_model`.
    dropout_rates : sequence of float
        Dropout between the convolutions of each block; 0 adds no layer.

    Returns
    -------
    keras.Model
        As `create_oztel_model`.

    Raises
    ------
    ValueError
        As `create_oztel_model`, or if there are not three rates.

    Examples
    --------
    >>> create_oztel_model_V1().count_params()
    68722
    """
    _check_sizes(input_shape)
    if len(dropout_rates) != 3:
        raise ValueError(f"DROP_VALUES holds {len(dropout_rates)} values {tuple(dropout_rates)}; the network has 3.")
    check_dropout_and_filters(dropout={f"DROP_VALUES[{n}]": rate for n, rate in enumerate(dropout_rates)}, filters={})

    def normalised(x):
        return layers.Activation("relu")(layers.BatchNormalization()(x))

    inputs = x = keras.Input(input_shape, name="image")
    for filters, rate in zip((16, 32, 32), dropout_rates, strict=True):
        x = dropout(normalised(convolution(x, filters, kernel_initializer=k_init)), rate)
        x = max_pooling(normalised(convolution(x, filters, kernel_initializer=k_init)))
    x = normalised(layers.Conv2D(64, 4, kernel_initializer=k_init)(x))
    return keras.Model(inputs, classifier(x, num_classes), name="create_oztel_model_V1")


def _check_sizes(input_shape):
    for size in input_shape[:-1]:
        if size is not None and (size % 8 or size < 32):
            raise ValueError(f"input_shape {tuple(input_shape)}: {size} is below 32 or not divisible by 8.")
