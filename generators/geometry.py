"""Geometry of augmentation: transforms are composed into one matrix per sample and resampled once.

Matrices are 3x3 and act on ``(x, y, 1)`` with the origin at the centre of the image, as OpenCV wants them; they say
where in the source an output pixel comes from.
"""

import cv2
import numpy as np

BORDERS = {
    "reflect": cv2.BORDER_REFLECT,
    "nearest": cv2.BORDER_REPLICATE,
    "constant": cv2.BORDER_CONSTANT,
    "wrap": cv2.BORDER_WRAP,
}
FILL_MODES = tuple(BORDERS)
WARPED_DTYPES = (np.uint8, np.uint16, np.int16, np.float32)


def rotation(degrees):
    """Return the matrix of a rotation.

    Parameters
    ----------
    degrees : float
        Angle, counter-clockwise as displayed (y downwards).

    Returns
    -------
    numpy.ndarray
        ``(3, 3)``.
    """
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def shear(degrees):
    """Return the matrix of a shear along x.

    Parameters
    ----------
    degrees : float
        Angle by which vertical lines lean.

    Returns
    -------
    numpy.ndarray
        ``(3, 3)``.
    """
    return np.array([[1, np.tan(np.deg2rad(degrees)), 0], [0, 1, 0], [0, 0, 1]])


def scale(factor_y, factor_x):
    """Return the matrix that scales the coordinates: a factor above 1 shows more of the source, smaller.

    Parameters
    ----------
    factor_y, factor_x : float
        Factors along both axes; -1 mirrors.

    Returns
    -------
    numpy.ndarray
        ``(3, 3)``.
    """
    return np.diag([factor_x, factor_y, 1.0])


def shift(pixels_y, pixels_x):
    """Return the matrix that moves the content down and right.

    Parameters
    ----------
    pixels_y, pixels_x : float
        Distances.

    Returns
    -------
    numpy.ndarray
        ``(3, 3)``.
    """
    return np.array([[1, 0, -pixels_x], [0, 1, -pixels_y], [0, 0, 1.0]])


def is_exact(matrix):
    """Return whether a matrix only mirrors and turns by right angles, so that no pixel has to be interpolated.

    Parameters
    ----------
    matrix : numpy.ndarray
        ``(3, 3)``.

    Returns
    -------
    bool
    """
    turn = matrix[:2, :2]
    return bool(np.isin(turn, (-1, 0, 1)).all() and np.abs(turn).sum() == 2 and not matrix[:2, 2].any())


def warp(image, matrix, corner, shape, *, nearest, fill_mode="reflect", cval=0.0):
    """Resample a window of an image through a matrix.

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)``; what surrounds the window is used before the fill mode is.
    matrix : numpy.ndarray
        ``(3, 3)``, output to source, about the centre of the window.
    corner : tuple of int
        Upper left ``(y, x)`` of the window in the image.
    shape : tuple of int
        Size ``(y, x)`` of the window and of the output.
    nearest : bool
        Nearest neighbour (masks) instead of linear interpolation.
    fill_mode : str
        One of ``FILL_MODES``; names as in Keras.
    cval : float
        Value for ``constant``.

    Returns
    -------
    numpy.ndarray
        ``(y, x, c)`` in the dtype of the image (float32 for dtypes that OpenCV cannot resample).
    """
    (top, left), (height, width) = corner, shape
    if is_exact(matrix):
        return _turn(image[top : top + height, left : left + width], matrix)
    if image.dtype not in WARPED_DTYPES:
        image = image.astype(np.float32)
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    to_source = shift(-centre_y - top, -centre_x - left) @ matrix @ shift(centre_y, centre_x)
    interpolation = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    warped = cv2.warpAffine(
        image,
        to_source[:2],
        (width, height),
        flags=interpolation | cv2.WARP_INVERSE_MAP,
        borderMode=BORDERS[fill_mode],
        borderValue=(cval,) * image.shape[-1],
    )
    return warped.reshape(height, width, image.shape[-1])


def _turn(window, matrix):
    """Mirror and turn by slicing; ``out[y, x]`` is the window at ``matrix @ (x, y)``."""
    matrix = matrix.astype(int)
    if matrix[0, 0] == 0:  # x and y change places
        return window.swapaxes(0, 1)[:: matrix[0, 1], :: matrix[1, 0]]
    return window[:: matrix[1, 1], :: matrix[0, 0]]
