"""The data of one experiment: loaded or opened, split before they are cropped, cropped, and with their facts."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from utils.data.checks import check_same_size, check_volumes_hold_crop, check_z_filter_size
from utils.data.data_folder import load_image_sets, open_image_sets
from utils.data.image_set import (
    ImageSet,
    crop_image_set,
    split_validation,
    split_validation_z,
    voxel_size_of,
    with_context,
)
from utils.data.survey import print_notes
from utils.images.lazy_images import CACHE_BYTES
from utils.images.normalisation import PERCENTILES, measure_intensity_range, readable_range, stretch_each


@dataclass(frozen=True, kw_only=True)
class NetworkInput:
    """What a trained network must know about its images to predict others; ``network.json`` holds it.

    Attributes
    ----------
    crop_shape : tuple of int
        ``(y, x, c)`` or ``(z, y, x, c)``.
    intensity_range : tuple of float, ZScore or None
        As stated, or as measured on the training images.
    normalisation, percentiles
        As `utils.images.normalisation`.
    dtype : str or None
        Dtype of the training images; None if it is not known.
    instance_targets : tuple of str
        The channels of a network that learns instances instead of classes.
    voxel_size_nm : float, tuple of float or None
        Size of a voxel ``(z, y, x)`` or pixel ``(y, x)`` in nanometres, as stated or as the files of the training
        images state it; None if it is not known.
    """

    crop_shape: tuple
    intensity_range: tuple | None = None
    normalisation: str = "dtype"
    percentiles: tuple = PERCENTILES
    dtype: str | None = None
    instance_targets: tuple = ()
    voxel_size_nm: object = None


@dataclass(frozen=True, kw_only=True)
class ExperimentData(NetworkInput):
    """Images or volumes, their crops, and all facts about them; crops are views of the images.

    Attributes
    ----------
    train, validation, test : ImageSet
        Complete images or volumes.
    train_crops, validation_crops, test_crops : ImageSet
        Their crops; ``train_crops`` is ``train`` if random crops are taken later.
    validation_weights : list of numpy.ndarray or None
        One for each validation crop if training slices complete crops that are deeper than the validation part: 0 in
        these slices, so that neither loss nor IoU sees them.
    overlap : float or tuple of float
        Minimum overlap of neighbouring crops, as a fraction, per axis.
    seed : int
        Seed of everything random in the experiment.
    n_classes : int
        1: foreground or not; more: number of classes, background included.
    image_dataset, mask_dataset : str or None
        Names of the arrays in hdf5 and zarr files with several.
    mask_ids : bool
        The masks hold ids of objects: every value above 0 is foreground.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    train_crops: ImageSet
    validation_crops: ImageSet
    test_crops: ImageSet
    validation_weights: list | None = None
    overlap: float | tuple = 0.0
    seed: int = 0
    n_classes: int = 1
    image_dataset: str | None = None
    mask_dataset: str | None = None
    mask_ids: bool = False


def load_images(
    data_dir,
    crop_shape,
    *,
    seed,
    overlap=0.0,
    validation_split=0.1,
    random_validation=True,
    random_crops=0,
    z_filter_size=0,
    n_classes=1,
    intensity_range=None,
    image_dataset=None,
    mask_dataset=None,
    mask_ids=False,
    normalisation="dtype",
    percentiles=PERCENTILES,
    voxel_size_nm=None,
):
    """Load the images of a data folder, split whole images into training and validation, and crop all parts.

    Parameters
    ----------
    data_dir : str or Path
        Holds ``train/x train/y test/x`` and, if there is ground truth, ``test/y``.
    crop_shape : tuple of int
        ``(y, x, c)``.
    validation_split : float
        Share of the training images kept for validation.
    random_validation : bool
        True chooses them at random, False takes the last ones.
    random_crops : int
        Above 0 leaves the training images whole, for crops drawn anew in every epoch.
    z_filter_size : int
        Slices in the median along z that follows. Above 0 the test images must be slices of one volume, of one size.
    intensity_range : tuple of float or ZScore, optional
        The stated range, as `utils.images.intensity`.
    seed, overlap, n_classes, image_dataset, mask_dataset, mask_ids, normalisation, percentiles, voxel_size_nm
        As `ExperimentData` and `NetworkInput`.

    Returns
    -------
    ExperimentData

    Raises
    ------
    ValueError
        If the files, their sizes or their grey values do not fit each other or these arguments.
    """
    check_z_filter_size(z_filter_size)
    readable = readable_range(normalisation, percentiles, intensity_range)
    known = {"n_classes": n_classes, "image_dataset": image_dataset, "mask_dataset": mask_dataset}
    known |= {"mask_ids": mask_ids}
    read = load_image_sets(data_dir, channels=crop_shape[-1], intensity_range=readable, **known)
    known_range = readable is not None or normalisation != "dtype"
    stated = intensity_range if normalisation == "dtype" else None
    print_notes(read, range_is_known=known_range, intensity_range=stated)
    train, test = (stretch_each(part, normalisation, percentiles=percentiles) for part in read)
    _check_slices(test, z_filter_size)
    train, validation = split_validation(train, validation_split, seed=seed, shuffle=random_validation)
    known |= {"crop_shape": crop_shape, "overlap": overlap, "seed": seed}
    known |= {"normalisation": normalisation, "percentiles": percentiles, "intensity_range": intensity_range}
    return _cropped((train, validation, test), whole=bool(random_crops), voxel_size_nm=voxel_size_nm, **known)


def load_volumes(
    data_dir,
    crop_shape,
    *,
    seed,
    overlap=0.0,
    validation_split=0.1,
    random_subvolumes=0,
    z_filter_size=0,
    n_classes=1,
    intensity_range=None,
    image_dataset=None,
    mask_dataset=None,
    mask_ids=False,
    test_grid=None,
    normalisation="dtype",
    percentiles=PERCENTILES,
    voxel_size_nm=None,
):
    """Load the volumes of a data folder, keep the last slices of each for validation, and crop all parts.

    If the validation part is not as deep as a subvolume, the training slices before it complete its subvolumes as
    context that does not count. A network that never saw flatter ones would predict them badly, and validation would
    say little.

    Parameters
    ----------
    data_dir : str or Path
        As `load_images`; each part holds slices or files of volumes.
    crop_shape : tuple of int
        ``(z, y, x, c)``.
    validation_split : float
        Share of the slices of each volume, the last ones, kept for validation.
    random_subvolumes : int
        As ``random_crops`` of `load_images`.
    test_grid : tuple, optional
        ``(crop_shape, overlap)`` of the test subvolumes if they differ.
    seed, overlap, z_filter_size, n_classes, intensity_range, normalisation, percentiles, voxel_size_nm
        As `load_images`.
    image_dataset, mask_dataset, mask_ids
        As `ExperimentData`.

    Returns
    -------
    ExperimentData
    """
    check_z_filter_size(z_filter_size)
    if random_subvolumes < 0:
        raise ValueError(f"RANDOM_SUBVOLUMES is {random_subvolumes}; wanted a number of each volume, or 0 for a grid.")
    readable = readable_range(normalisation, percentiles, intensity_range)
    known = {"n_classes": n_classes, "image_dataset": image_dataset, "mask_dataset": mask_dataset}
    known |= {"mask_ids": mask_ids}
    read = load_image_sets(data_dir, volumes=True, channels=crop_shape[-1], intensity_range=readable, **known)
    known_range = readable is not None or normalisation != "dtype"
    stated = intensity_range if normalisation == "dtype" else None
    print_notes(read, range_is_known=known_range, intensity_range=stated)
    volumes, test = (stretch_each(part, normalisation, percentiles=percentiles) for part in read)
    train, validation = split_validation_z(volumes, validation_split)
    check_volumes_hold_crop(train, crop_shape, what="what is left to train on")
    to_validate, weights = with_context(volumes, validation, depth=crop_shape[0])
    known |= {"crop_shape": crop_shape, "overlap": overlap, "seed": seed, "voxel_size_nm": voxel_size_nm}
    known |= {"normalisation": normalisation, "percentiles": percentiles, "intensity_range": intensity_range}
    crops = {"whole": bool(random_subvolumes), "to_validate": to_validate, "test_grid": test_grid}
    data = _cropped((train, validation, test), **crops, **known)
    return replace(data, validation_weights=weights and crop_image_set(replace(to_validate, y=weights), crop_shape).y)


def open_images(
    data_dir,
    crop_shape,
    *,
    seed,
    overlap=0.0,
    validation_split=0.1,
    random_validation=True,
    z_filter_size=0,
    n_classes=1,
    intensity_range=None,
    cache_bytes=CACHE_BYTES,
):
    """Open what `load_images` would load, leaving the images on disk.

    Headers are checked now, and so are the pixels of the first image and mask of each folder. Faults of other pixels
    raise the same error when they are read.

    Parameters
    ----------
    data_dir : str or Path
        As `load_images`; ``val/x val/y`` too, if validation images are not to be taken from ``train/``.
    validation_split : float
        Share of the training images kept for validation if there is no ``val/``.
    cache_bytes : int
        As `utils.data.data_folder.open_image_sets`.
    crop_shape, seed, overlap, random_validation, z_filter_size, n_classes, intensity_range
        As `load_images`.

    Returns
    -------
    ExperimentData
        Of `utils.images.lazy_images.LazyImage`; ``train_crops`` is ``train``, for random crops.
    """
    check_z_filter_size(z_filter_size)
    has_validation = (Path(data_dir) / "val").is_dir()
    parts = {"train": False} | ({"val": False} if has_validation else {}) | {"test": True}
    problems = []
    if not has_validation and not validation_split:
        problems.append(
            f"there is no folder {Path(data_dir) / 'val'} and VALIDATION_SPLIT is {validation_split}: add val/x and "
            "val/y, or keep a share of train/ with --set VALIDATION_SPLIT=0.1"
        )
    known = {"n_classes": n_classes, "intensity_range": intensity_range}
    stored = {"channels": crop_shape[-1], "cache_bytes": cache_bytes}
    train, *validation, test = open_image_sets(data_dir, parts, problems=problems, **stored, **known)
    _check_slices(test, z_filter_size)
    range_is_known = intensity_range is not None
    print_notes((train, *validation, test), range_is_known=range_is_known, intensity_range=intensity_range)
    if validation:
        (validation,) = validation
    else:
        train, validation = split_validation(train, validation_split, seed=seed, shuffle=random_validation)
    where = "in val/" if has_validation else "out of train/"
    print(
        f"Data on disk: {len(train)} images to train on, {len(validation)} {where} to validate with, {len(test)} test."
    )
    return _cropped((train, validation, test), whole=True, crop_shape=crop_shape, overlap=overlap, seed=seed, **known)


def read_samples(data, *, count=12):
    """Read what `utils.pictures.charts.draw_checks` draws: the first training image, and some training crops.

    Parameters
    ----------
    data : ExperimentData
        From `open_images`.
    count : int
        At most this many crops, spread evenly over as many training images.

    Returns
    -------
    ExperimentData
        The same with ``train`` and ``train_crops`` in memory.
    """
    crops = crop_image_set(data.train.subset(range(min(count, len(data.train)))), data.crop_shape)
    chosen = np.unique(np.linspace(0, len(crops) - 1, count).round().astype(int))
    return replace(data, train=_read(data.train.subset([0])), train_crops=_read(crops.subset(chosen)))


def _read(images):
    return replace(images, x=list(map(np.asarray, images.x)), y=list(map(np.asarray, images.y)))


def _check_slices(test, z_filter_size):
    if z_filter_size:
        check_same_size(test, why="the z-filter needs slices of one volume", remedy="Use --set Z_FILTER_SIZE=0.")


def _cropped(
    parts,
    *,
    whole,
    crop_shape,
    overlap,
    intensity_range,
    normalisation="dtype",
    percentiles=PERCENTILES,
    voxel_size_nm=None,
    to_validate=None,
    test_grid=None,
    **known,
):
    """Crop the three parts, training images unless they stay ``whole``, and measure their grey values."""
    train, validation, test = (part.with_voxel_size(voxel_size_nm) for part in parts)
    measured = {"percentiles": percentiles, "intensity_range": intensity_range, "others": validation.x + test.x}
    test_shape, test_overlap = test_grid or (crop_shape, overlap)
    return ExperimentData(
        train=train,
        validation=validation,
        test=test,
        train_crops=train if whole else crop_image_set(train, crop_shape, overlap=overlap),
        validation_crops=crop_image_set(to_validate or validation, crop_shape),
        test_crops=crop_image_set(test, test_shape, overlap=test_overlap),
        crop_shape=tuple(crop_shape),
        overlap=overlap,
        intensity_range=measure_intensity_range(train.x, normalisation, **measured),
        normalisation=normalisation,
        percentiles=tuple(percentiles),
        dtype=str(train.x[0].dtype),
        voxel_size_nm=voxel_size_of(train, volumes=len(crop_shape) == 4),
        **known,
    )
