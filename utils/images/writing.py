"""Writing images and volumes as tif, one by one, and reading them again."""

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import takewhile
from pathlib import Path

import numpy as np
import tifffile

from utils.files import atomic_path
from utils.images.axes import stacked_pages
from utils.images.formats.tif_scale import imagej_description, resolution_tags
from utils.images.image_files import ImageName

# A larger tif must be a BigTIFF: 4 GiB less some space for its directory.
CLASSIC_TIF_BYTES = 2**32 - 2**25


class ImageWriter:
    """Write images or volumes one by one; a file appears once its last page is written.

    Parameters
    ----------
    folders : list of Path
        One folder for each image given to ``write``.
    names : list of ImageName
        In the order of the calls of ``write``; a volume that came as slices counts as its slices.
    """

    def __init__(self, folders, names):
        self._folders = [Path(folder) for folder in folders]
        self._names = [part for name in names for part in name.slices or [name]]
        self._position = 0
        self._open = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._open is not None:
            # An incomplete stack never appears under its name.
            reason = error if error[0] is not None else (ValueError, ValueError("a page is missing"), None)
            self._open[1].__exit__(*reason)
            self._open = None

    def write(self, *images):
        """Write the next image ``(y, x, c)`` or volume ``(z, y, x, c)`` of every folder.

        One channel is written without its axis. The tifs hold the size of the pixels, if the names do, as ImageJ and
        Bio-Formats read it.
        """
        name = self._names[self._position]
        self._position += 1
        if self._open is None:
            stack = ExitStack()
            writers = []
            following = self._names[self._position - 1 :]
            pages = sum(1 for _ in takewhile(lambda other: other.file == name.file, following))
            for folder, image in zip(self._folders, images, strict=True):
                temporary = stack.enter_context(atomic_path(folder / name.output))
                is_big = pages * image.nbytes > CLASSIC_TIF_BYTES
                writers.append(stack.enter_context(tifffile.TiffWriter(temporary, bigtiff=is_big)))
            self._open = writers, stack
        for writer, image in zip(self._open[0], images, strict=True):
            _write_image(writer, image, name)
        last = self._position == len(self._names) or self._names[self._position].file != name.file
        if last:
            self._open[1].close()
            self._open = None


def _write_image(writer, image, name):
    """Append an image or a volume to an open tif, as ImageJ reads it unless it is one page of several."""
    options = {"compression": "zlib", "compressionargs": {"level": 1}, "metadata": None}
    options |= resolution_tags(name.scale, in_cm=name.page is not None)
    n_channels = image.shape[-1]
    is_colour = n_channels == 3 and image.dtype == np.uint8
    options["photometric"] = "rgb" if is_colour else "minisblack"
    if name.page is not None or is_colour and image.ndim == 3:
        options |= {"planarconfig": "contig"} if n_channels > 1 else {}
        writer.write(image[..., 0] if n_channels == 1 else image, **options)
        return
    volume = image if image.ndim == 4 else image[np.newaxis]
    planes = volume if is_colour else np.moveaxis(volume, -1, 1).reshape(-1, *volume.shape[1:3])
    description = imagej_description(name.scale, slices=len(volume), channels=1 if is_colour else n_channels)
    for plane in planes:
        writer.write(plane, description=description, **options)
        description = None


def write_pairs(folder, images, masks):
    """Write the first four images or volumes with their masks as tifs, to look at in a viewer.

    Parameters
    ----------
    folder : str or Path
        Gets ``x/00.tif``, ``y/00.tif`` and so on.
    images, masks : sequence of numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``; written as they are.
    """
    names = [ImageName(f"{number:02d}.tif") for number in range(min(len(images), 4))]
    with ImageWriter([Path(folder) / "x", Path(folder) / "y"], names) as writer:
        for image, mask in zip(images[:4], masks[:4], strict=True):
            writer.write(image, mask)


class SavedImages(Sequence):
    """Images or volumes that ``ImageWriter`` wrote, read like a list: one is in memory at a time.

    Parameters
    ----------
    folder, names
        As it was given.
    """

    def __init__(self, folder, names):
        self.folder = Path(folder)
        self._names = list(names)

    def __len__(self):
        return len(self._names)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return SavedImages(self.folder, self._names[index])
        name = self._names[index]
        if name.slices is None:
            return self._read(name)[0]
        return np.concatenate([self._read(part) for part in name.slices or [name]])

    def _read(self, name):
        """Read an image or a volume as ``(n, y, x, c)``."""
        with tifffile.TiffFile(self.folder / name.output) as tif:
            found = tif.series[0] if name.page is None else tif.pages[name.page]
            return stacked_pages(found.asarray(), found.axes.replace("S", "C"))
