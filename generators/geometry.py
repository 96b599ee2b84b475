"""Geometry of augmentation: transforms are composed into one matrix per sample and resampled once.

Matrices are 3x3 and act on ``(x, y, 1)`` with the origin at the centre of the image, as OpenCV wants them; they say
where in the source an output pixel comes from.
"""

import math

import cv2
import numpy as np

BORDERS = {
    "reflect": cv2.BORDER_REFLECT,
    "nearest": cv2.BORDER_REPLICATE,
    "constant": cv2.BORDER_CONSTANT,
    "wrap": cv2.BORDER_WRAP,
}
FILL_MODES = tuple(BORDERS)
WARPED_DTYPES = frozenset(map(np.dtype, (np.uint8, np.uint16, np.int16, np.float32)))


def rotation(degrees):
    """Return the matrix ``(3, 3)`` of a rotation.

    Parameters
    ----------
    degrees : float
        Angle, counter-clockwise as displayed (y downwards).

    Returns
    -------
    numpy.ndarray
    """
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def shear(degrees):
    """Return the matrix ``(3, 3)`` of a shear along x.

    Parameters
    ----------
    degrees : float
        Angle by which vertical lines lean.

    Returns
    -------
    numpy.ndarray
    """
    return np.array([[1, math.tan(math.radians(degrees)), 0], [0, 1, 0], [0, 0, 1]])


def scale(factor_y, factor_x):
    """Return the matrix ``(3, 3)`` that scales the coordinates: a factor above 1 shows more of the source, smaller.

    Parameters
    ----------
    factor_y, factor_x : float
        Factors along both axes; -1 mirrors.

    Returns
    -------
    numpy.ndarray
    """
    return np.array([[factor_x, 0, 0], [0, factor_y, 0], [0, 0, 1.0]])


def shift(pixels_y, pixels_x):
    """Return the matrix ``(3, 3)`` that moves the content down and right.

    Parameters
    ----------
    pixels_y, pixels_x : float
        Distances.

    Returns
    -------
    numpy.ndarray
    """
    return np.array([[1, 0, -pixels_x], [0, 1, -pixels_y], [0, 0, 1.0]])


def is_exact(matrix, *, moved=False):
    """Return whether a matrix only mirrors and turns by right angles, so that no pixel has to be interpolated.

    Parameters
    ----------
    matrix : numpy.ndarray
        ``(3, 3)``.
    moved : bool
        Whether it may also shift.

    Returns
    -------
    bool
    """
    (a, b, x), (c, d, y), _ = matrix.tolist()
    straight = abs(a) == abs(d) == 1 and b == c == 0
    turned = abs(b) == abs(c) == 1 and a == d == 0
    return (straight or turned) and (moved or x == y == 0)


class Resampling:
    """One geometry for image, mask and weights of a sample: a window of the source seen through a matrix.

    Parameters
    ----------
    matrix : numpy.ndarray
        ``(3, 3)``, output to source, about the centre of the window.
    corner : tuple of int
        Upper left ``(y, x)`` of the window in the source.
    shape : tuple of int
        Size ``(y, x)`` of the window and of the output.
    displacement : sequence of numpy.ndarray, optional
        float32 ``(2, y, x)``, or of size 1 where constant: added to the x and y coordinates in the source.
    """

    def __init__(self, matrix, corner, shape, displacement=None):
        (self._top, self._left), (self._height, self._width) = corner, shape
        self._matrix, self._map = matrix, None
        self._exact = displacement is None and is_exact(matrix, moved=True) and self._find_window()
        if self._exact:
            return
        # OpenCV is fastest when no pixel comes from outside. So it gets only the part of the source that is needed,
        # continued beyond the border where the window extends beyond the image.
        (a, b, shift_x), (c, d, shift_y), _ = matrix.tolist()
        half_y, half_x = (self._height - 1) / 2, (self._width - 1) / 2
        centre_y, centre_x = self._top + half_y + shift_y, self._left + half_x + shift_x
        if displacement is not None:
            x, y = np.arange(self._width) - half_x, np.arange(self._height)[:, np.newaxis] - half_y
            at_x = (b * y + centre_x).astype(np.float32) + displacement[0] + (a * x).astype(np.float32)
            at_y = (d * y + centre_y).astype(np.float32) + displacement[1] + (c * x).astype(np.float32)
            self._rows, self._columns = ((math.floor(at.min()), math.ceil(at.max()) + 2) for at in (at_y, at_x))
            at_x -= np.float32(self._columns[0])
            at_y -= np.float32(self._rows[0])
            self._map = at_x, at_y
            return
        reach_y, reach_x = abs(c) * half_x + abs(d) * half_y, abs(a) * half_x + abs(b) * half_y
        self._rows = math.floor(centre_y - reach_y) - 1, math.ceil(centre_y + reach_y) + 3
        self._columns = math.floor(centre_x - reach_x) - 1, math.ceil(centre_x + reach_x) + 3
        to_x = centre_x - self._columns[0] - a * half_x - b * half_y
        to_y = centre_y - self._rows[0] - c * half_x - d * half_y
        self._to_part = np.array([[a, b, to_x], [c, d, to_y]])

    def _find_window(self):
        """Find which rows and columns of the source change places; False if they lie between pixels."""
        (a, b, shift_x), (c, d, shift_y), _ = self._matrix.tolist()
        half_y, half_x = (self._height - 1) / 2, (self._width - 1) / 2
        reach_y, reach_x = abs(c) * half_x + abs(d) * half_y, abs(a) * half_x + abs(b) * half_y
        top, left = self._top + half_y + shift_y - reach_y, self._left + half_x + shift_x - reach_x
        self._rows = round(top), round(top + 2 * reach_y) + 1
        self._columns = round(left), round(left + 2 * reach_x) + 1
        return top == self._rows[0] and left == self._columns[0]

    def apply(self, image, *, nearest, fill_mode="reflect", cval=0.0, out=None):
        """Resample an image.

        Parameters
        ----------
        image : numpy.ndarray
            ``(y, x, c)``; pixels around the window are used before the fill mode is.
        nearest : bool
            Nearest neighbour (masks) instead of linear interpolation.
        fill_mode : str
            One of ``FILL_MODES``, named as in Keras.
        cval : float
            Value for ``constant``.
        out : numpy.ndarray, optional
            Where to write, e.g. one image of a batch: C-contiguous, of the size of the window and the right dtype.

        Returns
        -------
        numpy.ndarray
            ``(y, x, c)``; the dtype of the image for nearest neighbour, float32 for linear interpolation.
        """
        if out is None:
            shape = self._height, self._width, image.shape[-1]
            out = np.empty(shape, image.dtype if nearest else np.float32)
        if self._exact:
            window = _cut(image, self._rows, self._columns, BORDERS[fill_mode], (cval,) * image.shape[-1])
            out[...] = _turn(window.reshape(*window.shape[:2], -1), self._matrix)  # OpenCV drops a single channel
            return out
        part = _cut(image, self._rows, self._columns, BORDERS[fill_mode], (cval,) * image.shape[-1])
        if not nearest or part.dtype not in WARPED_DTYPES:
            part = part.astype(np.float32)  # on the whole faster than interpolating 8-bit numbers, and more exact
        interpolation = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        target = out if part.dtype == out.dtype else np.empty(out.shape, part.dtype)
        if self._map is None:
            flags = interpolation | cv2.WARP_INVERSE_MAP
            cv2.warpAffine(part, self._to_part, (self._width, self._height), flags=flags, dst=target)
        else:
            cv2.remap(part, *self._map, interpolation, dst=target)
        if target is not out:
            out[...] = target
        return out


class PartedResampling:
    """The geometry of a sample whose rows are out of place from some row on.

    Parameters
    ----------
    matrix, corner, shape
        As ``Resampling``.
    fault : tuple of numpy.ndarray
        The matrix that is applied before the other one, and to which rows ``(y,)``: bool, False and then True.
    """

    def __init__(self, matrix, fault, corner, shape):
        self._shape, first = tuple(shape), int(np.count_nonzero(~fault[1]))
        self._parts = []
        for rows, own in ((slice(0, first), matrix), (slice(first, shape[0]), matrix @ fault[0])):
            if rows.stop > rows.start:
                # About the centre of these rows instead of the whole sample.
                off = (rows.start + rows.stop - shape[0]) / 2
                own = shift(off, 0) @ own @ shift(-off, 0)
                window = (corner[0] + rows.start, corner[1]), (rows.stop - rows.start, shape[1])
                self._parts.append((rows, Resampling(own, *window)))

    def apply(self, image, *, nearest, out=None, **options):
        """Resample an image, as ``Resampling.apply``."""
        if out is None:
            out = np.empty((*self._shape, image.shape[-1]), image.dtype if nearest else np.float32)
        for rows, part in self._parts:
            part.apply(image, nearest=nearest, out=out[rows], **options)
        return out


def _cut(image, rows, columns, border, value):
    """Cut out ``image[rows, columns]``, continued by the border rule where it extends beyond the image."""
    height, width = image.shape[:2]
    (top, bottom), (left, right) = rows, columns
    if top >= 0 and left >= 0 and bottom <= height and right <= width:
        return np.ascontiguousarray(image[top:bottom, left:right])
    # With "wrap" pixels may come from anywhere in the image. Otherwise a part of it is enough, which matters on disk.
    if border != cv2.BORDER_WRAP:
        needed = _mirrored if border == cv2.BORDER_REFLECT else _inside
        (first_row, last_row), (first_column, last_column) = needed(top, bottom, height), needed(left, right, width)
        image = image[first_row:last_row, first_column:last_column]
        top, bottom, left, right = top - first_row, bottom - first_row, left - first_column, right - first_column
        height, width = image.shape[:2]
    margins = max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width)
    part = cv2.copyMakeBorder(np.ascontiguousarray(image), *margins, border, value=value)
    y, x = max(0, top), max(0, left)
    return np.ascontiguousarray(part[y : y + bottom - top, x : x + right - left])


def _inside(start, stop, size):
    """Return which of the pixels 0 .. size - 1 are in a range; at least one, for the border to continue."""
    return min(max(start, 0), size - 1), max(min(stop, size), 1)


def _mirrored(start, stop, size):
    """Return which of the pixels 0 .. size - 1 are in a range that is mirrored at both ends."""
    first = 0 if start < 0 else max(0, min(start, 2 * size - stop))
    last = size if stop > size else min(size, max(stop, -start))
    return first, last


def _turn(window, matrix):
    """Mirror and turn by slicing; ``out[y, x]`` is the window at ``matrix @ (x, y)``."""
    matrix = matrix.astype(int)
    if matrix[0, 0] == 0:  # x and y change places
        return window.swapaxes(0, 1)[:: matrix[0, 1], :: matrix[1, 0]]
    return window[:: matrix[1, 1], :: matrix[0, 0]]
