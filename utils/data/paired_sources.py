"""Opening the files of a data folder: the headers of images and masks are read, paired, and compared."""

from typing import NamedTuple

from utils.data.pairing import name_problems, pair_by_name
from utils.errors import raise_problems, shortened
from utils.images.file_order import numbering_gap
from utils.images.image_files import (
    FORMATS,
    IMAGE_SUFFIXES,
    ImageName,
    is_zarr,
    list_images,
    passed_over,
    split_address,
    suffix_of,
)
from utils.images.intensity import dtype_range
from utils.images.reading import open_sources


class ReadingOptions(NamedTuple):
    """What images and masks must be like, and their names in a file.

    Attributes
    ----------
    channels : int
        Channels of every image; three equal ones count as one.
    n_classes : int
        Classes; 1 and 2 both mean background and foreground.
    intensity_range : tuple of float or ZScore, optional
        Stated grey value range, as `utils.images.intensity`.
    volumes : bool
        Read volumes: a folder of slices (one image a file) is one, in the natural order of the names, and so is each
        file of several slices (multi-page tif, npy, hdf5, zarr).
    image_dataset, mask_dataset : str, optional
        Names of the arrays in hdf5 and zarr files with several.
    mask_ids : bool
        Masks hold ids of objects; every value above 0 is foreground.
    """

    channels: int = 1
    n_classes: int = 1
    intensity_range: tuple | None = None
    volumes: bool = False
    image_dataset: str | None = None
    mask_dataset: str | None = None
    mask_ids: bool = False


class Pair(NamedTuple):
    """An image file, or all slices of a volume, and its mask.

    Attributes
    ----------
    images : list of utils.images.sources.Source
        One, unless the pages of a file differ in size or a volume consists of several files.
    masks : list of utils.images.sources.Source or None
        Likewise; None without ground truth.
    """

    images: list
    masks: list | None


def open_pairs(folder, options, masks_optional, problems):
    """Open the headers of ``folder/x`` and ``folder/y``, pair them by name and compare them.

    Parameters
    ----------
    folder : Path
        Holds ``x/`` (or ``x/x/``) and ``y/`` (or ``y/y/``).
    options : ReadingOptions
        What the files must be like.
    masks_optional : bool
        Whether ``y/`` may be missing.
    problems : list of str
        Gets a clause for everything that is wrong.

    Returns
    -------
    list of Pair
        One for each image file or, with ``options.volumes``, for each volume.
    """
    has_masks = not masks_optional or (folder / "y").is_dir()
    try:
        image_paths, mask_paths = (list_images(folder / part) if part == "x" or has_masks else [] for part in "xy")
    except FileNotFoundError as error:
        problems.append(f"{error}: put images into x/ and masks of the same names into y/")
        return []
    if not image_paths:
        problems.append(f"{folder / 'x'} holds no images ({FORMATS}) {_left_out(folder / 'x')}".rstrip())
    problems += name_problems(image_paths)
    paths, unpaired = [(path, None) for path in image_paths], []
    if has_masks:
        paths, unpaired = pair_by_name(image_paths, mask_paths)
    if unpaired:
        problems += [*unpaired[:-1], f"{unpaired[-1]} (add what is missing, or remove files without a partner)"]
    pairs = open_files(paths, options, problems)
    passed = {kind: _left_out(folder / kind) for kind in "xy"} if image_paths else {}
    notes = [f"{kind}: {clause}." for kind, clause in passed.items() if clause]
    for note in notes + source_notes(image_paths, pairs):
        print(f"Note: {folder.name}/{note}")
    wrong = [problem for pair in pairs for problem in _header_problems(pair, options)]
    problems += wrong
    return pairs if wrong else as_volumes(pairs, options, problems)


def _left_out(folder):
    """Return a clause about what lies in a folder and is not read, or nothing."""
    files, folders = passed_over(folder) if folder.is_dir() else ([], [])
    clauses = [f"files in a format that is not read: {shortened(files)}; save them as tif"] * bool(files)
    clauses += [f"not looked into: {shortened(folders)}"] * bool(folders)
    return "; ".join(clauses)


def note_new_images(folder, paths, pairs):
    """Print what is left out of a folder of images to predict, and what is odd in its files.

    Parameters
    ----------
    folder : Path
        Holds the images.
    paths, pairs
        As `source_notes`.
    """
    passed = _left_out(folder) if paths else ""
    for note in [f"x: {passed}."] * bool(passed) + source_notes(paths, pairs):
        print(f"Note: {folder.name}{note[1:]}")


def source_notes(image_paths, pairs):
    """Say what is odd in image files and their masks, and what is left out of them.

    Parameters
    ----------
    image_paths : list of Path
        In the order of their names.
    pairs : list of Pair
        From `open_files`.

    Returns
    -------
    list of str
        Sentences that begin with ``x:`` or ``y:``.
    """
    gap = numbering_gap(image_paths)
    notes = [f"x: {gap}"] if gap else []
    left_out = {}
    for pair in pairs:
        for kind, sources in zip("xy", pair, strict=True):
            for source in sources or ():
                for note in source.notes:
                    left_out.setdefault((kind, note), []).append(source.name)
    notes += [f"{kind}: {shortened(names)}: {note}." for (kind, note), names in left_out.items()]
    return notes


def palette_notes(parts):
    """Say which masks have another palette than most, or return nothing.

    Parameters
    ----------
    parts : dict of str to list of Pair
        The parts of a data folder by their names.

    Returns
    -------
    list of str
        One sentence at most.
    """
    palettes = {}
    for name, pairs in parts.items():
        for source in (source for pair in pairs for source in pair.masks or () if source.has_palette):
            palettes.setdefault(source.shown_values.tobytes(), []).append(f"{name}/y {source.name}")
    usual, *others = sorted(palettes.values(), key=len, reverse=True) or [[]]
    others = [name for names in others for name in names]
    if not others:
        return []
    return [f"the palette of {shortened(others)} is not that of {usual[0]}; the numbers count, not colours."]


def open_files(paths, options, problems):
    """Open the headers of image files and of their masks, leaving out what cannot be read.

    Parameters
    ----------
    paths : list of (Path, Path or None)
        Each image with its mask.
    options, problems
        As `open_pairs`.

    Returns
    -------
    list of Pair
    """
    pairs, datasets = [], (options.image_dataset, options.mask_dataset)
    for paths_of_pair in paths:
        try:
            opened = [
                path and open_sources(path, dataset=dataset, one_volume=options.volumes, channels=channels)
                for path, dataset, channels in zip(paths_of_pair, datasets, (options.channels, 1), strict=True)
            ]
        except ValueError as error:
            problems.append(str(error))
            continue
        pairs.append(Pair(*opened))
    return pairs


def _header_problems(pair, options):
    """Return what is wrong with the headers of an image file and of its mask, if there is one."""
    image, shown = pair.images[0].name, pair.images[0].shown_channels
    problems = []
    if shown != options.channels and (shown, options.channels) != (3, 1):  # colour may be grey
        problems.append(channel_problem(image, shown, options.channels))
    dtype = pair.images[0].shown_dtype
    if options.intensity_range is None and dtype_range(dtype) is None:
        problems.append(f"{image} has the dtype {dtype}; give INTENSITY_RANGE=(low, high)")
    if pair.masks is None:
        return problems
    mask = pair.masks[0].name
    counts = [sum(source.shape[0] for source in sources) for sources in pair]
    if counts[0] != counts[1]:
        return [*problems, f"{image} has {counts[0]} pages, its mask {mask} {counts[1]}"]
    sizes = [[source.shape[1:3] for source in sources for _ in range(source.shape[0])] for sources in pair]
    other = next((sizes for sizes in zip(*sizes, strict=True) if sizes[0] != sizes[1]), None)
    if other:
        (height, width), (mask_height, mask_width) = other
        problems.append(
            f"{image} is {height}x{width}, its mask {mask} {mask_height}x{mask_width} (y x x): save both in one size"
        )
    return problems


def channel_problem(name, found, wanted):
    """Say that an image has other channels than wanted.

    Parameters
    ----------
    name : str
        Name of the image.
    found, wanted : int
        Numbers of channels.

    Returns
    -------
    str
    """
    remedy = f"end CROP_SHAPE with {found}" + ", or save it in grey" * (found > wanted)
    return f"{name} has {found} channel{'s' * (found > 1)}, the crop shape {wanted} ({remedy})"


def as_volumes(pairs, options, problems):
    """Combine pairs of single slices into one volume, if volumes are wanted; other pairs stay as they are.

    Parameters
    ----------
    pairs : list of Pair
        From `open_files`.
    options, problems
        As `open_pairs`.

    Returns
    -------
    list of Pair
    """
    if not options.volumes or not pairs or any(sum(s.shape[0] for s in pair.images) > 1 for pair in pairs):
        return pairs
    images = [pair.images[0] for pair in pairs]
    for source in images:
        if (source.shape[1:3], source.dtype) != (images[0].shape[1:3], images[0].dtype):
            words = [f"{s.name} is {s.shape[1]}x{s.shape[2]} {s.dtype}" for s in (source, images[0])]
            problems.append(f"{' and '.join(words)} (y x x): the slices of a volume must have one size and dtype")
            return pairs
    has_masks = pairs[0].masks is not None
    return [Pair(images, [pair.masks[0] for pair in pairs] if has_masks else None)]


def names_of(sources, volumes):
    """Return the names of the images, or of the volume, in sources.

    Parameters
    ----------
    sources : list of Source
        Of a `Pair`.
    volumes : bool
        Whether they are one volume.

    Returns
    -------
    list of ImageName
    """
    count, file = sum(source.shape[0] for source in sources), sources[0].name
    scale = sources[0].scale
    if not volumes:
        return [ImageName(file, page if count > 1 else None, scale=scale) for page in range(count)]
    if len(sources) == 1 and count > 1:
        return [ImageName(file, slices=(), scale=scale)]
    together = f"{file} to {sources[-1].name}" if count > 1 else file
    slices = tuple(ImageName(source.name, scale=source.scale) for source in sources)
    return [ImageName(together, slices=slices, scale=scale)]


def open_volume_sources(path, *, dataset=None, channels=None):
    """Open the headers of one volume.

    Parameters
    ----------
    path : str or Path
        A file of several slices, or a folder of slices; ``file.h5:dataset`` too.
    dataset : str, optional
        Name of the array in an hdf5 or zarr file with several.
    channels : int, optional
        As `utils.images.reading.open_sources`.

    Returns
    -------
    list of Source
        In the order of z.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If it is no volume, or a folder of several.
    """
    path, dataset = split_address(path, dataset)
    if not path.exists():
        raise FileNotFoundError(f"the volume {path} does not exist")
    if not path.is_dir() or is_zarr(path):
        if suffix_of(path) not in IMAGE_SUFFIXES and not is_zarr(path):
            raise ValueError(f"{path} is no volume. Give a file ({FORMATS}) of several slices, or a folder of slices.")
        return open_sources(path, dataset=dataset, one_volume=True, channels=channels)
    problems, options = [], ReadingOptions(volumes=True, image_dataset=dataset, channels=channels)
    pairs = open_files([(file, None) for file in list_images(path)], options, problems)
    volumes = as_volumes(pairs, options, problems)
    if not problems and len(volumes) != 1:
        problems.append(f"it holds {len(volumes)} volumes; wanted one, or the slices of one")
    raise_problems(str(path), problems)
    return volumes[0].images
