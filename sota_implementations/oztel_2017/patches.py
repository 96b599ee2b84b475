"""Patches of one class for training, and maps of whole images from a network that classifies patches."""

import itertools

import numpy as np
from skimage.transform import resize

from utils.orientations import count_orientations, orient, restore
from utils.padding import pad
from utils.prediction import predict_each

PATCH, STRIDE = 32, 8


def create_patches(images, masks, *, size=PATCH, foreground_above=0.8, background_below=0.2):
    """Cut images into patches side by side and keep those that are almost all foreground or almost all background.

    Parameters
    ----------
    images : sequence of numpy.ndarray
        ``(y, x, c)`` each, sizes may differ. What does not fill a patch at the end of an axis is left out.
    masks : sequence of numpy.ndarray
        ``(y, x, 1)`` each; not 0 is foreground.
    size : int
        Side of a patch in pixels.
    foreground_above, background_below : float
        From this fraction of foreground on a patch is of class 1, up to that one of class 0; others are dropped.

    Returns
    -------
    patches : numpy.ndarray
        ``(n, size, size, c)``, dtype of the images.
    labels : numpy.ndarray
        ``(n, 1, 1, 1)``, uint8, 0 or 1: the mask of the one pixel that a patch becomes.

    Raises
    ------
    ValueError
        If the fractions overlap, or images and masks do not agree in number or size.

    Examples
    --------
    >>> image = np.arange(4 * 6, dtype=np.uint8).reshape(4, 6, 1)
    >>> patches, labels = create_patches([image], [image % 6 < 3], size=2)
    >>> patches[:, 0, 0, 0].tolist(), labels.ravel().tolist()
    ([0, 4, 12, 16], [1, 0, 1, 0])
    """
    if not 0 <= background_below < foreground_above <= 1:
        raise ValueError(
            f"a patch cannot be background up to {background_below} and foreground from {foreground_above} on; "
            "wanted 0 <= background_below < foreground_above <= 1."
        )
    if len(images) != len(masks) or not len(images):
        raise ValueError(f"{len(images)} images but {len(masks)} masks; wanted as many, and at least one.")
    patches, labels = [], []
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        if image.shape[:2] != mask.shape[:2]:
            raise ValueError(f"image {number} is {image.shape[:2]} (y, x), its mask {mask.shape[:2]}.")
        foreground = (_tiles(mask, size) != 0).mean(axis=(1, 2, 3))
        kept = (foreground >= foreground_above) | (foreground <= background_below)
        patches.append(_tiles(image, size)[kept])
        labels.append(foreground[kept] >= foreground_above)
    return np.concatenate(patches), np.concatenate(labels).astype(np.uint8).reshape(-1, 1, 1, 1)


def split_and_balance(patches, labels, *, validation=0.2, repeats=None, seed=0):
    """Split patches into training and validation, class by class, and repeat the training patches of class 1.

    Parameters
    ----------
    patches : numpy.ndarray
        ``(n, y, x, c)``.
    labels : numpy.ndarray
        ``(n, 1, 1, 1)``, 0 or 1.
    validation : float
        Fraction of each class for validation, rounded down: the first ones after shuffling.
    repeats : int, optional
        How often each training patch of class 1 is taken, 20 in the published code; without it as often as comes
        closest to as many of both classes.
    seed : int
        Of the shuffling.

    Returns
    -------
    train : tuple of numpy.ndarray
        Patches and labels, background first: to be shuffled in training.
    validation : tuple of numpy.ndarray
        Patches and labels, each once.

    Raises
    ------
    ValueError
        If the fraction is not in 0 .. 1 (1 excluded), a repetition is below 1, or a class has nothing to train with.

    Examples
    --------
    >>> labels = np.array([0, 0, 0, 0, 1, 1], np.uint8).reshape(-1, 1, 1, 1)
    >>> train, validation = split_and_balance(np.zeros((6, 32, 32, 1)), labels, validation=0.5)
    >>> train[1].ravel().tolist(), validation[1].ravel().tolist()
    ([0, 0, 1, 1], [0, 0, 1])
    """
    if not 0 <= validation < 1 or (repeats is not None and repeats < 1):
        raise ValueError(f"validation is {validation}, repeats {repeats}; wanted 0 <= validation < 1 and repeats >= 1.")
    rng = np.random.default_rng(seed)
    classes = [rng.permutation(np.flatnonzero(labels.ravel() == label)) for label in (0, 1)]
    if not all(map(len, classes)):
        counts = " and ".join(f"{len(indices)} of class {label}" for label, indices in enumerate(classes))
        raise ValueError(f"there are {counts}; a classifier needs both. Lower the size of patches, or the fractions.")
    kept_back = [indices[: int(validation * len(indices))] for indices in classes]
    background, foreground = (indices[len(first) :] for indices, first in zip(classes, kept_back, strict=True))
    repeats = repeats or max(1, round(len(background) / len(foreground)))
    train, held = np.concatenate([background, *[foreground] * repeats]), np.concatenate(kept_back)
    return (patches[train], labels[train]), (patches[held], labels[held])


def dense_probability(model, images, *, ensemble=False, batch_size=4, intensity_range=None):
    """Predict whole images with a network that classifies patches.

    Value k of the network's coarse map belongs to the patch that starts at pixel 8 k, in both axes, hence to its
    middle, 8 k + 15.5. Images are mirrored outwards by 12 pixels (at the end by up to 7 more), which puts the middles
    of the patches at 3.5, 11.5, ...: where the pixel centres of a map lie that is eight times as small. The map is
    enlarged with splines of order 3.

    The published code stretched the map of the bare image to its size, which displaces and magnifies it by up to 12
    pixels, and wrote it into an array of the size of one data set.

    Parameters
    ----------
    model : keras.Model
        ``(n, y, x, c)`` to ``(n, y / 8 - 3, x / 8 - 3, classes)``.
    images : iterable of numpy.ndarray
        ``(y, x, c)`` each, of any size.
    ensemble : bool
        Average the eight orientations.
    batch_size : int
        Images, or orientations, per call.
    intensity_range : tuple of float, optional
        As ``utils.intensity.to_unit_range``.

    Yields
    ------
    numpy.ndarray
        Probability of class 1, ``(y, x, 1)``, float32, 0 .. 1, of the size of each image.

    Examples
    --------
    >>> import keras
    >>> model = keras.Sequential([keras.layers.AveragePooling2D(32, 8), keras.layers.Softmax()])
    >>> [p.shape for p in dense_probability(model, [np.zeros((50, 61, 2), np.uint8)])]
    [(50, 61, 1)]
    """
    to_predict, originals = itertools.tee(images)

    def orientations(image):
        # The turns that keep the shape of an oblong image come first, so that batches of one shape are full.
        return sorted(range(count_orientations(image)), key=lambda number: number % 2) if ensemble else [0]

    views = (_mirror_outwards(orient(image, number)) for image in to_predict for number in orientations(image))
    coarse = predict_each(model, views, batch_size=batch_size, intensity_range=intensity_range)
    for image in originals:
        numbers = orientations(image)
        total = sum(restore(_enlarge(next(coarse), orient(image, number).shape), number) for number in numbers)
        yield total / np.float32(len(numbers))


def _tiles(image, size):
    """Return ``(n, size, size, c)``: the image side by side, row after row, without the rest at the ends."""
    rows, columns = (length // size for length in image.shape[:2])
    grid = image[: rows * size, : columns * size].reshape(rows, size, columns, size, image.shape[2])
    return grid.swapaxes(1, 2).reshape(rows * columns, size, size, image.shape[2])


def _mirror_outwards(image):
    margin = (PATCH - STRIDE) // 2
    return pad(image, (margin, margin), [margin + -length % STRIDE for length in image.shape[:2]])


def _enlarge(coarse, image_shape):
    shape = [STRIDE * length for length in coarse.shape[:2]]
    large = resize(coarse[..., 1], shape, order=3, mode="symmetric", anti_aliasing=False)
    return large[: image_shape[0], : image_shape[1], None].astype(np.float32, copy=False)
