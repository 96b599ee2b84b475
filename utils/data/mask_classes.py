"""The stored value of each class in masks, decided once for all masks of a data set."""

from collections import Counter

import numpy as np

# More values than any mask has classes: a file with so many is a picture and not a mask.
MANY_VALUES = 256
# In place of the value of class 1: every value but 0, such as the ids of objects.
OTHERS = "others"
IDS_REMEDY = (
    "python data_sets/import_labels.py makes masks of them, or --set MASK_IDS=True (general and big_volume template) "
    "takes all above 0 as foreground"
)


def values_in(mask):
    """List the different values of a mask, sorted.

    Parameters
    ----------
    mask : numpy.ndarray
        Any shape.

    Returns
    -------
    list of int or float
    """
    is_byte = mask.dtype == np.uint8  # counting takes a tenth of the time of sorting
    return (np.flatnonzero(np.bincount(mask.ravel(), minlength=256)) if is_byte else np.unique(mask)).tolist()


def class_values(found, n_classes, *, ids=False):
    """Decide for all masks of a data set which stored value is which class, and find what does not fit.

    Parameters
    ----------
    found : dict of str to dict
        For each part, such as ``train``, the values in each mask by its name.
    n_classes : int
        Classes; 1 and 2 both mean background and foreground.
    ids : bool
        True: every value but 0 is foreground, such as the ids of objects.

    Returns
    -------
    values : tuple
        The stored values of the classes 0, 1, ...: these numbers themselves if no other value occurs, otherwise all
        values that occur, the smallest first. With ``ids`` it is ``(0, OTHERS)``.
    problems : list of str
        A clause for each mask with more values than classes, and for parts whose values mean different things.

    Examples
    --------
    >>> class_values({"train": {"a": [0, 255], "b": [0]}}, 1)
    ((0, 255), [])
    >>> class_values({"train": {"a": [0, 1]}, "test": {"b": [0, 255]}}, 1)[1]
    ['the values of masks differ between folders: train/ 0 1, test/ 0 255; save the masks of all folders alike']
    """
    n_values = max(n_classes, 2)
    if ids:
        return (0, OTHERS), []
    largest = max((value for masks in found.values() for values in masks.values() for value in values), default=0)
    if largest >= 2**63:  # the background of CREMI, which would become the foreground
        return (), [f"masks hold the value {largest}, which stands for no object: {IDS_REMEDY.split(', or')[0]}"]
    parts = {part: {value for values in masks.values() for value in values} for part, masks in found.items() if masks}
    union = set().union(*parts.values())
    if union <= set(range(n_values)):  # classes already, even when some do not occur
        return tuple(range(n_values)), []
    expected = tuple(sorted(union))
    fit = all(len(values) <= n_values for values in parts.values())
    # With more than two classes, 0 1 in one folder and 0 255 in another may be one class in two encodings.
    if fit and (len(union) > n_values or union not in parts.values()):
        held = [f"{part}/ {_shown(sorted(values))}" for part, values in parts.items()]
        return expected[:n_values], [
            f"the values of masks differ between folders: {', '.join(held)}; save the masks of all folders alike"
        ]
    if len(union) < n_values > 2:
        folders = " ".join(f"{part}/" for part in parts)
        return expected, [
            f"{folders}: the masks hold only the values {_shown(expected)}, so it is not known which of the {n_values} "
            "classes they are; save the classes as 0, 1, 2 ..., or tell the values of all classes with mask_values"
        ]
    if len(union) <= n_values:
        return expected, []
    # The masks to blame are those with values beyond the most common ones.
    counts = Counter(value for masks in found.values() for values in masks.values() for value in values)
    common = {value for value, _ in counts.most_common(n_values)}
    problems = [
        f"{part}/: mask of {name} holds the values {_shown(values)}, expected {n_values} in all; if they are ids of "
        f"objects, {IDS_REMEDY}"
        for part, masks in found.items()
        for name, values in masks.items()
        if not set(values) <= common
    ]
    return tuple(sorted(common)), problems


def to_classes(mask, values, name):
    """Turn the stored values of a mask into classes.

    Parameters
    ----------
    mask : numpy.ndarray
        Any shape.
    values : tuple
        From `class_values`. A single value that is not 0 is foreground everywhere.
    name : str
        Of the mask, for the message.

    Returns
    -------
    numpy.ndarray
        Of the same shape, uint8.

    Raises
    ------
    ValueError
        If the mask holds another value.
    """
    if values[-1] == OTHERS:
        return (mask != 0).astype(np.uint8)
    classes, known = np.zeros(mask.shape, np.uint8), 0
    for number, value in enumerate(values):
        here = mask == value
        known += np.count_nonzero(here)
        classes |= here.view(np.uint8) * np.uint8(1 if len(values) == 1 else number)
    if known < mask.size:
        found, expected = _shown(values_in(mask)), _shown(values)
        raise ValueError(
            f"mask {name} holds the values {found}, expected {expected} as in the masks before it. "
            "Correct the mask, or give N_CLASSES or mask_values that fit all masks."
        )
    return classes


def _shown(values):
    return " ".join(str(v) if isinstance(v, int) else f"{v:g}" for v in values[:8]) + " ..." * (len(values) > 8)
