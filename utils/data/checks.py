"""Checks of settings against each other and against the data, before training."""

import math

from utils.errors import check_choice, raise_problems
from utils.images.crops import without_margins
from utils.images.padding import PADDING_MODES


def pooling_factors(depth, z_down=None):
    """Return by how much a U-Net reduces each axis from top to bottom.

    Parameters
    ----------
    depth : int
        Number of poolings, each halving y and x.
    z_down : int or sequence of int, optional
        Factor along z of all poolings, or of each: 1 or 2. None in two dimensions.

    Returns
    -------
    tuple of int
        ``(y, x)`` or ``(z, y, x)``.

    Examples
    --------
    >>> pooling_factors(4), pooling_factors(3, 2), pooling_factors(3, (1, 2, 2))
    ((16, 16), (8, 8, 8), (4, 8, 8))
    """
    if z_down is None:
        return (2**depth,) * 2
    steps = (z_down,) * depth if isinstance(z_down, int) else tuple(z_down)
    if len(steps) != depth or not set(steps) <= {1, 2}:
        raise ValueError(f"Z_DOWN is {z_down}; wanted 1 or 2 for all {depth} poolings, or one of them for each.")
    return (math.prod(steps), 2**depth, 2**depth)


def check_crop_shape(crop_shape, *, poolings, z_down=None, padding=0, padding_mode="mirror", name="CROP_SHAPE"):
    """Check that the crop shape has the right number of axes and that the network's poolings divide it.

    Parameters
    ----------
    crop_shape : tuple of int
        ``(y, x, c)``, or ``(z, y, x, c)`` if ``z_down`` is given.
    poolings, z_down
        As ``depth`` and ``z_down`` of `pooling_factors`.
    padding, padding_mode
        As `utils.images.crops.iterate_crops`.
    name : str
        The variable, for the message.

    Raises
    ------
    ValueError
        If any of these is impossible; the message gives the nearest sizes that are divisible.
    """
    check_choice("PADDING_MODE", padding_mode, PADDING_MODES)
    count, axes, example = "three", "y, x", (256, 256, 1)
    if z_down is not None:
        count, axes, example = "four", "z, y, x", (80, 80, 80, 1)
    if len(crop_shape) != len(example) or any(not isinstance(size, int) or size < 1 for size in crop_shape):
        raise ValueError(
            f"{name} is {crop_shape}; wanted {count} positive integers ({axes}, channels), e.g. {example}."
        )
    without_margins(crop_shape, padding, len(example) - 1)
    problems = {}
    for axis, size, divisor in zip(axes.split(", "), crop_shape, pooling_factors(poolings, z_down), strict=False):
        if size % divisor:
            along = "z" if axis == "z" else "y and x"
            lower, upper = size // divisor * divisor, -(-size // divisor) * divisor
            remedy = f"use {lower} or {upper}" if lower else f"use {upper}"
            remedy += " or a smaller Z_DOWN" if axis == "z" else ""
            problems[size, along] = (
                f"{size} is not divisible by {divisor} ({poolings} poolings along {along}), {remedy}"
            )
    raise_problems(f"{name} {crop_shape}", list(problems.values()))


def check_volumes_hold_crop(volumes, crop_shape, *, what):
    """Check that every volume is at least as large as a subvolume; the error names all others, and the size that fits.

    Parameters
    ----------
    volumes : ImageSet
        Volumes to train on.
    crop_shape : tuple of int
        ``(z, y, x, c)``.
    what : str
        Which volumes, for the message.
    """
    crop = tuple(crop_shape[:3])
    sizes = [volume.shape[:3] for volume in volumes.x]
    problems = [
        f"{source} is {' x '.join(map(str, size))} (z, y, x)"
        for source, size in zip(volumes.names, sizes, strict=True)
        if any(have < wanted for have, wanted in zip(size, crop, strict=True))
    ]
    fitting = tuple(min(column) for column in zip(crop, *sizes, strict=True))
    raise_problems(
        f"the subvolume {crop} is larger than {what}; {fitting}, or less if poolings do not divide it, fits all",
        problems,
    )


def check_z_filter_size(size, name="Z_FILTER_SIZE"):
    """Check the number of slices of the median along z, long before it is used.

    Parameters
    ----------
    size : int
        An odd number of slices; 0 is off.
    name : str
        The variable, for the message.
    """
    if size and (size < 1 or size % 2 == 0):
        raise ValueError(f"{name} is {size}: such a median has no middle slice. Use an odd number such as 5, or 0.")


def check_same_size(images, *, why, remedy):
    """Check that all images have one size; the error names two that differ.

    Parameters
    ----------
    images : ImageSet
        The images.
    why, remedy : str
        What needs one size, and what to do otherwise.
    """
    for image, source in zip(images.x, images.names, strict=True):
        if image.shape != images.x[0].shape:
            raise ValueError(
                f"{source} is {image.shape[0]}x{image.shape[1]} and {images.names[0]} "
                f"{images.x[0].shape[0]}x{images.x[0].shape[1]}, but {why}. {remedy}"
            )


def check_exclusive(rules):
    """Check options that exclude each other; the error names all that are on together.

    An option is off if its value is false: None, False, 0 or an empty tuple. If another value means off, give the text
    of the message and a comparison: ``{f"{ZOOM_RANGE=}": ZOOM_RANGE != (1.0, 1.0)}``.

    Parameters
    ----------
    rules : sequence of (dict of str to object, str, str)
        For each rule the values of the options by name, of which at most one may be on; why; and the remedy.

    Examples
    --------
    >>> check_exclusive([({"RANDOM_CROPS": 4, "N_CROPS": 9}, "both count crops", "set one to 0")])
    Traceback (most recent call last):
    ValueError: the variables: RANDOM_CROPS=4 and N_CROPS=9 exclude each other (both count crops); set one to 0.
    """
    problems = []
    for options, why, remedy in rules:
        switched_on = _switched_on(options)
        if len(switched_on) > 1:
            problems.append(f"{' and '.join(switched_on)} exclude each other ({why}); {remedy}")
    raise_problems("the variables", problems)


def check_needs(rules):
    """Check options that have no effect without another one; the error names all that are on alone.

    Parameters
    ----------
    rules : sequence of (dict of str to object, object, str)
        For each rule the options, as `check_exclusive`; the value of the option that they need; and how to switch that
        on.

    Examples
    --------
    >>> check_needs([({"CUTOUT_MASK": True}, None, "CUTOUT_SIZE, e.g. (0.2, 0.4)")])
    Traceback (most recent call last):
    ValueError: the variables: CUTOUT_MASK=True does nothing without CUTOUT_SIZE, e.g. (0.2, 0.4).
    """
    raise_problems(
        "the variables",
        [
            f"{option} does nothing without {needed}"
            for options, is_there, needed in rules
            for option in _switched_on(options)
            if not is_there
        ],
    )


def _switched_on(options):
    return [name if "=" in name else f"{name}={value!r}" for name, value in options.items() if value]
