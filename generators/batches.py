"""Batches of augmented images or volumes: checks, the order of an epoch, random numbers, filling."""

import functools

import keras
import numpy as np

from generators.probability_map import ProbabilityMap, check_probability_map
from utils.images.intensity import black_and_white, network_scale, scale_in_place
from utils.images.lazy_images import LazyImage
from utils.images.padding import pad_to


class PairBatches(keras.utils.PyDataset):
    """Batches of augmented pairs; made by ``flow`` of a generator.

    ``batches[i]`` is ``(images, masks)`` or ``(images, masks, weights)``: float32 in 0 .. 1, masks in their dtype,
    float32. Keras advances ``epoch`` at the end of each; set it to continue an earlier training. ``n_samples`` is how
    many samples form an epoch.

    Parameters
    ----------
    generator : ImageDataGenerator or VoxelDataGenerator
        Draws one sample at a time.
    x, y, batch_size, shuffle, seed, crop_shape, sample_weight, intensity_range, workers
        As ``flow`` of the generator.
    samples_per_array, probability_map
        Likewise.

    Raises
    ------
    ValueError
        If numbers or sizes of images, masks and weights do not agree.
    """

    def __init__(
        self,
        generator,
        x,
        y,
        *,
        batch_size,
        shuffle,
        seed,
        crop_shape,
        samples_per_array,
        probability_map,
        sample_weight,
        intensity_range,
        workers,
    ):
        super().__init__(workers=workers)
        self.kind, self.axes = generator.kind, generator.axes
        if samples_per_array < 1:
            raise ValueError(f"samples_per_array is {samples_per_array}; it must be at least 1.")
        named = {self.kind: x, "mask": y} | ({} if sample_weight is None else {"weight map": sample_weight})
        self._check_counts(named, batch_size)
        self._check_shapes(named, crop_shape)
        n_axes = len(self.axes)
        self.crop_shape = tuple(x[0].shape[:n_axes] if crop_shape is None else crop_shape[:n_axes])
        self._check_sizes(named, one_size=crop_shape is None)
        if generator.rotation90 and self.crop_shape[-2] != self.crop_shape[-1]:
            raise ValueError(
                f"rotation90 needs square crops; these are {self.crop_shape} {self._axes_in_words()}. "
                "Turn it off or change the crop."
            )
        # Arrays smaller than a crop are padded; all others are used unchanged.
        self._parts = [[_padded(array, self.crop_shape) for array in arrays] for arrays in named.values()]
        if probability_map is not None:
            check_probability_map(probability_map)
        self._weights = probability_map
        self._maps = [None] * len(x)  # each is made when first needed, because that reads the whole mask
        if probability_map is not None and all(mask.shape[:-1] == self.crop_shape for mask in self._parts[1]):
            raise ValueError(
                f"probability_map {probability_map} decides where random crops are taken, but every {self.kind} is as "
                f"large as a crop, {self.crop_shape}. Leave it None, or take random crops of whole {self.kind}s."
            )
        self.generator, self._n_arrays, self.n_samples = generator, len(x), len(x) * samples_per_array
        self.batch_size, self.shuffle, self.seed, self.intensity_range = batch_size, shuffle, seed, intensity_range
        self.epoch = 0
        self._order_of_epoch = (None, None)

    def __len__(self):
        return -(-self.n_samples // self.batch_size)

    def __getitem__(self, index):
        rng = np.random.default_rng((self.seed, self.epoch, index))
        chosen = self._order()[index * self.batch_size : (index + 1) * self.batch_size]
        batch = [
            np.empty((len(chosen), *self.crop_shape, arrays[0].shape[-1]), arrays[0].dtype if part == 1 else np.float32)
            for part, arrays in enumerate(self._parts)
        ]
        for place, number in enumerate(chosen):
            arrays, out = self._arrays(number), [part[place] for part in batch]
            limits = black_and_white(arrays[0].dtype, self.intensity_range)
            options = {"limits": limits, "probability_map": self._map(number), "out": out}
            options["draw_partner"] = functools.partial(self._draw_partner, number)
            self.generator.random_sample(arrays, self.crop_shape, rng, **options)
            low, high, clip = network_scale(arrays[0].dtype, self.intensity_range)
            scale_in_place(out[0], low, high, clip=clip)
        return tuple(batch)

    def _arrays(self, number):
        return [part[number] for part in self._parts]

    def _map(self, number):
        """Return the probability map of a mask. Two threads may make the same one, which does no harm."""
        if self._weights is not None and self._maps[number] is None:
            self._maps[number] = ProbabilityMap(self._parts[1][number], self._weights)
        return self._maps[number]

    def _draw_partner(self, number, rng):
        """Draw another image that an image is mixed with, or itself if it is the only one.

        Returns its arrays, the grey values of its black and white, and its probability map.
        """
        if self._n_arrays > 1:
            number = (number + 1 + int(rng.integers(self._n_arrays - 1))) % self._n_arrays
        arrays = self._arrays(number)
        return arrays, black_and_white(arrays[0].dtype, self.intensity_range), self._map(number)

    def _order(self):
        """Return the numbers of the arrays in the order of the present epoch."""
        epoch, order = self._order_of_epoch
        if epoch != self.epoch:
            epoch, order = self.epoch, np.arange(self.n_samples) % self._n_arrays
            if self.shuffle:
                np.random.default_rng((self.seed, epoch)).shuffle(order)
            self._order_of_epoch = (epoch, order)
        return order

    def sample(self, count):
        """Return the first ``count`` augmented images and masks of the present epoch, or all if it has fewer."""
        batches = [self[index] for index in range(min(len(self), -(-count // self.batch_size)))]
        images, masks = (np.concatenate([batch[part] for batch in batches])[:count] for part in range(2))
        return images, masks

    def on_epoch_end(self):
        """Begin the next epoch: a new order and new transforms."""
        self.epoch += 1

    def _check_counts(self, named, batch_size):
        """Raise ``ValueError`` unless there are images, and one mask (and weight map) for each."""
        counts = {name: len(arrays) for name, arrays in named.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"the numbers of arrays do not agree: {counts}.")
        if counts[self.kind] == 0 or batch_size < 1:
            raise ValueError(
                f"got {counts[self.kind]} {self.kind}s and the batch size {batch_size}; both must be at least 1."
            )

    def _check_shapes(self, named, crop_shape):
        """Raise ``ValueError`` unless arrays and crop have the right number of axes."""
        n_axes = len(self.axes)
        for name, arrays in named.items():
            for number, array in enumerate(arrays):
                if array.ndim != n_axes + 1:
                    wanted = self._axes_in_words("channels")
                    raise ValueError(f"{name} {number} has the shape {array.shape}; wanted {wanted}.")
        if crop_shape is not None and (len(crop_shape) not in (n_axes, n_axes + 1) or min(crop_shape) < 1):
            raise ValueError(f"crop_shape is {tuple(crop_shape)}; wanted positive sizes {self._axes_in_words()}.")

    def _check_sizes(self, named, *, one_size):
        """Raise ``ValueError`` unless image, mask and weights agree in size; with ``one_size`` all images too."""
        axes = self._axes_in_words()
        for number, arrays in enumerate(zip(*named.values(), strict=True)):
            sizes = {name: array.shape[:-1] for name, array in zip(named, arrays, strict=True)}
            if len(set(sizes.values())) > 1:
                raise ValueError(f"the sizes {axes} of number {number} do not agree: {sizes}.")
            if one_size and sizes[self.kind] != self.crop_shape:
                raise ValueError(
                    f"{self.kind} {number} is {sizes[self.kind]}, the first {self.crop_shape} {axes}. "
                    f"Give crop_shape={axes} for {self.kind}s of different sizes."
                )

    def _axes_in_words(self, *more):
        return f"({', '.join([*self.axes, *more])})"


def _padded(array, shape):
    return array.padded_to(shape) if isinstance(array, LazyImage) else pad_to(array, shape)[0]


def train_and_validation_batches(
    augmentation, data, *, batch_size, workers=2, samples_per_array=1, probability_map=None
):
    """Make the batches of an experiment: augmented ones for training, plain ones in fixed order for validation.

    Parameters
    ----------
    augmentation : ImageDataGenerator or VoxelDataGenerator
        Augments the training samples.
    data : ExperimentData
        Its training and validation crops with their weights, crop shape, seed and grey values. Validation crops are
        taken as large as they are.
    batch_size, workers
        As ``flow`` of the generator.
    samples_per_array : int
        How many random crops of each image or volume form an epoch; 0: one, as of crops of a grid.
    probability_map : tuple of float, optional
        As ``flow`` of the generator.

    Returns
    -------
    train_batches, validation_batches : PairBatches
    """
    flow = {"batch_size": batch_size, "seed": data.seed, "intensity_range": data.intensity_range, "workers": workers}
    train, validation = data.train_crops, data.validation_crops
    sampling = {"samples_per_array": max(1, samples_per_array), "probability_map": probability_map}
    sampling |= {"crop_shape": data.crop_shape, "sample_weight": train.weights}
    plain = type(augmentation)()
    return (
        augmentation.flow(train.x, train.y, **sampling, **flow),
        plain.flow(validation.x, validation.y, shuffle=False, sample_weight=data.validation_weights, **flow),
    )
