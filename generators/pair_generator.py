"""What ImageDataGenerator and VoxelDataGenerator share: all transforms but the drawing of the geometry."""

import dataclasses

import numpy as np

from generators.cut_transforms import CUT_OPTIONS, change_boxes, cut_options, cutmix, moved_box, random_box
from generators.geometry import FILL_MODES
from generators.intensity_transforms import (
    INTENSITY_OPTIONS,
    LATER_OPTIONS,
    change_brightness,
    change_intensity,
    intensity_ranges,
)
from generators.options import check_numbers, each_probability, number_range, zoom_factors
from generators.section_transforms import displaced_by, draw_fault, lose_at_random, section_options
from generators.voxel_geometry import smooth_noise
from utils.errors import check_choice

# What switches a transform on, of all that may have a probability of their own.
SWITCHES = ("elastic_alpha", "misalignment", *INTENSITY_OPTIONS, "missing_sections", *CUT_OPTIONS)


@dataclasses.dataclass(kw_only=True, eq=False)
class PairGenerator:
    """Parent of the generators, which document these options and draw the geometry.

    A sample is resampled once, through a matrix and perhaps a displacement. Then, in this order: a box of another
    sample, the changes of grey values, missing sections, and boxes that are blurred, made noisy and cut out.

    Raises
    ------
    ValueError
        If an option is out of range; the message gives the range.
    """

    rotation_range: float = 0.0
    width_shift_range: float = 0.0
    height_shift_range: float = 0.0
    shear_range: float = 0.0
    zoom_range: float | tuple = 0.0
    elastic_alpha: tuple | None = None
    elastic_sigma: float = 10.0
    misalignment: tuple | None = None
    misalignment_rotation: float = 0.0
    blur_sigma: tuple | None = None
    median_size: tuple | None = None
    motion_length: tuple | None = None
    brightness_range: tuple | None = None
    contrast_range: tuple | None = None
    gamma: tuple | None = None
    noise_std: tuple | None = None
    dropout: tuple | None = None
    missing_sections: tuple | None = None
    missing_fill: float | str = 0.0
    cutmix_size: tuple | None = None
    cutblur_size: tuple | None = None
    cutblur_factor: tuple = (2, 8)
    cutblur_inside: bool = True
    cutnoise_size: tuple | None = None
    cutnoise_strength: tuple = (0.1, 0.2)
    cutout_size: tuple | None = None
    cutout_fill: float | str = 0.0
    cutout_mask: bool = False
    cut_count: tuple = (1, 2)
    fill_mode: str = "reflect"
    cval: float = 0.0
    horizontal_flip: bool = False
    vertical_flip: bool = False
    rotation90: bool = False
    probability: float = 1.0
    probabilities: dict | None = None

    # What the children set: axes of an image, and whether what acts in the y-x plane acts along z too.
    n_axes = 2
    isotropic = False

    def __post_init__(self):
        check_choice("FILL_MODE", self.fill_mode, FILL_MODES)
        check_numbers(
            rotation_range=(self.rotation_range, 0, 360),
            width_shift_range=(self.width_shift_range, 0, 1),
            height_shift_range=(self.height_shift_range, 0, 1),
            shear_range=(self.shear_range, 0, 89),
            elastic_sigma=(self.elastic_sigma, 1, 1000),
            probability=(self.probability, 0, 1),
        )
        self.zoom_range = zoom_factors(self.zoom_range)
        self.elastic_alpha = number_range("elastic_alpha", self.elastic_alpha, example=(1, 3), zero_allowed=True)
        self.probability_of = each_probability(self.probability, self.probabilities, SWITCHES)
        self.intensity_ranges = intensity_ranges(
            blur_sigma=self.blur_sigma,
            median_size=self.median_size,
            motion_length=self.motion_length,
            brightness_range=self.brightness_range,
            contrast_range=self.contrast_range,
            gamma=self.gamma,
            noise_std=self.noise_std,
            dropout=self.dropout,
        )
        self.sections = section_options(
            misalignment=self.misalignment,
            misalignment_rotation=self.misalignment_rotation,
            missing_sections=self.missing_sections,
            missing_fill=self.missing_fill,
            n_axes=self.n_axes,
        )
        self.cuts = cut_options(
            cutmix_size=self.cutmix_size,
            cutblur_size=self.cutblur_size,
            cutblur_factor=self.cutblur_factor,
            cutblur_inside=self.cutblur_inside,
            cutnoise_size=self.cutnoise_size,
            cutnoise_strength=self.cutnoise_strength,
            cutout_size=self.cutout_size,
            cutout_fill=self.cutout_fill,
            cutout_mask=self.cutout_mask,
            cut_count=self.cut_count,
        )
        switches = self.intensity_ranges | self.sections | self.cuts
        self._has_later_changes = any(switches[name] for name in (*LATER_OPTIONS, "missing_sections", *CUT_OPTIONS))

    def random_sample(self, arrays, crop_shape, rng, *, limits, probability_map=None, out=None, draw_partner=None):
        """Draw one augmented sample.

        Parameters
        ----------
        arrays : sequence of numpy.ndarray
            Image ``(y, x, c)`` or volume ``(z, y, x, c)``, mask of one channel and, if there is one, weight map.
        crop_shape : tuple of int
            ``(y, x, ...)`` or ``(z, y, x, ...)`` of the sample; no larger than the image.
        rng : numpy.random.Generator
            Source of randomness.
        limits : tuple of float
            Grey values of black and white, from ``black_and_white``.
        probability_map : ProbabilityMap, optional
            Of the mask.
        out : sequence of numpy.ndarray, optional
            Where to write image (float32), mask (in its dtype) and weight map (float32), C-contiguous.
        draw_partner : callable, optional
            Called with a generator when a box of another sample is needed; returns the arrays of another image, its
            limits and its probability map. Without it the box comes from another crop of the same image.

        Returns
        -------
        list of numpy.ndarray
            Image, mask and weight map of the size of the crop; grey values are not scaled yet.
        """
        shape = tuple(crop_shape[: arrays[0].ndim - 1])
        sample, streams = self._resampled(arrays, shape, rng, probability_map=probability_map, out=out)
        factor = self._draw_brightness(rng)
        options = {"limits": limits, "probabilities": self.probability_of, "isotropic": self.isotropic}
        if self._has_later_changes and (mixing := streams.if_happens("cutmix_size", self.cuts, self.probability_of)):
            partner = draw_partner(mixing) if draw_partner else (arrays, limits, probability_map)
            self._mix(sample, partner, mixing, limits)
        if factor is not None:
            change_brightness(sample[0], factor, limits)
        if any(self.intensity_ranges.values()):
            change_intensity(sample[0], self.intensity_ranges, streams, **options)
        if self._has_later_changes:
            if losing := streams.if_happens("missing_sections", self.sections, self.probability_of):
                share = losing.uniform(*self.sections["missing_sections"])
                lose_at_random(sample[0], share, losing, fill=self.sections["missing_fill"], limits=limits)
            change_boxes(sample[0], sample[1], self.cuts, streams, **options)
        return sample

    def _mix(self, sample, partner, rng, limits):
        """Put a box of another sample, which has its own geometry, into a sample."""
        arrays, (low, high), probability_map = partner
        shape = sample[0].shape[:-1]
        other, _ = self._resampled(arrays, shape, rng, probability_map=probability_map)
        box = random_box(rng, shape, self.cuts["cutmix_size"])
        if (low, high) != tuple(limits):  # the same black and white for both
            other[0] = (other[0] - low) * ((limits[1] - limits[0]) / (high - low)) + limits[0]
        cutmix(sample, other, box, moved_box(rng, shape, [part.stop - part.start for part in box]))

    def _draw_brightness(self, rng):
        """Return the factor of the brightness where it is not drawn with the other changes, otherwise None."""

    def _displacement(self, shape, matrix, streams, *, chance, by_planes=True):
        """Draw what is added to the coordinates in the source: arrays along x, y and perhaps z, or None; and a fault.

        It is elastic if ``chance``, from 0 to 1, is below the probability of that. A misalignment is left to itself, as
        the fault, if it is all there is and the matrix maps ``by_planes``, otherwise it is part of the displacement.
        """
        n_axes, found = 3 if self.isotropic else 2, None
        if self.elastic_alpha is not None and chance < self.probability_of["elastic_alpha"]:
            rng = streams["elastic_alpha"]
            alpha = rng.uniform(*self.elastic_alpha)
            found = [smooth_noise(rng, shape, self.elastic_sigma, strength=alpha) for _ in range(n_axes)]
        if faults := streams.if_happens("misalignment", self.sections, self.probability_of):
            options = {"distance": self.sections["misalignment"]}
            options["rotation_share"] = self.sections["misalignment_rotation"]
            fault = draw_fault(faults, shape, **options)
            if found is None and by_planes:
                return None, fault
            # A section is out of place in the sample; the matrix says what that means in the source.
            moved = displaced_by(fault, shape)
            moved = np.tensordot(matrix[:n_axes, :2].astype(np.float32), moved, axes=1)
            found = moved if found is None else [a + b for a, b in zip(found, moved, strict=True)]
        return found, None
