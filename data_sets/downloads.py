"""Download files: resume partial ones, check them, and name them only once they are complete."""

import hashlib
import os
import shutil
import ssl
import struct
import time
import urllib.error
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path

import tifffile
from tqdm.auto import tqdm

CHUNK_BYTES = 1 << 20
BY_HAND = "Download it in a browser and give the folder it is in as --files FOLDER."
# A download is given up after so many attempts in a row that brought nothing.
ATTEMPTS = 5
# A server that does not answer for so long fails the attempt.
TIMEOUT_SECONDS = 30.0
# The pause before the second attempt; twice as long before the third, and so on.
PAUSE_SECONDS = 2.0
# A server that answers with one of these may answer otherwise a moment later.
PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
TIF_SUFFIXES = (".tif", ".tiff")
# So many bytes at the start of a file show whether it is a text.
START_BYTES = 1024
TEXT_STARTS = (b"<", b"{")


def download(url, path, *, sha256=None, size=None):
    """Download a file, unless it is there already; resume what an earlier call left unfinished.

    The file grows as ``<name>.part`` and gets its name when it is complete and its checksum is right. The version that
    the server states is kept in ``<name>.part.version``: if the file has changed meanwhile, the download starts anew.

    Parameters
    ----------
    url : str
        With http or https.
    path : str or Path
        The file; its folder is made when missing.
    sha256 : str, optional
        Checksum that the file must have, 64 hexadecimal digits. With or without it, a zip or tif must be whole.
    size : int, optional
        Bytes that the file must have.

    Returns
    -------
    str
        The SHA-256 checksum of the file.

    Raises
    ------
    ValueError
        If the URL is not one of http or https, or the file is not whole or not the one on record.
    ConnectionError
        If the server cannot be reached, refuses, or sends a web page instead; the message names the URL, the reason and
        the remedy.
    OSError
        If the disk is full.
    """
    path = Path(path)
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url} cannot be downloaded: only http:// and https:// can.")
    if not path.is_file():
        part = path.with_name(f"{path.name}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        if url.startswith("http://"):
            checked = (
                "what arrives is checked by its SHA-256" if sha256 else "nothing shows whether the file was changed"
            )
            print(f"Note: {url} is not encrypted (http); {checked}.")
        _fetch(url, part, size)
        check_file(part, url, sha256=sha256, size=size)
        os.replace(part, path)
        _version_file(part).unlink(missing_ok=True)
    return check_file(path, url, sha256=sha256, size=size)


def sha256_of(path):
    """Return the SHA-256 checksum of a file.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path, url, *, sha256=None, size=None):
    """Check a file against what is on record and return its checksum; a partial download that is wrong is removed.

    Parameters
    ----------
    path : Path
        The file.
    url : str
        Where it comes from.
    sha256, size
        As `download`.

    Returns
    -------
    str
        The SHA-256 checksum of the file.

    Raises
    ------
    ValueError
        If the size or the checksum differs, or the file is a text or is cut off.
    """
    found, problem = sha256_of(path), None
    if size is not None and path.stat().st_size != size:
        problem = f"has {path.stat().st_size:,} bytes, expected {size:,}"
    elif sha256 is not None and found != sha256.lower():
        problem = f"has the SHA-256 checksum {found}, expected {sha256}"
    else:
        problem = incompleteness(path)
    if problem is None:
        return found
    if path.suffix == ".part":
        _remove(path)  # resuming would never make it right
    raise ValueError(
        f"{path.name.removesuffix('.part')} from {url} {problem}: it is damaged or another version. Delete what is "
        f"there and try again, or: {BY_HAND}"
    )


def _fetch(url, part, size):
    """Ask for the file until all of it is in ``part``."""
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(url, part, size)
            return
        except urllib.error.HTTPError as error:
            reason = f"the server answers {error.code} {error.reason}"
            passing = error.code in PASSING_STATUS
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
            passing = not isinstance(error, _WrongFileError)
        failures = 1 if _size(part) > before else failures + 1
        if not passing or failures >= ATTEMPTS:
            kept = f" {_size(part):,} bytes are kept; the next call resumes there." if _size(part) else ""
            raise ConnectionError(f"{url} could not be downloaded: {reason}.{kept} {BY_HAND}")
        time.sleep(PAUSE_SECONDS * failures)


def _receive(url, part, size):
    """Append what is missing of the file to ``part``, or start anew where the server cannot resume."""
    start = _size(part)
    headers = {"User-Agent": "Mozilla/5.0 (python urllib)"}
    if start:
        headers["Range"] = f"bytes={start}-"
        version = _version_file(part)
        # With If-Range a server sends the whole file if it has changed.
        headers |= {"If-Range": version.read_text(encoding="latin-1")} if version.exists() else {}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:  # 416: there is nothing after what we have
            raise
        if error.headers.get("Content-Range") == f"bytes */{start}":
            return
        part.unlink()
        raise ConnectionError(
            f"the {start:,} bytes of an earlier download are not the beginning of this file"
        ) from error
    with response:
        if response.headers.get_content_maintype() == "text":
            raise _WrongFileError("the server sends a web page or another text instead of the file")
        resumed = response.status == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink()
            raise ConnectionError("the server sends another part of the file than we asked for")
        start = start if resumed else 0
        total = _announced(response, start)
        if None not in (total, size) and total != size:
            _remove(part)
            raise _WrongFileError(f"the server announces {total:,} bytes, expected {size:,}")
        if total is not None and total - start > shutil.disk_usage(part.parent).free:
            raise OSError(f"{part.parent} has no room for {part.name}: {total - start:,} bytes are missing. Free some.")
        if not resumed:
            _note_version(part, response.headers)
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
        ):
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
                if size is not None and file.tell() > size:
                    break  # `check_file` refuses it
    if total is not None and _size(part) != total:
        raise ConnectionError(f"the connection ended after {_size(part):,} of {total:,} bytes")


def _announced(response, start):
    """Return the length of the whole file, or None where the server states none or no number."""
    length = response.headers.get("Content-Length", "").strip()
    return start + int(length) if length.isdecimal() and len(length) < 20 else None


def _version_file(part):
    return part.with_name(f"{part.name}.version")


def _note_version(part, headers):
    """Keep the strong ETag or the date of a file, for `If-Range`."""
    tag = headers.get("ETag", "")
    version = tag if tag.startswith('"') else headers.get("Last-Modified")
    _remove(part)  # never an old beginning with a new version
    if version:
        _version_file(part).write_text(version, encoding="latin-1")


def _remove(part):
    _version_file(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


class _WrongFileError(ConnectionError):
    """Another file, as a page to log in or to confirm something; trying again does not help."""


def _size(path):
    return path.stat().st_size if path.exists() else 0


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
