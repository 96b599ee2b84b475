"""Reading volumes from hdf5 and zarr files, which may hold several arrays under names."""

from pathlib import Path

H5_SUFFIXES = (".h5", ".hdf5", ".hdf")
ZARR_SUFFIX = ".zarr"
VOLUME_SUFFIXES = (*H5_SUFFIXES, ZARR_SUFFIX)


def split_address(path, dataset=None):
    """Part ``file.h5:dataset`` into the file and the name of the array in it.

    Parameters
    ----------
    path : str or Path
        A file, or a file with a suffix of ``VOLUME_SUFFIXES``, a colon and a name.
    dataset : str, optional
        Name of the array where the path has none.

    Returns
    -------
    path : Path
    dataset : str or None

    Examples
    --------
    >>> split_address("cells.h5:volumes/raw")[1], split_address("cells.h5", "raw")[1]
    ('volumes/raw', 'raw')
    """
    text = str(path)
    for suffix in VOLUME_SUFFIXES:
        file, colon, name = text.partition(f"{suffix}:")
        if colon and name:
            return Path(file + suffix), name
    return Path(path), dataset


def read_dataset(path, dataset=None):
    """Read an image or volume out of an hdf5 or zarr file.

    Parameters
    ----------
    path : str or Path
        A file with one of ``VOLUME_SUFFIXES`` (zarr: a folder).
    dataset : str, optional
        Name of the array inside, e.g. ``volumes/raw``; may be left out where there is only one of two or more
        dimensions.

    Returns
    -------
    array : numpy.ndarray
        In its stored dtype.
    axes : str
        ``YX``, ``ZYX``, ``ZYXC`` or ``CZYX``, from the shape: 1 or 3 at one end are channels.

    Raises
    ------
    ValueError
        If the dataset must be named, is not there, or has a shape of unknown axes.
    ImportError
        If zarr is needed and not installed.
    """
    path = Path(path)
    if path.suffix.lower() == ZARR_SUFFIX:
        array = _read_zarr(path, dataset)
    else:
        import h5py

        with h5py.File(path, "r") as file:
            found = {}
            file.visititems(lambda name, item: found.update({name: item} if isinstance(item, h5py.Dataset) else {}))
            array = _choose(found, dataset)[...]
    array = array[(0,) * count_single(array.shape)]
    return array, _axes_from_shape(array.shape)


def count_single(shape):
    """Count leading axes of a single time point or channel before a volume.

    Parameters
    ----------
    shape : tuple of int
        Of an array in a file.

    Returns
    -------
    int

    Examples
    --------
    >>> count_single((1, 1, 30, 40, 50)), count_single((1, 40, 50, 3)), count_single((30, 40, 50))
    (2, 0, 0)
    """
    count = 0
    while len(shape) - count > 3 and shape[count] == 1 and not (len(shape) - count == 4 and shape[-1] in (1, 3)):
        count += 1
    return count


def _read_zarr(path, dataset):
    try:
        import zarr
    except ImportError as error:
        raise ImportError(
            f"{path.name} cannot be read without the package zarr: pip install -r env/requirements-big.txt"
        ) from error
    root = zarr.open(path, mode="r")
    if isinstance(root, zarr.Array):
        return root[...]
    arrays = {name: item for name, item in root.members(max_depth=None) if isinstance(item, zarr.Array)}
    return _choose(arrays, dataset)[...]


def _choose(found, dataset):
    """Return the named array, or the only one that can be an image."""
    images = {name: array for name, array in found.items() if array.ndim >= 2}
    names = ", ".join(f"{name} {tuple(array.shape)}" for name, array in images.items()) or "no array of an image"
    if dataset is not None and dataset.strip("/") not in images:
        raise ValueError(f"it has no dataset {dataset}; it holds {names}")
    if dataset is None and len(images) != 1:
        raise ValueError(f"it holds {names}; say which (IMAGE_DATASET, MASK_DATASET), or give files of one array")
    return images[dataset.strip("/")] if dataset is not None else next(iter(images.values()))


def _axes_from_shape(shape):
    if len(shape) in (2, 3):
        return "YX" if len(shape) == 2 else "ZYX"
    if len(shape) == 4 and shape[-1] in (1, 3):
        return "ZYXC"
    if len(shape) == 4 and shape[0] in (1, 3):
        return "CZYX"
    raise ValueError(
        f"the axes of the shape {tuple(shape)} are unknown; wanted (z, y, x), (z, y, x, c) or (c, z, y, x)"
    )
