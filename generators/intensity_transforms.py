"""Random changes of grey values; masks are never touched.

Images are float32 ``(y, x, c)`` or ``(z, y, x, c)``, C-contiguous, in their stored units, and changed in place.
``limits`` are the grey values of black and white, at which the results are clipped.
"""

import cv2
import numpy as np

from generators.options import number_range, whole_range

# In the order in which they happen, which is that of the way through the microscope: optics, detector, noise.
INTENSITY_OPTIONS = (
    "blur_sigma",
    "median_size",
    "motion_length",
    "brightness_range",
    "contrast_range",
    "gamma",
    "noise_std",
    "dropout",
)
# The step between possible strengths that are whole numbers.
STEPS = {"median_size": 2, "motion_length": 1}


def intensity_ranges(
    *, blur_sigma, median_size, motion_length, brightness_range, contrast_range, gamma, noise_std, dropout
):
    """Return the ranges from which strengths are drawn, checked.

    Parameters
    ----------
    blur_sigma, median_size, motion_length, brightness_range, contrast_range, gamma, noise_std, dropout
        As ``ImageDataGenerator``.

    Returns
    -------
    dict of str to tuple of float or None
        For each of ``INTENSITY_OPTIONS``; None is off.

    Raises
    ------
    ValueError
        If a range is not possible; the message gives the limits.
    """
    return {
        "blur_sigma": number_range("blur_sigma", blur_sigma, example=(0.5, 1.5), zero_allowed=True),
        "median_size": _odd_range("median_size", median_size),
        "motion_length": whole_range("motion_length", motion_length, example=(3, 8)),
        "brightness_range": number_range("brightness_range", brightness_range, example=(0.8, 1.2)),
        "contrast_range": number_range("contrast_range", contrast_range, example=(0.8, 1.2)),
        "gamma": number_range("gamma", gamma, example=(0.8, 1.25)),
        "noise_std": number_range("noise_std", noise_std, example=(0, 0.1), zero_allowed=True),
        "dropout": number_range("dropout", dropout, example=(0, 0.1), zero_allowed=True, highest=1),
    }


def _odd_range(name, value):
    """Return ``(low, high)`` with both ends odd, checked, or None for off."""
    pair = whole_range(name, value, example=(3, 5))
    odd = pair and (pair[0] | 1, (pair[1] - 1) | 1)  # the first odd number from low up, from high down
    if odd and odd[0] > odd[1]:
        raise ValueError(f"{name} is {pair}; sizes are odd, and none lies from low to high. Take e.g. (3, 5).")
    return odd


def blur(image, sigma, *, isotropic=False):
    """Smooth in the y-x plane with a Gaussian.

    Parameters
    ----------
    image
        See the head of this module.
    sigma : float
        Standard deviation in pixels, above 0.
    isotropic : bool
        Smooth volumes along z too.
    """
    for plane in image.reshape(-1, *image.shape[-3:]):
        cv2.GaussianBlur(plane, (0, 0), sigma, dst=plane, borderType=cv2.BORDER_REFLECT)
    if isotropic and image.ndim == 4:
        columns, taps = image.reshape(len(image), -1), 2 * round(4 * sigma) + 1  # as many as OpenCV takes above
        cv2.GaussianBlur(columns, (1, taps), sigma, dst=columns, borderType=cv2.BORDER_REFLECT)


def median_blur(image, size, limits):
    """Replace each pixel by the median of a square about it, in the y-x plane.

    Parameters
    ----------
    image, limits
        See the head of this module; beyond the border its last pixels are repeated.
    size : int
        Pixels along a side of the square, odd. Above 5 grey values are rounded to 256 steps between the limits.

    Examples
    --------
    >>> image = np.zeros((5, 5, 1), np.float32)
    >>> image[2, 2] = 200
    >>> median_blur(image, 3, (0, 255))
    >>> float(image.max())
    0.0
    """
    low, step = limits[0], (limits[1] - limits[0]) / 255
    for plane in image.reshape(-1, *image.shape[-3:]):
        for channel in range(plane.shape[-1]):
            values = np.ascontiguousarray(plane[..., channel])
            if size <= 5:
                plane[..., channel] = cv2.medianBlur(values, size)
                continue
            steps = np.clip(np.rint((values - low) / step), 0, 255).astype(np.uint8)
            plane[..., channel] = cv2.medianBlur(steps, size) * np.float32(step) + np.float32(low)


def line_kernel(length, direction):
    """Return the weights of a motion blur: points of a line, one pixel apart, about the centre of the kernel.

    Parameters
    ----------
    length : int
        Number of points; a point between pixels is shared linearly by its neighbours.
    direction : sequence of float
        ``(z, y, x)`` of the line, of any length.

    Returns
    -------
    numpy.ndarray
        float32 ``(z, y, x)``, each size odd; the sum is 1.

    Examples
    --------
    >>> line_kernel(4, (0, 0, 1)).tolist()
    [[[0.125, 0.25, 0.25, 0.25, 0.125]]]
    """
    step = np.asarray(direction, float) / np.linalg.norm(direction)
    points = np.outer(np.arange(length) - (length - 1) / 2, step).round(6)
    reach = np.ceil(np.abs(points).max(axis=0)).astype(int)
    kernel = np.zeros(2 * reach + 1)
    first = np.floor(points).astype(int)
    for corner in np.ndindex(2, 2, 2):  # the eight pixels about each point
        weights = np.where(corner, points - first, first + 1 - points).prod(axis=1)
        inside = weights > 0
        np.add.at(kernel, tuple((first + reach + corner)[inside].T), weights[inside])
    return (kernel / length).astype(np.float32)


def motion_blur(image, kernel):
    """Blur along a line; images are mirrored beyond their border.

    Parameters
    ----------
    image
        See the head of this module.
    kernel : numpy.ndarray
        ``(z, y, x)``, from ``line_kernel``; with depth 1 the slices of a volume stay separate.

    Examples
    --------
    >>> image = np.zeros((1, 5, 1), np.float32)
    >>> image[0, 2] = 9
    >>> motion_blur(image, line_kernel(3, (0, 0, 1)))
    >>> image.ravel().round(3).tolist()
    [0.0, 3.0, 3.0, 3.0, 0.0]
    """
    volume = image if image.ndim == 4 else image[np.newaxis]
    reach = len(kernel) // 2
    slices = np.pad(volume, ((reach, reach), (0, 0), (0, 0), (0, 0)), mode="symmetric") if reach else volume.copy()
    volume[...] = 0
    for z, weights in enumerate(kernel):
        for target, source in zip(volume, slices[z : z + len(volume)], strict=True):
            target += cv2.filter2D(source, -1, weights, borderType=cv2.BORDER_REFLECT).reshape(target.shape)


def change_brightness(image, factor, limits):
    """Multiply the grey values.

    Parameters
    ----------
    image, limits
        See the head of this module.
    factor : float
        Above 1 is brighter.
    """
    image *= np.float32(factor)
    np.clip(image, *limits, out=image)


def change_contrast(image, factor, limits):
    """Multiply the distances of the grey values from their mean.

    Parameters
    ----------
    image, limits
        See the head of this module.
    factor : float
        Above 1 gives more contrast.
    """
    mean = image.mean(dtype=np.float64)
    image *= np.float32(factor)
    image += np.float32(mean * (1 - factor))
    np.clip(image, *limits, out=image)


def change_gamma(image, gamma, limits):
    """Raise the grey values, as fractions of the way from black to white, to a power.

    Parameters
    ----------
    image, limits
        See the head of this module.
    gamma : float
        Above 1 makes the greys darker, below 1 brighter.
    """
    low, high = map(np.float32, limits)
    np.clip(image, low, high, out=image)  # there is no power of a negative number
    image -= low
    image /= high - low
    np.power(image, np.float32(gamma), out=image)
    image *= high - low
    image += low


def add_noise(image, deviation, limits, rng):
    """Add Gaussian noise, independent in every pixel.

    Parameters
    ----------
    image, limits
        See the head of this module.
    deviation : float
        Standard deviation as a fraction of the way from black to white.
    rng : numpy.random.Generator
        Source of randomness.
    """
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise *= np.float32(deviation * (limits[1] - limits[0]))
    image += noise
    np.clip(image, *limits, out=image)


def drop_pixels(image, share, limits, rng):
    """Make single pixels black in all channels, independently of each other.

    Parameters
    ----------
    image, limits
        See the head of this module.
    share : float
        Expected share of black pixels, 0 to 1.
    rng : numpy.random.Generator
        Source of randomness.

    Examples
    --------
    >>> image = np.ones((100, 100, 1), np.float32)
    >>> drop_pixels(image, 0.2, (0, 1), np.random.default_rng(0))
    >>> bool(0.78 < image.mean() < 0.82)
    True
    """
    dead = rng.random((*image.shape[:-1], 1), dtype=np.float32) < share
    np.copyto(image, np.float32(limits[0]), where=dead)


def change_intensity(image, ranges, streams, *, limits, probabilities, isotropic=False):
    """Change the grey values of one image at random.

    Parameters
    ----------
    image, limits
        See the head of this module.
    ranges : dict of str to tuple of float or None
        From `intensity_ranges`.
    streams : Streams
        Sources of randomness.
    probabilities : dict of str to float
        Of each change, independently.
    isotropic : bool
        Blur and motion act on volumes along z too.
    """
    rng = streams["intensity"]
    drawn = _draw_strengths(ranges, rng, probabilities)
    z, y, x = rng.standard_normal(3)  # a direction, none more likely than another
    if drawn["blur_sigma"]:
        blur(image, drawn["blur_sigma"], isotropic=isotropic)
    if drawn["median_size"]:
        median_blur(image, drawn["median_size"], limits)
    if drawn["motion_length"]:
        motion_blur(image, line_kernel(drawn["motion_length"], (z if isotropic else 0, y, x)))
    if drawn["brightness_range"]:
        change_brightness(image, drawn["brightness_range"], limits)
    if drawn["contrast_range"]:
        change_contrast(image, drawn["contrast_range"], limits)
    if drawn["gamma"]:
        change_gamma(image, drawn["gamma"], limits)
    if drawn["noise_std"]:
        add_noise(image, drawn["noise_std"], limits, streams["noise_std"])
    if drawn["dropout"]:
        drop_pixels(image, drawn["dropout"], limits, streams["dropout"])


def _draw_strengths(ranges, rng, probabilities):
    """Return the strength of each change, None for those that do not happen."""
    # Numbers are drawn for all, used or not, so that one option does not change the draws of another.
    numbers = rng.random((len(INTENSITY_OPTIONS), 2)).tolist()
    drawn = dict.fromkeys(INTENSITY_OPTIONS)
    for name, (fraction, chance) in zip(INTENSITY_OPTIONS, numbers, strict=True):
        if ranges[name] is not None and chance < probabilities[name]:
            low, high = ranges[name]
            step = STEPS.get(name)
            drawn[name] = low + (step * int(fraction * ((high - low) // step + 1)) if step else (high - low) * fraction)
    return drawn
