"""The losses of the study: cross-entropy, Dice and Jaccard, and weighted sums of them."""

import keras
import numpy as np
from keras import ops

from utils.errors import check_choice

# Weights of the three terms of each loss.
LOSSES = {
    "bce": {"cross_entropy": 1.0},
    "w_bce": {"cross_entropy": 1.0},
    "dice": {"dice": 1.0},
    "jaccard": {"jaccard": 1.0},
    "bce_dice": {"cross_entropy": 0.5, "dice": 0.5},
    "w_bce_dice": {"cross_entropy": 0.33, "dice": 0.66},
}
SMOOTH = 1.0
EPSILON = 1e-7


def get_loss(name, *, foreground_weight=None, masks=None):
    """Return a loss of the study by its published name.

    Parameters
    ----------
    name : str
        ``bce``, ``w_bce`` (foreground pixels weigh ``foreground_weight``), ``dice``, ``jaccard``, ``bce_dice`` (0.5
        and 0.5) or ``w_bce_dice`` (0.33 weighted cross-entropy + 0.66 Dice, as published).
    foreground_weight : float, optional
        For the two ``w_`` losses, refused by the others: how many times a foreground pixel counts. None:
        ``balancing_weight(masks)``.
    masks : iterable of numpy.ndarray, optional
        Training masks, read only when that weight is computed from them.

    Returns
    -------
    SegmentationLoss

    Raises
    ------
    ValueError
        If the name is unknown, or the weight is missing, not positive or not used by the loss.
    """
    check_choice("LOSS", name, tuple(LOSSES))
    weighted = name.startswith("w_")
    if weighted and foreground_weight is None and masks is not None:
        foreground_weight = balancing_weight(masks)
    if weighted and (foreground_weight is None or foreground_weight <= 0):
        raise ValueError(
            f"LOSS {name!r} needs a positive FOREGROUND_WEIGHT or the training masks; got {foreground_weight}."
        )
    if not weighted and foreground_weight is not None:
        remedy = f"Use 'w_{name}' or leave it None." if f"w_{name}" in LOSSES else "Leave it None."
        raise ValueError(f"LOSS {name!r} does not use FOREGROUND_WEIGHT={foreground_weight}. {remedy}")
    return SegmentationLoss(**LOSSES[name], foreground_weight=foreground_weight or 1.0, name=name)


def balancing_weight(masks):
    """Return the foreground weight that makes foreground and background count the same.

    Parameters
    ----------
    masks : iterable of numpy.ndarray
        Masks with 0 for background.

    Returns
    -------
    float
        Background pixels divided by foreground pixels.

    Raises
    ------
    ValueError
        If there is no foreground.
    """
    foreground = total = 0
    for mask in masks:
        foreground += np.count_nonzero(mask)
        total += mask.size
    if foreground == 0:
        raise ValueError("the training masks hold no foreground, so it cannot be weighted. Check train/y.")
    return (total - foreground) / foreground


@keras.saving.register_keras_serializable("em_image_segmentation")
class SegmentationLoss(keras.losses.Loss):
    """Weighted sum of cross-entropy, Dice loss and Jaccard loss over the pixels of a batch.

    With truth t, probability p and pixel weights w: cross-entropy = mean(-w (t log p + (1 - t) log(1 - p)));
    Dice loss = 1 - (2 S(w t p) + 1) / (S(w t) + S(w p) + 1); Jaccard loss = 1 - (S(w t p) + 1) / (S(w t) + S(w p) -
    S(w t p) + 1), S being the sum over the batch. With several classes (softmax) the truth is turned into one channel
    each, cross-entropy is the categorical one and the sums run over all classes but the background. w is the product
    of the batch's ``sample_weight`` and, for cross-entropy, of ``foreground_weight`` where t is 1.

    Parameters
    ----------
    cross_entropy, dice, jaccard : float
        Weights of the terms.
    foreground_weight : float
        How many times a foreground pixel counts in the cross-entropy.
    name : str
        Name of the loss.
    """

    def __init__(
        self, cross_entropy=0.0, dice=0.0, jaccard=0.0, foreground_weight=1.0, name="segmentation_loss", **kwargs
    ):
        super().__init__(name=name, **kwargs)
        self.cross_entropy, self.dice, self.jaccard = cross_entropy, dice, jaccard
        self.foreground_weight = foreground_weight

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Return the loss of a batch, a float32 scalar; weights are ``(n, y, x[, 1])``, ``(n,)`` or None."""
        true, probability = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        weight = ops.ones_like(true) if sample_weight is None else ops.cast(sample_weight, "float32")
        while len(weight.shape) < len(true.shape):  # a weight per pixel, or one per sample
            weight = ops.expand_dims(weight, axis=-1)
        n_classes = probability.shape[-1]
        if n_classes > 1:
            true = ops.one_hot(ops.cast(true[..., 0], "int32"), n_classes)
        loss = 0.0
        if self.cross_entropy:
            loss += self.cross_entropy * ops.mean(weight * self._pixelwise(true, probability))
        if n_classes > 1:  # the overlap terms leave the background out
            true, probability = true[..., 1:], probability[..., 1:]
        overlap = ops.sum(weight * true * probability)
        total = ops.sum(weight * true) + ops.sum(weight * probability)
        if self.dice:
            loss += self.dice * (1 - (2 * overlap + SMOOTH) / (total + SMOOTH))
        if self.jaccard:
            loss += self.jaccard * (1 - (overlap + SMOOTH) / (total - overlap + SMOOTH))
        return loss

    def _pixelwise(self, true, probability):
        clipped = ops.clip(probability, EPSILON, 1 - EPSILON)
        if probability.shape[-1] == 1:
            return -(self.foreground_weight * true * ops.log(clipped) + (1 - true) * ops.log(1 - clipped))
        entropy = -true * ops.log(clipped)
        return entropy[..., :1] + self.foreground_weight * ops.sum(entropy[..., 1:], axis=-1, keepdims=True)

    def get_config(self):
        """Return what the constructor needs."""
        names = ("cross_entropy", "dice", "jaccard", "foreground_weight")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
