"""The network of a finished run, described so that each worker loads it for itself."""

from functools import partial
from typing import NamedTuple

from block_wise.manifest import hash_file
from utils.command_line import check_prediction_precision
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
        As measured or stated for the training.
    precision, deterministic
        As `network_of_run`.
    """

    key: str
    make: object
    crop_shape: tuple
    classes: int = 1
    batch_size: int = 1
    intensity_range: object = None
    precision: str = "auto"
    deterministic: bool = False


def network_of_run(run, *, crop_shape=(), batch_size=0, precision="auto", deterministic=False):
    """Describe the 3D network of a finished run, for workers to load.

    Parameters
    ----------
    run, crop_shape, batch_size, precision
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
        which is impossible for blocks.
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
    make = partial(_load, weights, crop_shape, batch_size, precision, deterministic)
    classes = 1 if content["instance_targets"] else content["n_classes"]
    fixed = (crop_shape, classes, batch_size, content["intensity_range"])
    return Network(key, make, *fixed, precision, deterministic)


def _load(weights, crop_shape, batch_size, precision, deterministic):
    # Imported here, because only the processes that predict load Keras and take a GPU.
    from utils.prediction.predictor import load_predictor
    from utils.training.training import prepare_keras

    # Layers have the format of the training.
    prepare_keras(seed=0, precision="float32", deterministic=deterministic, trains=False)
    return load_predictor(weights, precision=precision, crop_shape=crop_shape, batch_size=batch_size)
