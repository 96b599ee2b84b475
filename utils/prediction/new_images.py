"""Grey values of new images that are stored differently from those a network was trained on.

A network knows the dtype and the black and white of its training images. New images of another dtype are refused until
``INTENSITY_RANGE`` states which of their grey values are as black and as white. The range of the training is then moved
to their grey values, so that the network sees what it would see had they been stored alike. Needs no Keras.
"""

from dataclasses import replace

import numpy as np

from utils.data.experiment_data import NetworkInput
from utils.errors import shortened
from utils.images.intensity import ZScore, dtype_range
from utils.prediction.rescaling import voxel_size_note, zoom_factors

# Images that use only this share of the range from black to white, at one of its ends, are worth a note.
ODD_SHARE = 0.25
FACTS = ("crop_shape", "intensity_range", "normalisation", "percentiles", "dtype", "instance_targets", "voxel_size_nm")


def network_input(content):
    """Return what a trained network knows about its training images.

    Parameters
    ----------
    content : dict
        From `utils.runs.record.RunRecord.network`.

    Returns
    -------
    NetworkInput

    Raises
    ------
    ValueError
        If a fact is missing.
    """
    missing = [name for name in (*FACTS, "batch_size", "n_classes") if name not in content]
    if missing:
        raise ValueError(f"network.json lacks {', '.join(missing)}. Restore it, or give another run.")
    known = {name: content[name] for name in FACTS}
    return NetworkInput(**{name: tuple(fact) if isinstance(fact, list) else fact for name, fact in known.items()})


def with_grey_values_of(data, intensity_range):
    """Return what is known about the training images, with the grey values of new ones.

    Parameters
    ----------
    data : NetworkInput
        Of the training.
    intensity_range : tuple of float or None
        Grey values ``(low, high)`` of the new images that are as black and as white as `black_and_white_of` the
        training images; None: they are stored alike.

    Returns
    -------
    NetworkInput
        With the range for new images of any dtype: a range that was stated, or the dtype, becomes ``(low, high)``;
        measured percentiles, mean and standard deviation are moved by the same line. Values are clipped as in training.

    Raises
    ------
    ValueError
        If it is no range, or each image is normalised by itself, so that none is needed.

    Examples
    --------
    >>> measured = {"normalisation": "percentile", "intensity_range": (514, 2570), "dtype": "uint16"}
    >>> data = NetworkInput(crop_shape=(8, 8, 1), **measured)
    >>> with_grey_values_of(data, (0, 255)).intensity_range
    (2.0, 10.0)
    """
    if intensity_range is None:
        return data
    if data.normalisation == "percentile_per_image":
        raise ValueError(
            "INTENSITY_RANGE is not needed: the network was trained with NORMALISATION percentile_per_image, which "
            "measures each image. Leave it None."
        )
    low, high = _checked(intensity_range)
    black, white = black_and_white_of(data) or (low, high)
    step, trained = (high - low) / (white - black), data.intensity_range

    def moved(value):
        return low + (value - black) * step

    if isinstance(trained, ZScore):
        found = ZScore(low, high, moved(trained.mean), trained.std * step)
    else:
        found = (low, high) if data.normalisation == "dtype" else tuple(map(moved, trained))
    return replace(data, intensity_range=found, dtype=None)


def black_and_white_of(data):
    """Return the grey values of black and white of the training images.

    Parameters
    ----------
    data : NetworkInput
        Of the training.

    Returns
    -------
    low, high : float
        The stated range, or that of the dtype. Measured percentiles are black and white only if they lie outside the
        range of the dtype, or it has none. None if neither range nor dtype is known.
    """
    trained, by_dtype = data.intensity_range, data.dtype and dtype_range(data.dtype)
    if trained is None:
        return by_dtype
    low, high = trained[:2]
    inside = by_dtype and by_dtype[0] <= low and high <= by_dtype[1]
    return by_dtype if data.normalisation == "percentile" and inside else (low, high)


def dtype_problem(image, data):
    """Say that an image is stored differently from the training images, and what helps, or return None.

    Parameters
    ----------
    image : numpy.ndarray
        Any shape. Byte order does not matter, and floats of any width are alike.
    data : NetworkInput
        Of the training, or from `with_grey_values_of`.

    Returns
    -------
    str or None
        A clause. None too if each image is normalised by itself.
    """
    dtype = image.dtype.newbyteorder("=")
    if data.dtype is None or data.normalisation == "percentile_per_image" or _alike(dtype, np.dtype(data.dtype)):
        return None
    black, white = black_and_white_of(data) or ("black", "white")
    likely, trained = dtype_range(dtype), data.intensity_range
    if dtype.kind == "f" and image.max() > 1:  # the numbers of another dtype
        likely = (black, white)
    likely = f"({_shown(likely[0])}, {_shown(likely[1])})" if likely else "(low, high)"
    measured = ""
    if isinstance(trained, ZScore):
        measured = f", whose mean was {trained.mean:g}"
    elif data.normalisation == "percentile":
        measured = f", most of which lay between {trained[0]:g} and {trained[1]:g}"
    return (
        f"has the dtype {dtype}, the training images had {data.dtype}; state its grey values for {_shown(black)} and "
        f'{_shown(white)} of the training images{measured}: probably --set "INTENSITY_RANGE={likely}" (in Python '
        f"intensity_range={likely})"
    )


def note_differences(images, predictor, *, rescale=False):
    """Print in which ways new images differ from those that a network was trained on.

    Parameters
    ----------
    images : ImageSet
        As they are stored; their names hold the scale of each.
    predictor : Predictor
        Knows the training images.
    rescale : bool
        Whether images are resampled to the voxel size of the training.

    Raises
    ------
    ValueError
        If they are to be resampled and a voxel size is not known.
    """
    size, volumes = predictor.data.voxel_size_nm, predictor.is_3d
    remedy = "--set RESCALE=True resamples them for the network, and its prediction back."
    notes = [grey_value_note(images.x, images.names, predictor.data)]
    if not rescale:
        notes.append(voxel_size_note(images.names, size, volumes=volumes, remedy=remedy))
    elif any(factor != 1 for factors in zoom_factors(images.names, size, volumes=volumes) for factor in factors):
        notes.append("images are resampled to the voxel size of the training for the network, and predictions back.")
    for note in filter(None, notes):
        print(f"Note: {note}")


def grey_value_note(images, names, data):
    """Say that images are all dark or all bright to a network, as 8-bit numbers in 16-bit files are, or return None.

    Parameters
    ----------
    images : sequence of numpy.ndarray
        Any shapes.
    names : sequence
        Of the images, for the message.
    data : NetworkInput
        As `dtype_problem`.

    Returns
    -------
    str or None
        A sentence. None too if each image is normalised by itself.
    """
    if data.normalisation == "percentile_per_image":
        return None
    found = {}
    for image, name in zip(images, names, strict=True):
        seen = data.intensity_range or dtype_range(image.dtype)
        black, white = seen[:2]
        if isinstance(seen, ZScore):
            black, white = seen.mean - 3 * seen.std, seen.mean + 3 * seen.std
        low, high, margin = float(image.min()), float(image.max()), ODD_SHARE * (white - black)
        if low < high and (high < black + margin or low > white - margin):
            found.setdefault((f"{black:g}", f"{white:g}"), []).append((str(name), low, high))
    notes = []
    for (black, white), odd in found.items():
        files, low, high = zip(*odd, strict=True)
        notes.append(
            f"the grey values of {shortened(list(files))} lie between {min(low):g} and {max(high):g}; the network "
            f"takes {black} for black and {white} for white. If their black and white differ from those of the "
            "training images, state INTENSITY_RANGE."
        )
    return " ".join(notes) or None


def _alike(dtype, other):
    return dtype == other.newbyteorder("=") or dtype.kind == other.kind == "f"


def _shown(value):
    return value if isinstance(value, str) else f"{value:g}"


def _checked(intensity_range):
    try:
        low, high = map(float, intensity_range)
    except (TypeError, ValueError):
        low = high = 0.0
    if not -np.inf < low < high < np.inf:
        raise ValueError(
            f"INTENSITY_RANGE is {intensity_range}; wanted two rising numbers (low, high), the grey values of black "
            "and white of the new images, such as (0, 255)."
        )
    return low, high
