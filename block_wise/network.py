"""The network of a finished run, described so that each worker makes it for itself."""

from functools import partial
from typing import NamedTuple

from block_wise.manifest import hash_file
from utils.errors import check_choice
from utils.runs.record import NETWORK_NAME, RunRecord


class Network(NamedTuple):
    """A network that a worker makes when it first needs it, and keeps.

    Attributes
    ----------
    key : str
        Hash of its weights.
    make : callable
        Takes nothing and returns something with ``predict_on_batch``.
    """

    key: str
    make: object


class NetworkOfRun(NamedTuple):
    """What a finished run says about its network, which only workers make.

    Attributes
    ----------
    network : Network
        For workers.
    crop_shape : tuple of int
        Subvolume ``(z, y, x, c)`` that it gets.
    classes : int
        Channels of its prediction.
    batch_size : int
        Of the training.
    intensity_range : tuple of float, ZScore or None
        As measured or stated for the training.
    """

    network: Network
    crop_shape: tuple
    classes: int
    batch_size: int
    intensity_range: object


def network_of_run(run, *, crop_shape=(), precision="trained", deterministic=False):
    """Describe the 3D network of a finished run, for workers to make.

    Parameters
    ----------
    run : str or Path
        Folder ``job_dir/results/<id>_<rid>`` of the run, or its ``best.weights.h5`` with ``network.json`` beside it.
    crop_shape : tuple of int
        Subvolume ``(z, y, x, c)``; empty: as in training.
    precision : str
        As `utils.prediction.predictor.load_trained`.
    deterministic : bool
        As `utils.training.training.prepare_keras`.

    Returns
    -------
    NetworkOfRun

    Raises
    ------
    ValueError
        If the run is not finished or lacks a file, its network takes images, or it normalised images one by one, which
        blocks cannot be.
    """
    check_choice("PRECISION", precision, ("trained", "float32"))
    record = RunRecord(run)
    content, weights = record.network(), record.weights_file()
    trained, targets = tuple(content["crop_shape"]), content["instance_targets"]
    if len(trained) != 4:
        raise ValueError(
            f"the network of {run} takes images (y, x, c), not volumes. Use templates/predict_template.py."
        )
    if content["normalisation"] == "percentile_per_image":
        raise ValueError(
            f"{run} was trained with NORMALISATION percentile_per_image, but all blocks of a volume must get the same "
            "grey values. Train with percentile, mean_std or dtype."
        )
    weights, crop_shape = weights.resolve(), tuple(crop_shape) or trained
    channel = list(targets).index("binary") if targets else None
    key = "-".join(hash_file(path) for path in (weights, weights.with_name(NETWORK_NAME)))
    make = partial(_load_network, weights, crop_shape, precision, deterministic, channel)
    classes = 1 if targets else content["n_classes"]
    return NetworkOfRun(Network(key, make), crop_shape, classes, content["batch_size"], content["intensity_range"])


def _load_network(weights, crop_shape, precision, deterministic, channel):
    # Imported here, because only the processes that predict load Keras and take a GPU.
    from utils.prediction.predictor import load_trained
    from utils.training.training import prepare_keras

    # Layers have the format of the training.
    prepare_keras(seed=0, precision="float32", deterministic=deterministic, trains=False)
    trained = load_trained(weights, precision=precision)
    trained.check_crop(crop_shape)
    return trained.model if channel is None else _OneChannel(trained.model, channel)


class _OneChannel:
    """A network of which one channel is wanted."""

    def __init__(self, model, channel):
        self._model, self._channel = model, channel

    def predict_on_batch(self, batch):
        return self._model.predict_on_batch(batch)[..., self._channel : self._channel + 1]
