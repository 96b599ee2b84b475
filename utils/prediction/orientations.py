"""The orientations of an image or volume, with exact inverses.

An image has eight: four right-angle turns, each plain and mirrored. A volume has sixteen: those eight in the y-x plane,
each with z as it is and reversed. z never changes places with y or x, so anisotropic voxels keep their axes.
"""

import numpy as np


def count_orientations(image):
    """Return the number of orientations: 8 for an image, 16 for a volume.

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``.

    Returns
    -------
    int
    """
    return 8 if image.ndim == 3 else 16


def orient(image, orientation):
    """Turn an image or volume into one of its orientations, without resampling.

    Parameters
    ----------
    image : numpy.ndarray
        As `count_orientations`.
    orientation : int
        0 to 7, for volumes to 15: ``orientation % 4`` right-angle turns in the y-x plane, after a left-right mirror
        when bit 4 is set and a reversal of z when bit 8 is.

    Returns
    -------
    numpy.ndarray
        A view; y and x are swapped for odd orientations.
    """
    return np.rot90(_mirror(image, orientation), orientation % 4, axes=(-3, -2))


def restore(image, orientation):
    """Undo `orient`.

    Parameters
    ----------
    image, orientation
        What `orient` returned, and its orientation.

    Returns
    -------
    numpy.ndarray
        A view.
    """
    return _mirror(np.rot90(image, -(orientation % 4), axes=(-3, -2)), orientation)


def _mirror(image, orientation):
    image = image[..., ::-1, :] if orientation & 4 else image
    return image[::-1] if orientation & 8 else image
