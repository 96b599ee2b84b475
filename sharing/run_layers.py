"""What of a run can be looked at in a viewer: images, truth, probabilities, masks and instances, read page by page."""

from functools import partial
from pathlib import Path

import numpy as np
import tifffile

from sharing.network_description import voxel_size
from utils.data.data_folder import pair_by_name
from utils.errors import check_choice
from utils.files import read_json
from utils.images.image_files import list_images
from utils.images.sources import stored_pages
from utils.runs.record import recorded_origin

# Folders that a prediction of a run may have.
PREDICTIONS = ("probability", "binary", "labels")
# Where the images of a data folder may lie, and the masks that belong to them.
PLACES = (("test/x", "test/y"), ("x", "y"), (".", "."))
FIRST_CHOICE = ("per_image", "none")


def run_layers(run, *, protocol=None, post=None, data_dir=None):
    """Collect the layers of a run; only headers of files are read.

    Files of one page and one size are stacked along z in the order of their names, other files are layers of their own.

    Parameters
    ----------
    run : str or Path
        ``job_dir/results/<id>_<rid>``.
    protocol, post : str, optional
        Which prediction, as its folders in ``images/`` are called; without them ``per_image`` and ``none`` where they
        are, otherwise the first. All instances of the protocol are shown besides, under the names of their folders.
    data_dir : str or Path, optional
        Folder of the images, and of the truth if there is one; without it the one that the run has on record.

    Returns
    -------
    layers : list of dict
        ``name``; ``kind`` (``image`` or ``labels``); ``shape`` ``(z, y, x)``, of colour ``(z, y, x, 3)``; ``dtype``;
        ``pages``, functions that read a page each; ``options`` of the layer in napari.
    notes : list of str
        What is not there.

    Raises
    ------
    ValueError
        If the folder is not that of a run, or has no such prediction.
    """
    run = Path(run)
    if not (run / "settings.json").is_file():
        raise ValueError(f"{run} is not the folder of a run: it has no settings.json. Give job_dir/results/<id>_<rid>.")
    written = read_json(run / "settings.json")
    protocol, post = _choose(run, protocol, post)
    chosen = run / "images" / protocol / post
    found = {"probability": chosen / "probability", "mask": chosen / "binary"}
    found |= {folder.parent.name: folder for folder in sorted((run / "images" / protocol).glob("*/labels"))}
    found = {part: _saved_files(folder) for part, folder in found.items() if folder.is_dir()}
    names = {path.stem for files in found.values() for path in files}
    data_dir = recorded_origin(written).get("data_dir") if data_dir is None else data_dir
    given, notes = _given_files(data_dir, names)
    size, layers = voxel_size(written.get("voxel_size_nm"), 3), []
    datasets = {"image": written.get("image_dataset"), "truth": written.get("mask_dataset")}
    for part, files in (given | found).items():
        opened = [_stored(path, part, datasets[part]) if part in datasets else _saved(path) for path in files]
        layers += _layers(part, opened, size)
    return layers, notes


def lazy_array(layer):
    """Return the pages of a layer as one array, of which pages are read when they are looked at.

    Parameters
    ----------
    layer : dict
        From `run_layers`.

    Returns
    -------
    dask.array.Array
        Of the layer's shape and dtype.

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


def _choose(run, protocol, post):
    """Return protocol and post-processing: those asked for, the usual ones, or the first."""
    kinds = [folder for part in PREDICTIONS for folder in (run / "images").glob(f"*/*/{part}")]
    there = sorted({folder.parts[-3:-1] for folder in kinds})
    if not there:
        raise ValueError(f"{run} has saved no predictions (images/<protocol>/<post>/). Give a run that has.")
    protocols = tuple(dict.fromkeys(name for name, _ in there))
    if protocol is None:
        protocol = FIRST_CHOICE[0] if FIRST_CHOICE[0] in protocols else protocols[0]
    check_choice("--protocol", protocol, protocols)
    posts = tuple(name for other, name in there if other == protocol)
    if post is None:
        post = FIRST_CHOICE[1] if FIRST_CHOICE[1] in posts else posts[0]
    check_choice("--post", post, posts)
    return protocol, post


def _saved_files(folder):
    return [path for path in list_images(folder) if path.suffix == ".tif"]


def _given_files(data_dir, names):
    """Return image and truth files of the names that were predicted, and what could not be found."""
    data_dir = None if data_dir is None else Path(data_dir)
    if data_dir is None or not data_dir.is_dir():
        return {}, [f"The images are not shown: {data_dir} is not there. Give their folder: --data DATA_DIR."]
    for images, masks in PLACES:
        there = _list(data_dir / images)
        files = [path for path in there if path.stem in names]
        if not files:
            continue
        mask_files = _list(data_dir / masks) if images != "." else []
        truth = [mask for image, mask in pair_by_name(there, mask_files)[0] if image.stem in names]
        if len(truth) == len(files):
            return {"image": files, "truth": truth}, []
        missing = f"The truth is not shown: {len(files) - len(truth)} images have no mask in {data_dir / masks}."
        return {"image": files}, [missing] if mask_files else []
    return {}, [
        f"The images are not shown: {data_dir} holds none of the names that were predicted. Give --data DATA_DIR."
    ]


def _list(folder):
    return list_images(folder) if folder.is_dir() else []


def _saved(path):
    """Return name, shape of a page, dtype and readers of a file that the run wrote."""
    with tifffile.TiffFile(path) as tif:
        page, count = tif.pages.first, len(tif.pages)
        shape, dtype = page.shape, page.dtype
    return path.name, shape, dtype, [partial(_read_saved, path, number) for number in range(count)]


def _read_saved(path, number, channel=None):
    page = tifffile.imread(path, key=number)
    return page if channel is None else page[..., channel]


def _stored(path, part, dataset):
    """Return name, shape of a page, dtype and readers of an image or mask of the data folder."""
    found = stored_pages(path, dataset=dataset)
    channels = found[0].shape[-1] if part == "image" else 1
    shape = found[0].shape[1:3] + ((3,) if channels == 3 else ())
    readers = [partial(_read_stored, pages, number, channels) for pages in found for number in range(pages.shape[0])]
    return path.name, shape, found[0].dtype, readers


def _read_stored(pages, number, channels):
    """Read a page out of the blocks that it lies in."""
    found = np.zeros(pages.shape[1:], pages.dtype)
    depth = pages.block_shape[0]
    for block in pages.block_numbers():
        if block[0] == number // depth:
            _, rows, columns = pages.block_window(block)
            found[rows, columns] = pages.read_block(block)[number % depth]
    return found if channels == 3 else found[..., 0]


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
            "pages": [partial(read.func, *read.args, channel) for read in layer["pages"]],
        }
        for channel in range(count)
    ]
