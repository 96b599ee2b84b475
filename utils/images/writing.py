"""Writing images and volumes as tif, one by one, and reading them again."""

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import takewhile
from pathlib import Path

import numpy as np
import tifffile

from utils.files import atomic_path
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

        One channel is written without its axis. A volume becomes a tif with the axes ZYX, or ZYXS with several
        channels.
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
            _write_image(writer, image)
        last = self._position == len(self._names) or self._names[self._position].file != name.file
        if last:
            self._open[1].close()
            self._open = None


def _write_image(writer, image):
    """Append an image, or a volume with its axes, to an open tif."""
    is_volume, n_channels = image.ndim == 4, image.shape[-1]
    image = image[..., 0] if n_channels == 1 else image
    options = {"photometric": "rgb" if n_channels == 3 else "minisblack"}
    options |= {"planarconfig": "contig"} if n_channels > 1 else {}
    options["metadata"] = {"axes": "ZYX" if n_channels == 1 else "ZYXS"} if is_volume else None
    writer.write(image, compression="zlib", compressionargs={"level": 1}, **options)


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
            return self._read(name, dimensions=3, key=name.page or 0)
        if name.slices:
            return np.stack([self._read(part, dimensions=3, key=part.page or 0) for part in name.slices])
        return self._read(name, dimensions=4)

    def _read(self, name, dimensions, **options):
        image = tifffile.imread(self.folder / name.output, **options)
        return image[..., np.newaxis] if image.ndim == dimensions - 1 else image
