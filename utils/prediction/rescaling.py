"""Images with voxels of another size than those of the training: noticed, and resampled for the network if wanted."""

import numpy as np
from scipy import ndimage

from utils.errors import shortened
from utils.images.scale import Scale, close, scale_of

# Sizes that differ from those of the training by more than this share are worth a note: augmentation covers less.
NOTED_DIFFERENCE = 0.2


def voxel_size_note(names, trained, *, volumes, remedy):
    """Say that images have voxels of quite another size than the training images, or return None.

    Parameters
    ----------
    names : list of ImageName
        They hold the scale of each image.
    trained : float, tuple of float or None
        Voxel size of the training images in nanometres.
    volumes : bool
        Whether z counts.
    remedy : str
        A sentence that is added.

    Returns
    -------
    str or None
        None too if a size is not known: then only the other axes count, or none.
    """
    wanted, found = _along(scale_of(trained), volumes), {}
    for name in names:
        size = _along(name.scale, volumes)
        known = [(a, b) for a, b in zip(size, wanted, strict=True) if None not in (a, b)]
        if any(abs(a - b) > NOTED_DIFFERENCE * b for a, b in known):
            found.setdefault(size, []).append(str(name))
    if not found:
        return None
    kind = "voxels" if volumes else "pixels"
    sizes = "; ".join(f"the {kind} of {shortened(files)} are {_words(size)}" for size, files in found.items())
    return f"{sizes}; those of the training images were {_words(wanted)}. {remedy}"


def zoom_factors(names, trained, *, volumes):
    """Return by how much each image must be enlarged so that its voxels have the size of those of the training.

    Parameters
    ----------
    names, trained, volumes
        As `voxel_size_note`.

    Returns
    -------
    list of tuple of float
        ``(z, y, x)`` or ``(y, x)`` of each; ones where sizes agree within one per cent.

    Raises
    ------
    ValueError
        If a size is not known.
    """
    wanted, kind = _along(scale_of(trained), volumes), "voxels" if volumes else "pixels"
    if None in wanted:
        raise ValueError(
            f"RESCALE needs the size of the {kind} of the training images, which the run does not know; write it into "
            f'its checkpoints/network.json, e.g. "voxel_size_nm": {[5.0] * len(wanted)} in nanometres, or set RESCALE '
            "to False."
        )
    sizes = [_along(name.scale, volumes) for name in names]
    unknown = [str(name) for name, size in zip(names, sizes, strict=True) if None in size]
    if unknown:
        raise ValueError(
            f"RESCALE needs the size of the {kind}, which is not known of {shortened(unknown)}. Give VOXEL_SIZE_NM, or "
            "set RESCALE to False."
        )
    return [
        (1.0,) * len(wanted) if close(size, wanted) else tuple(a / b for a, b in zip(size, wanted, strict=True))
        for size in sizes
    ]


def resampled_images(images, trained, *, volumes):
    """Resample images one by one to the voxel size of the training.

    Parameters
    ----------
    images : ImageSet
        Their names hold the scale of each.
    trained, volumes
        As `zoom_factors`, which also says what is refused.

    Returns
    -------
    iterator of numpy.ndarray
        As `resample`.
    """
    factors = zoom_factors(images.names, trained, volumes=volumes)
    return (
        resample(
            np.asarray(image), [max(1, round(size * zoom)) for size, zoom in zip(image.shape, along, strict=False)]
        )
        for image, along in zip(images.x, factors, strict=True)
    )


def resample(image, shape):
    """Resample an image or volume linearly to another number of pixels; the outer borders stay in their places.

    Where it becomes smaller it is smoothed before, as the larger pixels of a microscope average more. The standard
    deviation of that is half of what the pixels grow by.

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``.
    shape : sequence of int
        Without channels.

    Returns
    -------
    numpy.ndarray
        Of the same dtype; integers are rounded.

    Examples
    --------
    >>> resample(np.array([[[0], [4]]], np.uint8), (1, 4))[0, :, 0].tolist()
    [0, 1, 3, 4]
    """
    old = image.shape[:-1]
    if tuple(shape) == old:
        return image
    factors = [new / size for new, size in zip(shape, old, strict=True)]
    spread = [max(0, (1 / factor - 1) / 2) for factor in factors]
    found = np.empty((*shape, image.shape[-1]), image.dtype)
    for channel in range(image.shape[-1]):
        pixels = image[..., channel].astype(np.float32)
        pixels = ndimage.gaussian_filter(pixels, spread, mode="nearest") if any(spread) else pixels
        pixels = ndimage.zoom(pixels, factors, order=1, mode="nearest", grid_mode=True)
        found[..., channel] = np.rint(pixels) if image.dtype.kind in "iu" else pixels
    return found


def _along(scale, volumes):
    """Return ``(z, y, x)`` or ``(y, x)`` of a scale, None where it is not known."""
    return (scale.voxel_size_nm if scale else (None,) * 3)[0 if volumes else 1 :]


def _words(size):
    return str(Scale(tuple(size)))
