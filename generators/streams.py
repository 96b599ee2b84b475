"""Independent random numbers for the parts of a sample."""

import numpy as np

PARTS = (
    "elastic_alpha",
    "misalignment",
    "intensity",
    "noise_std",
    "dropout",
    "missing_sections",
    "cutmix_size",
    "cutblur_size",
    "cutnoise_size",
    "cutout_size",
)


class Streams:
    """A generator for each part of a sample, so that one option does not change the draws of another.

    Generators are made when asked for, because making all of them takes longer than some transforms.

    Parameters
    ----------
    rng : numpy.random.Generator
        The streams depend on where it stands; its own numbers do not change.

    Examples
    --------
    >>> streams = Streams(np.random.default_rng(0))
    >>> streams["misalignment"].random() == streams["misalignment"].random() != streams["intensity"].random()
    True
    """

    def __init__(self, rng):
        self._state = rng.bit_generator.state["state"]["state"]

    def __getitem__(self, part):
        return np.random.default_rng((self._state, PARTS.index(part)))

    def if_happens(self, part, options, probabilities):
        """Return the generator of a transform that is on and happens this time, otherwise None.

        Parameters
        ----------
        part : str
            One of ``PARTS`` that is an option.
        options : dict of str to object
            None where a transform is off.
        probabilities : dict of str to float
            Of each transform.

        Returns
        -------
        numpy.random.Generator or None
        """
        if options[part] is None:
            return None
        rng = self[part]
        return rng if rng.random() < probabilities[part] else None
