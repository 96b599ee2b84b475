"""Turn label volumes, with the ids of instances or of several classes, into mask files that pair with images."""

from collections import Counter
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from utils.data.pairing import pair_by_name
from utils.errors import check_choice, raise_problems
from utils.files import atomic_folder, check_free, why_not_there, write_csv
from utils.images.image_files import ImageName, is_zarr, list_images
from utils.images.reading import open_sources, read_images
from utils.images.writing import ImageWriter
from utils.variables import cut

KINDS = ("binary", "classes", "instances")
# More ids than that are taken for instances, unless each is assigned to a class.
MAX_CLASSES = 20
REST = "rest"
# No id of 64 bits with its class is longer.
LONGEST_ITEM = 60
# What CREMI and others write where there is no object: the largest number of uint64.
NO_OBJECT = 2**64 - 1
ID_TABLE = "ids.csv"


def import_labels(labels, images, target, *, kind, classes=None, background=(0, NO_OBJECT), datasets=(None, None)):
    """Write a mask for every image out of labels, under the image's name, as tif.

    Parameters
    ----------
    labels : str or Path
        A file (multi-page tif, hdf5, zarr, npy) with as many slices as there are images or as the one image has, or a
        folder of files that pair with the images by name. Whole numbers in one channel, or ids as 24-bit colours:
        ``65536 * red + 256 * green + blue``.
    images : str or Path
        Folder of the images, as ``train/x``.
    target : str or Path
        Folder to make, as ``train/y``; it appears complete or not at all.
    kind : str
        ``binary``: 0 for the ids in ``background``, 255 for all others. ``classes``: the class of each id, uint8.
        ``instances``: the ids themselves, uint16 or, if one is above 65535, uint32; if one is above 4294967295 all
        are numbered anew, 1, 2, ... in their order, and ``ids.csv`` beside the masks says which is which.
    classes : dict of int to int, optional
        Class of each id; the key ``"rest"`` stands for all ids that are not named. Without it the ids must be 0, 1, ...
        without a gap; they are the classes then.
    background : tuple of int
        Ids that are no object; ``binary`` and ``instances`` write them as 0.
    datasets : tuple of str or None
        Names of the arrays of the labels and of the images in hdf5 and zarr files that hold several.

    Returns
    -------
    str
        A report in Markdown: the ids, what became of them, their pixels.

    Raises
    ------
    ValueError
        With all problems: the kind is unknown, files are missing, broken or do not pair, sizes differ, labels are
        coloured, not whole or negative, ids have no class or are not numbered as classes, or ``target`` holds
        something.
    """
    check_choice("the kind of masks", kind, KINDS)
    labels, images = Path(labels), Path(images)
    check_free(target)
    pages_of = lru_cache(maxsize=1)(partial(_read_ids, dataset=datasets[0]))
    pairs, problems = _pairs(labels, images, pages_of)
    counts, touching = Counter(), 0
    for image_path, label_path, page in pairs:
        try:
            pages = _chosen(pages_of(label_path), page)
            opened = open_sources(image_path, dataset=datasets[1])
            sizes = [source.shape[1:3] for source in opened for _ in range(source.shape[0])]
        except ValueError as error:
            problems.append(str(error))
            continue
        wrong = _pair_problems(image_path.name, sizes, label_path.name, pages)
        problems += [f"{problem}{_place(label_path, datasets[0])}" for problem in wrong]
        for label in [] if wrong else pages:
            counts.update(dict(zip(*map(np.ndarray.tolist, np.unique(label, return_counts=True)), strict=True)))
            touching += _touching_pixels(label, background) if kind == "binary" else 0
    raise_problems(str(labels), list(dict.fromkeys(problems)))
    new_values, dtype = _new_values(counts, kind, classes, background)
    names = [
        ImageName(image_path.name, number if page is None else None)
        for image_path, label_path, page in pairs
        for number in range(len(_chosen(pages_of(label_path), page)))
    ]
    renumbered = {id_: new for id_, new in new_values.items() if new not in (0, id_)} if kind == "instances" else {}
    with atomic_folder(target) as folder:
        with ImageWriter([folder], names) as writer:
            for _, label_path, page in pairs:
                for label in _chosen(pages_of(label_path), page):
                    writer.write(_replaced(label, new_values, dtype))
        if renumbered:
            write_csv(folder / ID_TABLE, [{"id": id_, "new_id": new} for id_, new in renumbered.items()])
    report = _report(counts, new_values, kind, len(pairs), touching)
    note = f"\nNote: ids above {2**32 - 1} were numbered anew, 1 to {len(renumbered)}: {ID_TABLE} says which is which."
    return report + note * bool(renumbered)


def parse_classes(text):
    """Read the classes of ids from the command line.

    Parameters
    ----------
    text : str
        ``id:class`` separated by commas; ``rest`` stands for all ids that are not named.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If it is written otherwise, names an id twice, or a class is not 0 to 255.

    Examples
    --------
    >>> parse_classes("0:0,5:1,rest:2")
    {0: 0, 5: 1, 'rest': 2}
    """
    classes, problems = {}, []
    for item in text.split(","):
        id_text, separator, class_text = (part.strip() for part in item.partition(":"))
        is_id = id_text == REST or id_text.removeprefix("-").isdecimal()
        if not (separator and is_id and class_text.isdecimal()) or len(item) > LONGEST_ITEM:
            problems.append(f"{cut(item.strip())!r} is not id:class, as 5:1 or {REST}:0")
            continue
        key = id_text if id_text == REST else int(id_text)
        if int(class_text) > 255:
            problems.append(f"class {class_text} is above 255")
        if key in classes:
            problems.append(f"{key} has two classes")
        classes[key] = int(class_text)
    raise_problems(f"classes {cut(text)!r}", problems)
    return classes


def _read_ids(path, dataset):
    """Read the pages of a label file, colours as one number."""
    return [_as_ids(page) for page in read_images(path, dataset=dataset, as_labels=True)]


def _as_ids(page):
    if page.shape[-1] != 3 or page.dtype != np.uint8:
        return page
    red, green, blue = np.moveaxis(page.astype(np.uint32), -1, 0)
    return (65536 * red + 256 * green + blue)[..., np.newaxis]


def _pairs(labels, images, pages_of):
    """Pair image files with (label file, None), or (label file, slice) where one file has a slice for each image."""
    image_paths = list_images(images) if images.is_dir() else []
    if not image_paths:
        missing = f"{images} holds no images to pair with" if images.is_dir() else why_not_there(images)
        return [], [f"{missing}; give the folder of the images, as DATA_DIR/train/x"]
    if not labels.exists():
        return [], ["it " + why_not_there(labels).removeprefix(f"{labels} ")]
    if labels.is_dir() and not is_zarr(labels):
        pairs, problems = pair_by_name(image_paths, list_images(labels))
        return [(image, path, None) for image, path in pairs], problems
    if len(image_paths) == 1:
        return [(image_paths[0], labels, None)], []
    try:
        n_slices = len(pages_of(labels))
    except ValueError as error:
        return [], [str(error)]
    if n_slices != len(image_paths):
        return [], [f"it has {n_slices} slices, but {images} holds {len(image_paths)} images"]
    return [(image, labels, number) for number, image in enumerate(image_paths)], []


def _chosen(pages, page):
    return pages if page is None else [pages[page]]


def _place(label_path, dataset):
    """Return a clause on where labels lie that are smaller than their image, if the file states it."""
    scale = open_sources(label_path, dataset=dataset)[0].scale
    if scale is None or not any(scale.offset_nm):
        return ""
    offset, size = (
        " x ".join(f"{length or 0:g}" for length in lengths) for lengths in (scale.offset_nm, scale.voxel_size_nm)
    )
    return f"; it states that it begins at {offset} nm (z x y x x) with voxels of {size} nm: cut the image to it"


def _pair_problems(image_name, sizes, label_name, pages):
    if len(sizes) != len(pages):
        return [f"{image_name} has {len(sizes)} slices, its labels {label_name} {len(pages)}"]
    problems = []
    for size, label in zip(sizes, pages, strict=True):
        if label.shape[-1] != 1:
            problems.append(f"{label_name} has {label.shape[-1]} channels; save it with one number a pixel")
        elif label.dtype.kind == "f" and not (np.isfinite(label).all() and (label == np.rint(label)).all()):
            problems.append(f"{label_name} holds values that are not whole numbers: are these labels?")
        if label.shape[:2] != size:
            wanted, found = ("x".join(map(str, shape[:2])) for shape in (size, label.shape))
            problems.append(f"{image_name} is {wanted}, its labels {label_name} {found} (y x x)")
    return list(dict.fromkeys(problems))


def _touching_pixels(label, background):
    """Count pixels whose neighbour below or to the right belongs to another object."""
    label, is_object = label[..., 0], ~np.isin(label[..., 0], background)
    below = (label[1:] != label[:-1]) & is_object[1:] & is_object[:-1]
    right = (label[:, 1:] != label[:, :-1]) & is_object[:, 1:] & is_object[:, :-1]
    return int(below.sum() + right.sum())


def _new_values(counts, kind, classes, background):
    """Decide what each id becomes; return that and the dtype."""
    ids = sorted(counts)
    if kind == "binary":
        return {id_: 0 if id_ in background else 255 for id_ in ids}, np.uint8
    if kind == "instances":
        new = {id_: 0 if id_ in background else int(id_) for id_ in ids}
        negative = [f"{int(id_)} ({counts[id_]:,} pixels)" for id_ in ids if new[id_] < 0]
        raise_problems("ids below 0; name those that are no object as background", negative)
        if max(new.values()) >= 2**32:
            objects = [id_ for id_ in ids if new[id_]]
            new |= {id_: number for number, id_ in enumerate(objects, start=1)}
        return new, np.uint16 if max(new.values()) < 2**16 else np.uint32
    if classes is None:
        if len(ids) > MAX_CLASSES:
            raise ValueError(
                f"{len(ids)} different ids are too many for classes of their own: assign them, as 0:0,5:1,{REST}:2, or "
                "import them as instances."
            )
        if ids != list(range(len(ids))):
            assigned = ",".join(f"{int(id_)}:{number}" for number, id_ in enumerate(ids))
            raise ValueError(
                f"the ids {', '.join(str(int(id_)) for id_ in ids)} are not classes 0, 1, ... without a gap, and other "
                f"labels may hold others. Give the same classes for all folders, as --classes {assigned}."
            )
        return {id_: int(id_) for id_ in ids}, np.uint8
    lost = [f"{int(id_)} ({counts[id_]:,} pixels)" for id_ in ids if id_ not in classes and REST not in classes]
    raise_problems(f"ids without a class; assign them or add {REST}:0", lost)
    return {id_: classes[id_] if id_ in classes else classes[REST] for id_ in ids}, np.uint8


def _replaced(label, new_values, dtype):
    ids, positions = np.unique(label, return_inverse=True)
    return np.array([new_values[id_] for id_ in ids.tolist()], dtype)[positions].reshape(label.shape)


def _report(counts, new_values, kind, n_files, touching):
    total, objects = counts.total(), [id_ for id_, value in new_values.items() if value]
    lines = [f"{n_files} masks of {len(counts)} ids, {sum(counts[id_] for id_ in objects) / total:.2%} foreground."]
    if kind == "classes":
        lines += ["", "| id | class | pixels | share |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {int(id_)} | {new_values[id_]} | {counts[id_]} | {counts[id_] / total:.2%} |"
            for id_ in sorted(counts)[:MAX_CLASSES]
        ]
        lines += [f"and {len(counts) - MAX_CLASSES} more ids"] * (len(counts) > MAX_CLASSES)
        lines += ["", f"For the templates: --set N_CLASSES={max(new_values.values()) + 1}"]
    elif objects:
        sizes = sorted((counts[id_], id_) for id_ in objects)
        (least, smallest), (most, largest) = sizes[0], sizes[-1]
        lines.append(
            f"{len(objects)} objects of {least:,} (id {int(smallest)}) to {most:,} (id {int(largest)}) pixels."
        )
    if touching:
        lines.append(f"Note: at {touching:,} places objects touch; in a binary mask they are one.")
    return "\n".join(lines)
