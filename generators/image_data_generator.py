"""Augmented batches of images and masks in two dimensions."""

import numpy as np

from generators.batches import PairBatches
from generators.geometry import FILL_MODES, Resampling, rotation, scale, shear, shift
from generators.intensity_transforms import change_brightness
from generators.options import check_numbers, number_range, zoom_factors
from generators.probability_map import random_corner
from utils.errors import check_choice

RIGHT_ANGLE_TURNS = [np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]


class ImageDataGenerator:
    """Draw random transforms for images and masks, under Keras' own option names.

    One geometry is composed per sample and resampled once: image and weights linearly, mask by nearest neighbour.
    Flips and right-angle turns alone move pixels without resampling. Images keep their stored dtype until then.

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
    brightness_range : tuple of float, optional
        ``(low, high)``: grey values are multiplied by a factor drawn from it and clipped. Masks are left alone.
    fill_mode : str
        ``reflect`` (``dcba|abcd|dcba``), ``nearest``, ``constant`` or ``wrap``, for what comes from outside the image.
    cval : float
        Grey value for ``constant``; masks and weights are filled with 0.
    horizontal_flip, vertical_flip : bool
        Mirror left-right, up-down, each with probability 0.5.
    rotation90 : bool
        Turn by 0, 90, 180 or 270 degrees, each with probability 0.25. Needs square crops.
    probability : float
        Probability that a sample gets the transforms that resample it (rotation, shifts, shear, zoom) and the
        brightness; flips and right-angle turns keep their own.

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

    def __init__(
        self,
        *,
        rotation_range=0.0,
        width_shift_range=0.0,
        height_shift_range=0.0,
        shear_range=0.0,
        zoom_range=0.0,
        brightness_range=None,
        fill_mode="reflect",
        cval=0.0,
        horizontal_flip=False,
        vertical_flip=False,
        rotation90=False,
        probability=1.0,
    ):
        check_choice("FILL_MODE", fill_mode, FILL_MODES)
        check_numbers(
            rotation_range=(rotation_range, 0, 360),
            width_shift_range=(width_shift_range, 0, 1),
            height_shift_range=(height_shift_range, 0, 1),
            shear_range=(shear_range, 0, 89),
            probability=(probability, 0, 1),
        )
        self.zoom_range = zoom_factors(zoom_range)
        self.brightness_range = number_range("brightness_range", brightness_range, example=(0.8, 1.2))
        self.rotation_range, self.shear_range = rotation_range, shear_range
        self.width_shift_range, self.height_shift_range = width_shift_range, height_shift_range
        self.fill_mode, self.cval = fill_mode, cval
        self.horizontal_flip, self.vertical_flip, self.rotation90 = horizontal_flip, vertical_flip, rotation90
        self.probability = probability

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
        workers=1,
    ):
        """Make batches of augmented pairs for ``model.fit(..., shuffle=False)``.

        The random numbers of a batch depend on the seed, the epoch and the number of the batch only, so any number of
        workers gives the same batches.

        Parameters
        ----------
        x : sequence of numpy.ndarray
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
            Threads that prepare batches.

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

    def random_matrix(self, rng, shape):
        """Draw the geometry of one sample.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of randomness.
        shape : tuple of int
            ``(y, x)`` of the crop, for shifts.

        Returns
        -------
        numpy.ndarray
            ``(3, 3)``, see ``generators.geometry``.
        """
        # All numbers are drawn whether or not they are used, so that one option does not change the draws of another.
        angle, lean, down, right = (2 * number - 1 for number in rng.random(4).tolist())
        zoom, flip_up, flip_left, turn, resampled = rng.random(5).tolist()
        matrix = RIGHT_ANGLE_TURNS[int(4 * turn) if self.rotation90 else 0]
        mirror_y = -1.0 if self.vertical_flip and flip_up < 0.5 else 1.0
        mirror_x = -1.0 if self.horizontal_flip and flip_left < 0.5 else 1.0
        if mirror_y < 0 or mirror_x < 0:
            matrix = scale(mirror_y, mirror_x) @ matrix
        if resampled >= self.probability:
            return matrix
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
        return matrix

    def random_brightness(self, image, rng, limits):
        """Multiply the grey values of an image by a random factor and clip them, in place.

        Parameters
        ----------
        image : numpy.ndarray
            ``(y, x, c)``, float32; changed.
        rng : numpy.random.Generator
            Source of randomness.
        limits : tuple of float
            Grey values of black and white.
        """
        if self.brightness_range is None:
            return
        factor, applied = rng.uniform(*self.brightness_range), rng.random() < self.probability
        if applied:
            change_brightness(image, factor, limits)

    def random_sample(self, arrays, crop_shape, rng, *, limits, probability_map=None, out=None):
        """Draw one augmented sample.

        Parameters
        ----------
        arrays : sequence of numpy.ndarray
            Image ``(y, x, c)``, mask ``(y, x, 1)`` and, if there is one, weight map ``(y, x, 1)``.
        crop_shape : tuple of int
            ``(y, x, ...)`` of the sample; no larger than the image.
        rng : numpy.random.Generator
            Source of randomness.
        limits : tuple of float
            Grey values of black and white, from ``black_and_white``.
        probability_map : ProbabilityMap, optional
            Of the mask.
        out : sequence of numpy.ndarray, optional
            Where to write image (float32), mask (in its dtype) and weight map (float32), C-contiguous.

        Returns
        -------
        list of numpy.ndarray
            Image, mask and weight map of the size of the crop; grey values are not scaled yet.
        """
        shape = tuple(crop_shape[:2])
        corner = random_corner(arrays[0].shape[:2], shape, rng, probability_map)
        resampling = Resampling(self.random_matrix(rng, shape), corner, shape)
        out = out or [None] * len(arrays)
        image = resampling.apply(arrays[0], nearest=False, fill_mode=self.fill_mode, cval=self.cval, out=out[0])
        mask = resampling.apply(arrays[1], nearest=True, fill_mode=self.fill_mode, out=out[1])
        weights = [
            resampling.apply(array, nearest=False, fill_mode=self.fill_mode, out=target)
            for array, target in zip(arrays[2:], out[2:], strict=True)
        ]
        self.random_brightness(image, rng, limits)
        return [image, mask, *weights]


class ImageBatches(PairBatches):
    """Batches of images; made by ``ImageDataGenerator.flow``, which documents the parameters.

    ``batches[i]`` is ``(images, masks)`` or ``(images, masks, weights)``: float32 ``(n, y, x, c)`` in 0 .. 1, masks
    ``(n, y, x, 1)`` in their dtype and float32 ``(n, y, x, 1)``. Keras advances ``epoch`` at the end of each; set it to
    continue an earlier training.
    """

    kind, axes = "image", ("y", "x")
