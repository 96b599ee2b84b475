"""Random boxes that are cut out, blurred, made noisy or exchanged with another sample.

``image`` is float32 ``(y, x, c)`` or ``(z, y, x, c)`` in its stored units and changed in place; ``box`` is a tuple of
slices, one for each axis but the channels.
"""

import cv2
import numpy as np

from generators.options import fill_value, number_range, whole_range
from generators.section_transforms import grey_of

CUT_OPTIONS = ("cutmix_size", "cutblur_size", "cutnoise_size", "cutout_size")


def cut_options(
    *,
    cutmix_size,
    cutblur_size,
    cutblur_factor,
    cutblur_inside,
    cutnoise_size,
    cutnoise_strength,
    cutout_size,
    cutout_fill,
    cutout_mask,
    cut_count,
):
    """Return the options of this module, checked.

    Parameters
    ----------
    cutmix_size, cutblur_size, cutblur_factor, cutblur_inside, cutnoise_size, cutnoise_strength
        As ``ImageDataGenerator``.
    cutout_size, cutout_fill, cutout_mask, cut_count
        As ``ImageDataGenerator``.

    Returns
    -------
    dict of str to object
        None for options that are off.

    Raises
    ------
    ValueError
        If an option is out of its range; the message gives it.
    """
    options = {"cutblur_inside": cutblur_inside, "cutout_mask": cutout_mask}
    sizes = (cutmix_size, cutblur_size, cutnoise_size, cutout_size)
    for name, size in zip(CUT_OPTIONS, sizes, strict=True):
        options[name] = number_range(name, size, example=(0.2, 0.4), highest=1)
    options["cutblur_factor"] = whole_range("cutblur_factor", cutblur_factor, example=(2, 8), required=True)
    options["cutnoise_strength"] = number_range(
        "cutnoise_strength", cutnoise_strength, example=(0.1, 0.2), required=True
    )
    options["cutout_fill"] = fill_value("cutout_fill", cutout_fill, ("mean",))
    options["cut_count"] = whole_range("cut_count", cut_count, example=(1, 2), required=True)
    return options


def random_box(rng, shape, size):
    """Draw a box; all places are equally likely.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    shape : tuple of int
        ``(y, x)`` or ``(z, y, x)`` of the image.
    size : tuple of float
        ``(low, high)`` of its size as a share of the shape, the same along all axes; at least one pixel.

    Returns
    -------
    tuple of slice

    Examples
    --------
    >>> random_box(np.random.default_rng(0), (10, 20), (1, 1))
    (slice(0, 10, None), slice(0, 20, None))
    """
    share = rng.uniform(*size)
    return moved_box(rng, shape, [max(1, round(share * length)) for length in shape])


def moved_box(rng, shape, sides):
    """Draw the place of a box of a given size.

    Parameters
    ----------
    rng, shape
        As `random_box`.
    sides : sequence of int
        Its size along these axes.

    Returns
    -------
    tuple of slice
    """
    corner = [int(rng.integers(length - side + 1)) for length, side in zip(shape, sides, strict=True)]
    return tuple(slice(start, start + side) for start, side in zip(corner, sides, strict=True))


def cutout(image, box, grey, *, mask=None):
    """Fill a box with a grey value, after T. DeVries and G. W. Taylor, arXiv 1708.04552 (2017).

    Parameters
    ----------
    image, box
        See the head of this module.
    grey : float or numpy.ndarray
        Grey value, for all channels or one each.
    mask : numpy.ndarray, optional
        Set to 0 there.

    Examples
    --------
    >>> image = np.ones((1, 5, 1), np.float32)
    >>> cutout(image, (slice(0, 1), slice(1, 3)), 0)
    >>> image.ravel().tolist()
    [1.0, 0.0, 0.0, 1.0, 1.0]
    """
    image[box] = grey
    if mask is not None:
        mask[box] = 0


def cutblur(image, box, factor, *, inside=True, isotropic=False):
    """Show a box at a lower resolution, after J. Yoo, N. Ahn and K.-A. Sohn, CVPR 2020.

    Parameters
    ----------
    image, box
        See the head of this module.
    factor, isotropic
        As `coarse`.
    inside : bool
        False: the box stays sharp, and everything around it changes.

    Examples
    --------
    >>> image = np.arange(6, dtype=np.float32).reshape(1, 6, 1)
    >>> cutblur(image, (slice(0, 1), slice(2, 6)), 2)
    >>> image.ravel().tolist()
    [0.0, 1.0, 2.5, 2.5, 4.5, 4.5]
    """
    if inside:
        image[box] = coarse(image[box], factor, isotropic=isotropic)
        return
    sharp = image[box].copy()
    image[...] = coarse(image, factor, isotropic=isotropic)
    image[box] = sharp


def coarse(part, factor, *, isotropic=False):
    """Return an image at a lower resolution, in its old size.

    Parameters
    ----------
    part : numpy.ndarray
        float32, ``(y, x, c)`` or ``(z, y, x, c)``.
    factor : int
        So many pixels along y and x become one, their mean; where the size is no multiple of it, nearly so many.
    isotropic : bool
        Merge the slices of volumes too.

    Returns
    -------
    numpy.ndarray
        float32, of the same shape.

    Examples
    --------
    >>> coarse(np.array([[0, 2, 4, 6]], np.float32)[..., np.newaxis], 2)[..., 0].tolist()
    [[1.0, 1.0, 5.0, 5.0]]
    """
    *slices, height, width, channels = part.shape
    part = np.ascontiguousarray(part).reshape(-1, height, width, channels)
    part = np.stack([_resize_twice(plane, (height // factor, width // factor)) for plane in part])
    if isotropic and slices:
        part = _resize_twice(part.reshape(len(part), -1, 1), (len(part) // factor, height * width * channels))
    return part.reshape(*slices, height, width, channels)


def _resize_twice(plane, size):
    """Return a plane ``(y, x, c)`` after resizing it to ``(y, x)``, at least one pixel, and back."""
    (height, width), resized = (max(1, length) for length in size), np.empty_like(plane)
    for channel in range(plane.shape[-1]):
        small = cv2.resize(np.ascontiguousarray(plane[..., channel]), (width, height), interpolation=cv2.INTER_AREA)
        resized[..., channel] = cv2.resize(small, plane.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return resized


def cutnoise(image, box, strength, limits, rng):
    """Add uniform noise to a box, the same in all channels.

    Parameters
    ----------
    image, box
        See the head of this module.
    strength : float
        Noise is uniform in +- this fraction of the way from black to white.
    limits : tuple of float
        Grey values of black and white, at which the result is clipped.
    rng : numpy.random.Generator
        Source of randomness.

    Examples
    --------
    >>> image = np.full((1, 4, 1), 0.5, np.float32)
    >>> cutnoise(image, (slice(0, 1), slice(0, 2)), 0.2, (0, 1), np.random.default_rng(0))
    >>> (np.abs(image - 0.5) > 0).ravel().tolist()
    [True, True, False, False]
    """
    part = image[box]
    noise = 2 * rng.random((*part.shape[:-1], 1), dtype=np.float32) - 1
    image[box] = np.clip(part + noise * np.float32(strength * (limits[1] - limits[0])), *limits)


def cutmix(sample, partner, box, partner_box):
    """Put a box of another sample, with its mask and weights, into a sample.

    After S. Yun et al., "CutMix", ICCV 2019; for segmentation the mask is pasted instead of mixing labels.

    Parameters
    ----------
    sample, partner : sequence of numpy.ndarray
        Image, mask and perhaps weight map; those of the sample are changed.
    box, partner_box : tuple of slice
        Where to and where from, of one size.

    Examples
    --------
    >>> sample, partner = [np.zeros((1, 4, 1))], [np.arange(4.0).reshape(1, 4, 1)]
    >>> cutmix(sample, partner, (slice(0, 1), slice(0, 2)), (slice(0, 1), slice(2, 4)))
    >>> sample[0].ravel().tolist()
    [2.0, 3.0, 0.0, 0.0]
    """
    for array, other in zip(sample, partner, strict=True):
        array[box] = other[partner_box]


def change_boxes(image, mask, options, streams, *, limits, probabilities, isotropic=False):
    """Blur, make noisy and cut out boxes of one image at random, in this order.

    Parameters
    ----------
    image : numpy.ndarray
        See the head of this module.
    mask : numpy.ndarray
        Of the image; cutout changes it if ``cutout_mask`` says so.
    options : dict of str to object
        From ``cut_options``.
    streams, limits, probabilities, isotropic
        As `generators.intensity_transforms.change_intensity`.
    """
    shape = image.shape[:-1]
    if rng := streams.if_happens("cutblur_size", options, probabilities):
        factor, inside = _whole(rng, options["cutblur_factor"]), options["cutblur_inside"] or rng.random() < 0.5
        box = random_box(rng, shape, options["cutblur_size"])
        cutblur(image, box, factor, inside=inside, isotropic=isotropic)
    if rng := streams.if_happens("cutnoise_size", options, probabilities):
        for _ in range(_whole(rng, options["cut_count"])):
            box = random_box(rng, shape, options["cutnoise_size"])
            cutnoise(image, box, rng.uniform(*options["cutnoise_strength"]), limits, rng)
    if rng := streams.if_happens("cutout_size", options, probabilities):
        grey = grey_of(options["cutout_fill"], image, limits)
        for _ in range(_whole(rng, options["cut_count"])):
            box = random_box(rng, shape, options["cutout_size"])
            cutout(image, box, grey, mask=mask if options["cutout_mask"] else None)


def _whole(rng, ends):
    """Draw a whole number from low to high, both included."""
    return int(rng.integers(ends[0], ends[1] + 1))
