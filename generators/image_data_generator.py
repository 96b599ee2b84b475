"""Augmented batches of images and masks in two dimensions."""

import dataclasses

import numpy as np

from generators.batches import PairBatches
from generators.geometry import PartedResampling, Resampling, rotation, scale, shear, shift
from generators.pair_generator import PairGenerator
from generators.probability_map import random_corner
from generators.streams import Streams
from utils.data.data_folder import open_image_set
from utils.images.lazy_images import CACHE_BYTES

RIGHT_ANGLE_TURNS = [np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]


@dataclasses.dataclass(kw_only=True, eq=False)
class ImageDataGenerator(PairGenerator):
    """Draw random transforms for images and masks; what Keras has too has Keras' names.

    One geometry is composed per sample and resampled once: image and weights linearly, mask by nearest neighbour.
    Flips and right-angle turns alone move pixels without resampling. Images keep their stored dtype until then.
    Grey values change in the image alone. A range is a tuple ``(low, high)`` that a strength is drawn from, uniformly;
    None or 0 switches the transform off.

    Parameters
    ----------
    rotation_range : float
        Degrees; the angle is uniform in +-``rotation_range``.
    width_shift_range, height_shift_range : float
        Fraction of the width or height (of the crop); uniform in +-range.
    shear_range : float
        Degrees; uniform in +-range.
    zoom_range : float or tuple of float
        ``(low, high)``, or z for ``(1 - z, 1 + z)``; one factor for both axes. As in Keras a factor below 1 magnifies.
    elastic_alpha : tuple of float
        Range of the strength of a random displacement, which is its root mean square in pixels along y and x. Above a
        third of ``elastic_sigma`` tissue begins to fold over.
    elastic_sigma : float
        Standard deviation, in pixels, of the Gaussian that makes the displacement smooth.
    misalignment : tuple of int
        Range of the whole pixels by which all rows from a random one on move, left or right, with mask and weights.
    misalignment_rotation : float
        Share of the misalignments that turn these rows about the centre of the sample instead; corners go so far.
    blur_sigma : tuple of float
        Range of the standard deviation, in pixels, of a Gaussian blur.
    median_size : tuple of int
        Range of the side, in pixels, of the square of a median filter; an odd number of it is drawn.
    motion_length : tuple of int
        Range of the length, in pixels, of a blur along a line of any direction.
    brightness_range : tuple of float
        Range of the factor of the grey values.
    contrast_range : tuple of float
        Range of the factor of the distances of the grey values from their mean.
    gamma : tuple of float
        Range of the power that grey values, scaled to 0 .. 1, are raised to; above 1 is darker.
    noise_std : tuple of float
        Range of the standard deviation of Gaussian noise, as a fraction of the grey value range.
    dropout : tuple of float
        Range of the share of single pixels that turn black.
    missing_sections : tuple of float
        Range of the share of the image that is lost, in a band from one side to the opposite one.
    missing_fill : float or str
        What is there instead: 0 for black to 1 for white, or ``mean`` of the image.
    cutmix_size : tuple of float
        Range of the size, as a share of height and width, of a box that is taken, with mask and weights, from another
        image augmented alike.
    cutblur_size : tuple of float
        Range of the size, as above, of a box that is shown at a lower resolution.
    cutblur_factor : tuple of int
        Range of how many pixels then become one, along both axes.
    cutblur_inside : bool
        False: every second time the box stays sharp and all around it is changed.
    cutnoise_size : tuple of float
        Range of the size, as above, of boxes with uniform noise.
    cutnoise_strength : tuple of float
        Range of the largest value of this noise, as a fraction of the grey value range.
    cutout_size : tuple of float
        Range of the size, as above, of boxes that are filled.
    cutout_fill : float or str
        With what: as ``missing_fill``.
    cutout_mask : bool
        Whether the mask becomes 0 there.
    cut_count : tuple of int
        Range of how many boxes are filled or made noisy.
    fill_mode : str
        ``reflect`` (``dcba|abcd|dcba``), ``nearest``, ``constant`` or ``wrap``, for what comes from outside the image.
    cval : float
        Grey value for ``constant``; masks and weights are filled with 0.
    horizontal_flip, vertical_flip : bool
        Mirror left-right, up-down, each with probability 0.5.
    rotation90 : bool
        Turn by 0, 90, 180 or 270 degrees, each with probability 0.25. Needs square crops.
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
    >>> x, y = [np.zeros((64, 64, 1), np.uint8)] * 4, [np.zeros((64, 64, 1), np.uint8)] * 4
    >>> batches = ImageDataGenerator(rotation_range=180, vertical_flip=True).flow(x, y, batch_size=2)
    >>> [part.shape for part in batches[0]], len(batches)
    ([(2, 64, 64, 1), (2, 64, 64, 1)], 2)
    """

    def __post_init__(self):
        super().__post_init__()
        # Drawn with the geometry, as it always was, so that seeds of earlier runs keep their samples.
        self.brightness_range = self.intensity_ranges["brightness_range"]
        self.intensity_ranges["brightness_range"] = None
        others = (self.elastic_alpha, self.sections["misalignment"], *self.intensity_ranges.values())
        self._needs_streams = self._has_later_changes or any(others)

    def flow(
        self,
        x,
        y,
        *,
        batch_size=32,
        shuffle=True,
        seed=0,
        crop_shape=None,
        samples_per_image=1,
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
            Images ``(y, x, c)``, a list or an array ``(n, y, x, c)``.
        y : sequence of numpy.ndarray
            Masks ``(y, x, 1)``, classes as integers.
        batch_size : int
            Pairs per batch; the last batch of an epoch may be smaller.
        shuffle : bool
            New order in every epoch.
        seed : int
            Seed.
        crop_shape : tuple of int, optional
            Take a random crop ``(y, x, ...)`` of each image instead of the whole image. Needed when sizes differ.
        samples_per_image : int
            How many crops of each image form an epoch.
        probability_map : tuple of float, optional
            ``(foreground weight, background weight)``, e.g. ``(0.94, 0.06)``: how often random crops are centred about
            a pixel of either class (see ``ProbabilityMap``). Without it all crops are equally likely.
        sample_weight : sequence of numpy.ndarray, optional
            Weight of each pixel, ``(y, x, 1)`` floats; follows the geometry of its image.
        intensity_range : tuple of float, optional
            As ``to_unit_range``.
        workers : int
            Threads that prepare batches. Keras leaves a single one to ``tf.data`` of TensorFlow, which then can hold up
            the end of an epoch (`benchmarks/epoch_end.py`).

        Returns
        -------
        ImageBatches

        Raises
        ------
        ValueError
            If numbers or sizes of images, masks and weights do not agree.
        """
        return ImageBatches(
            self,
            x,
            y,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            crop_shape=crop_shape,
            samples_per_array=samples_per_image,
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
        """Make the batches that ``flow`` would make of the images of a folder, leaving them on disk.

        Names and sizes are checked at once; pixels are read by the workers when a batch needs them. Given the same
        seed, the batches are bit for bit those of ``flow`` on the loaded images. Validation images out of the same
        folder: split what `utils.data.data_folder.open_image_set` returns, and give the parts to ``flow``.

        Parameters
        ----------
        directory : str or Path
            Holds ``x/`` (or ``x/x/``) with images and ``y/`` (or ``y/y/``) with masks, e.g. ``data/train``: every page
            of every file is an image.
        channels, n_classes, mask_values, image_dataset, mask_dataset, cache_bytes
            As `utils.data.data_folder.open_image_set`.
        intensity_range, workers
            As ``flow``.
        **flow
            Further arguments of ``flow``: batch size, seed, crop shape and so on.

        Returns
        -------
        ImageBatches

        Raises
        ------
        ValueError
            As `utils.data.data_folder.open_image_set` and ``flow``.
        """
        options = {"channels": channels, "n_classes": n_classes, "mask_values": mask_values, "volumes": False}
        options |= {"image_dataset": image_dataset, "mask_dataset": mask_dataset, "cache_bytes": cache_bytes}
        images = open_image_set(directory, intensity_range=intensity_range, **options)
        return self.flow(images.x, images.y, intensity_range=intensity_range, workers=workers, **flow)

    def random_matrix(self, rng, shape):
        """Draw flips, turns, zoom, shear, rotation and shift of one sample.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of randomness.
        shape : tuple of int
            ``(y, x)`` of the crop, for shifts.

        Returns
        -------
        matrix : numpy.ndarray
            ``(3, 3)``, see ``generators.geometry``.
        chance : float
            0 to 1; the sample is resampled if it is below the probability.
        """
        # All numbers are drawn whether or not they are used, so that one option does not change the draws of another.
        angle, lean, down, right = (2 * number - 1 for number in rng.random(4).tolist())
        zoom, flip_up, flip_left, turn, chance = rng.random(5).tolist()
        matrix = RIGHT_ANGLE_TURNS[int(4 * turn) if self.rotation90 else 0]
        mirror_y = -1.0 if self.vertical_flip and flip_up < 0.5 else 1.0
        mirror_x = -1.0 if self.horizontal_flip and flip_left < 0.5 else 1.0
        if mirror_y < 0 or mirror_x < 0:
            matrix = scale(mirror_y, mirror_x) @ matrix
        if chance >= self.probability:
            return matrix, chance
        low, high = self.zoom_range
        if low != 1 or high != 1:
            factor = low + (high - low) * zoom
            matrix = scale(factor, factor) @ matrix
        if self.shear_range:
            matrix = shear(lean * self.shear_range) @ matrix
        if self.rotation_range:
            matrix = rotation(angle * self.rotation_range) @ matrix
        if self.height_shift_range or self.width_shift_range:
            pixels = down * self.height_shift_range * shape[0], right * self.width_shift_range * shape[1]
            matrix = shift(*pixels) @ matrix
        return matrix, chance

    def _resampled(self, arrays, shape, rng, *, probability_map, out=None):
        """Draw a crop and its geometry; return image, mask and weights through it, and the streams of the sample."""
        corner = random_corner(arrays[0].shape[:2], shape, rng, probability_map)
        matrix, chance = self.random_matrix(rng, shape)
        streams = displacement = fault = None
        if self._needs_streams:
            streams = Streams(rng.spawn(1)[0])
            displacement, fault = self._displacement(shape, matrix, streams, chance=chance)
        resampling = Resampling(matrix, corner, shape, displacement)
        if fault is not None:
            resampling = PartedResampling(matrix, fault, corner, shape)
        sample = [
            resampling.apply(
                array,
                nearest=part == 1,
                fill_mode=self.fill_mode,
                cval=self.cval if part == 0 else 0.0,
                out=target,
            )
            for part, (array, target) in enumerate(zip(arrays, out or [None] * len(arrays), strict=True))
        ]
        return sample, streams

    def _draw_brightness(self, rng):
        """Return the factor of the brightness, or None for no change."""
        if self.brightness_range is None:
            return None
        factor, chance = rng.uniform(*self.brightness_range), rng.random()
        return factor if chance < self.probability_of["brightness_range"] else None


class ImageBatches(PairBatches):
    """Batches of images; made by ``ImageDataGenerator.flow``, which documents the parameters.

    ``batches[i]`` is ``(images, masks)`` or ``(images, masks, weights)``: float32 ``(n, y, x, c)`` in 0 .. 1, masks
    ``(n, y, x, 1)`` in their dtype and float32 ``(n, y, x, 1)``. Keras advances ``epoch`` at the end of each; set it to
    continue an earlier training.
    """

    kind, axes = "image", ("y", "x")
