"""Checks of a block-wise run before its first block: mistakes that would otherwise end it hours later."""

from block_wise.truth import check_truth
from block_wise.volumes import middle_box, open_volume, read_volume
from utils.data.checks import check_z_filter_size
from utils.errors import raise_problems
from utils.images.image_files import ImageName
from utils.images.intensity import intensity_problem
from utils.prediction.new_images import dtype_problem, grey_value_note
from utils.prediction.rescaling import voxel_size_note


def check_stages(job, *, z_filter_size=0, threshold=0.5, instances=False, min_object_size=0, truth=None, ids=False):
    """Check the volume, its truth, and the variables of all stages; nothing is written.

    Parameters
    ----------
    job : BlockJob
        The job.
    z_filter_size, min_object_size : int
        As `z_filter_blocks` and `label_blocks` will get them.
    threshold : float
        As `mask_blocks`.
    instances : bool
        Whether there will be labels.
    truth, ids
        As `block_wise.truth.check_truth`; None without truth.

    Raises
    ------
    ValueError
        With all variables that are out of range; or if the grey values in the middle of the volume are not those that
        the network was trained with; or as `check_truth`.
    """
    check_z_filter_size(z_filter_size)
    problems = []
    if not 0 <= threshold <= 1:
        problems.append(f"THRESHOLD is {threshold}; a probability from 0 to 1 is needed, such as 0.5")
    if min_object_size < 0:
        problems.append(f"MIN_OBJECT_SIZE is {min_object_size}; wanted a number of voxels, 0 to keep all objects")
    if instances and job.classes > 2:
        problems.append(f"instances need one foreground class, but the network has {job.classes}; set INSTANCES=False")
    if job.network.batch_size < 1:
        problems.append(
            f"BATCH_SIZE is {job.network.batch_size}; wanted a number of subvolumes, or 0 for that of the training"
        )
    raise_problems("the variables", problems)
    _check_grey_values(job)
    if truth is not None:
        check_truth(job, truth, ids=ids)


def _check_grey_values(job):
    volume, trained = open_volume(job.volume), job.network.data
    middle = read_volume(job.volume, middle_box(volume.shape))
    problem = trained and dtype_problem(middle, trained)
    if problem:
        raise ValueError(f"{job.volume.name} {problem}.")
    problem = intensity_problem(middle, job.intensity_range)
    if problem:
        raise ValueError(f"{job.volume.name}, in its middle slice, {problem}.")
    note = trained and grey_value_note([middle], [f"the middle slice of {job.volume.name}"], trained)
    if note:
        print(f"Note: {note}")


def note_voxel_size(job):
    """Print the voxel size of the volume, and a note if it is not that of the training.

    Parameters
    ----------
    job : BlockJob
        The job.
    """
    print(f"Voxel size: {job.scale}." if job.voxel_size_nm else "The voxel size is not known; VOXEL_SIZE_NM states it.")
    name = ImageName(job.volume.name, scale=job.scale)
    remedy = "templates/predict_template.py resamples volumes that fit into memory (RESCALE)."
    note = voxel_size_note([name], job.network.data.voxel_size_nm, volumes=True, remedy=remedy)
    if note:
        print(f"Note: {note}")
