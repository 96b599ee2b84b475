"""A network that predicts, bound once to its crop, its grey values and a batch size.

predictor = Predictor(model, data, batch_size=6, divisor=16)  # in a training
predictor = load_predictor("job_dir/results/400_0")  # of a finished run
mask = predictor.segment(image)
"""

import copy
import functools

import keras
import numpy as np

from utils.data.image_set import ImageSet
from utils.devices import use_jit
from utils.errors import check_choice, raise_problems
from utils.images.image_files import ImageName
from utils.images.intensity import intensity_problem
from utils.images.normalisation import ANY_GREY_VALUES, stretch_each
from utils.images.padding import PADDING_MODES
from utils.images.scale import scale_of
from utils.metrics.pixels import check_probability, probability_to_mask, round_probability
from utils.post_processing.thresholds import check_threshold
from utils.prediction.new_images import dtype_problem, network_input, with_grey_values_of
from utils.prediction.protocols import predict_blended, predict_crops, predict_each, predict_full_images
from utils.prediction.rescaling import resample, resampled_images
from utils.runs.record import RunRecord
from utils.training.network_file import build_network, network_config, total_strides
from utils.training.weights import load_weights

PROTOCOLS = ("blended", "crops", "full")


def load_predictor(run, *, precision="auto", crop_shape=(), batch_size=0, intensity_range=None):
    """Load the network of a finished run with its best weights.

    Parameters
    ----------
    run : str or Path
        As `utils.runs.record.RunRecord`.
    precision : str
        As `utils.training.network_file.build_network`.
    crop_shape : tuple of int
        With channels; empty: as in training.
    batch_size : int
        Crops per call; 0: as in training.
    intensity_range : tuple of float, optional
        Grey values of black and white of the new images, as `utils.prediction.new_images.with_grey_values_of`; None:
        they are stored as the training images were.

    Returns
    -------
    Predictor
        Takes images as they are stored: it checks and normalises them like those of the training.

    Raises
    ------
    ValueError
        If the run is not finished, a file is missing or does not belong to the other, the weights hold NaN, the network
        classifies patches, or the crop does not suit it.
    """
    record = RunRecord(run)
    content, weights = record.network(), record.weights_file()
    data = network_input(content)
    model = build_network(content["network"], precision=precision)
    load_weights(model, weights)
    model.compile(jit_compile=use_jit())
    options = {"batch_size": batch_size or content["batch_size"], "crop_shape": crop_shape}
    return Predictor(model, data, stored=True, intensity_range=intensity_range, **options)


class Predictor:
    """A network bound to what its predictions need.

    All methods but `predict` and `segment` take an `ImageSet` or an iterable of images ``(y, x, c)`` or volumes
    ``(z, y, x, c)`` of any size. They yield the probability of each, float32, as the functions of
    `utils.prediction.protocols`, which also explain the options.

    Parameters
    ----------
    model : keras.Model
        With one output; it may be trained further.
    data : ExperimentData or NetworkInput
        What is known about the training images.
    batch_size : int
        Crops per call.
    divisor : int or tuple of int, optional
        What must divide the sides of images, of all axes or each; None: it is computed.
    crop_shape : tuple of int
        With channels; empty: that of the data.
    stored : bool
        Whether images come as they are stored. Then each is checked, and normalised like the training images were when
        they were loaded.
    intensity_range : tuple of float, optional
        As `load_predictor`.

    Attributes
    ----------
    data : ExperimentData or NetworkInput
        As given, with the grey values of the images to predict.
    targets : tuple of str
        Names of the channels, if the network learned instance targets instead of classes.
    intensity_range : tuple of float, ZScore or None
        As measured or stated for the training, in the grey values of the images to predict.
    range_is_stated : bool
        Whether these are stored differently from the training images.

    Raises
    ------
    ValueError
        If the network predicts images of another size than it gets, or the crop or the grey values do not suit it.
    """

    def __init__(self, model, data, *, batch_size, divisor=None, crop_shape=(), stored=False, intensity_range=None):
        data = with_grey_values_of(data, intensity_range)
        self.model, self.batch_size, self.data, self._stored = model, batch_size, data, stored
        self.crop_shape, self._divisor = tuple(crop_shape) or tuple(data.crop_shape), divisor
        self.range_is_stated = intensity_range is not None
        self.targets, self.intensity_range = tuple(data.instance_targets), data.intensity_range
        self._channel = 0 if self.targets else None  # the first target is the foreground
        if stored:
            _check_predicts_pixels(model, data.crop_shape)
        self._check_crop()

    @property
    def n_classes(self):
        """1: foreground or not; more: number of classes, background included."""
        return 1 if self.targets else self.model.outputs[0].shape[-1]

    @property
    def is_3d(self):
        """Whether it takes volumes ``(z, y, x, c)``."""
        return len(self.crop_shape) == 4

    @functools.cached_property
    def divisor(self):
        """What must divide the sides of images, of all axes or each."""
        return total_strides(network_config(self.model)) if self._divisor is None else self._divisor

    @property
    def target_model(self):
        """The network with only the channel that is returned."""
        if self._channel is None:
            return self.model
        return keras.Model(self.model.inputs, self.model.outputs[0][..., self._channel : self._channel + 1])

    @property
    def _tiles(self):
        return {"batch_size": self.batch_size, "intensity_range": self.intensity_range}

    def for_target(self, target):
        """Return the same predictor for another channel of a network that learned instance targets.

        Parameters
        ----------
        target : str or None
            One of ``targets``; None for all channels.

        Returns
        -------
        Predictor
        """
        check_choice("target", target, (*self.targets, None))
        other = copy.copy(self)
        other._channel = None if target is None else self.targets.index(target)
        return other

    def each(self, images, *, ensemble=False):
        """Predict images, or crops, as they are."""
        return self._wanted(predict_each(self.model, self._prepared(images), ensemble=ensemble, **self._tiles))

    def crops(self, images, *, overlap, padding=0, padding_mode="mirror", ensemble=False):
        """Predict crops and merge them into complete images; where crops overlap, take their mean."""
        grid = {"overlap": overlap, "padding": padding, "padding_mode": padding_mode, "ensemble": ensemble}
        return self._wanted(predict_crops(self.model, self._prepared(images), self.crop_shape, **grid, **self._tiles))

    def blended(self, images, *, ensemble=True):
        """Predict crops that overlap by half and blend them, which leaves no seams."""
        options = {"ensemble": ensemble, **self._tiles}
        return self._wanted(predict_blended(self.model, self._prepared(images), self.crop_shape, **options))

    def full(self, images, *, ensemble=False):
        """Predict whole images at once."""
        options = {"divisor": self.divisor, "intensity_range": self.intensity_range, "ensemble": ensemble}
        return self._wanted(predict_full_images(self.model, self._prepared(images), **options))

    def by_protocol(
        self,
        images,
        protocol="blended",
        *,
        overlap=0.5,
        padding=0,
        padding_mode="mirror",
        ensemble=False,
        rescale=False,
    ):
        """Predict with ``blended``, ``crops`` or ``full``, by name.

        Parameters
        ----------
        images : ImageSet or iterable of numpy.ndarray
            As the other methods.
        protocol : str
            One of ``PROTOCOLS``.
        overlap, padding, padding_mode, ensemble
            As `utils.prediction.protocols.predict_crops`; only ``crops`` uses the first three.
        rescale : bool
            Resample the images of an `ImageSet` to the voxel size of the training, and their predictions back.

        Returns
        -------
        iterator of numpy.ndarray
        """
        check_choice("PROTOCOL", protocol, PROTOCOLS)
        check_choice("PADDING_MODE", padding_mode, PADDING_MODES)
        grid = {"overlap": overlap, "padding": padding, "padding_mode": padding_mode} if protocol == "crops" else {}
        predict = functools.partial(getattr(self, protocol), ensemble=ensemble, **grid)
        if not rescale:
            return predict(images)
        predictions = predict(resampled_images(images, self.data.voxel_size_nm, volumes=self.is_3d))
        return (resample(found, image.shape[:-1]) for found, image in zip(predictions, images.x, strict=True))

    def predict(self, image, *, voxel_size_nm=None, **options):
        """Predict one image or volume of any size.

        Parameters
        ----------
        image : numpy.ndarray
            ``(y, x, c)`` or ``(z, y, x, c)``, of one channel also without that axis; of a finished run with the grey
            values and in the dtype of a file.
        voxel_size_nm : float or tuple of float, optional
            Size of its voxels; it is resampled to that of the training, and its prediction back. None: as it is.
        **options
            As `by_protocol`.

        Returns
        -------
        numpy.ndarray
            Probability ``(y, x, classes)`` or ``(z, y, x, classes)``, float32, 0 .. 1.

        Raises
        ------
        ValueError
            If an option is unknown, axes, channels, dtype or grey values differ from those of the training images, or
            the network predicts NaN.
        """
        if image.ndim == len(self.crop_shape) - 1 and self.crop_shape[-1] == 1:
            image = image[..., np.newaxis]
        images = [image]
        if voxel_size_nm is not None:
            images = ImageSet(images, None, [ImageName("the image", scale=scale_of(voxel_size_nm))], ())
        probability = next(iter(self.by_protocol(images, rescale=voxel_size_nm is not None, **options)))
        check_probability(probability, "the image")
        return probability

    def segment(self, image, *, threshold=0.5, **options):
        """Segment one image or volume of any size.

        Parameters
        ----------
        image, **options
            As `predict`.
        threshold : float
            Foreground lies above, 0 .. 1; of several classes the most probable one is taken.

        Returns
        -------
        numpy.ndarray
            Classes ``(y, x, 1)`` or ``(z, y, x, 1)``, uint8, 0 for background; the same as a run saves.
        """
        check_threshold(threshold)
        probability = self.predict(image, **options)
        return probability_to_mask(round_probability(probability), threshold)

    def problem(self, image):
        """Say why an image cannot be predicted like the training images, or return None.

        Parameters
        ----------
        image : numpy.ndarray
            ``(y, x, c)`` or ``(z, y, x, c)``; for a network in 3D also a slice ``(y, x, c)``.

        Returns
        -------
        str or None
        """
        if image.shape[-1] != self.crop_shape[-1]:
            return f"has {image.shape[-1]} channel(s), the training images had {self.crop_shape[-1]}"
        each = self.data.normalisation == "percentile_per_image"
        return dtype_problem(image, self.data) or intensity_problem(
            image, ANY_GREY_VALUES if each else self.intensity_range
        )

    def stretched(self, images):
        """Return images with the grey values that the training images had, as pictures and watersheds expect them.

        Parameters
        ----------
        images : ImageSet
            Complete images or volumes, as they are stored.

        Returns
        -------
        ImageSet
            As `utils.images.normalisation.stretch_each`: they change only with the normalisation
            ``percentile_per_image``.
        """
        return stretch_each(images, self.data.normalisation, percentiles=self.data.percentiles)

    def _prepared(self, images):
        arrays = images.x if isinstance(images, ImageSet) else images
        return map(self._normalised, arrays) if self._stored else arrays

    def _normalised(self, image):
        """Return an image with the grey values of the training, or raise what is wrong with it."""
        if image.ndim != len(self.crop_shape):
            axes = "(z, y, x, c)" if self.is_3d else "(y, x, c)"
            raise ValueError(f"an image has the shape {image.shape}; this network takes {axes}, one at a time.")
        problem = self.problem(image)
        raise_problems("an image", [problem] if problem else [])
        image = np.asarray(image).astype(image.dtype.newbyteorder("="), copy=False)
        return self.stretched(ImageSet([image], None, [None], ())).x[0]

    def _wanted(self, predictions):
        if self._channel is None:
            return predictions
        return (probability[..., self._channel : self._channel + 1] for probability in predictions)

    def _check_crop(self):
        trained = tuple(self.data.crop_shape)
        if self.crop_shape == trained:
            return
        fits = len(self.crop_shape) == len(trained) and self.crop_shape[-1] == trained[-1]
        divisors = (self.divisor,) * len(trained) if isinstance(self.divisor, int) else self.divisor
        if not fits or any(size % step for size, step in zip(self.crop_shape[:-1], divisors, strict=False)):
            raise ValueError(
                f"CROP_SHAPE {self.crop_shape} does not suit the network; wanted sides divisible by {self.divisor} and "
                f"{trained[-1]} channel(s), such as {trained} of the training."
            )


def _check_predicts_pixels(model, crop_shape):
    if tuple(model.compute_output_shape((1, *crop_shape))[1:-1]) != tuple(crop_shape[:-1]):
        raise ValueError(
            f"the network {model.name} classifies patches and does not predict each pixel. Use "
            "sota_implementations.oztel_2017.patches.dense_probability(trained_model, images)."
        )
