"""Checks of the options of the generators: every message gives the option, its value and what it may be."""

import numpy as np


def check_numbers(**numbers):
    """Check that options lie in their ranges.

    Parameters
    ----------
    **numbers : tuple of float
        Of each option ``(value, low, high)``.

    Raises
    ------
    ValueError
        If a value is not from ``low`` to ``high``.

    Examples
    --------
    >>> check_numbers(probability=(0.5, 0, 1))
    """
    for name, (value, low, high) in numbers.items():
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}; it must be from {low} to {high}.")


def number_range(name, value, *, example, zero_allowed=False):
    """Return the range that a number is drawn from, checked.

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

    Returns
    -------
    tuple of float or None
        None when the option is off.

    Raises
    ------
    ValueError
        If it is no pair, ``low`` is too small or ``high`` below it.
    """
    if value is None or (np.isscalar(value) and value == 0):
        return None
    pair = value if np.isscalar(value) else tuple(value)
    fits = not np.isscalar(pair) and len(pair) == 2 and pair[0] <= pair[1]
    if not (fits and (pair[0] >= 0 if zero_allowed else pair[0] > 0)):
        sign = "<=" if zero_allowed else "<"
        raise ValueError(f"{name} is {pair}; it must be (low, high) with 0 {sign} low <= high, e.g. {example}.")
    return pair if pair[1] else None


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
