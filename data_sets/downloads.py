"""Download files: resume partial ones, check them, and name them only once they are complete."""

import hashlib
import os
import shutil
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

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


def download(url, path, *, sha256=None):
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
        Checksum that the file must have, 64 hexadecimal digits. Without it only the length is checked.

    Returns
    -------
    str
        The SHA-256 checksum of the file.

    Raises
    ------
    ValueError
        If the URL is not one of http or https, or the checksum differs.
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
        _fetch(url, part)
        _check(part, sha256, url)
        os.replace(part, path)
        _version_file(part).unlink(missing_ok=True)
    return _check(path, sha256, url)


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


def _check(path, sha256, url):
    found = sha256_of(path)
    if sha256 is not None and found != sha256.lower():
        if path.suffix == ".part":
            _version_file(path).unlink(missing_ok=True)
            path.unlink()  # resuming would never make it right
        raise ValueError(
            f"{path.name.removesuffix('.part')} from {url} has the SHA-256 checksum {found}, expected {sha256}: it is "
            f"damaged or another version. Delete what is there and try again, or: {BY_HAND}"
        )
    return found


def _fetch(url, part):
    """Ask for the file until all of it is in ``part``."""
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(url, part)
            return
        except urllib.error.HTTPError as error:
            reason = f"the server answers {error.code} {error.reason}"
            passing = error.code in PASSING_STATUS
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            reason, passing = (
                str(getattr(error, "reason", error)) or type(error).__name__,
                not isinstance(error, _WebPageError),
            )
        failures = 1 if _size(part) > before else failures + 1
        if not passing or failures >= ATTEMPTS:
            kept = f" {_size(part):,} bytes are kept; the next call resumes there." if _size(part) else ""
            raise ConnectionError(f"{url} could not be downloaded: {reason}.{kept} {BY_HAND}")
        time.sleep(PAUSE_SECONDS * failures)


def _receive(url, part):
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
        if response.headers.get_content_type() == "text/html":
            raise _WebPageError("the server sends a web page instead of the file")
        resumed = response.status == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink()
            raise ConnectionError("the server sends another part of the file than we asked for")
        start = start if resumed else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
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
    if total is not None and _size(part) != total:
        raise ConnectionError(f"the connection ended after {_size(part):,} of {total:,} bytes")


def _version_file(part):
    return part.with_name(f"{part.name}.version")


def _note_version(part, headers):
    """Keep the strong ETag or the date of a file, for `If-Range`."""
    tag = headers.get("ETag", "")
    version = tag if tag.startswith('"') else headers.get("Last-Modified")
    part.unlink(missing_ok=True)  # never an old beginning with a new version
    _version_file(part).unlink(missing_ok=True)
    if version:
        _version_file(part).write_text(version, encoding="latin-1")


class _WebPageError(ConnectionError):
    """A page to log in or to confirm something; trying again does not help."""


def _size(path):
    return path.stat().st_size if path.exists() else 0
