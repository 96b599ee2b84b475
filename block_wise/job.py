"""What a block-wise run is: addresses and settings that travel to workers, its results on disk, its stages.

The volume, the weights and the folder of the run must be reached under the same path by every worker.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from block_wise.grid import BlockGrid, block_bytes
from block_wise.manifest import Markers, check_disk, check_manifest, hash_file
from block_wise.runner import Task, run_tasks
from block_wise.volumes import VolumeAddress, open_volume
from block_wise.zarr_arrays import write_box
from utils.errors import check_choice
from utils.finished_run import NETWORK_NAME, PRECISIONS, find_network, stored_range
from utils.intensity import network_scale

OUTPUT_DTYPES = ("float32", "float16")


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
        As `utils.trained_network.load_trained`.
    deterministic : bool
        As `utils.training.prepare_keras`.

    Returns
    -------
    NetworkOfRun

    Raises
    ------
    ValueError
        If the run is not finished or lacks a file, its network takes images, or it normalised images one by one, which
        blocks cannot be.
    """
    check_choice("PRECISION", precision, PRECISIONS)
    weights, content = find_network(run)
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
    return NetworkOfRun(Network(key, make), crop_shape, classes, content["batch_size"], stored_range(content))


def _load_network(weights, crop_shape, precision, deterministic, channel):
    # Imported here, because only the processes that predict load Keras and take a GPU.
    from utils.trained_network import load_trained
    from utils.training import prepare_keras

    prepare_keras(seed=0, precision="float32", deterministic=deterministic)  # layers have the format of the training
    trained = load_trained(weights, precision=precision)
    trained.check_crop(crop_shape)
    return trained.model if channel is None else _OneChannel(trained.model, channel)


class _OneChannel:
    """A network of which one channel is wanted."""

    def __init__(self, model, channel):
        self._model, self._channel = model, channel

    def predict_on_batch(self, batch):
        return self._model.predict_on_batch(batch)[..., self._channel : self._channel + 1]


@dataclass(frozen=True)
class BlockJob:
    """Everything that a worker has to know: addresses and settings, no arrays.

    Attributes
    ----------
    folder : Path
        Of the run: gets ``volumes/*.zarr`` and ``blocks/``. Each worker must see it, and the volume, under this path.
    volume : VolumeAddress
        What is predicted.
    grid : BlockGrid
        Its blocks and subvolumes.
    network : Network
        What predicts.
    classes : int
        Channels of the prediction.
    batch_size : int
        Subvolumes that are predicted at once.
    ensemble : bool
        Average the orientations of each subvolume.
    intensity_range : tuple of float or ZScore, optional
        As `utils.intensity.to_network_input`.
    empty_values : tuple of float
        A subvolume that holds nothing but one of these grey values is not predicted: it is background.
    dtype : str
        Of the probabilities on disk, one of ``OUTPUT_DTYPES``.
    """

    folder: Path
    volume: VolumeAddress
    grid: BlockGrid
    network: Network
    classes: int = 1
    batch_size: int = 1
    ensemble: bool = False
    intensity_range: tuple | None = None
    empty_values: tuple = ()
    dtype: str = "float32"

    def __post_init__(self):
        """Make the folder absolute, as workers start elsewhere."""
        object.__setattr__(self, "folder", Path(self.folder).resolve())

    def output(self, name):
        """Return the path of a result, ``volumes/<name>.zarr``."""
        return self.folder / "volumes" / f"{name}.zarr"

    def part(self, block):
        """Return the file of the part of a block."""
        return self.blocks_folder / "parts" / ("_".join(map(str, block)) + ".npy")

    def markers(self, stage):
        """Return which blocks of a stage are done."""
        return Markers(self.blocks_folder / "done" / stage)

    @property
    def output_shape(self):
        """Shape of the probabilities on disk: ``(z, y, x)``, or ``(z, y, x, c)`` of several classes."""
        return self.grid.shape if self.classes == 1 else (*self.grid.shape, self.classes)

    @property
    def blocks_folder(self):
        """Where manifest, markers and parts are."""
        return self.folder / "blocks"


def begin_blocks(job, settings, *, free=(), z_filter_size=0):
    """Check a job against the manifest of its run and the free disk space, and say how large it is.

    Parameters
    ----------
    job : BlockJob
        What is to be done.
    settings : dict of str to object
        What decides about the results, by the names of the variables. Address, size and dtype of the volume and the
        hash of the weights are added.
    free : sequence of str
        Names of settings that do not decide about the results and may change from one start to the next.
    z_filter_size : int
        Above 0, as much disk again is needed for filtered probabilities.

    Raises
    ------
    ValueError
        If the run was begun with other settings, the disk is too small, a dtype is unknown, or its grey values cannot
        be scaled.
    """
    check_choice("OUTPUT_DTYPE", job.dtype, OUTPUT_DTYPES)
    volume, grid = open_volume(job.volume), job.grid
    network_scale(volume.dtype, job.intensity_range)
    known = {"weights": job.network.key, "volume": str(Path(job.volume.path).resolve()), "dataset": job.volume.dataset}
    known |= {"volume shape": volume.shape, "volume dtype": str(volume.dtype)}
    begun = check_manifest(
        job.blocks_folder, {name: value for name, value in settings.items() if name not in free} | known
    )
    memory, part = block_bytes(grid, classes=job.classes, itemsize=volume.dtype.itemsize, channels=volume.shape[-1])
    voxels, n_blocks = int(np.prod(grid.shape)), len(grid.blocks)
    written = voxels * job.classes * np.dtype(job.dtype).itemsize * (2 if z_filter_size else 1)
    layer = len({block[1:] for block in grid.blocks}) + 2
    parts = part * min(n_blocks, 2 * layer)
    print(
        f"Volume {volume.name}: {volume.shape} (z, y, x, c) {volume.dtype}, in {n_blocks} blocks of "
        f"{grid.block_shape}; {grid.count_subvolumes()} subvolumes. A block takes up to "
        f"{memory / 2**30:.2f} GiB of memory beside the network; probabilities take {written / 2**30:.2f} GiB of disk, "
        f"parts up to {parts / 2**30:.2f} GiB for a while.",
        flush=True,
    )
    if begun:
        done = len(job.markers("probability").done())
        print(f"This run was begun before: {done} of {n_blocks} blocks are predicted. It goes on.")
    else:
        check_disk(job.blocks_folder, written + parts)


def run_stage(job, workers, stage, function, *arguments, title):
    """Let a function work on each block that a stage has not done yet.

    Parameters
    ----------
    job : BlockJob
        What is done.
    workers : object
        From `block_wise.runner.block_workers`.
    stage : str
        Name of the markers; the function marks each block.
    function : callable
        ``function(job, block, *arguments)``.
    *arguments
        Small.
    title : str
        For the progress line.
    """
    done, grid = job.markers(stage).done(), job.grid
    todo = [block for block in grid.blocks if block not in done]
    tasks = {block: Task(function, (job, block, *arguments), amount=grid.voxels(block)) for block in todo}
    for _ in run_tasks(workers, tasks, title=title, done=len(done)):
        pass


def write_block(job, name, block, values, *, content=None):
    """Write a block of a result, unless the array holds that anyway, and then say that it is done.

    Parameters
    ----------
    job : BlockJob
        What is done.
    name : str
        Of the result and of its stage.
    block : tuple of int
        Which block.
    values : numpy.ndarray
        ``(z, y, x)`` or ``(z, y, x, c)``.
    content : dict, optional
        Small results that go into the marker.
    """
    values = values[..., 0] if values.ndim == 4 and values.shape[-1] == 1 else values
    if values.any():
        write_box(job.output(name), job.grid.box(block), values)
    job.markers(name).mark(block, content)
