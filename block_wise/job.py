"""A block-wise run: addresses and settings that travel to workers, its results on disk, its stages.

Every worker must see the volume, the weights and the folder of the run under the same paths.
"""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from block_wise.grid import BlockGrid, block_bytes
from block_wise.manifest import Markers, check_disk, check_manifest, write_manifest
from block_wise.network import Network
from block_wise.results import DamagedResult, UnreadableBlock, chunk_file, create_volume, read_box, write_box
from block_wise.runner import Task, run_tasks
from block_wise.volumes import VolumeAddress, open_volume
from utils.errors import check_choice
from utils.files import is_empty_file
from utils.images.formats.ome_zarr import level_factors, level_shape
from utils.images.scale import Scale

# Results that are labels of the image of probabilities.
LABELS = {"mask": "mask", "labels": "instances"}
OUTPUT_DTYPES = ("float32", "float16")
# Settings that may change until a block of one of these stages is done.
UNTIL = {
    "Z_FILTER_SIZE": ("z_filter", "mask"),
    "THRESHOLD": ("mask",),
    "INSTANCES": ("components",),
    "MIN_OBJECT_SIZE": ("labels",),
}


@dataclass(frozen=True)
class BlockJob:
    """All that a worker must know: addresses and settings, no arrays.

    Attributes
    ----------
    folder : Path
        Folder of the run: gets ``volumes/*.zarr`` and ``blocks/``.
    volume : VolumeAddress
        The volume to predict.
    grid : BlockGrid
        Its blocks and subvolumes.
    network : Network
        What predicts.
    ensemble : bool
        Average the orientations of each subvolume.
    empty_values : tuple of float
        A subvolume of nothing but one of these grey values is background and not predicted.
    dtype : str
        Of the probabilities on disk, one of ``OUTPUT_DTYPES``.
    scale : Scale, optional
        Size of a voxel and position of the first one.
    """

    folder: Path
    volume: VolumeAddress
    grid: BlockGrid
    network: Network
    ensemble: bool = False
    empty_values: tuple = ()
    dtype: str = "float32"
    scale: Scale | None = None

    def __post_init__(self):
        """Make the folder absolute, as workers start elsewhere."""
        object.__setattr__(self, "folder", Path(self.folder).resolve())

    @property
    def classes(self):
        """Channels of the prediction."""
        return self.network.classes

    @property
    def intensity_range(self):
        """As `utils.images.intensity.to_network_input`."""
        return self.network.intensity_range

    @property
    def voxel_size_nm(self):
        """Size of a voxel ``(z, y, x)``; None if it is not known along every axis."""
        return self.scale.voxel_size_nm if self.scale and None not in self.scale.voxel_size_nm else None

    def output(self, name):
        """Return the folder of a result: an OME-Zarr image in ``volumes/``, or labels of it."""
        if name in LABELS:
            return self.output("probability") / "labels" / LABELS[name]
        return self.folder / "volumes" / f"{name}.zarr"

    def create(self, name, dtype, *, shape=None):
        """Make the arrays of a result, of the shape of the volume if none is given, unless they exist."""
        options = {"chunks": self.grid.block_shape, "dtype": dtype, "scale": self.scale, "labels": name in LABELS}
        create_volume(self.output(name), shape or self.grid.shape, **options)

    def part(self, block):
        """Return the file of the part of a block."""
        return self.blocks_folder / "parts" / ("_".join(map(str, block)) + ".npy")

    def markers(self, stage):
        """Return the markers of the finished blocks of a stage."""
        return Markers(self.blocks_folder / "done" / stage)

    def done(self, stage, also=None):
        """Return the finished blocks of a stage, but for those whose chunk, or file ``also(block)``, is empty."""
        output = self.output(stage)

        def is_whole(block):
            return not is_empty_file(chunk_file(output, block)) and not (also and is_empty_file(also(block)))

        return set(filter(is_whole, self.markers(stage).done()))

    @property
    def output_shape(self):
        """Shape of the probabilities on disk: ``(z, y, x)``, or ``(z, y, x, c)`` of several classes."""
        return self.grid.shape if self.classes == 1 else (*self.grid.shape, self.classes)

    @property
    def blocks_folder(self):
        """Folder of manifest, markers and parts."""
        return self.folder / "blocks"


def check_begun(job, *, z_filter_size=0, threshold=0.5, instances=False, min_object_size=0):
    """Check a job against the manifest of its run, and write nothing.

    Parameters
    ----------
    job : BlockJob
        The job.
    z_filter_size, threshold, instances, min_object_size
        As `block_wise.checks.check_stages`. They may change until their stage begins (see ``UNTIL``).

    Returns
    -------
    bool
        Whether an earlier command started the run.

    Raises
    ------
    ValueError
        If other settings have determined finished blocks.
    """
    settings = _settings(job, z_filter_size, threshold, instances, min_object_size)
    return check_manifest(job.blocks_folder, settings, until=UNTIL)


def _settings(job, z_filter_size, threshold, instances, min_object_size):
    """Return all that determines the results, as the manifest records it and messages name it."""
    volume, grid, network = open_volume(job.volume), job.grid, job.network
    return {
        "volume": str(Path(job.volume.path).resolve()),
        "dataset": job.volume.dataset,
        "volume shape": volume.shape,
        "volume dtype": str(volume.dtype),
        "weights": network.key,
        "precision": network.precision,
        "deterministic": network.deterministic,
        "INTENSITY_RANGE": network.stated_range,
        "VOXEL_SIZE_NM": job.voxel_size_nm,
        "format": "OME-Zarr 0.5",
        "BATCH_SIZE": network.batch_size,
        "CROP_SHAPE": network.crop_shape,
        "BLOCK_SHAPE": grid.block_shape,
        "PROTOCOL": "blended" if grid.blending else "crops",
        "OVERLAP": grid.overlap,
        "PADDING": grid.padding,
        "ENSEMBLE": job.ensemble,
        "EMPTY_VALUES": job.empty_values,
        "OUTPUT_DTYPE": job.dtype,
        "Z_FILTER_SIZE": z_filter_size,
        "THRESHOLD": threshold,
        "INSTANCES": instances,
        "MIN_OBJECT_SIZE": min_object_size,
    }


def begin_blocks(job, *, z_filter_size=0, threshold=0.5, instances=False, min_object_size=0):
    """Check a job against the manifest of its run and the free disk space, print its size, and write the manifest.

    Parameters
    ----------
    job, z_filter_size, threshold, instances, min_object_size
        As `check_begun`. Filtered probabilities and labels need disk space too.

    Raises
    ------
    ValueError
        As `check_begun`; or if the disk is too small or a dtype is unknown.
    """
    check_choice("OUTPUT_DTYPE", job.dtype, OUTPUT_DTYPES)
    volume, grid = open_volume(job.volume), job.grid
    settings = _settings(job, z_filter_size, threshold, instances, min_object_size)
    begun = check_manifest(job.blocks_folder, settings, until=UNTIL)
    if not begun:  # arrays without a block may have chunks of another size
        shutil.rmtree(job.folder / "volumes", ignore_errors=True)
    memory, part = block_bytes(grid, classes=job.classes, itemsize=volume.dtype.itemsize, channels=volume.shape[-1])
    one = job.classes * np.dtype(job.dtype).itemsize
    # Labels are long runs of equal numbers, which lz4 reduces to a tenth or less.
    voxel_bytes = {"probability": one, "z_filter": one if z_filter_size else 0, "mask": 1}
    voxel_bytes |= {"components": 1, "labels": 1} if instances else {}
    done = {stage: sum(map(grid.voxels, job.done(stage))) for stage in voxel_bytes}
    voxels, n_blocks, n_done = int(np.prod(grid.shape)), len(grid.blocks), len(job.done("probability"))
    levels = [level_shape(grid.shape, factors) for factors in level_factors(grid.shape, job.scale)]
    share = sum(map(math.prod, levels)) / voxels
    written = int(share * sum(size * (voxels - done[stage]) for stage, size in voxel_bytes.items()))
    layer = len({block[1:] for block in grid.blocks}) + 2
    parts = part * min(n_blocks - n_done, 2 * layer)
    check_disk(job.folder, written + parts)
    write_manifest(job.blocks_folder, settings)
    print(
        f"Volume {job.volume.name}: {volume.shape} (z, y, x, c) {volume.dtype}, in {n_blocks} blocks of "
        f"{grid.block_shape}; {grid.count_subvolumes()} subvolumes. A block takes up to "
        f"{memory / 2**30:.2f} GiB of memory beside the network; the results take about "
        f"{written / 2**30:.2f} GiB of disk, parts up to {parts / 2**30:.2f} GiB for a while.",
        flush=True,
    )
    if begun:
        print(f"This run continues: {n_done} of {n_blocks} blocks are predicted.")


def run_stage(job, workers, stage, function, *arguments, title, also=None):
    """Apply a function to each unfinished block of a stage.

    Parameters
    ----------
    job, workers
        As `block_wise.prediction.predict_blocks`.
    stage : str
        Name of the markers; the function marks each block.
    function : callable
        ``function(job, block, *arguments)``.
    *arguments
        Small.
    title : str
        For the progress line.
    also : callable, optional
        ``also(block)``: file beside the chunk that must not be empty.
    """
    done, grid = job.done(stage, also), job.grid
    todo = [block for block in grid.blocks if block not in done]
    tasks = {block: Task(function, (job, block, *arguments), amount=grid.voxels(block)) for block in todo}
    for _ in run_tasks(workers, tasks, title=title, done=len(done)):
        pass


def write_block(job, name, block, values, *, content=None):
    """Write a block of a result, unless the array holds its values anyway, and mark it as done.

    Parameters
    ----------
    job : BlockJob
        The job.
    name : str
        Name of the result and of its stage.
    block : tuple of int
        Its number.
    values : numpy.ndarray
        ``(z, y, x)`` or ``(z, y, x, c)``.
    content : dict, optional
        Small results for the marker.
    """
    values = values[..., 0] if values.ndim == 4 and values.shape[-1] == 1 else values
    if values.any() or chunk_file(job.output(name), block).exists():
        write_box(job.output(name), job.grid.box(block), values)
    job.markers(name).mark(block, content)


def read_result(job, name, box):
    """Read a box of a result of this run; damaged blocks in it no longer count as done.

    Parameters
    ----------
    job, name
        As `write_block`.
    box : tuple of slice
        ``(z, y, x)``.

    Returns
    -------
    numpy.ndarray
        ``(z, y, x)`` or ``(z, y, x, c)``.

    Raises
    ------
    DamagedResult
        If a chunk is damaged.
    """
    try:
        return read_box(job.output(name), box)
    except UnreadableBlock as error:
        for block in job.markers(name).done():
            place = job.grid.box(block)
            if all(a.start < b.stop and b.start < a.stop for a, b in zip(place, box, strict=True)):
                _forget_if_damaged(job, name, block)
        raise DamagedResult(str(error)) from error


def _forget_if_damaged(job, name, block):
    try:
        read_box(job.output(name), job.grid.box(block))
    except UnreadableBlock:
        job.markers(name).forget(block)
