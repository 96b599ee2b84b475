"""Reading a data folder: images and masks paired by name, mask values made classes, all problems said at once."""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from utils.data.image_set import ImageSet
from utils.errors import raise_problems
from utils.images.image_files import Source, VolumeSource, list_images, read_images
from utils.images.intensity import intensity_problem

# More different values than any mask has classes: enough to tell that a file is a picture and not a mask.
MANY_VALUES = 256


def load_train_and_test(data_dir, *, channels=1, n_classes=1, intensity_range=None, validation=False):
    """Read ``train/`` and ``test/`` of a data folder and list the problems of both at once.

    Images keep their stored dtype. Masks may hold any values, as many as there are classes: the smallest becomes
    class 0.

    Parameters
    ----------
    data_dir : str or Path
        Holds ``train/x train/y test/x`` and, where there is ground truth, ``test/y``.
    channels, n_classes, intensity_range
        As ``load_image_set``.
    validation : bool
        True reads ``val/x val/y`` too.

    Returns
    -------
    train, test : ImageSet
        Or ``train, val, test``.

    Raises
    ------
    ValueError
        With all problems found.
    """
    names = ("train", "val", "test") if validation else ("train", "test")
    parts = _read_parts(data_dir, names, channels=channels, intensity_range=intensity_range)
    return _with_classes(str(data_dir), parts, n_classes)


def load_train_and_test_volumes(
    data_dir, *, channels=1, n_classes=1, intensity_range=None, image_dataset=None, mask_dataset=None
):
    """Read the volumes of ``train/`` and ``test/`` and list the problems of both at once.

    A folder of slices (one image a file) is one volume, in the natural order of the names. Files that hold several
    slices (multi-page tif, hdf5, zarr) are a volume each.

    Parameters
    ----------
    data_dir, channels, n_classes, intensity_range
        As ``load_train_and_test``.
    image_dataset, mask_dataset : str, optional
        Names of the arrays in hdf5 and zarr files that hold several.

    Returns
    -------
    train, test : ImageSet
        Of volumes ``(z, y, x, c)``, masks ``(z, y, x, 1)`` and `VolumeSource`.

    Raises
    ------
    ValueError
        With all problems found.
    """
    settings = {"channels": channels, "intensity_range": intensity_range, "one_volume": True}
    datasets = {"image_dataset": image_dataset, "mask_dataset": mask_dataset}
    parts = _read_parts(data_dir, ("train", "test"), **settings, **datasets)
    for part in parts:
        part.problems += _slice_problems(part)
    return [_stacked(pages) for pages in _with_classes(str(data_dir), parts, n_classes)]


def load_image_set(
    folder,
    *,
    channels=1,
    n_classes=1,
    intensity_range=None,
    masks_optional=False,
    volumes=False,
    image_dataset=None,
    mask_dataset=None,
):
    """Read ``folder/x`` and ``folder/y``, pair them by name and list every problem at once.

    Parameters
    ----------
    folder : str or Path
        Holds ``x/`` (or ``x/x/``) and ``y/`` (or ``y/y/``).
    channels : int
        Channels that every image must have.
    n_classes : int
        Classes; 1 and 2 both mean background and foreground.
    intensity_range : tuple of float, optional
        Stated grey value range, checked against the dtype (see ``to_unit_range``).
    masks_optional : bool
        Whether a missing ``y/`` is allowed; then ``ImageSet.y`` is None.
    volumes : bool
        Read volumes instead of images.
    image_dataset, mask_dataset
        As ``load_train_and_test_volumes``.

    Returns
    -------
    ImageSet

    Raises
    ------
    ValueError
        If a folder is missing, there are no images, names do not pair, files are broken, sizes or channels differ from
        what they must be, or masks hold more values than there are classes. All problems are listed with their file
        names.
    """
    settings = {"channels": channels, "intensity_range": intensity_range, "masks_optional": masks_optional}
    datasets = {"image_dataset": image_dataset, "mask_dataset": mask_dataset}
    part = _read_part(Path(folder), one_volume=volumes, **settings, **datasets)
    part.problems += _slice_problems(part) if volumes else []
    images = _with_classes(str(folder), [part], n_classes)[0]
    return _stacked(images) if volumes else images


@dataclass
class _Part:
    """What one folder holds, before its mask values became classes."""

    name: str
    problems: list = field(default_factory=list)
    x: list = field(default_factory=list)
    y: list = field(default_factory=list)
    sources: list = field(default_factory=list)
    has_masks: bool = True


def _read_parts(data_dir, names, **settings):
    return [_read_part(Path(data_dir) / name, masks_optional=name == "test", **settings) for name in names]


def _read_part(
    folder,
    *,
    channels,
    intensity_range,
    masks_optional,
    one_volume=False,
    image_dataset=None,
    mask_dataset=None,
):
    part = _Part(folder.name, has_masks=not masks_optional or (folder / "y").is_dir())
    try:
        image_paths = list_images(folder / "x")
        mask_paths = list_images(folder / "y") if part.has_masks else []
    except FileNotFoundError as error:
        part.problems.append(str(error))
        return part
    part.problems += [f"{folder / 'x'} holds no images (png, tif, hdf5, zarr)"] * (not image_paths)
    part.problems += _output_name_problems(image_paths)
    pairs = [(path, None) for path in image_paths]
    if part.has_masks:
        pairs, unpaired = pair_by_name(image_paths, mask_paths)
        part.problems += unpaired
    for image_path, mask_path in pairs:
        try:
            images = read_images(image_path, keep_colour=channels == 3, dataset=image_dataset, one_volume=one_volume)
            masks = read_images(mask_path, dataset=mask_dataset, one_volume=one_volume) if mask_path else []
        except ValueError as error:
            part.problems.append(str(error))
            continue
        part.problems += _pair_problems(image_path, images, mask_path, masks, channels, intensity_range)
        if mask_path and len(images) != len(masks):
            continue
        part.x += images
        part.y += masks
        part.sources += [Source(image_path.name, page if len(images) > 1 else None) for page in range(len(images))]
    return part


def _volume_members(sources):
    """Group the numbers of pages by the volume they belong to."""
    if all(source.page is None for source in sources):  # a folder of slices
        return [list(range(len(sources)))] if sources else []
    groups = {}
    for number, source in enumerate(sources):
        groups.setdefault(source.file, []).append(number)
    return list(groups.values())


def _slice_problems(part):
    problems = []
    for members in _volume_members(part.sources):
        first = members[0]
        other = next((n for n in members if part.x[n].shape[:2] != part.x[first].shape[:2]), None)
        if other is not None:
            names = f"{part.sources[other]} is {_size(part.x[other])}, {part.sources[first]} {_size(part.x[first])}"
            problems.append(f"{names} (y x x): the slices of a volume must have one size")
    return problems


def _stacked(pages):
    """Make volumes of the slices of an image set."""
    images, masks, sources = [], [], []
    for members in _volume_members(pages.sources):
        slices = tuple(pages.sources[number] for number in members)
        if slices[0].page is None:
            name = slices[0].file if len(slices) == 1 else f"{slices[0].file} to {slices[-1].file}"
            sources.append(VolumeSource(name, slices))
        else:
            sources.append(VolumeSource(slices[0].file))
        images.append(np.stack([pages.x[number] for number in members]))
        masks.append(None if pages.y is None else np.stack([pages.y[number] for number in members]))
    return ImageSet(images, None if pages.y is None else masks, sources, pages.mask_values)


def _with_classes(where, parts, n_classes):
    """Turn the mask values of all parts into classes, by one rule, or raise what is wrong with any of them."""
    problems = [f"{part.name}/: {problem}" for part in parts for problem in part.problems]
    found = {
        f"{part.name}/: mask of {source}": tuple(np.unique(mask)[:MANY_VALUES].tolist())
        for part in parts
        for source, mask in zip(part.sources, part.y, strict=False)
    }
    values, value_problems = _class_values(found, max(n_classes, 2))
    raise_problems(where, problems + value_problems)
    return [
        ImageSet(part.x, [_to_classes(m, values) for m in part.y] if part.has_masks else None, part.sources, values)
        for part in parts
    ]


def pair_by_name(image_paths, mask_paths):
    """Pair images with masks by what their names do not share with the other names of their folder.

    ``testing-0007.png`` pairs with ``testing_groundtruth-0007.png``, ``a.png`` with ``a_mask.png``, ``7.tif`` with
    ``007.tif``.

    Parameters
    ----------
    image_paths, mask_paths : list of Path
        The files of both folders.

    Returns
    -------
    pairs : list of (Path, Path)
        In the order of the images.
    problems : list of str
        A clause for every file without a partner.
    """
    if {path.stem for path in image_paths} == {path.stem for path in mask_paths}:
        image_keys, mask_keys = ({path.stem: path for path in paths} for paths in (image_paths, mask_paths))
    else:
        image_keys, mask_keys = _distinct_parts(image_paths), _distinct_parts(mask_paths)
    problems = []
    if len(image_paths) != len(mask_paths):
        problems.append(f"{len(image_paths)} images but {len(mask_paths)} masks")
    problems += [f"no mask for {path.name}" for key, path in image_keys.items() if key not in mask_keys]
    problems += [f"no image for mask {path.name}" for key, path in mask_keys.items() if key not in image_keys]
    return [(path, mask_keys[key]) for key, path in image_keys.items() if key in mask_keys], problems


def _distinct_parts(paths):
    """Map each stem without its folder's common beginning and end (never cutting a number) to its path."""
    stems = [path.stem for path in paths]
    start = re.sub(r"\d+$", "", os.path.commonprefix(stems))
    end = re.sub(r"\d+$", "", os.path.commonprefix([stem[len(start) :][::-1] for stem in stems]))
    parts = [stem[len(start) : len(stem) - len(end)] for stem in stems]
    numbers = [int(part) if part.isdecimal() else part for part in parts]
    keys = numbers if len(set(numbers)) == len(numbers) else parts  # 1 and 01 are two names
    return dict(zip(keys, paths, strict=True))


def _output_name_problems(paths):
    counts = Counter(path.stem for path in paths)
    return [
        f"{count} images are called {stem} and differ only in their suffix, so their results would share a name"
        for stem, count in counts.items()
        if count > 1
    ]


def _pair_problems(image_path, images, mask_path, masks, channels, intensity_range):
    problems = []
    found = next((image.shape[-1] for image in images if image.shape[-1] != channels), channels)
    if found != channels:
        problems.append(
            f"{image_path.name} has {found} channel{'s' * (found > 1)}, the crop shape {channels} "
            f"(end CROP_SHAPE with {found})"
        )
    problem = next(filter(None, (intensity_problem(image, intensity_range) for image in images)), None)
    if problem:
        problems.append(f"{image_path.name}: {problem}")
    if mask_path is None:
        return problems
    if len(images) != len(masks):
        problems.append(f"{image_path.name} has {len(images)} pages, its mask {mask_path.name} {len(masks)}")
    pairs = list(zip(images, masks, strict=False))
    other = next((pair for pair in pairs if pair[0].shape[:2] != pair[1].shape[:2]), None)
    if other is not None:
        image, mask = map(_size, other)
        problems.append(f"{image_path.name} is {image}, its mask {mask_path.name} {mask} (y x x)")
    if any(mask.shape[-1] != 1 for mask in masks):
        problems.append(f"mask {mask_path.name} is in colour; wanted one grey value per class")
    return problems


def _size(image):
    return f"{image.shape[0]}x{image.shape[1]}"


def _class_values(found, n_values):
    """Decide which stored value is which class, from the values of each mask, and say which masks do not fit."""
    union = {value for values in found.values() for value in values}
    if union <= set(range(n_values)):  # classes already, even when some do not occur
        return tuple(range(n_values)), []
    if len(union) <= n_values:
        return tuple(sorted(union)), []
    # The masks to blame are those with values beyond the most common ones.
    counts = Counter(value for values in found.values() for value in values)
    expected = {value for value, _ in counts.most_common(n_values)}
    problems = []
    for name, values in found.items():
        if not set(values) <= expected:
            shown = " ".join(f"{value:g}" for value in values[:8]) + " ..." * (len(values) > 8)
            problems.append(f"{name} holds the values {shown}, expected {n_values} in all")
    return tuple(sorted(expected)), problems


def _to_classes(mask, values):
    if len(values) == 1:  # one value that is not 0: foreground everywhere
        return np.ones(mask.shape, np.uint8)
    return np.searchsorted(np.asarray(values), mask).astype(np.uint8)
