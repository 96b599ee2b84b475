"""Post-processing within each slice: objects that the network doubts are removed, holes in objects are filled."""

import cv2
import numpy as np
from scipy import ndimage

from utils.post_processing.slices import foreground_of, volume_by_volume, with_foreground


def spurious_filter(predictions, min_probability=0.8):
    """Remove the objects that the network is not sure of.

    In each slice, the 8-connected components of probability > 0.5 whose mean probability is below ``min_probability``
    get the probability 0; nothing else changes. Source: "spurious detection filtering" of I. Oztel, G. Yolcu, I. Ersoy,
    T. White, F. Bunyak: Mitochondria segmentation in electron microscopy volumes using deep convolutional neural
    network. IEEE BIBM 2017. The published code never looked at the last component of a slice; this one does.

    Parameters
    ----------
    predictions : iterable of numpy.ndarray
        As `utils.post_processing.slices.volume_by_volume`; sizes may differ.
    min_probability : float
        0.5 (removes nothing) to 1.

    Returns
    -------
    iterator of numpy.ndarray
        Probabilities of the same shapes and dtypes.

    Raises
    ------
    ValueError
        If the probability is out of range, or there are several foreground classes.

    Examples
    --------
    >>> prediction = np.array([[0.9, 0.9, 0.0, 0.6, 0.6]])[..., np.newaxis]
    >>> [p[..., 0].tolist() for p in spurious_filter([prediction])]
    [[[0.9, 0.9, 0.0, 0.0, 0.0]]]
    """
    check_min_probability(min_probability)
    return volume_by_volume(
        predictions, lambda slices: (_without_doubtful_components(image, min_probability) for image in slices)
    )


def check_min_probability(min_probability, name="min_probability"):
    """Check the limit of `spurious_filter` long before it is used.

    Parameters
    ----------
    min_probability : float
        0.5 to 1.
    name : str
        The variable, for the message.

    Raises
    ------
    ValueError
        If it is out of range.
    """
    if not 0.5 <= min_probability <= 1:
        raise ValueError(
            f"{name} is {min_probability}, but the mean over pixels above 0.5 lies between 0.5 and 1. "
            "Use a value such as 0.8."
        )


def _without_doubtful_components(prediction, min_probability):
    foreground = foreground_of(prediction)
    mask = foreground > 0.5
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    places = np.flatnonzero(mask)
    members = labels.ravel()[places]
    sizes = np.bincount(members, minlength=count)
    sums = np.bincount(members, weights=foreground.ravel()[places], minlength=count)
    doubtful = sums < min_probability * sizes
    return with_foreground(np.where(doubtful[labels], 0, foreground), prediction)


def fill_holes(predictions):
    """Fill the holes of objects.

    A hole is a 4-connected component of probability <= 0.5 of a slice that does not touch the border of the slice.
    Holes get the probability 1; nothing else changes. In volumes this also fills the lumen of a tube that runs along z.

    Parameters
    ----------
    predictions : iterable of numpy.ndarray
        As `spurious_filter`.

    Returns
    -------
    iterator of numpy.ndarray
        As `spurious_filter`.

    Raises
    ------
    ValueError
        If there are several foreground classes.

    Examples
    --------
    >>> ring = np.full((5, 5, 1), 0.9)
    >>> ring[2, 2] = 0.1
    >>> [float(image[2, 2, 0]) for image in fill_holes([ring])]
    [1.0]
    """
    return volume_by_volume(predictions, lambda slices: map(_without_holes, slices))


def _without_holes(prediction):
    foreground = foreground_of(prediction)
    labels, count = ndimage.label(foreground <= 0.5)
    enclosed = np.ones(count + 1, bool)
    enclosed[0] = False
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        enclosed[border] = False
    return with_foreground(np.where(enclosed[labels], 1, foreground), prediction)
