"""The data of one experiment: read, split before anything is cropped, and cropped."""

from dataclasses import replace
from typing import NamedTuple

from utils.data.checks import check_same_size, check_volumes_hold_crop, check_z_filter_size
from utils.data.data_folder import load_image_sets
from utils.data.image_set import ImageSet, crop_image_set, split_validation, split_validation_z, with_context
from utils.images.normalisation import PERCENTILES, measure_intensity_range, readable_range, stretch_each


class ExperimentData(NamedTuple):
    """Images or volumes and their crops; crops are views of the images.

    Attributes
    ----------
    train, validation, test : ImageSet
        Complete images or volumes.
    train_crops, validation_crops, test_crops : ImageSet
        Their crops; ``train_crops`` is ``train`` where crops are taken at random later.
    intensity_range : tuple of float, ZScore or None
        As stated, or as measured on ``train``; for every later ``intensity_range`` argument.
    validation_weights : list of numpy.ndarray or None
        One for each validation crop where training slices complete crops that are deeper than the validation part: 0
        in these, so that neither loss nor IoU sees them.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    train_crops: ImageSet
    validation_crops: ImageSet
    test_crops: ImageSet
    intensity_range: tuple | None = None
    validation_weights: list | None = None


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
    normalisation="dtype",
    percentiles=PERCENTILES,
):
    """Load the images of a data folder, split whole images into training and validation, and crop all parts.

    Parameters
    ----------
    data_dir : str or Path
        Holds ``train/x train/y test/x`` and, if there is ground truth, ``test/y``.
    crop_shape : tuple of int
        ``(y, x, c)``.
    seed : int
        Seed of the choice of validation images.
    overlap : float or tuple of float
        Minimum overlap of neighbouring training and test crops, as a fraction, per axis.
    validation_split : float
        Share of the training images kept for validation.
    random_validation : bool
        True chooses them at random, False takes the last ones.
    random_crops : int
        Above 0 leaves the training images whole, for crops drawn anew in every epoch.
    z_filter_size : int
        Above 0 the test images are to be slices of one volume, and images of different sizes are refused.
    n_classes : int
        1: foreground or not; more: number of classes, background included.
    intensity_range : tuple of float or ZScore, optional
        As `utils.images.intensity.to_unit_range`.
    normalisation : str
        One of `NORMALISATIONS`: by dtype or stated range, or measured on the training images.
    percentiles : tuple of float
        ``(low, high)`` of the normalisations by percentiles, 0 .. 100.

    Returns
    -------
    ExperimentData

    Raises
    ------
    ValueError
        As `utils.data.data_folder.load_image_sets`, `utils.data.image_set.split_validation`,
        `utils.data.checks.check_z_filter_size`, `utils.data.checks.check_same_size`, and `readable_range` and
        `measure_intensity_range` of `utils.images.normalisation`.
    """
    check_z_filter_size(z_filter_size)
    stored = {"channels": crop_shape[-1], "n_classes": n_classes}
    stored["intensity_range"] = readable_range(normalisation, percentiles, intensity_range)
    train, test = (
        stretch_each(part, normalisation, percentiles=percentiles) for part in load_image_sets(data_dir, **stored)
    )
    if z_filter_size:
        check_same_size(test, why="the z-filter needs slices of one volume", remedy="Use --set Z_FILTER_SIZE=0.")
    train, validation = split_validation(train, validation_split, seed=seed, shuffle=random_validation)
    measured = {"percentiles": percentiles, "intensity_range": intensity_range, "others": validation.x + test.x}
    return ExperimentData(
        train,
        validation,
        test,
        train if random_crops else crop_image_set(train, crop_shape, overlap=overlap),
        crop_image_set(validation, crop_shape),
        crop_image_set(test, crop_shape, overlap=overlap),
        measure_intensity_range(train.x, normalisation, **measured),
    )


def load_volumes(
    data_dir,
    crop_shape,
    *,
    overlap=0.0,
    validation_split=0.1,
    random_subvolumes=0,
    z_filter_size=0,
    n_classes=1,
    intensity_range=None,
    image_dataset=None,
    mask_dataset=None,
    test_grid=None,
    normalisation="dtype",
    percentiles=PERCENTILES,
):
    """Load the volumes of a data folder, keep the last slices of each for validation, and cut all parts up.

    Where the validation part is not as deep as a subvolume, the training slices before it complete its subvolumes as
    context that does not count: a network that never saw flatter ones predicts them badly, and validation would say
    little about it.

    Parameters
    ----------
    data_dir : str or Path
        Holds ``train/x train/y test/x`` and, if there is ground truth, ``test/y``: slices or files of volumes.
    crop_shape : tuple of int
        ``(z, y, x, c)``.
    overlap : float or tuple of float
        Minimum overlap of neighbouring training and test subvolumes, as a fraction, per axis.
    validation_split : float
        Share of the slices of each volume, the last ones, kept for validation.
    random_subvolumes : int
        Above 0 leaves the training volumes whole, for subvolumes drawn anew in every epoch.
    z_filter_size : int
        Of the median along z that will be used; checked only.
    n_classes, intensity_range
        As `load_images`.
    image_dataset, mask_dataset : str, optional
        Names of the arrays in hdf5 and zarr files that hold several.
    test_grid : tuple, optional
        ``(crop_shape, overlap)`` of the test subvolumes, if they are others.
    normalisation, percentiles
        As `load_images`.

    Returns
    -------
    ExperimentData

    Raises
    ------
    ValueError
        If ``random_subvolumes`` is negative, or as `utils.data.data_folder.load_image_sets`,
        `utils.data.image_set.split_validation_z`, `utils.data.checks.check_z_filter_size`,
        `utils.data.checks.check_volumes_hold_crop`, and `readable_range` and `measure_intensity_range` of
        `utils.images.normalisation`.
    """
    check_z_filter_size(z_filter_size)
    if random_subvolumes < 0:
        raise ValueError(f"RANDOM_SUBVOLUMES is {random_subvolumes}; wanted a number of each volume, or 0 for a grid.")
    stored = {"channels": crop_shape[-1], "n_classes": n_classes}
    stored |= {"image_dataset": image_dataset, "mask_dataset": mask_dataset}
    stored["intensity_range"] = readable_range(normalisation, percentiles, intensity_range)
    train, test = (
        stretch_each(part, normalisation, percentiles=percentiles)
        for part in load_image_sets(data_dir, volumes=True, **stored)
    )
    volumes = train
    train, validation = split_validation_z(volumes, validation_split)
    check_volumes_hold_crop(train, crop_shape, what="what is left to train on")
    to_validate, weights = with_context(volumes, validation, depth=crop_shape[0])
    validation_weights = weights and crop_image_set(replace(to_validate, y=weights), crop_shape).y
    measured = {"percentiles": percentiles, "intensity_range": intensity_range, "others": validation.x + test.x}
    test_shape, test_overlap = test_grid or (crop_shape, overlap)
    return ExperimentData(
        train,
        validation,
        test,
        train if random_subvolumes else crop_image_set(train, crop_shape, overlap=overlap),
        crop_image_set(to_validate, crop_shape),
        crop_image_set(test, test_shape, overlap=test_overlap),
        measure_intensity_range(train.x, normalisation, **measured),
        validation_weights,
    )
