"""Augmented batches of images and masks in two dimensions."""

import dataclasses

import numpy as np

from generators.geometry import PartedResampling, Resampling, rotation, scale, shear, shift
from generators.pair_generator import PairGenerator
from generators.probability_map import random_corner
from generators.streams import Streams

RIGHT_ANGLE_TURNS = [np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]


@dataclasses.dataclass(kw_only=True, eq=False)
class ImageDataGenerator(PairGenerator):
    """Draw random transforms for images and masks. Options that Keras has too have Keras' names.

    One geometry is composed per sample and resampled once: image and weights linearly, mask by nearest neighbour. Flips
    and right-angle turns alone move pixels without resampling. Images keep their stored dtype until then. Grey values
    change only in the image. A range is a tuple ``(low, high)`` from which a strength is drawn uniformly; None or 0
    switches the transform off.

    Parameters
    ----------
    rotation_range : float
        Degrees; the angle is uniform in +-``rotation_range``.
    width_shift_range, height_shift_range : float
        Fraction of the width or height of the crop; uniform in +-range.
    shear_range : float
        Degrees; uniform in +-range.
    zoom_range : float or tuple of float
        ``(low, high)``, or z for ``(1 - z, 1 + z)``; one factor for both axes. As in Keras a factor below 1 magnifies.
    elastic_alpha : tuple of float
        Range of the root mean square, in pixels along each axis, of a random displacement. Above a third of
        ``elastic_sigma`` tissue begins to fold over.
    elastic_sigma : float
        Standard deviation, in pixels, of the Gaussian that makes the displacement smooth.
    misalignment : tuple of int
        Range of the whole pixels by which all rows from a random one on move, left or right, with mask and weights.
    misalignment_rotation : float
        Share of the misalignments that rotate these rows about the centre of the sample instead; its corners move by so
        many pixels.
    blur_sigma : tuple of float
        Range of the standard deviation, in pixels, of a Gaussian blur.
    median_size : tuple of int
        Range of the side, in pixels, of the square of a median filter; only odd sizes are drawn.
    motion_length : tuple of int
        Range of the length, in pixels, of a blur along a line of random direction.
    brightness_range : tuple of float
        Range of the factor of the grey values.
    contrast_range : tuple of float
        Range of the factor of the distances of the grey values from their mean.
    gamma : tuple of float
        Range of the exponent of the grey values, scaled to 0 .. 1; above 1 is darker.
    noise_std : tuple of float
        Range of the standard deviation of Gaussian noise, as a fraction of the grey value range.
    dropout : tuple of float
        Range of the share of single pixels that turn black.
    missing_sections : tuple of float
        Range of the share of the image that is lost, in a band from one side to the opposite one.
    missing_fill : float or str
        Fills the band: 0 for black to 1 for white, or ``mean`` of the image.
    cutmix_size : tuple of float
        Range of the size, as a share of height and width, of a box that is taken, with mask and weights, from another
        image with the same augmentation.
    cutblur_size : tuple of float
        Range of the size, likewise, of a box that is shown at a lower resolution.
    cutblur_factor : tuple of int
        Range of how many pixels then become one, along both axes.
    cutblur_inside : bool
        False: half of the time the box stays sharp and everything around it is changed.
    cutnoise_size : tuple of float
        Range of the size, likewise, of boxes with uniform noise.
    cutnoise_strength : tuple of float
        Range of the largest value of this noise, as a fraction of the grey value range.
    cutout_size : tuple of float
        Range of the size, likewise, of boxes that are filled.
    cutout_fill : float or str
        Fills them: 0 for black to 1 for white, or ``mean`` of the image.
    cutout_mask : bool
        Whether the mask becomes 0 there.
    cut_count : tuple of int
        Range of how many boxes are filled or made noisy.
    fill_mode : str
        ``reflect`` (``dcba|abcd|dcba``), ``nearest``, ``constant`` or ``wrap``, for pixels from outside the image.
    cval : float
        Grey value for ``constant``; masks and weights are filled with 0.
    horizontal_flip, vertical_flip : bool
        Mirror left-right, up-down, each with probability 0.5.
    rotation90 : bool
        Turn by 0, 90, 180 or 270 degrees, each with probability 0.25. Needs square crops.
    probability : float
        Probability that a sample gets the transforms that resample it (rotation, shifts, shear, zoom, elastic), and,
        independently, of each other transform; flips and right-angle turns keep their own.
    probabilities : dict of str to float, optional
        Other probabilities, by the option that switches the transform on, e.g. ``{"cutmix_size": 0.2}``.

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
        # All numbers are drawn, used or not, so that one option does not change the draws of another.
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
        """Draw a crop and its geometry; return the resampled arrays and the streams of the sample."""
        corner = random_corner(arrays[0].shape[:2], shape, rng, probability_map)
        matrix, chance = self.random_matrix(rng, shape)
        streams = Streams(rng)
        elastic = streams["elastic_alpha"] if self._is_elastic(chance) else None
        displacement, fault = self._displacement(shape, matrix, streams, elastic=elastic)
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
