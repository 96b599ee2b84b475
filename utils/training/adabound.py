"""AdaBound (Luo et al. 2019), an optimizer that starts like Adam and ends like SGD."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("em_image_segmentation")
class AdaBound(keras.optimizers.Optimizer):
    """Adam whose step sizes are clipped between bounds that close in on one constant (Luo et al. 2019, algorithm 2).

    In step t, with gradient g and all operations by element:

    - m = beta_1 m + (1 - beta_1) g; v = beta_2 v + (1 - beta_2) g^2
    - rate = learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) / (sqrt(v) + epsilon)
    - final = final_learning_rate learning_rate / base_learning_rate
    - w = w - clip(rate, final (1 - 1 / (gamma t + 1)), final (1 + 1 / (gamma t))) m

    The paper (arXiv 1902.09843) and the code of its authors differ. As in the code, the moments are corrected for their
    start at zero, the rate does not fall with sqrt(t), and the bounds follow the schedule of the learning rate.

    Parameters
    ----------
    learning_rate : float or keras.optimizers.schedules.LearningRateSchedule
        Rate of the Adam part.
    final_learning_rate : float
        Rate of the SGD with momentum that it becomes.
    base_learning_rate : float, optional
        Learning rate for which ``final_learning_rate`` holds. None: ``learning_rate``; a schedule needs it.
    beta_1, beta_2, gamma, epsilon : float
        As in the formula.
    name, **kwargs
        As `keras.optimizers.Optimizer`.

    Raises
    ------
    ValueError
        If the learning rate is a schedule and ``base_learning_rate`` is missing.
    """

    def __init__(
        self,
        learning_rate=0.001,
        final_learning_rate=0.1,
        *,
        base_learning_rate=None,
        beta_1=0.9,
        beta_2=0.999,
        gamma=1e-3,
        epsilon=1e-8,
        name="adabound",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        if base_learning_rate is None and callable(learning_rate):
            raise ValueError("AdaBound with a schedule needs base_learning_rate, e.g. the highest of the schedule.")
        self.final_learning_rate = final_learning_rate
        self.base_learning_rate = learning_rate if base_learning_rate is None else base_learning_rate
        self.beta_1, self.beta_2, self.gamma, self.epsilon = beta_1, beta_2, gamma, epsilon

    def build(self, variables):
        """Make the two moments of each variable."""
        if self.built:
            return
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")
        self._velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable."""
        dtype, index = variable.dtype, self._get_variable_index(variable)
        gradient, rate = ops.cast(gradient, dtype), ops.cast(learning_rate, dtype)
        step = ops.cast(self.iterations + 1, dtype)
        momentum, velocity = self._momentums[index], self._velocities[index]
        self.assign(momentum, self.beta_1 * momentum + (1 - self.beta_1) * gradient)
        self.assign(velocity, self.beta_2 * velocity + (1 - self.beta_2) * ops.square(gradient))
        final = rate * (self.final_learning_rate / self.base_learning_rate)
        correction = ops.sqrt(1 - ops.power(self.beta_2, step)) / (1 - ops.power(self.beta_1, step))
        adam = rate * correction / (ops.sqrt(velocity) + self.epsilon)
        bounded = ops.maximum(adam, final * (1 - 1 / (self.gamma * step + 1)))
        bounded = ops.minimum(bounded, final * (1 + 1 / (self.gamma * step)))
        self.assign_sub(variable, bounded * momentum)

    def get_config(self):
        """Return what the constructor needs."""
        names = ("final_learning_rate", "base_learning_rate", "beta_1", "beta_2", "gamma", "epsilon")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
