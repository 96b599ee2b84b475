"""Predicting a volume block by block: what a worker does with a block, and the order of the blocks.

A prediction has two steps: the *part* of a block, a file with the weighted sum of the predictions of its subvolumes,
and the block itself, made of the parts that cover it. A part is deleted when all blocks that need it are done.
"""

import shutil
import threading
import time

import numpy as np

from block_wise.job import write_block
from block_wise.levels import add_levels
from block_wise.results import DamagedResult, UnreadableBlock, describe_box, save_arrays
from block_wise.runner import Task, run_tasks
from block_wise.volumes import read_volume
from utils.images.intensity import intensity_problem
from utils.metrics.pixels import check_probability

# The predictor of this process, by its network; the threads of a worker share it.
_predictors = {}
_one_at_a_time = threading.Lock()
# Blocks that a dry run looks at until one is not empty.
TRIED_BLOCKS = 20


def predict_blocks(job, workers):
    """Predict the unfinished blocks.

    Parameters
    ----------
    job : BlockJob
        The job, after `block_wise.job.begin_blocks`.
    workers : object
        From `block_wise.runner.block_workers`.

    Returns
    -------
    Path
        OME-Zarr image ``(z, y, x)``, or ``(c, z, y, x)`` of several classes: probabilities, 0..1.

    Raises
    ------
    ValueError
        If parts of the volume could not be read.
    OSError
        If the disk is full.
    """
    grid = job.grid
    job.create("probability", job.dtype, shape=job.output_shape)
    done = job.done("probability")
    tasks = _prediction_tasks(job, [block for block in grid.blocks if block not in done])
    for (step, block), _ in run_tasks(workers, tasks, title="Probability", done=len(done)):
        if step == "block":
            done.add(block)
            for part in grid.parts_of(block):
                if done.issuperset(grid.users_of(part)):
                    job.part(part).unlink(missing_ok=True)
    shutil.rmtree(job.blocks_folder / "parts", ignore_errors=True)
    add_levels(job, workers, "probability", title="Probability")
    return job.output("probability")


def _prediction_tasks(job, blocks):
    grid, tasks, parts = job.grid, {}, {}
    for block in blocks:
        needed = [part for part in grid.parts_of(block) if not _is_whole(job.part(part))]
        parts |= dict.fromkeys(needed)
        tasks["block", block] = Task(merge_parts, (job, block), tuple(("part", part) for part in needed))
    for part in parts:
        tasks["part", part] = Task(predict_part, (job, part), amount=grid.voxels(part))
    return tasks


def predict_part(job, block):
    """Predict the subvolumes of a block and write their weighted sum.

    Parameters
    ----------
    job : BlockJob
        The job.
    block : tuple of int
        Number of the block.

    Raises
    ------
    ValueError
        If the network has another number of channels than the job states, or predicts NaN.
    UnreadableBlock
        If the volume is damaged there, or holds NaN or grey values out of range.
    """
    grid = job.grid
    corners, box = grid.corners(block), grid.part_box(block)
    total = np.zeros((0,), np.float32)  # stands for a part that is empty
    if corners:
        crops = list(grid.crops(block, _read_region(job, grid.read_box(block))))
        shown = [not _is_empty(crop, job.empty_values) for crop in crops]
        if any(shown):
            total = np.zeros((*(part.stop - part.start for part in box), job.classes), np.float32)
            with _one_at_a_time:
                for corner, prediction in zip(corners, _predictions(job, crops, shown), strict=True):
                    grid.add(total, corner, prediction, origin=[part.start for part in box])
    check_probability(total, f"{job.volume.name}, at {describe_box(box)}")
    save_arrays(job.part(block), total)


def _read_region(job, box):
    region = read_volume(job.volume, box)
    problem = intensity_problem(region, job.intensity_range)
    if problem:
        raise UnreadableBlock(f"{job.volume.name} {problem}, at {describe_box(box)}")
    return region


def _predictions(job, crops, shown):
    wanted = (crop for crop, show in zip(crops, shown, strict=True) if show)
    predictions = _predictor(job.network).each(wanted, ensemble=job.ensemble)
    for show in shown:
        prediction = next(predictions) if show else _background(job)
        if prediction.shape[-1] != job.classes:
            raise ValueError(f"the network has {prediction.shape[-1]} outputs, but N_CLASSES is {job.classes}.")
        yield prediction


def merge_parts(job, block):
    """Add the parts that cover a block, divide by the weights, and write it.

    Parameters
    ----------
    job, block
        As `predict_part`.
    """
    grid, box = job.grid, job.grid.box(block)
    total = np.zeros((*(part.stop - part.start for part in box), job.classes), np.float32)
    for source in grid.parts_of(block):
        part, place = _read_part(job, source), grid.part_box(source)
        common = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, place, strict=True)]
        total[_within(common, box)] += part[_within(common, place)]
    total /= grid.weights(block)
    write_block(job, "probability", block, total)


def _is_whole(path):
    """Return whether the file of a part is there and complete; a power cut leaves incomplete ones."""
    try:
        np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return True


def _read_part(job, block):
    if not _is_whole(job.part(block)):
        job.part(block).unlink(missing_ok=True)
        raise DamagedResult(f"the part of block {block} is damaged")
    part = np.load(job.part(block), mmap_mode="r")
    if part.size:
        return part
    box = job.grid.part_box(block)
    part = np.zeros((*(along.stop - along.start for along in box), job.classes), np.float32)
    for corner in job.grid.corners(block) if job.classes > 1 else ():
        job.grid.add(part, corner, _background(job), origin=[along.start for along in box])
    return part


def _is_empty(crop, empty_values):
    first = crop[0, 0, 0, 0]
    return first in empty_values and bool((crop == first).all())


def _background(job):
    background = np.zeros(job.classes, np.float32)
    background[0] = job.classes > 1
    return background


def _within(common, box):
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(common, box, strict=True))


def _predictor(network):
    described = repr(network)
    if described not in _predictors:
        _predictors.clear()
        _predictors[described] = network.make()
    return _predictors[described]


def dry_run_blocks(job, workers):
    """Predict a block that is not empty, print how long all would take, and end the program.

    Parameters
    ----------
    job, workers
        As `predict_blocks`.

    Raises
    ------
    SystemExit
        Always, with status 0.
    """
    grid = job.grid
    with_image = [block for block in grid.blocks if grid.corners(block)]
    from_the_middle = sorted(with_image, key=lambda block: abs(with_image.index(block) - len(with_image) // 2))
    for block in from_the_middle[:TRIED_BLOCKS]:
        seconds = _time(job, workers, block, "with loading and compiling")
        if np.load(job.part(block), mmap_mode="r").size:
            seconds = _time(job, workers, block, "afterwards")
            break
        print(f"Block {block} is empty.")
    hours = seconds / len(grid.corners(block)) * grid.count_subvolumes() / 3600
    print(f"All {len(grid.blocks)} blocks would take about {hours:.2f} hours of one worker.", flush=True)
    shutil.rmtree(job.blocks_folder / "parts", ignore_errors=True)
    raise SystemExit(0)


def _time(job, workers, block, title):
    start = time.perf_counter()
    for _ in run_tasks(workers, {block: Task(predict_part, (job, block))}, title="One block"):
        seconds = time.perf_counter() - start
    print(f"Block {block}, {title}: {seconds:.1f} s.")
    return seconds
