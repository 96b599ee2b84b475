"""Seeded synthetic electron-microscopy volumes of brain tissue with mitochondria ground truth.

`data_sets.synthetic_tissue` grows the tissue; this module images it and writes a data folder.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from data_sets.synthetic_tissue import paint_tissue


def _acquire(rng, image):
    """Image the tissue: blur, noise (white and slightly correlated), per-slice brightness and contrast; uint8."""
    image = ndimage.gaussian_filter(image, (0, 0.7, 0.7))
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    soft = ndimage.gaussian_filter(rng.standard_normal(image.shape, dtype=np.float32), (0, 0.8, 0.8))
    image += 11 * grain + 26 * soft
    gain = rng.normal(1, 0.015, (len(image), 1, 1)).astype(np.float32)
    offset = rng.normal(0, 1.5, (len(image), 1, 1)).astype(np.float32)
    return np.clip(np.rint((image - 132) * gain + 132 + offset), 0, 255).astype(np.uint8)


def _check_seed(seed):
    """Raise ValueError unless the seed is one or several non-negative integers; None would not be reproducible."""
    numbers = np.asarray(seed)
    if numbers.dtype.kind not in "iu" or numbers.size == 0 or (numbers < 0).any():
        raise ValueError(f"seed is {seed!r}, but a non-negative integer (or several) is needed; try 0.")


def _check_volume_arguments(shape, voxel_size_nm, foreground_fraction):
    """Return shape and voxel size as a tuple and an array, or raise ValueError."""
    sizes, steps = np.asarray(shape), np.asarray(voxel_size_nm)
    if sizes.shape != (3,) or sizes.dtype.kind not in "iu" or (sizes < 1).any():
        raise ValueError(f"shape is {shape!r}, but three positive integers (z, y, x) are needed; try (32, 256, 256).")
    if steps.shape != (3,) or steps.dtype.kind not in "iuf" or not (np.isfinite(steps) & (steps > 0)).all():
        raise ValueError(
            f"voxel_size_nm is {voxel_size_nm!r}, but three positive lengths (z, y, x) in nm are needed; "
            "try (5.0, 5.0, 5.0)."
        )
    if not 0 <= foreground_fraction <= 0.5:
        raise ValueError(
            f"foreground_fraction is {foreground_fraction!r}, but a share from 0 to 0.5 is needed; brain tissue has "
            "about 0.1."
        )
    return tuple(int(size) for size in sizes), steps.astype(float)


def synthetic_em_volume(shape, seed, *, voxel_size_nm=(5.0, 5.0, 5.0), foreground_fraction=0.10):
    """Make a synthetic electron-microscopy volume of brain tissue with labelled mitochondria.

    Parameters
    ----------
    shape : sequence of int
        Voxels along (z, y, x), each at least 1.
    seed : int or sequence of int
        Not negative; the same arguments and seed give the same bytes.
    voxel_size_nm : sequence of float
        Voxel size along (z, y, x) in nm. All structures are sized in nm: (5, 5, 5) resembles FIB-SEM, (50, 5, 5) serial
        sections, and (20, 20, 20) gives small toy volumes with whole cells.
    foreground_fraction : float
        Wanted share of mitochondria voxels, 0 to 0.5; usually reached within a fifth of it. Volumes narrower than a
        mitochondrion (about 400 nm in y or x) may have none.

    Returns
    -------
    image : numpy.ndarray
        uint8 ``(z, y, x, 1)``: grey values 0..255 with a mean of about 130; membranes are dark.
    labels : numpy.ndarray
        uint16 ``(z, y, x, 1)``: as `data_sets.synthetic_tissue.paint_tissue`. The mask is ``labels > 0``.

    Raises
    ------
    ValueError
        If the shape, the voxel size or the fraction is not as described.

    Examples
    --------
    >>> image, labels = synthetic_em_volume((8, 64, 64), 0, voxel_size_nm=(20, 20, 20))
    >>> image.shape, image.dtype.name, labels.dtype.name
    ((8, 64, 64, 1), 'uint8', 'uint16')
    """
    shape, voxel = _check_volume_arguments(shape, voxel_size_nm, foreground_fraction)
    _check_seed(seed)
    rng = np.random.default_rng(seed)
    image, labels = paint_tissue(rng, shape, voxel_size_nm=voxel, foreground_fraction=foreground_fraction)
    return _acquire(rng, image)[..., None], labels[..., None]


def write_demo_data(
    folder, seed=0, *, n_train=24, n_test=8, train_volumes=1, image_shape=(256, 256), voxel_size_nm=(5.0, 5.0, 5.0)
):
    """Write synthetic training and test slices with masks as 8-bit png.

    Test slices are consecutive. Training slices come from one or more other volumes and are consecutive within each:
    many volumes of few slices show more different tissue than few of many.

    Parameters
    ----------
    folder : str or Path
        Gets ``train/x``, ``train/y``, ``test/x`` and ``test/y`` with ``x_0000.png``, ``y_0000.png`` and so on.
    seed : int
        Not negative; train and test use independent random numbers.
    n_train, n_test : int
        Number of slices.
    train_volumes : int
        Number of training volumes, each of ``n_train / train_volumes`` slices.
    image_shape : sequence of int
        Pixels along (y, x).
    voxel_size_nm : sequence of float
        As `synthetic_em_volume`; a larger z step shows more different tissue in as many slices.

    Returns
    -------
    Path
        The folder. Images are uint8 grey values 0..255, masks uint8 0 or 255.

    Raises
    ------
    ValueError
        If the folder already holds a train or test folder, or an argument is not as described.
    """
    folder = Path(folder)
    present = [name for name in ("train", "test") if (folder / name).exists()]
    if present:
        raise ValueError(
            f"The folder {folder} already holds {' and '.join(present)}, which would be overwritten; "
            "remove it or choose another folder."
        )
    _check_seed(seed)
    if train_volumes < 1 or n_train % train_volumes:
        raise ValueError(
            f"n_train {n_train} is not a multiple of train_volumes {train_volumes}; choose numbers that fit."
        )
    seeds = [(seed, 0, *([number] if number else [])) for number in range(train_volumes)]
    train_shape, test_shape = ((count, *image_shape) for count in (n_train // train_volumes, n_test))
    volumes = [synthetic_em_volume(train_shape, stream, voxel_size_nm=voxel_size_nm) for stream in seeds]
    parts = {
        "train": [np.concatenate(arrays) for arrays in zip(*volumes, strict=True)],
        "test": synthetic_em_volume(test_shape, (seed, 1), voxel_size_nm=voxel_size_nm),
    }
    for name, (image, labels) in parts.items():
        for kind, stack in (("x", image), ("y", (labels > 0).astype(np.uint8) * 255)):
            (folder / name / kind).mkdir(parents=True)
            for number, picture in enumerate(stack[..., 0]):
                Image.fromarray(picture).save(folder / name / kind / f"{kind}_{number:04d}.png")
    return folder
