"""Post-processing of a volume block by block, across the borders of blocks: the filter along z, masks, their scores."""

from pathlib import Path

import numpy as np

from block_wise.grid import mirrored
from block_wise.job import run_stage, write_block
from block_wise.volumes import open_volume
from block_wise.zarr_arrays import create_volume, read_box
from utils.charts import draw_overlays
from utils.metrics import confusion_matrix, probability_to_mask
from utils.post_processing import z_filter

# Side of the part of a slice that is drawn.
DRAWN_PIXELS = 1024


def z_filter_blocks(job, workers, size=5):
    """Smooth the probability along z across the borders of blocks, as `utils.post_processing.z_filter` in memory.

    Parameters
    ----------
    job : BlockJob
        After `predict_blocks`.
    workers : object
        From `block_wise.runner.block_workers`.
    size : int
        Odd number of slices.

    Returns
    -------
    Path
        Zarr, shape and dtype of the probability.
    """
    list(z_filter((), size))  # says what is wrong with the size
    create_volume(job.output("z_filter"), job.output_shape, chunks=job.grid.block_shape, dtype=job.dtype)
    run_stage(job, workers, "z_filter", _filter_block, size, title="Z-filter")
    return job.output("z_filter")


def _filter_block(job, block, size):
    along_z, *plane = job.grid.box(block)
    places = mirrored(np.arange(along_z.start - size // 2, along_z.stop + size // 2), job.grid.shape[0])
    first = int(places.min())
    slices = read_box(job.output("probability"), (slice(first, int(places.max()) + 1), *plane))[places - first]
    filtered = np.stack(list(z_filter(slices, size)))
    write_block(job, "z_filter", block, filtered[size // 2 : size // 2 + along_z.stop - along_z.start])


def mask_blocks(job, workers, probability, *, threshold=0.5, truth=None):
    """Turn probabilities into a mask of classes, and count how it agrees with the truth, if there is one.

    Parameters
    ----------
    job : BlockJob
        What is done.
    workers : object
        From `block_wise.runner.block_workers`.
    probability : Path
        From `predict_blocks` or `z_filter_blocks`.
    threshold : float
        Of the foreground, with one class.
    truth : VolumeAddress, optional
        Of the same size; what is not 0 is foreground, or the numbers of classes.

    Returns
    -------
    mask : Path
        Zarr ``(z, y, x)``, uint8: 0 and 1, or the number of the class.
    confusion : numpy.ndarray or None
        ``(classes, classes)``, int64, as `utils.metrics.confusion_matrix`.

    Raises
    ------
    ValueError
        If the truth has another size.
    """
    shape = None if truth is None else open_volume(truth).shape[:3]
    if shape not in (None, job.grid.shape):
        raise ValueError(f"the truth {Path(truth.path).name} is {shape} (z, y, x), but the volume {job.grid.shape}.")
    create_volume(job.output("mask"), job.grid.shape, chunks=job.grid.block_shape, dtype=np.uint8)
    run_stage(job, workers, "mask", _mask_block, Path(probability), threshold, truth, title="Mask")
    if truth is None:
        return job.output("mask"), None
    markers = job.markers("mask")
    return job.output("mask"), sum(np.array(markers.read(block)["confusion"], np.int64) for block in job.grid.blocks)


def _mask_block(job, block, probability, threshold, truth):
    box = job.grid.box(block)
    found = read_box(probability, box)
    mask = probability_to_mask(found if job.classes > 1 else found[..., np.newaxis], threshold)
    content = None
    if truth is not None:
        expected = _classes(open_volume(truth).read(box), job.classes)
        content = {"confusion": confusion_matrix(expected, mask, max(2, job.classes)).tolist()}
    write_block(job, "mask", block, mask, content=content)


def draw_blocks(path, job, mask, *, truth=None):
    """Draw the mask over the middle of the middle slice of the volume.

    Parameters
    ----------
    path : str or Path
        The png file.
    job : BlockJob
        What is done.
    mask : Path
        From `mask_blocks`.
    truth : VolumeAddress, optional
        As there.
    """
    middle, *sizes = job.grid.shape[0] // 2, *job.grid.shape[1:]
    starts = [max(0, (size - DRAWN_PIXELS) // 2) for size in sizes]
    plane = [slice(start, min(start + DRAWN_PIXELS, size)) for start, size in zip(starts, sizes, strict=True)]
    box = (slice(middle, middle + 1), *plane)
    volume = open_volume(job.volume)
    draw_overlays(
        path,
        list(volume.read(box)),
        None if truth is None else list(_classes(open_volume(truth).read(box), job.classes)),
        list(read_box(mask, box)[..., np.newaxis]),
        titles=[f"{volume.name}, slice {middle}"],
        intensity_range=job.intensity_range,
    )


def _classes(truth, classes):
    return (truth[..., :1] != 0).astype(np.uint8) if classes <= 2 else truth[..., :1]
