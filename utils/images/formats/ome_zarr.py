"""Writing OME-Zarr 0.5: images and labels in levels of resolution, with axes, units, scale and position.

The specification is that of the Open Microscopy Environment, https://ngff.openmicroscopy.org/0.5.
"""

import functools
import math
from pathlib import Path

import numpy as np

from utils.files import is_empty_file
from utils.images.formats.array_files import import_zarr

VERSION = "0.5"
# A volume with more voxels gets coarser levels, until one has no more: a viewer shows that one at once.
COARSEST_VOXELS = 2**24
UNKNOWN = (None, None, None)


def level_factors(shape, scale=None):
    """Return by how much the voxels of each level of a volume are larger than those of the first.

    Each level halves the axes along which voxels are shorter than twice their shortest side: thick slices are halved
    along y and x alone, until voxels are about as long as wide.

    Parameters
    ----------
    shape : tuple of int
        ``(z, y, x)``.
    scale : utils.images.scale.Scale, optional
        Size of a voxel; None: cubes.

    Returns
    -------
    list of tuple of int
        ``(z, y, x)`` of each level, first ``(1, 1, 1)``.

    Examples
    --------
    >>> from utils.images.scale import Scale
    >>> level_factors((165, 768, 1024), Scale((30, 5, 5)))
    [(1, 1, 1), (1, 2, 2), (1, 4, 4)]
    >>> level_factors((100, 100, 100))
    [(1, 1, 1)]
    """
    sizes = scale.voxel_size_nm if scale else UNKNOWN
    sizes = (1.0, 1.0, 1.0) if None in sizes else sizes
    factors = [(1, 1, 1)]
    while math.prod(level_shape(shape, factors[-1])) > COARSEST_VOXELS:
        lengths = [size * factor for size, factor in zip(sizes, factors[-1], strict=True)]
        halved = [length < 2 * min(lengths) for length in lengths]
        factors.append(tuple(factor * (1 + half) for factor, half in zip(factors[-1], halved, strict=True)))
    return factors


def level_shape(shape, factors):
    """Return the shape of a level; voxels at the border may cover less.

    Parameters
    ----------
    shape : tuple of int
        Of the first level.
    factors : tuple of int
        From `level_factors`.

    Returns
    -------
    tuple of int
        ``(z, y, x)``.
    """
    return tuple(-(-size // factor) for size, factor in zip(shape, factors, strict=True))


def create_ome_zarr(path, shape, *, chunks, dtype, scale=None, n_channels=None, labels=False):
    """Make an OME-Zarr image of zeros with all its levels, or describe one that exists anew.

    Parameters
    ----------
    path : Path
        Folder of the image. Labels lie in the folder ``labels`` of an image, which gets a list of them.
    shape, chunks : tuple of int
        ``(z, y, x)`` of the volume, and of what is written at once.
    dtype : str or numpy.dtype
        Of the values.
    scale : utils.images.scale.Scale, optional
        Size of a voxel and position of the first one; what is not known gets no unit.
    n_channels : int, optional
        The arrays are ``(c, z, y, x)``; None: ``(z, y, x)``.
    labels : bool
        Whether the values are classes or numbers of objects.
    """
    zarr = import_zarr(path.name)
    factors = level_factors(shape, scale)
    axes = [{"name": "c", "type": "channel"}] * (n_channels is not None) + _space(scale)
    # lz4 with shuffled bytes: probabilities shrink little in any codec, so a fast one.
    compressor = zarr.codecs.BloscCodec(cname="lz4", clevel=3, shuffle="shuffle")
    stored = {"dtype": np.dtype(dtype), "compressors": compressor, "fill_value": 0}
    stored["dimension_names"] = [axis["name"] for axis in axes]
    channels = () if n_channels is None else (n_channels,)
    for level, factor in enumerate(factors):
        _remove_if_empty(path / str(level) / "zarr.json")
        if not (path / str(level) / "zarr.json").exists():
            along = (*channels, *level_shape(shape, factor))
            zarr.create_array(str(path / str(level)), shape=along, chunks=(*channels, *chunks), **stored)
    pyramid = {"name": path.stem, "axes": axes, "type": "nearest" if labels else "mean"}
    pyramid["datasets"] = [
        {"path": str(level), "coordinateTransformations": _transformations(scale, factor, len(channels))}
        for level, factor in enumerate(factors)
    ]
    content = {"version": VERSION, "multiscales": [pyramid]}
    if labels:
        content["image-label"] = {"source": {"image": "../../"}}
        names = sorted(folder.name for folder in path.parent.iterdir() if (folder / "0" / "zarr.json").exists())
        _describe_group(zarr, path.parent, {"version": VERSION, "labels": names})
    _describe_group(zarr, path, content)


def _space(scale):
    sizes = scale.voxel_size_nm if scale else UNKNOWN
    return [
        {"name": axis, "type": "space"} | ({} if size is None else {"unit": "nanometer"})
        for axis, size in zip("zyx", sizes, strict=True)
    ]


def _transformations(scale, factors, n_leading):
    """Return size and centre of the first voxel of a level."""
    sizes = [1.0 if size is None else float(size) for size in (scale.voxel_size_nm if scale else UNKNOWN)]
    offset = scale.offset_nm if scale else (0.0,) * 3
    centre = [start + (factor - 1) / 2 * size for start, factor, size in zip(offset, factors, sizes, strict=True)]
    steps = [size * factor for size, factor in zip(sizes, factors, strict=True)]
    return [
        {"type": "scale", "scale": [1.0] * n_leading + steps},
        {"type": "translation", "translation": [0.0] * n_leading + centre},
    ]


def _describe_group(zarr, path, content):
    _remove_if_empty(path / "zarr.json")
    group = zarr.open_group(str(path), mode="a")
    if group.attrs.get("ome") != content:
        group.attrs["ome"] = content


def _remove_if_empty(file):
    if is_empty_file(file):
        file.unlink()


@functools.lru_cache(maxsize=16)
def open_level(path, level, mode):
    """Open the array of a level, once per process.

    Parameters
    ----------
    path : str
        Folder of the image.
    level : int
        0 is the full resolution.
    mode : str
        ``r`` to read, ``r+`` to write too.

    Returns
    -------
    zarr.Array
    """
    return import_zarr(Path(path).name).open_array(f"{path}/{level}", mode=mode)
