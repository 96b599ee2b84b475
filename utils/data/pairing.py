"""Pairing images with masks by their names."""

import os
import re
from collections import Counter


def pair_by_name(image_paths, mask_paths):
    """Pair images with masks by what distinguishes their names within their folder.

    ``testing-0007.png`` pairs with ``testing_groundtruth-0007.png``, ``a.png`` with ``a_mask.png``, ``7.tif`` with
    ``007.tif``.

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
    if {path.stem for path in image_paths} == {path.stem for path in mask_paths}:
        image_keys, mask_keys = ({path.stem: path for path in paths} for paths in (image_paths, mask_paths))
    else:
        image_keys, mask_keys = _distinct_parts(image_paths), _distinct_parts(mask_paths)
    problems = []
    if len(image_paths) != len(mask_paths):
        problems.append(f"{len(image_paths)} images but {len(mask_paths)} masks")
    problems += [f"no mask for {path.name}" for key, path in image_keys.items() if key not in mask_keys]
    problems += [f"no image for mask {path.name}" for key, path in mask_keys.items() if key not in image_keys]
    return [(path, mask_keys[key]) for key, path in image_keys.items() if key in mask_keys], problems


def _distinct_parts(paths):
    """Map each stem without its folder's common beginning and end (never cutting a number) to its path."""
    stems = [path.stem for path in paths]
    start = re.sub(r"\d+$", "", os.path.commonprefix(stems))
    end = re.sub(r"\d+$", "", os.path.commonprefix([stem[len(start) :][::-1] for stem in stems]))
    parts = [stem[len(start) : len(stem) - len(end)] for stem in stems]
    numbers = [int(part) if part.isdecimal() else part for part in parts]
    keys = numbers if len(set(numbers)) == len(numbers) else parts  # 1 and 01 are two names
    return dict(zip(keys, paths, strict=True))


def equal_name_problems(paths):
    """Return a clause for each name that several images have: their results would share a file.

    Parameters
    ----------
    paths : list of Path
        The images.

    Returns
    -------
    list of str
    """
    counts = Counter(path.stem for path in paths)
    return [
        f"{count} images are called {stem} and differ only in their suffix, so their results would share a name"
        for stem, count in counts.items()
        if count > 1
    ]
