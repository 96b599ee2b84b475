"""What all post-processing shares: predictions as slices or volumes, alone or with their images.

A post-processing takes and returns an iterable of predictions, so that one feeds the next.
"""

import itertools

import numpy as np

from utils.images.intensity import to_unit_range


def volume_by_volume(predictions, process):
    """Apply a function of the slices of one volume to slices or volumes.

    Parameters
    ----------
    predictions : iterable of numpy.ndarray
        Probabilities, float, 0 .. 1: slices ``(y, x, c)``, where consecutive ones are one volume, or volumes
        ``(z, y, x, c)``. One channel is the foreground; two are background and foreground.
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


def slice_by_slice(predictions, images, process):
    """Process every slice of the predictions together with the image it was made from.

    Parameters
    ----------
    predictions, images : iterable of numpy.ndarray
        As `predictions_with_images`.
    process : callable
        ``process(prediction, image)`` takes a slice ``(y, x, c)`` of each and returns the new prediction.

    Yields
    ------
    numpy.ndarray
        The new predictions; slices of a volume are stacked again.
    """
    for prediction, image in predictions_with_images(predictions, images):
        if prediction.ndim == 4:
            yield np.stack([process(*pair) for pair in zip(prediction, image, strict=True)])
        else:
            yield process(prediction, image)


def predictions_with_images(predictions, images):
    """Pair predictions with the images they were made from.

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
        If there are more of one kind, or a prediction and its image differ in size.

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


def foreground_of(prediction):
    """Return the probability of the only foreground class.

    Parameters
    ----------
    prediction : numpy.ndarray
        Float, ``(y, x, 1)`` of the foreground, or ``(y, x, 2)`` of background and foreground.

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
        As `foreground_of`; only its number of classes and its dtype are used.

    Returns
    -------
    numpy.ndarray
        With two classes, the background becomes 1 - foreground.
    """
    foreground = foreground.astype(prediction.dtype, copy=False)
    if prediction.shape[-1] == 1:
        return foreground[..., np.newaxis]
    return np.stack([1 - foreground, foreground], axis=-1)


def grey_image(image, intensity_range=None):
    """Return an image as one channel from 0 to 1.

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)``, any dtype; channels are averaged.
    intensity_range : tuple of float, optional
        As `utils.images.intensity.to_unit_range`; values outside are clipped.

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
