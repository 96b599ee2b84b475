"""Checks of settings against each other, before anything is read or trained."""

from utils.errors import raise_problems


def check_crop_shape(crop_shape, *, poolings, name="CROP_SHAPE"):
    """Check that a crop is ``(y, x, c)`` and that the network's poolings divide it.

    Parameters
    ----------
    crop_shape : tuple of int
        ``(y, x, c)``.
    poolings : int
        Number of halvings along y and x.
    name : str
        The variable, for the message.

    Raises
    ------
    ValueError
        If the shape has not three positive entries or a side is not divisible by ``2 ** poolings``; the message gives
        the neighbours that are.
    """
    if len(crop_shape) != 3 or any(not isinstance(size, int) or size < 1 for size in crop_shape):
        raise ValueError(
            f"{name} is {crop_shape}; wanted three positive integers (y, x, channels), e.g. (256, 256, 1)."
        )
    divisor = 2**poolings
    problems = []
    for size in dict.fromkeys(crop_shape[:2]):
        if size % divisor:
            lower, upper = size // divisor * divisor, -(-size // divisor) * divisor
            remedy = f"use {lower} or {upper}" if lower else f"use {upper}"
            problems.append(f"{size} is not divisible by {divisor} ({poolings} poolings along y and x), {remedy}")
    raise_problems(f"{name} {crop_shape}", problems)


def check_same_size(images, *, why, remedy):
    """Check that all images have one size, for what treats them as one volume.

    Parameters
    ----------
    images : ImageSet
        The images.
    why : str
        What needs one size.
    remedy : str
        What to do otherwise.

    Raises
    ------
    ValueError
        If sizes differ; the message names two images.
    """
    for image, source in zip(images.x, images.sources, strict=True):
        if image.shape != images.x[0].shape:
            raise ValueError(
                f"{source} is {image.shape[0]}x{image.shape[1]} and {images.sources[0]} "
                f"{images.x[0].shape[0]}x{images.x[0].shape[1]}, but {why}. {remedy}"
            )
