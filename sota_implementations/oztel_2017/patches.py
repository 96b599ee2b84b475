"""Patches of one class for training, and predictions of whole images by a network that classifies patches."""

import itertools

import keras
import numpy as np
from skimage.transform import resize

from utils.images.padding import pad
from utils.post_processing.slices import foreground_of
from utils.prediction.orientations import count_orientations, orient, restore
from utils.prediction.protocols import predict_each

PATCH, STRIDE = 32, 8


def check_patch_shape(crop_shape):
    """Check that patches have the size for which the networks give one class.

    Parameters
    ----------
    crop_shape : tuple of int
        ``(y, x, c)``.

    Raises
    ------
    ValueError
        If it is not ``(32, 32, c)``.
    """
    if len(crop_shape) != 3 or tuple(crop_shape[:2]) != (PATCH, PATCH):
        raise ValueError(
            f"CROP_SHAPE is {crop_shape}, but the network gives one class to {PATCH} x {PATCH} pixels. "
            f"Use ({PATCH}, {PATCH}, 1), or ({PATCH}, {PATCH}, 3) for RGB."
        )


class PatchBatches(keras.utils.PyDataset):
    """Batches of patches with one label each, made from batches of patches with masks.

    The label is 1 where at least half of the patch is foreground, after augmentation.

    Parameters
    ----------
    batches : PairBatches
        Patches and masks, from ``flow()``.
    """

    def __init__(self, batches):
        super().__init__(workers=batches.workers)
        self._batches = batches
        self.batch_size, self.crop_shape = batches.batch_size, batches.crop_shape
        self.intensity_range, self.n_samples = batches.intensity_range, batches.n_samples

    def __len__(self):
        return len(self._batches)

    def __getitem__(self, index):
        """Return images, float32 ``(n, y, x, c)``, and labels, uint8 ``(n, 1, 1, 1)``."""
        images, masks = self._batches[index]
        return images, (_foreground_fractions(masks) >= 0.5).astype(np.uint8).reshape(-1, 1, 1, 1)

    @property
    def epoch(self):
        """Epoch that the random numbers belong to; set it to continue an earlier training."""
        return self._batches.epoch

    @epoch.setter
    def epoch(self, number):
        self._batches.epoch = number

    def on_epoch_end(self):
        """Begin the next epoch."""
        self._batches.on_epoch_end()


def keep_clear_patches(patches, *, foreground_above=0.8, background_below=0.2):
    """Keep the patches that are mostly foreground or mostly background, in order.

    Parameters
    ----------
    patches : ImageSet
        Patches with masks, in which everything but 0 is foreground.
    foreground_above, background_below : float
        Fractions of foreground: patches with at least the first or at most the second are kept.

    Returns
    -------
    ImageSet

    Raises
    ------
    ValueError
        If the fractions are not on both sides of a half, or a class has no patch.

    Examples
    --------
    >>> from utils.data.image_set import ImageSet
    >>> masks = [np.full((32, 32, 1), value, np.uint8) for value in (0, 1, 1)]
    >>> masks[1][:16] = 0
    >>> len(keep_clear_patches(ImageSet(masks, masks, ["a", "b", "c"], (0, 1))))
    2
    """
    if not 0 <= background_below < 0.5 <= foreground_above <= 1:
        raise ValueError(
            f"BACKGROUND_BELOW is {background_below} and FOREGROUND_ABOVE {foreground_above}; wanted at least 0 and "
            "below 0.5, and 0.5 to 1: half of a patch decides between the classes."
        )
    fractions = _foreground_fractions(patches.y)
    foreground, background = fractions >= foreground_above, fractions <= background_below
    if not (foreground.any() and background.any()):
        raise ValueError(
            f"of {len(patches)} patches {foreground.sum()} are foreground (at least {foreground_above} of the pixels) "
            f"and {background.sum()} background (at most {background_below}); a classifier needs both. Check masks, "
            "lower FOREGROUND_ABOVE, or keep fewer images for validation."
        )
    return patches.subset(np.flatnonzero(foreground | background))


def repeat_foreground(patches, repeats=None):
    """Repeat the foreground patches, so that both classes count equally in training.

    Parameters
    ----------
    patches : ImageSet
        From `keep_clear_patches`.
    repeats : int, optional
        How often each occurs, 20 in the published code; None balances the classes as well as possible.

    Returns
    -------
    ImageSet
        Background first; training shuffles it.

    Raises
    ------
    ValueError
        If the number is below 1, or no patch is foreground.

    Examples
    --------
    >>> from utils.data.image_set import ImageSet
    >>> masks = [np.full((32, 32, 1), value, np.uint8) for value in (0, 1)]
    >>> len(repeat_foreground(ImageSet(masks, masks, ["a", "b"], (0, 1)), 20))
    21
    """
    if repeats is not None and repeats < 1:
        raise ValueError(
            f"FOREGROUND_REPEATS is {repeats}; wanted at least 1, or None for as many as there are others."
        )
    is_foreground = _foreground_fractions(patches.y) >= 0.5
    foreground, background = np.flatnonzero(is_foreground), np.flatnonzero(~is_foreground)
    if not len(foreground):
        raise ValueError(
            f"none of {len(patches)} patches is foreground, so there is nothing to repeat. Check masks, or lower "
            "FOREGROUND_ABOVE of keep_clear_patches."
        )
    repeats = repeats or max(1, round(len(background) / len(foreground)))
    return patches.subset([*background, *np.tile(foreground, repeats)])


def dense_probability(model, images, *, ensemble=False, batch_size=4, intensity_range=None):
    """Predict whole images with a network that classifies patches.

    Along each axis, value k of the network's coarse map belongs to the patch that starts at pixel 8 k, so to its
    centre, 8 k + 15.5. Mirroring the image outwards by 12 pixels (at the end by up to 7 more) moves the centres to 3.5,
    11.5, ...: the pixel centres of a map an eighth as large. Splines of order 3 enlarge that map.

    The published code stretched the map of the bare image to the size of the image, which displaces it by up to 12
    pixels.

    Parameters
    ----------
    model : keras.Model
        ``(n, y, x, c)`` to ``(n, y / 8 - 3, x / 8 - 3, classes)``, one class or two.
    images : iterable of numpy.ndarray
        ``(y, x, c)`` each, of any size.
    ensemble : bool
        Average the eight orientations.
    batch_size : int
        Images, or orientations, per call.
    intensity_range : tuple of float, optional
        As `utils.images.intensity.to_unit_range`.

    Yields
    ------
    numpy.ndarray
        Probability of the foreground of each image, ``(y, x, 1)``, float32, 0 .. 1.

    Raises
    ------
    ValueError
        If an image has another number of channels than the network.

    Examples
    --------
    >>> model = keras.Sequential([keras.layers.AveragePooling2D(32, 8), keras.layers.Softmax()])
    >>> [p.shape for p in dense_probability(model, [np.zeros((50, 61, 2), np.uint8)])]
    [(50, 61, 1)]
    """
    to_predict, originals = itertools.tee(_with_channels_of(model, image) for image in images)

    def orientations(image):
        # The turns that keep the shape of an oblong image come first, so that batches of one shape are full.
        return sorted(range(count_orientations(image)), key=lambda number: number % 2) if ensemble else [0]

    views = (_mirror_outwards(orient(image, number)) for image in to_predict for number in orientations(image))
    coarse = predict_each(model, views, batch_size=batch_size, intensity_range=intensity_range)
    for image in originals:
        numbers = orientations(image)
        total = sum(restore(_enlarge(next(coarse), orient(image, number).shape), number) for number in numbers)
        yield total / np.float32(len(numbers))


def _foreground_fractions(masks):
    """Return the share of foreground in each mask, ``(n,)``."""
    return np.array([np.count_nonzero(mask) / mask.size for mask in masks])


def _with_channels_of(model, image):
    # A sequential model without an input layer takes the channels of the first image.
    channels = model.inputs[0].shape[-1] if hasattr(model, "inputs") else image.shape[-1]
    if image.shape[-1] != channels:
        raise ValueError(
            f"an image of the shape {image.shape} has {image.shape[-1]} channels, but the network takes {channels}. "
            f"Convert the images, or build the network for (None, None, {image.shape[-1]})."
        )
    return image


def _mirror_outwards(image):
    margin = (PATCH - STRIDE) // 2
    return pad(image, (margin, margin), [margin + -length % STRIDE for length in image.shape[:2]])


def _enlarge(coarse, image_shape):
    shape = [STRIDE * length for length in coarse.shape[:2]]
    large = resize(foreground_of(coarse), shape, order=3, mode="symmetric", anti_aliasing=False)
    return large[: image_shape[0], : image_shape[1], None].astype(np.float32, copy=False)
