"""The median along z."""

import itertools
from collections import deque

import numpy as np

from utils.post_processing.slices import volume_by_volume

# The median is computed on so many rows at a time, because NumPy copies what it sorts.
ROWS = 128


def z_filter(predictions, size=5):
    """Smooth a volume along z with a median of ``size`` slices; y and x are left alone.

    At both ends the volume is mirrored (``b a | a b c``). Only ``size`` slices are in memory.

    The published z-filter was a 5x5 median over (z, y), which also erases structures that are thin in y; this is the
    pure z median of Casser et al. (2018) and of Oztel et al. (2017).

    Parameters
    ----------
    predictions : iterable of numpy.ndarray
        As `volume_by_volume`, with any number of classes.
    size : int
        Odd number of slices.

    Returns
    -------
    iterator of numpy.ndarray
        As many as came in, of the same shapes.

    Raises
    ------
    ValueError
        If the size is even or not positive, or two slices of a volume differ in size.

    Examples
    --------
    >>> slices = [np.full((1, 1, 1), value) for value in (0, 0, 1, 0, 0)]
    >>> [int(s.max()) for s in z_filter(slices, size=3)]
    [0, 0, 0, 0, 0]
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a z-filter of size {size} has no middle slice. Use an odd number such as 5.")
    return volume_by_volume(predictions, lambda slices: _median_along_z(slices, size))


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
