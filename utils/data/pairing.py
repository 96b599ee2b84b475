"""Pairing images with masks by their names, and names that results cannot have."""

import os
import re
import unicodedata
from collections import Counter

from utils.images.image_files import stem_of

# What file systems allow for a name is 255 bytes; results need some for their own suffix and while they are written.
LONGEST_NAME = 240


def pair_by_name(image_paths, mask_paths):
    """Pair images with masks by what distinguishes their names within their folder.

    ``testing-0007.png`` pairs with ``testing_groundtruth-0007.png``, ``a.png`` with ``a_mask.png``, ``7.tif`` with
    ``007.tif``. Accents may be one character or two.

    Parameters
    ----------
    image_paths, mask_paths : list of Path
        The files of both folders.

    Returns
    -------
    pairs : list of (Path, Path)
        In the order of the images.
    problems : list of str
        A clause for every file without a partner.
    """
    if set(map(_name, image_paths)) == set(map(_name, mask_paths)):
        image_keys, mask_keys = ({_name(path): path for path in paths} for paths in (image_paths, mask_paths))
    else:
        image_keys, mask_keys = _distinct_parts(image_paths), _distinct_parts(mask_paths)
    problems = []
    if len(image_paths) != len(mask_paths):
        problems.append(f"{len(image_paths)} images but {len(mask_paths)} masks")
    problems += [f"no mask for {path.name}" for key, path in image_keys.items() if key not in mask_keys]
    problems += [f"no image for mask {path.name}" for key, path in mask_keys.items() if key not in image_keys]
    return [(path, mask_keys[key]) for key, path in image_keys.items() if key in mask_keys], problems


def _name(path):
    """Return the name without suffixes, its accents composed: some systems store them apart."""
    return unicodedata.normalize("NFC", stem_of(path))


def _distinct_parts(paths):
    """Map each stem without its folder's common beginning and end (never cutting a number) to its path."""
    stems = [_name(path) for path in paths]
    start = re.sub(r"\d+$", "", os.path.commonprefix(stems))
    end = re.sub(r"\d+$", "", os.path.commonprefix([stem[len(start) :][::-1] for stem in stems]))
    parts = [stem[len(start) : len(stem) - len(end)] for stem in stems]
    numbers = [int(part) if part.isdecimal() else part for part in parts]
    keys = numbers if len(set(numbers)) == len(numbers) else parts  # 1 and 01 are two names
    return dict(zip(keys, paths, strict=True))


def name_problems(paths):
    """Return a clause for each name that results cannot have.

    Parameters
    ----------
    paths : list of Path
        The images.

    Returns
    -------
    list of str
        For names that several images have, that are too long, or that are no Unicode.
    """
    counts = Counter(_name(path) for path in paths)
    problems = [
        f"{count} images are called {name} and differ only in their suffix, so their results would share a name"
        for name, count in counts.items()
        if count > 1
    ]
    for path in paths:
        stored = os.fsencode(stem_of(path))
        try:
            stored.decode()
        except UnicodeDecodeError:
            problems.append(f"the name {stored!r} is no UTF-8, so results cannot have it: rename the file")
            continue
        if len(stored) > LONGEST_NAME:
            problems.append(
                f"the name {path.name[:40]}... has {len(stored)} bytes, of which results can have {LONGEST_NAME}: "
                "rename the file"
            )
    return problems
