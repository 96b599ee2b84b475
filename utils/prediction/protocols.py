"""Predict images and volumes of any size: crop by crop, blended, whole, and averaged over all orientations.

Images are ``(y, x, c)``, volumes ``(z, y, x, c)``; the same functions take both. Every function is a generator that
reads images one by one, sends batches of one fixed shape through the model's compiled prediction function and yields
one probability map per image. So memory is bounded by one image and not by the test set.
"""

import functools
import itertools
import math
from collections import deque

import numpy as np

from utils.images.crops import iterate_crops, merge_crops, spline_window
from utils.images.intensity import to_network_input
from utils.images.padding import pad, pad_to_multiple
from utils.prediction.orientations import count_orientations, orient, restore


def predict_each(model, images, *, ensemble=False, batch_size=6, intensity_range=None):
    """Predict images, or crops, as they are; consecutive ones of one shape share batches.

    Parameters
    ----------
    model : keras.Model
        One output, ``(n, y, x, classes)`` or ``(n, z, y, x, classes)``.
    images : iterable of numpy.ndarray or LazyImage
        ``(y, x, c)`` or ``(z, y, x, c)`` each, sizes that the network's poolings divide.
    ensemble : bool
        Average all orientations of each image, 8 in 2D, 16 in 3D (test-time augmentation). A network may refuse an
        oblong image turned by 90 degrees, for example if its strides differ along y and x. Then only the half that
        leaves y and x in their places is averaged, and a line is printed.
    batch_size : int
        Images per call. The last batch is filled up, so that only one shape is compiled.
    intensity_range : tuple of float, optional
        As `utils.images.intensity.to_network_input`.

    Yields
    ------
    numpy.ndarray
        Probability ``(y, x, classes)`` or ``(z, y, x, classes)``, float32, 0 .. 1, in the order of the images.

    Examples
    --------
    >>> import keras
    >>> image = np.zeros((16, 16, 1), np.uint8)
    >>> model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(1, 1, activation="sigmoid")])
    >>> [p.shape for p in predict_each(model, [image])]
    [(16, 16, 1)]
    """
    scaled = (to_network_input(np.asarray(image), intensity_range) for image in images)
    if not ensemble:
        yield from _predict_tiles(model, scaled, batch_size)
        return
    takes_turned = functools.cache(functools.partial(_takes_turned, model))
    while chunk := list(itertools.islice(scaled, batch_size)):
        # The turns that keep the shape of an oblong image come first, so that batches of one shape are full.
        orientations = sorted(range(count_orientations(chunk[0])), key=lambda orientation: orientation % 2)
        if not all([takes_turned(image.shape) for image in chunk]):
            orientations = orientations[: len(orientations) // 2]
        oriented = (orient(image, orientation) for orientation in orientations for image in chunk)
        predictions = _predict_tiles(model, oriented, batch_size)
        means = [0] * len(chunk)
        for orientation in orientations:
            for number in range(len(chunk)):
                means[number] = means[number] + restore(next(predictions), orientation)
        yield from (mean / np.float32(len(orientations)) for mean in means)


def predict_crops(
    model,
    images,
    crop_shape,
    *,
    overlap=0.0,
    padding=0,
    padding_mode="mirror",
    ensemble=False,
    batch_size=6,
    intensity_range=None,
):
    """Predict crops and merge them into complete images; where crops overlap, probabilities are averaged.

    Parameters
    ----------
    model, ensemble, batch_size, intensity_range
        As `predict_each`.
    images : iterable of numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)`` each, of any size; smaller ones than a crop are padded and cut back.
    crop_shape : tuple of int
        ``(y, x, c)`` or ``(z, y, x, c)``.
    overlap : float or tuple of float
        Minimum overlap of neighbouring crops, per axis.
    padding : int or tuple of int
        Margin of each crop, per axis, whose prediction is thrown away.
    padding_mode : str
        What lies outside the image: ``mirror`` or ``median`` (see `utils.images.padding.pad`).

    Yields
    ------
    numpy.ndarray
        Probability, float32, of the size of each image.
    """
    margins = {"padding": padding, "padding_mode": padding_mode}
    settings = {"ensemble": ensemble, "batch_size": batch_size, "intensity_range": intensity_range}
    return _merged(model, images, crop_shape, overlap, settings, **margins)


def predict_blended(model, images, crop_shape, *, subdivisions=2, ensemble=True, batch_size=6, intensity_range=None):
    """Predict overlapping crops and blend them with a squared spline window, which leaves no seams.

    The image is mirrored outwards by half a crop, so that border pixels lie in the middle of some crop as well. Weights
    are divided by their sum, so any size is right. The published protocol (after Chevalier's smooth tiling) has all
    eight orientations.

    Parameters
    ----------
    model, images, crop_shape, ensemble, batch_size, intensity_range
        As `predict_crops`.
    subdivisions : int
        Crops start at most every ``crop / subdivisions`` pixels.

    Yields
    ------
    numpy.ndarray
        As `predict_crops`.
    """
    settings = {"ensemble": ensemble, "batch_size": batch_size, "intensity_range": intensity_range}
    images, shapes = _with_notes(images, lambda image: image.shape)
    bordered = (pad(image, *_half_crops(image.shape, crop_shape)) for image in images)
    for probability in _merged(model, bordered, crop_shape, 1 - 1 / subdivisions, settings, blend=True):
        *sizes, _ = shape = shapes.popleft()
        before, _ = _half_crops(shape, crop_shape)
        yield probability[tuple(slice(b, b + size) for b, size in zip(before, sizes, strict=True))]


def predict_full_images(model, images, *, divisor=16, ensemble=False, intensity_range=None):
    """Predict whole images, one at a time, mirrored outwards to sides that the divisor divides and cut back.

    Parameters
    ----------
    model, images, ensemble, intensity_range
        As `predict_crops`; the model is fully convolutional. The ensemble pads y and x alike.
    divisor : int or tuple of int
        ``2 ** depth`` of the network, or one per axis.

    Yields
    ------
    numpy.ndarray
        As `predict_crops`.
    """
    if ensemble and not isinstance(divisor, int):
        *divisor, y, x = divisor
        divisor = (*divisor, *[math.lcm(y, x)] * 2)
    pairs, insides = _with_notes((pad_to_multiple(image, divisor) for image in images), lambda pair: pair[1])
    padded = (image for image, _ in pairs)
    for probability in predict_each(model, padded, ensemble=ensemble, batch_size=1, intensity_range=intensity_range):
        yield probability[insides.popleft()]


def _merged(model, images, crop_shape, overlap, settings, *, padding=0, padding_mode="mirror", blend=False):
    """Yield each image predicted crop by crop and merged, with equal weights or the blending window."""
    grid, margins = {"overlap": overlap, "padding": padding}, {"padding_mode": padding_mode}
    images, shapes = _with_notes(images, lambda image: image.shape)
    crops = (crop for image in images for crop in iterate_crops(image, crop_shape, **grid, **margins))
    predictions = predict_each(model, crops, **settings)
    for first in predictions:
        shape = shapes.popleft()
        window = spline_window(crop_shape[: len(shape) - 1]) if blend else None
        yield merge_crops(itertools.chain([first], predictions), shape, window=window, **grid)


def _takes_turned(model, shape):
    """Return whether the network predicts an image turned by 90 degrees in the turned shape; if not, print it."""
    *z, y, x, channels = shape
    if y == x or not hasattr(model, "compute_output_shape"):
        return True
    try:
        plain, turned = (model.compute_output_shape((1, *z, *sides, channels)) for sides in ((y, x), (x, y)))
        if tuple(turned[-3:-1]) == tuple(plain[-3:-1][::-1]):
            return True
    except ValueError:  # a network for one size
        pass
    print(f"The ensemble leaves out the turns by 90 degrees: the network does not take {y}x{x} as {x}x{y}.")
    return False


def _with_notes(images, note):
    """Return the images, and a deque that gets ``note(image)`` when each is read.

    ``itertools.tee`` would keep up to 57 images that were used already.
    """
    notes = deque()

    def read():
        for image in images:
            notes.append(note(image))
            yield image

    return read(), notes


def _half_crops(shape, crop_shape):
    """Return half a crop, rounded down and up, for each spatial axis of an image of this shape."""
    sizes = crop_shape[: len(shape) - 1]
    return [size // 2 for size in sizes], [size - size // 2 for size in sizes]


def _predict_tiles(model, tiles, batch_size):
    """Yield the prediction of every tile, in order, through batches of ``batch_size`` tiles of one shape."""
    for _, same_shape in itertools.groupby(tiles, key=lambda tile: tile.shape):
        while batch := list(itertools.islice(same_shape, batch_size)):
            filled = np.zeros((batch_size, *batch[0].shape), np.float32)
            for number, tile in enumerate(batch):
                filled[number] = tile
            yield from np.asarray(model.predict_on_batch(filled)[: len(batch)])
