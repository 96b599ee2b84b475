"""Resampling of volumes: one geometry, a matrix and perhaps a displacement, for image, mask and weights of a sample.

OpenCV resamples only images, but several times as fast as SciPy resamples volumes. Geometry that leaves z alone is
applied slice by slice. Otherwise the slices are laid out as one image, and each voxel is interpolated from two places
in it.
"""

import math

import cv2
import numpy as np

from generators.geometry import BORDERS, WARPED_DTYPES, Resampling
from generators.voxel_geometry import is_exact_in_space, keeps_slices

PAD_MODES = {"reflect": "symmetric", "nearest": "edge", "constant": "constant", "wrap": "wrap"}
# The longest side that OpenCV takes.
LONGEST_SIDE = 2**15 - 2
# Enough for few calls, few enough for the cache of a processor.
PIXELS_AT_ONCE = 50_000


def volume_resampling(matrix, corner, shape, source_shape, *, displacement=None, fault=None, fill_mode="reflect"):
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
        ``(3, z, y, x)``, added to the x, y and z coordinates in the source; ``(2, z, y, x)``, x and y only, for a
        matrix that keeps the slices.
    fault : tuple of numpy.ndarray, optional
        A matrix ``(3, 3)`` in the y-x plane that is applied first, and to which sections ``(z,)``, bool; for a matrix
        that keeps the slices and without a displacement.
    fill_mode : str
        One of ``generators.geometry.FILL_MODES``, for voxels from outside the source.

    Returns
    -------
    VolumeResampling
        The fastest possible one.
    """
    if fault is not None:
        return MisalignedResampling(matrix, corner, shape, source_shape, fault, fill_mode)
    if displacement is None and is_exact_in_space(matrix):
        return TurnedResampling(matrix, corner, shape)
    if keeps_slices(matrix) and (displacement is None or len(displacement) == 2):
        return SlicewiseResampling(matrix, corner, shape, source_shape, displacement, fill_mode)
    return SpatialResampling(matrix, corner, shape, source_shape, displacement, fill_mode)


class VolumeResampling:
    """Parent of the ways to resample; made by ``volume_resampling``.

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
        nearest, cval, out
            As ``generators.geometry.Resampling.apply``.

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
    """Resample only in the y-x plane; z is mirrored or moved by whole slices."""

    def __init__(self, matrix, corner, shape, source_shape, displacement, fill_mode):
        super().__init__(shape)
        self._border = BORDERS[fill_mode]
        self._slices = _slices_of(matrix, corner, shape, source_shape, fill_mode)
        x, y = _positions(matrix, corner, shape, displacement, n_axes=2)
        (columns, _), (rows, _) = _needed(x, source_shape[2]), _needed(y, source_shape[1])
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
                part = part.astype(np.float32)  # as fast as with 8-bit numbers, and more exact
            target = plane if part.dtype == plane.dtype else np.empty(plane.shape, part.dtype)
            cv2.remap(part, x, y, interpolation, dst=target, borderMode=self._border, borderValue=value)
            if target is not plane:
                plane[...] = target


class MisalignedResampling(VolumeResampling):
    """Resample only in the y-x plane, and some sections differently from the others."""

    def __init__(self, matrix, corner, shape, source_shape, fault, fill_mode):
        super().__init__(shape)
        self._fill_mode, self._is_moved = fill_mode, fault[1]
        self._slices = _slices_of(matrix, corner, shape, source_shape, fill_mode)
        in_plane = matrix[np.ix_((0, 1, 3), (0, 1, 3))]
        self._ways = [Resampling(own, corner[1:], shape[1:]) for own in (in_plane, in_plane @ fault[0])]

    def _fill(self, out, volume, nearest, cval):
        options = {"nearest": nearest, "fill_mode": self._fill_mode, "cval": cval}
        for z, plane, is_moved in zip(self._slices, out, self._is_moved, strict=True):
            if z is None:
                plane[...] = cval
            else:
                self._ways[int(is_moved)].apply(volume[z], out=plane, **options)


class SpatialResampling(VolumeResampling):
    """Resample along all three axes."""

    def __init__(self, matrix, corner, shape, source_shape, displacement, fill_mode):
        super().__init__(shape)
        self._positions = _positions(matrix, corner, shape, displacement, n_axes=3)[::-1]  # z, y, x
        needed = [_needed(place, length) for place, length in zip(self._positions, source_shape, strict=True)]
        self._part = tuple(part for part, _ in needed)
        # Along axes that places leave, the part is continued by one voxel, as far as folded places reach.
        self._margins = [(0, 0) if inside else (1, 2) for _, inside in needed] + [(0, 0)]
        self._pad_mode = PAD_MODES[fill_mode]
        for place, (part, inside) in zip(self._positions, needed, strict=True):
            place -= np.float32(part.start)
            if not inside:
                _fold(place, part.stop - part.start, fill_mode)
                place += 1

    def _fill(self, out, volume, nearest, cval):
        part = volume[self._part]
        if any(after for _, after in self._margins):
            options = {"constant_values": cval} if self._pad_mode == "constant" else {}
            part = np.pad(part, self._margins, mode=self._pad_mode, **options)
        if not nearest or part.dtype not in WARPED_DTYPES:
            part = part.astype(np.float32)
        slices = LaidOut(part)
        at_once = max(1, PIXELS_AT_ONCE // math.prod(self._shape[1:]))
        for first in range(0, self._shape[0], at_once):
            block = slice(first, first + at_once)
            z, y, x = (place[block].reshape(-1, self._shape[2]) for place in self._positions)
            if nearest:
                found = slices.look_up(*(np.floor(place + np.float32(0.5)) for place in (z, y, x)), cv2.INTER_NEAREST)
            else:
                below = np.floor(z)
                found = slices.look_up(below, y, x, cv2.INTER_LINEAR)
                above = slices.look_up(below + 1, y, x, cv2.INTER_LINEAR)
                above -= found
                above *= (z - below)[..., np.newaxis]
                found += above
            out[block] = found.reshape(out[block].shape)


class LaidOut:
    """The slices of a volume as one image, below each other, in as many columns as needed.

    Parameters
    ----------
    volume : numpy.ndarray
        ``(z, y, x, c)``, of a dtype that OpenCV resamples.
    """

    def __init__(self, volume):
        depth, self._height, self._width, channels = volume.shape
        self._per_column = min(depth, LONGEST_SIDE // self._height)
        self._columns = -(-depth // self._per_column)
        if self._columns > 1:
            rest = self._columns * self._per_column - depth
            volume = np.pad(volume, ((0, rest), (0, 0), (0, 0), (0, 0)))
            volume = volume.reshape(self._columns, -1, self._width, channels).swapaxes(0, 1)
        image = np.ascontiguousarray(volume)
        self._image = image.reshape(self._per_column * self._height, self._columns * self._width, channels)

    def look_up(self, z, y, x, interpolation):
        """Return the values at places in the slices, ``(rows, columns, c)``.

        Parameters
        ----------
        z, y, x : numpy.ndarray
            float32 ``(rows, columns)``: whole numbers of slices, and where in them.
        interpolation : int
            That of OpenCV.

        Returns
        -------
        numpy.ndarray
        """
        if self._columns > 1:
            column = np.floor((z + np.float32(0.5)) / np.float32(self._per_column))
            x = x + column * np.float32(self._width)
            z = z - column * np.float32(self._per_column)
        row = z * np.float32(self._height)
        row += y
        found = cv2.remap(self._image, x, row, interpolation, borderMode=cv2.BORDER_REPLICATE)
        return found.reshape(*z.shape, -1)


def _fold(place, length, fill_mode):
    """Move places outside an axis, in place, to where their value stands: inside or at most one voxel beside it."""
    if fill_mode == "wrap":
        place -= np.float32(length) * np.floor(place / np.float32(length))
    elif fill_mode == "reflect":
        place += np.float32(0.5)
        if place.min() < -length or place.max() > 2 * length:
            place -= np.float32(2 * length) * np.floor(place / np.float32(2 * length))
        np.abs(place, out=place)  # the mirror at the beginning, then at the end
        np.subtract(np.float32(length), place, out=place)
        np.abs(place, out=place)
        np.subtract(np.float32(length - 0.5), place, out=place)
    else:
        np.clip(place, -1, length, out=place)


def slice_inside(place, length, fill_mode):
    """Return which element of an axis stands at a place that may lie outside of it, None for the constant.

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
    """
    if fill_mode == "constant":
        return place if 0 <= place < length else None
    if fill_mode == "nearest":
        return min(max(place, 0), length - 1)
    if fill_mode == "wrap":
        return place % length
    place %= 2 * length
    return min(place, 2 * length - 1 - place)


def _slices_of(matrix, corner, shape, source_shape, fill_mode):
    """Return which slice of the source each of the output comes from, None for the constant."""
    z = matrix[2, 2] * _centred(shape[0]) + matrix[2, 3] + (shape[0] - 1) / 2 + corner[0]
    return [slice_inside(round(place), source_shape[0], fill_mode) for place in z]


def _centred(length):
    """Return the coordinates of the elements of an axis about its centre."""
    return np.arange(length) - (length - 1) / 2


def _positions(matrix, corner, shape, displacement, n_axes):
    """Return where in the source the output voxels come from: float32 arrays of x, y and perhaps z, z foremost.

    Without z and displacement all slices are alike and one is returned.
    """
    corner, shape = corner[::-1], shape[::-1]  # x, y, z
    positions = []
    for axis in range(n_axes):
        x, y, z = (matrix[axis, other] * _centred(shape[other]) for other in range(3))
        constant = matrix[axis, 3] + (shape[axis] - 1) / 2 + corner[axis]
        if n_axes == 3:
            rows = (z + constant)[:, np.newaxis, np.newaxis] + y[:, np.newaxis]
            place = rows.astype(np.float32) + x.astype(np.float32)
        else:
            place = (constant + y[np.newaxis, :, np.newaxis] + x).astype(np.float32)
        positions.append(place if displacement is None else place + displacement[axis])
    return positions


def _needed(positions, length):
    """Return the part of an axis that is needed to interpolate at the positions, and whether they all lie on it.

    If some lie outside, all of the axis is needed: the fill mode may ask for any of it.
    """
    lowest, highest = float(positions.min()), float(positions.max())
    if lowest < 0 or math.ceil(highest) >= length:
        return slice(0, length), lowest >= 0 and highest <= length - 1
    return slice(math.floor(lowest), math.ceil(highest) + 1), True
