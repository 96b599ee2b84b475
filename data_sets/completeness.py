"""Whether a file is a text instead of data, or a zip or tif that was cut off, whatever a server announced."""

import struct
import zipfile
from pathlib import Path

import tifffile

TIF_SUFFIXES = (".tif", ".tiff")
# So many bytes at the start of a file show whether it is a text.
START_BYTES = 1024
TEXT_STARTS = (b"<", b"{")


def incompleteness(path):
    """Say why a file cannot be a whole data file, or return None.

    Parameters
    ----------
    path : Path
        The file. The suffix says what it must be; ``.part`` at the end does not count.

    Returns
    -------
    str or None
        A clause.
    """
    with Path(path).open("rb") as file:
        start = file.read(START_BYTES)
    suffix = Path(path.name.removesuffix(".part")).suffix.lower()
    if not start:
        return "is empty"
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(TEXT_STARTS) and _is_text(start):
        return "is a web page or another text"
    if suffix == ".zip" and not zipfile.is_zipfile(path):
        return "is no whole zip file"
    if suffix in TIF_SUFFIXES and not _is_whole_tif(path):
        return "is no whole tif file"
    return None


def _is_text(start):
    return not any(byte < 9 for byte in start)


def _is_whole_tif(path):
    """Return whether all pages lie in the file with all of their pixels; none is decoded."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            _walk_pages(file)
        with tifffile.TiffFile(path) as tif:
            pieces = [piece for page in tif.pages for piece in zip(page.dataoffsets, page.databytecounts, strict=True)]
    except Exception:  # noqa: BLE001  whatever a damaged file makes of the reader
        return False
    return bool(pieces) and all(offset + count <= size for offset, count in pieces)


def _walk_pages(file):
    """Follow the chain of pages to its end, which tifffile does not insist on; raise ``struct.error`` or OSError."""
    order = "<" if file.read(2) == b"II" else ">"

    def number(kind):
        return struct.unpack(order + kind, file.read(struct.calcsize(kind)))[0]

    is_big = number("H") == 43
    count, link, entry = ("Q", "Q", 20) if is_big else ("H", "I", 12)
    file.seek(4 * is_big, 1)
    offset, seen = number(link), set()
    while offset and offset not in seen:
        seen.add(offset)
        file.seek(offset)
        file.seek(number(count) * entry, 1)
        offset = number(link)
