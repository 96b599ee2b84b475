"""The data of an experiment that is larger than memory: opened, split and cropped, and read when it is needed."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from utils.data.checks import check_same_size, check_z_filter_size
from utils.data.data_folder import open_image_sets
from utils.data.experiment_data import ExperimentData
from utils.data.image_set import crop_image_set, split_validation
from utils.images.lazy_images import CACHE_BYTES


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
    """Open what `utils.data.experiment_data.load_images` would load, leaving the images on disk.

    Names, sizes and headers of all files are checked now, as well as the pixels of the first image and mask of each
    folder. What only pixels tell is an error of the same kind when they are read.

    Parameters
    ----------
    data_dir : str or Path
        Holds ``train/x train/y test/x`` and, if there are any, ``val/x val/y`` and ``test/y``, also doubled (``x/x``).
    crop_shape : tuple of int
        ``(y, x, c)``.
    seed : int
        Seed of the choice of validation images.
    overlap : float or tuple of float
        Minimum overlap of neighbouring test crops, as a fraction, per axis.
    validation_split : float
        Share of the training images kept for validation where there is no ``val/``.
    random_validation : bool
        True chooses them at random, False takes the last ones.
    z_filter_size : int
        Above 0 the test images are to be slices of one volume, and images of different sizes are refused.
    n_classes : int
        1: foreground or not; more: number of classes, background included.
    intensity_range : tuple of float, optional
        As `utils.images.intensity.to_unit_range`.
    cache_bytes : int
        As `utils.data.data_folder.open_image_sets`.

    Returns
    -------
    ExperimentData
        Of `utils.images.lazy_images.LazyImage` and `LazyImage`; ``train_crops`` is ``train``, for random crops.

    Raises
    ------
    ValueError
        If there is neither ``val/`` nor a validation split, or as `utils.data.data_folder.open_image_sets`,
        `utils.data.image_set.split_validation` and `utils.data.checks.check_same_size`.
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
    stored = {"channels": crop_shape[-1], "n_classes": n_classes, "intensity_range": intensity_range}
    train, *validation, test = open_image_sets(data_dir, parts, problems=problems, cache_bytes=cache_bytes, **stored)
    if z_filter_size:
        check_same_size(test, why="the z-filter needs slices of one volume", remedy="Use --set Z_FILTER_SIZE=0.")
    if validation:
        (validation,) = validation
    else:
        train, validation = split_validation(train, validation_split, seed=seed, shuffle=random_validation)
    where = "in val/" if has_validation else "out of train/"
    print(
        f"Data on disk: {len(train)} images to train on, {len(validation)} {where} to validate with, {len(test)} test."
    )
    return ExperimentData(
        train,
        validation,
        test,
        train,
        crop_image_set(validation, crop_shape),
        crop_image_set(test, crop_shape, overlap=overlap),
        intensity_range,
    )


def read_samples(data, crop_shape, *, count=12):
    """Read what `utils.pictures.charts.draw_checks` draws: the first training image, and some training crops.

    Parameters
    ----------
    data : ExperimentData
        From `open_images`.
    crop_shape : tuple of int
        ``(y, x, c)``.
    count : int
        Crops at most, evenly out of the first so many training images.

    Returns
    -------
    ExperimentData
        The same with ``train`` and ``train_crops`` in memory.

    Examples
    --------
    >>> import tempfile
    >>> from data_sets.synthetic_em import write_demo_data
    >>> folder = write_demo_data(Path(tempfile.mkdtemp()) / "toy", n_train=4, n_test=1, image_shape=(64, 96))
    >>> data = open_images(folder, (32, 32, 1), seed=0)
    Data on disk: 3 images to train on, 1 out of train/ to validate with, 1 test.
    >>> len(read_samples(data, (32, 32, 1), count=5).train_crops)
    5
    """
    crops = crop_image_set(data.train.subset(range(min(count, len(data.train)))), crop_shape)
    chosen = np.unique(np.linspace(0, len(crops) - 1, count).round().astype(int))
    return data._replace(train=_read(data.train.subset([0])), train_crops=_read(crops.subset(chosen)))


def _read(images):
    return replace(images, x=list(map(np.asarray, images.x)), y=list(map(np.asarray, images.y)))
