"""Scores of instances: matched objects (average precision, panoptic quality), Rand error, information, DET.

All are computed from one sparse table of how many voxels each true and each predicted instance have in common.
"""

import itertools

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from skimage.metrics import adapted_rand_error

from utils.metrics.components import check_labels

# IoUs of the average precision.
AVERAGE_PRECISION_IOUS = (0.5, 0.75)
# Costs of DET: split a predicted object, add a missed one, delete a false one.
SPLIT, ADD, DELETE = 5, 10, 1


def contingency_table(truths, predictions):
    """Count the voxels that true and predicted instances have in common, over all images.

    Parameters
    ----------
    truths, predictions : iterable of numpy.ndarray
        Instance labels ``(y, x, 1)`` or ``(z, y, x, 1)``, integers, 0 for background. The same label in two images is
        two instances.

    Returns
    -------
    scipy.sparse.csr_array
        ``(true instances + 1, predicted instances + 1)``, int64. Row and column 0 are the background; the others are
        the instances, image by image, by increasing label.

    Raises
    ------
    ValueError
        If numbers or sizes do not agree, or there are no images.

    Examples
    --------
    >>> truth, prediction = (np.array([row])[..., np.newaxis] for row in ([0, 1, 1, 2], [0, 7, 7, 7]))
    >>> contingency_table([truth], [prediction]).toarray().tolist()
    [[1, 0], [0, 2], [0, 1]]
    """
    rows, columns, counts = [], [], []
    shape = np.zeros(2, np.int64)
    for number, (truth, prediction) in enumerate(itertools.zip_longest(truths, predictions), start=1):
        if truth is None or prediction is None:
            raise ValueError(
                f"there are {'more predictions than' if truth is None else 'fewer predictions than'} true labels, "
                f"from number {number} on. Give one prediction for each, in their order."
            )
        truth, prediction = check_labels(truth, "true labels"), check_labels(prediction, "predicted labels")
        if truth.shape != prediction.shape:
            raise ValueError(
                f"labels {number} have the size {truth.shape}, their prediction {prediction.shape}; they must agree."
            )
        pairs, voxels = _common_voxels(truth, prediction)
        for axis, (found, all_found) in enumerate(zip(pairs, (rows, columns), strict=True)):
            present, places = np.unique(found, return_inverse=True)  # place 0 is the background, which is always there
            all_found.append(np.where(places > 0, places + shape[axis], 0))
            shape[axis] += len(present) - 1
        counts.append(voxels)
    if not counts:
        raise ValueError("there are no labels to score. Give at least one image with its prediction.")
    places = (np.concatenate(rows), np.concatenate(columns))
    return csr_array((np.concatenate(counts), places), shape=tuple((shape + 1).tolist()))


def _common_voxels(truth, prediction):
    """Return the pairs of labels ``(2, pairs)`` that occur at one place, and how often; the first is the background."""
    concerned = (truth > 0) | (prediction > 0)
    width = int(prediction.max(initial=0)) + 1
    codes, voxels = np.unique(truth[concerned] * np.int64(width) + prediction[concerned], return_counts=True)
    background = truth.size - np.count_nonzero(concerned)
    return np.divmod(np.append(0, codes), width), np.append(background, voxels)


def matching(table, *, threshold=0.5):
    """Match true and predicted instances one to one, and score how many have a partner.

    Partners have an IoU of at least ``threshold``. The matching has the most partners possible and, among those, the
    highest IoUs. With tp pairs, fp predicted and fn true instances without a partner: precision = tp / (tp + fp);
    recall = tp / (tp + fn); accuracy = tp / (tp + fp + fn), the average precision of the Data Science Bowl 2018; f1 = 2
    tp / (2 tp + fp + fn); mean_matched_score = mean IoU of the pairs; mean_true_score = sum of their IoUs / true
    instances; panoptic_quality = sum of their IoUs / (tp + fp / 2 + fn / 2), after Kirillov et al. (2019), Panoptic
    segmentation, equation 1. Nothing to score (0 / 0) is NaN.

    Parameters
    ----------
    table : scipy.sparse.csr_array
        From `contingency_table`.
    threshold : float
        Above 0, up to 1.

    Returns
    -------
    dict of str to float or int
        ``threshold``, ``tp``, ``fp``, ``fn``, ``n_true``, ``n_pred`` and the scores above.

    Raises
    ------
    ValueError
        If the threshold is out of range.

    Examples
    --------
    >>> truth, prediction = (np.array([row])[..., np.newaxis] for row in ([0, 1, 1, 1, 2], [0, 1, 1, 0, 0]))
    >>> found = matching(contingency_table([truth], [prediction]))
    >>> found["tp"], found["fp"], found["fn"], round(found["mean_matched_score"], 3), found["accuracy"]
    (1, 0, 1, 0.667, 0.5)
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the IoU threshold is {threshold}; wanted more than 0 and at most 1, such as 0.5.")
    n_true, n_pred = (size - 1 for size in table.shape)
    matched = _matched_ious(table, threshold)
    tp, total = len(matched), float(np.sum(matched))
    fp, fn = n_pred - tp, n_true - tp
    return {
        "threshold": threshold,
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "n_true": n_true,
        "n_pred": n_pred,
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "accuracy": _ratio(tp, tp + fp + fn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "mean_true_score": _ratio(total, n_true),
        "mean_matched_score": _ratio(total, tp),
        "panoptic_quality": _ratio(total, tp + fp / 2 + fn / 2),
    }


def _ratio(part, whole):
    return part / whole if whole else float("nan")


def _matched_ious(table, threshold):
    """Return the IoU of each matched pair; only instances with a possible partner enter the dense matrix."""
    common = table[1:, 1:].tocoo()
    true_sizes, predicted_sizes = table.sum(axis=1)[1:], table.sum(axis=0)[1:]
    iou = common.data / (true_sizes[common.row] + predicted_sizes[common.col] - common.data)
    possible = iou >= threshold
    (true, rows), (predicted, columns) = (
        np.unique(places[possible], return_inverse=True) for places in (common.row, common.col)
    )
    score = np.zeros((len(true), len(predicted)))
    # One more partner outweighs all IoUs together, each of which is at most 1.
    score[rows, columns] = 1 + iou[possible] / (2 * max(1, min(score.shape)))
    place = linear_sum_assignment(score, maximize=True)
    own = csr_array((iou[possible], (rows, columns)), shape=score.shape).toarray()[place]
    return own[own > 0]


def instance_scores(truths, predictions):
    """Score predicted instances in all ways except `det_measure`, pooled over all images.

    Parameters
    ----------
    truths, predictions : iterable of numpy.ndarray
        As `contingency_table`.

    Returns
    -------
    dict of str to float
        ``average_precision_50`` and ``average_precision_75`` (``accuracy`` of `matching`); ``mean_matched_score`` and
        ``panoptic_quality`` at an IoU of 0.5; the scores of `rand_and_information`.

    Examples
    --------
    >>> truth = np.array([[0, 1, 1, 2, 2]])[..., np.newaxis]
    >>> scores = instance_scores([truth], [truth > 0])
    >>> scores["average_precision_50"], scores["average_precision_75"], scores["variation_of_information_merge"]
    (0.5, 0.0, 1.0)
    """
    table = contingency_table(truths, predictions)
    scores = {
        f"average_precision_{round(100 * threshold)}": matching(table, threshold=threshold)["accuracy"]
        for threshold in AVERAGE_PRECISION_IOUS
    }
    at_half = matching(table, threshold=0.5)
    scores |= {name: at_half[name] for name in ("mean_matched_score", "panoptic_quality")}
    return scores | rand_and_information(table)


def rand_and_information(table):
    """Compute the adapted Rand error and the variation of information over the true foreground.

    As in the SNEMI3D challenge, voxels that are background in truth do not count; predicted background inside is one
    more segment. Adapted Rand error = 1 - the harmonic mean of precision and recall of pairs of voxels in one segment
    (Arganda-Carreras et al. 2015). Variation of information (Meila 2007) in bits: H(prediction | truth) measures
    splits, H(truth | prediction) mergers.

    Parameters
    ----------
    table : scipy.sparse.csr_array
        From `contingency_table`.

    Returns
    -------
    dict of str to float
        ``adapted_rand_error`` 0 .. 1, ``variation_of_information_split`` and ``variation_of_information_merge``, at
        least 0; 0 is perfect. NaN without true foreground.

    Examples
    --------
    >>> truth, prediction = (np.array([row])[..., np.newaxis] for row in ([0, 1, 1, 1, 1], [3, 1, 1, 2, 2]))
    >>> rand_and_information(contingency_table([truth], [prediction]))["variation_of_information_split"]
    1.0
    """
    names = ("adapted_rand_error", "variation_of_information_split", "variation_of_information_merge")
    counts = table[1:]
    total = counts.sum()
    if total == 0:
        return dict.fromkeys(names, float("nan"))
    # If there are no pairs, every segment is a single voxel: nothing is split or merged.
    pairs_exist = max(counts.sum(axis=0).max(), counts.sum(axis=1).max()) > 1
    rand = adapted_rand_error(table=counts)[0] if pairs_exist else 0.0
    cells = counts.tocoo()
    information = [
        float((cells.data * np.log2(sizes / cells.data)).sum() / total)
        for sizes in (counts.sum(axis=1)[cells.row], counts.sum(axis=0)[cells.col])
    ]
    return dict(zip(names, (float(rand), *information), strict=True))


def det_measure(truths, predictions):
    """Compute the detection accuracy (DET): how little it costs to turn the predicted objects into the true ones.

    A true object is detected by the predicted one that covers more than half of it. A predicted object that detects k
    objects must be split k - 1 times; one that detects none is false. AOGM-D = 5 splits + 10 missed + 1 false; AOGM-D0
    = 10 x true objects, the cost from nothing; DET = 1 - min(AOGM-D, AOGM-D0) / AOGM-D0. Source: P. Matula et al., PLoS
    ONE 10(12):e0144959, 2015; V. Ulman et al., Nature Methods 14, 2017 (the Cell Tracking Challenge; its binary is not
    needed).

    Parameters
    ----------
    truths, predictions : iterable of numpy.ndarray
        As `contingency_table`; each array is a frame, and their costs add up. The published code took slices of a
        volume as frames.

    Returns
    -------
    dict of str to float or int
        ``det``, 0 .. 1, NaN without true objects; ``splits``, ``missed``, ``false`` and ``n_true``.

    Examples
    --------
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
