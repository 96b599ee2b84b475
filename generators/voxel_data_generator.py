"""Augmented batches of volumes and masks in three dimensions."""

import numpy as np

from generators.batches import PairBatches
from generators.geometry import FILL_MODES, rotation, shear
from generators.intensity_transforms import change_intensity
from generators.options import check_numbers, number_range, zoom_factors
from generators.probability_map import random_corner
from generators.voxel_geometry import in_space, right_angle_turn, scale_in_space, shift_in_space, smooth_noise
from generators.voxel_resampling import volume_resampling
from utils.errors import check_choice


class VoxelDataGenerator:
    """Draw random transforms for volumes and masks, under the option names of ``ImageDataGenerator``.

    One geometry is composed per sample and resampled once: image and weights linearly, mask by nearest neighbour.
    Flips and right-angle turns alone move voxels without resampling. Unless voxels are said to be isotropic, z is never
    mixed with y or x: every slice of a sample comes from one slice of the volume.

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
        ``(low, high)`` of the strength of a random displacement, which is its root mean square in pixels along y and x,
        with ``isotropic`` along z too. Above a third of ``elastic_sigma`` tissue begins to fold over. 0: off.
    elastic_sigma : float
        Standard deviation, in pixels, of the Gaussian that makes the displacement smooth along all three axes.
    blur_sigma : tuple of float, optional
        ``(low, high)`` of the standard deviation, in pixels, of a Gaussian blur in the y-x plane.
    brightness_range : tuple of float, optional
        ``(low, high)``: grey values are multiplied by a factor drawn from it and clipped.
    contrast_range : tuple of float, optional
        ``(low, high)``: the distances of the grey values from their mean are multiplied by a factor.
    gamma : tuple of float, optional
        ``(low, high)`` of the power that grey values, scaled to 0 .. 1, are raised to; above 1 is darker.
    noise_std : tuple of float, optional
        ``(low, high)`` of the standard deviation of Gaussian noise, as a fraction of the grey value range.
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
        Probability that a sample gets the transforms that resample it (rotation, shifts, shear, zoom, elastic), and,
        by itself, of each change of grey values; flips and right-angle turns keep their own.

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

    def __init__(
        self,
        *,
        rotation_range=0.0,
        width_shift_range=0.0,
        height_shift_range=0.0,
        depth_shift_range=0.0,
        shear_range=0.0,
        zoom_range=0.0,
        elastic_alpha=0.0,
        elastic_sigma=10.0,
        blur_sigma=None,
        brightness_range=None,
        contrast_range=None,
        gamma=None,
        noise_std=None,
        fill_mode="reflect",
        cval=0.0,
        horizontal_flip=False,
        vertical_flip=False,
        z_flip=False,
        rotation90=False,
        isotropic=False,
        probability=1.0,
    ):
        check_choice("FILL_MODE", fill_mode, FILL_MODES)
        check_numbers(
            rotation_range=(rotation_range, 0, 360),
            width_shift_range=(width_shift_range, 0, 1),
            height_shift_range=(height_shift_range, 0, 1),
            depth_shift_range=(depth_shift_range, 0, 1),
            shear_range=(shear_range, 0, 89),
            elastic_sigma=(elastic_sigma, 1, 1000),
            probability=(probability, 0, 1),
        )
        self.rotation_range, self.shear_range, self.zoom_range = rotation_range, shear_range, zoom_factors(zoom_range)
        self.shift_ranges = depth_shift_range, height_shift_range, width_shift_range
        self.elastic_alpha = number_range("elastic_alpha", elastic_alpha, example=(1, 3), zero_allowed=True)
        self.elastic_sigma = elastic_sigma
        self.intensity_ranges = {
            "blur_sigma": number_range("blur_sigma", blur_sigma, example=(0.5, 1.5), zero_allowed=True),
            "brightness_range": number_range("brightness_range", brightness_range, example=(0.8, 1.2)),
            "contrast_range": number_range("contrast_range", contrast_range, example=(0.8, 1.2)),
            "gamma": number_range("gamma", gamma, example=(0.8, 1.25)),
            "noise_std": number_range("noise_std", noise_std, example=(0, 0.1), zero_allowed=True),
        }
        self.fill_mode, self.cval = fill_mode, cval
        self.flips = z_flip, vertical_flip, horizontal_flip
        self.rotation90, self.isotropic, self.probability = rotation90, isotropic, probability

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
        workers=1,
    ):
        """Make batches of augmented pairs for ``model.fit(..., shuffle=False)``.

        The random numbers of a batch depend on the seed, the epoch and the number of the batch only, so any number of
        workers gives the same batches.

        Parameters
        ----------
        x : sequence of numpy.ndarray
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
            Threads that prepare batches.

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

    def random_sample(self, arrays, crop_shape, rng, *, limits, probability_map=None, out=None):
        """Draw one augmented sample.

        Parameters
        ----------
        arrays : sequence of numpy.ndarray
            Volume ``(z, y, x, c)``, mask ``(z, y, x, 1)`` and, if there is one, weight map ``(z, y, x, 1)``.
        crop_shape : tuple of int
            ``(z, y, x, ...)`` of the sample; no larger than the volume.
        rng : numpy.random.Generator
            Source of randomness.
        limits : tuple of float
            Grey values of black and white, from ``black_and_white``.
        probability_map : ProbabilityMap, optional
            Of the mask.
        out : sequence of numpy.ndarray, optional
            Where to write volume (float32), mask (in its dtype) and weight map (float32), C-contiguous.

        Returns
        -------
        list of numpy.ndarray
            Volume, mask and weight map of the size of the crop; grey values are not scaled yet.
        """
        # Each part draws from a generator of its own, so that one option does not change the draws of another.
        place, turns, chance, affine, elastic, intensity = rng.spawn(6)
        shape, sizes = tuple(crop_shape[:3]), arrays[0].shape[:3]
        corner = random_corner(sizes, shape, place, probability_map)
        matrix, displacement = self._orientation(turns, shape), None
        if chance.random() < self.probability:
            matrix = self._affine(affine, shape) @ matrix
            displacement = self._displacement(elastic, shape)
        options = {"displacement": displacement, "fill_mode": self.fill_mode}
        resampling = volume_resampling(matrix, corner, shape, sizes, **options)
        sample = [
            resampling.apply(array, nearest=part == 1, cval=self.cval if part == 0 else 0.0, out=target)
            for part, (array, target) in enumerate(zip(arrays, out or [None] * len(arrays), strict=True))
        ]
        change_intensity(sample[0], self.intensity_ranges, intensity, limits=limits, probability=self.probability)
        return sample

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

    def _displacement(self, rng, shape):
        """Draw the elastic displacement, arrays ``(z, y, x)`` along x, y and perhaps z, or None."""
        if self.elastic_alpha is None:
            return None
        alpha = rng.uniform(*self.elastic_alpha)
        n_axes = 3 if self.isotropic else 2
        return [smooth_noise(rng, shape, self.elastic_sigma, strength=alpha) for _ in range(n_axes)]


class VolumeBatches(PairBatches):
    """Batches of volumes; made by ``VoxelDataGenerator.flow``, which documents the parameters.

    ``batches[i]`` is ``(images, masks)`` or ``(images, masks, weights)``: float32 ``(n, z, y, x, c)`` in 0 .. 1, masks
    ``(n, z, y, x, 1)`` in their dtype and float32 ``(n, z, y, x, 1)``. Keras advances ``epoch`` at the end of each; set
    it to continue an earlier training.
    """

    kind, axes = "volume", ("z", "y", "x")
