"""Opening a data folder that is larger than memory: names and headers are checked, pixels are read when needed."""

from functools import partial
from pathlib import Path

import numpy as np

from utils.data.data_folder import MANY_VALUES, _class_values, _output_name_problems, pair_by_name
from utils.data.image_set import ImageSet
from utils.errors import raise_problems
from utils.images.axes import plain_channels
from utils.images.image_files import Source, VolumeSource, list_images
from utils.images.intensity import dtype_range, intensity_problem
from utils.images.lazy_images import CACHE_BYTES, BlockCache, StoredImage
from utils.images.sources import IF_BROKEN, stored_pages


def open_image_set(
    folder,
    *,
    channels=1,
    n_classes=1,
    mask_values=None,
    intensity_range=None,
    volumes=False,
    image_dataset=None,
    mask_dataset=None,
    cache_bytes=CACHE_BYTES,
):
    """Open ``folder/x`` and ``folder/y`` as `load_image_set` would read them, leaving them on disk.

    Names, sizes, channels and dtypes are checked now, from the headers, and every problem is listed. What only pixels
    tell (a broken file, a mask with more values, colours, NaN) is an error of the same kind when they are read.

    Parameters
    ----------
    folder : str or Path
        Holds ``x/`` (or ``x/x/``) and ``y/`` (or ``y/y/``).
    channels : int
        Channels that every image must have; three equal ones count as one.
    n_classes : int
        Classes; 1 and 2 both mean background and foreground.
    mask_values : tuple of int, optional
        The stored values of the classes 0, 1, ..., e.g. ``(0, 255)``. Without it masks are read in their order until
        as many different values have been seen as there are classes, as a rule one mask.
    intensity_range : tuple of float or ZScore, optional
        As `utils.images.intensity.to_unit_range`.
    volumes : bool
        Open volumes: a folder of slices is one, and so is each file of several slices.
    image_dataset, mask_dataset : str, optional
        Names of the arrays in hdf5 and zarr files that hold several.
    cache_bytes : int
        What was read last is kept in memory, up to so many bytes.

    Returns
    -------
    ImageSet
        Of `utils.images.lazy_images.StoredImage`.

    Raises
    ------
    ValueError
        If a folder is missing, there are no images, names do not pair or differ in their suffix only, headers cannot be
        read, or sizes, channels or dtypes are not what they must be. All problems are listed with their file names.
    """
    folder, problems = Path(folder), []
    datasets = {"image_dataset": image_dataset, "mask_dataset": mask_dataset}
    pairs = _open_pairs(folder, problems, volumes=volumes, **datasets)
    for images, masks in pairs:
        problems += _pair_problems(images, masks, channels, intensity_range)
    if volumes and not problems:
        pairs = _volumes(pairs, problems)
    if mask_values is None and not problems:
        mask_values = _find_mask_values([part for _, masks in pairs for part in masks], max(n_classes, 2), problems)
    raise_problems(f"{folder.name}/", problems)
    stored = {"channels": channels, "intensity_range": intensity_range, "volumes": volumes}
    return _image_set(pairs, tuple(mask_values), cache=BlockCache(cache_bytes), **stored)


def open_image_sets(
    data_dir, parts, *, problems=(), channels=1, n_classes=1, intensity_range=None, cache_bytes=CACHE_BYTES
):
    """Open several folders of images whose masks hold the same values, and list the problems of all of them at once.

    Of each folder the first image and mask are read too, so that values that differ between folders are noticed.

    Parameters
    ----------
    data_dir : str or Path
        Holds the folders.
    parts : dict of str to bool
        Name of each folder, and whether its ``y/`` may be missing. The masks of the first tell the stored values of
        the classes.
    problems : sequence of str
        What is wrong besides, to be said with the rest.
    channels, n_classes, intensity_range
        As `open_image_set`.
    cache_bytes : int
        What was read last is kept in memory, up to so many bytes for all folders together; more if an image with its
        mask is larger, so that it is not read again for each crop.

    Returns
    -------
    list of ImageSet
        In the order of the parts; ``y`` is None without masks.

    Raises
    ------
    ValueError
        As `open_image_set`.
    """
    data_dir, problems, found = Path(data_dir), list(problems), []
    for name, masks_optional in parts.items():
        of_part = []
        found.append(_open_pairs(data_dir / name, of_part, masks_optional=masks_optional))
        for images, masks in found[-1]:
            of_part += _pair_problems(images, masks, channels, intensity_range)
        problems += [f"{name}/: {problem}" for problem in of_part]
    values, sets = (0, 1), []
    if not problems:
        masks = [part for _, masks in found[0] for part in masks]
        values = tuple(_find_mask_values(masks, max(n_classes, 2), problems))
    if not problems:
        largest = max(part.n_bytes for pairs in found for pair in pairs for pages in pair for part in pages or ())
        cache = BlockCache(max(cache_bytes, 2 * largest))
        stored = {"channels": channels, "intensity_range": intensity_range, "cache": cache}
        sets = [_image_set(pairs, values, **stored) for pairs in found]
        for name, images in zip(parts, sets, strict=True):
            problems += [f"{name}/: {problem}" for problem in _first_problems(images)]
    raise_problems(f"{data_dir}", problems)
    return sets


def _first_problems(images):
    """Return what is wrong with the first image of a folder and with its mask, which are read."""
    problems = []
    for array in (images.x[0], *(images.y or ())[:1]):
        try:
            np.asarray(array)
        except ValueError as error:
            problems.append(str(error).rstrip("."))
    return problems


def _image_set(pairs, mask_values, *, channels, intensity_range, cache, volumes=False):
    """Return the images and masks of pages, unread."""
    finish_image = partial(_finish_image, channels=channels, intensity_range=intensity_range)
    finish_mask = partial(_finish_mask, values=mask_values)
    x, y, sources = [], [], []
    for images, masks in pairs:
        x += _stored(images, volumes, finish_image, channels=channels, dtype=images[0].dtype, cache=cache)
        y += _stored(masks or (), volumes, finish_mask, channels=1, dtype=np.uint8, cache=cache)
        sources += _sources(images, volumes)
    has_masks = all(masks is not None for _, masks in pairs)
    return ImageSet(x, y if has_masks else None, sources, mask_values)


def _open_pairs(folder, problems, *, image_dataset=None, mask_dataset=None, volumes=False, masks_optional=False):
    """Return the pages of each image file and those of its mask, or None, where both headers can be read."""
    has_masks = not masks_optional or (folder / "y").is_dir()
    try:
        image_paths, mask_paths = (list_images(folder / part) if part == "x" or has_masks else [] for part in "xy")
    except FileNotFoundError as error:
        problems.append(f"{error}: images belong into x/, masks of the same names into y/")
        return []
    if not image_paths:
        problems.append(f"{folder / 'x'} holds no images (png, tif, hdf5, zarr)")
    problems += _output_name_problems(image_paths)
    paths, unpaired = [(path, None) for path in image_paths], []
    if has_masks:
        paths, unpaired = pair_by_name(image_paths, mask_paths)
    if unpaired:
        problems += [*unpaired[:-1], f"{unpaired[-1]} (add what is missing, or take away what has no partner)"]
    found = []
    for paths_of_pair in paths:
        pair = []
        for path, dataset in zip(paths_of_pair, (image_dataset, mask_dataset), strict=True):
            try:
                pair.append(path and stored_pages(path, dataset=dataset, one_volume=volumes))
            except ValueError as error:
                problems.append(f"{error}{IF_BROKEN}")
        if len(pair) == 2:
            found.append(pair)
    return found


def _pair_problems(images, masks, channels, intensity_range):
    """Say what the headers of an image file and of its mask, if there is one, tell."""
    image = images[0].path.name
    problems = []
    if any(part.shape[3] < channels for part in images):
        problems.append(f"{image} has 1 channel, the crop shape {channels} (end CROP_SHAPE with 1)")
    unknown = [part.dtype for part in images if intensity_range is None and dtype_range(part.dtype) is None]
    if unknown:
        problems.append(f"{image} has the dtype {unknown[0]}; give INTENSITY_RANGE=(low, high)")
    if masks is None:
        return problems
    mask = masks[0].path.name
    counts = [sum(part.shape[0] for part in parts) for parts in (images, masks)]
    if counts[0] != counts[1]:
        return [*problems, f"{image} has {counts[0]} pages, its mask {mask} {counts[1]}"]
    sizes = [[part.shape[1:3] for part in parts for _ in range(part.shape[0])] for parts in (images, masks)]
    other = next((pair for pair in zip(*sizes, strict=True) if pair[0] != pair[1]), None)
    if other:
        (height, width), (mask_height, mask_width) = other
        problems.append(
            f"{image} is {height}x{width}, its mask {mask} {mask_height}x{mask_width} (y x x): save both in one size"
        )
    return problems


def _volumes(pairs, problems):
    """Return the pages of each volume and its mask: one of all files if each holds a single slice."""
    if any(sum(part.shape[0] for part in images) > 1 for images, _ in pairs):
        return pairs
    slices = [[part for (part,) in parts] for parts in zip(*pairs, strict=True)]
    first, dtype = slices[0][0], slices[0][0].dtype
    for part in slices[0]:
        if (part.shape[1:3], part.dtype) != (first.shape[1:3], dtype):
            words = [f"{p.path.name} is {p.shape[1]}x{p.shape[2]} {p.dtype}" for p in (part, first)]
            problems.append(f"{' and '.join(words)} (y x x): the slices of a volume must have one size and dtype")
            break
    return [slices]


def _find_mask_values(masks, n_values, problems):
    """Read masks until they held as many different values as there are classes; return that of each class."""
    found = {}
    for part in masks:
        name = f"mask {part.path.name}"
        for number in part.block_numbers():
            try:
                values = _values(plain_channels(part.read_block(number), part.path.name))
            except ValueError as error:
                problems.append(str(error))
                break
            found[name] = tuple(sorted({*found.get(name, ()), *values}))[:MANY_VALUES]
            if len(set().union(*found.values())) >= n_values:
                break
        if len(set().union(*found.values())) >= n_values:
            break
    values, value_problems = _class_values(found, n_values)
    problems += value_problems
    return values


def _values(block):
    """Return the different values of a block."""
    is_byte = block.dtype == np.uint8  # for which counting takes a tenth of the time of sorting
    return (np.flatnonzero(np.bincount(block.ravel(), minlength=256)) if is_byte else np.unique(block)).tolist()


def _stored(parts, volumes, finish, **options):
    if volumes:
        return [StoredImage(parts, finish, **options)]
    return [StoredImage([part], finish, page=page, **options) for part in parts for page in range(part.shape[0])]


def _sources(parts, volumes):
    """Name images, or a volume, as those that are loaded."""
    count, file = sum(part.shape[0] for part in parts), parts[0].path.name
    if not volumes:
        return [Source(file, page if count > 1 else None) for page in range(count)]
    files = [part.path.name for part in parts]
    if any(part.shape[0] > 1 for part in parts):
        return [VolumeSource(file)]
    return [VolumeSource(f"{file} to {files[-1]}" if len(files) > 1 else file, tuple(map(Source, files)))]


def _finish_image(block, path, *, channels, intensity_range):
    """Return a block of an image as it was loaded, or raise what is wrong with it."""
    block = plain_channels(block, path.name, keep_colour=channels == 3)
    if block.shape[-1] != channels:
        raise ValueError(
            f"{path.name} is in colour, the crop shape has 1 channel: end CROP_SHAPE with 3, or save it in grey."
        )
    problem = intensity_problem(block, intensity_range)
    if problem:
        raise ValueError(f"{path.name}: {problem}.")
    return block


def _finish_mask(block, path, *, values):
    """Return the classes of a block of a mask, uint8."""
    block = plain_channels(block, path.name)
    if block.shape[-1] != 1:
        raise ValueError(f"mask {path.name} is in colour; wanted one grey value per class.")
    classes, n_known = np.zeros(block.shape, np.uint8), 0
    for number, value in enumerate(values):
        here = block == value
        n_known += np.count_nonzero(here)
        # A single value that is not 0 is foreground everywhere.
        classes |= here * np.uint8(1 if len(values) == 1 else number)
    if n_known < block.size:
        shown, wanted = (" ".join(f"{value:g}" for value in some) for some in (_values(block)[:8], values))
        raise ValueError(
            f"mask {path.name} holds the values {shown}, expected {wanted} as in the masks before it. "
            "Correct the mask, or give N_CLASSES or mask_values that fit all masks."
        )
    return classes
