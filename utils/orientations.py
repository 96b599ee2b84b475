"""The eight orientations of an image: four right-angle turns, each plain and mirrored, with exact inverses."""

import numpy as np


def orient(image, orientation):
    """Turn an image into one of its eight orientations, without resampling.

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)``.
    orientation : int
        0 to 7: ``orientation % 4`` right-angle turns after a left-right mirror when 4 or more.

    Returns
    -------
    numpy.ndarray
        A view; y and x are swapped for odd orientations.
    """
    image = image[:, ::-1] if orientation >= 4 else image
    return np.rot90(image, orientation % 4)


def restore(image, orientation):
    """Undo ``orient``.

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)`` in the given orientation.
    orientation : int
        0 to 7.

    Returns
    -------
    numpy.ndarray
        A view in the original orientation.
    """
    image = np.rot90(image, -(orientation % 4))
    return image[:, ::-1] if orientation >= 4 else image
