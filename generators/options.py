"""Checks of the options of the generators: every message gives the option, its value and the possible ones."""

import numpy as np

from utils.errors import check_choice


def check_numbers(**numbers):
    """Check that options lie in their ranges.

    Parameters
    ----------
    **numbers : tuple of float
        ``(value, low, high)`` of each option.

    Raises
    ------
    ValueError
        If a value is not from ``low`` to ``high``.
    """
    for name, (value, low, high) in numbers.items():
        if not low <= value <= high:
            wanted = f"at least {low}" if high == np.inf else f"from {low} to {high}"
            raise ValueError(f"{name} is {value}; it must be {wanted}.")


def number_range(name, value, *, example, zero_allowed=False, highest=None, required=False):
    """Return the range from which a number is drawn, checked.

    Parameters
    ----------
    name : str
        The option, for the message.
    value : tuple of float, 0 or None
        ``(low, high)``; 0, ``(0, 0)`` and None switch the option off.
    example : tuple of float
        A sensible range, for the message.
    zero_allowed : bool
        Whether ``low`` may be 0.
    highest : float, optional
        The largest possible ``high``.
    required : bool
        The option cannot be switched off.

    Returns
    -------
    tuple of float or None
        None when the option is off.

    Raises
    ------
    ValueError
        If it is no pair, ``low`` is too small, or ``high`` is below it or too large.

    Examples
    --------
    >>> number_range("gamma", (0.8, 1.25), example=(0.8, 1.25))
    (0.8, 1.25)
    """
    if not required and _is_off(value):
        return None
    pair = tuple(value) if np.iterable(value) else value
    fits = _is_pair(pair) and (pair[0] >= 0 if zero_allowed else pair[0] > 0)
    if not fits or (highest is not None and pair[1] > highest):
        sign, limit = "<=" if zero_allowed else "<", "" if highest is None else f" <= {highest}"
        raise ValueError(f"{name} is {pair}; it must be (low, high) with 0 {sign} low <= high{limit}, e.g. {example}.")
    return pair if pair[1] or required else None


def whole_range(name, value, *, example, lowest=1, required=False):
    """Return the range from which a whole number is drawn, both ends included, checked.

    Parameters
    ----------
    name, value, example, required
        As `number_range`.
    lowest : int
        The smallest possible ``low``.

    Returns
    -------
    tuple of int or None
        None when the option is off.

    Raises
    ------
    ValueError
        If it is no pair of whole numbers, ``low`` is too small or ``high`` is below it.
    """
    if not required and _is_off(value):
        return None
    pair = tuple(value) if np.iterable(value) else value
    if not (_is_pair(pair) and pair[0] >= lowest and all(number == int(number) for number in pair)):
        raise ValueError(
            f"{name} is {pair}; it must be two whole numbers (low, high) with {lowest} <= low <= high, e.g. {example}."
        )
    return int(pair[0]), int(pair[1])


def _is_off(value):
    """Return whether a range is None, 0 or (0, 0)."""
    return value is None or (tuple(value) == (0, 0) if np.iterable(value) else value == 0)


def _is_pair(pair):
    return np.iterable(pair) and len(pair) == 2 and pair[0] <= pair[1] < np.inf


def fill_value(name, value, words):
    """Return the fill of a lost part of an image, checked.

    Parameters
    ----------
    name : str
        The option, for the message.
    value : float, str or None
        0 for black to 1 for white, or one of the words; None is black.
    words : tuple of str
        The possible words.

    Returns
    -------
    float or str

    Raises
    ------
    ValueError
        If it is neither.
    """
    value = 0.0 if value is None else value
    if not (value in words if isinstance(value, str) else np.isscalar(value) and 0 <= value <= 1):
        raise ValueError(
            f"{name} is {value!r}; it must be a number from 0 (black) to 1 (white) or one of {list(words)}."
        )
    return value


def each_probability(probability, probabilities, names):
    """Return the probability of each transform, checked.

    Parameters
    ----------
    probability : float
        Of transforms that ``probabilities`` does not name.
    probabilities : dict of str to float or None
        Of some, by the option that switches the transform on.
    names : tuple of str
        All these options.

    Returns
    -------
    dict of str to float

    Raises
    ------
    ValueError
        If ``probabilities`` is no dictionary, a name in it unknown or a probability not from 0 to 1.

    Examples
    --------
    >>> each_probability(1.0, {"dropout": 0.5}, ("gamma", "dropout"))
    {'gamma': 1.0, 'dropout': 0.5}
    """
    if not isinstance(probabilities, dict | None):
        raise ValueError(f"probabilities is {probabilities!r}; it must be a dictionary, e.g. {{{names[0]!r}: 0.5}}.")
    probabilities = probabilities or {}
    for name, own in probabilities.items():
        check_choice("the name in probabilities", name, names)
        check_numbers(**{f"probabilities[{name!r}]": (own, 0, 1)})
    return dict.fromkeys(names, probability) | probabilities


def zoom_factors(zoom_range):
    """Return the range of the zoom factor, checked.

    Parameters
    ----------
    zoom_range : float or tuple of float
        ``(low, high)``, or z for ``(1 - z, 1 + z)`` as in Keras.

    Returns
    -------
    tuple of float

    Raises
    ------
    ValueError
        If it is not ``0 < low <= high``.
    """
    pair = (1 - zoom_range, 1 + zoom_range) if np.isscalar(zoom_range) else zoom_range
    return number_range("zoom_range", pair, example=(0.8, 1.2)) or (1.0, 1.0)
