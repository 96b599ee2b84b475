"""Volumes that stay on disk: any box of them is read by itself.

Zarr (an OME-Zarr image too: its full resolution), hdf5, multi-page tif and folders of slices. The axes of a box are
``(z, y, x, c)``, as everywhere.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

from block_wise.zarr_arrays import UnreadableBlock, describe_unreadable, import_zarr
from utils.images.datasets import H5_SUFFIXES, ZARR_SUFFIX, split_address
from utils.images.image_files import TIF_SUFFIXES, list_images, read_images


class VolumeAddress(NamedTuple):
    """Where a volume lies: a file, a zarr or a folder of slices, and the name of the array in it."""

    path: str
    dataset: str | None = None


class LazyVolume:
    """A volume of which boxes are read.

    Parameters
    ----------
    array : object
        Has ``shape`` and ``dtype`` and gives arrays when indexed with slices along its own axes.
    axes : str
        Its axes by letter: Z, Y, X, C for channels; any other must have the length 1.
    name : str
        For errors.

    Raises
    ------
    ValueError
        If the axes are not those of one volume.
    """

    def __init__(self, array, axes, name):
        lengths = dict(zip(axes, array.shape, strict=True))
        others = {axis: size for axis, size in lengths.items() if axis not in "ZYXC" and size > 1}
        if others or not {"Y", "X"} <= set(lengths):
            raise ValueError(f"{name} has the axes {axes} {tuple(array.shape)}; wanted z, y, x and perhaps channels.")
        self._array, self._axes, self.name = array, axes, name
        self.shape = tuple(int(lengths.get(axis, 1)) for axis in "ZYXC")
        self.dtype = np.dtype(np.uint8 if array.dtype == bool else array.dtype).newbyteorder("=")

    def read(self, box):
        """Read a box of the volume.

        Parameters
        ----------
        box : tuple of slice
            ``(z, y, x)`` with start and stop.

        Returns
        -------
        numpy.ndarray
            ``(z, y, x, c)`` in the stored dtype; true and false become 255 and 0.

        Raises
        ------
        UnreadableBlock
            If a chunk, page or slice in it is damaged or cannot be reached.
        """
        wanted = dict(zip("ZYX", box, strict=True))
        index = tuple(wanted.get(axis, slice(None) if axis == "C" else 0) for axis in self._axes)
        try:
            found = np.asarray(self._array[index])
        except Exception as error:  # every format and codec has errors of its own
            raise UnreadableBlock(f"{self.name} {describe_unreadable(box, error)}") from error
        kept = [axis for axis in self._axes if axis in "ZYXC"]
        found = found.transpose([kept.index(axis) for axis in "ZYXC" if axis in kept])
        found = found if "Z" in kept else found[np.newaxis]
        found = found if "C" in kept else found[..., np.newaxis]
        found = found * np.uint8(255) if found.dtype == bool else found
        return found.astype(self.dtype, copy=False)


def open_volume(address):
    """Open a volume for reading; within a process the same one is opened once.

    Parameters
    ----------
    address : VolumeAddress
        Path of a .zarr, .h5 or .tif, or of a folder of slices; and the array in it, if there are several.

    Returns
    -------
    LazyVolume

    Raises
    ------
    ValueError
        If it is no volume or the array must be named.
    FileNotFoundError
        If it does not exist.
    ImportError
        If zarr is needed and not installed.
    """
    path, _ = split_address(address.path, address.dataset)
    changed = path.stat().st_mtime_ns if path.exists() else None  # one that was replaced is opened anew
    return _open(VolumeAddress(str(address.path), address.dataset), changed)


@functools.lru_cache(maxsize=4)
def _open(address, changed):
    path, dataset = split_address(address.path, address.dataset)
    if not path.exists():
        raise FileNotFoundError(f"the volume {path} does not exist")
    suffix = path.suffix.lower()
    if suffix == ZARR_SUFFIX or (path / "zarr.json").exists() or (path / ".zattrs").exists():
        return LazyVolume(*_open_zarr(path, dataset), path.name)
    if suffix in H5_SUFFIXES:
        return LazyVolume(*_open_h5(path, dataset), path.name)
    if suffix in TIF_SUFFIXES:
        return LazyVolume(*_open_tif(path), path.name)
    if path.is_dir() and list_images(path):
        slices = _Slices(list_images(path))
        return LazyVolume(slices, slices.axes, path.name)
    raise ValueError(f"{path} is no volume. Give a .zarr, .h5 or multi-page .tif, or a folder of slices.")


def middle_box(shape, side=1024):
    """Return the middle of the middle slice of a volume, which stands for the whole where that is too large to look at.

    Parameters
    ----------
    shape : tuple of int
        ``(z, y, x)``, perhaps with channels.
    side : int
        Pixels along y and x at most.

    Returns
    -------
    tuple of slice
        ``(z, y, x)``.

    Examples
    --------
    >>> middle_box((9, 2000, 30))
    (slice(4, 5, None), slice(488, 1512, None), slice(0, 30, None))
    """
    starts = [shape[0] // 2, *(max(0, (size - side) // 2) for size in shape[1:3])]
    lengths = (1, *(min(side, size) for size in shape[1:3]))
    return tuple(slice(start, start + length) for start, length in zip(starts, lengths, strict=True))


def find_volume(folder):
    """Find the one volume of a data folder.

    Parameters
    ----------
    folder : str or Path
        A volume itself (.zarr, .h5, ``file.h5:dataset``, .tif, a folder of slices), or a data folder with a volume in
        ``test/x``.

    Returns
    -------
    Path
        Absolute.

    Raises
    ------
    ValueError
        If there are several, or nothing.
    FileNotFoundError
        If the folder does not exist.
    """
    folder = Path(folder).resolve()
    if not split_address(folder)[0].exists():
        raise FileNotFoundError(f"the volume {split_address(folder)[0]} does not exist")
    return _only_volume(folder / "test" / "x") if (folder / "test" / "x").is_dir() else folder


def find_truth(folder):
    """Find the truth of the volume of a data folder.

    Parameters
    ----------
    folder : str or Path
        As `find_volume`.

    Returns
    -------
    Path or None
        The volume in ``test/y``, absolute; None if there is no such folder.

    Raises
    ------
    ValueError
        If there are several, or nothing.
    """
    inner = Path(folder).resolve() / "test" / "y"
    return _only_volume(inner) if inner.is_dir() else None


def _only_volume(folder):
    found = list_images(folder)
    if len(found) == 1:
        return found[0]
    if not found or any(path.suffix.lower() in (ZARR_SUFFIX, *H5_SUFFIXES) for path in found):
        names = ", ".join(path.name for path in found) or "nothing"
        raise ValueError(f"{folder} holds {names}; wanted one volume. Give its path as data_dir.")
    return found[0].parent


def _open_zarr(path, dataset):
    zarr = import_zarr(path.name)
    try:
        root = zarr.open(str(path), mode="r")
    except Exception as error:
        raise ValueError(f"{path} cannot be opened as zarr: {error}") from error
    if isinstance(root, zarr.Array):
        return root, _axes_of(root.shape, path.name)
    attributes = dict(root.attrs)
    scales = attributes.get("ome", attributes).get("multiscales")
    if scales and dataset is None:  # OME-Zarr: the first array of a pyramid is the full resolution
        axes = scales[0].get("axes") or "tczyx"
        array = root[scales[0]["datasets"][0]["path"]]
        return array, "".join((axis if isinstance(axis, str) else axis["name"]).upper() for axis in axes)
    arrays = {name: item for name, item in root.members(max_depth=None) if isinstance(item, zarr.Array)}
    return _named(arrays, dataset, path.name)


def _open_h5(path, dataset):
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} cannot be opened as hdf5: {error}") from error
    found = {}
    file.visititems(lambda name, item: found.update({name: item} if isinstance(item, h5py.Dataset) else {}))
    return _named(found, dataset, path.name)


def _named(arrays, dataset, name):
    arrays = {key: array for key, array in arrays.items() if array.ndim >= 3}
    listed = ", ".join(f"{key} {tuple(array.shape)}" for key, array in arrays.items()) or "no array of a volume"
    wanted = None if dataset is None else dataset.strip("/")
    if (wanted is not None and wanted not in arrays) or (wanted is None and len(arrays) != 1):
        problem = f"has no array {dataset}; it holds" if dataset else "does not hold one array, but"
        raise ValueError(f"{name} {problem} {listed}. Give the name of one as IMAGE_DATASET.")
    array = arrays[wanted] if wanted is not None else next(iter(arrays.values()))
    return array, _axes_of(array.shape, name)


def _axes_of(shape, name):
    single = 0
    while len(shape) - single > 3 and shape[single] == 1:  # a single time point or channel
        single += 1
    rest = shape[single:]
    if len(rest) == 3:
        return "T" * single + "ZYX"
    if len(rest) == 4 and (rest[-1] in (1, 3) or rest[0] == 3):
        return "T" * single + ("ZYXC" if rest[-1] in (1, 3) else "CZYX")
    raise ValueError(
        f"{name} has the shape {tuple(shape)}; wanted (z, y, x), (z, y, x, c) or (c, z, y, x), c being 1 or 3."
    )


def _open_tif(path):
    """Return the pages of a tif as an array of which boxes are read, page by page, or strip by strip through zarr."""
    try:
        tif = tifffile.TiffFile(path)
        series = tif.series[0]
        axes = "".join("C" if axis == "S" else axis for axis in series.axes)
    except Exception as error:
        raise ValueError(f"{path} cannot be opened as tif: {error}") from error
    if len(tif.series) > 1:
        raise ValueError(f"{path.name} has pages of {len(tif.series)} sizes; the slices of a volume must have one.")
    axes = _with_z(axes, series.shape)
    if series.dataoffset is not None:  # neither compressed nor scattered: mapped, nothing else is read
        return tifffile.memmap(path, mode="r"), axes
    zarr = import_zarr(f"{path.name}, which is compressed,")
    return zarr.open(series.aszarr(), mode="r"), axes


def _with_z(axes, shape):
    """Return the axes of a tif with the slices called Z, whatever the program that wrote it called them."""
    others = [axis for axis, size in zip(axes, shape, strict=True) if axis not in "YXC" and size > 1]
    others = others or ["C" for axis, size in zip(axes, shape, strict=True) if axis == "C" and size not in (1, 3)]
    return axes.replace(others[0], "Z") if len(others) == 1 else axes


class _Slices:
    """The slices of a folder as an array (z, y, x, c); of a slice that is an uncompressed tif only the box is read."""

    def __init__(self, paths):
        self._paths = paths
        first = self._read(0)
        self.axes = "ZYXC"
        self.shape, self.dtype = (len(paths), *first.shape), first.dtype

    def __getitem__(self, index):
        along_z, *plane = index
        return np.stack([self._read(number)[tuple(plane)] for number in range(along_z.start, along_z.stop)])

    def _read(self, number):
        path = self._paths[number]
        image = None
        if path.suffix.lower() in TIF_SUFFIXES:
            try:
                image = tifffile.memmap(path, mode="r")
            except ValueError:  # compressed
                image = None
        if image is None or image.ndim != 2:
            pages = read_images(path, keep_colour=True)
            if len(pages) != 1:
                raise ValueError(f"{path.name} has {len(pages)} pages; wanted one slice in each file of a folder")
            image = pages[0]
        image = image[..., np.newaxis] if image.ndim == 2 else image
        if number and (image.shape != self.shape[1:] or image.dtype != self.dtype):
            raise ValueError(
                f"{path.name} is {image.shape} {image.dtype}, the first slice {self.shape[1:]} {self.dtype}"
            )
        return image
