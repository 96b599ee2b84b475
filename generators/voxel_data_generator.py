"""Augmented batches of volumes and masks in three dimensions."""

import dataclasses

import numpy as np

from generators.geometry import rotation, shear
from generators.options import check_numbers
from generators.pair_generator import PairGenerator
from generators.probability_map import random_corner
from generators.streams import Streams
from generators.voxel_geometry import in_space, keeps_slices, right_angle_turn, scale_in_space, shift_in_space
from generators.voxel_resampling import volume_resampling


@dataclasses.dataclass(kw_only=True, eq=False)
class VoxelDataGenerator(PairGenerator):
    """Draw random transforms for volumes and masks.

    The options are those of ``ImageDataGenerator``, applied to volumes, with the differences below. Unless
    ``isotropic`` is set, z is never mixed with y or x: every slice of a sample comes from one slice of the volume.
    Boxes have the given share of depth, height and width.

    Parameters
    ----------
    isotropic : bool
        Voxels are as deep as high and wide. Then rotations about the y and the x axis are drawn too, and zoom, elastic
        displacement, blur, motion and cutblur also act along z.
    rotation_range, shear_range, zoom_range, rotation90
        Act in the y-x plane. With ``isotropic`` and cubic samples ``rotation90`` draws any of the 24 positions of a
        cube.
    depth_shift_range : float
        Fraction of the depth of the sample; uniform in +-range, whole slices unless ``isotropic``.
    z_flip : bool
        Mirror along z with probability 0.5.
    elastic_alpha, elastic_sigma
        Displaces along y and x, with ``isotropic`` along z too; smooth along all three axes.
    misalignment : tuple of int
        Range of the whole pixels by which one section (slip) or all from a random one on (translation) move, in any
        direction in the y-x plane, with mask and weights.
    misalignment_rotation : float
        Share of the misalignments that rotate these sections about their centre instead.
    missing_sections : tuple of float
        Range of the share of the sections that are lost, at least one and never all.
    missing_fill : float or str
        Also ``neighbour``, the nearest section that is left.

    Raises
    ------
    ValueError
        If an option is out of range; the message gives the range.

    Examples
    --------
    >>> x, y = [np.zeros((20, 64, 64, 1), np.uint8)] * 4, [np.zeros((20, 64, 64, 1), np.uint8)] * 4
    >>> generator = VoxelDataGenerator(rotation90=True, z_flip=True, elastic_alpha=(1, 3))
    >>> batches = generator.flow(x, y, batch_size=2, crop_shape=(8, 32, 32))
    >>> [part.shape for part in batches[0]], len(batches)
    ([(2, 8, 32, 32, 1), (2, 8, 32, 32, 1)], 2)
    """

    depth_shift_range: float = 0.0
    z_flip: bool = False
    isotropic: bool = False

    kind = "volume"
    axes = ("z", "y", "x")
    default_batch_size = 1

    def __post_init__(self):
        super().__post_init__()
        check_numbers(depth_shift_range=(self.depth_shift_range, 0, 1))
        self.shift_ranges = self.depth_shift_range, self.height_shift_range, self.width_shift_range
        self.flips = self.z_flip, self.vertical_flip, self.horizontal_flip

    def _resampled(self, arrays, shape, rng, *, probability_map, out=None):
        """Draw a subvolume and its geometry; return the resampled arrays and the streams of the sample."""
        # A generator for each, so that one option does not change the draws of another.
        place, turns, chances, affine, elastic, others = rng.spawn(6)
        sizes = arrays[0].shape[:3]
        corner = random_corner(sizes, shape, place, probability_map)
        matrix, chance = self._orientation(turns, shape), chances.random()
        streams = Streams(others)
        if chance < self.probability:
            matrix = self._affine(affine, shape) @ matrix
        by_planes = keeps_slices(matrix)
        elastic = elastic if self._is_elastic(chance) else None
        displacement, fault = self._displacement(shape, matrix, streams, elastic=elastic, by_planes=by_planes)
        options = {"displacement": displacement, "fault": fault, "fill_mode": self.fill_mode}
        resampling = volume_resampling(matrix, corner, shape, sizes, **options)
        sample = [
            resampling.apply(array, nearest=part == 1, cval=self.cval if part == 0 else 0.0, out=target)
            for part, (array, target) in enumerate(zip(arrays, out or [None] * len(arrays), strict=True))
        ]
        return sample, streams

    def _orientation(self, rng, shape):
        """Draw flips and right-angle turns."""
        numbers, turn, facing = rng.random(3), rng.integers(4), rng.integers(6)
        mirrors = [-1 if flip and number < 0.5 else 1 for flip, number in zip(self.flips, numbers, strict=True)]
        number = turn if self.rotation90 else 0
        if self.rotation90 and self.isotropic and len(set(shape)) == 1:
            number = turn + 4 * facing
        return scale_in_space(*mirrors) @ right_angle_turn(int(number))

    def _affine(self, rng, shape):
        """Draw zoom, shear, rotation and shift; a range of 0 gives exactly the identity."""
        about_z, about_y, about_x, lean, *moves = (2 * rng.random(7) - 1).tolist()
        low, high = self.zoom_range
        factor = low + (high - low) * rng.random()
        matrix = scale_in_space(factor if self.isotropic else 1, factor, factor)
        matrix = in_space(shear(lean * self.shear_range)) @ matrix
        matrix = in_space(rotation(about_z * self.rotation_range)) @ matrix
        if self.isotropic:
            matrix = in_space(rotation(about_y * self.rotation_range), (0, 2)) @ matrix
            matrix = in_space(rotation(about_x * self.rotation_range), (1, 2)) @ matrix
        deep, down, right = np.multiply(moves, np.multiply(self.shift_ranges, shape)).tolist()
        return shift_in_space(deep if self.isotropic else round(deep), down, right) @ matrix
