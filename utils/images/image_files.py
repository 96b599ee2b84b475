"""Which files are images, and in which order; addresses of arrays in files; names of images."""

from pathlib import Path
from typing import NamedTuple

from utils.files import why_not_there
from utils.images.file_order import in_order
from utils.images.scale import Scale

TIF_SUFFIXES = (".tif", ".tiff")
H5_SUFFIXES = (".h5", ".hdf5", ".hdf")
ZARR_SUFFIX = ".zarr"
# Files that may hold several arrays under names.
DATASET_SUFFIXES = (*H5_SUFFIXES, ZARR_SUFFIX)
NPY_SUFFIX = ".npy"
MRC_SUFFIXES = (".mrc", ".rec", ".st", ".map", ".ali")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
DM_SUFFIXES = (".dm3", ".dm4")
IMAGE_SUFFIXES = (".png", *TIF_SUFFIXES, ".jpg", ".jpeg", ".bmp", NPY_SUFFIX, *DATASET_SUFFIXES)
IMAGE_SUFFIXES += MRC_SUFFIXES + NIFTI_SUFFIXES + DM_SUFFIXES
DOUBLE_SUFFIXES = (".ome.tif", ".ome.tiff", ".ome.zarr", ".nii.gz")
# Formats of images that are not read.
OTHER_FORMATS = tuple(
    ".czi .nd2 .lif .gif .webp .jp2 .psd .dcm .nrrd .mha .mhd .raw .ims .oib .oif .vsi .svs .ndpi .lsm .npz .mat .n5 "
    ".gz .bif .scn .stk .fits .dat .bin .svg .heic".split()
)
# The formats in a sentence.
FORMATS = "png, tif, npy, hdf5, zarr, mrc, nifti, dm3, dm4"


class ImageName(NamedTuple):
    """What an image or volume is called in messages and in the files of results.

    Attributes
    ----------
    file : str
        Name of the file it came from.
    page : int, optional
        Its page in a file of several images.
    slices : tuple of ImageName, optional
        None for an image. For a volume the names of its slices if each is a file of its own, otherwise empty.
    scale : Scale, optional
        Size of a voxel and its position, if known; results are written with it.
    """

    file: str
    page: int | None = None
    slices: tuple | None = None
    scale: Scale | None = None

    def __str__(self):
        return self.file if self.page is None else f"{self.file} page {self.page}"

    @property
    def output(self):
        """Name of the file that results are written to: that of the input, as tif."""
        return f"{Path(self.file).parent / stem_of(self.file)}.tif"


def stem_of(path):
    """Return the name of a file without its suffixes: of ``a.ome.tif`` and ``a.nii.gz`` it is ``a``.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    str
    """
    name = Path(path).name
    double = (known for known in DOUBLE_SUFFIXES if name.lower().endswith(known))
    return name[: -len(next(double, Path(name).suffix)) or None]


def suffix_of(path):
    """Return the suffix that tells the format of a file, in lower case: ``.nii.gz`` for a compressed NIfTI file.

    Parameters
    ----------
    path : PurePath
        The file.

    Returns
    -------
    str
    """
    is_nifti = path.name.lower().endswith(".nii.gz")
    return ".nii.gz" if is_nifti else path.suffix.lower()


def is_zarr(path):
    """Tell whether a path is a zarr folder, by its suffix or by the files that describe one.

    Parameters
    ----------
    path : Path
        A file or folder.

    Returns
    -------
    bool
    """
    described = (path / name for name in ("zarr.json", ".zgroup", ".zarray", ".zattrs"))
    return path.suffix.lower() == ZARR_SUFFIX or any(file.is_file() for file in described)


def list_images(folder):
    """List the image files of a folder, in the order of the numbers in their names (``im_2`` before ``im_10``).

    Hidden files and files with other suffixes (``Thumbs.db``, ``notes.txt``) are ignored, see `passed_over`. If a
    folder holds a single folder and no images, that folder is listed: Keras' doubled layout ``x/x/``.

    Parameters
    ----------
    folder : str or Path
        Where to look.

    Returns
    -------
    list of Path

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder {why_not_there(folder)}")
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "~"))]
    folders = [entry for entry in entries if entry.is_dir()]
    files = [entry for entry in entries if suffix_of(entry) in IMAGE_SUFFIXES and entry not in folders]
    arrays = [entry for entry in folders if is_zarr(entry)]
    files, folders = files + arrays, [entry for entry in folders if entry not in arrays]
    if not files and len(folders) == 1:
        return list_images(folders[0])
    return in_order(files)


def passed_over(folder):
    """List what lies beside the images of a folder and is not read, although it may hold images too.

    Parameters
    ----------
    folder : str or Path
        As `list_images`.

    Returns
    -------
    files : list of str
        Names of files with the suffix of another image format or with none.
    folders : list of str
        Names of folders that are no arrays, and of links that lead nowhere.
    """
    entries = [entry for entry in Path(folder).iterdir() if not entry.name.startswith((".", "~"))]
    files = [entry for entry in entries if entry.is_file() and not is_zarr(entry)]
    others = [entry for entry in files if suffix_of(entry) in OTHER_FORMATS or not entry.suffix]
    folders = [entry for entry in entries if entry.is_dir() and not is_zarr(entry)]
    if len(folders) == 1 and not any(suffix_of(entry) in IMAGE_SUFFIXES for entry in files):
        return passed_over(folders[0])  # it holds the images
    links = [entry for entry in entries if entry.is_symlink() and not entry.exists()]
    links = [entry for entry in links if suffix_of(entry) not in IMAGE_SUFFIXES]  # of the others the reader tells
    return [entry.name for entry in in_order(others)], [entry.name for entry in in_order(folders + links)]


def split_address(path, dataset=None):
    """Split ``file.h5:dataset`` into the file and the name of the array in it.

    Parameters
    ----------
    path : str or Path
        A file; after a suffix of ``DATASET_SUFFIXES`` a colon and a name may follow.
    dataset : str, optional
        Name of the array if the path has none.

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
    for suffix in DATASET_SUFFIXES:
        file, colon, name = text.partition(f"{suffix}:")
        if colon and name:
            return Path(file + suffix), name
    return Path(path), dataset
