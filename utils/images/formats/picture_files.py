"""Reading png, jpeg and bmp files with the values that viewers show."""

from functools import partial

import cv2
import numpy as np
from PIL import Image, ImageMode, ImageOps

from utils.images.sources import ALPHA_NOTE, Source, without_alpha

# The modes of pillow that are converted. Palettes (P) stay numbers, see `Source.shown_values`.
PLAIN_MODES = {"1": "L", "CMYK": "RGB", "YCbCr": "RGB", "PA": "RGBA"}
# EM slices are large on purpose; pillow would take them for an attack.
Image.MAX_IMAGE_PIXELS = None
# In the Exif data of a picture: above 4 the image lies on its side.
ORIENTATION_TAG = 0x0112


def open_picture(path):
    """Read the header of a png, jpeg or bmp; its pixels are read as a whole.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Source
        Turned as its Exif data says.
    """
    with Image.open(path) as image:
        mode = PLAIN_MODES.get(image.mode, image.mode)
        wide = _has_wide_pixels(image)
        width, height = image.size[::-1] if _orientation(image) > 4 else image.size
        colours = _palette(image) if mode == "P" else None
    dtype = np.dtype(np.uint16) if wide else np.dtype(ImageMode.getmode(mode).typestr)
    bands = ImageMode.getmode(mode).bands
    has_alpha = "A" in bands
    shape = 1, height, width, len(bands) - has_alpha
    notes = (ALPHA_NOTE,) * has_alpha
    read = partial(_read_picture, path, wide, has_alpha)
    return Source(path, shape, dtype, shape[:3], read, shown_values=colours, notes=notes)


def _has_wide_pixels(image):
    """Tell whether a png has several channels of 16 bits, of which pillow reads only 8."""
    return image.format == "PNG" and image.mode in ("RGB", "RGBA", "LA") and ";16" in str(image.tile[0].args)


def _orientation(image):
    """Return the orientation of a picture; pillow would read all of a png without Exif data to find it."""
    has_exif = image.format != "PNG" or "exif" in image.info
    return image.getexif().get(ORIENTATION_TAG, 1) if has_exif else 1


def _palette(image):
    """Return the colour of each number ``(256, 3)``; what a palette lacks is black."""
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    return np.pad(colours, ((0, 256 - len(colours)), (0, 0)))


def _read_picture(path, wide, has_alpha, window):
    with Image.open(path) as image:
        if wide:  # OpenCV orders channels as blue, green, red, and reads grey with alpha as colour
            pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
            pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[-1]]]
            pixels = pixels[..., [0, 3]] if image.mode == "LA" else pixels
        else:
            image = image if _orientation(image) == 1 else ImageOps.exif_transpose(image)
            pixels = np.asarray(image.convert(PLAIN_MODES[image.mode]) if image.mode in PLAIN_MODES else image)
    pixels = pixels.reshape(1, *pixels.shape[:2], -1)
    return (without_alpha(pixels) if has_alpha else pixels)[window]
