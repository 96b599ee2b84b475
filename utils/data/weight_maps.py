"""Weight maps of the U-Net paper: background between objects that are close to each other counts more.

O. Ronneberger, P. Fischer, T. Brox: U-Net: convolutional networks for biomedical image segmentation. MICCAI 2015,
equation 2.
"""

import hashlib
import json
import os
import uuid
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from utils.files import atomic_path
from utils.images.lazy_images import BlockCache, LazyImage
from utils.images.sources import Source
from utils.metrics.components import boxes_of, check_labels, connected_components

# Beyond this many sigma the second term is omitted: w0 exp(-6^2 / 2) = 1.5e-8 w0.
REACH = 6
# Part of the key of cached maps; increase it when the same masks and settings give other maps.
FORMULA = 1
# The part (n, y, x) of a map that is read at once, for images and for volumes.
BLOCK_SHAPES = {3: (1, 1024, 1024), 4: (128, 128, 128)}


def unet_weight_map(mask, *, w0=10.0, sigma=5.0, class_weights=(0.5, 1.0), instances=False):
    """Compute how much each pixel counts, from a mask.

    Equation 2 of Ronneberger et al. (2015): w = w_c + w0 exp(-(d1 + d2)^2 / (2 sigma^2)), where w_c is the weight of
    the class, and d1 and d2 are the distances to the nearest and the second nearest object. As published with the
    study, only the background gets the second term, where there are at least two objects, and distances are measured
    from the centre of a pixel to that of the nearest pixel of the object.

    Objects that touch have no background between them, so that nothing there counts more; the paper first removes a
    line of background from the masks. Terms below 2e-8 w0 are omitted; the others are computed in float32.

    Parameters
    ----------
    mask : numpy.ndarray
        ``(y, x, 1)``, integers or bool: classes, 0 for background, or instance labels. Each slice of a volume
        ``(z, y, x, 1)`` has its own map.
    w0 : float
        At least 0.
    sigma : float
        Pixels, above 0.
    class_weights : sequence of float
        w_c of the background and of each class; with instances, of background and foreground. The paper balances the
        classes: ``(1, utils.training.losses.balancing_weight(masks))``.
    instances : bool
        True: the values of the mask are instance labels. False: objects are the 8-connected components of the
        foreground.

    Returns
    -------
    numpy.ndarray
        float32, shape of the mask, for ``sample_weight``.

    Raises
    ------
    ValueError
        If w0 or sigma is out of range, a class has no weight, or the mask is not a mask.

    Examples
    --------
    >>> mask = np.array([[1, 0, 0, 1, 0, 0, 0]])[..., np.newaxis]
    >>> print(unet_weight_map(mask, w0=10, sigma=5)[..., 0].round(2))
    [[1.   8.85 8.85 1.   6.57 4.25 2.48]]
    """
    labels = check_labels(mask, "mask")
    class_weights = _check(w0, sigma, class_weights)
    classes = (labels > 0).astype(np.uint8) if instances else labels
    if int(classes.max(initial=0)) >= len(class_weights):
        raise ValueError(
            f"the mask holds the class {int(classes.max())}, but class_weights are {class_weights.tolist()}. Give one "
            "weight for each class, the background's first (WEIGHT_MAP_CLASSES in templates), or instances=True for "
            "instance labels."
        )
    weights = class_weights[classes]
    for place in np.ndindex(labels.shape[:-2]):
        slice_labels = labels[place] if instances else connected_components(labels[place])
        weights[place] += _between_objects(slice_labels, w0, sigma)
    return weights[..., np.newaxis]


def _check(w0, sigma, class_weights):
    if not 0 <= w0 < np.inf or not 0 < sigma < np.inf:
        raise ValueError(f"w0 is {w0} and sigma {sigma}; wanted at least 0 and above 0. Use 10 and 5.")
    weights = np.asarray(class_weights, np.float32)
    if weights.ndim != 1 or len(weights) < 2 or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(
            f"class_weights are {class_weights}; wanted a weight, at least 0, of background and of each class. "
            "Use (0.5, 1), say."
        )
    return weights


def _between_objects(labels, w0, sigma):
    """Return the second term of the equation for labels ``(y, x)``, keeping two distances, not one per object."""
    first, second = (np.full(labels.shape, np.inf, np.float32) for _ in range(2))
    for number, window in boxes_of(labels, margin=int(np.ceil(REACH * sigma))):
        outside = (labels[window] != number).view(np.uint8)
        if not outside.any():  # an object as large as the image: no background
            break
        distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        second[window] = np.minimum(second[window], np.maximum(first[window], distance))
        first[window] = np.minimum(first[window], distance)
    term = w0 * np.exp(-((first + second) ** 2) / (2 * sigma**2))
    term[labels > 0] = 0
    return term


def cached_weight_maps(masks, folder, *, w0=10.0, sigma=5.0, class_weights=(0.5, 1.0), instances=False):
    """Compute the weight maps of masks once, and read them from a folder later.

    Each map has its own file, whose name is a hash of the mask and of all settings. Several processes may use one
    folder at the same time.

    Parameters
    ----------
    masks : iterable of numpy.ndarray or LazyImage
        As `unet_weight_map`; sizes may differ. One at a time is in memory.
    folder : str or Path
        Where the maps are stored. You may delete it when no training uses the maps.
    w0, sigma, class_weights, instances
        As `unet_weight_map`.

    Returns
    -------
    list of LazyImage
        float32, one for each mask; pixels are read when they are used.

    Examples
    --------
    >>> import tempfile
    >>> masks, folder = [np.eye(4, dtype=np.uint8)[..., np.newaxis]] * 2, tempfile.mkdtemp()
    >>> maps = cached_weight_maps(masks, folder)
    >>> len(maps), maps[0].shape, len(list(Path(folder).iterdir()))
    (2, (4, 4, 1), 1)
    """
    settings = {"w0": float(w0), "sigma": float(sigma), "instances": bool(instances)}
    settings["class_weights"] = _check(w0, sigma, class_weights).tolist()
    maps, cache = [], BlockCache()
    for mask in map(np.asarray, masks):
        path = Path(folder) / f"{_key(mask, settings)}.npy"
        if not path.exists():
            # Two processes that compute the same map must not write the same temporary file.
            own = path.with_stem(f"{path.stem}_{uuid.uuid4().hex}")
            with atomic_path(own) as temporary:
                np.save(temporary, unet_weight_map(mask, **settings))
            os.replace(own, path)
        maps.append(_stored_map(path, mask.shape, cache))
    return maps


def _stored_map(path, shape, cache):
    pages = shape if len(shape) == 4 else (1, *shape)
    part = Source(path, pages, np.dtype(np.float32), BLOCK_SHAPES[len(shape)], partial(_read_map, path, pages))
    options = {"channels": 1, "dtype": np.float32, "cache": cache, "page": 0 if len(shape) == 3 else None}
    return LazyImage([part], lambda block, source: block, **options)


def _read_map(path, pages, window):
    return np.array(np.load(path, mmap_mode="r").reshape(pages)[window])


def _key(mask, settings):
    about = {**settings, "formula": FORMULA, "shape": mask.shape, "dtype": str(mask.dtype)}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(mask))
    return digest.hexdigest()
