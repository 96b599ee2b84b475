"""nnU-Net (Isensee et al. 2021, Nature Methods 18:203-211, arXiv 1904.08128): its 2D U-Net, planned for a crop size."""

import math

import keras
from keras import layers

from networks.blocks import classifier, convolution
from networks.deep_supervision import DeeplySupervised
from networks.u_shape import check_image_shape

NORMALIZATIONS = ("instance", "batch", "published")
MOMENTA = {"batch": 0.9, "published": 0.1}  # share of the moving averages that each step keeps
PLANS = ("crop", "published")
PUBLISHED_STRIDES = ((2, 2),) * 7 + ((1, 2),)
PUBLISHED_SIDE = 256  # pixels: crops of the study
SMALLEST_SIDE = 4  # pixels that planned downsampling leaves along each axis


def nnUNet_2D(  # noqa: N802 - published name
    image_shape,
    feature_maps=32,
    max_feature_maps=480,
    num_pool=8,
    strides=None,
    normalization="instance",
    deep_supervision=True,
    k_init="he_normal",
    n_classes=1,
):
    """Build the 2D U-Net of nnU-Net (Isensee et al. 2021, methods; 2018, arXiv 1809.10486): 29,964,672 parameters.

    A stage is two blocks of 3x3 convolution, normalisation and leaky ReLU (0.01). The first convolution of each encoder
    stage but the top one is strided. Transposed convolutions without bias, as large as their strides, lead up again,
    and each decoder stage ends in probabilities of its own size, of which only the last are used outside training. The
    paper trains with Dice + cross-entropy, the outputs weighted by `deep_supervision_weights`. The count is for crops
    of 256 x 256 pixels; the network depends on the crop, see `plan_strides`.

    Deviations from the paper: strides are planned for the crop as it is, where nnU-Net pads it to a divisible one, and
    from pixels alone, not from their size in nanometres; convolutions use ``same`` padding; at most 480 feature maps,
    as in the study; one class ends in a sigmoid.

    The study's network, ``strides=PUBLISHED_STRIDES`` and ``normalization="published"``, has 52,116,672 parameters, of
    which 52,095,552 are trained; with instance normalisation it has only these. Its code kept a tenth of the moving
    mean and variance at each step; batch normalisation in nnU-Net, and here, keeps nine tenths.

    Instance normalisation computes mean and variance over everything the network sees at once, so pixels of a full
    image are predicted differently from those of its crops.

    Parameters
    ----------
    image_shape : tuple of int or None
        ``(y, x, c)``; y and x may be None. Images must have sides divisible by the product of the strides.
    feature_maps : int
        Feature maps of the first stage; they double from stage to stage.
    max_feature_maps : int
        Upper limit of the doubling.
    num_pool : int
        Largest number of planned downsamplings; not used with ``strides``.
    strides : sequence of tuple of int, optional
        ``(y, x)`` of each downsampling. None: ``plan_strides(image_shape, num_pool)``. For a network that takes images
        of any size, plan them for its training crops and pass them.
    normalization : str
        ``instance``, ``batch``, or ``published``: batch normalisation with the momentum of the study's code.
    deep_supervision : bool
        Give probabilities at every stage.
    k_init : str
        Kernel initialiser of the 3x3 convolutions.
    n_classes : int
        1: sigmoid; more: softmax over the classes, background included.

    Returns
    -------
    keras.Model or DeeplySupervised
        Not compiled. Input ``(n, y, x, c)`` in 0 .. 1, output ``(n, y, x, n_classes)``, float32; with deep supervision
        the outputs in training go from this one to the smallest.

    Raises
    ------
    ValueError
        If the shape has other axes, the normalisation is unknown, there is no downsampling, or a given size is not
        divisible.

    Examples
    --------
    >>> model = nnUNet_2D((64, 48, 1), feature_maps=4)
    >>> [output.shape[1:] for output in model.outputs]
    [(64, 48, 1), (32, 24, 1), (16, 12, 1), (8, 6, 1)]
    """
    check_image_shape(image_shape, "yx")
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"NORMALIZATION is {normalization!r}; wanted one of {', '.join(NORMALIZATIONS)}.")
    strides = plan_strides(image_shape, num_pool) if strides is None else tuple(strides)
    _check_sides(image_shape, strides)
    maps = [min(feature_maps * 2**level, max_feature_maps) for level in range(len(strides) + 1)]
    inputs = x = keras.Input(image_shape, name="image")
    skips = []
    for filters, stride in zip(maps, ((1, 1), *strides), strict=True):
        x = _stage(x, filters, normalization, k_init, stride)
        skips.append(x)
    outputs = []
    for level in reversed(range(len(strides))):
        stride = strides[level]
        x = layers.Conv2DTranspose(maps[level], stride, strides=stride, padding="same", use_bias=False)(x)
        x = _stage(layers.Concatenate()([x, skips[level]]), maps[level], normalization, k_init)
        if deep_supervision or level == 0:
            name = f"probability_{level}" if level else "probability"
            outputs.append(classifier(x, n_classes, name, use_bias=False))
    if deep_supervision:
        return DeeplySupervised(inputs, outputs[::-1], name="nnUNet_2D")
    return keras.Model(inputs, outputs[0], name="nnUNet_2D")


def plan_strides(crop_shape, num_pool=8, plan="crop"):
    """Plan the downsamplings for a crop as nnU-Net does (Isensee et al. 2021, methods), or return those of the study.

    Each side is halved as long as it is even and at least 4 pixels are left; a side that is done keeps its size while
    the other one continues. So an odd side is never halved, and sides divisible by a high power of two give deep
    networks.

    Parameters
    ----------
    crop_shape : tuple of int or None
        ``(y, x)`` or ``(y, x, c)``; None counts as 256, the crops of the study.
    num_pool : int
        Largest number of downsamplings; not used with ``published``.
    plan : str
        ``crop``: as described; ``published``: the eight of the study, for y divisible by 128 and x by 256.

    Returns
    -------
    list of tuple of int
        ``(y, x)`` of each downsampling, 2 or 1.

    Raises
    ------
    ValueError
        If the plan is unknown, no side can be halved, or the published strides do not divide the crop.

    Examples
    --------
    >>> plan_strides((32, 48))
    [(2, 2), (2, 2), (2, 2)]
    >>> plan_strides((16, 64, 1))
    [(2, 2), (2, 2), (1, 2), (1, 2)]
    """
    if plan not in PLANS:
        raise ValueError(f"PLAN is {plan!r}; wanted one of {', '.join(PLANS)}.")
    sides = [PUBLISHED_SIDE if side is None else side for side in crop_shape[:2]]
    if plan == "published":
        if any(side % factor for side, factor in zip(sides, total_strides(PUBLISHED_STRIDES), strict=True)):
            raise ValueError(f"CROP_SHAPE {tuple(crop_shape)}: PLAN published needs y divisible by 128 and x by 256.")
        return list(PUBLISHED_STRIDES)
    strides = []
    while len(strides) < num_pool:
        stride = tuple(2 if side % 2 == 0 and side // 2 >= SMALLEST_SIDE else 1 for side in sides)
        if stride == (1, 1):
            break
        strides.append(stride)
        sides = [side // step for side, step in zip(sides, stride, strict=True)]
    if not strides:
        raise ValueError(
            f"CROP_SHAPE {tuple(crop_shape)}, NUM_POOL {num_pool}: there is nothing to halve; wanted an even side of "
            f"{2 * SMALLEST_SIDE} pixels or more, and a positive number."
        )
    return strides


def total_strides(strides):
    """Return the factors ``(y, x)`` by which all downsamplings together reduce an image; they must divide its sides.

    Parameters
    ----------
    strides : sequence of tuple of int
        ``(y, x)`` of each.

    Returns
    -------
    tuple of int

    Examples
    --------
    >>> total_strides([(2, 2), (2, 2), (1, 2)])
    (4, 8)
    """
    return tuple(math.prod(steps) for steps in zip(*strides, strict=True))


def deep_supervision_weights(n_outputs):
    """Return the weight of the loss of each output (Isensee et al. 2021, methods).

    Each resolution counts half as much as the next higher one, the lowest not at all; the sum is 1.

    Parameters
    ----------
    n_outputs : int
        Number of outputs.

    Returns
    -------
    tuple of float
        From the full resolution to the lowest; ``(1.0,)`` for one output.

    Examples
    --------
    >>> deep_supervision_weights(4)
    (0.5714285714285714, 0.2857142857142857, 0.14285714285714285, 0.0)
    """
    weights = [2.0**-level for level in range(max(1, n_outputs - 1))] + [0.0] * (n_outputs > 1)
    return tuple(weight / sum(weights) for weight in weights)


def _stage(x, filters, normalization, k_init, stride=(1, 1)):
    for step in (stride, (1, 1)):
        x = convolution(x, filters, strides=step, kernel_initializer=k_init)
        if normalization == "instance":
            x = layers.GroupNormalization(groups=-1, epsilon=1e-5)(x)
        else:
            x = layers.BatchNormalization(momentum=MOMENTA[normalization], epsilon=1e-5)(x)
        x = layers.LeakyReLU(negative_slope=0.01)(x)
    return x


def _check_sides(image_shape, strides):
    if not strides:
        raise ValueError("STRIDES is empty; wanted (y, x) of at least one downsampling.")
    for size, factor in zip(image_shape[:2], total_strides(strides), strict=True):
        if size is not None and size % factor:
            raise ValueError(
                f"image_shape {tuple(image_shape)}: {size} is not divisible by {factor} (strides {tuple(strides)})."
            )
