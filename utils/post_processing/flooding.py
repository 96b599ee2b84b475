"""What the watersheds of slices share: predictions with their images, flooding of what is unknown, lines between."""

import itertools

import cv2
import numpy as np
from skimage.segmentation import watershed

from utils.images.intensity import to_unit_range

# A pixel and its eight neighbours.
SQUARE = np.ones((3, 3), np.uint8)


def predictions_with_images(predictions, images):
    """Go through predictions and the images they were made from.

    Parameters
    ----------
    predictions, images : iterable of numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``, in the same order; the numbers of channels may differ.

    Yields
    ------
    tuple of numpy.ndarray
        A prediction and its image.

    Raises
    ------
    ValueError
        If there are more of one kind, or a prediction has another size than its image.

    Examples
    --------
    >>> len(list(predictions_with_images([np.zeros((4, 5, 2))], [np.zeros((4, 5, 1))])))
    1
    """
    counts = [len(items) for items in (predictions, images) if hasattr(items, "__len__")]
    if len(counts) == 2 and counts[0] != counts[1]:
        raise ValueError(f"{counts[0]} predictions but {counts[1]} images. Give the images that were predicted.")
    for number, (prediction, image) in enumerate(itertools.zip_longest(predictions, images), start=1):
        if prediction is None or image is None:
            fewer, more = ("images", "predictions") if image is None else ("predictions", "images")
            raise ValueError(
                f"there are {number - 1} {fewer} but more {more}. Give the images that were predicted, in their order."
            )
        if prediction.shape[:-1] != image.shape[:-1]:
            raise ValueError(
                f"prediction {number} has the size {prediction.shape[:-1]}, its image {image.shape[:-1]}. "
                "Give the images that were predicted, in their order."
            )
        yield prediction, image


def slice_by_slice(predictions, images, process):
    """Process every slice of predictions with the image it was made from.

    Parameters
    ----------
    predictions, images : iterable of numpy.ndarray
        As `predictions_with_images`.
    process : callable
        ``process(prediction, image)`` of a slice ``(y, x, c)`` returns what comes in the place of its prediction.

    Yields
    ------
    numpy.ndarray
        For each prediction what its slices became, stacked again where it is a volume.
    """
    for prediction, image in predictions_with_images(predictions, images):
        if prediction.ndim == 4:
            yield np.stack([process(*pair) for pair in zip(prediction, image, strict=True)])
        else:
            yield process(prediction, image)


def grey_image(image, intensity_range=None):
    """Return an image as one channel from 0 to 1.

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)``, any dtype; channels are averaged.
    intensity_range : tuple of float, optional
        As `utils.images.intensity.to_unit_range`; what lies outside is clipped.

    Returns
    -------
    numpy.ndarray
        ``(y, x)``, float32.

    Examples
    --------
    >>> grey_image(np.full((1, 2, 1), 255, np.uint8)).tolist()
    [[1.0, 1.0]]
    """
    image = to_unit_range(image, intensity_range)
    image = image[..., 0] if image.shape[-1] == 1 else image.mean(axis=-1)
    return np.clip(image, 0, 1)


def flood(labels, relief):
    """Give each unknown pixel the label that reaches it first when the relief is flooded from the known ones.

    Only unknown pixels and their neighbours are looked at, which gives what flooding everything does.

    Parameters
    ----------
    labels : numpy.ndarray
        ``(y, x)``, int32; 0 where unknown.
    relief : numpy.ndarray
        ``(y, x)``, float32; low is flooded first.

    Returns
    -------
    numpy.ndarray
        ``(y, x)``, int32, without 0 wherever a label could get to.

    Examples
    --------
    >>> flood(np.array([[1, 0, 0, 2]], np.int32), np.array([[0, 0, 1, 0]], np.float32)).tolist()
    [[1, 1, 2, 2]]
    """
    concerned = cv2.dilate((labels == 0).view(np.uint8), SQUARE).view(bool)
    return np.where(concerned, watershed(relief, labels, mask=concerned), labels)


def meets_a_later_label(labels):
    """Return the pixels to clear so that objects that touch, also by a corner, are parted by a line.

    Parameters
    ----------
    labels : numpy.ndarray
        ``(y, x)``, int; 1 is background, 2 and more are objects, up to 2 ** 24.

    Returns
    -------
    numpy.ndarray
        ``(y, x)``, bool: pixels of an object beside one of an object with a higher number.

    Examples
    --------
    >>> meets_a_later_label(np.array([[2, 2, 3, 3]])).tolist()
    [[False, True, False, False]]
    """
    labels = labels.astype(np.float32)
    return (labels > 1) & (cv2.dilate(labels, SQUARE) > labels)
