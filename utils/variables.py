"""What the variables of templates may be: kind, range, choices and length, checked before anything is read.

A variable of a template means the same in all of them, so each is declared once, in ``VARIABLES``. Needs nothing but
Python. What depends on data or on other variables is checked where these are known.
"""

import math
import re
from typing import NamedTuple

from utils.errors import did_you_mean

LONGEST_SHOWN = 60


class Kind(NamedTuple):
    """What a value may be.

    Attributes
    ----------
    fits : callable
        Takes a value and tells whether it may be that.
    wanted : str
        The same in words.
    choices : tuple
        All possible values, if these are few.
    """

    fits: callable
    wanted: str
    choices: tuple = ()


# Whole numbers from ``low`` to ``high``.
def _whole(low, high=10**9):
    return Kind(
        lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
        f"a whole number from {low} to {high:,}" if high < 10**9 else f"a whole number of at least {low}",
    )


# Finite numbers from ``low`` to ``high``, or between them where an end is open.
def _number(low=-math.inf, high=math.inf, *, open_low=False, open_high=False):
    def fits(value):
        if not isinstance(value, int | float) or isinstance(value, bool) or not -math.inf < value < math.inf:
            return False
        return (low < value if open_low else low <= value) and (value < high if open_high else value <= high)

    if high == math.inf:
        least = f" above {low:g}" if open_low else f" of at least {low:g}"
        return Kind(fits, f"a number{'' if low == -math.inf else least}")
    if not open_low and not open_high:
        return Kind(fits, f"a number from {low:g} to {high:g}")
    start, end = ("above" if open_low else "of at least"), ("below" if open_high else "at most")
    return Kind(fits, f"a number {start} {low:g} and {end} {high:g}")


# One of a few values.
def _choice(*values):
    wanted = "one of " * (len(values) > 1) + ", ".join(map(str, values))
    return Kind(
        lambda value: any(value is v or (type(value) is type(v) and value == v) for v in values), wanted, values
    )


# A text that is not empty.
def _text():
    return Kind(lambda value: isinstance(value, str) and bool(value.strip()), "a name or path")


# Values of one kind in brackets, of any number of at least 1 unless ``lengths`` are given.
def _several(kind, *lengths):
    count = f"{' or '.join(str(length) for length in lengths if length)} " if lengths else ""
    empty = " or () for none" if 0 in lengths else ""

    def fits(value):
        if not isinstance(value, tuple | list) or not (len(value) in lengths if lengths else len(value)):
            return False
        return all(map(kind.fits, value))

    return Kind(fits, f"{count}values in brackets, each {kind.wanted}{empty}")


# A pair ``(low, high)`` of one kind.
def _rising(kind, *, equal=True):
    def fits(value):
        pair = isinstance(value, tuple | list) and len(value) == 2 and all(map(kind.fits, value))
        return pair and (value[0] <= value[1] if equal else value[0] < value[1])

    return Kind(fits, f"(low, high), {'not falling' if equal else 'rising'}, each {kind.wanted}")


# What fits one of several kinds.
def _either(*kinds):
    choices = tuple(value for kind in kinds for value in kind.choices)
    return Kind(lambda value: any(kind.fits(value) for kind in kinds), ", or ".join(k.wanted for k in kinds), choices)


# What fits a kind, or None.
def _maybe(kind):
    return Kind(lambda value: value is None or kind.fits(value), f"{kind.wanted}, or None", kind.choices)


# One value for all axes, or one each.
def _each_axis(kind):
    return _either(kind, _several(kind, 2, 3))


ANYTHING = Kind(lambda value: True, "")
SHARE, SHARE_BELOW_1 = _number(0, 1), _number(0, 1, open_high=True)
POSITIVE, NOT_NEGATIVE = _number(0, open_low=True), _number(0)
# (low, high) of a change, which 0 switches off too.
CHANGE = _maybe(_either(_rising(NOT_NEGATIVE), _choice(0)))
CHANGE_OF_SHARE = _maybe(_either(_rising(SHARE), _choice(0)))
MAPS = _whole(1, 65_536)
SHAPE = _several(_whole(1, 100_000), 3, 4)
NAME = _maybe(_text())
ACTIVATIONS = (
    "celu elu exponential gelu hard_sigmoid hard_silu hard_swish leaky_relu linear log_sigmoid mish relu relu6 selu "
    "sigmoid silu softplus softsign swish tanh"
).split()
INITIALIZERS = (
    "glorot_normal glorot_uniform he_normal he_uniform lecun_normal lecun_uniform orthogonal random_normal "
    "random_uniform truncated_normal"
).split()
LOSSES = ("bce", "w_bce", "dice", "jaccard", "bce_dice", "w_bce_dice", "focal", "tversky")

VARIABLES = {
    # Data
    **dict.fromkeys(("CROP_SHAPE", "TEST_CROP_SHAPE"), SHAPE),
    **dict.fromkeys(("OVERLAP", "TEST_OVERLAP"), _each_axis(SHARE_BELOW_1)),
    "RANDOM_CROPS": _whole(0, 1_000_000),
    "RANDOM_SUBVOLUMES": _whole(0, 10_000_000),
    "PROBABILITY_MAP": _maybe(_several(NOT_NEGATIVE, 2)),
    "INTENSITY_RANGE": _maybe(_rising(_number(), equal=False)),
    "VALIDATION_SPLIT": SHARE_BELOW_1,
    "SEED": _whole(0, 2**31),
    **dict.fromkeys(("IMAGE_DATASET", "MASK_DATASET", "LOAD_WEIGHTS", "RUN", "FINE_TUNE_FROM", "FREEZE_UNTIL"), NAME),
    **dict.fromkeys(("GRAD_CAM_LAYER", "FEATURE_MAPS_LAYER", "KERNELS_LAYER"), NAME),
    "VOXEL_SIZE_NM": _maybe(_each_axis(POSITIVE)),
    "BLOCK_SHAPE": _several(_whole(1, 100_000), 3),
    "EMPTY_VALUES": Kind(
        lambda value: isinstance(value, tuple | list) and all(map(_number().fits, value)), "numbers in brackets, or ()"
    ),
    "MIN_FOREGROUND": SHARE,
    "REPLICATE": _number(0, 10_000, open_low=True),
    "EXTRA_DATA": Kind(lambda value: isinstance(value, tuple | list | str), "folders in brackets, or ()"),
    "NORMALISATION": _choice("dtype", "percentile", "percentile_per_image", "mean_std"),
    "PERCENTILES": _rising(_number(0, 100), equal=False),
    "WEIGHT_MAP_CLASSES": _several(NOT_NEGATIVE),
    "WEIGHT_MAP_W0": NOT_NEGATIVE,
    "WEIGHT_MAP_SIGMA": POSITIVE,
    "INSTANCE_TARGETS": _several(_choice("binary", "contour", "distance"), 0, 1, 2, 3),
    **dict.fromkeys(("FOREGROUND_ABOVE", "BACKGROUND_BELOW"), SHARE),
    "FOREGROUND_REPEATS": _maybe(_whole(1, 100_000)),
    # Augmentation
    "ROTATION_RANGE": _number(0, 360),
    "SHEAR_RANGE": _number(0, 89),
    **dict.fromkeys(("WIDTH_SHIFT_RANGE", "HEIGHT_SHIFT_RANGE", "DEPTH_SHIFT_RANGE"), SHARE),
    **dict.fromkeys(("AUGMENTATION_PROBABILITY", "MISALIGNMENT_ROTATION"), SHARE),
    "ZOOM_RANGE": _rising(_number(0, 100, open_low=True)),
    "ELASTIC_ALPHA": CHANGE,
    "ELASTIC_SIGMA": POSITIVE,
    **dict.fromkeys(("BRIGHTNESS_RANGE", "CONTRAST_RANGE", "GAMMA_RANGE", "NOISE_STD", "BLUR_SIGMA"), CHANGE),
    **dict.fromkeys(("MEDIAN_SIZE", "MOTION_LENGTH", "MISALIGNMENT"), CHANGE),
    "MISSING_SECTIONS": CHANGE,
    **dict.fromkeys(("DROPOUT_RANGE", "CUTMIX_SIZE", "CUTBLUR_SIZE", "CUTNOISE_SIZE", "CUTOUT_SIZE"), CHANGE_OF_SHARE),
    "MISSING_FILL": _maybe(_either(SHARE, _choice("mean", "neighbour"))),
    "CUTOUT_FILL": _maybe(_either(SHARE, _choice("mean"))),
    "CUTBLUR_FACTOR": _rising(_whole(1, 1000)),
    "CUTNOISE_STRENGTH": _rising(SHARE),
    "CUT_COUNT": _rising(_whole(1, 1000)),
    "FILL_MODE": _choice("reflect", "nearest", "constant", "wrap"),
    "CVAL": _number(),
    "PROBABILITIES": Kind(
        lambda value: isinstance(value, dict) and all(isinstance(k, str) and SHARE.fits(p) for k, p in value.items()),
        "{name: probability from 0 to 1}",
    ),
    # Network
    "N_CLASSES": _whole(1, 255),
    "DEPTH": _whole(1, 12),
    "Z_DOWN": _either(_choice(1, 2), _several(_choice(1, 2))),
    "FEATURE_MAPS": _either(_several(MAPS), MAPS),
    **dict.fromkeys(("START_FILTERS", "NUM_INIT_CHANNELS", "FULLY_CONNECTED"), MAPS),
    **dict.fromkeys(("N_FILTERS_FIRST_CONV", "GROWTH_RATE", "MAX_FEATURE_MAPS"), MAPS),
    "N_LAYERS_PER_BLOCK": _several(_whole(1, 1000)),
    **dict.fromkeys(("N_POOL", "NUM_POOL"), _whole(1, 12)),
    "DROP_VALUES": _several(SHARE_BELOW_1),
    "DROP_VALUE": SHARE_BELOW_1,
    "DROP_ORDER": _choice("level", "published"),
    "ACTIVATION": _choice(*ACTIVATIONS),
    "K_INIT": _choice(*INITIALIZERS),
    "GATE": _choice("skip", "decoder"),
    "BACKBONE": _choice("ResNet50", "ResNet101", "ResNet152"),
    "ENCODER_WEIGHTS": NAME,
    "DOWNSAMPLING_GROUP": _whole(2, 64),
    "OUTPUT_WEIGHTS": _several(NOT_NEGATIVE),
    "PLAN": _choice("crop", "published"),
    "NORMALIZATION": _choice("instance", "batch", "published"),
    # Training
    "LOSS": _choice(*LOSSES),
    "FOREGROUND_WEIGHT": _maybe(POSITIVE),
    "CLASS_WEIGHTS": _maybe(_several(NOT_NEGATIVE)),
    "OPTIMIZER": _choice("sgd", "adam", "adamw", "adabound"),
    "SCHEDULE": _choice(None, "one_cycle", "cosine", "step", "plateau"),
    "LEARNING_RATE": _number(0, 1000, open_low=True),
    "MOMENTUM": SHARE_BELOW_1,
    "EPSILON": POSITIVE,
    "BATCH_SIZE": _whole(1, 100_000),
    "EPOCHS": _whole(1, 1_000_000),
    "PATIENCE": _whole(1, 1_000_000),
    "MONITOR": _choice("val_loss", "val_foreground_iou"),
    # Prediction and post-processing
    "FULL_VOLUME": _choice(True, False, None),
    "PADDING": _each_axis(_whole(0, 100_000)),
    "PADDING_MODE": _choice("mirror", "median"),
    "PROTOCOL": _choice("blended", "crops", "full"),
    "OUTPUT_DTYPE": _choice("float32", "float16"),
    **dict.fromkeys(("Z_FILTER_SIZE", "LAST_Z_FILTER_SIZE"), _whole(0, 999)),
    **dict.fromkeys(("SPURIOUS_BELOW", "THRESHOLD", "MIN_LAYER_OVERLAP"), SHARE),
    "WATERSHED": _choice(None, "edges", "gradient"),
    **dict.fromkeys(("WATERSHED_OPEN", "WATERSHED_DILATE", "WATERSHED_ERODE", "WATERSHED_REACH"), _whole(0, 1000)),
    "WATERSHED_EDGE_SIGMA": _number(0, 1000, open_low=True),
    **dict.fromkeys(("MIN_OBJECT_SIZE", "MIN_VOXELS", "MIN_SLICES"), _whole(0, 10**12)),
    **dict.fromkeys(("INSTANCE_DISTANCE_NM", "INSTANCE_DEPTH"), NOT_NEGATIVE),
    "GRAD_CAM_CLASS": _whole(0, 254),
}
# Values that mean something else where the comment above the variable says so.
SPECIAL = {"BATCH_SIZE": (0, "0: as in training"), "CROP_SHAPE": ((), "(): as in training")}


def variable_problem(name, value, comment=""):
    """Say what is wrong with the value of a variable, or return None.

    Parameters
    ----------
    name : str
        The variable. One that is not declared may be anything; one that is True or False by default is checked by its
        type alone.
    value : object
        As the template has it, or as ``--set`` gave it.
    comment : str
        The comment above it in the template.

    Returns
    -------
    str or None

    Examples
    --------
    >>> variable_problem("EPOCHS", 0)
    'EPOCHS is 0; wanted a whole number from 1 to 1,000,000'
    >>> variable_problem("GATE", "skipp")
    "GATE 'skipp' is not known; did you mean 'skip'? Use one of ['skip', 'decoder']"
    """
    kind, (special, said) = VARIABLES.get(name, ANYTHING), SPECIAL.get(name, (None, "?"))
    if kind.fits(value) or said in comment and value == special:
        return None
    shown = cut(repr(value))
    if kind.choices and isinstance(value, str):
        guess = did_you_mean(value, kind.choices) or "."
        return f"{name} {shown} is not known{guess} Use one of {list(kind.choices)}"
    return f"{name} is {shown}; wanted {kind.wanted}"


def cut(text):
    """Shorten a text for a message.

    Parameters
    ----------
    text : str
        Of any length.

    Returns
    -------
    str
    """
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def id_problem(name):
    """Say why a text cannot be the name of an experiment, which becomes that of a folder, or return None.

    Parameters
    ----------
    name : str
        As given to ``--id``.

    Returns
    -------
    str or None

    """
    if re.fullmatch(r"[\w.+-]{1,100}", name) and ".." not in name and name != "." and len(name.encode()) <= 200:
        return None
    return f"--id {cut(name)!r} is no name; wanted letters, digits and . _ - +, at most 100, and no two dots in a row"
