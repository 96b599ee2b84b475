"""What ImageDataGenerator and VoxelDataGenerator share: options, batches, and every transform except the geometry."""

import dataclasses

import numpy as np

from generators.batches import PairBatches
from generators.cut_transforms import CUT_OPTIONS, change_boxes, cut_options, cutmix, moved_box, random_box
from generators.geometry import FILL_MODES
from generators.intensity_transforms import INTENSITY_OPTIONS, change_intensity, intensity_ranges
from generators.options import check_numbers, each_probability, number_range, zoom_factors
from generators.section_transforms import displaced_by, draw_fault, lose_at_random, section_options
from generators.voxel_geometry import smooth_noise
from utils.data.data_folder import open_image_set
from utils.errors import check_choice
from utils.images.lazy_images import CACHE_BYTES

# The options that switch a transform on which may have a probability of its own.
SWITCHES = ("elastic_alpha", "misalignment", *INTENSITY_OPTIONS, "missing_sections", *CUT_OPTIONS)


@dataclasses.dataclass(kw_only=True, eq=False)
class PairGenerator:
    """Parent of the generators, which document these options and draw the geometry.

    A sample is resampled once, through a matrix and perhaps a displacement. Then follow, in this order: a box of
    another sample, the changes of grey values, missing sections, and boxes that are blurred, made noisy and cut out.
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

    # What the children set: the word for an array in messages, its axes, pairs per batch unless given, and whether what
    # acts in the y-x plane acts along z too.
    kind = "image"
    axes = ("y", "x")
    default_batch_size = 32
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
        self.intensity_ranges = intensity_ranges(**self._given(*INTENSITY_OPTIONS))
        self.sections = section_options(
            **self._given("misalignment", "misalignment_rotation", "missing_sections", "missing_fill"),
            n_axes=len(self.axes),
        )
        details = ("cutblur_factor", "cutblur_inside", "cutnoise_strength", "cutout_fill", "cutout_mask", "cut_count")
        self.cuts = cut_options(**self._given(*CUT_OPTIONS, *details))

    def _given(self, *names):
        return {name: getattr(self, name) for name in names}

    def flow(
        self,
        x,
        y,
        *,
        batch_size=None,
        shuffle=True,
        seed=0,
        crop_shape=None,
        samples_per_array=1,
        probability_map=None,
        sample_weight=None,
        intensity_range=None,
        workers=2,
    ):
        """Make batches of augmented pairs for ``model.fit(..., shuffle=False)``.

        The random numbers of a batch depend only on the seed, the epoch and the number of the batch, so any number of
        workers gives the same batches.

        Parameters
        ----------
        x : sequence of numpy.ndarray or LazyImage
            Images ``(y, x, c)`` or volumes ``(z, y, x, c)``, in memory or on disk.
        y : sequence of numpy.ndarray or LazyImage
            Masks of the same sizes with one channel, classes as integers.
        batch_size : int, optional
            Pairs per batch, by default 32 images or 1 volume; the last batch of an epoch may be smaller.
        shuffle : bool
            New order in every epoch.
        seed : int
            Seed.
        crop_shape : tuple of int, optional
            Take a random crop ``(y, x, ...)`` or ``(z, y, x, ...)`` instead of the whole array. Needed when sizes
            differ.
        samples_per_array : int
            How many random crops of each image or volume are taken in an epoch.
        probability_map : tuple of float, optional
            ``(foreground weight, background weight)``, e.g. ``(0.94, 0.06)``: how often random crops are centred on a
            pixel of either class (see ``ProbabilityMap``). None: all crops are equally likely.
        sample_weight : sequence of numpy.ndarray, optional
            Weight of each pixel, floats of the shapes of the masks; they follow the geometry of their image.
        intensity_range : tuple of float, optional
            As ``to_unit_range``.
        workers : int
            Threads that prepare batches. Keras leaves a single one to ``tf.data`` of TensorFlow, which can then delay
            the end of an epoch (`benchmarks/epoch_end.py`).

        Returns
        -------
        PairBatches

        Raises
        ------
        ValueError
            If numbers or sizes of images, masks and weights do not agree.
        """
        return PairBatches(
            self,
            x,
            y,
            batch_size=self.default_batch_size if batch_size is None else batch_size,
            shuffle=shuffle,
            seed=seed,
            crop_shape=crop_shape,
            samples_per_array=samples_per_array,
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
        """Make the batches that ``flow`` would make of a folder, but leave images and masks on disk.

        Names and sizes are checked at once; workers read the pixels when a batch needs them. With the same seed the
        batches equal those of ``flow`` on the loaded arrays, bit for bit. To validate on a part of the folder, split
        what `utils.data.data_folder.open_image_set` returns and give the parts to ``flow``.

        Parameters
        ----------
        directory : str or Path
            Holds ``x/`` (or ``x/x/``) with images and ``y/`` (or ``y/y/``) with masks, e.g. ``data/train``. In 2D every
            page of every file is an image. In 3D a file of several slices is a volume; files of one slice each are
            one volume together.
        channels, n_classes, mask_values, image_dataset, mask_dataset, cache_bytes
            As `utils.data.data_folder.open_image_set`.
        intensity_range, workers
            As ``flow``.
        **flow
            Further arguments of ``flow``.

        Returns
        -------
        PairBatches
        """
        images = open_image_set(
            directory,
            volumes=len(self.axes) == 3,
            channels=channels,
            n_classes=n_classes,
            mask_values=mask_values,
            intensity_range=intensity_range,
            image_dataset=image_dataset,
            mask_dataset=mask_dataset,
            cache_bytes=cache_bytes,
        )
        return self.flow(images.x, images.y, intensity_range=intensity_range, workers=workers, **flow)

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
        options = {"limits": limits, "probabilities": self.probability_of, "isotropic": self.isotropic}
        if mixing := streams.if_happens("cutmix_size", self.cuts, self.probability_of):
            partner = draw_partner(mixing) if draw_partner else (arrays, limits, probability_map)
            self._mix(sample, partner, mixing, limits)
        if any(self.intensity_ranges.values()):
            change_intensity(sample[0], self.intensity_ranges, streams, **options)
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

    def _is_elastic(self, chance):
        """Return whether a sample that drew this number, 0 to 1, is displaced elastically."""
        return self.elastic_alpha is not None and chance < self.probability_of["elastic_alpha"]

    def _displacement(self, shape, matrix, streams, *, elastic, by_planes=True):
        """Draw a displacement of the coordinates in the source, arrays along x, y and perhaps z or None, and a fault.

        ``elastic`` is the generator of an elastic displacement, or None for none. A misalignment is returned as the
        fault if it is all there is and the matrix maps ``by_planes``; otherwise it is part of the displacement.
        """
        n_axes, found = 3 if self.isotropic else 2, None
        if elastic is not None:
            alpha = elastic.uniform(*self.elastic_alpha)
            found = [smooth_noise(elastic, shape, self.elastic_sigma, strength=alpha) for _ in range(n_axes)]
        if faults := streams.if_happens("misalignment", self.sections, self.probability_of):
            distance, share = self.sections["misalignment"], self.sections["misalignment_rotation"]
            fault = draw_fault(faults, shape, distance=distance, rotation_share=share)
            if found is None and by_planes:
                return None, fault
            # A section is out of place in the sample; the matrix says what that means in the source.
            moved = displaced_by(fault, shape)
            moved = np.tensordot(matrix[:n_axes, :2].astype(np.float32), moved, axes=1)
            found = moved if found is None else [a + b for a, b in zip(found, moved, strict=True)]
        return found, None
