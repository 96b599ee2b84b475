"""Reading a data folder, at once or when needed: files are opened, paired and checked, mask values become classes.

Both ways open the same headers and finish pixels alike, so they give the same arrays and refuse the same files.
"""

from functools import partial
from pathlib import Path

import numpy as np

from utils.data.image_set import ImageSet
from utils.data.mask_classes import MANY_VALUES, class_values, to_classes, values_in
from utils.data.paired_sources import (
    ReadingOptions,
    as_volumes,
    channel_problem,
    names_of,
    note_new_images,
    open_files,
    open_pairs,
    palette_notes,
)
from utils.data.pairing import name_problems
from utils.errors import raise_problems
from utils.images.axes import plain_channels
from utils.images.image_files import FORMATS, list_images
from utils.images.intensity import intensity_problem
from utils.images.lazy_images import CACHE_BYTES, BlockCache, LazyImage

# Name of each part of a data folder, and whether its y/ may be missing.
TRAIN_AND_TEST = {"train": False, "test": True}


def load_image_sets(data_dir, parts=TRAIN_AND_TEST, **reading):
    """Read the images and masks of a data folder and list every problem at once.

    Parameters
    ----------
    data_dir : str or Path
        Holds a folder for each part, with ``x/`` (or ``x/x/``) and ``y/`` (or ``y/y/``).
    parts : dict of str to bool
        Name of each part, and whether its ``y/`` may be missing.
    **reading
        As `ReadingOptions`.

    Returns
    -------
    list of ImageSet
        One for each part, images ``(y, x, c)`` or volumes ``(z, y, x, c)`` in their stored dtype; ``y`` is None without
        masks.

    Raises
    ------
    ValueError
        If a folder is missing or empty, names do not pair, files are broken, sizes, channels or dtypes are wrong, or
        masks hold more values than there are classes.
    """
    options = ReadingOptions(**reading)
    loaded, found, (opened, problems) = [], {}, _open_parts(data_dir, parts, options)
    for name, pairs in opened.items():
        in_part = problems[name]
        loaded.append(_read_pairs(pairs, options, in_part))
        masks = zip(loaded[-1].names, loaded[-1].y or (), strict=False)
        found[name] = {str(mask_name): tuple(values_in(mask)[:MANY_VALUES]) for mask_name, mask in masks}
    values, wrong = class_values(found, options.n_classes, ids=options.mask_ids)
    raise_problems(str(data_dir), _in_one_list(problems) + wrong)
    return [images.with_classes(values) for images in loaded]


def load_image_set(folder, *, masks_optional=False, **reading):
    """Read ``folder/x`` and ``folder/y``, as `load_image_sets` reads a part of a data folder.

    Parameters
    ----------
    folder : str or Path
        Holds ``x/`` and ``y/``.
    masks_optional : bool
        Whether ``y/`` may be missing.
    **reading
        As `ReadingOptions`.

    Returns
    -------
    ImageSet
    """
    folder = Path(folder)
    return load_image_sets(folder.parent, {folder.name: masks_optional}, **reading)[0]


def open_image_sets(
    data_dir, parts=TRAIN_AND_TEST, *, mask_values=None, problems=(), cache_bytes=CACHE_BYTES, **reading
):
    """Open what `load_image_sets` reads, leaving the pixels on disk until they are indexed.

    Headers are checked now, and so are the pixels of the first image and mask of each part. Faults of other pixels (a
    broken file, a mask with more values, colours, NaN) raise the same error when they are read.

    Parameters
    ----------
    data_dir, parts
        As `load_image_sets`.
    mask_values : tuple of int, optional
        The stored values of the classes 0, 1, ..., e.g. ``(0, 255)``. Without it masks of the first part are read until
        they have shown as many values as there are classes, as a rule one mask.
    problems : sequence of str
        Further problems for the error.
    cache_bytes : int
        Memory for what was read last, for all parts together; it is enlarged to hold an image with its mask, which
        would otherwise be read again for each crop. 0 keeps nothing.
    **reading
        As `ReadingOptions`.

    Returns
    -------
    list of ImageSet
        Of `utils.images.lazy_images.LazyImage`.
    """
    options = ReadingOptions(**reading)
    opened, in_parts = _open_parts(data_dir, parts, options)
    problems, opened = [*problems, *_in_one_list(in_parts)], list(opened.values())
    if mask_values is None and not problems:
        masks = [source for pair in opened[0] for source in pair.masks or ()]
        mask_values, problems = _find_mask_values(masks, next(iter(parts)), options)
    sets = []
    if not problems:
        largest = max(source.n_bytes for pairs in opened for pair in pairs for source in _all_sources(pair))
        cache = BlockCache(max(cache_bytes, 2 * largest) if cache_bytes else 0)
        sets = [_lazy_set(pairs, tuple(mask_values), options, cache) for pairs in opened]
        for name, images in zip(parts, sets, strict=True):
            problems += [f"{name}/: {problem}" for problem in _problems_of_first(images)]
    raise_problems(str(data_dir), problems)
    return sets


def open_image_set(folder, **opening):
    """Open ``folder/x`` and ``folder/y``, as `open_image_sets` opens a part of a data folder.

    Parameters
    ----------
    folder : str or Path
        Holds ``x/`` and ``y/``.
    **opening
        As `open_image_sets`.

    Returns
    -------
    ImageSet
    """
    folder = Path(folder)
    return open_image_sets(folder.parent, {folder.name: False}, **opening)[0]


def load_new_images(data_dir, predictor, *, dataset=None):
    """Read images or volumes of any number and size for a trained network, and list every problem at once.

    Parameters
    ----------
    data_dir : str or Path
        Holds the images, or a folder ``x/`` or ``test/x/`` of them.
    predictor : utils.prediction.predictor.Predictor
        Knows what the images must be like.
    dataset : str, optional
        Name of the array in hdf5 and zarr files with several.

    Returns
    -------
    ImageSet
        Without masks; images in their stored dtype.
    """
    places = [Path(data_dir) / part for part in ("x", "test/x")]
    folder = next((path for path in places if path.is_dir()), Path(data_dir))
    wanted = {"volumes": predictor.is_3d, "channels": predictor.crop_shape[-1]}
    paths, options = list_images(folder), ReadingOptions(image_dataset=dataset, **wanted)
    problems = [f"there are no images ({FORMATS})"] * (not paths) + name_problems(paths)
    pairs = open_files([(path, None) for path in paths], options, problems)
    note_new_images(folder, paths, pairs)
    pairs = as_volumes(pairs, options, problems)
    x, names = [], []
    for pair in pairs:
        try:
            images = _pixels(pair.images, partial(_as_shown, channels=options.channels), options.volumes)
        except ValueError as error:
            problems.append(str(error).rstrip("."))
            continue
        problem = next(filter(None, map(predictor.problem, images)), None)
        problems += [f"{pair.images[0].name} {problem}"] if problem else []
        x += images
        names += names_of(pair.images, options.volumes)
    dtypes = sorted({str(image.dtype) for image in x})
    if predictor.range_is_stated and len(dtypes) > 1:
        problems.append(
            f"INTENSITY_RANGE holds for one dtype, but there are {' and '.join(dtypes)}; use a folder for each"
        )
    raise_problems(str(folder), problems)
    return ImageSet(x, None, names, ())


def _open_parts(data_dir, parts, options):
    """Open the headers of every part, print notes, and return the pairs and the problems by part."""
    opened, problems = {}, {name: [] for name in parts}
    for name, masks_optional in parts.items():
        opened[name] = open_pairs(Path(data_dir) / name, options, masks_optional, problems[name])
    for note in palette_notes(opened):
        print(f"Note: {note}")
    return opened, problems


def _in_one_list(problems):
    # Headers and pixels may show the same problem.
    return [f"{name}/: {problem}" for name, in_part in problems.items() for problem in dict.fromkeys(in_part)]


def _all_sources(pair):
    return [*pair.images, *(pair.masks or ())]


def _pixels(sources, finish, volumes):
    """Read sources as images, or as one volume."""
    if volumes:
        parts = [finish(source.read(), source) for source in sources]
        return [parts[0] if len(parts) == 1 else np.concatenate(parts)]
    return [finish(page, source) for source in sources for page in source.read()]


def _read_pairs(pairs, options, problems):
    """Read the images and masks of a part, whose masks keep their stored values."""
    x, y, names = [], [], []
    finish = partial(_finish_image, channels=options.channels, intensity_range=options.intensity_range)
    for pair in pairs:
        try:
            images = _pixels(pair.images, finish, options.volumes)
            masks = _pixels(pair.masks or [], _grey_mask, options.volumes) if pair.masks else []
        except ValueError as error:
            problems.append(str(error).rstrip("."))
            continue
        if pair.masks is None or len(images) == len(masks):  # otherwise the headers showed it
            x, y, names = x + images, y + masks, names + names_of(pair.images, options.volumes)
    has_masks = all(pair.masks is not None for pair in pairs)
    return ImageSet(x, y if has_masks else None, names, ())


def _lazy_set(pairs, mask_values, options, cache):
    """Return the images and masks of a part, unread."""
    finish_image = partial(_finish_image, channels=options.channels, intensity_range=options.intensity_range)
    finish_mask = partial(_finish_mask, values=mask_values)
    x, y, names = [], [], []
    for images, masks in pairs:
        x += _lazy_images(images, options.volumes, finish_image, options.channels, images[0].shown_dtype, cache)
        y += _lazy_images(masks or [], options.volumes, finish_mask, 1, np.uint8, cache)
        names += names_of(images, options.volumes)
    has_masks = all(pair.masks is not None for pair in pairs)
    return ImageSet(x, y if has_masks else None, names, mask_values)


def _lazy_images(sources, volumes, finish, channels, dtype, cache):
    lazy = partial(LazyImage, finish=finish, channels=channels, dtype=dtype, cache=cache)
    if volumes:
        return [lazy(sources)] if sources else []
    return [lazy([source], page=page) for source in sources for page in range(source.shape[0])]


def _find_mask_values(masks, part, options):
    """Read masks until they have shown as many values as there are classes; return the values, and problems."""
    found, n_values = {}, max(options.n_classes, 2)
    for source in masks:
        for number in source.block_numbers():
            if options.mask_ids or len(set().union(*found.values())) >= n_values:
                break
            try:
                values = values_in(_grey_mask(source.read(source.block_window(number)), source))
            except ValueError as error:
                return (), [f"{part}/: {str(error).rstrip('.')}"]
            found[source.name] = tuple(sorted({*found.get(source.name, ()), *values}))[:MANY_VALUES]
    return class_values({part: found}, options.n_classes, ids=options.mask_ids)


def _problems_of_first(images):
    """Read the first image or slice of a part and its mask, and return what is wrong with them."""
    problems = []
    for array in (images.x[0], *(images.y or ())[:1]):
        try:
            np.asarray(array[0] if array.ndim == 4 else array)
        except ValueError as error:
            problems.append(str(error).rstrip("."))
    return problems


def _as_shown(pixels, source, *, channels):
    """Return what a viewer shows; three equal channels as one, unless three are wanted."""
    return plain_channels(source.shown(pixels), keep_colour=channels == 3)


def _finish_image(pixels, source, *, channels, intensity_range):
    """Return stored pixels of an image as they are used, or raise what is wrong with them."""
    pixels = _as_shown(pixels, source, channels=channels)
    if pixels.shape[-1] != channels:
        raise ValueError(f"{channel_problem(source.name, pixels.shape[-1], channels)}.")
    problem = intensity_problem(pixels, intensity_range)
    if problem:
        raise ValueError(f"{source.name} {problem}.")
    return pixels


def _grey_mask(pixels, source):
    """Return stored pixels of a mask with one channel."""
    pixels = plain_channels(pixels)
    if pixels.shape[-1] != 1:
        raise ValueError(
            f"mask {source.name} has {pixels.shape[-1]} channels, such as colours or ids of three bytes; wanted one "
            "grey value per class. python data_sets/import_labels.py makes masks of it."
        )
    return pixels


def _finish_mask(pixels, source, *, values):
    return to_classes(_grey_mask(pixels, source), values, source.name)
