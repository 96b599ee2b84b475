"""Images with their masks: read from a data folder, paired by name, checked all at once, split and cropped together."""

import math
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.crops import crop_grid, crop_images
from utils.errors import raise_problems
from utils.image_files import Source, list_images, read_images
from utils.intensity import intensity_problem

# More different values than any mask has classes: enough to tell that a file is a picture and not a mask.
MANY_VALUES = 256


@dataclass(frozen=True)
class ImageSet:
    """Images, masks and where they came from, in one order.

    Attributes
    ----------
    x : list of numpy.ndarray
        Images ``(y, x, c)`` in the dtype they were stored in; sizes may differ.
    y : list of numpy.ndarray or None
        Masks ``(y, x, 1)``, uint8, 0 .. classes - 1; None without ground truth.
    sources : list of Source
        File name and page of each image.
    mask_values : tuple of int or float
        The stored values that became the classes 0, 1, ...
    """

    x: list
    y: list | None
    sources: list
    mask_values: tuple

    def __len__(self):
        return len(self.x)

    def subset(self, indices):
        """Return the images with the given indices.

        Parameters
        ----------
        indices : iterable of int
            Which images.

        Returns
        -------
        ImageSet
        """
        indices = list(indices)
        masks = None if self.y is None else [self.y[i] for i in indices]
        return ImageSet([self.x[i] for i in indices], masks, [self.sources[i] for i in indices], self.mask_values)


def load_image_set(folder, *, channels=1, n_classes=1, intensity_range=None, masks_optional=False, mask_values=()):
    """Read ``folder/x`` and ``folder/y``, pair them by name and list every problem at once.

    Images keep their stored dtype. Masks may hold any values, as many as there are classes: the smallest becomes
    class 0.

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
    mask_values : tuple
        Values known from another part of the data set, so that train and test agree on the classes.

    Returns
    -------
    ImageSet

    Raises
    ------
    FileNotFoundError
        If a folder is missing.
    ValueError
        If there are no images, names do not pair, files are broken, sizes or channels differ from what they must be,
        or masks hold more values than there are classes. All problems are listed with their file names.
    """
    folder = Path(folder)
    image_paths = list_images(folder / "x")
    has_masks = not (masks_optional and not (folder / "y").is_dir())
    mask_paths = list_images(folder / "y") if has_masks else []
    where = f"{folder.name}/"
    if not image_paths:
        raise ValueError(f"{folder / 'x'} holds no images. Put png or tif files there.")
    problems = _output_name_problems(image_paths)
    if has_masks:
        pairs, unpaired = pair_by_name(image_paths, mask_paths)
        problems += unpaired
    else:
        pairs = [(path, None) for path in image_paths]

    x, y, sources = [], [], []
    for image_path, mask_path in pairs:
        try:
            images = read_images(image_path)
            masks = read_images(mask_path) if mask_path else []
        except ValueError as error:
            problems.append(str(error))
            continue
        problems += _pair_problems(image_path, images, mask_path, masks, channels, intensity_range)
        x += images
        y += masks
        sources += [Source(image_path.name, page if len(images) > 1 else None) for page in range(len(images))]

    found = {} if not has_masks else {str(s): _values(mask) for s, mask in zip(sources, y, strict=False)}
    mask_values, value_problems = _class_values(found, mask_values, max(n_classes, 2))
    raise_problems(where, problems + value_problems)
    y = [_to_classes(mask, mask_values) for mask in y] if has_masks else None
    return ImageSet(x, y, sources, mask_values)


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
    return {int(part) if part.isdigit() else part: path for part, path in zip(parts, paths, strict=True)}


def _output_name_problems(paths):
    counts = Counter(path.stem for path in paths)
    return [
        f"{count} images are called {stem} and differ only in their suffix, so their results would share a name"
        for stem, count in counts.items()
        if count > 1
    ]


def _pair_problems(image_path, images, mask_path, masks, channels, intensity_range):
    problems = []
    found = images[0].shape[-1]
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
    for image, mask in zip(images, masks, strict=False):
        if image.shape[:2] != mask.shape[:2]:
            problems.append(f"{image_path.name} is {_size(image)}, its mask {mask_path.name} {_size(mask)} (y x x)")
        if mask.shape[-1] != 1:
            problems.append(f"mask {mask_path.name} is in colour; wanted one grey value per class")
    return problems


def _size(image):
    return f"{image.shape[0]}x{image.shape[1]}"


def _values(mask):
    values = np.unique(mask)
    return tuple(values[:MANY_VALUES].tolist())


def _class_values(found, known, n_values):
    """Decide which stored value is which class, from the values of each mask and those known before."""
    union = sorted({value for values in found.values() for value in values} | set(known))
    if len(union) <= n_values:
        return tuple(union), []
    # Name the masks that are to blame: those with values beyond the most common ones.
    counts = Counter(value for values in found.values() for value in values)
    expected = set(known) or {value for value, _ in counts.most_common(n_values)}
    wrong = [(name, values) for name, values in found.items() if not set(values) <= expected]
    shown = [(name, " ".join(f"{v:g}" for v in values[:8]) + " ..." * (len(values) > 8)) for name, values in wrong]
    return tuple(sorted(expected)), [
        f"mask of {name} holds the values {v}, expected {n_values} in all" for name, v in shown
    ]


def _to_classes(mask, values):
    if len(values) == 1 and values[0] == 0:
        return np.zeros(mask.shape, np.uint8)
    if len(values) == 1:
        return np.ones(mask.shape, np.uint8)
    return np.searchsorted(np.asarray(values), mask).astype(np.uint8)


def split_validation(images, fraction, *, seed, shuffle=True):
    """Split whole images into training and validation, before anything is cropped.

    Parameters
    ----------
    images : ImageSet
        All training images.
    fraction : float
        Share for validation, above 0 and below 1, rounded up.
    seed : int
        Seed of the random choice.
    shuffle : bool
        True draws the validation images at random (as published); False takes the last ones, which keeps neighbouring
        slices of a volume from standing on both sides.

    Returns
    -------
    training, validation : ImageSet

    Raises
    ------
    ValueError
        If there are fewer than two images or the fraction leaves one side empty.
    """
    n_validation = math.ceil(len(images) * fraction)
    if not 0 < fraction < 1 or n_validation >= len(images):
        raise ValueError(
            f"a validation split of {fraction} of {len(images)} image(s) leaves nothing to train on. "
            "Use a fraction between 0 and 1 and at least two images."
        )
    order = np.arange(len(images))
    if shuffle:
        np.random.default_rng(seed).shuffle(order)
    return images.subset(sorted(order[:-n_validation])), images.subset(sorted(order[-n_validation:]))


def crop_image_set(images, crop_shape, *, overlap=0.0):
    """Cut images and masks into crops that cover every pixel; crops are views, so this costs no memory.

    Parameters
    ----------
    images : ImageSet
        Images of any size.
    crop_shape : tuple of int
        ``(y, x)`` or ``(y, x, c)``.
    overlap : float or tuple of float
        Minimum overlap of neighbouring crops, as a fraction of the crop, per axis.

    Returns
    -------
    ImageSet
        One entry a crop, named after the image and the corner of the crop.
    """
    sources = []
    for image, source in zip(images.x, images.sources, strict=True):
        page = "" if source.page is None else f"_p{source.page:04d}"
        stem, suffix = os.path.splitext(source.file)
        corners = crop_grid(image.shape, crop_shape, overlap)
        sources += [Source(f"{stem}{page}_y{y:05d}_x{x:05d}{suffix}") for y, x in corners]
    masks = None if images.y is None else crop_images(images.y, crop_shape, overlap=overlap)
    return ImageSet(crop_images(images.x, crop_shape, overlap=overlap), masks, sources, images.mask_values)
