"""Predicting new images with the network of a finished run: array in, probability or mask out.

trained = load_trained("job_dir/results/400_0")
mask = trained.segment(image)
"""

import numpy as np

from utils.data.image_set import ImageSet
from utils.devices import use_jit
from utils.errors import check_choice, raise_problems
from utils.images.intensity import intensity_problem
from utils.images.normalisation import ANY_GREY_VALUES, stretch_each
from utils.images.padding import PADDING_MODES
from utils.metrics.pixels import probability_to_mask
from utils.post_processing.thresholds import STEPS, check_threshold
from utils.prediction.protocols import predict_blended, predict_crops, predict_full_images
from utils.runs.record import RunRecord
from utils.training.callbacks import load_weights
from utils.training.network_file import build_network, total_strides

PROTOCOLS = ("blended", "crops", "full")


def load_trained(run, *, precision="trained"):
    """Load the network of a finished run with its best weights.

    Parameters
    ----------
    run : str or Path
        Folder ``job_dir/results/<id>_<rid>`` of the run, or its ``checkpoints/best.weights.h5`` with ``network.json``
        beside it; these two files may be copied anywhere.
    precision : str
        ``trained``: the number format of the training; ``float32``: in place of 16-bit formats, for processors that
        are slow with these.

    Returns
    -------
    TrainedNetwork

    Raises
    ------
    ValueError
        If the run is not finished, a file is missing or does not belong to the other, or the network classifies
        patches.
    """
    record = RunRecord(run)
    content, weights = record.network(), record.weights_file()
    model = build_network(content["network"], precision=precision)
    load_weights(model, weights)
    model.compile(jit_compile=use_jit())
    return TrainedNetwork(model, content)


class TrainedNetwork:
    """A network with its weights and all that its training fixed; made by `load_trained`.

    Parameters
    ----------
    model : keras.Model
        With trained weights.
    content : dict
        What ``network.json`` holds.

    Attributes
    ----------
    model : keras.Model
        Takes normalised images; the methods take stored ones.
    crop_shape : tuple of int
        Of the training, ``(y, x, c)`` or ``(z, y, x, c)``.
    n_classes : int
        1: foreground or not; more: number of classes, background included.
    targets : tuple of str
        What its channels are, if it learned instance targets instead of classes.
    intensity_range : tuple of float, ZScore or None
        As measured or stated for the training.
    batch_size : int
        Of the training.
    settings : dict
        All variables of the run.

    Raises
    ------
    ValueError
        If the network does not predict images of the size it gets.
    """

    def __init__(self, model, content):
        self.model, self.settings = model, content["settings"]
        self.crop_shape, self.batch_size = tuple(content["crop_shape"]), content["batch_size"]
        self.targets, self.intensity_range = tuple(content["instance_targets"]), content["intensity_range"]
        self.n_classes = 1 if self.targets else content["n_classes"]
        self._normalisation, self._percentiles = content["normalisation"], tuple(content["percentiles"])
        self._dtype, self._config, self._strides = content["dtype"], content["network"], None
        if tuple(model.compute_output_shape((1, *self.crop_shape))[1:-1]) != self.crop_shape[:-1]:
            raise ValueError(
                f"the network {model.name} classifies patches and does not predict each pixel. Use "
                "sota_implementations.oztel_2017.patches.dense_probability(trained_model, images)."
            )

    @property
    def is_3d(self):
        """Whether it takes volumes ``(z, y, x, c)``."""
        return len(self.crop_shape) == 4

    @property
    def strides(self):
        """What the poolings divide along each axis: ``(y, x)`` or ``(z, y, x)``."""
        if self._strides is None:
            self._strides = total_strides(self._config)
        return self._strides

    def predict(self, image, **options):
        """Predict one image or volume of any size.

        Parameters
        ----------
        image : numpy.ndarray
            ``(y, x, c)`` or ``(z, y, x, c)``, of one channel also without that axis, with the grey values and in the
            dtype of a file: it is normalised here.
        **options
            As `predict_images`.

        Returns
        -------
        numpy.ndarray
            Probability ``(y, x, classes)`` or ``(z, y, x, classes)``, float32, 0 .. 1.

        Raises
        ------
        ValueError
            As `predict_images`.
        """
        if image.ndim == len(self.crop_shape) - 1 and self.crop_shape[-1] == 1:
            image = image[..., np.newaxis]
        return next(iter(self.predict_images([image], **options)))

    def segment(self, image, *, threshold=0.5, **options):
        """Segment one image or volume of any size.

        Parameters
        ----------
        image : numpy.ndarray
            As `predict`.
        threshold : float
            Foreground is what lies above, 0 .. 1; of several classes the most probable one is taken.
        **options
            As `predict_images`.

        Returns
        -------
        numpy.ndarray
            Classes ``(y, x, 1)`` or ``(z, y, x, 1)``, uint8, 0 for background; the same as a run saves.

        Raises
        ------
        ValueError
            As `predict_images`, or if the threshold is not 0 .. 1.
        """
        check_threshold(threshold)
        probability = self.predict(image, **options)
        return probability_to_mask(np.rint(probability * np.float32(STEPS)) / np.float32(STEPS), threshold)

    def predict_images(
        self,
        images,
        *,
        protocol="blended",
        crop_shape=(),
        overlap=0.5,
        padding=0,
        padding_mode="mirror",
        ensemble=False,
        batch_size=0,
        target="binary",
    ):
        """Predict images or volumes one by one, each of any size.

        Parameters
        ----------
        images : iterable of numpy.ndarray
            ``(y, x, c)`` or ``(z, y, x, c)``, as they were stored.
        protocol : str
            ``blended``: crops that overlap by half, blended without seams; ``crops``: crops whose mean is taken where
            they overlap; ``full``: whole images at once, where they fit into memory.
        crop_shape : tuple of int
            With channels; empty: as in training.
        overlap : float or tuple of float
            Of ``crops``: minimum overlap of neighbours, as a fraction of the crop, per axis.
        padding : int or tuple of int
            Of ``crops``: margin of each crop, per axis, whose prediction is thrown away.
        padding_mode : str
            Of ``crops``: what lies outside the image, ``mirror`` or ``median``.
        ensemble : bool
            Average the 8 (2D) or 16 (3D) orientations.
        batch_size : int
            Crops per call; 0: as in training.
        target : str
            Which channel of a network that learned instance targets is returned: one of ``targets``.

        Returns
        -------
        iterator of numpy.ndarray
            Probability of the size of each image, float32.

        Raises
        ------
        ValueError
            If an option is unknown, the crop does not suit the network, or an image has other axes, channels or grey
            values than those of the training.
        """
        check_choice("PROTOCOL", protocol, PROTOCOLS)
        check_choice("PADDING_MODE", padding_mode, PADDING_MODES)
        if self.targets:
            check_choice("target", target, self.targets)
        crop_shape = tuple(crop_shape) or self.crop_shape
        self.check_crop(crop_shape)
        options = {"ensemble": ensemble, "intensity_range": self.intensity_range}
        tiles = options | {"batch_size": batch_size or self.batch_size}
        images = map(self._normalised, images)
        if protocol == "blended":
            predictions = predict_blended(self.model, images, crop_shape, **tiles)
        elif protocol == "crops":
            grid = {"overlap": overlap, "padding": padding, "padding_mode": padding_mode}
            predictions = predict_crops(self.model, images, crop_shape, **grid, **tiles)
        else:
            predictions = predict_full_images(self.model, images, divisor=self.strides, **options)
        if not self.targets:
            return predictions
        channel = self.targets.index(target)
        return (probability[..., channel : channel + 1] for probability in predictions)

    def problem(self, image):
        """Say why an image cannot be predicted as the training images were, or return None.

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
        measured = self._normalisation in ("percentile", "mean_std")
        if measured and self._dtype not in (None, str(image.dtype)):
            return (
                f"has the dtype {image.dtype}, but the grey values for the network were measured on {self._dtype}; "
                "convert it to the grey values of the training images"
            )
        per_image = self._normalisation == "percentile_per_image"
        found = intensity_problem(image, ANY_GREY_VALUES if per_image else self.intensity_range)
        return found and found.replace("give INTENSITY_RANGE=(low, high)", f"convert it to {self._dtype or 'uint8'}")

    def stretched(self, images):
        """Return images with the grey values that the training images had, as pictures and watersheds expect them.

        Parameters
        ----------
        images : ImageSet
            Complete images or volumes, as they are predicted.

        Returns
        -------
        ImageSet
            As `utils.images.normalisation.stretch_each`: others only with the normalisation ``percentile_per_image``.
        """
        return stretch_each(images, self._normalisation, percentiles=self._percentiles)

    def _normalised(self, image):
        """Return an image as `predict_crops` gets them in the run, or raise what is wrong with it."""
        if image.ndim != len(self.crop_shape):
            axes = "(z, y, x, c)" if self.is_3d else "(y, x, c)"
            raise ValueError(f"an image has the shape {image.shape}; this network takes {axes}, one at a time.")
        problem = self.problem(image)
        raise_problems("an image", [problem] if problem else [])
        return self.stretched(ImageSet([image], None, [None], ())).x[0]

    def check_crop(self, crop_shape):
        """Check that the network can take crops of a size.

        Parameters
        ----------
        crop_shape : tuple of int
            ``(y, x, c)`` or ``(z, y, x, c)``.

        Raises
        ------
        ValueError
            If it has other axes or channels than in training, or sides that the poolings do not divide.
        """
        if crop_shape == self.crop_shape:
            return
        fits = len(crop_shape) == len(self.crop_shape) and crop_shape[-1] == self.crop_shape[-1]
        if not fits or any(size % step for size, step in zip(crop_shape, self.strides, strict=False)):
            raise ValueError(
                f"CROP_SHAPE {crop_shape} does not suit the network; wanted sides divisible by {self.strides} and "
                f"{self.crop_shape[-1]} channel(s), such as {self.crop_shape} of the training."
            )
