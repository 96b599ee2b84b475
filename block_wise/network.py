"""The network of a finished run, described so that each worker loads it for itself."""

from functools import partial
from typing import NamedTuple

from block_wise.manifest import hash_file
from utils.command_line import check_prediction_precision
from utils.prediction.new_images import network_input, with_grey_values_of
from utils.runs.record import NETWORK_NAME, RunRecord


class Network(NamedTuple):
    """What must be known of a network before a worker loads it.

    Attributes
    ----------
    key : str
        Hash of its weights.
    make : callable
        Takes nothing and returns a `utils.prediction.predictor.Predictor`; a worker calls it once.
    crop_shape : tuple of int
        Subvolume ``(z, y, x, c)`` that it takes.
    classes : int
        Channels of its prediction.
    batch_size : int
        Subvolumes that are predicted at once.
    intensity_range : tuple of float, ZScore or None
        As measured or stated for the training, in the grey values of the volume.
    precision, deterministic
        As `network_of_run`.
    data : NetworkInput, optional
        What is known about the training images, with the grey values of the volume.
    stated_range : tuple of float, optional
        As ``intensity_range`` of `network_of_run`.
    """

    key: str
    make: object
    crop_shape: tuple
    classes: int = 1
    batch_size: int = 1
    intensity_range: object = None
    precision: str = "auto"
    deterministic: bool = False
    data: object = None
    stated_range: object = None


def network_of_run(run, *, crop_shape=(), batch_size=0, precision="auto", deterministic=False, intensity_range=None):
    """Describe the 3D network of a finished run, for workers to load.

    Parameters
    ----------
    run, crop_shape, batch_size, precision, intensity_range
        As `utils.prediction.predictor.load_predictor`; the crop is a subvolume ``(z, y, x, c)``.
    deterministic : bool
        As `utils.training.training.prepare_keras`.

    Returns
    -------
    Network

    Raises
    ------
    ValueError
        If the run is not finished or lacks a file, or its network takes images or normalises each image by itself,
        which is impossible for blocks, or the intensity range is none.
    """
    check_prediction_precision(precision)
    record = RunRecord(run)
    content, weights = record.network(), record.weights_file()
    trained = tuple(content["crop_shape"])
    if len(trained) != 4:
        raise ValueError(
            f"the network of {run} takes images (y, x, c), not volumes. Use templates/predict_template.py."
        )
    if content["normalisation"] == "percentile_per_image":
        raise ValueError(
            f"{run} was trained with NORMALISATION percentile_per_image, but all blocks of a volume must get the same "
            "grey values. Train with percentile, mean_std or dtype."
        )
    weights, batch_size = weights.resolve(), batch_size or content["batch_size"]
    crop_shape = tuple(crop_shape) or trained
    key = "-".join(hash_file(path) for path in (weights, weights.with_name(NETWORK_NAME)))
    data = with_grey_values_of(network_input(content), intensity_range)
    options = {"crop_shape": crop_shape, "batch_size": batch_size, "intensity_range": intensity_range}
    make = partial(_load, weights, precision, deterministic, options)
    classes = 1 if content["instance_targets"] else content["n_classes"]
    fixed = (crop_shape, classes, batch_size, data.intensity_range)
    return Network(key, make, *fixed, precision, deterministic, data, stated_range=intensity_range)


def _load(weights, precision, deterministic, options):
    # Imported here, because only the processes that predict load Keras and take a GPU.
    from utils.prediction.predictor import load_predictor
    from utils.training.training import prepare_keras

    # Layers have the format of the training.
    prepare_keras(seed=0, precision="float32", deterministic=deterministic, trains=False)
    return load_predictor(weights, precision=precision, **options)
