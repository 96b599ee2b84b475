"""The truth of a volume that is predicted block by block: which stored values are which classes, and the scores.

Scores have a stage for each truth: one that is added or replaced later is counted anew, and nothing else.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from block_wise.job import read_result, run_stage
from block_wise.volumes import VolumeAddress, middle_box, open_volume
from utils.images.datasets import split_address

# More different values than any truth has classes; what is above them counts as the last of them.
MANY_VALUES = 256


class ScoredTruth(NamedTuple):
    """A truth and how a mask agrees with it.

    Attributes
    ----------
    address : VolumeAddress
        Where it is.
    class_of : dict of int to int
        Class of each stored value.
    confusion : numpy.ndarray
        ``(classes, classes)``, int64, as `utils.metrics.pixels.confusion_matrix`.
    """

    address: VolumeAddress
    class_of: dict
    confusion: np.ndarray

    def read(self, box):
        """Return the classes in a box, ``(z, y, x, 1)``, uint8."""
        stored, values = open_volume(self.address).read(box), sorted(self.class_of)
        places = np.searchsorted(values, stored).clip(max=len(values) - 1)
        return np.array([self.class_of[value] for value in values], np.uint8)[places]


def check_truth(job, truth):
    """Check, before anything is predicted, what can be told of a truth without reading it as a whole.

    Parameters
    ----------
    job : BlockJob
        What is to be done.
    truth : VolumeAddress
        What its mask will be compared with.

    Raises
    ------
    ValueError
        If it cannot be opened, its size is not that of the volume, it has colours, or its middle slice holds other
        values than a truth does.
    """
    try:
        volume = open_volume(truth)
    except ValueError as error:
        raise ValueError(f"the truth: {error}".replace("IMAGE_DATASET", "MASK_DATASET")) from error
    if volume.shape[:3] != job.grid.shape:
        raise ValueError(f"the truth {volume.name} is {volume.shape[:3]} (z, y, x), but the volume {job.grid.shape}.")
    if volume.shape[-1] != 1:
        raise ValueError(f"the truth {volume.name} is in colour; give one grey value per class.")
    values, _ = _stored_values(volume, middle_box(volume.shape))
    if len(values) > max(2, job.classes):
        class_of_values(values, job.classes, volume.name)


def score_blocks(job, workers, mask, truth):
    """Count how a mask agrees with the truth.

    Parameters
    ----------
    job : BlockJob
        What is done.
    workers : object
        From `block_wise.runner.block_workers`.
    mask : Path
        From `block_wise.post_processing.mask_blocks`.
    truth : VolumeAddress
        After `check_truth`.

    Returns
    -------
    ScoredTruth

    Raises
    ------
    ValueError
        If its stored values do not tell the classes, see `class_of_values`.
    """
    stage = f"scores_{_signature(truth)}"
    run_stage(job, workers, stage, _count_block, Path(mask).stem, truth, stage, title="Scores")
    markers, n_classes, counts = job.markers(stage), max(2, job.classes), {}
    for block in job.grid.blocks:
        content = markers.read(block)
        for value, row in zip(content["values"], content["counts"], strict=True):
            counts[value] = counts.get(value, 0) + np.array(row, np.int64)
    class_of = class_of_values(counts, job.classes, open_volume(truth).name)
    confusion = np.zeros((n_classes, n_classes), np.int64)
    for value, row in counts.items():
        confusion[class_of[value]] += row
    return ScoredTruth(truth, class_of, confusion)


def class_of_values(values, classes, name):
    """Decide which stored value of a truth is which class.

    Parameters
    ----------
    values : iterable of int
        All that occur.
    classes : int
        Channels of the network; 1 and 2 both mean background and foreground.
    name : str
        Of the truth, for the error.

    Returns
    -------
    dict of int to int
        With one foreground class, what is not 0 is foreground (also numbers of instances); where nothing is 0, the
        smaller of two values is background. With more, classes 0, 1, ... as they are, or as many other values in their
        order.

    Raises
    ------
    ValueError
        If there are too many values, or too few to tell which classes they are.

    Examples
    --------
    >>> class_of_values([0, 127, 255], 3, "truth.zarr"), class_of_values([1, 2], 1, "truth.zarr")
    ({0: 0, 127: 1, 255: 2}, {1: 0, 2: 1})
    """
    values, wanted = sorted(values), max(2, classes)
    if wanted == 2 and (values[0] == 0 or len(values) == 1):
        return {value: int(value != 0) for value in values}
    if set(values) <= set(range(wanted)):
        return {value: int(value) for value in values}
    if len(values) == wanted:
        return {value: number for number, value in enumerate(values)}
    shown = " ".join(f"{value:g}" for value in values[:8]) + " ..." * (len(values) > 8)
    raise ValueError(
        f"the truth {name} holds the values {shown}, which are not those of {wanted} classes. Write 0 to {wanted - 1} "
        "and start the same command again; all else that is done is kept."
    )


def _stored_values(volume, box):
    """Return the values in a box of the truth, at most ``MANY_VALUES``, and the number of that of each voxel."""
    stored = volume.read(box)
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise ValueError(f"the truth {volume.name} holds NaN or infinite values; give one whole number per class.")
    values, inverse = np.unique(stored, return_inverse=True)
    return values[:MANY_VALUES].tolist(), np.minimum(inverse.ravel(), MANY_VALUES - 1)


def _count_block(job, block, mask, truth, stage):
    box, n_classes = job.grid.box(block), max(2, job.classes)
    values, numbers = _stored_values(open_volume(truth), box)
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
