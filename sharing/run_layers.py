"""The layers of a run for a viewer: images, truth, probabilities, masks and instances, read page by page."""

from functools import partial
from pathlib import Path

import numpy as np

from sharing.network_description import voxel_size
from utils.data.pairing import pair_by_name
from utils.errors import check_choice
from utils.images.image_files import list_images, stem_of
from utils.images.reading import open_sources
from utils.runs.record import RunRecord

# What a prediction may consist of: folders in images/<protocol>/<post>/.
PREDICTIONS = ("probability", "binary", "labels")
# Where a data folder may have its images, and their masks.
PLACES = (("test/x", "test/y"), ("x", "y"), (".", "."))
FIRST_CHOICE = ("per_image", "none")


def run_layers(run, *, protocol=None, post=None, data_dir=None):
    """Collect the layers of a run; only the headers of files are read.

    Files of one page and one size are stacked along z in the order of their names. Each other file is a layer.

    Parameters
    ----------
    run : str or Path
        ``job_dir/results/<id>_<rid>``.
    protocol, post : str, optional
        Names of the prediction's folders in ``images/``; default ``per_image`` and ``none`` if they exist, else the
        first. All instances of the protocol are shown too, under the names of their folders.
    data_dir : str or Path, optional
        Folder of the images and, if there is one, of the truth; default: the data folder of the run.

    Returns
    -------
    layers : list of dict
        ``name``; ``kind`` (``image`` or ``labels``); ``shape`` ``(z, y, x)``, of colour ``(z, y, x, 3)``; ``dtype``;
        ``pages``, functions that read a page each; ``options`` of the layer in napari.
    notes : list of str
        What is missing.

    Raises
    ------
    ValueError
        If the folder is not that of a run, or has no such prediction.
    """
    record = RunRecord(run)
    record.check()
    saved = record.folder / "images"
    protocol, post = _choose(saved, protocol, post)
    chosen = saved / protocol / post
    found = {"probability": chosen / "probability", "mask": chosen / "binary"}
    found |= {folder.parent.name: folder for folder in sorted((saved / protocol).glob("*/labels"))}
    found = {part: list_images(folder) for part, folder in found.items() if folder.is_dir()}
    found = {part: [path for path in paths if path.suffix == ".tif"] for part, paths in found.items()}
    names = {stem_of(path) for files in found.values() for path in files}
    given, notes = _given_files(data_dir or record.data_dir, names)
    size, layers = voxel_size(record.facts.get("voxel_size_nm"), 3), []
    datasets = {"image": record.facts.get("image_dataset"), "truth": record.facts.get("mask_dataset")}
    n_pages = _pages_by_name(found)
    for part, files in (given | found).items():
        opened = [_opened(path, part, datasets.get(part), n_pages.get(stem_of(path))) for path in files]
        layers += _layers(part, opened, size)
    return layers, notes


def lazy_array(layer):
    """Return the pages of a layer as one array that reads each page when it is looked at.

    Parameters
    ----------
    layer : dict
        From `run_layers`.

    Returns
    -------
    dask.array.Array

    Raises
    ------
    ImportError
        If dask is missing; napari brings it along.
    """
    try:
        import dask
        import dask.array
    except ImportError as error:
        raise ImportError("layers are read with dask: pip install -r env/requirements-napari.txt") from error
    pages = [
        dask.array.from_delayed(dask.delayed(read)(), layer["shape"][1:], dtype=layer["dtype"])
        for read in layer["pages"]
    ]
    return dask.array.stack(pages)


def _choose(saved, protocol, post):
    """Return protocol and post-processing: those asked for, the usual ones, or the first."""
    kinds = [folder for part in PREDICTIONS for folder in saved.glob(f"*/*/{part}")]
    there = sorted({folder.parts[-3:-1] for folder in kinds})
    if not there:
        raise ValueError(f"{saved.parent} has saved no predictions (images/<protocol>/<post>/). Give a run that has.")
    protocols = tuple(dict.fromkeys(name for name, _ in there))
    if protocol is None:
        protocol = FIRST_CHOICE[0] if FIRST_CHOICE[0] in protocols else protocols[0]
    check_choice("--protocol", protocol, protocols)
    posts = tuple(name for other, name in there if other == protocol)
    if post is None:
        post = FIRST_CHOICE[1] if FIRST_CHOICE[1] in posts else posts[0]
    check_choice("--post", post, posts)
    return protocol, post


def _given_files(data_dir, names):
    """Return the image and truth files of the names that were predicted, and what is missing."""
    data_dir = Path(str(data_dir))
    if not data_dir.is_dir():
        return {}, [f"The images are not shown: there is no {data_dir}. Give their folder: --data DATA_DIR."]
    for images, masks in PLACES:
        there = _list(data_dir / images)
        files = [path for path in there if stem_of(path) in names]
        if not files:
            continue
        mask_files = _list(data_dir / masks) if images != "." else []
        truth = [mask for image, mask in pair_by_name(there, mask_files)[0] if stem_of(image) in names]
        if len(truth) == len(files):
            return {"image": files, "truth": truth}, []
        missing = f"The truth is not shown: {len(files) - len(truth)} images have no mask in {data_dir / masks}."
        return {"image": files}, [missing] if mask_files else []
    return {}, [
        f"The images are not shown: {data_dir} holds none of the names that were predicted. Give --data DATA_DIR."
    ]


def _list(folder):
    return list_images(folder) if folder.is_dir() else []


def _pages_by_name(found):
    """Return the number of pages of each prediction."""
    files = found.get("mask") or next((files for files in found.values() if files), ())
    return {stem_of(path): sum(source.shape[0] for source in open_sources(path, channels=1)) for path in files}


def _opened(path, part, dataset, n_pages):
    """Return name, shape of a page, dtype and readers of the pages of an image, a mask or a prediction."""
    sources = open_sources(path, dataset=dataset)
    is_image, (n_found, *_) = part == "image", sources[0].shape
    if is_image and n_pages and n_found > n_pages and n_found % n_pages == 0 and len(sources) == 1:
        # The network took pages for channels: what the axes are called allows both.
        sources = open_sources(path, dataset=dataset, channels=n_found // n_pages)
    *_, stored = sources[0].shape
    channels, dtype = (sources[0].shown_channels, sources[0].shown_dtype) if is_image else (stored, sources[0].dtype)
    # Of masks and labels that are stored in colour the first channel is shown.
    in_colour = channels > 1 and part in ("image", "probability")
    shape = sources[0].shape[1:3] + ((channels,) if in_colour else ())
    channel = slice(None) if in_colour else 0
    pages = [(source, page) for source in sources for page in range(source.shape[0])]
    return path.name, shape, dtype, [partial(_read_page, *page, is_image, channel) for page in pages]


def _read_page(source, page, is_image, channel):
    _, height, width, _ = source.shape
    pixels = source.read([slice(page, page + 1), slice(0, height), slice(0, width)])[0]
    return (source.shown(pixels) if is_image else pixels)[..., channel]


def _layers(part, files, size):
    """Return the layers of image files, masks or predictions."""
    stacked = len({shape for _, shape, _, _ in files}) == 1 and all(len(pages) == 1 for *_, pages in files)
    if stacked:
        _, shape, dtype, _ = files[0]
        files = [("", shape, dtype, [read for *_, pages in files for read in pages])]
    made = []
    for name, shape, dtype, pages in files:
        options = {} if size is None else {"scale": tuple(size)}
        options |= {} if not made else {"visible": False}
        title = f"{part} {name}" if name else part
        layer = {"name": title, "kind": "image", "shape": (len(pages), *shape), "dtype": dtype, "pages": pages}
        if part == "probability":
            options |= {"contrast_limits": (0, 1), "colormap": "magma", "opacity": 0.5, "visible": False}
        if part not in ("image", "probability") and np.dtype(dtype).kind in "iu":
            layer["kind"] = "labels"
            options |= {"opacity": 0.4}
        elif part == "image" and shape[2:] == (3,):
            options |= {"rgb": True}
        layer["options"] = options
        made += _per_class(layer) if part == "probability" and len(shape) == 3 else [layer]
    return made


def _per_class(layer):
    """Return a layer for each channel of a probability."""
    count = layer["shape"][-1]
    return [
        layer
        | {
            "name": f"{layer['name']}, channel {channel}",
            "shape": layer["shape"][:-1],
            "pages": [partial(read.func, *read.args[:-1], channel) for read in layer["pages"]],
        }
        for channel in range(count)
    ]
