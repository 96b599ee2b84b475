"""Reading image files of any format. Every image of the project is opened here."""

from utils.images.axes import plain_channels
from utils.images.formats.array_files import open_dataset, open_npy
from utils.images.formats.microscope_files import open_dm, open_mrc, open_nifti
from utils.images.formats.picture_files import open_picture
from utils.images.formats.tif_files import open_tif
from utils.images.image_files import (
    DM_SUFFIXES,
    H5_SUFFIXES,
    MRC_SUFFIXES,
    NIFTI_SUFFIXES,
    NPY_SUFFIX,
    TIF_SUFFIXES,
    is_zarr,
    split_address,
    suffix_of,
)
from utils.images.sources import reading


def open_sources(path, *, dataset=None, one_volume=False, channels=None):
    """Read the header of an image file.

    Parameters
    ----------
    path : str or Path
        A file with one of ``IMAGE_SUFFIXES``; one of several images in a file as ``file.h5:dataset``.
    dataset : str, optional
        Name of the array in an hdf5 or zarr file with several, or of the image in a tif, dm3 or dm4 with several.
    one_volume : bool
        The pages must be the slices of a single volume: axes z, y, x and perhaps channels.
    channels : int, optional
        Channels that are wanted, where axes could be channels or slices.

    Returns
    -------
    list of Source
        One, or one for each page of a tif whose pages differ in size.

    Raises
    ------
    ValueError
        If the file is truncated, is no image, or has axes other than pages, y, x and channels.
    ImportError
        If the format needs a package that is not installed.
    """
    path, dataset = split_address(path, dataset)
    suffix, wanted = suffix_of(path), {"one_volume": one_volume, "channels": channels}
    with reading(path):
        if suffix in TIF_SUFFIXES:
            return open_tif(path, dataset, **wanted)
        if suffix in H5_SUFFIXES or is_zarr(path):
            return [open_dataset(path, dataset, **wanted)]
        if suffix == NPY_SUFFIX:
            return [open_npy(path, **wanted)]
        if suffix in MRC_SUFFIXES:
            return [open_mrc(path, **wanted)]
        if suffix in NIFTI_SUFFIXES:
            return [open_nifti(path, **wanted)]
        if suffix in DM_SUFFIXES:
            return [open_dm(path, dataset, **wanted)]
        return [open_picture(path)]


def read_images(path, *, keep_colour=False, as_labels=False, dataset=None, one_volume=False, channels=None):
    """Read every page of an image file, or every slice of a volume, in its stored dtype.

    An RGB image whose three channels are equal is read as grey. One-bit images become 0 and 255.

    Parameters
    ----------
    path, dataset, one_volume, channels
        As `open_sources`, which also names the errors.
    keep_colour : bool
        Keep three channels even if they are equal.
    as_labels : bool
        Keep the stored numbers of files with a palette instead of the colours that they stand for.

    Returns
    -------
    list of numpy.ndarray
        Each ``(y, x, c)``.
    """
    sources = open_sources(path, dataset=dataset, one_volume=one_volume, channels=channels)
    pages = [page if as_labels else source.shown(page) for source in sources for page in source.read()]
    return [plain_channels(page, keep_colour=keep_colour) for page in pages]
