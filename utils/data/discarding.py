"""Discarding training crops that hold too little foreground."""

import hashlib
from pathlib import Path

import numpy as np

from utils.files import read_json, write_json


def discard_crops(crops, *, min_foreground, cache_dir=None, what="training crops"):
    """Keep the training crops with at least a given share of foreground, and print how many remain.

    Parameters
    ----------
    crops : ImageSet
        Crops with masks; all but class 0 is foreground.
    min_foreground : float
        Share of the pixels or voxels of a crop, 0..1; 0 keeps all crops.
    cache_dir : str or Path, optional
        Stores the choice for later runs, in a file whose name is a hash of all masks and ``min_foreground``.
    what : str
        What the messages call the crops.

    Returns
    -------
    ImageSet

    Raises
    ------
    ValueError
        If the share is not in 0..1, or no crop remains.

    Examples
    --------
    >>> from utils.data.image_set import ImageSet
    >>> masks = [np.full((4, 4, 1), value, np.uint8) for value in (0, 1, 0, 2)]
    >>> discard_crops(ImageSet(masks, masks, list("abcd"), (0, 1, 2)), min_foreground=0.05).names
    2 of 4 training crops kept: at least 5 % foreground.
    ['b', 'd']
    """
    if not 0 <= min_foreground <= 1:
        raise ValueError(
            f"{what}: MIN_FOREGROUND is {min_foreground}; wanted a share from 0 to 1, e.g. 0.05 for 5 % of a crop."
        )
    if min_foreground == 0:
        return crops
    kept = _choice(crops, min_foreground, cache_dir)
    if not kept:
        most = max(map(foreground_share, crops.y), default=0)
        raise ValueError(
            f"none of the {len(crops)} {what} has at least {min_foreground * 100:.3g} % foreground; the most is "
            f"{most * 100:.3g} %. Lower MIN_FOREGROUND (now {min_foreground}) or look at the masks."
        )
    print(f"{len(kept)} of {len(crops)} {what} kept: at least {min_foreground * 100:.3g} % foreground.", flush=True)
    return crops.subset(kept)


def foreground_share(mask):
    """Return the share of a mask that is not 0.

    Parameters
    ----------
    mask : numpy.ndarray
        Any shape.

    Returns
    -------
    float
    """
    return np.count_nonzero(mask) / mask.size


def _choice(crops, min_foreground, cache_dir):
    """Return the numbers of the crops to keep, from the cache if it holds this choice."""
    path = None if cache_dir is None else Path(cache_dir) / f"kept_crops_{_key(crops.y, min_foreground)}.json"
    try:
        if path is not None:
            return read_json(path)["kept"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no file, or an incomplete one
    kept = [number for number, mask in enumerate(crops.y) if foreground_share(mask) >= min_foreground]
    if path is not None:
        try:
            write_json(path, {"min_foreground": min_foreground, "crops": len(crops), "kept": kept})
        except OSError as error:
            print(f"The choice of crops cannot be stored for later runs: {error}", flush=True)
    return kept


def _key(masks, min_foreground):
    """Return a hash of all masks and the setting."""
    digest = hashlib.sha256(repr(float(min_foreground)).encode())
    for mask in masks:
        digest.update(f"{mask.shape} {mask.dtype}".encode())
        digest.update(np.ascontiguousarray(mask))
    return digest.hexdigest()[:32]
