"""Reading tif files with the values that viewers show: of microscopes, ImageJ, Bio-Formats and paint programs."""

import functools
import importlib.util
import re
from functools import partial

import numpy as np
import tifffile

from utils.images.axes import (
    UnusableImage,
    check_axes_of_volume,
    pages_shape,
    read_window,
    settle_axes,
    stacked_pages,
)
from utils.images.formats.tif_scale import scale_of_page, scale_of_tif
from utils.images.sources import ALPHA_NOTE, TILE, Source, choose_image, read_mapped, without_alpha

SHOWN_PHOTOMETRICS = [tifffile.PHOTOMETRIC[name] for name in ("MINISWHITE", "MINISBLACK", "RGB", "PALETTE", "YCBCR")]
# What turns pages (n, y, x, c) upright, by the orientation tag.
TURNED = {
    2: lambda pages: pages[:, :, ::-1],
    3: lambda pages: pages[:, ::-1, ::-1],
    4: lambda pages: pages[:, ::-1],
    5: lambda pages: pages.swapaxes(1, 2),
    6: lambda pages: pages.swapaxes(1, 2)[:, :, ::-1],
    7: lambda pages: pages.swapaxes(1, 2)[:, ::-1, ::-1],
    8: lambda pages: pages.swapaxes(1, 2)[:, ::-1],
}


def open_tif(path, name=None, *, one_volume=False, channels=None):
    """Read the header of a tif; without compression any part of its pixels is read, otherwise whole pages.

    Values of which zero is white are inverted. ImageJ shows the stored values whatever the tag says, and so do we.
    Thumbnails, masks of transparency and the lower levels of pyramids are no images.

    Parameters
    ----------
    path : Path
        The file. Files that list each other in their OME-XML are an image each.
    name : str, optional
        Name or number of the series to read if there are several.
    one_volume, channels
        As `utils.images.reading.open_sources`.

    Returns
    -------
    list of Source
        One, or one for each page if the pages differ in size.

    Raises
    ------
    UnusableImage
        If it holds no image, several of which none is chosen, no single volume where one is wanted, or pixels that
        cannot be shown.
    """
    with open_file(path) as tif:
        found = [series for series in tif.series if _is_image(series.keyframe)]
        if not found:
            raise UnusableImage("it holds no image")
        titles = [series.name for series in found]
        if name is not None:
            found = [found[choose_image(titles, name)]]
        if len(found) == 1:
            return [_source(path, tif, found[0], one_volume, channels)]
        if found[0].kind not in ("generic", "uniform") and any(len(series.pages) > 1 or tif.is_ome for series in found):
            choose_image(titles)  # says which there are
        if one_volume:
            raise UnusableImage(f"its pages have {len(found)} different sizes; the slices of a volume must have one")
        # Pages of different sizes, which tifffile groups by size.
        pages = sorted((page for series in found for page in series.pages), key=lambda page: page.index)
        return [_page_source(path, tif, page, channels) for page in pages]


def open_file(path):
    """Open a tif; other files that its OME-XML lists are left alone.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    tifffile.TiffFile
    """
    tif = tifffile.TiffFile(path, _multifile=False)
    text = tif.ome_metadata if tif.is_ome else ""
    if len(set(re.findall(r'FileName="([^"]*)"', text))) > 1 or "<BinaryOnly" in text:
        tif.close()
        tif = tifffile.TiffFile(path, is_ome=False)
    return tif


def _is_image(page):
    return not page.is_reduced and not page.is_mask


def _has_alpha(page, channels):
    """Tell whether the last sample of each pixel is transparency, unless as many channels are wanted."""
    samples = page.samplesperpixel
    stated = {int(kind) for kind in page.extrasamples} & {1, 2}
    rgba = page.photometric == tifffile.PHOTOMETRIC.RGB and samples == 4
    return samples > 1 and samples != channels and (bool(stated) or rgba)


def _source(path, tif, series, one_volume, channels):
    """Return the pages of a series."""
    page, axes = series.keyframe, series.axes
    # tifffile writes four slices of a volume as the planes of one image in colour.
    has_alpha = _has_alpha(page, channels) and not (one_volume and axes == "SYX")
    # ImageJ calls slices channels too, unless it was told how to colour them.
    certain = has_alpha or series.kind == "ome" or (tif.imagej_metadata or {}).get("mode") in ("composite", "color")
    axes = settle_axes(axes, series.shape, channels=channels, one_volume=one_volume, certain=certain)
    if one_volume:
        check_axes_of_volume(axes, series.shape)
    shape = count, height, width, _ = pages_shape(series.shape, axes)
    number = tif.series.index(series)
    numbers = [None if page is None else page.index for page in series.pages]
    if None in numbers:
        raise UnusableImage("pages that its description lists are missing. Save it again with all of them")
    if series.dataoffset is not None:
        stored = np.dtype(tif.byteorder + series.dtype.char), series.dataoffset, series.shape
        block, read = (1, min(height, TILE), min(width, TILE)), partial(read_mapped, path, *stored, "C", axes)
    elif len(numbers) == count:
        block, read = (1, height, width), partial(_read_pages, path, numbers)
        if one_volume and len(page.dataoffsets) > 1:
            read = partial(_read_segments, path, number, numbers, axes, (height, width))
    else:  # the channels of a page stand apart
        block, read = shape[:3], partial(_read_whole, path, number, axes)
    found = Source(path, shape, series.dtype, block, read, scale=scale_of_tif(tif, series))
    return _as_shown(found, page, tif, has_alpha)


def _page_source(path, tif, page, channels):
    shape = pages_shape(page.shape, page.axes.replace("S", "C"))
    read = partial(_read_pages, path, [page.index])
    found = Source(path, shape, page.dtype, shape[:3], read, scale=scale_of_page(tif, page))
    return _as_shown(found, page, tif, _has_alpha(page, channels))


def _as_shown(source, page, tif, has_alpha):
    """Return a source with the values that viewers show, upright and without alpha channel."""
    photometric, bits = page.photometric, page.bitspersample
    if photometric not in SHOWN_PHOTOMETRICS:
        raise UnusableImage(f"its colours are stored as {photometric.name}. Save it in grey or as RGB")
    if has_alpha:
        *pages, stored = source.shape
        source.shape, source.notes = (*pages, stored - 1), (*source.notes, ALPHA_NOTE)
        _read_by_pages(source, without_alpha)
    orientation = int(page.tags.valueof("Orientation") or 1)
    if orientation in TURNED:
        _read_by_pages(source, TURNED[orientation])
        if orientation > 4:
            n, y, x, c = source.shape
            source.shape = (n, x, y, c)
            source.block_shape = source.shape[:3]
    if tif.is_imagej:
        return source
    if photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        if page.dtype.kind not in "bu":
            raise UnusableImage(
                f"zero is white in it, but its {page.dtype} numbers have no black. Save it with zero as black"
            )
        source.read_stored = partial(_inverted, source.read_stored, 2**bits - 1)
    if photometric == tifffile.PHOTOMETRIC.PALETTE:
        colours = page.colormap.T
        source.shown_values = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)
    elif source.shape[3] == 1 and page.dtype.kind == "u" and bits < 8 * page.dtype.itemsize:
        # Of 12 bits 4095 is white; uint16 has 65535 for it.
        white = np.iinfo(page.dtype).max
        source.shown_values = (np.arange(2**bits)[:, np.newaxis] * white // (2**bits - 1)).astype(page.dtype)
    return source


def _read_by_pages(source, change):
    """Let a source read whole pages, change them, and cut the window out."""
    n, height, width, _ = source.shape
    source.block_shape = (source.block_shape[0], height, width)
    source.read_stored = partial(_changed, source.read_stored, (slice(0, height), slice(0, width)), change)


def _changed(read, page, change, window):
    return change(read((window[0], *page)))[:, window[1], window[2]]


def _inverted(read, white, window):
    pixels = read(window)
    return ~pixels if pixels.dtype == bool else pixels.dtype.type(white) - pixels


def _read_pages(path, numbers, window):
    """Read pages of a tif, each as a whole, and cut the window out."""
    numbers = numbers[window[0]]
    with open_file(path) as tif:
        axes = tif.pages[numbers[0]].axes.replace("S", "C")
        pixels = tif.asarray(key=numbers)
    return stacked_pages(pixels, axes if len(numbers) == 1 else f"Q{axes}")[:, *window[1:]]


def _read_segments(path, number, numbers, axes, shape, window):
    """Read only the tiles or strips that hold a part of the pages if zarr is installed, otherwise whole pages."""
    is_part = [part.stop - part.start for part in window[1:]] != list(shape)
    if is_part and importlib.util.find_spec("zarr") is not None:
        return read_window(_as_array(str(path), number, path.stat().st_mtime_ns), axes, window)
    return _read_pages(path, numbers, window)


@functools.lru_cache(maxsize=4)
def _as_array(path, number, changed):
    """Return a series of a tif as a zarr array; ``changed`` tells files of one name apart."""
    import zarr

    return zarr.open(open_file(path).series[number].aszarr(level=0), mode="r")


def _read_whole(path, number, axes, window):
    with open_file(path) as tif:
        return stacked_pages(tif.series[number].asarray(), axes)[window]
