"""The published optimizers and those for short budgets, and schedules of the learning rate."""

import math

import keras
from keras import ops

from utils.errors import check_choice
from utils.training.adabound import AdaBound

# Share of the steps in which the rate of the one-cycle policy rises.
ONE_CYCLE_RISE = 0.3
OPTIMIZERS = ("sgd", "adam", "adamw", "adabound")
SCHEDULES = (None, "one_cycle", "cosine", "step", "plateau")
# Shares of the training after which the step schedule divides the rate by ten (Cheng et al. 2017).
STEPS_AT = (0.5, 0.75)


def get_optimizer(
    name,
    *,
    learning_rate,
    schedule=None,
    total_steps=None,
    momentum=0.99,
    warm_up=0.0,
    final_learning_rate=0.1,
    epsilon=1e-7,
):
    """Return an optimizer by name.

    Parameters
    ----------
    name : str
        ``sgd``, ``adam``, ``adamw`` (decoupled weight decay 0.01 on kernels, none on biases and normalisation) or
        ``adabound`` (`utils.training.adabound.AdaBound`).
    learning_rate : float
        Constant rate, or the highest of the schedule.
    schedule : str or None
        ``one_cycle`` (`OneCycle`), ``cosine`` (falls to 0 along half a cosine, Loshchilov and Hutter 2016, arXiv
        1608.03983, eq. 5), ``step`` (a tenth after half of the steps, a hundredth after three quarters), ``plateau``
        (constant here; `utils.training.callbacks.ReduceOnPlateau` lowers it) or None.
    total_steps : int, optional
        Steps of the whole training; all schedules but ``plateau`` need it.
    momentum : float
        Of ``sgd``; 0.99 as published with the study.
    warm_up : float
        Of ``cosine``: fraction of the steps, below 1, in which the rate first rises linearly from a 25th.
    final_learning_rate : float
        Of ``adabound``: rate of the SGD that it becomes.
    epsilon : float
        Of ``adam`` and ``adamw``: added to the root of the mean square of the gradients; 1e-7 in Keras, 1e-8 in the
        paper (Kingma and Ba 2015).

    Returns
    -------
    keras.optimizers.Optimizer

    Raises
    ------
    ValueError
        If a name is unknown, a rate or epsilon is not positive, or the steps are missing.
    """
    check_choice("OPTIMIZER", name, OPTIMIZERS)
    check_choice("SCHEDULE", schedule, SCHEDULES)
    for variable, rate in (("LEARNING_RATE", learning_rate), ("FINAL_LEARNING_RATE", final_learning_rate)):
        if rate <= 0:
            raise ValueError(f"{variable} is {rate}; it must be above 0, e.g. 0.002.")
    if epsilon <= 0:
        raise ValueError(f"EPSILON is {epsilon}; it must be above 0, e.g. 1e-8.")
    if schedule not in (None, "plateau") and not total_steps:
        raise ValueError(
            f"SCHEDULE {schedule!r} needs total_steps, the steps of the whole training; got {total_steps}."
        )
    if not 0 <= warm_up < 1:
        raise ValueError(f"WARM_UP is {warm_up}; wanted a fraction of the training, at least 0 and below 1, e.g. 0.05.")
    rate = _scheduled(schedule, learning_rate, total_steps, warm_up)
    if name == "sgd":
        return keras.optimizers.SGD(rate, momentum=momentum)
    if name == "adam":
        return keras.optimizers.Adam(rate, epsilon=epsilon)
    if name == "adabound":
        return AdaBound(rate, final_learning_rate, base_learning_rate=learning_rate)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.01, epsilon=epsilon)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _scheduled(schedule, learning_rate, total_steps, warm_up):
    """Return the learning rate as a schedule, or as it is."""
    if schedule == "one_cycle":
        return OneCycle(learning_rate, total_steps)
    if schedule == "cosine":
        rising = round(warm_up * total_steps)
        if not rising:
            return keras.optimizers.schedules.CosineDecay(learning_rate, total_steps)
        start, falling = learning_rate / 25, max(1, total_steps - rising)
        return keras.optimizers.schedules.CosineDecay(start, falling, warmup_target=learning_rate, warmup_steps=rising)
    if schedule == "step":
        steps = [round(share * total_steps) for share in STEPS_AT]
        rates = [learning_rate * 0.1**number for number in range(len(steps) + 1)]
        return keras.optimizers.schedules.PiecewiseConstantDecay(steps, rates)
    return learning_rate


@keras.saving.register_keras_serializable("em_image_segmentation")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """One-cycle policy with cosine arcs (Smith and Topin 2018, arXiv 1708.07120).

    The rate rises from ``peak / 25`` to ``peak`` over the first 30 % of ``total_steps`` and falls to ``peak / 10,000``
    over the rest.
    """

    def __init__(self, peak, total_steps):
        self.peak, self.total_steps = peak, total_steps

    def __call__(self, step):
        """Return the learning rate of a step."""
        step = ops.cast(step, "float32")
        rise = max(1.0, ONE_CYCLE_RISE * self.total_steps)
        fall = max(1.0, self.total_steps - rise)
        up = self._cosine(self.peak / 25, self.peak, step / rise)
        down = self._cosine(self.peak, self.peak / 1e4, (step - rise) / fall)
        return ops.where(step < rise, up, down)

    @staticmethod
    def _cosine(start, end, position):
        return end + (start - end) * (1 + ops.cos(math.pi * ops.clip(position, 0.0, 1.0))) / 2

    def get_config(self):
        """Return what the constructor needs."""
        return {"peak": self.peak, "total_steps": self.total_steps}
