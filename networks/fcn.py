"""Fully convolutional networks on VGG16 (Long, Shelhamer and Darrell 2015, arXiv 1411.4038)."""

import keras
from keras import layers, ops

from networks.blocks import convolution, dropout, max_pooling, probability
from networks.pretrained import as_in_imagenet, pretrained_encoder
from networks.u_shape import check_count, check_levels

VGG16_FEATURE_MAPS = (64, 128, 256, 512, 512)
VGG16_CONVOLUTIONS = (2, 2, 3, 3, 3)


def FCN8_VGG16(  # noqa: N802 - published name
    image_shape,
    feature_maps=VGG16_FEATURE_MAPS,
    fully_connected=4096,
    drop_value=0.5,
    k_init="he_normal",
    n_classes=1,
    encoder_weights=None,
):
    """Build FCN-8s on VGG16 (Long et al. 2015, figure 3): 50,384,198 parameters for two classes and one channel.

    The scores at 1/32 of the size are doubled, added to those of the fourth pooling, doubled, added to those of the
    third, and enlarged eight times by transposed convolutions, which are bilinear before training.

    Deviations from the paper: ``same`` padding instead of a border of 100 pixels and crops, a 3x3 instead of a 7x7
    convolution for the first fully connected layer (as in the published code), all transposed convolutions are learned,
    everything is trained at once, and random weights without ``encoder_weights``. The published code enlarged by 4x4
    transposed convolutions whose crop at one side shifted the scores; here they are centred.

    Parameters
    ----------
    image_shape : tuple of int or None
        ``(y, x, c)``; y and x may be None. Images must have sides divisible by 32.
    feature_maps : sequence of int
        Feature maps of the five blocks of VGG16.
    fully_connected : int
        Feature maps of the two layers that are fully connected in VGG16.
    drop_value : float
        Dropout behind each of them; 0 adds no layer.
    k_init : str
        Kernel initialiser of all convolutions with ReLU (the published code: ``glorot_uniform``).
    n_classes : int
        1: sigmoid; more: softmax over the classes, background included.
    encoder_weights : str, optional
        ``imagenet`` (59 MB from the internet at the first use), or the path of a weights file of
        ``keras.applications.VGG16(include_top=False)``. The network then converts its input for these weights: a grey
        image becomes three channels, which adds 1,152 parameters. None: random.

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, y, x, c)`` in 0 .. 1, output ``(n, y, x, n_classes)``, float32.

    Raises
    ------
    ValueError
        If there are not five feature maps, a given size is not divisible by 32, or the weights do not fit.

    Examples
    --------
    >>> FCN8_VGG16((None, None, 1), feature_maps=(2, 2, 4, 4, 4), fully_connected=8).output_shape
    (None, None, None, 1)
    """

    def enlarge(scores, pools):
        for pool in (pools[3], pools[2]):
            scores = layers.Add(dtype="float32")([_bilinear_transposed(scores, 2), _scores(pool, n_classes)])
        return _bilinear_transposed(scores, 8)

    head = {"fully_connected": fully_connected, "drop_value": drop_value, "n_classes": n_classes}
    return _fcn("FCN8_VGG16", image_shape, enlarge, feature_maps, k_init, encoder_weights, **head)


def FCN32_VGG16(  # noqa: N802 - published name
    image_shape,
    feature_maps=VGG16_FEATURE_MAPS,
    fully_connected=4096,
    drop_value=0.5,
    k_init="he_normal",
    n_classes=1,
    encoder_weights=None,
):
    """Build FCN-32s on VGG16 (Long et al. 2015, figure 3): 50,381,506 parameters for two classes and one channel.

    The scores at 1/32 of the size are enlarged by bilinear interpolation, and then become probabilities (the published
    code interpolated behind a sigmoid, whatever the number of classes). Other deviations as `FCN8_VGG16`.

    Parameters
    ----------
    image_shape, feature_maps, fully_connected, drop_value, k_init, n_classes, encoder_weights
        As `FCN8_VGG16`.

    Returns
    -------
    keras.Model
        Not compiled. Input ``(n, y, x, c)`` in 0 .. 1, output ``(n, y, x, n_classes)``, float32.

    Examples
    --------
    >>> FCN32_VGG16((64, 96, 1), feature_maps=(2, 2, 4, 4, 4), fully_connected=8, n_classes=3).output_shape
    (None, 64, 96, 3)
    """
    head = {"fully_connected": fully_connected, "drop_value": drop_value, "n_classes": n_classes}
    return _fcn("FCN32_VGG16", image_shape, _bilinear, feature_maps, k_init, encoder_weights, **head)


@keras.saving.register_keras_serializable("em_image_segmentation")
class BilinearUpSampling(layers.Layer):
    """Enlarge images of any size, ``(n, y, x, c)``, as ``keras.layers.UpSampling2D`` enlarges those of a fixed size.

    Pixels are squares and the border is repeated: a product with one matrix of weights for each axis.

    Parameters
    ----------
    factor : int
        Factor along y and x.
    """

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        """Return the enlarged images."""
        _, height, width, _ = ops.shape(x)
        x = ops.einsum("iy,nyxc->nixc", self._weights(height), x)
        return ops.einsum("jx,nixc->nijc", self._weights(width), x)

    def _weights(self, size):
        old, new = (ops.cast(ops.arange(n), self.compute_dtype) for n in (size, size * self.factor))
        positions = ops.clip((new + 0.5) / self.factor - 0.5, old[0], old[-1])
        return ops.maximum(0, 1 - ops.abs(positions[:, None] - old))

    def compute_output_shape(self, input_shape):
        """Return the shape of the enlarged images."""
        n, *sides, channels = input_shape
        return (n, *(side if side is None else side * self.factor for side in sides), channels)

    def get_config(self):
        """Return the arguments of the constructor."""
        return {**super().get_config(), "factor": self.factor}


def _fcn(name, image_shape, enlarge, feature_maps, k_init, encoder_weights, *, fully_connected, drop_value, n_classes):
    check_levels(image_shape, depth=5)
    check_count("FEATURE_MAPS", feature_maps, len(VGG16_FEATURE_MAPS), needed_by="VGG16")
    encoder = _vgg16(image_shape, feature_maps, encoder_weights)
    options = {"activation": "relu", "kernel_initializer": k_init}
    inputs = x = keras.Input(image_shape, name="image")
    if encoder:
        x = as_in_imagenet(x)
    pools = []
    for block, (filters, n_convolutions) in enumerate(zip(feature_maps, VGG16_CONVOLUTIONS, strict=True), 1):
        for number in range(1, n_convolutions + 1):
            x = convolution(x, filters, name=f"block{block}_conv{number}", **options)
        x = max_pooling(x)
        pools.append(x)
    for size in (3, 1):
        x = dropout(convolution(x, fully_connected, size=size, **options), drop_value)
    scores = enlarge(_scores(x, n_classes), pools)
    model = keras.Model(inputs, probability(scores), name=name)
    for layer in encoder.layers if encoder else ():
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())
    return model


def _scores(x, n_classes):
    """Score each class, in float32 from here on: the rest is cheap and decides."""
    return convolution(x, n_classes, size=1, dtype="float32")


def _bilinear(scores, _):
    return BilinearUpSampling(32, dtype="float32")(scores)


def _bilinear_transposed(scores, factor):
    """Enlarge by a transposed convolution that interpolates bilinearly until training changes it."""
    n_classes, size = scores.shape[-1], 2 * factor
    options = {"padding": "same", "use_bias": False, "dtype": "float32"}
    layer = layers.Conv2DTranspose(n_classes, size, strides=factor, **options)
    scores = layer(scores)
    weights = 1 - ops.abs((2 * ops.arange(size, dtype="float32") + 1) / size - 1)
    kernel = ops.reshape(weights[:, None] * weights, (size, size, 1, 1))
    layer.kernel.assign(kernel * ops.eye(n_classes))
    return scores


def _vgg16(image_shape, feature_maps, weights):
    """Return the trained encoder, or None; it accepts only its own feature maps and 1 or 3 channels."""
    if weights is None:
        return None
    if tuple(feature_maps) != VGG16_FEATURE_MAPS or image_shape[-1] not in (1, 3):
        raise ValueError(
            f"ENCODER_WEIGHTS {weights!r} are for FEATURE_MAPS {VGG16_FEATURE_MAPS} and images of 1 or 3 channels; "
            f"got {tuple(feature_maps)} and {image_shape[-1]} channels."
        )
    return pretrained_encoder("VGG16", weights)
