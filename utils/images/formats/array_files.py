"""Arrays in hdf5, zarr and npy files: finding the one that is meant, its axes and its scale; opening it."""

import functools
import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.images.axes import (
    UnusableImage,
    axes_of_shape,
    check_axes_of_volume,
    page_axis,
    pages_shape,
    read_window,
    settle_axes,
    stacked_pages,
)
from utils.images.image_files import is_zarr
from utils.images.scale import Scale, make_scale
from utils.images.sources import TILE, Source, needing

# Attributes with the size of a voxel, and its unit if the attribute ``units`` does not name another.
SIZE_ATTRIBUTES = {"element_size_um": "um", "resolution": "nm", "voxel_size": "nm"}
SHOWN_ARRAYS = 12

# When each file was last written, as of when it was opened.
_last_changed = {}


def import_zarr(name):
    """Return the package zarr, or raise an ``ImportError`` that names what needs it.

    Parameters
    ----------
    name : str
        Name of the file.

    Returns
    -------
    module
    """
    with needing("zarr", name, "requirements-big.txt"):
        import zarr
    return zarr


class Member(NamedTuple):
    """An array in a file, and what the file says about it.

    Attributes
    ----------
    array : h5py.Dataset or zarr.Array
        Its pixels.
    axes : str
        Names of its axes; empty if the file does not name them.
    scale : Scale or None
        Size of a voxel.
    """

    array: object
    axes: str = ""
    scale: Scale | None = None


def open_dataset(path, dataset=None, *, one_volume=False, channels=None):
    """Read the header of an hdf5 or zarr file; its pixels are read in chunks.

    Parameters
    ----------
    path, dataset
        As `open_array`.
    one_volume, channels
        As `utils.images.reading.open_sources`.

    Returns
    -------
    Source
    """
    array, axes, scale = open_array(path, dataset)
    axes = axes or axes_of_shape(array.shape, channels)
    axes = settle_axes(axes, array.shape, channels=channels, one_volume=one_volume)
    check_axes_of_volume(axes, array.shape)
    along = dict(zip(axes, array.chunks or array.shape, strict=True))
    if array.chunks is None:
        along = {axis: min(size, TILE) if axis in "YX" else 1 for axis, size in along.items()}
    block = along.get(page_axis(axes, array.shape), 1), along["Y"], along["X"]
    read = partial(_read_dataset, path, dataset, axes)
    return Source(path, pages_shape(array.shape, axes), np.dtype(array.dtype), block, read, scale=scale)


def _read_dataset(path, dataset, axes, window):
    return read_window(open_array(path, dataset).array, axes, window)


def open_npy(path, *, one_volume=False, channels=None):
    """Read the header of a NumPy file; any part of its pixels is read.

    Parameters
    ----------
    path : Path
        The file.
    one_volume, channels
        As `utils.images.reading.open_sources`.

    Returns
    -------
    Source
    """
    array = np.load(path, mmap_mode="r")
    axes = axes_of_shape(array.shape, channels)
    axes = settle_axes(axes, array.shape, channels=channels, one_volume=one_volume)
    shape = pages_shape(array.shape, axes)
    block = 1, min(shape[1], TILE), min(shape[2], TILE)
    return Source(path, shape, array.dtype, block, partial(_read_npy, path, axes))


def _read_npy(path, axes, window):
    return np.array(stacked_pages(np.load(path, mmap_mode="r"), axes)[window])


def open_array(path, dataset=None):
    """Open an array for reading; the last few stay open.

    Parameters
    ----------
    path : Path
        An hdf5 file or a zarr folder.
    dataset : str, optional
        Name of the array in it, e.g. ``volumes/raw``, or of an OME-Zarr image, whose full resolution is then taken. It
        may be omitted if only one array has two or more dimensions, and for the only OME-Zarr image.

    Returns
    -------
    Member

    Raises
    ------
    UnusableImage
        If the dataset must be named, does not exist, or is described in a way that does not fit it.
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
    members, images = _zarr_members(path) if is_zarr(path) else (_h5_members(path), {})
    if "" in members:  # a zarr folder that is the array itself
        return members[""]
    members = {name: member for name, member in sorted(members.items()) if member.array.ndim >= 2}
    if dataset is None and images:
        unlabelled = [name for name in images if "labels" not in name.split("/")]
        dataset = "" if "" in images else unlabelled[0] if len(unlabelled) == 1 else None
    dataset = images.get(dataset, dataset)
    if dataset is None and len(members) == 1:
        (dataset,) = members
    if dataset not in members:
        levels = {name: members[first] for name, first in sorted(images.items()) if name and first in members}
        shown = [f"{name} {tuple(member.array.shape)}" for name, member in (levels or members).items()]
        more = f" and {len(shown) - SHOWN_ARRAYS} more" * (len(shown) > SHOWN_ARRAYS)
        names = ", ".join(shown[:SHOWN_ARRAYS]) + more or "no array of an image"
        if dataset is not None:
            raise UnusableImage(f"it has no dataset {dataset}; it holds {names}")
        raise UnusableImage(f"it holds {names}; say which (IMAGE_DATASET, MASK_DATASET), or give files of one array")
    member = members[dataset]
    if member.axes and len(member.axes) != member.array.ndim:
        raise UnusableImage(
            f"{dataset} has the shape {tuple(member.array.shape)}, but its axes are called {member.axes}"
        )
    return member


def _h5_members(path):
    """Return the arrays of an hdf5 file by their names."""
    import h5py

    file, found = h5py.File(path, "r"), {}
    file.visititems(lambda name, item: found.update({name: item} if isinstance(item, h5py.Dataset) else {}))
    return {name: Member(array, *_described(dict(array.attrs), array.ndim)) for name, array in found.items()}


def _zarr_members(path):
    """Return the arrays of a zarr folder by name, and the name of the finest level of each OME-Zarr image."""
    zarr = import_zarr(path.name)
    root = zarr.open(path, mode="r")
    if isinstance(root, zarr.Array):
        return {"": _zarr_member(root)}, {}
    items = {"": root, **dict(root.members(max_depth=None))}
    members = {name: _zarr_member(item) for name, item in items.items() if isinstance(item, zarr.Array)}
    images = {}
    for name, group in items.items():
        attributes = {} if isinstance(group, zarr.Array) else dict(group.attrs)
        for pyramid in attributes.get("ome", attributes).get("multiscales") or []:
            for number, level in enumerate(pyramid["datasets"]):
                array = f"{name}/{level['path']}".strip("/")
                images |= {} if number or name in images else {name: array}
                if array in members:
                    members[array] = Member(members[array].array, *_level(pyramid, level))
    return members, images


def _zarr_member(array):
    names = getattr(array.metadata, "dimension_names", None)
    known = {"axes": names} if names and None not in names else {}
    return Member(array, *_described(known | dict(array.attrs), array.ndim))


def _level(pyramid, level):
    """Return the axes and the scale of one level of an OME-Zarr image (versions 0.1 to 0.5)."""
    axes = pyramid.get("axes") or list("tczyx")
    axes = [{"name": axis} if isinstance(axis, str) else axis for axis in axes]
    types = {"channel": "C", "time": "T"}
    letters = "".join(types.get(axis.get("type")) or _letter(axis["name"]) for axis in axes)
    scale, offset = np.ones(len(axes)), np.zeros(len(axes))
    stated = False
    for step in [*level.get("coordinateTransformations", []), *pyramid.get("coordinateTransformations", [])]:
        if "scale" in step:
            stated = True
            scale, offset = scale * step["scale"], offset * step["scale"]
        offset = offset + step.get("translation", 0)
    along = {letter: (scale[n], axes[n].get("unit"), offset[n]) for n, letter in enumerate(letters)}
    return letters, _scale_along(along) if stated else None


def _scale_along(along):
    """Return the scale of ``{axis: (size, unit, offset)}``."""
    if not {"Y", "X"} <= along.keys():
        return None
    sizes, units, offset = zip(*(along.get(axis, (None, None, None)) for axis in "ZYX"), strict=True)
    return make_scale(sizes, units, offset=offset)


def _described(attributes, ndim):
    """Return the axes and the scale of an array that its attributes state: ilastik, xarray, CREMI, BigDataViewer."""
    axes = _named_axes(attributes)
    spatial = [axis for axis in axes if axis in "ZYX"] or list("ZYX" if ndim >= 3 else "YX")
    sizes, unit = next(
        ((np.ravel(attributes[name]), unit) for name, unit in SIZE_ATTRIBUTES.items() if name in attributes), ((), None)
    )
    if len(sizes) != len(spatial) or np.asarray(sizes).dtype.kind not in "iuf":
        return axes, None
    stated = np.ravel(attributes.get("units", unit)).tolist()
    units = [_text(u) for u in (stated if len(stated) == len(spatial) else stated[:1] * len(spatial))]
    offset = np.ravel(attributes.get("offset", ())).tolist()
    offset = offset if len(offset) == len(spatial) else [0.0] * len(spatial)
    return axes, _scale_along(
        {axis: values for axis, *values in zip(spatial, map(float, sizes), units, offset, strict=True)}
    )


def _named_axes(attributes):
    """Return the axes that the attributes of an array name, or nothing."""
    if "axistags" in attributes:  # ilastik and vigra
        names = [axis["key"] for axis in json.loads(_text(attributes["axistags"]))["axes"]]
    else:
        found = (attributes[name] for name in ("axes", "_ARRAY_DIMENSIONS", "DIMENSION_LABELS") if name in attributes)
        names = next(found, ())
        names = list(_text(names)) if isinstance(names, str | bytes) else [_text(name) for name in np.ravel(names)]
    letters = "".join(map(_letter, names))
    return letters if {"Y", "X"} <= set(letters) else ""


def _letter(name):
    return {"CHANNEL": "C", "CHANNELS": "C", "TIME": "T"}.get(name.upper(), name.upper() if len(name) == 1 else "Q")


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)
