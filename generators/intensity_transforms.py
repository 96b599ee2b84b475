"""Random changes of grey values; masks are never touched.

Images are float32 ``(..., y, x, c)``, C-contiguous, in their stored units, and changed in place. ``limits`` are the
grey values of black and white, at which the results are cut off.
"""

import cv2
import numpy as np

INTENSITY_OPTIONS = ("blur_sigma", "brightness_range", "contrast_range", "gamma", "noise_std")


def blur(image, sigma):
    """Smooth in the y-x plane with a Gaussian.

    Parameters
    ----------
    image : numpy.ndarray
        Changed.
    sigma : float
        Standard deviation in pixels, above 0.
    """
    for plane in image.reshape(-1, *image.shape[-3:]):
        cv2.GaussianBlur(plane, (0, 0), sigma, dst=plane, borderType=cv2.BORDER_REFLECT)


def change_brightness(image, factor, limits):
    """Multiply the grey values.

    Parameters
    ----------
    image : numpy.ndarray
        Changed.
    factor : float
        Above 1 is brighter.
    limits : tuple of float
        Grey values of black and white.
    """
    image *= np.float32(factor)
    np.clip(image, *limits, out=image)


def change_contrast(image, factor, limits):
    """Stretch or squeeze the grey values about their mean.

    Parameters
    ----------
    image : numpy.ndarray
        Changed.
    factor : float
        Above 1 gives more contrast.
    limits : tuple of float
        Grey values of black and white.
    """
    mean = image.mean(dtype=np.float64)
    image *= np.float32(factor)
    image += np.float32(mean * (1 - factor))
    np.clip(image, *limits, out=image)


def change_gamma(image, gamma, limits):
    """Raise the grey values, as fractions of the way from black to white, to a power.

    Parameters
    ----------
    image : numpy.ndarray
        Changed.
    gamma : float
        Above 1 makes the greys darker, below 1 brighter.
    limits : tuple of float
        Grey values of black and white, which stay.
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
    image : numpy.ndarray
        Changed.
    deviation : float
        Standard deviation as a fraction of the way from black to white.
    limits : tuple of float
        Grey values of black and white.
    rng : numpy.random.Generator
        Source of randomness.
    """
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise *= np.float32(deviation * (limits[1] - limits[0]))
    image += noise
    np.clip(image, *limits, out=image)


def change_intensity(image, ranges, rng, *, limits, probability):
    """Change the grey values of one image at random.

    Parameters
    ----------
    image : numpy.ndarray
        Changed.
    ranges : dict of str to tuple of float or None
        For each of ``INTENSITY_OPTIONS`` the range ``(low, high)`` that its strength is drawn from, or None for off.
    rng : numpy.random.Generator
        Source of randomness.
    limits : tuple of float
        Grey values of black and white.
    probability : float
        Of each change, by itself.
    """
    # Numbers are drawn for all, used or not, so that one option does not change the draws of another.
    drawn = dict.fromkeys(INTENSITY_OPTIONS)
    for name, (fraction, chance) in zip(drawn, rng.random((len(drawn), 2)).tolist(), strict=True):
        if ranges[name] is not None and chance < probability:
            low, high = ranges[name]
            drawn[name] = low + (high - low) * fraction
    # In the order of the way through the microscope: optics, detector, noise.
    if drawn["blur_sigma"]:
        blur(image, drawn["blur_sigma"])
    if drawn["brightness_range"]:
        change_brightness(image, drawn["brightness_range"], limits)
    if drawn["contrast_range"]:
        change_contrast(image, drawn["contrast_range"], limits)
    if drawn["gamma"]:
        change_gamma(image, drawn["gamma"], limits)
    if drawn["noise_std"]:
        add_noise(image, drawn["noise_std"], limits, rng)
