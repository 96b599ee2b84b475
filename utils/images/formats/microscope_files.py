"""MRC (tomography), NIfTI and DigitalMicrograph (dm3, dm4) files, each read with an optional package."""

import functools
from functools import partial

import numpy as np

from utils.images.axes import (
    UnusableImage,
    check_axes_of_volume,
    pages_shape,
    read_window,
    settle_axes,
)
from utils.images.scale import make_scale
from utils.images.sources import TILE, Source, choose_image, needing, read_mapped

# IMOD marks its files, and tells in a bit whether bytes have a sign (bio3d.colorado.edu/imod/doc/mrc_format.txt).
IMOD_STAMP, SIGNED_BYTES = 1146047817, 1
# NIfTI stores x first. A fourth axis is time, a fifth holds the components of a vector.
NIFTI_AXES = "XYZTCQQ"


def open_mrc(path, *, one_volume=False, channels=None):
    """Read the header of an MRC file (Cheng et al. 2015, J. Struct. Biol. 192:146); any part of its pixels is read.

    The rows are in the order of the file, the first one at the top.

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
    with needing("mrcfile", path.name):
        import mrcfile
    with mrcfile.mmap(path, mode="r") as mrc:
        header, data = mrc.header, mrc.data
        if data is None or data.ndim > 3:
            raise UnusableImage("it holds several volumes" if data is not None else "it holds no image")
        stored = data.dtype, int(header.nbytes + mrc.extended_header.nbytes), data.shape
        order = [int(header[name]) for name in ("maps", "mapr", "mapc")]
        size, place = ([_decimal(lengths[axis]) for axis in "zyx"] for lengths in (mrc.voxel_size, header.origin))
        is_volume = mrc.is_volume()
        stamp, flags = np.frombuffer(header.extra2.tobytes(), header.nx.dtype)[10:12]
    dtype, offset, shape = stored
    if dtype == np.int8 and stamp == IMOD_STAMP and not flags & SIGNED_BYTES:
        dtype = np.dtype(np.uint8)
    axes = "".join("-XYZ"[number] for number in order) if sorted(order) == [1, 2, 3] else "ZYX"
    if len(shape) == 2:
        axes = "YX"
    axes = settle_axes(axes, shape, channels=channels, one_volume=one_volume)
    scale = make_scale([size[0] if is_volume else None, *size[1:]], "angstrom", offset=place)
    n, height, width, n_channels = pages_shape(shape, axes)
    block = 1, min(height, TILE), min(width, TILE)
    read = partial(read_mapped, path, dtype, offset, shape, "C", axes)
    return Source(path, (n, height, width, n_channels), dtype, block, read, scale=scale)


def _decimal(length):
    """Return the decimal number that was stored as a float of 32 bits, such as 0.005."""
    return float(f"{length:.7g}")


def open_nifti(path, *, one_volume=False, channels=None):
    """Read the header of a NIfTI file; a compressed one is read as a whole.

    Voxels are in the order of the file, as x, y, z. Numbers that the header scales become float32.

    Parameters
    ----------
    path, one_volume, channels
        As `open_mrc`.

    Returns
    -------
    Source
    """
    with needing("nibabel", path.name):
        import nibabel
    image = nibabel.load(path)
    stored, shape = image.dataobj, image.shape
    dtype, axes = image.get_data_dtype(), NIFTI_AXES[: image.ndim]
    if dtype.names:
        if len(dtype.names) > 3:
            raise UnusableImage("it holds colours with transparency. Save it as RGB")
        dtype, shape, axes = np.dtype(np.uint8), (*shape, 3), axes.replace("C", "Q") + "S"
    elif (stored.slope, stored.inter) != (1.0, 0.0):
        dtype = np.dtype(np.float32)
    axes = settle_axes(axes, shape, channels=channels, one_volume=one_volume)
    check_axes_of_volume(axes, shape)
    lengths, place = [list(map(_decimal, found)) for found in (image.header.get_zooms()[:3], image.affine[:3, 3])]
    lengths += [None] * (3 - len(lengths))
    scale = make_scale(lengths[::-1], image.header.get_xyzt_units()[0], offset=place[::-1])
    pages = pages_shape(shape, axes)
    whole = path.suffix.lower() == ".gz"
    block = pages[:3] if whole else (1, *pages[1:3])
    return Source(path, pages, dtype, block, partial(_read_nifti, path, dtype, axes), scale=scale)


def _read_nifti(path, dtype, axes, window):
    import nibabel

    stored = nibabel.load(path).dataobj
    return read_window(_Colours(stored) if stored.dtype.names else stored, axes, window).astype(dtype, copy=False)


class _Colours:
    """An array on disk of named bytes, red, green and blue, which become its last axis when it is indexed."""

    def __init__(self, stored):
        self._stored, self.shape = stored, (*stored.shape, 3)

    def __getitem__(self, index):
        found = np.asarray(self._stored[index[:-1]])
        return np.stack([found[name] for name in "RGB"], axis=-1)[..., index[-1]]


def open_dm(path, name=None, *, one_volume=False, channels=None):
    """Read the header of a DigitalMicrograph file (dm3, dm4), and of one image in it.

    Parameters
    ----------
    path : Path
        The file. Its thumbnails are no images.
    name : str, optional
        Title or number of the image if there are several.
    one_volume, channels
        As `utils.images.reading.open_sources`.

    Returns
    -------
    Source
    """
    images = _dm_images(str(path), path.stat().st_mtime_ns)
    number = choose_image([image["metadata"]["General"].get("title", "") for image in images], name)
    found = images[number]
    (shape, dtype), axes = (found["data"].shape, found["data"].dtype), _dm_axes(found["axes"])
    if dtype.names:  # colour, whose fourth byte is not used
        dtype, shape, axes = np.dtype(np.uint8), (*shape, 3), axes + "S"
    axes = settle_axes(axes, shape, channels=channels, one_volume=one_volume)
    check_axes_of_volume(axes, shape)
    along = {axis["name"]: (_decimal(axis["scale"]), axis["units"], axis["offset"]) for axis in found["axes"]}
    sizes, units, place = zip(*(along.get(axis, (None, None, None)) for axis in "zyx"), strict=True)
    scale = make_scale(sizes, units, offset=place)
    pages = pages_shape(shape, axes)
    block = (1, min(pages[1], TILE), min(pages[2], TILE))
    read = partial(_read_dm, path, number, axes)
    return Source(path, pages, dtype, block, read, scale=scale)


def _dm_axes(axes):
    letters = "".join(axis["name"].upper() if axis["name"] in ("x", "y", "z") else "Q" for axis in axes)
    if "Q" in letters and any(axis["name"] for axis in axes if axis["name"] not in ("x", "y", "z", None)):
        names = ", ".join(str(axis["name"]) for axis in axes)
        raise UnusableImage(f"it is a spectrum with the axes {names}, not an image")
    return letters


@functools.lru_cache(maxsize=4)
def _dm_images(path, changed):
    """Return the images of a file, their pixels unread; ``changed`` tells files of one name apart."""
    with needing("rosettasciio", path.rpartition("/")[2]):
        from rsciio.digitalmicrograph import file_reader
    try:
        return file_reader(path, lazy=True)
    except ValueError as error:
        if "RGBA" not in str(error):
            raise
        return file_reader(path)  # colours are read as a whole


def _read_dm(path, number, axes, window):
    stored = _dm_images(str(path), path.stat().st_mtime_ns)[number]["data"]
    return read_window(_Colours(stored) if stored.dtype.names else stored, axes, window)
