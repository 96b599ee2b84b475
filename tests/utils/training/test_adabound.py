"""Tests of AdaBound against a NumPy twin."""

import keras
import numpy as np
import pytest

from utils.training.adabound import AdaBound
from utils.training.optimizers import OneCycle

to_numpy = keras.ops.convert_to_numpy


def numpy_adabound(start, gradients, rates, *, final=0.1, base=0.001, beta_1=0.9, beta_2=0.999, gamma=1e-3):
    """Return the variable after each step, in float64, written from the formulas."""
    w, m, v, path = np.array(start, np.float64), 0.0, 0.0, []
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        step = rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t) / (np.sqrt(v) + 1e-8)
        last = final * rate / base
        w = w - np.clip(step, last * (1 - 1 / (gamma * t + 1)), last * (1 + 1 / (gamma * t))) * m
        path.append(w)
    return np.array(path)


def keras_path(optimizer, start, gradients):
    variable, path = keras.Variable(start, dtype="float32"), []
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [variable])
        path.append(np.array(to_numpy(variable.value)))
    return np.array(path)


def draw(steps=8, seed=0):
    rng = np.random.default_rng(seed)
    # Gradients of 1e-4 to 100 reach the lower bound, the upper bound and the steps of Adam between them.
    return rng.normal(size=6), rng.normal(size=(steps, 6)) * 10.0 ** np.array([-4, -2, -1, 0, 1, 2])


@pytest.mark.parametrize(
    "options",
    [{}, {"final": 0.01, "gamma": 0.1}, {"base": 0.002}, {"beta_1": 0.5, "beta_2": 0.9}],
    ids=lambda options: "-".join(options) or "defaults",
)
def test_several_steps_equal_the_numpy_twin(options):
    start, gradients = draw()
    names = {"final": "final_learning_rate", "base": "base_learning_rate"}
    optimizer = AdaBound(0.001, **{names.get(name, name): value for name, value in options.items()})
    found = keras_path(optimizer, start, gradients)
    expected = numpy_adabound(start, gradients, [0.001] * len(gradients), **options)
    np.testing.assert_allclose(found - start, expected - start, rtol=2e-4, atol=1e-6)


def test_bounds_follow_a_schedule():
    start, gradients = draw()
    schedule = OneCycle(0.001, len(gradients))
    found = keras_path(AdaBound(schedule, base_learning_rate=0.001, gamma=0.1), start, gradients)
    rates = [float(schedule(step)) for step in range(len(gradients))]
    expected = numpy_adabound(start, gradients, rates, gamma=0.1)
    np.testing.assert_allclose(found - start, expected - start, rtol=2e-4, atol=1e-6)


def test_it_ends_as_sgd_with_momentum_of_the_final_rate():
    # With a large gamma the bounds meet at once, so every step is final_learning_rate * momentum.
    start, gradients = draw()
    found = keras_path(AdaBound(0.001, 0.05, gamma=1e6), start, gradients)
    momentum, variable = 0.0, np.array(start)
    for gradient, there in zip(gradients, found, strict=True):
        momentum = 0.9 * momentum + 0.1 * gradient
        variable = variable - 0.05 * momentum
        np.testing.assert_allclose(there - start, variable - start, rtol=1e-4, atol=1e-6)


def test_it_begins_as_adam_while_the_bounds_are_wide():
    start, gradients = draw(steps=5)
    bounded = keras_path(AdaBound(0.001, gamma=1e-9), start, gradients)
    adam = keras_path(keras.optimizers.Adam(0.001, epsilon=1e-8), start, gradients)
    np.testing.assert_allclose(bounded, adam, atol=2e-5)


@pytest.mark.parametrize("rate", [0.002, OneCycle(0.002, 10)], ids=["constant", "schedule"])
def test_it_survives_saving(rate):
    optimizer = AdaBound(rate, 0.3, base_learning_rate=0.004, gamma=0.2, weight_decay=0.01)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    ours, theirs = optimizer.get_config(), again.get_config()
    assert {**ours, "learning_rate": 0} == {**theirs, "learning_rate": 0}
    assert (again.final_learning_rate, again.base_learning_rate, again.weight_decay) == (0.3, 0.004, 0.01)
    start, gradients = draw(steps=4)
    assert np.array_equal(keras_path(again, start, gradients), keras_path(optimizer, start, gradients))


def test_it_trains_a_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(AdaBound(0.05), "mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(64, 3))
    y = x @ [[1.0], [2.0], [-1.0]]
    losses = model.fit(x, y, batch_size=16, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.1 * losses[0]


def test_a_schedule_without_a_base_rate_is_refused():
    with pytest.raises(ValueError, match="needs base_learning_rate"):
        AdaBound(OneCycle(0.001, 10))
