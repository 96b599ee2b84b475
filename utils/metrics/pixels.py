"""Scores of masks, all computed from one confusion matrix, and the metric shown while training.

Definitions, with TP, FP, FN of a class: IoU (Jaccard) = TP / (TP + FP + FN); Dice = 2 TP / (2 TP + FP + FN);
precision = TP / (TP + FP); recall = TP / (TP + FN).

Empty masks: a score with nothing to score (0 / 0) is NaN, and means skip NaN. So the foreground IoU is NaN where
neither truth nor prediction has foreground, and 0 where only one of them has.
"""

import keras
import numpy as np
from keras import ops

# Probabilities are rounded to 1/4096 before they are scored and saved: far below their accuracy, and files need a
# third of the disk space.
PROBABILITY_STEPS = 4096
# Pixels counted together, so that a large image needs no more memory than a small one.
SLAB = 1_000_000
METRICS = ("foreground_iou", "overall_iou", "dice", "precision", "recall")


def check_probability(probability, what):
    """Raise an error if a network predicted NaN, which would become background without a word.

    Parameters
    ----------
    probability : numpy.ndarray
        Any shape.
    what : str
        What was predicted: the name of an image.

    Raises
    ------
    ValueError
        If one value is NaN.
    """
    if probability.size and np.isnan(probability.max()):
        raise ValueError(
            f"the network predicts NaN for {what}. Lower LEARNING_RATE and train again; if it computes with 16-bit "
            "numbers, first try --precision float32."
        )


def round_probability(probability):
    """Round probabilities to the steps in which they are scored and saved.

    Parameters
    ----------
    probability : numpy.ndarray
        Float of any shape, 0 .. 1.

    Returns
    -------
    numpy.ndarray
        Multiples of 1 / ``PROBABILITY_STEPS``, at least float32.

    Examples
    --------
    >>> round_probability(np.array([0.5001, 1.0])).tolist()
    [0.5, 1.0]
    """
    rounded = np.multiply(probability, np.float32(PROBABILITY_STEPS))
    np.rint(rounded, out=rounded)
    rounded /= np.float32(PROBABILITY_STEPS)
    return rounded


def probability_to_mask(probability, threshold=0.5):
    """Turn probabilities into classes.

    Parameters
    ----------
    probability : numpy.ndarray
        ``(..., 1)``: foreground where above the threshold; ``(..., classes)``: the most probable class.
    threshold : float
        Used with one channel.

    Returns
    -------
    numpy.ndarray
        ``(..., 1)``, uint8.
    """
    if probability.shape[-1] == 1:
        return (probability > threshold).astype(np.uint8)
    return probability.argmax(axis=-1).astype(np.uint8)[..., np.newaxis]


def confusion_matrix(truth, prediction, n_classes=2):
    """Count pixels by true and predicted class.

    Parameters
    ----------
    truth, prediction : numpy.ndarray
        Classes 0 .. n_classes - 1, integers or bool, of one shape.
    n_classes : int
        At least 2.

    Returns
    -------
    numpy.ndarray
        ``(n_classes, n_classes)``, int64; rows are the truth. Matrices of several images add up to that of all their
        pixels.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not a class.

    Examples
    --------
    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 0])).tolist()
    [[1, 0], [1, 1]]
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"the mask has the shape {truth.shape}, the prediction {prediction.shape}; they must agree.")
    for name, array in (("mask", truth), ("prediction", prediction)):
        if array.size and not 0 <= array.min() <= array.max() < n_classes:
            raise ValueError(
                f"the {name} holds the values {array.min()} to {array.max()}; wanted classes 0 to {n_classes - 1}."
            )
    truth, prediction, counts = truth.ravel(), prediction.ravel(), np.zeros(n_classes**2, np.intp)
    for start in range(0, truth.size, SLAB):
        part = slice(start, start + SLAB)
        pairs = truth[part].astype(np.intp) * n_classes + prediction[part]
        counts += np.bincount(pairs, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes)


def scores_from_confusion(matrix):
    """Compute all scores from a confusion matrix; NaN where there is nothing to score.

    Parameters
    ----------
    matrix : numpy.ndarray
        ``(n_classes, n_classes)``, rows are the truth.

    Returns
    -------
    dict of str to float
        ``foreground_iou``, ``overall_iou`` (mean over all classes, background included), ``dice``, ``precision``,
        ``recall``; with more than two classes these are means over the classes except background, and ``iou_class_0``
        ... follow.
    """
    matrix = np.asarray(matrix, np.float64)
    hit = np.diag(matrix)
    false, missed = matrix.sum(axis=0) - hit, matrix.sum(axis=1) - hit
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = hit / (hit + false + missed)
        per_class = {
            "foreground_iou": iou,
            "dice": 2 * hit / (2 * hit + false + missed),
            "precision": hit / (hit + false),
            "recall": hit / (hit + missed),
        }
    scores = {name: nan_mean(values[1:]) for name, values in per_class.items()}
    scores["overall_iou"] = nan_mean(iou)
    scores = {name: scores[name] for name in METRICS}
    if len(iou) > 2:
        scores |= {f"iou_class_{number}": float(value) for number, value in enumerate(iou)}
    return scores


def nan_mean(values):
    """Return the mean of the values that are not NaN; NaN when there are none.

    Parameters
    ----------
    values : sequence of float
        The values.

    Returns
    -------
    float
    """
    values = np.asarray(values, np.float64)
    return float(values[~np.isnan(values)].mean()) if (~np.isnan(values)).any() else float("nan")


@keras.saving.register_keras_serializable("em_image_segmentation")
class ForegroundIoU(keras.metrics.Metric):
    """Foreground IoU pooled over all pixels of an epoch, for ``model.compile(metrics=[...])``.

    The foreground is every class but 0. Truth ``(n, y, x, 1)`` with classes; prediction ``(n, y, x, 1)`` probability or
    ``(n, y, x, classes)``. Of independent channels, in truth and prediction, the first is the foreground. An epoch
    without true or predicted foreground gives NaN.

    Parameters
    ----------
    threshold : float
        For one channel.
    name : str
        Column in the history.
    """

    def __init__(self, threshold=0.5, name="foreground_iou", **kwargs):
        super().__init__(name=name, **kwargs)
        self.threshold = threshold
        self.intersection = self.add_variable((), initializer="zeros", name="intersection", dtype="float32")
        self.union = self.add_variable((), initializer="zeros", name="union", dtype="float32")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch. Pixels of weight 0 are left out; all others count equally, whatever their weight."""
        if y_true.shape[-1] > 1:
            y_true, y_pred = y_true[..., :1], y_pred[..., :1]
        if y_pred.shape[-1] == 1:
            predicted = y_pred > self.threshold
        else:
            predicted = ops.expand_dims(ops.argmax(y_pred, axis=-1), axis=-1) > 0
        true = ops.cast(y_true, "float32") > 0.5
        if sample_weight is not None:
            counted = ops.convert_to_tensor(sample_weight) > 0
            while len(counted.shape) < len(true.shape):  # a weight per pixel, or one per sample
                counted = ops.expand_dims(counted, axis=-1)
            true, predicted = ops.logical_and(true, counted), ops.logical_and(predicted, counted)
        self.intersection.assign_add(ops.sum(ops.cast(ops.logical_and(true, predicted), "float32")))
        self.union.assign_add(ops.sum(ops.cast(ops.logical_or(true, predicted), "float32")))

    def result(self):
        """Return the IoU of all batches since the last reset."""
        return self.intersection / self.union

    def get_config(self):
        """Return the arguments of the constructor."""
        return {**super().get_config(), "threshold": self.threshold}
