"""Arrays in hdf5 and zarr files: finding the one that is meant, naming its axes, opening it."""

import functools
from pathlib import Path

from utils.images.axes import UnusableImage, axes_of_shape
from utils.images.image_files import is_zarr

# When each file was last written, as of when it was opened.
_last_changed = {}


def _import_zarr(name):
    try:
        import zarr
    except ImportError as error:
        raise ImportError(
            f"{name} needs the package zarr, which is not installed: pip install -r env/requirements-big.txt"
        ) from error
    return zarr


def create_zarr(path, shape, *, chunks, dtype):
    """Make a zarr array of zeros.

    Parameters
    ----------
    path : Path
        Folder to make.
    shape, chunks : tuple of int
        Of the array, and of what is written at once.
    dtype : str or numpy.dtype
        Of the values.
    """
    zarr = _import_zarr(path.name)
    # lz4 with shuffled bytes: probabilities shrink little in any codec, so a fast one.
    compressor = zarr.codecs.BloscCodec(cname="lz4", clevel=3, shuffle="shuffle")
    zarr.create_array(str(path), shape=shape, chunks=chunks, dtype=dtype, compressors=compressor, fill_value=0)


@functools.lru_cache(maxsize=16)
def open_zarr(path, mode):
    """Open a zarr array from `create_zarr`, once per process.

    Parameters
    ----------
    path : str
        Its folder.
    mode : str
        ``r`` to read, ``r+`` to write too.

    Returns
    -------
    zarr.Array
    """
    return _import_zarr(Path(path).name).open_array(path, mode=mode)


def open_array(path, dataset=None):
    """Open an array for reading; the last few stay open.

    Parameters
    ----------
    path : Path
        An hdf5 file or a zarr folder.
    dataset : str, optional
        Name of the array in it, e.g. ``volumes/raw``. It may be omitted if only one array has two or more dimensions,
        and for an OME-Zarr image, whose full resolution is then taken.

    Returns
    -------
    array : h5py.Dataset or zarr.Array
    axes : str
        Names of its axes, as `utils.images.axes`: those in the file, or a guess from the shape.

    Raises
    ------
    UnusableImage
        If the dataset must be named, does not exist, or has a shape of unknown axes.
    """
    changed = Path(path).stat().st_mtime_ns
    if _last_changed.get(path, changed) != changed:  # the hdf5 library returns an open file as it was
        _open_array.cache_clear()
    _last_changed[path] = changed
    return _open_array(str(path), dataset, changed)


@functools.lru_cache(maxsize=4)  # thousands of open hdf5 files would be too many
def _open_array(path, dataset, changed):
    path = Path(path)
    dataset = None if dataset is None else str(dataset).strip("/")  # --set gives a number for the name 0
    arrays, axes = _zarr_arrays(path) if is_zarr(path) else _h5_arrays(path)
    if "" in arrays:  # a zarr folder that is the array itself
        dataset = None
    elif dataset is None and axes:
        dataset = next(iter(axes))  # the full resolution of a pyramid
    arrays = {name: array for name, array in sorted(arrays.items()) if array.ndim >= 2}
    names = ", ".join(f"{name} {tuple(array.shape)}" for name, array in arrays.items()) or "no array of an image"
    if dataset is not None and dataset not in arrays:
        raise UnusableImage(f"it has no dataset {dataset}; it holds {names}")
    if dataset is None and len(arrays) != 1:
        raise UnusableImage(f"it holds {names}; say which (IMAGE_DATASET, MASK_DATASET), or give files of one array")
    name = next(iter(arrays)) if dataset is None else dataset
    return arrays[name], axes.get(name) or axes_of_shape(arrays[name].shape)


def _h5_arrays(path):
    """Return the arrays of an hdf5 file by their names, and the axes of those that name them."""
    import h5py

    file, found = h5py.File(path, "r"), {}
    file.visititems(lambda name, item: found.update({name: item} if isinstance(item, h5py.Dataset) else {}))
    return found, {}


def _zarr_arrays(path):
    """Return the arrays of a zarr folder by name, and the axes of each level of an OME-Zarr image, the finest first."""
    zarr = _import_zarr(path.name)
    root = zarr.open(path, mode="r")
    if isinstance(root, zarr.Array):
        return {"": root}, {}
    arrays = {name: item for name, item in root.members(max_depth=None) if isinstance(item, zarr.Array)}
    attributes = dict(root.attrs)
    pyramids = attributes.get("ome", attributes).get("multiscales")
    if not pyramids:
        return arrays, {}
    axes = pyramids[0].get("axes") or "tczyx"
    letters = "".join((axis if isinstance(axis, str) else axis["name"]).upper() for axis in axes)
    return arrays, {level["path"].strip("/"): letters for level in pyramids[0]["datasets"]}
