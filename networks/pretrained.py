"""Encoders of ``keras.applications`` and their ImageNet weights."""

import keras
from keras import layers, ops

IMAGENET_MEANS = (103.939, 116.779, 123.68)  # blue, green, red, of 8-bit images


def pretrained_encoder(name, weights):
    """Build a network of ``keras.applications`` without its top.

    Parameters
    ----------
    name : str
        Name in ``keras.applications``, e.g. ``VGG16`` or ``ResNet50``.
    weights : str or path-like or None
        ``imagenet`` (downloaded once, then kept by Keras), a file with weights of this network without its top, or
        None: random.

    Returns
    -------
    keras.Model
        Input ``(n, y, x, 3)``, any size, see `as_in_imagenet`.

    Raises
    ------
    ValueError
        If ``imagenet`` cannot be downloaded, or the file does not hold the weights of this network.
    """
    application = getattr(keras.applications, name)
    options = {"include_top": False, "input_shape": (None, None, 3)}
    if weights == "imagenet":
        try:
            return application(weights="imagenet", **options)
        except Exception as error:  # Keras raises this class when a download fails
            raise ValueError(
                f"ENCODER_WEIGHTS 'imagenet': the weights of {name} could not be downloaded ({error}). Without a "
                "network connection give a file with them, or None for random weights."
            ) from error
    encoder = application(weights=None, **options)
    if weights is not None:
        try:
            encoder.load_weights(weights)
        except Exception as error:  # the class depends on the kind of file
            raise ValueError(
                f"ENCODER_WEIGHTS {str(weights)!r} cannot be read, or does not hold the weights of {name} without its "
                "top."
            ) from error
    return encoder


def as_in_imagenet(x):
    """Convert images 0 .. 1 to the input for which the weights of VGG16 and the ResNets were trained.

    Parameters
    ----------
    x : keras.KerasTensor
        Grey or RGB, ``(n, y, x, 1)`` or ``(n, y, x, 3)``.

    Returns
    -------
    keras.KerasTensor
        Blue, green and red, 0 .. 255 minus the means of ImageNet, float32; grey becomes all three.
    """
    blue_green_red = layers.Concatenate(dtype="float32")([x] * 3) if x.shape[-1] == 1 else ops.flip(x, axis=-1)
    return layers.Rescaling(255.0, [-mean for mean in IMAGENET_MEANS], dtype="float32")(blue_green_red)
