"""The truth of a volume that is predicted block by block: which stored values are which classes, and the scores.

Each truth has a stage of its own for its scores: a new or changed truth is counted anew, and nothing else.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from block_wise.job import read_result, run_stage
from block_wise.volumes import VolumeAddress, middle_box, open_volume, read_volume
from utils.data.mask_classes import MANY_VALUES, class_values, to_classes
from utils.errors import raise_problems
from utils.images.image_files import split_address


class ScoredTruth(NamedTuple):
    """A truth and its agreement with a mask.

    Attributes
    ----------
    address : VolumeAddress
        Where it is.
    mask_values : tuple
        The stored values of the classes 0, 1, ..., as `utils.data.mask_classes.class_values`.
    confusion : numpy.ndarray
        ``(classes, classes)``, int64, as `utils.metrics.pixels.confusion_matrix`.
    """

    address: VolumeAddress
    mask_values: tuple
    confusion: np.ndarray

    def read(self, box):
        """Return the classes in a box, ``(z, y, x, 1)``, uint8."""
        return to_classes(_read_grey(self.address, box), self.mask_values, self.address.name)


def check_truth(job, truth, *, ids=False):
    """Check a truth by its header and its middle slice, before anything is predicted.

    Parameters
    ----------
    job : BlockJob
        The job.
    truth : VolumeAddress
        What its mask will be compared with.
    ids : bool
        True: every value but 0 is foreground, such as the ids of objects.

    Raises
    ------
    ValueError
        If it cannot be opened, its size is not that of the volume, it is in colour, or its middle slice holds values
        that are no classes.
    """
    try:
        volume = open_volume(truth)
    except ValueError as error:
        raise ValueError(f"the truth: {error}") from error
    if volume.shape[:3] != job.grid.shape:
        raise ValueError(f"the truth {truth.name} is {volume.shape[:3]} (z, y, x), but the volume {job.grid.shape}.")
    values, _ = _stored_values(truth, middle_box(volume.shape))
    _mask_values(values, job.classes, truth, ids)


def score_blocks(job, workers, mask, truth, *, ids=False):
    """Count how a mask agrees with the truth.

    Parameters
    ----------
    job, workers
        As `block_wise.prediction.predict_blocks`.
    mask : Path
        From `block_wise.post_processing.mask_blocks`.
    truth, ids
        As `check_truth`, after it.

    Returns
    -------
    ScoredTruth

    Raises
    ------
    ValueError
        If its stored values do not fit the classes.
    """
    stage = f"scores_{_signature(truth)}"
    run_stage(job, workers, stage, _count_block, Path(mask).stem, truth, stage, title="Scores")
    markers, n_classes, counts = job.markers(stage), max(2, job.classes), {}
    for block in job.grid.blocks:
        content = markers.read(block)
        for value, row in zip(content["values"], content["counts"], strict=True):
            counts[value] = counts.get(value, 0) + np.array(row, np.int64)
    values = _mask_values(sorted(counts), job.classes, truth, ids)
    confusion = np.zeros((n_classes, n_classes), np.int64)
    for value, row in counts.items():
        confusion[to_classes(np.array([value]), values, truth.name)[0]] += row
    return ScoredTruth(truth, values, confusion)


def _mask_values(values, n_classes, truth, ids):
    """Return the stored values of the classes 0, 1, ..., as in masks of a data folder, or raise what is wrong."""
    found, problems = class_values({"test": {truth.name: values}}, n_classes, ids=ids)
    remedy = "the same command with another --set keeps all that is done"
    raise_problems("the truth", [f"{problem} ({remedy})" for problem in problems])
    return found


def _read_grey(truth, box):
    """Read a box of the truth, ``(z, y, x, 1)``; three equal channels count as one, others are refused."""
    return read_volume(truth._replace(channels=1, as_labels=True), box)


def _stored_values(truth, box):
    """Return the values in a box of the truth, at most ``MANY_VALUES``, and for each voxel the number of its value."""
    stored = _read_grey(truth, box)
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise ValueError(f"the truth {truth.name} holds NaN or infinite values; give one whole number per class.")
    values, inverse = np.unique(stored, return_inverse=True)
    return values[:MANY_VALUES].tolist(), np.minimum(inverse.ravel(), MANY_VALUES - 1)


def _count_block(job, block, mask, truth, stage):
    box, n_classes = job.grid.box(block), max(2, job.classes)
    values, numbers = _stored_values(truth, box)
    predicted = read_result(job, mask, box).ravel()
    counts = np.bincount(numbers * n_classes + predicted, minlength=len(values) * n_classes)
    job.markers(stage).mark(block, {"values": values, "counts": counts.reshape(-1, n_classes).tolist()})


def _signature(truth):
    """Return a name for a truth that changes when a file of it does."""
    path, dataset = split_address(truth.path, truth.dataset)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256(repr((str(path), dataset)).encode())
    for file in files:
        facts = file.stat()
        digest.update(f"{file}:{facts.st_size}:{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]
