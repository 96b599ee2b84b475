"""The foreground IoU over all thresholds, the best threshold, and a chart that says on which images it was chosen.

A threshold is a choice like any other and is made on validation images. The best threshold of the test images, the
oracle, shows the cost of the choice and is never a result.
"""

import itertools
from pathlib import Path

import numpy as np

from utils.files import write_csv
from utils.metrics.pixels import PROBABILITY_STEPS, round_probability
from utils.pictures.figures import new_figure, save_figure

THRESHOLDS = np.arange(PROBABILITY_STEPS) / PROBABILITY_STEPS
DEFAULT = 0.5


def choose_threshold(folder, *, validation, test=None):
    """Choose the threshold with the highest foreground IoU on validation images; draw its effect on the test images.

    Writes ``thresholds.csv`` and ``thresholds.png`` and prints the choice. The best threshold of the test images, the
    oracle, is drawn and printed as such for comparison.

    Parameters
    ----------
    folder : str or Path
        Where the table and the chart go.
    validation : tuple of iterable of numpy.ndarray
        ``(predictions, masks)``, as `count_by_probability`.
    test : tuple of iterable of numpy.ndarray, optional
        The same of the test images.

    Returns
    -------
    float
        The threshold chosen on validation.

    Raises
    ------
    ValueError
        As `count_by_probability`, or if the masks hold no foreground.

    Examples
    --------
    >>> import tempfile
    >>> probability, mask = np.array([[[0.2], [0.3], [0.75]]]), np.array([[[0], [1], [1]]])
    >>> choose_threshold(tempfile.mkdtemp(), validation=([probability], [mask]))
    Threshold chosen on validation: 0.300 (validation IoU 1.0000).
    0.2998046875
    """
    curves = {"validation": foreground_iou_by_threshold(count_by_probability(*validation))}
    chosen = best_threshold(curves["validation"])
    text = f"Threshold chosen on validation: {chosen:.3f} (validation IoU {_at(curves['validation'], chosen):.4f}"
    if test is not None:
        curves["test"] = foreground_iou_by_threshold(count_by_probability(*test))
        oracle = best_threshold(curves["test"])
        text += (
            f", test IoU {_at(curves['test'], chosen):.4f}; {_at(curves['test'], DEFAULT):.4f} at {DEFAULT}; "
            f"oracle, chosen on the test: {_at(curves['test'], oracle):.4f} at {oracle:.3f}"
        )
    columns = zip(THRESHOLDS.tolist(), *(curve.tolist() for curve in curves.values()), strict=True)
    names = ["threshold", *(f"{name}_foreground_iou" for name in curves)]
    write_csv(Path(folder) / "thresholds.csv", [dict(zip(names, values, strict=True)) for values in columns])
    draw_thresholds(Path(folder) / "thresholds.png", curves["validation"], curves.get("test"))
    print(f"{text}).", flush=True)
    return chosen


def apply_threshold(predictions, threshold):
    """Turn probabilities into masks of 0 and 1, which can be scored and post-processed like probabilities.

    Parameters
    ----------
    predictions : iterable of numpy.ndarray
        ``(y, x, 1)`` or ``(z, y, x, 1)``, 0 .. 1.
    threshold : float
        Values above are foreground.

    Returns
    -------
    iterator of numpy.ndarray
        float32, shape of the prediction.

    Raises
    ------
    ValueError
        If the threshold is not 0 .. 1.

    Examples
    --------
    >>> [mask.ravel().tolist() for mask in apply_threshold([np.array([[[0.2], [0.4]]])], 0.3)]
    [[0.0, 1.0]]
    """
    check_threshold(threshold)
    return ((prediction > threshold).astype(np.float32) for prediction in predictions)


def check_threshold(threshold):
    """Check that a threshold is a probability.

    Parameters
    ----------
    threshold : float
        0 .. 1.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"the threshold is {threshold}, but a probability from 0 to 1 is needed. Use 0.5, say.")


def count_by_probability(predictions, masks):
    """Count background and foreground pixels by their rounded probability, reading images one by one.

    Parameters
    ----------
    predictions : iterable of numpy.ndarray
        Probability of the foreground, 0 .. 1, ``(y, x, 1)`` or ``(z, y, x, 1)`` each.
    masks : iterable of numpy.ndarray
        Truth of the same shapes, 0 for background.

    Returns
    -------
    numpy.ndarray
        ``(2, 4097)``, int64: background and foreground pixels of probability k / 4096. Counts of several sets of
        images add up.

    Raises
    ------
    ValueError
        If there is not a mask for each prediction, their shapes differ, there are several classes, or a value is no
        probability.

    Examples
    --------
    >>> counts = count_by_probability([np.array([[[0.0], [1.0], [1.0]]])], [np.array([[[0], [0], [1]]])])
    >>> counts[:, [0, 4096]].tolist()
    [[1, 1], [0, 1]]
    """
    counts = np.zeros(2 * (PROBABILITY_STEPS + 1), np.int64)
    for number, (probability, mask) in enumerate(itertools.zip_longest(predictions, masks)):
        if probability is None or mask is None:
            missing = "prediction" if probability is None else "mask"
            raise ValueError(f"image {number} has no {missing}; give as many predictions as masks.")
        if probability.shape != mask.shape or probability.shape[-1] != 1:
            raise ValueError(
                f"prediction {number} has the shape {probability.shape}, its mask {mask.shape}; wanted the same with "
                "one channel. With several classes the most probable one is taken, without a threshold."
            )
        if not (probability.min() >= 0 and probability.max() <= 1):
            raise ValueError(
                f"prediction {number} holds the values {probability.min()} to {probability.max()}; wanted 0 to 1."
            )
        bins = (round_probability(probability) * PROBABILITY_STEPS).astype(np.intp)
        counts += np.bincount((bins + (PROBABILITY_STEPS + 1) * (mask > 0)).ravel(), minlength=len(counts))
    return counts.reshape(2, PROBABILITY_STEPS + 1)


def foreground_iou_by_threshold(counts):
    """Return the pooled foreground IoU at the thresholds 0, 1/4096, ... 4095/4096; values above are foreground.

    IoU = TP / (TP + FP + FN), exact, since no probability lies between two thresholds.

    Parameters
    ----------
    counts : numpy.ndarray
        From `count_by_probability`.

    Returns
    -------
    numpy.ndarray
        ``(4096,)``, float64.

    Raises
    ------
    ValueError
        If there is no foreground.

    Examples
    --------
    >>> counts = count_by_probability([np.array([[[0.0], [0.5], [1.0]]])], [np.array([[[0], [0], [1]]])])
    >>> foreground_iou_by_threshold(counts)[[0, 2047, 2048]].tolist()
    [0.5, 0.5, 1.0]
    """
    background, foreground = counts.sum(axis=1, keepdims=True) - counts.cumsum(axis=1)  # above each probability
    n_foreground = counts[1].sum()
    if n_foreground == 0:
        raise ValueError("the masks hold no foreground, so no threshold can be chosen. Take images with foreground.")
    return (foreground / (n_foreground + background))[:-1]


def best_threshold(curve):
    """Return the threshold with the highest IoU; of several, the one closest to 0.5.

    Parameters
    ----------
    curve : numpy.ndarray
        From `foreground_iou_by_threshold`.

    Returns
    -------
    float
    """
    best = THRESHOLDS[curve == curve.max()]
    return float(best[np.argmin(np.abs(best - DEFAULT))])


def draw_thresholds(path, validation, test=None):
    """Draw the IoU over thresholds, mark the threshold chosen on validation, and the oracle of the test as such.

    Parameters
    ----------
    path : str or Path
        The png file.
    validation : numpy.ndarray
        From `foreground_iou_by_threshold`.
    test : numpy.ndarray, optional
        The same of the test images.
    """
    figure, panels = new_figure(1, 1, width=7, height=5)
    panel, chosen = panels[0][0], best_threshold(validation)
    panel.plot(THRESHOLDS, validation, color="tab:blue", label="validation")
    label = f"chosen on validation: {chosen:.3f} (validation IoU {_at(validation, chosen):.4f})"
    panel.axvline(chosen, color="tab:blue", linestyle="--", label=label)
    if test is not None:
        oracle = best_threshold(test)
        panel.plot(THRESHOLDS, test, color="tab:orange", label="test")
        panel.plot(chosen, _at(test, chosen), "o", color="tab:orange", label=f"test IoU there: {_at(test, chosen):.4f}")
        label = f"ORACLE, chosen on the test, not a result: {oracle:.3f} (test IoU {_at(test, oracle):.4f})"
        panel.axvline(oracle, color="tab:orange", linestyle=":", label=label)
    panel.axvline(DEFAULT, color="lightgrey", linewidth=1, zorder=0)
    panel.set(title="Foreground IoU over thresholds", xlabel="Threshold", ylabel="Foreground IoU", ylim=(0, 1))
    panel.legend(loc="lower center", fontsize=8)
    save_figure(figure, path)


def _at(curve, threshold):
    return curve[round(threshold * PROBABILITY_STEPS)]
