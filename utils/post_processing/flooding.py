"""What both watersheds of slices share: flooding the unknown pixels, and the lines between objects."""

import cv2
import numpy as np
from skimage.segmentation import watershed

# A pixel and its eight neighbours.
SQUARE = np.ones((3, 3), np.uint8)


def flood(labels, relief):
    """Give each unknown pixel the label that reaches it first when the known ones flood the relief.

    Only unknown pixels and their neighbours are flooded, which gives the same result as flooding everything.

    Parameters
    ----------
    labels : numpy.ndarray
        ``(y, x)``, int32; 0 where unknown.
    relief : numpy.ndarray
        ``(y, x)``, float32; low is flooded first.

    Returns
    -------
    numpy.ndarray
        ``(y, x)``, int32; 0 only where no label could reach.

    Examples
    --------
    >>> flood(np.array([[1, 0, 0, 2]], np.int32), np.array([[0, 0, 1, 0]], np.float32)).tolist()
    [[1, 1, 2, 2]]
    """
    concerned = cv2.dilate((labels == 0).view(np.uint8), SQUARE).view(bool)
    return np.where(concerned, watershed(relief, labels, mask=concerned), labels)


def meets_a_later_label(labels):
    """Return the pixels to clear so that a line separates objects that touch, even by a corner.

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
