"""Resampling of volumes: one geometry, a matrix and perhaps a displacement, for image, mask and weights of a sample.

Whatever leaves z alone is resampled slice by slice with OpenCV, several times as fast as in space with SciPy.
"""

import math

import cv2
import numpy as np
from scipy import ndimage

from generators.geometry import BORDERS, WARPED_DTYPES
from generators.voxel_geometry import is_exact_in_space, keeps_slices

SCIPY_MODES = {"reflect": "reflect", "nearest": "nearest", "constant": "grid-constant", "wrap": "grid-wrap"}


def volume_resampling(matrix, corner, shape, source_shape, *, displacement=None, fill_mode="reflect"):
    """Prepare one geometry for image, mask and weights of a sample: a window of the source seen through a matrix.

    Parameters
    ----------
    matrix : numpy.ndarray
        ``(4, 4)``, output to source, about the centre of the window.
    corner, shape : tuple of int
        First corner and size ``(z, y, x)`` of the window, which lies in the source.
    source_shape : tuple of int
        Size ``(z, y, x)`` of the source.
    displacement : numpy.ndarray, optional
        ``(3, z, y, x)``: what is added to the x, y and z coordinates in the source; ``(2, z, y, x)``, x and y only,
        with a matrix that keeps the slices.
    fill_mode : str
        One of ``generators.geometry.FILL_MODES``, for what comes from outside the source; what surrounds the window is
        used before.

    Returns
    -------
    VolumeResampling
        The fastest one that can do it.
    """
    if displacement is None and is_exact_in_space(matrix):
        return TurnedResampling(matrix, corner, shape)
    if keeps_slices(matrix) and (displacement is None or len(displacement) == 2):
        return SlicewiseResampling(matrix, corner, shape, source_shape, displacement, fill_mode)
    return SpatialResampling(matrix, corner, shape, source_shape, displacement, fill_mode)


class VolumeResampling:
    """Parent of the three ways to resample; made by ``volume_resampling``.

    Parameters
    ----------
    shape : tuple of int
        Size ``(z, y, x)`` of the output.
    """

    def __init__(self, shape):
        self._shape = tuple(shape)

    def apply(self, volume, *, nearest, cval=0.0, out=None):
        """Resample a volume.

        Parameters
        ----------
        volume : numpy.ndarray
            ``(z, y, x, c)``.
        nearest : bool
            Nearest neighbour (masks) instead of linear interpolation.
        cval : float
            Value for the fill mode ``constant``.
        out : numpy.ndarray, optional
            Where to write: C-contiguous, of the size of the window and the right dtype.

        Returns
        -------
        numpy.ndarray
            ``(z, y, x, c)``; the dtype of the volume for nearest neighbour, float32 for linear interpolation.
        """
        if out is None:
            out = np.empty((*self._shape, volume.shape[-1]), volume.dtype if nearest else np.float32)
        self._fill(out, volume, nearest, cval)
        return out


class TurnedResampling(VolumeResampling):
    """Mirror and turn by right angles: voxels only change places."""

    def __init__(self, matrix, corner, shape):
        super().__init__(shape)
        self._window = tuple(slice(start, start + size) for start, size in zip(corner, shape, strict=True))
        turn = matrix[2::-1, 2::-1]  # on (z, y, x)
        self._axes = (*np.abs(turn).argmax(axis=0), 3)
        self._mirrored = tuple(np.flatnonzero(turn.sum(axis=0) < 0))

    def _fill(self, out, volume, nearest, cval):
        out[...] = np.flip(volume[self._window].transpose(self._axes), self._mirrored)


class SlicewiseResampling(VolumeResampling):
    """Resample in the y-x plane only; z is mirrored or moved by whole slices."""

    def __init__(self, matrix, corner, shape, source_shape, displacement, fill_mode):
        super().__init__(shape)
        self._border = BORDERS[fill_mode]
        z = matrix[2, 2] * _centred(shape[0]) + matrix[2, 3] + (shape[0] - 1) / 2 + corner[0]
        self._slices = [slice_inside(round(place), source_shape[0], fill_mode) for place in z]
        x, y = _positions(matrix, corner, shape, displacement, n_axes=2)
        columns, rows = _needed(x, source_shape[2]), _needed(y, source_shape[1])
        x -= columns.start
        y -= rows.start
        self._part = rows, columns
        self._x, self._y = np.broadcast_to(x, self._shape), np.broadcast_to(y, self._shape)

    def _fill(self, out, volume, nearest, cval):
        interpolation, value = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR, (cval,) * volume.shape[-1]
        for z, plane, x, y in zip(self._slices, out, self._x, self._y, strict=True):
            if z is None:
                plane[...] = cval
                continue
            part = np.ascontiguousarray(volume[z][self._part])
            if not nearest or part.dtype not in WARPED_DTYPES:
                part = part.astype(np.float32)  # as fast as interpolating 8-bit numbers, and more exact
            target = plane if part.dtype == plane.dtype else np.empty(plane.shape, part.dtype)
            cv2.remap(part, x, y, interpolation, dst=target, borderMode=self._border, borderValue=value)
            if target is not plane:
                plane[...] = target


class SpatialResampling(VolumeResampling):
    """Resample along all three axes."""

    def __init__(self, matrix, corner, shape, source_shape, displacement, fill_mode):
        super().__init__(shape)
        self._mode = SCIPY_MODES[fill_mode]
        self._positions = np.stack(_positions(matrix, corner, shape, displacement, n_axes=3)[::-1])  # z, y, x
        self._part = tuple(_needed(place, size) for place, size in zip(self._positions, source_shape, strict=True))
        self._positions -= np.array([part.start for part in self._part], np.float32).reshape(3, 1, 1, 1)

    def _fill(self, out, volume, nearest, cval):
        part = volume[self._part]
        if part.dtype == np.float16:  # SciPy knows all other dtypes
            part = part.astype(np.float32)
        options = {"order": 0 if nearest else 1, "mode": self._mode, "cval": cval, "prefilter": False}
        options["output"] = part.dtype if nearest else np.float32
        for channel in range(volume.shape[-1]):
            out[..., channel] = ndimage.map_coordinates(part[..., channel], self._positions, **options)


def slice_inside(place, length, fill_mode):
    """Return which element of an axis stands at a place that may lie outside of it.

    Parameters
    ----------
    place : int
        Inside from 0 to ``length - 1``.
    length : int
        Length of the axis.
    fill_mode : str
        One of ``generators.geometry.FILL_MODES``.

    Returns
    -------
    int or None
        None for the constant.
    """
    if fill_mode == "constant":
        return place if 0 <= place < length else None
    if fill_mode == "nearest":
        return min(max(place, 0), length - 1)
    if fill_mode == "wrap":
        return place % length
    place %= 2 * length
    return min(place, 2 * length - 1 - place)


def _centred(length):
    """Return the coordinates of the elements of an axis about its centre."""
    return np.arange(length) - (length - 1) / 2


def _positions(matrix, corner, shape, displacement, n_axes):
    """Return where in the source the output voxels come from: float32 arrays of x, y and perhaps z, z foremost.

    Without z and displacement all slices are alike and one is returned.
    """
    corner, shape = corner[::-1], shape[::-1]  # x, y, z
    centred = np.ix_(*(_centred(length) for length in shape[::-1]))[::-1]
    positions = []
    for axis in range(n_axes):
        place = sum(matrix[axis, other] * centred[other] for other in range(n_axes))
        place = (place + matrix[axis, 3] + (shape[axis] - 1) / 2 + corner[axis]).astype(np.float32)
        positions.append(place if displacement is None else place + displacement[axis])
    return positions


def _needed(positions, length):
    """Return the part of an axis that is enough to interpolate at the positions.

    All of it where they leave the axis: the fill mode may ask for any of it.
    """
    first, last = math.floor(positions.min()), math.ceil(positions.max())
    return slice(first, last + 1) if first >= 0 and last < length else slice(0, length)
