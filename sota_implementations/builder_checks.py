"""A check of arguments that all builders of the published methods need."""

from numbers import Integral


def check_dropout_and_filters(*, dropout, filters):
    """Check dropout rates and numbers of feature maps.

    Parameters
    ----------
    dropout : dict of str to float
        Fractions dropped in training, by the names of their template variables.
    filters : dict of str to int
        Numbers of feature maps, likewise.

    Raises
    ------
    ValueError
        If a fraction is below 0 or not below 1, or a number is not a whole one above 0.
    """
    for name, rate in dropout.items():
        if not 0 <= rate < 1:
            raise ValueError(f"{name} is {rate}; wanted a fraction of at least 0 and below 1, e.g. 0.2; 0 for none.")
    for name, number in filters.items():
        if not isinstance(number, Integral) or number < 1:
            raise ValueError(f"{name} is {number}; wanted a whole number of feature maps above 0, e.g. 16.")
