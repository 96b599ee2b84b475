"""The published optimizers and those for short budgets, and schedules of the learning rate."""

import math

import keras
from keras import ops

from utils.errors import check_choice

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = (None, "one_cycle", "step")
# Of the training, after which the step schedule divides the rate by ten (Cheng et al. 2017).
STEPS_AT = (0.5, 0.75)


def get_optimizer(name, *, learning_rate, schedule=None, total_steps=None, momentum=0.99):
    """Return an optimizer by name.

    Parameters
    ----------
    name : str
        ``sgd``, ``adam`` or ``adamw`` (decoupled weight decay 0.01 on kernels, none on
        biases and normalisation).
    learning_rate : float
        Constant rate, or the highest of the schedule.
    schedule : str or None
        ``one_cycle``, ``step`` (a tenth after half of the steps, a hundredth after three quarters) or None.
    total_steps : int, optional
        Steps of the whole training; needed by a schedule.
    momentum : float
        Of ``sgd``; 0.99 as published with the study.

    Returns
    -------
    keras.optimizers.Optimizer

    Raises
    ------
    ValueError
        If a name is unknown or the learning rate is not positive.
    """
    check_choice("OPTIMIZER", name, OPTIMIZERS)
    check_choice("SCHEDULE", schedule, SCHEDULES)
    if learning_rate <= 0:
        raise ValueError(f"LEARNING_RATE is {learning_rate}; it must be above 0, e.g. 0.002.")
    if schedule is not None and not total_steps:
        raise ValueError(
            f"SCHEDULE {schedule!r} needs total_steps, the steps of the whole training; got {total_steps}."
        )
    rate = learning_rate
    if schedule == "one_cycle":
        rate = OneCycle(learning_rate, total_steps)
    elif schedule == "step":
        steps = [round(share * total_steps) for share in STEPS_AT]
        rates = [learning_rate * 0.1**number for number in range(len(steps) + 1)]
        rate = keras.optimizers.schedules.PiecewiseConstantDecay(steps, rates)
    if name == "sgd":
        return keras.optimizers.SGD(rate, momentum=momentum)
    if name == "adam":
        return keras.optimizers.Adam(rate)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.01)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


@keras.saving.register_keras_serializable("em_image_segmentation")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """One-cycle policy with cosine arcs (Smith and Topin 2018, arXiv 1708.07120).

    The rate rises from ``peak / 25`` to ``peak`` over the first 30 % of the steps and falls to ``peak / 10,000`` over
    the rest.

    Parameters
    ----------
    peak : float
        Highest learning rate.
    total_steps : int
        Steps of the whole training.
    warm_up : float
        Fraction of the steps in which the rate rises.
    """

    def __init__(self, peak, total_steps, warm_up=0.3):
        self.peak, self.total_steps, self.warm_up = peak, total_steps, warm_up

    def __call__(self, step):
        """Return the learning rate of a step."""
        step = ops.cast(step, "float32")
        rise = max(1.0, self.warm_up * self.total_steps)
        fall = max(1.0, self.total_steps - rise)
        up = self._cosine(self.peak / 25, self.peak, step / rise)
        down = self._cosine(self.peak, self.peak / 1e4, (step - rise) / fall)
        return ops.where(step < rise, up, down)

    @staticmethod
    def _cosine(start, end, position):
        return end + (start - end) * (1 + ops.cos(math.pi * ops.clip(position, 0.0, 1.0))) / 2

    def get_config(self):
        """Return what the constructor needs."""
        return {"peak": self.peak, "total_steps": self.total_steps, "warm_up": self.warm_up}
