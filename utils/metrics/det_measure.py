"""Detection accuracy (DET) of the Cell Tracking Challenge, computed here, without the binary of the challenge.

P. Matula et al.: Cell tracking accuracy measurement based on comparison of acyclic oriented graphs. PLoS ONE
10(12):e0144959, 2015; V. Ulman et al.: An objective comparison of cell-tracking algorithms. Nature Methods 14, 2017.
"""

from utils.metrics.instances import contingency_table

# Costs of the challenge: split a predicted object, add a missed one, delete one that is not there.
SPLIT, ADD, DELETE = 5, 10, 1


def det_measure(truths, predictions):
    """Compute DET: how little it costs to turn the predicted objects into the true ones.

    A true object is detected by the predicted one that covers more than half of it. A predicted object that detects
    several must be split, k - 1 times for k; one that detects none is false. AOGM-D = 5 splits + 10 missed + 1 false;
    AOGM-D0 = 10 x true objects, the cost from nothing; DET = 1 - min(AOGM-D, AOGM-D0) / AOGM-D0.

    Parameters
    ----------
    truths, predictions : iterable of numpy.ndarray
        Instance labels ``(y, x, 1)`` or ``(z, y, x, 1)``, integers, 0 for background: the frames, each by itself, whose
        costs add up. ``instances_from_probability`` makes labels; the published code took slices of a
        volume as frames.

    Returns
    -------
    dict of str to float or int
        ``det``, 0 .. 1, NaN without true objects; ``splits``, ``missed``, ``false`` and ``n_true``.

    Raises
    ------
    ValueError
        If numbers or sizes do not agree, or there are no images.

    Examples
    --------
    >>> import numpy as np
    >>> truth, prediction = (np.array([row])[..., np.newaxis] for row in ([1, 1, 2, 2, 0, 3], [1, 1, 1, 1, 2, 0]))
    >>> det_measure([truth], [prediction])  # 5 for a split, 10 for the missed, 1 for the false one, of 30
    {'det': 0.4666666666666667, 'splits': 1, 'missed': 1, 'false': 1, 'n_true': 3}
    """
    table = contingency_table(truths, predictions)
    n_true, n_predicted = (size - 1 for size in table.shape)
    pairs = table.tocoo()
    detects = (2 * pairs.data > table.sum(axis=1)[pairs.row]) & (pairs.row > 0) & (pairs.col > 0)
    detected, detecting = int(detects.sum()), len(set(pairs.col[detects].tolist()))
    splits, missed, false = detected - detecting, n_true - detected, n_predicted - detecting
    cost, cost_from_nothing = SPLIT * splits + ADD * missed + DELETE * false, ADD * n_true
    det = 1 - min(cost, cost_from_nothing) / cost_from_nothing if n_true else float("nan")
    return {"det": det, "splits": splits, "missed": missed, "false": false, "n_true": n_true}
