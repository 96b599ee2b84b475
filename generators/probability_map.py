"""Where random crops are taken: anywhere, or more often around foreground."""

import itertools

import numpy as np


def check_probability_map(probability_map):
    """Check the weights of foreground and background.

    Parameters
    ----------
    probability_map : tuple of float
        ``(foreground weight, background weight)``, e.g. ``(0.94, 0.06)``.

    Raises
    ------
    ValueError
        If they are no pair, one is negative or both are 0.
    """
    weights = tuple(probability_map)
    if len(weights) != 2 or not (min(weights) >= 0 and max(weights) > 0):
        raise ValueError(
            f"probability_map is {weights}; it must be (foreground weight, background weight), none below 0 and "
            "one above 0, e.g. (0.94, 0.06)."
        )


class ProbabilityMap:
    """Draw pixels or voxels of a mask in proportion to the weight of their class.

    Foreground is drawn with probability ``foreground / (foreground + background)``, whatever its volume; within a class
    all voxels are equally likely. Only the foreground of each line along x is counted, so a volume of 165x768x1024
    voxels takes 1 MB and a draw some microseconds.

    Parameters
    ----------
    mask : numpy.ndarray or LazyImage
        ``(y, x, 1)`` or ``(z, y, x, 1)``; everything but 0 is foreground. Kept, not copied.
    weights : tuple of float
        ``(foreground, background)``, checked by `check_probability_map`.

    Examples
    --------
    >>> mask = np.zeros((4, 5, 1), np.uint8)
    >>> mask[2, 3] = 1
    >>> ProbabilityMap(mask, (1, 0)).draw(np.random.default_rng(0))
    (2, 3)
    """

    def __init__(self, mask, weights):
        self._mask = mask
        self._foreground_share = weights[0] / sum(weights)
        # Part by part, because NumPy copies what it counts, and masks may be on disk.
        lines = mask.shape[:-2]
        steps = getattr(mask, "block_shape", (1, lines[-1])[-len(lines) :])[: len(lines)]
        foreground = np.empty(lines, np.int64)
        for corner in itertools.product(*map(range, [0] * len(lines), lines, steps)):
            part = tuple(slice(start, start + step) for start, step in zip(corner, steps, strict=True))
            foreground[part] = np.count_nonzero(mask[part][..., 0], axis=-1)
        background = mask.shape[-2] - foreground
        # The number of voxels of each class up to the end of each line.
        smallest = np.uint32 if foreground.size * mask.shape[-2] < 2**32 else np.int64
        self._counts = tuple(np.cumsum(of_class).astype(smallest) for of_class in (background, foreground))

    def draw(self, rng):
        """Draw one pixel ``(y, x)`` or voxel ``(z, y, x)``; None when the mask lacks foreground or background."""
        is_foreground = rng.random() < self._foreground_share
        if not all(counts[-1] for counts in self._counts):
            return None
        counts = self._counts[int(is_foreground)]
        number = int(rng.integers(int(counts[-1])))
        line = int(np.searchsorted(counts, counts.dtype.type(number), side="right"))
        number_in_line = number - (int(counts[line - 1]) if line else 0)
        place = tuple(map(int, np.unravel_index(line, self._mask.shape[:-2])))
        voxels = self._mask[tuple(slice(index, index + 1) for index in place)].ravel()
        of_class = np.flatnonzero((voxels != 0) == is_foreground)
        return *place, int(of_class[number_in_line])


def random_corner(sizes, crop_shape, rng, probability_map=None):
    """Draw the first corner of a random crop.

    Parameters
    ----------
    sizes : tuple of int
        ``(y, x)`` or ``(z, y, x)`` of the image.
    crop_shape : tuple of int
        Of the crop, no larger than the image.
    rng : numpy.random.Generator
        Source of randomness.
    probability_map : ProbabilityMap, optional
        Draws the pixel at the centre of the crop, as far as the border of the image allows. None: all crops are equally
        likely.

    Returns
    -------
    tuple of int
    """
    rooms = [size - crop for size, crop in zip(sizes, crop_shape, strict=True)]
    centre = None if probability_map is None else probability_map.draw(rng)
    if centre is None:
        return tuple(int(rng.integers(room + 1)) if room else 0 for room in rooms)
    starts = [place - crop // 2 for place, crop in zip(centre, crop_shape, strict=True)]
    return tuple(min(max(start, 0), room) for start, room in zip(starts, rooms, strict=True))
