"""A volume in blocks that fit into memory: which subvolumes each block predicts, and how predictions are merged.

The subvolumes are exactly those that ``protocols`` cuts out of the whole volume; each is predicted once, for the block
in which it starts. The weighted sum of a block's predictions is its *part*, which extends beyond the block if its
subvolumes do. A voxel gets the sum of the parts that cover it, divided by the sum of the weights there. Only the order
of additions differs from prediction in memory, so that both agree up to float rounding, whichever machine computes a
part.

Axes are ``(z, y, x)``; nothing here reads a file.
"""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from utils.images.crops import crop_starts, spline_window, without_margins
from utils.images.padding import per_axis


class Axis(NamedTuple):
    """One axis of a volume.

    Attributes
    ----------
    size : int
        Voxels of the volume.
    edges : tuple of int
        Where blocks begin, and ``size``.
    starts : tuple of int
        Where subvolumes start, without their margins; below 0 in the mirrored surroundings.
    inner, margin : int
        Length of a subvolume without its margins, and the margin.
    before, frame : int
        Before margins are added, the volume is mirrored to ``frame`` voxels, ``before`` of them in front of it.
    """

    size: int
    edges: tuple
    starts: tuple
    inner: int
    margin: int
    before: int
    frame: int

    def source(self, positions):
        """Return the voxels of the volume at positions that may lie in its mirrored surroundings."""
        return mirrored(mirrored(positions + self.before, self.frame) - self.before, self.size)

    def owned(self, number):
        """Return the starts of the subvolumes of a block: those in it, and those before 0 for the first block."""
        low, high = self.edges[number], self.edges[number + 1]
        return [start for start in self.starts if low <= min(max(start, 0), self.size - 1) < high]

    def reach(self, number):
        """Return where the part of a block starts and stops; the same voxel if it has no subvolume."""
        owned = self.owned(number) or [-self.inner]
        return max(0, min(owned)), max(0, min(self.size, max(owned) + self.inner))


class BlockGrid:
    """The blocks of a volume and the subvolumes that are predicted for each.

    Parameters
    ----------
    shape : tuple of int
        Of the volume, ``(z, y, x)`` or ``(z, y, x, c)``.
    crop_shape : tuple of int
        Of a subvolume, with or without channels.
    block_shape : tuple of int
        ``(z, y, x)``, of any size; clipped to the volume.
    blending : bool
        True: subvolumes as `predict_blended`, else as `predict_crops`.
    overlap, padding
        Without blending: as `utils.images.crops.iterate_crops`.

    Raises
    ------
    ValueError
        If a shape is not one of three positive sizes, the numbers of channels differ, or overlap and padding are out
        of range.

    Examples
    --------
    >>> grid = BlockGrid((100, 64, 64), (16, 32, 32), (40, 64, 64), overlap=0.5)
    >>> len(grid.blocks), grid.box((1, 0, 0))[0], grid.part_box((0, 0, 0))[0]
    (3, slice(40, 80, None), slice(0, 54, None))
    """

    def __init__(self, shape, crop_shape, block_shape, *, blending=False, overlap=0.0, padding=0):
        self.shape = tuple(int(size) for size in shape[:3])
        crop, blocks = tuple(crop_shape[:3]), tuple(block_shape)
        if len(crop) < 3 or len(blocks) != 3 or min(*self.shape, *crop, *blocks) < 1:
            raise ValueError(
                f"a volume {self.shape} cannot be cut into blocks {blocks} of subvolumes {crop}; wanted three positive "
                "sizes (z, y, x) each. Use several subvolumes a side for BLOCK_SHAPE, such as (160, 320, 320)."
            )
        if len(shape) == len(crop_shape) == 4 and shape[3] != crop_shape[3]:
            raise ValueError(
                f"the volume has {shape[3]} channels, but CROP_SHAPE is {tuple(crop_shape)}; its last number is "
                "the number of channels."
            )
        self.block_shape = tuple(map(min, blocks, self.shape))
        self.blending, self.overlap, self.padding = blending, overlap, padding
        inner, margins = (crop, (0, 0, 0)) if blending else without_margins(crop, padding, 3)
        overlaps = (0.5,) * 3 if blending else per_axis(overlap, 3)
        self.axes = tuple(
            map(functools.partial(_axis, blending), self.shape, self.block_shape, inner, margins, overlaps)
        )
        self.window = spline_window(crop) if blending else np.ones((*inner, 1), np.float32)

    @property
    def blocks(self):
        """The numbers ``(z, y, x)`` of all blocks along the axes, x running fastest."""
        return list(itertools.product(*(range(len(axis.edges) - 1) for axis in self.axes)))

    def box(self, block):
        """Return the slices ``(z, y, x)`` of a block in the volume."""
        return tuple(slice(axis.edges[n], axis.edges[n + 1]) for axis, n in zip(self.axes, block, strict=True))

    def voxels(self, block):
        """Return the number of voxels of a block."""
        return math.prod(box.stop - box.start for box in self.box(block))

    def count_subvolumes(self):
        """Return the number of subvolumes of the whole volume."""
        return math.prod(len(axis.starts) for axis in self.axes)

    def part_box(self, block):
        """Return the slices of the part of a block; empty if it has no subvolume."""
        return tuple(slice(*axis.reach(n)) for axis, n in zip(self.axes, block, strict=True))

    def corners(self, block):
        """Return the first corners, without margins, of the subvolumes of a block, in the order of the whole volume."""
        return list(itertools.product(*(axis.owned(n) for axis, n in zip(self.axes, block, strict=True))))

    def parts_of(self, block):
        """Return the blocks whose parts cover some of a block, itself included, in their order."""
        return self._meeting(block, Axis.reach, lambda axis, number: axis.edges[number : number + 2])

    def users_of(self, block):
        """Return the blocks that need the part of a block."""
        return self._meeting(block, lambda axis, number: axis.edges[number : number + 2], Axis.reach)

    def _meeting(self, block, theirs, ours):
        def along(axis, number):
            low, high = ours(axis, number)
            candidates = ((other, theirs(axis, other)) for other in range(len(axis.edges) - 1))
            return [other for other, (start, stop) in candidates if start < high and low < stop]

        return list(itertools.product(*(along(axis, n) for axis, n in zip(self.axes, block, strict=True))))

    def read_box(self, block):
        """Return the slices of the volume that the subvolumes of a block show, margins included."""
        found = [axis.source(_shown(axis, n)) for axis, n in zip(self.axes, block, strict=True)]
        return tuple(slice(int(places.min()), int(places.max()) + 1) for places in found)

    def crops(self, block, region):
        """Yield the subvolumes ``(z, y, x, c)`` of a block, in the order of ``corners``, mirrored beyond the volume.

        ``region`` is the volume ``(z, y, x, c)`` in ``read_box(block)``; subvolumes are views.
        """
        firsts = []
        for number, (axis, n, box) in enumerate(zip(self.axes, block, self.read_box(block), strict=True)):
            shown = _shown(axis, n)
            firsts.append(shown[0] + axis.margin)
            places = axis.source(shown) - box.start
            if not np.array_equal(places, np.arange(region.shape[number])):
                region = np.take(region, places, axis=number)
        for corner in self.corners(block):
            starts = [start - first for start, first in zip(corner, firsts, strict=True)]
            sizes = [axis.inner + 2 * axis.margin for axis in self.axes]
            yield region[tuple(slice(s, s + size) for s, size in zip(starts, sizes, strict=True))]

    def add(self, total, corner, prediction, *, origin):
        """Add the weighted prediction of one subvolume, at one of ``corners``, to a part in place.

        The part ``total`` is ``(z, y, x, classes)``, float32, and begins at ``origin`` in the volume. The prediction is
        ``(z, y, x, classes)`` with margins, or anything that broadcasts to that.
        """
        inside = tuple(slice(axis.margin, axis.margin + axis.inner) for axis in self.axes)
        place, cut = _overlap(corner, self.window.shape, origin, total.shape)
        total[place] += np.broadcast_to(prediction, (*self._crop, total.shape[-1]))[inside][cut] * self.window[cut]

    @property
    def _crop(self):
        return tuple(axis.inner + 2 * axis.margin for axis in self.axes)

    def weights(self, block):
        """Return the sum of the weights of all subvolumes at each voxel of a block, ``(z, y, x, 1)``, float32."""
        starts, lengths = [], []
        for axis, n in zip(self.axes, block, strict=True):
            low, high = axis.edges[n : n + 2]
            starts.append(tuple(s - low for s in axis.starts if s < high and s + axis.inner > low))
            lengths.append(high - low)
        # Most blocks have the same weights as the one before: computed once.
        known = self.__dict__.setdefault("_weights", {})
        if (*starts, *lengths) not in known:
            known.clear()
            total = np.zeros((*lengths, 1), np.float32)
            for corner in itertools.product(*starts):
                place, cut = _overlap(corner, self.window.shape, (0, 0, 0), total.shape)
                total[place] += self.window[cut]
            known[*starts, *lengths] = total
        return known[*starts, *lengths]

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_weights"}


def mirrored(positions, size):
    """Return the voxels at positions that may lie outside, mirrored as often as needed: ``b a | a b | b a``.

    Parameters
    ----------
    positions : numpy.ndarray
        Integers.
    size : int
        Voxels along the axis.

    Returns
    -------
    numpy.ndarray
        0 .. size - 1.

    Examples
    --------
    >>> mirrored(np.arange(-2, 5), 2).tolist()
    [1, 0, 0, 1, 1, 0, 0]
    """
    positions = positions % (2 * size)
    return np.minimum(positions, 2 * size - 1 - positions)


def block_bytes(grid, *, classes=1, itemsize=1, channels=1):
    """Return the largest memory of one block, without the network, and the disk space of its part.

    Parameters
    ----------
    grid : BlockGrid
        The blocks.
    classes : int
        Channels of the prediction.
    itemsize : int
        Bytes of a grey value.
    channels : int
        Channels of the volume.

    Returns
    -------
    memory, part : int
        Bytes.

    Examples
    --------
    >>> block_bytes(BlockGrid((320, 320, 320), (80, 80, 80), (160, 160, 160)))
    (65536000, 16384000)
    """
    sizes = [[(axis.reach(n), len(_shown(axis, n)), axis) for n in range(len(axis.edges) - 1)] for axis in grid.axes]
    largest = math.prod(max(reach[1] - reach[0] for reach, _, _ in along) for along in sizes)
    shown = math.prod(max(length for _, length, _ in along) for along in sizes)
    block = math.prod(grid.block_shape)
    predicting = largest * 4 * classes + 2 * shown * itemsize * channels
    merging = block * 4 * (2 * classes + 1) + largest * 4 * classes
    return max(predicting, merging), largest * 4 * classes


def _axis(blending, size, block, inner, margin, overlap):
    edges = (*range(0, size, block), size)
    if blending:
        before, frame = inner // 2, size + inner
        starts = crop_starts(frame, inner, overlap)
    else:
        before, frame = max(0, inner - size) // 2, max(size, inner)
        starts = crop_starts(size, inner, overlap)
    return Axis(size, edges, tuple(start - before for start in starts), inner, margin, before, frame)


def _shown(axis, number):
    """Return the positions that the subvolumes of a block cover along an axis, margins included."""
    owned = axis.owned(number)
    return np.arange(owned[0] - axis.margin, owned[-1] + axis.inner + axis.margin) if owned else np.arange(0)


def _overlap(corner, size, origin, shape):
    """Return the slices of a box in an array that begins at ``origin``, and those of the box that lie in the array."""
    place, cut = [], []
    for start, length, first, available in zip(corner, size[:3], origin, shape[:3], strict=True):
        low, high = max(start - first, 0), min(start - first + length, available)
        place.append(slice(low, high))
        cut.append(slice(low - (start - first), high - (start - first)))
    return tuple(place), tuple(cut)
