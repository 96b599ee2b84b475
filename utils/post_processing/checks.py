"""Checks of the post-processing before the prediction, so that a mistake is found at once and not hours later."""

import numpy as np

from utils.errors import check_choice, raise_problems
from utils.post_processing.across_slices import remove_small_objects
from utils.post_processing.edge_watershed import edge_watershed
from utils.post_processing.gradient_watershed import gradient_watershed
from utils.post_processing.instances import instances_from_probability
from utils.post_processing.thresholds import DEFAULT, check_threshold
from utils.post_processing.within_slices import spurious_filter
from utils.post_processing.z_filter import z_filter


def check_post_processing(
    n_classes,
    n_axes,
    *,
    z_filter_size=0,
    spurious_below=0.0,
    threshold=DEFAULT,
    choose_threshold=False,
    watershed=None,
    watershed_reach=4,
    min_object_size=0,
    fill_holes=False,
    instances=False,
    instance_distance_nm=0.0,
    voxel_size_nm=1.0,
):
    """Check the variables of the post-processing.

    Parameters
    ----------
    n_classes : int
        Of the network: 1, or all with the background.
    n_axes : int
        2 for images, 3 for volumes.
    z_filter_size, spurious_below, threshold, choose_threshold, watershed, watershed_reach, min_object_size, fill_holes
        As the template variables of these names in upper case; the defaults are off.
    instances, instance_distance_nm, voxel_size_nm
        Likewise.

    Raises
    ------
    ValueError
        With all values that are out of range, and all steps that are on but made for one foreground class where the
        network has several.

    Examples
    --------
    >>> check_post_processing(5, 2, fill_holes=True)
    Traceback (most recent call last):
    ValueError: the post-processing: FILL_HOLES=True is made for one foreground class, but the network tells 5 classes \
apart; leave it off.
    """
    check_choice("WATERSHED", watershed, (None, "edges", "gradient"))
    # Whether a step is on, and for how many classes it is made, the background included.
    options = {
        f"SPURIOUS_BELOW={spurious_below}": (spurious_below, 2),
        f"THRESHOLD={threshold}": (threshold != DEFAULT, 1),
        f"CHOOSE_THRESHOLD={choose_threshold}": (choose_threshold, 1),
        f"WATERSHED={watershed!r}": (watershed, 2),
        f"MIN_OBJECT_SIZE={min_object_size}": (min_object_size, 2),
        f"FILL_HOLES={fill_holes}": (fill_holes, 2),
        f"INSTANCES={instances}": (instances, 2),
    }
    problems = [
        f"{text} is made for one foreground class, but the network tells {n_classes} classes apart; leave it off"
        for text, (is_on, most) in options.items()
        if is_on and n_classes > most
    ]
    steps = {"dilate_iterations": watershed_reach, "erode_iterations": watershed_reach}
    limits = {"min_distance": instance_distance_nm, "voxel_size_nm": voxel_size_nm, "min_voxels": min_object_size}
    nothing = np.zeros((1,) * (n_axes + 1), np.float32)
    trials = {
        "Z_FILTER_SIZE": z_filter_size and (lambda: z_filter([], z_filter_size)),
        "SPURIOUS_BELOW": spurious_below and (lambda: spurious_filter([], spurious_below)),
        "THRESHOLD": lambda: check_threshold(threshold),
        "WATERSHED_REACH": {
            "edges": lambda: edge_watershed([], [], **steps),
            "gradient": lambda: gradient_watershed([], [], marker_radius=watershed_reach),
        }.get(watershed),
        "MIN_OBJECT_SIZE": lambda: remove_small_objects([], min_object_size),
        "INSTANCES": instances and (lambda: instances_from_probability(nothing, **limits)),
    }
    for name, trial in trials.items():
        try:
            if trial:
                trial()
        except ValueError as error:
            problems.append(f"{name}: {str(error).rstrip('.')}")
    raise_problems("the post-processing", problems)


def check_distance(instance_distance_nm, voxel_size_nm):
    """Refuse a distance in nanometres if the size of a voxel is not known.

    Parameters
    ----------
    instance_distance_nm : float
        As the template variable; 0 is none.
    voxel_size_nm : float, tuple of float or None
        As stated or read from the files.

    Raises
    ------
    ValueError
        If the one is given and the other is not known.
    """
    if instance_distance_nm and voxel_size_nm is None:
        raise ValueError(
            f"INSTANCE_DISTANCE_NM is {instance_distance_nm}, but the files do not state the size of a voxel. "
            "Give it, such as --set 'VOXEL_SIZE_NM=(30, 5, 5)' for (z, y, x)."
        )
