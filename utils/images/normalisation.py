"""Grey value ranges measured on the training images, so that every later prediction uses the same.

=========================  ===========================================================================================
``normalisation``          what it does
=========================  ===========================================================================================
``dtype``                  0..255, 0..65535 or 0..1 becomes 0..1 by the dtype, or the stated ``intensity_range`` does
``percentile``             two percentiles of all training images become 0 and 1, values outside are clipped
``percentile_per_image``   the same with the percentiles of each image or volume, training or not, when it is read
``mean_std``               the network sees ``(value - mean) / std`` of all training images, nothing is clipped
=========================  ===========================================================================================

All but ``percentile_per_image`` end in an ``intensity_range`` (see `utils.images.intensity`) for generators, prediction
and pictures. Colour channels are measured together. ``percentiles`` is ``(low, high)``, from 0 to 100.
"""

import math
from dataclasses import replace

import numpy as np

from utils.errors import check_choice
from utils.images.intensity import ZScore, dtype_range, scale_in_place

NORMALISATIONS = ("dtype", "percentile", "percentile_per_image", "mean_std")
PERCENTILES = (1.0, 99.0)
ANY_GREY_VALUES = (-math.inf, math.inf)
# Values that are summed and counted at once, which takes 32 MB; values in the sample for percentiles of floats.
SLAB, SAMPLE = 4_000_000, 4_000_000


def readable_range(normalisation, percentiles=PERCENTILES, intensity_range=None):
    """Check the settings of a normalisation, and return the grey values that images may hold when they are read.

    Parameters
    ----------
    normalisation : str
        One of ``NORMALISATIONS``.
    percentiles : tuple of float
        ``(low, high)``.
    intensity_range : tuple of float or ZScore, optional
        The stated range.

    Returns
    -------
    tuple of float, ZScore or None
        The stated range, or ``ANY_GREY_VALUES`` if a range will be measured.

    Raises
    ------
    ValueError
        If the normalisation is unknown, the percentiles do not rise, or a range is both stated and to be measured.
    """
    check_choice("NORMALISATION", normalisation, NORMALISATIONS)
    if len(percentiles) != 2 or not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise ValueError(f"PERCENTILES is {percentiles}; wanted two rising numbers from 0 to 100, e.g. (1, 99).")
    if normalisation == "dtype":
        return intensity_range
    if intensity_range is not None:
        raise ValueError(
            f"INTENSITY_RANGE={tuple(intensity_range)} states which grey values become 0 and 1, and NORMALISATION="
            f"{normalisation!r} would measure them. Leave INTENSITY_RANGE None or NORMALISATION 'dtype'."
        )
    return ANY_GREY_VALUES


def measure_intensity_range(train, normalisation, *, percentiles=PERCENTILES, intensity_range=None, others=()):
    """Measure the grey value range of training images, in one pass and with bounded memory.

    Parameters
    ----------
    train : sequence of numpy.ndarray
        Whole training images or volumes, without those for validation.
    normalisation, percentiles, intensity_range
        As `readable_range`; percentiles as `percentiles_of`. ``dtype`` returns the stated range.
    others : sequence of numpy.ndarray
        Images that the range will be used for too; only their dtype matters.

    Returns
    -------
    tuple of float, ZScore or None
        An ``intensity_range``. ``(low, high)`` of a ``ZScore`` is the range of the dtype, or from the smallest to the
        largest value if the dtype has none or values lie outside.

    Raises
    ------
    ValueError
        If the dtypes of the images differ, or all values (or both percentiles) are the same.

    Examples
    --------
    >>> images = [np.array([[[10], [20]], [[30], [40]]], np.uint8)]
    >>> measure_intensity_range(images, "percentile", percentiles=(0, 50))
    (10.0, 25.0)
    >>> measure_intensity_range(images, "mean_std")
    ZScore(low=0.0, high=255.0, mean=25.0, std=11.180339887498949)
    """
    if normalisation not in ("percentile", "mean_std"):
        return intensity_range if normalisation == "dtype" else None
    dtypes = {str(image.dtype) for image in [*train, *others]}
    if len(dtypes) > 1:
        raise ValueError(
            f"NORMALISATION={normalisation!r} measures grey values of training images for all, but the images are of "
            f"the dtypes {', '.join(sorted(dtypes))}. Convert them to one, or use 'dtype' or 'percentile_per_image'."
        )
    if normalisation == "percentile":
        low, high = percentiles_of(train, percentiles)
        if not low < high:
            raise ValueError(
                f"the percentiles {percentiles} of the training images are {low:g} and {high:g}. Use wider "
                "PERCENTILES, e.g. (0, 100), or NORMALISATION='dtype'."
            )
        return low, high
    mean, std, smallest, largest = mean_and_std(train)
    if not std > 0:
        raise ValueError(f"all grey values of the training images are {mean:g}. Check the images.")
    low, high = dtype_range(train[0].dtype) or (smallest, largest)
    return ZScore(*((low, high) if low <= smallest and largest <= high else (smallest, largest)), mean, std)


def mean_and_std(images):
    """Return mean, standard deviation (of the population), smallest and largest value of all images together.

    Parameters
    ----------
    images : sequence of numpy.ndarray
        Any shapes, one dtype.

    Returns
    -------
    mean, std, smallest, largest : float
    """
    count, total, squares, smallest, largest, origin = 0, 0.0, 0.0, math.inf, -math.inf, None
    for slab in _slabs(images):
        values = slab.astype(np.float64)
        # Squares of differences from a number near the mean lose no digits.
        origin = float(values.mean()) if origin is None else origin
        smallest, largest = min(smallest, float(values.min())), max(largest, float(values.max()))
        values -= origin
        count, total, squares = (
            count + values.size,
            total + float(values.sum()),
            squares + float(np.vdot(values, values)),
        )
    return origin + total / count, math.sqrt(max(squares / count - (total / count) ** 2, 0)), smallest, largest


def percentiles_of(images, percentiles):
    """Return percentiles of all grey values together, as ``numpy.percentile`` does for one array.

    Parameters
    ----------
    images, percentiles
        As `mean_and_std`, and any numbers from 0 to 100.

    Returns
    -------
    tuple of float
        Exact for integers up to 16 bits, which are counted; for other dtypes from 4 million values spread evenly.
    """
    dtype = images[0].dtype
    if dtype.kind not in "iu" or dtype.itemsize > 2:
        step = -(-sum(image.size for image in images) // SAMPLE) | 1  # an odd step meets all columns
        sample = np.concatenate([image.flat[::step] for image in images])
        return tuple(np.percentile(sample.astype(np.float64), percentiles).tolist())
    first = int(np.iinfo(dtype).min)
    counts = np.zeros(2 ** (8 * dtype.itemsize), np.int64)
    for slab in _slabs(images):
        counts += np.bincount(slab.ravel().astype(np.int64) - first, minlength=len(counts))
    # Linear between the two values whose ranks enclose the percentile.
    cumulative = np.cumsum(counts)
    ranks = np.asarray(percentiles) / 100 * (cumulative[-1] - 1)
    below, above = (np.searchsorted(cumulative, rank, side="right") for rank in (np.floor(ranks), np.ceil(ranks)))
    return tuple((first + below + (above - below) * (ranks % 1)).tolist())


def stretch_each(images, normalisation, *, percentiles=PERCENTILES):
    """Stretch the grey values of each image or volume between its own percentiles if that is the normalisation.

    Parameters
    ----------
    images : ImageSet
        Complete images or volumes.
    normalisation, percentiles
        As `readable_range`; all but ``percentile_per_image`` returns the images as they are.

    Returns
    -------
    ImageSet
        uint8 and uint16 images in their dtype, 0..255 and 0..65535; others as float32, 0..1. Values outside the
        percentiles are clipped. An image whose percentiles are equal becomes black.
    """
    if normalisation != "percentile_per_image":
        return images
    return replace(images, x=[_stretched(image, *percentiles_of([image], percentiles)) for image in images.x])


def _stretched(image, low, high):
    if not low < high:
        return np.zeros(image.shape, image.dtype if image.dtype in (np.uint8, np.uint16) else np.float32)
    if image.dtype not in (np.uint8, np.uint16):
        return scale_in_place(image.astype(np.float32), low, high, clip=True)
    top = np.iinfo(image.dtype).max
    table = np.clip((np.arange(top + 1) - low) * (top / (high - low)), 0, top)
    return table.round().astype(image.dtype)[image]


def _slabs(images):
    """Yield all values piece by piece; a piece holds at least one row of an image."""
    for image in images:
        rows = image.reshape(-1, math.prod(image.shape[-2:]))
        yield from np.array_split(rows, min(len(rows), -(-image.size // SLAB)))
