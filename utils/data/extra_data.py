"""Further data sets to train on, added to the crops of the main one."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.data.checks import check_exclusive
from utils.data.data_folder import load_image_set
from utils.data.discarding import discard_crops
from utils.data.image_set import crop_image_set
from utils.errors import did_you_mean, raise_problems
from utils.images.intensity import black_and_white, dtype_range, intensity_problem, to_unit_range
from utils.images.normalisation import ANY_GREY_VALUES, stretch_each


class ExtraSet(NamedTuple):
    """One more data set, and what of it is used for training.

    Attributes
    ----------
    folder : str or Path
        Holds ``x/`` and ``y/``, or is a data folder whose ``train/`` is read.
    min_foreground : float
        Crops with a smaller share of foreground are discarded, as `utils.data.discarding.discard_crops`.
    n_crops : int
        Number of crops drawn at random from the others; 0 or None takes all.
    overlap : float or tuple of float
        Minimum overlap of neighbouring crops, as a fraction of the crop, per axis.
    intensity_range : tuple of float or None
        ``(low, high)``: its black and white if they are not those of the main set or of its dtype.
    """

    folder: str
    min_foreground: float = 0.0
    n_crops: int = 0
    overlap: float = 0.0
    intensity_range: tuple | None = None


def join_extra_data(data, extra_sets, *, random_crops=0, cache_dir=None, weigh=None):
    """Add crops of further data sets to the training crops of an experiment.

    Extra images or volumes may have any size (smaller ones than a crop are mirrored) and dtype. With another dtype than
    the main set, or an ``intensity_range`` of their own, they are converted to the black and white of the main set.
    They share ranges that were measured on its training images; the normalisation ``percentile_per_image`` stretches
    each by its own. Mask values become classes set by set. Names begin with that of the folder. Which crops of a set
    are drawn depends on the seed and on its number in the list, not on the other sets.

    Parameters
    ----------
    data : ExperimentData
        The main set.
    extra_sets : sequence of dict, str or Path
        Folders, or dictionaries with the attributes of ``ExtraSet``:
        ``({"folder": "data/other", "min_foreground": 0.05, "n_crops": 200},)``.
    random_crops : int
        Above 0 leaves the extra images or volumes whole too.
    cache_dir : str or Path, optional
        As `utils.data.discarding.discard_crops`.
    weigh : callable, optional
        Makes weights of a list of masks of whole images; needed if ``train_crops`` have weights.

    Returns
    -------
    ExperimentData
        ``train_crops`` are those of the main set and then those of the others, all of one dtype.

    Raises
    ------
    ValueError
        If an option is unknown, a folder cannot be read (with the problems of all sets), a set has too few crops, or
        its grey values cannot be compared with those of the main set.
    """
    extra_sets = _checked(extra_sets, random_crops)
    train, crop_shape = data.train_crops, data.crop_shape
    options = {"channels": crop_shape[-1], "n_classes": data.n_classes, "intensity_range": ANY_GREY_VALUES}
    options |= {"volumes": len(crop_shape) == 4}
    options |= {"image_dataset": data.image_dataset, "mask_dataset": data.mask_dataset, "mask_ids": data.mask_ids}
    loaded, problems, measured = [], [], data.normalisation in ("percentile", "mean_std")
    stated = None if measured else data.intensity_range
    for extra in extra_sets:
        try:
            images = load_image_set(_images_of(extra), **options)
            images = stretch_each(images, data.normalisation, percentiles=data.percentiles)
            loaded.append(_with_grey_values_of(train.x[0].dtype, stated, images, extra, measured))
        except ValueError as error:
            problems.append(str(error).removesuffix("."))
    raise_problems("the extra data", problems)
    for number, (extra, name, images) in enumerate(zip(extra_sets, _names(extra_sets), loaded, strict=True)):
        crops = images.renamed(name)
        if weigh is not None:
            crops = replace(crops, weights=weigh(crops.y))
        if not random_crops:
            crops = crop_image_set(crops, crop_shape, overlap=extra.overlap)
            crops = discard_crops(
                crops, min_foreground=extra.min_foreground, cache_dir=cache_dir, what=f"crops of {name}"
            )
            crops = _drawn(crops, extra.n_crops or 0, name, np.random.default_rng((data.seed, number)))
        print(
            f"Extra data {name}: {len(crops)} {'images' if random_crops else 'crops'} beside {len(train)}.", flush=True
        )
        train = train.joined_with(crops)
    return replace(data, train_crops=train)


def _checked(extra_sets, random_crops):
    """Turn each entry into an ``ExtraSet``, or raise all mistakes."""
    entries = [extra_sets] if isinstance(extra_sets, str | Path | dict) else list(extra_sets)
    entries = [entry if isinstance(entry, dict) else {"folder": entry} for entry in entries]
    problems = []
    for number, entry in enumerate(entries, start=1):
        unknown = [key for key in entry if key not in ExtraSet._fields]
        problems += [f"set {number} has no option {key!r}{did_you_mean(key, ExtraSet._fields)}" for key in unknown]
        problems += [] if "folder" in entry else [f"set {number} names no folder"]
        count = entry.get("n_crops") or 0
        if type(count) is not int or count < 0:
            problems.append(f"set {number} has n_crops={count!r}; wanted a whole number, 0 for all crops")
    raise_problems("the extra data", problems)
    why, remedy = "random crops are drawn anew from whole images in every epoch", "leave out one of them"
    names = ("n_crops", "min_foreground")
    check_exclusive([({"random_crops": random_crops, n: e.get(n)}, why, remedy) for e in entries for n in names])
    return [ExtraSet(**entry) for entry in entries]


def _images_of(extra):
    folder = Path(extra.folder)
    return folder / "train" if (folder / "train").is_dir() else folder


def _names(extra_sets):
    """Name each set after its folder; folders of one name are numbered."""
    names = []
    for extra in extra_sets:
        folder = Path(extra.folder).resolve().name
        numbered = (f"{folder}_{number}" for number in itertools.count(2))
        names.append(next(name for name in itertools.chain([folder], numbered) if name not in names))
    return names


def _with_grey_values_of(dtype, stated, images, extra, measured):
    """Convert images so that their black and white are those of the main set, in its dtype."""
    converted = []
    for image, source in zip(images.x, images.names, strict=True):
        own = extra.intensity_range or (stated if image.dtype == dtype else None)
        as_main = image.dtype == dtype and own == stated
        problem = None if as_main and measured else intensity_problem(image, own)
        if problem is None and not as_main and dtype_range(dtype) is None and stated is None:
            problem = f"is to get the grey values of the main set, but {dtype} has no black and white; "
            problem += "convert both to one dtype, or give INTENSITY_RANGE=(low, high)"
        if problem:
            raise ValueError(f"{extra.folder}: {source} {problem}.")
        converted.append(image if as_main else _converted(image, own, dtype, stated))
    return replace(images, x=converted)


def _converted(image, own, dtype, stated):
    low, high = black_and_white(dtype, stated)
    values = to_unit_range(image, own) * np.float32(high - low) + np.float32(low)
    if dtype.kind == "f":
        return values.astype(dtype)
    return np.rint(np.clip(values, np.iinfo(dtype).min, np.iinfo(dtype).max)).astype(dtype)


def _drawn(crops, count, name, rng):
    """Draw crops at random, each at most once; copied, so that the images they are cut from need not be kept."""
    if not count:
        return crops
    if count > len(crops):
        raise ValueError(
            f"{name}: n_crops is {count}, but there are {len(crops)} crops. Use fewer, more overlap, or 0 for all."
        )
    drawn = crops.subset(np.sort(rng.choice(len(crops), count, replace=False)).tolist())
    return replace(drawn, x=[crop.copy() for crop in drawn.x], y=[mask.copy() for mask in drawn.y])
