"""Augmented batches of volumes and masks in three dimensions."""

import dataclasses

import numpy as np

from generators.batches import PairBatches
from generators.geometry import rotation, shear
from generators.options import check_numbers
from generators.pair_generator import PairGenerator
from generators.probability_map import random_corner
from generators.streams import Streams
from generators.voxel_geometry import in_space, keeps_slices, right_angle_turn, scale_in_space, shift_in_space
from generators.voxel_resampling import volume_resampling
from utils.data.data_folder import open_image_set
from utils.images.lazy_images import CACHE_BYTES


@dataclasses.dataclass(kw_only=True, eq=False)
class VoxelDataGenerator(PairGenerator):
    """Draw random transforms for volumes and masks, under the option names of ``ImageDataGenerator``.

    One geometry is composed per sample and resampled once: image and weights linearly, mask by nearest neighbour.
    Flips and right-angle turns alone move voxels without resampling. Grey values change in the volume alone. Unless
    voxels are said to be isotropic, z is never mixed with y or x: every slice of a sample comes from one slice of the
    volume. A range is a tuple ``(low, high)`` that a strength is drawn from, uniformly; None or 0 switches the
    transform off.

    Parameters
    ----------
    rotation_range : float
        Degrees; the angle in the y-x plane is uniform in +-``rotation_range``. With ``isotropic`` two more turns, about
        the y and the x axis, are drawn alike.
    width_shift_range, height_shift_range, depth_shift_range : float
        Fraction of the sample's size along x, y and z; uniform in +-range. Without ``isotropic`` whole slices.
    shear_range : float
        Degrees, in the y-x plane; uniform in +-range.
    zoom_range : float or tuple of float
        ``(low, high)``, or z for ``(1 - z, 1 + z)``; one factor for y and x, with ``isotropic`` for z too. As in Keras
        a factor below 1 magnifies.
    elastic_alpha : tuple of float
        Range of the strength of a random displacement, which is its root mean square in pixels along y and x, with
        ``isotropic`` along z too. Above a third of ``elastic_sigma`` tissue begins to fold over.
    elastic_sigma : float
        Standard deviation, in pixels, of the Gaussian that makes the displacement smooth along all three axes.
    misalignment : tuple of int
        Range of the whole pixels by which one section (slip) or all from a random one on (translation) move, in any
        direction in the y-x plane, with mask and weights.
    misalignment_rotation : float
        Share of the misalignments that turn these sections about their centre instead; corners go so far.
    blur_sigma : tuple of float
        Range of the standard deviation, in pixels, of a Gaussian blur in the y-x plane, with ``isotropic`` along z too.
    median_size : tuple of int
        Range of the side, in pixels, of the square in the y-x plane of a median filter; an odd number of it is drawn.
    motion_length : tuple of int
        Range of the length, in pixels, of a blur along a line of any direction in the y-x plane, with ``isotropic`` in
        space.
    brightness_range : tuple of float
        Range of the factor of the grey values.
    contrast_range : tuple of float
        Range of the factor of the distances of the grey values from their mean.
    gamma : tuple of float
        Range of the power that grey values, scaled to 0 .. 1, are raised to; above 1 is darker.
    noise_std : tuple of float
        Range of the standard deviation of Gaussian noise, as a fraction of the grey value range.
    dropout : tuple of float
        Range of the share of single voxels that turn black.
    missing_sections : tuple of float
        Range of the share of the sections that are lost, at least one and never all.
    missing_fill : float or str
        What is there instead: 0 for black to 1 for white, ``mean`` of the volume, or ``neighbour``, the nearest section
        that is left.
    cutmix_size : tuple of float
        Range of the size, as a share of depth, height and width, of a box that is taken, with mask and weights, from
        another volume augmented alike.
    cutblur_size : tuple of float
        Range of the size, as above, of a box that is shown at a lower resolution.
    cutblur_factor : tuple of int
        Range of how many pixels then become one, along y and x, with ``isotropic`` along z too.
    cutblur_inside : bool
        False: every second time the box stays sharp and all around it is changed.
    cutnoise_size : tuple of float
        Range of the size, as above, of boxes with uniform noise.
    cutnoise_strength : tuple of float
        Range of the largest value of this noise, as a fraction of the grey value range.
    cutout_size : tuple of float
        Range of the size, as above, of boxes that are filled.
    cutout_fill : float or str
        With what: 0 for black to 1 for white, or ``mean`` of the volume.
    cutout_mask : bool
        Whether the mask becomes 0 there.
    cut_count : tuple of int
        Range of how many boxes are filled or made noisy.
    fill_mode : str
        ``reflect`` (``dcba|abcd|dcba``), ``nearest``, ``constant`` or ``wrap``, for what comes from outside the volume.
    cval : float
        Grey value for ``constant``; masks and weights are filled with 0.
    horizontal_flip, vertical_flip, z_flip : bool
        Mirror along x, y, z, each with probability 0.5.
    rotation90 : bool
        Turn by 0, 90, 180 or 270 degrees in the y-x plane, each with probability 0.25; with ``isotropic`` and cubes
        into any of the 24 positions of a cube. Needs samples as high as wide.
    isotropic : bool
        Voxels are as deep as high and wide, and so may be turned about all axes.
    probability : float
        Probability that a sample gets the transforms that resample it (rotation, shifts, shear, zoom, elastic), and, by
        itself, of each other transform; flips and right-angle turns keep their own.
    probabilities : dict of str to float, optional
        Probabilities of their own, by the option that switches the transform on, e.g. ``{"cutmix_size": 0.2}``.

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
    n_axes = 3

    def __post_init__(self):
        super().__post_init__()
        check_numbers(depth_shift_range=(self.depth_shift_range, 0, 1))
        self.shift_ranges = self.depth_shift_range, self.height_shift_range, self.width_shift_range
        self.flips = self.z_flip, self.vertical_flip, self.horizontal_flip

    def flow(
        self,
        x,
        y,
        *,
        batch_size=1,
        shuffle=True,
        seed=0,
        crop_shape=None,
        samples_per_volume=1,
        probability_map=None,
        sample_weight=None,
        intensity_range=None,
        workers=2,
    ):
        """Make batches of augmented pairs for ``model.fit(..., shuffle=False)``.

        The random numbers of a batch depend on the seed, the epoch and the number of the batch only, so any number of
        workers gives the same batches.

        Parameters
        ----------
        x : sequence of numpy.ndarray or LazyImage
            Volumes ``(z, y, x, c)``, a list (of views, of arrays on disk) or an array ``(n, z, y, x, c)``.
        y : sequence of numpy.ndarray
            Masks ``(z, y, x, 1)``, classes as integers.
        batch_size : int
            Pairs per batch; the last batch of an epoch may be smaller.
        shuffle : bool
            New order in every epoch.
        seed : int
            Seed.
        crop_shape : tuple of int, optional
            Take a random subvolume ``(z, y, x, ...)`` of each volume instead of all of it. Needed when sizes differ.
        samples_per_volume : int
            How many subvolumes of each volume form an epoch.
        probability_map : tuple of float, optional
            ``(foreground weight, background weight)``, e.g. ``(0.94, 0.06)``: how often random subvolumes are centred
            about a voxel of either class (see ``ProbabilityMap``). Without it all subvolumes are equally likely.
        sample_weight : sequence of numpy.ndarray, optional
            Weight of each voxel, ``(z, y, x, 1)`` floats; follows the geometry of its volume.
        intensity_range : tuple of float, optional
            As ``to_unit_range``.
        workers : int
            Threads that prepare batches. Keras leaves a single one to ``tf.data`` of TensorFlow, which then can hold up
            the end of an epoch (`benchmarks/epoch_end.py`).

        Returns
        -------
        VolumeBatches

        Raises
        ------
        ValueError
            If numbers or sizes of volumes, masks and weights do not agree.
        """
        return VolumeBatches(
            self,
            x,
            y,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            crop_shape=crop_shape,
            samples_per_array=samples_per_volume,
            probability_map=probability_map,
            sample_weight=sample_weight,
            intensity_range=intensity_range,
            workers=workers,
        )

    def flow_from_directory(
        self,
        directory,
        *,
        channels=1,
        n_classes=1,
        mask_values=None,
        intensity_range=None,
        image_dataset=None,
        mask_dataset=None,
        cache_bytes=CACHE_BYTES,
        workers=4,
        **flow,
    ):
        """Make the batches that ``flow`` would make of the volumes of a folder, leaving them on disk.

        Names and sizes are checked at once; pixels are read by the workers when a batch needs them. Given the same
        seed, the batches are bit for bit those of ``flow`` on the loaded volumes. Validation volumes out of the same
        folder: split what `utils.data.data_folder.open_image_set` returns, and give the parts to ``flow``.

        Parameters
        ----------
        directory : str or Path
            Holds ``x/`` (or ``x/x/``) with volumes and ``y/`` (or ``y/y/``) with masks, e.g. ``data/train``: files
            of several slices, or one slice a file, which together are one volume.
        channels, n_classes, mask_values, image_dataset, mask_dataset, cache_bytes
            As `utils.data.data_folder.open_image_set`.
        intensity_range, workers
            As ``flow``.
        **flow
            Further arguments of ``flow``: batch size, seed, crop shape and so on.

        Returns
        -------
        VolumeBatches

        Raises
        ------
        ValueError
            As `utils.data.data_folder.open_image_set` and ``flow``.
        """
        options = {"channels": channels, "n_classes": n_classes, "mask_values": mask_values, "volumes": True}
        options |= {"image_dataset": image_dataset, "mask_dataset": mask_dataset, "cache_bytes": cache_bytes}
        images = open_image_set(directory, intensity_range=intensity_range, **options)
        return self.flow(images.x, images.y, intensity_range=intensity_range, workers=workers, **flow)

    def _resampled(self, arrays, shape, rng, *, probability_map, out=None):
        """Draw a subvolume and its geometry; return volume, mask and weights through it, and the sample's streams."""
        # What came first draws from generators spawned for it, so that seeds of earlier runs keep their samples.
        place, turns, chances, affine, elastic, intensity = rng.spawn(6)
        sizes = arrays[0].shape[:3]
        corner = random_corner(sizes, shape, place, probability_map)
        matrix, chance = self._orientation(turns, shape), chances.random()
        streams = Streams(chances, elastic_alpha=elastic, intensity=intensity)
        if chance < self.probability:
            matrix = self._affine(affine, shape) @ matrix
        by_planes = keeps_slices(matrix)
        displacement, fault = self._displacement(shape, matrix, streams, chance=chance, by_planes=by_planes)
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
        """Draw zoom, shear, rotation and shift; what is off has a range of 0 and gives exactly the identity."""
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


class VolumeBatches(PairBatches):
    """Batches of volumes; made by ``VoxelDataGenerator.flow``, which documents the parameters.

    ``batches[i]`` is ``(images, masks)`` or ``(images, masks, weights)``: float32 ``(n, z, y, x, c)`` in 0 .. 1, masks
    ``(n, z, y, x, 1)`` in their dtype and float32 ``(n, z, y, x, 1)``. Keras advances ``epoch`` at the end of each; set
    it to continue an earlier training.
    """

    kind, axes = "volume", ("z", "y", "x")
