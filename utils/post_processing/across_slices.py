"""Post-processing across the slices of a volume: small objects are removed, neighbouring slices correct each other.

After C. Xiao, X. Chen, W. Li, L. Li, L. Wang, Q. Xie, H. Han: Automatic mitochondria segmentation for EM data using a
3D supervised convolutional network. Frontiers in Neuroanatomy 12:92, 2018. Only its abstract was at hand: a 3D
connection method relates the segmented mitochondria. Our reading is that this is the method of the same group that goes
forward through the slices (Li et al., A fast forward 3D connection algorithm for mitochondria and synapse segmentations
from serial EM images, BioData Mining 11:24, 2018, also known by its abstract), that connected objects expose false
detections, and how neighbouring slices correct each other. All numbers are ours.
"""

from collections import deque

import cv2
import numpy as np

from utils.post_processing.slices import foreground_of, volume_by_volume, with_foreground


def remove_small_objects(predictions, min_size, *, per_slice=False, min_slices=1):
    """Remove the objects that are small or that few slices show.

    An object is made of the 8-connected components of probability > 0.5 of each slice, connected to those of the next
    slice that they overlap. Small ones get the probability 0; nothing else changes. An object that reaches beyond the
    volume is judged by the part inside. A missing slice splits an object: close gaps with `fuse_layers` first. With
    ``per_slice`` every component is an object of its own, which also cuts off the thin ends of large ones.

    The volume is read once, forward; slices are in memory until each object in them has either ended or become large
    enough. Connecting slices is our reading of Xiao et al. (2018), see the head of this module; the limits are ours.

    Parameters
    ----------
    predictions : iterable of numpy.ndarray
        As `utils.post_processing.slices.volume_by_volume`.
    min_size : int
        Voxels that an object must have, at least 0; pixels with ``per_slice``.
    per_slice : bool
        Judge each slice by itself, e.g. independent images; their sizes may differ.
    min_slices : int
        Consecutive slices that must show an object, at least 1; 1 with ``per_slice``.

    Returns
    -------
    iterator of numpy.ndarray
        Probabilities of the same shapes and dtypes.

    Raises
    ------
    ValueError
        If a limit is out of range, there are several foreground classes, or two slices of a volume differ in size.

    Examples
    --------
    >>> volume = np.zeros((4, 6, 6, 1))
    >>> volume[:3, :2, :2] = 0.9
    >>> volume[2, 4:, 4:] = 0.9
    >>> for per_slice in (False, True):
    ...     [int((p > 0.5).sum()) for p in remove_small_objects([volume], 10, per_slice=per_slice)]
    [12]
    [0]
    """
    check_min_size(min_size, min_slices)
    if not per_slice:
        return volume_by_volume(predictions, lambda slices: _large_objects(slices, min_size, min_slices))
    if min_slices > 1:
        raise ValueError(
            f"min_slices is {min_slices}, but with per_slice an object has one slice. Leave one of them out."
        )
    return volume_by_volume(
        predictions, lambda slices: (_without_small_components(image, min_size) for image in slices)
    )


def check_min_size(min_size, min_slices, names=("min_size", "min_slices")):
    """Check the limits of `remove_small_objects` long before they are used.

    Parameters
    ----------
    min_size, min_slices : int
        At least 0, and at least 1.
    names : sequence of str
        The variables, for the message.

    Raises
    ------
    ValueError
        If one is out of range.
    """
    if min_size < 0 or min_slices < 1:
        raise ValueError(
            f"{names[0]} is {min_size} and {names[1]} {min_slices}, but at least 0 and 1 are needed. "
            "Use e.g. 1000 and 3, or 0 and 1 to keep every object."
        )


def _without_small_components(prediction, min_size):
    labels, sizes = _components(foreground_of(prediction) > 0.5)
    return _without_components(prediction, labels, np.array(sizes) < min_size)


def _large_objects(slices, min_size, min_slices):
    objects, waiting = _Objects(), deque()
    for before, prediction, after in _with_neighbours(slices):
        labels, sizes = _components(foreground_of(prediction) > 0.5)
        pairs = _overlaps(waiting[-1][1], labels) if before is not None else ()
        waiting.append((prediction, labels, objects.add_slice(sizes, pairs)))
        while waiting:
            small, growing = objects.judge(waiting[0][2], min_size, min_slices)
            if after is not None and (growing or len(waiting) == 1):
                break
            yield _without_components(*waiting.popleft()[:2], small)


class _Objects:
    """Components of slices that have been connected so far: a forest whose roots are the objects."""

    def __init__(self):
        self._parents, self._voxels, self._first, self._last = [], [], [], []
        self._slices, self._previous = 0, range(0)

    def add_slice(self, sizes, pairs):
        """Add the components of the next slice and their links to the one before; return their numbers."""
        numbers = range(len(self._parents), len(self._parents) + len(sizes))
        self._parents += numbers
        self._voxels += sizes
        self._first += [self._slices] * len(sizes)
        self._last += [self._slices] * len(sizes)
        for below, above in pairs:
            self._connect(self._previous[below], numbers[above])
        self._slices, self._previous = self._slices + 1, numbers
        return numbers

    def judge(self, numbers, min_size, min_slices):
        """Return which components belong to objects that are too small, and whether one of these may yet grow."""
        roots = [self._root(number) for number in numbers]
        small = [
            self._voxels[root] < min_size or self._last[root] - self._first[root] + 1 < min_slices for root in roots
        ]
        newest = self._slices - 1
        return small, any(low and self._last[root] == newest for low, root in zip(small, roots, strict=True))

    def _root(self, number):
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def _connect(self, below, above):
        below, above = self._root(below), self._root(above)
        if below != above:
            self._parents[above] = below
            self._voxels[below] += self._voxels[above]
            self._first[below] = min(self._first[below], self._first[above])
            self._last[below] = max(self._last[below], self._last[above])


def fuse_layers(predictions, *, min_overlap=0.2):
    """Correct each slice by its two neighbours: close gaps of one slice, remove what only one slice shows.

    First, the probability becomes at least the lower one of the slice before and the slice after, so that what both
    show is not missing in between. Then an 8-connected component of probability > 0.5 gets the probability 0 if less
    than ``min_overlap`` of it is foreground in the slice before or the slice after. Unlike after a median along z, the
    remaining objects keep their outlines. The first and the last slice have one neighbour: nothing is closed there. A
    single slice does not change. All this is our reading of Xiao et al. (2018), see the head of this module.

    Parameters
    ----------
    predictions : iterable of numpy.ndarray
        As `utils.post_processing.slices.volume_by_volume`.
    min_overlap : float
        0 (removes nothing) to 1.

    Returns
    -------
    iterator of numpy.ndarray
        Probabilities of the same shapes and dtypes.

    Raises
    ------
    ValueError
        If the share is out of range, there are several foreground classes, or two slices of a volume differ in size.

    Examples
    --------
    >>> slices = [np.full((1, 1, 1), value) for value in (0.9, 0.9, 0.1, 0.8, 0.0, 0.0, 0.9, 0.0)]
    >>> [float(image.max()) for image in fuse_layers(slices)]
    [0.9, 0.9, 0.8, 0.8, 0.0, 0.0, 0.0, 0.0]
    """
    check_min_overlap(min_overlap)
    return volume_by_volume(predictions, lambda slices: _supported(_closed(slices), min_overlap))


def check_min_overlap(min_overlap, name="min_overlap"):
    """Check the share of `fuse_layers` long before it is used.

    Parameters
    ----------
    min_overlap : float
        0 to 1.
    name : str
        The variable, for the message.

    Raises
    ------
    ValueError
        If it is out of range.
    """
    if not 0 <= min_overlap <= 1:
        raise ValueError(f"{name} is {min_overlap}, but a share from 0 to 1 is needed. Use 0.2, or 0 for none.")


def _closed(slices):
    for before, prediction, after in _with_neighbours(slices):
        if before is None or after is None:
            yield prediction
        else:
            both = np.minimum(foreground_of(before), foreground_of(after))
            yield with_foreground(np.maximum(foreground_of(prediction), both), prediction)


def _supported(slices, min_overlap):
    for before, prediction, after in _with_neighbours(slices):
        neighbours = [foreground_of(image) > 0.5 for image in (before, after) if image is not None]
        if not neighbours:
            yield prediction
            continue
        labels, sizes = _components(foreground_of(prediction) > 0.5)
        shown = np.bincount(labels[np.logical_or.reduce(neighbours)], minlength=len(sizes) + 1)[1:]
        yield _without_components(prediction, labels, shown < min_overlap * np.array(sizes))


def _with_neighbours(slices):
    """Yield each slice between the one before and the one after, None where there is none."""
    before, current = None, None
    for after in slices:
        if current is not None:
            if after.shape != current.shape:
                raise ValueError(
                    f"got slices of the shapes {current.shape} and {after.shape}; they must be slices of one volume."
                )
            yield before, current, after
        before, current = current, after
    if current is not None:
        yield before, current, None


def _components(mask):
    """Return the labels of the 8-connected components, int32, and a list of their sizes, without the background."""
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    return labels, np.bincount(labels[mask], minlength=count)[1:].tolist()


def _overlaps(below, above):
    """Return the pairs of components, counted from 0, of two slices that lie above each other somewhere."""
    both = (below > 0) & (above > 0)
    width = int(above.max()) + 1
    return [divmod(pair, width) for pair in np.unique((below[both] - 1) * np.int64(width) + (above[both] - 1)).tolist()]


def _without_components(prediction, labels, removed):
    """Give the components marked in ``removed``, which counts them from 0, the probability 0."""
    removed = np.concatenate([[False], removed]).astype(bool)
    return with_foreground(np.where(removed[labels], 0, foreground_of(prediction)), prediction)
