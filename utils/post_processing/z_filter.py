"""Post-processing of probabilities: the filter along z, and what all post-processings share.

The others live by their subject: doubtful objects and outlines, slice by slice, in ``refinement``; small objects
and slices that correct each other in ``utils.post_processing.across_slices``; a watershed along the gradient in
``gradient_watershed``; holes and specks in ``morphology``. All take and give an iterable of slices or
volumes, so that one feeds the next.
"""

import itertools
from collections import deque

import numpy as np

# Rows of which the median along z is computed at once.
ROWS = 128


def z_filter(predictions, size=5):
    """Smooth a volume along z with a median of ``size`` slices; y and x are left alone.

    At both ends the volume is mirrored (``b a | a b c``). Only ``size`` slices are in memory.

    The published z-filtering was a 5x5 median over (z, y), which also erases structures that are thin in y; this is
    the pure z median of Casser et al. (2018) and of Oztel et al. (2017).

    Parameters
    ----------
    predictions : iterable of numpy.ndarray
        Consecutive slices ``(y, x, c)`` of one size, or volumes ``(z, y, x, c)``, each filtered by itself.
    size : int
        Odd number of slices.

    Returns
    -------
    iterator of numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``, as many as came in.

    Raises
    ------
    ValueError
        If the size is even or not positive, or two slices differ in size.

    Examples
    --------
    >>> slices = [np.full((1, 1, 1), value) for value in (0, 0, 1, 0, 0)]
    >>> [int(s.max()) for s in z_filter(slices, size=3)]
    [0, 0, 0, 0, 0]
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a z-filter of size {size} has no middle slice. Use an odd number such as 5.")
    return volume_by_volume(predictions, lambda slices: _median_along_z(slices, size))


def volume_by_volume(predictions, process):
    """Let a function of the slices of a volume work on slices and on volumes.

    Parameters
    ----------
    predictions : iterable of numpy.ndarray
        Slices ``(y, x, c)``, of which all that follow each other are one volume, or volumes ``(z, y, x, c)``.
    process : callable
        Takes an iterable of the slices of one volume and returns one of as many slices.

    Yields
    ------
    numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``, as many as came in.

    Examples
    --------
    >>> twice = lambda slices: (2 * image for image in slices)
    >>> [found.shape for found in volume_by_volume([np.ones((4, 5, 1)), np.ones((3, 4, 5, 1))], twice)]
    [(4, 5, 1), (3, 4, 5, 1)]
    """
    for are_volumes, group in itertools.groupby(predictions, key=lambda prediction: prediction.ndim == 4):
        if are_volumes:
            yield from (np.stack(list(process(volume))) for volume in group)
        else:
            yield from process(group)


def foreground_of(prediction):
    """Return the probability of the foreground, where there is one class of it.

    Parameters
    ----------
    prediction : numpy.ndarray
        Probabilities, float: ``(y, x, 1)`` of the foreground, or ``(y, x, 2)`` of background and foreground.

    Returns
    -------
    numpy.ndarray
        ``(y, x)``, a view.

    Raises
    ------
    ValueError
        If there are more classes, or the values are not floats.
    """
    if prediction.dtype.kind != "f":
        raise ValueError(
            f"the prediction has the dtype {prediction.dtype}, but probabilities are floats from 0 to 1. "
            "Use utils.images.intensity.to_unit_range for saved 8-bit images, astype(np.float32) for masks of 0 and 1."
        )
    if prediction.shape[-1] > 2:
        raise ValueError(
            f"the prediction has {prediction.shape[-1]} classes, but this post-processing knows one foreground class. "
            "Give the classes one by one: prediction[..., [number]]."
        )
    return prediction[..., -1]


def with_foreground(foreground, prediction):
    """Return a prediction of the same shape and dtype with another foreground.

    Parameters
    ----------
    foreground : numpy.ndarray
        ``(y, x)``, any dtype, 0 .. 1.
    prediction : numpy.ndarray
        ``(y, x, 1)`` or ``(y, x, 2)``, as `foreground_of`; only its number of classes and its dtype are used.

    Returns
    -------
    numpy.ndarray
        Of two classes, the background gets what is missing to 1.
    """
    foreground = foreground.astype(prediction.dtype, copy=False)
    if prediction.shape[-1] == 1:
        return foreground[..., np.newaxis]
    return np.stack([1 - foreground, foreground], axis=-1)


def _median_along_z(slices, size):
    window = deque(maxlen=size)
    for image in _with_mirrored_ends(iter(slices), size // 2):
        if window and image.shape != window[-1].shape:
            raise ValueError(
                f"the z-filter got slices of the shapes {window[-1].shape} and {image.shape}; "
                "they must be slices of one volume."
            )
        window.append(image)
        if len(window) == size:
            # Some rows at a time, because NumPy makes copies of what it sorts.
            parts = [[part[start : start + ROWS] for part in window] for start in range(0, len(image), ROWS)]
            yield np.concatenate([np.median(part, axis=0) for part in parts])


def _with_mirrored_ends(slices, reach):
    head = list(itertools.islice(slices, reach))
    if len(head) < reach:  # the whole volume is shorter than the reach
        order = np.pad(np.arange(len(head)), reach, mode="symmetric") if head else []
        yield from (head[number] for number in order)
        return
    yield from reversed(head)
    recent = deque(maxlen=reach)
    for image in itertools.chain(head, slices):
        recent.append(image)
        yield image
    yield from reversed(recent)
