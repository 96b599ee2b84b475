"""The losses of the study (cross-entropy, Dice, Jaccard and weighted sums of them), and the focal and Tversky loss."""

import keras
import numpy as np
from keras import ops

from utils.devices import mean_over_devices, share_of_loss, sum_over_devices
from utils.errors import check_choice

# Weights of the three terms of each loss.
LOSSES = {
    "bce": {"cross_entropy": 1.0},
    "w_bce": {"cross_entropy": 1.0},
    "dice": {"dice": 1.0},
    "jaccard": {"jaccard": 1.0},
    "bce_dice": {"cross_entropy": 0.5, "dice": 0.5},
    "w_bce_dice": {"cross_entropy": 0.33, "dice": 0.66},
    "focal": {"focal": 1.0},
    "tversky": {"tversky": 1.0},
}
SMOOTH = 1.0
EPSILON = 1e-7


def get_loss(
    name,
    *,
    n_classes=None,
    foreground_weight=None,
    class_weights=None,
    masks=None,
    focal_gamma=2.0,
    tversky_weights=(0.3, 0.7),
):
    """Return a loss by name.

    Parameters
    ----------
    name : str
        ``bce``, ``w_bce`` (foreground pixels weigh ``foreground_weight``), ``dice``, ``jaccard``, ``bce_dice`` (0.5
        and 0.5), ``w_bce_dice`` (0.33 weighted cross-entropy + 0.66 Dice, as published), ``focal`` (Lin et al. 2017)
        or ``tversky`` (Salehi et al. 2017).
    n_classes : int, optional
        Channels of the network's output, 1 for a sigmoid; needed with ``class_weights``.
    foreground_weight : float, optional
        For the two ``w_`` losses, refused by the others: how many times a foreground pixel counts. None: background
        pixels divided by foreground pixels of ``masks``, so that both count the same.
    class_weights : sequence of float, optional
        How many times a pixel of each class counts, background first, in ``focal`` and the cross-entropies; the
        others refuse it. A ``foreground_weight`` multiplies those of the foreground. The alpha of the focal loss is
        ``class_weights=(1 - alpha, alpha)``.
    masks : iterable of numpy.ndarray, optional
        Training masks, read only when the foreground weight is computed from them.
    focal_gamma : float
        Of ``focal``, at least 0: how much less well classified pixels count. 0 is the cross-entropy.
    tversky_weights : tuple of float
        Of ``tversky``: what false and what missed foreground costs (alpha and beta of the paper). (1, 1) is
        Jaccard; (0.5, 0.5) is Dice, but for the smoothing.

    Returns
    -------
    SegmentationLoss

    Raises
    ------
    ValueError
        If the name is unknown, or a weight is missing, not positive or not used by the loss.
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
    if class_weights is not None:
        _check_class_weights(name, tuple(class_weights), n_classes)
    if focal_gamma < 0:
        raise ValueError(f"FOCAL_GAMMA is {focal_gamma}; it must be 0 or more, e.g. 2.")
    if len(tversky_weights) != 2 or min(tversky_weights) < 0 or sum(tversky_weights) == 0:
        raise ValueError(
            f"TVERSKY_WEIGHTS is {tversky_weights}; wanted the costs of false and of missed foreground, none below 0 "
            "and one above, e.g. (0.3, 0.7)."
        )
    weights = {"foreground_weight": foreground_weight or 1.0, "class_weights": class_weights}
    options = {"focal_gamma": focal_gamma, "tversky_weights": tversky_weights}
    return SegmentationLoss(**LOSSES[name], **weights, **options, name=name)


def _check_class_weights(name, class_weights, n_classes):
    """Refuse class weights that the loss does not use, or of which there is not a positive one for each class."""
    if not {"cross_entropy", "focal"} & set(LOSSES[name]):
        used = [loss for loss, terms in LOSSES.items() if {"cross_entropy", "focal"} & set(terms)]
        raise ValueError(
            f"LOSS {name!r} does not use CLASS_WEIGHTS={class_weights}. Use one of {used} or leave it None."
        )
    if n_classes is None:
        raise ValueError(f"CLASS_WEIGHTS {class_weights} need n_classes, the channels of the network's output.")
    wanted = max(2, n_classes)
    if len(class_weights) != wanted or min(class_weights) <= 0:
        raise ValueError(
            f"CLASS_WEIGHTS is {class_weights}; wanted {wanted} numbers above 0 for a network with {n_classes} output "
            "channels: one for each class, background first."
        )


def balancing_weight(masks):
    """Return background pixels divided by foreground pixels of masks.

    Parameters
    ----------
    masks : iterable of numpy.ndarray
        Masks with 0 for background.

    Returns
    -------
    float

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
    """Weighted sum of cross-entropy, focal, Dice, Jaccard and Tversky loss over the pixels of a batch.

    Where several devices share a batch, sums and means run over all of it, as on one device.

    With truth t, probability p and pixel weights w, S being the sum over the batch:

    - cross-entropy = mean(-w (t log p + (1 - t) log(1 - p))),
    - focal = mean(-w (t (1 - p)^gamma log p + (1 - t) p^gamma log(1 - p))) (Lin et al. 2017, arXiv 1708.02002, eq. 4),
    - Dice = 1 - (2 S(w t p) + 1) / (S(w t) + S(w p) + 1),
    - Jaccard = 1 - (S(w t p) + 1) / (S(w t) + S(w p) - S(w t p) + 1),
    - Tversky = 1 - (S(w t p) + 1) / (S(w t p) + alpha S(w (1 - t) p) + beta S(w t (1 - p)) + 1) (Salehi et al. 2017,
      arXiv 1706.05721, eq. 2).

    With several classes (softmax), cross-entropy and focal loss run over the channel of the true class, the sums over
    all classes but the background. w is the product of the batch's ``sample_weight`` and, for cross-entropy and focal
    loss, of the weight of the pixel's true class and, unless that is the background, of ``foreground_weight``. A truth
    of several channels, each 0 .. 1, belongs to a network with independent channels: the loss is the mean of theirs.

    Parameters
    ----------
    cross_entropy, dice, jaccard, focal, tversky : float
        Weights of the terms.
    foreground_weight, class_weights, focal_gamma, tversky_weights
        As `get_loss`.
    """

    def __init__(
        self,
        cross_entropy=0.0,
        dice=0.0,
        jaccard=0.0,
        focal=0.0,
        tversky=0.0,
        *,
        foreground_weight=1.0,
        class_weights=None,
        focal_gamma=2.0,
        tversky_weights=(0.3, 0.7),
        name="segmentation_loss",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.cross_entropy, self.dice, self.jaccard = cross_entropy, dice, jaccard
        self.focal, self.tversky = focal, tversky
        self.foreground_weight, self.focal_gamma = foreground_weight, focal_gamma
        self.class_weights = None if class_weights is None else tuple(class_weights)
        self.tversky_weights = tuple(tversky_weights)

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Return the loss of a batch, a float32 scalar; weights are ``(n, y, x[, 1])``, ``(n,)`` or None."""
        true, probability = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        weight = ops.ones_like(true[..., :1]) if sample_weight is None else ops.cast(sample_weight, "float32")
        while len(weight.shape) < len(true.shape):  # a weight per pixel, or one per sample
            weight = ops.expand_dims(weight, axis=-1)
        n_classes = probability.shape[-1]
        if true.shape[-1] > 1:
            pairs = [(true[..., k : k + 1], probability[..., k : k + 1]) for k in range(n_classes)]
            return sum(self(*pair, sample_weight=weight) for pair in pairs) / n_classes
        if n_classes > 1:
            true = ops.one_hot(ops.cast(true[..., 0], "int32"), n_classes)
        loss = 0.0
        if self.cross_entropy:
            loss += self.cross_entropy * mean_over_devices(weight * self._entropy(true, probability, gamma=0))
        if self.focal:
            loss += self.focal * mean_over_devices(weight * self._entropy(true, probability, self.focal_gamma))
        if n_classes > 1:  # the overlap terms leave the background out
            true, probability = true[..., 1:], probability[..., 1:]
        overlap = sum_over_devices(ops.sum(weight * true * probability))
        true_sum, found_sum = (sum_over_devices(ops.sum(weight * part)) for part in (true, probability))
        total = true_sum + found_sum
        if self.dice:
            loss += self.dice * (1 - (2 * overlap + SMOOTH) / (total + SMOOTH))
        if self.jaccard:
            loss += self.jaccard * (1 - (overlap + SMOOTH) / (total - overlap + SMOOTH))
        if self.tversky:
            false, missed = found_sum - overlap, true_sum - overlap
            cost = self.tversky_weights[0] * false + self.tversky_weights[1] * missed
            loss += self.tversky * (1 - (overlap + SMOOTH) / (overlap + cost + SMOOTH))
        return share_of_loss(loss)

    def _entropy(self, true, probability, gamma):
        """Return -c (1 - q)^gamma log q per pixel, q and c being probability and weight of the true class."""
        clipped = ops.clip(probability, EPSILON, 1 - EPSILON)
        n_classes = max(2, probability.shape[-1])
        background, *foreground = self.class_weights or (1.0,) * n_classes
        weights = [background, *(self.foreground_weight * weight for weight in foreground)]
        if probability.shape[-1] == 1:
            entropy = weights[1] * true * _focused(clipped, gamma)
            return entropy + weights[0] * (1 - true) * _focused(1 - clipped, gamma)
        weights = ops.convert_to_tensor(weights, "float32")
        return ops.sum(weights * true * _focused(clipped, gamma), axis=-1, keepdims=True)

    def get_config(self):
        """Return what the constructor needs."""
        names = ("cross_entropy", "dice", "jaccard", "focal", "tversky")
        names += ("foreground_weight", "class_weights", "focal_gamma", "tversky_weights")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _focused(probability, gamma):
    entropy = -ops.log(probability)
    return entropy if gamma == 0 else (1 - probability) ** gamma * entropy
