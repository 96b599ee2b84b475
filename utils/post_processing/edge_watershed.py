"""A watershed, slice by slice, that moves the outlines of objects to edges of the image, after Oztel et al. (2017).

I. Oztel, G. Yolcu, I. Ersoy, T. White, F. Bunyak: Mitochondria segmentation in electron microscopy volumes using deep
convolutional neural network. IEEE BIBM 2017. Their other steps are `spurious_filter` of
`utils.post_processing.within_slices` and `z_filter` of `utils.post_processing.z_filter` with ``size=9``.
"""

import cv2
import numpy as np

from utils.post_processing.flooding import SQUARE, flood, meets_a_later_label
from utils.post_processing.slices import foreground_of, grey_image, slice_by_slice, with_foreground

# The 3x3 "ellipse" of OpenCV is this cross.
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
# Canny takes gradients as int16, up to 32767. A Sobel gradient of an image 0 .. 1 is at most 4; 4 times this fits.
INTEGER_GRADIENT = 4096


def edge_watershed(
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
    """Move the outlines of the objects to the edges of the image.

    The mask (probability > 0.5) is opened. Its erosion is sure foreground, one marker for each 8-connected component;
    everything beyond its dilation is sure background; the watershed divides the unknown pixels in between. It floods
    minus the distance to the nearest edge, so that floods meet on edges. Source: "boundary refinement" of Oztel et al.
    (2017). The parameters are those published with the study, except that ``gauss_sigma`` is not 3, that touching
    objects are separated, and that ``edge_thresholds`` have the unit of the image (published: of 0..255 for smoothed
    images of 0..1, in which no edge was found).

    ``dilate_iterations`` and ``erode_iterations`` bound how far an outline may move outward and inward. Within these
    bounds it follows the edges of neighbouring structures too, so wide bounds spoil a good prediction. An object that
    the erosion removes vanishes; a hole narrower than twice the dilation is filled. A slice without sure background
    keeps its mask, opened.

    Parameters
    ----------
    predictions : iterable of numpy.ndarray
        As `utils.post_processing.slices.volume_by_volume`.
    images : iterable of numpy.ndarray
        The images that were predicted, in the same order and size; channels are averaged.
    open_iterations, dilate_iterations : int
        Steps with a 3x3 square, that is, pixels; at least 0.
    erode_iterations : int
        Steps with a 3x3 cross; at least 0.
    gauss_sigma : float
        Standard deviation in pixels of a Gaussian that smooths the image; 0: none.
    canny_sigma : float
        Standard deviation in pixels of the Gaussian of the Canny edges, which follows the other one. 0: the watershed
        floods the Sobel gradient of the image, without thresholds.
    edge_thresholds : tuple of float
        ``(low, high)``: length of the Sobel gradient of the image, scaled to 0..1, at which an edge continues and at
        which it begins.
    part_touching : bool
        Separate objects that meet by a line of background, one pixel wide. False as published.
    intensity_range : tuple of float, optional
        As `utils.images.intensity.to_unit_range`.

    Returns
    -------
    iterator of numpy.ndarray
        Masks of 0 and 1, shapes and dtypes of the predictions; they can be post-processed further.

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
    >>> refined = edge_watershed([prediction], [image], dilate_iterations=6, erode_iterations=3, canny_sigma=0)
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
    gradient = [cv2.Sobel(image, cv2.CV_32F, *order, scale=INTEGER_GRADIENT) for order in ((1, 0), (0, 1))]
    if not canny_sigma:
        return cv2.magnitude(*gradient)
    low, high = (threshold * INTEGER_GRADIENT for threshold in edge_thresholds)
    edges = cv2.Canny(*(np.rint(part).astype(np.int16) for part in gradient), low, high, L2gradient=True)
    if not edges.any():
        return np.zeros_like(image)
    return -cv2.distanceTransform(~edges, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def check_watershed(steps, sigmas):
    """Check the steps and standard deviations of `edge_watershed` long before they are used.

    Parameters
    ----------
    steps : dict of str to int
        Steps of opening, dilation and erosion, in this order, by the names of their variables.
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
