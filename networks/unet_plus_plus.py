"""U-Net++ (Zhou et al. 2018, arXiv 1807.10165): nested skips between a residual encoder and the decoder."""

import keras
from keras import layers

from networks.blocks import classifier, convolution_block, up_convolution
from networks.deep_supervision import DeeplySupervised
from networks.pretrained import as_in_imagenet, pretrained_encoder
from networks.u_shape import check_count, check_levels

BACKBONES = ("ResNet50", "ResNet101", "ResNet152")
N_LEVELS = 5  # of the encoder: 1/2, 1/4, 1/8, 1/16 and 1/32 of the image


def U_Net_plus_plus_2D(  # noqa: N802 - published name
    image_shape,
    feature_maps=(16, 32, 64, 128, 256),
    backbone="ResNet50",
    encoder_weights=None,
    activation="relu",
    batch_norm=True,
    k_init="he_normal",
    deep_supervision=False,
    n_classes=1,
):
    """Build the 2D U-Net++ of the study (Zhou et al. 2018, figure 1a) on a ResNet (He et al. 2016, arXiv 1512.03385).

    It has 33,042,945 parameters at the defaults, 23,587,712 of them in the ResNet. Node ``(i, j)`` of the nest is a
    transposed convolution of node ``(i + 1, j - 1)`` joined with the nodes ``(i, 0)`` to ``(i, j - 1)``, and two 3x3
    convolutions; the nodes ``(i, 0)`` are the features of the ResNet.

    Deviations from the paper: the ResNet instead of convolution blocks and poolings, as in the study. Its first
    convolution halves the image, and so the largest row of the nest has half the size; a last stage without a skip
    leads to the full resolution. Batch normalisation. The further outputs of deep supervision, the nodes ``(0, 3)``,
    ``(0, 2)`` and ``(0, 1)``, have half the size, and are not averaged to predict.

    Parameters
    ----------
    image_shape : tuple of int or None
        ``(y, x, c)``; y and x may be None. Images must have sides divisible by 32, and 1 or 3 channels; the ResNet gets
        a single one three times.
    feature_maps : sequence of int
        Feature maps of the decoder at 1, 1/2, 1/4, 1/8 and 1/16 of the size of the image.
    backbone : str
        ``ResNet50``, ``ResNet101`` or ``ResNet152``.
    encoder_weights : str or path-like, optional
        As `networks.pretrained.pretrained_encoder`; ``imagenet`` as in the study. With weights the network first
        converts its images by `networks.pretrained.as_in_imagenet`. None: random weights, images as they are.
    activation : str
        Name of a Keras activation, for the decoder.
    batch_norm : bool
        Normalise before each activation of the decoder.
    k_init : str
        Kernel initialiser of the decoder's 3x3 convolutions.
    deep_supervision : bool
        Train the further outputs too.
    n_classes : int
        1: sigmoid; more: softmax over the classes, background included.

    Returns
    -------
    keras.Model or DeeplySupervised
        Not compiled. Input ``(n, y, x, c)`` in 0 .. 1, output ``(n, y, x, n_classes)``, float32.

    Raises
    ------
    ValueError
        If there are not five numbers of feature maps, the backbone is unknown, an image has other channels or a given
        size is not divisible, or the file does not hold the weights of the backbone.

    Examples
    --------
    >>> U_Net_plus_plus_2D((None, None, 1)).output_shape
    (None, None, None, 1)
    """
    _check(image_shape, feature_maps, backbone)
    inputs = keras.Input(image_shape, name="image")
    if encoder_weights is not None:
        seen = as_in_imagenet(inputs)
    else:
        seen = inputs if image_shape[-1] == 3 else layers.Concatenate()([inputs] * 3)
    features = _encoder(backbone, encoder_weights)(seen)
    options = {"activation": activation, "batch_norm": batch_norm, "k_init": k_init}
    rows = [[node] for node in features]
    for column in range(1, N_LEVELS):
        for row, filters in enumerate(feature_maps[1 : N_LEVELS + 1 - column]):
            x = up_convolution(rows[row + 1][column - 1], filters)
            rows[row].append(convolution_block(layers.Concatenate()([*rows[row], x]), filters, **options))
    x = up_convolution(rows[0][-1], feature_maps[0])
    main = classifier(convolution_block(x, feature_maps[0], **options), n_classes)
    if not deep_supervision:
        return keras.Model(inputs, main, name="U_Net_plus_plus_2D")
    further = [classifier(rows[0][column], n_classes, f"probability_{column}") for column in (3, 2, 1)]
    return DeeplySupervised(inputs, [main, *further], name="U_Net_plus_plus_2D")


def _check(image_shape, feature_maps, backbone):
    check_levels(image_shape, N_LEVELS)
    if image_shape[-1] not in (1, 3):
        raise ValueError(f"image_shape {tuple(image_shape)}: {image_shape[-1]} channels; wanted 1 or 3.")
    check_count("FEATURE_MAPS", feature_maps, N_LEVELS, needed_by="U-Net++")
    if backbone not in BACKBONES:
        raise ValueError(f"BACKBONE is {backbone!r}; wanted one of {', '.join(BACKBONES)}.")


def _encoder(backbone, weights):
    """Return a model from three channels to the last features of each level."""
    resnet = pretrained_encoder(backbone, weights)
    levels = [[layer for layer in resnet.layers if layer.name.startswith(f"conv{n + 1}_")] for n in range(N_LEVELS)]
    return keras.Model(resnet.inputs, [level[-1].output for level in levels], name="encoder")
