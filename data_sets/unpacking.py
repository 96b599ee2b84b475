"""Unpacking zip files that nobody has looked into: bounded, only into one folder, and explained where it fails."""

import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import PurePosixPath

from data_sets.downloads import BY_HAND

# What a zip of images is packed with. Other methods unpack without a bound of memory, or not at all.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What `zipfile` raises where a zip is damaged. OSError is one of a disk, too, if it has a number.
DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError)


def unpack(archive, folder, *, wanted, most_bytes):
    """Unpack some members of a zip file.

    Parameters
    ----------
    archive : Path
        The zip file.
    folder : Path
        Where to; made when missing, in a folder that exists. After an error it may hold a part: give a temporary one.
    wanted : callable
        Takes the path of a member, a `PurePosixPath`, and tells whether it is unpacked.
    most_bytes : int
        All together may have as many bytes.

    Returns
    -------
    bool
        Whether there was a member to unpack.

    Raises
    ------
    ValueError
        If the zip is damaged, or a member is encrypted, packed with another method than deflate, a link, would lie
        outside of the folder, or all together are too large for the limit or the disk.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = [member for member in file.infolist() if wanted(PurePosixPath(member.filename))]
            problem = _problem(members, most_bytes, free=shutil.disk_usage(folder.parent).free)
            if problem is None:
                file.extractall(folder, members)
    except DAMAGED as error:
        problem = f"it is damaged ({error})"
    except OSError as error:
        if error.errno is not None and error.filename != str(archive):
            raise
        problem = f"it cannot be read ({error.strerror or error})"
    if problem:
        raise ValueError(f"{archive} is not unpacked: {problem}. Mend this, or delete it. {BY_HAND}")
    return bool(members)


def _problem(members, most_bytes, *, free):
    total = sum(member.file_size for member in members)
    if total > most_bytes:
        return f"its images have {total:,} bytes when unpacked, expected at most {most_bytes:,}"
    if total > free:
        return f"its images have {total:,} bytes when unpacked, and the disk has {free:,} free"
    return next(filter(None, map(_problem_of_member, members)), None)


def _problem_of_member(member):
    path = PurePosixPath(member.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename:
        return f"{path} would lie outside of the folder"
    if stat.S_ISLNK(member.external_attr >> 16):
        return f"{path} is a link"
    if member.flag_bits & 1:
        return f"{path} is encrypted"
    if member.compress_type not in METHODS:
        return f"{path} is packed with method {member.compress_type}, and only deflate can be unpacked"
    return None
