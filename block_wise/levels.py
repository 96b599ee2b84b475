"""Coarser levels of results, which viewers show first: made chunk by chunk, each of the next finer one."""

import itertools

import numpy as np

from block_wise.job import LABELS, read_result
from block_wise.results import DamagedResult, UnreadableBlock, chunk_file, read_box, write_box
from block_wise.runner import Task, run_tasks
from utils.files import is_empty_file
from utils.images.formats.ome_zarr import level_factors, level_shape


def add_levels(job, workers, name, *, title):
    """Write the coarser levels of a finished result, which viewers show first.

    Parameters
    ----------
    job, workers
        As `block_wise.prediction.predict_blocks`.
    name : str
        Name of the result.
    title : str
        For the progress line.
    """
    factors = level_factors(job.grid.shape, job.scale)
    for level in range(1, len(factors)):
        shape = level_shape(job.grid.shape, factors[level])
        steps = tuple(a // b for a, b in zip(factors[level], factors[level - 1], strict=True))
        blocks = list(np.ndindex(*level_shape(shape, job.grid.block_shape)))
        done = {
            block
            for block in job.markers(_level_stage(name, level)).done()
            if not is_empty_file(chunk_file(job.output(name), block, level=level))
        }
        tasks = {block: Task(_shrink_block, (job, block, name, level, shape, steps)) for block in blocks}
        todo = {block: task for block, task in tasks.items() if block not in done}
        for _ in run_tasks(workers, todo, title=f"{title}, level {level}", done=len(done)):
            pass


def _level_stage(name, level):
    return f"{name}_level_{level}"


def _shrink_block(job, block, name, level, shape, steps):
    """Write a chunk of a coarser level, in eight pieces that need one chunk of the finer level each."""
    halves = []
    for number, step, size in zip(block, job.grid.block_shape, shape, strict=True):
        start, stop = number * step, min((number + 1) * step, size)
        ends = sorted({start, min(start + -(-step // 2), stop), stop})
        halves.append([slice(*along) for along in itertools.pairwise(ends)])
    box = tuple(slice(along[0].start, along[-1].stop) for along in halves)
    found = None
    for piece in itertools.product(*halves):
        source = tuple(slice(part.start * step, part.stop * step) for part, step in zip(piece, steps, strict=True))
        values = shrunk(_read_level(job, name, source, level - 1), steps, labels=name in LABELS)
        if found is None:
            found = np.zeros((*(part.stop - part.start for part in box), *values.shape[3:]), values.dtype)
        found[tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(piece, box, strict=True))] = values
    if found.any() or chunk_file(job.output(name), block, level=level).exists():
        write_box(job.output(name), box, found, level=level)
    job.markers(_level_stage(name, level)).mark(block)


def _read_level(job, name, box, level):
    if level == 0:
        size = job.grid.shape
        return read_result(job, name, tuple(slice(p.start, min(p.stop, n)) for p, n in zip(box, size, strict=True)))
    try:
        return read_box(job.output(name), box, level=level)
    except UnreadableBlock as error:
        for block in job.markers(_level_stage(name, level)).done():
            job.markers(_level_stage(name, level)).forget(block)
        raise DamagedResult(str(error)) from error


def shrunk(values, factors, *, labels):
    """Return a block of the next coarser level.

    Parameters
    ----------
    values : numpy.ndarray
        ``(z, y, x)`` or ``(z, y, x, c)`` of a level.
    factors : tuple of int
        ``(z, y, x)``, 1 or 2 each; at the end a voxel may cover less.
    labels : bool
        Take the first of the voxels that become one, instead of their mean.

    Returns
    -------
    numpy.ndarray
        Of the same dtype.

    Examples
    --------
    >>> shrunk(np.array([[[0.0, 1.0, 4.0]]]), (1, 1, 2), labels=False).tolist()
    [[[0.5, 4.0]]]
    """
    if labels:
        return values[tuple(slice(None, None, factor) for factor in factors)]
    missing = [(0, -size % factor) for size, factor in zip(values.shape, factors, strict=False)]
    values = np.pad(values, missing + [(0, 0)] * (values.ndim - 3), mode="edge")
    parts = [part for size, factor in zip(values.shape, factors, strict=False) for part in (size // factor, factor)]
    return values.reshape(*parts, *values.shape[3:]).mean((1, 3, 5), dtype=np.float32).astype(values.dtype)
