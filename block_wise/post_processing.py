"""Post-processing of a volume block by block, seamless across blocks: the filter along z, and masks."""

from pathlib import Path

import numpy as np

from block_wise.grid import mirrored
from block_wise.job import read_result, run_stage, write_block
from block_wise.levels import add_levels
from block_wise.results import read_box
from block_wise.volumes import middle_box, read_volume
from utils.metrics.pixels import probability_to_mask
from utils.pictures.charts import draw_overlays
from utils.post_processing.z_filter import z_filter


def z_filter_blocks(job, workers, size=5):
    """Smooth the probability along z across the borders of blocks, as `z_filter` does in memory.

    Parameters
    ----------
    job, workers
        As `block_wise.prediction.predict_blocks`, and after it.
    size : int
        Odd number of slices.

    Returns
    -------
    Path
        OME-Zarr image, as the probability.
    """
    job.create("z_filter", job.dtype, shape=job.output_shape)
    run_stage(job, workers, "z_filter", _filter_block, size, title="Z-filter")
    add_levels(job, workers, "z_filter", title="Z-filter")
    return job.output("z_filter")


def _filter_block(job, block, size):
    along_z, *plane = job.grid.box(block)
    places = mirrored(np.arange(along_z.start - size // 2, along_z.stop + size // 2), job.grid.shape[0])
    first = int(places.min())
    slices = read_result(job, "probability", (slice(first, int(places.max()) + 1), *plane))[places - first]
    filtered = np.stack(list(z_filter(slices, size)))
    write_block(job, "z_filter", block, filtered[size // 2 : size // 2 + along_z.stop - along_z.start])


def mask_blocks(job, workers, probability, *, threshold=0.5):
    """Turn probabilities into a mask of classes.

    Parameters
    ----------
    job, workers
        As `block_wise.prediction.predict_blocks`.
    probability : Path
        From `predict_blocks` or `z_filter_blocks`.
    threshold : float
        Of the foreground, with one class.

    Returns
    -------
    Path
        OME-Zarr labels of the probability, ``(z, y, x)``, uint8: 0 and 1, or the number of the class.
    """
    job.create("mask", np.uint8)
    run_stage(job, workers, "mask", _mask_block, Path(probability).stem, threshold, title="Mask")
    add_levels(job, workers, "mask", title="Mask")
    return job.output("mask")


def _mask_block(job, block, probability, threshold):
    found = read_result(job, probability, job.grid.box(block))
    write_block(
        job, "mask", block, probability_to_mask(found if job.classes > 1 else found[..., np.newaxis], threshold)
    )


def draw_blocks(path, job, mask, *, truth=None):
    """Draw the mask over the middle of the middle slice of the volume.

    Parameters
    ----------
    path : str or Path
        The png file.
    job : BlockJob
        The job.
    mask : Path
        From `mask_blocks`.
    truth : ScoredTruth, optional
        From `block_wise.truth.score_blocks`.
    """
    box = middle_box(job.grid.shape)
    draw_overlays(
        path,
        list(read_volume(job.volume, box)),
        None if truth is None else list(truth.read(box)),
        list(read_box(mask, box)[..., np.newaxis]),
        titles=[f"{job.volume.name}, slice {box[0].start}"],
        intensity_range=job.intensity_range,
    )
