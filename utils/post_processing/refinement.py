"""Post-processing slice by slice, after Oztel et al. (2017): doubtful objects go, outlines move to edges of the image.

I. Oztel, G. Yolcu, I. Ersoy, T. White, F. Bunyak: Mitochondria segmentation in electron microscopy volumes using deep
convolutional neural network. IEEE BIBM 2017. Their third step, the median along z, is
``utils.post_processing.z_filter.z_filter`` with ``size=9``.
"""

import cv2
import numpy as np

from utils.post_processing.flooding import SQUARE, flood, grey_image, meets_a_later_label, slice_by_slice
from utils.post_processing.z_filter import foreground_of, volume_by_volume, with_foreground

# The 3x3 "ellipse" of OpenCV is this cross.
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
# Canny's thresholds and gradients as integers: a Sobel gradient of an image 0 .. 1 is at most 4, int16 ends at 32767.
GRADIENT_STEPS = 4096


def spurious_filter(predictions, min_probability=0.8):
    """Remove the objects that the network is not sure of.

    In each slice, the 8-connected components of probability > 0.5 whose mean probability is below
    ``min_probability`` get the probability 0. All else stays as it is. Source: Oztel et al. (2017), "spurious
    detection filtering"; the published code never looked at the last component of a slice, this one does.

    Parameters
    ----------
    predictions : iterable of numpy.ndarray
        Slices ``(y, x, c)`` or volumes ``(z, y, x, c)``, float, 0 .. 1, with the foreground or background and
        foreground as classes. Sizes may differ.
    min_probability : float
        0.5 (nothing goes) to 1.

    Returns
    -------
    iterator of numpy.ndarray
        Probabilities of the same shape and dtype, as many as came in.

    Raises
    ------
    ValueError
        If the probability is out of range, or there are several foreground classes.

    Examples
    --------
    >>> prediction = np.array([[0.9, 0.9, 0.0, 0.6, 0.6]])[..., np.newaxis]
    >>> [p[..., 0].tolist() for p in spurious_filter([prediction])]
    [[[0.9, 0.9, 0.0, 0.0, 0.0]]]
    """
    check_min_probability(min_probability)
    return volume_by_volume(
        predictions, lambda slices: (_without_doubtful_components(image, min_probability) for image in slices)
    )


def check_min_probability(min_probability, name="min_probability"):
    """Check the limit of `spurious_filter`, long before it is used.

    Parameters
    ----------
    min_probability : float
        0.5 to 1.
    name : str
        The variable, for the message.

    Raises
    ------
    ValueError
        If it is out of range.
    """
    if not 0.5 <= min_probability <= 1:
        raise ValueError(
            f"{name} is {min_probability}, but the mean over pixels above 0.5 lies between 0.5 and 1. "
            "Use a value such as 0.8."
        )


def _without_doubtful_components(prediction, min_probability):
    foreground = foreground_of(prediction)
    mask = foreground > 0.5
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    places = np.flatnonzero(mask)
    members = labels.ravel()[places]
    sizes = np.bincount(members, minlength=count)
    sums = np.bincount(members, weights=foreground.ravel()[places], minlength=count)
    doubtful = sums < min_probability * sizes
    return with_foreground(np.where(doubtful[labels], 0, foreground), prediction)


def watershed_refinement(
    predictions,
    images,
    *,
    open_iterations=3,
    dilate_iterations=15,
    erode_iterations=7,
    gauss_sigma=0.0,
    canny_sigma=3.0,
    edge_thresholds=(0.01, 0.2),
    part_touching=True,
    intensity_range=None,
):
    """Move the outlines of the objects to the edges of the image, by a watershed from markers, slice by slice.

    The mask (probability > 0.5) is opened. What its erosion leaves is sure foreground, one marker for each 8-connected
    component; what is beyond its dilation is sure background; the watershed divides what is unknown in between. It
    floods minus the distance to the nearest edge, so that floods meet on edges. Source: Oztel et al. (2017), "boundary
    refinement"; parameters as published with the study, except that ``gauss_sigma`` is not 3, that touching objects
    part, and that ``edge_thresholds`` are in the unit of the image (published: of 0..255 for smoothed images of 0..1,
    in which no edge was found).

    ``dilate_iterations`` and ``erode_iterations`` bound how far an outline may move outward and inward; within these
    bounds it follows the edges of neighbouring structures too, so that wide bounds spoil a good prediction. An object
    that the erosion removes vanishes; a hole narrower than twice the dilation is filled. A slice without any sure
    background keeps its mask, opened.

    Parameters
    ----------
    predictions : iterable of numpy.ndarray
        Slices ``(y, x, c)`` or volumes ``(z, y, x, c)``, float, 0 .. 1, with the foreground or background and
        foreground as classes.
    images : iterable of numpy.ndarray
        The images that were predicted, in the same order and size, any number of channels, which are averaged.
    open_iterations, dilate_iterations : int
        Steps with a 3x3 square, that is, pixels; at least 0.
    erode_iterations : int
        Steps with a 3x3 cross; at least 0.
    gauss_sigma : float
        Standard deviation in pixels of a Gaussian smoothing of the image; 0: none.
    canny_sigma : float
        Standard deviation in pixels of the Gaussian of the Canny edges, on top of the other. 0: the watershed floods
        the Sobel gradient of the image, without thresholds.
    edge_thresholds : tuple of float
        ``(low, high)``: length of the Sobel gradient of the image, scaled to 0..1, at which an edge goes on and at
        which it begins.
    part_touching : bool
        Let a line of background, a pixel wide, separate objects that meet. False as published.
    intensity_range : tuple of float, optional
        As `utils.images.intensity.to_unit_range`.

    Returns
    -------
    iterator of numpy.ndarray
        Masks of 0 and 1, shape and dtype of the predictions, which can be post-processed further.

    Raises
    ------
    ValueError
        If a parameter is out of range, there are several foreground classes, or predictions and images differ in
        number or size.

    Examples
    --------
    >>> image = np.full((40, 40, 1), 200, np.uint8)
    >>> image[10:30, 10:30] = 50
    >>> prediction = np.zeros((40, 40, 1), np.float32)
    >>> prediction[13:27, 13:27] = 0.9
    >>> refined = watershed_refinement([prediction], [image], dilate_iterations=6, erode_iterations=3, canny_sigma=0)
    >>> int(prediction.sum() / 0.9), [int(mask.sum()) for mask in refined]
    (196, [396])
    """
    steps = {"open": open_iterations, "dilate": dilate_iterations, "erode": erode_iterations}
    check_watershed(
        {f"{name}_iterations": value for name, value in steps.items()},
        {"gauss_sigma": gauss_sigma, "canny_sigma": canny_sigma},
    )
    _check_edge_thresholds(edge_thresholds)

    def refined_slice(probability, picture):
        mask = (foreground_of(probability) > 0.5).view(np.uint8)
        labels = _markers(mask, open_iterations, dilate_iterations, erode_iterations)
        if labels.min() == 0:
            relief = _relief(grey_image(picture, intensity_range), gauss_sigma, canny_sigma, edge_thresholds)
            labels = flood(labels, relief)
        mask = labels > 1
        if part_touching:
            mask &= ~meets_a_later_label(labels)
        return with_foreground(mask, probability)

    return slice_by_slice(predictions, images, refined_slice)


def _markers(mask, open_iterations, dilate_iterations, erode_iterations):
    """Return labels, int32: 0 unknown, 1 background, 2 and more objects."""
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, SQUARE, iterations=open_iterations)
    possible = cv2.dilate(mask, SQUARE, iterations=dilate_iterations)
    sure = cv2.erode(mask, CROSS, iterations=erode_iterations)
    if possible.all():
        possible = sure = mask
    labels = cv2.connectedComponents(sure, connectivity=8)[1] + np.int32(1)
    labels[possible > sure] = 0
    return labels


def _relief(image, gauss_sigma, canny_sigma, edge_thresholds):
    """Return what the watershed floods, float32, from an image 0 .. 1, float32 ``(y, x)``."""
    for sigma in (gauss_sigma, canny_sigma):
        if sigma:
            image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    gradient = [cv2.Sobel(image, cv2.CV_32F, *order, scale=GRADIENT_STEPS) for order in ((1, 0), (0, 1))]
    if not canny_sigma:
        return cv2.magnitude(*gradient)
    low, high = (threshold * GRADIENT_STEPS for threshold in edge_thresholds)
    edges = cv2.Canny(*(np.rint(part).astype(np.int16) for part in gradient), low, high, L2gradient=True)
    if not edges.any():
        return np.zeros_like(image)
    return -cv2.distanceTransform(~edges, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def check_watershed(steps, sigmas):
    """Check the steps and standard deviations of `watershed_refinement`, long before they are used.

    Parameters
    ----------
    steps : dict of str to int
        Steps of opening, dilation and erosion, in this order, by the names of the variables, for the message.
    sigmas : dict of str to float
        Standard deviations in pixels, likewise.

    Raises
    ------
    ValueError
        If one is below 0, or neither dilation nor erosion has a step.

    Examples
    --------
    >>> check_watershed({"OPEN": 0, "DILATE": 11, "ERODE": 0}, {"SIGMA": 2.0})
    """
    for name, value in steps.items():
        if not isinstance(value, int | np.integer) or value < 0:
            raise ValueError(f"{name} is {value!r}, but a number of steps is needed; use 0 for none.")
    _, dilate, erode = steps
    if steps[dilate] + steps[erode] == 0:
        raise ValueError(f"{dilate} and {erode} are 0, which leaves nothing to refine. Use 15 and 7, say.")
    for name, value in sigmas.items():
        if not 0 <= value < np.inf:
            raise ValueError(f"{name} is {value}, but a standard deviation in pixels is needed; use 0 for none.")


def _check_edge_thresholds(edge_thresholds):
    if np.shape(edge_thresholds) != (2,) or not 0 <= edge_thresholds[0] <= edge_thresholds[1] <= 4:
        raise ValueError(
            f"edge_thresholds are {edge_thresholds}, but a low and a high one are needed, both from 0 to 4 since the "
            "image is scaled to 0..1. Use (0.01, 0.2), say."
        )
