"""Tests of the optimizers and the schedules."""

import keras
import numpy as np
import pytest

from utils.training.adabound import AdaBound
from utils.training.optimizers import OPTIMIZERS, OneCycle, get_optimizer

to_numpy = keras.ops.convert_to_numpy


def tiny_model(optimizer):
    inputs = keras.Input((3,))
    x = keras.layers.Dense(2, bias_initializer="ones")(inputs)
    x = keras.layers.BatchNormalization(beta_initializer="ones")(x)
    model = keras.Model(inputs, x)
    model.compile(optimizer=optimizer, loss="mse")
    return model


def test_sgd_has_the_published_momentum():
    optimizer = get_optimizer("sgd", learning_rate=0.002)
    assert type(optimizer) is keras.optimizers.SGD
    assert optimizer.momentum == 0.99
    assert not optimizer.nesterov
    assert float(optimizer.learning_rate) == pytest.approx(0.002)


@pytest.mark.parametrize(("name", "decay"), [("adam", None), ("adamw", 0.01)])
def test_adam_and_adamw(name, decay):
    optimizer = get_optimizer(name, learning_rate=0.01)
    assert type(optimizer) is {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW}[name]
    assert optimizer.weight_decay == decay
    assert float(optimizer.learning_rate) == pytest.approx(0.01)
    assert optimizer.epsilon == 1e-7
    assert get_optimizer(name, learning_rate=0.01, epsilon=1e-8).epsilon == 1e-8
    with pytest.raises(ValueError, match="EPSILON is 0; it must be above 0"):
        get_optimizer(name, learning_rate=0.01, epsilon=0)


def test_adamw_decays_kernels_and_neither_biases_nor_normalisation():
    optimizer = get_optimizer("adamw", learning_rate=0.1)
    model = tiny_model(optimizer)
    before = {variable.path: to_numpy(variable) for variable in model.trainable_variables}
    optimizer.apply(
        [keras.ops.zeros_like(variable) for variable in model.trainable_variables], model.trainable_variables
    )
    for variable in model.trainable_variables:
        factor = 1 - 0.1 * 0.01 if variable.name == "kernel" else 1
        np.testing.assert_allclose(to_numpy(variable), factor * before[variable.path], rtol=1e-6)
    assert {variable.name for variable in model.trainable_variables} == {"kernel", "bias", "gamma", "beta"}


def test_the_step_schedule_divides_by_ten_after_half_and_three_quarters():
    rate = get_optimizer("sgd", learning_rate=0.05, schedule="step", total_steps=4000, momentum=0.9)._learning_rate
    rates = [float(rate(step)) for step in (0, 1999, 2001, 2999, 3001, 4000)]
    assert rates == pytest.approx([0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005])
    assert get_optimizer("sgd", learning_rate=0.05, momentum=0.9).momentum == 0.9


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.04), (15, (0.04 + 1) / 2), (30, 1), (65, (1 + 1e-4) / 2), (100, 1e-4), (500, 1e-4)]
)
def test_one_cycle_values(step, rate):
    assert float(OneCycle(1.0, 100)(step)) == pytest.approx(rate, rel=1e-3)


def test_one_cycle_rises_then_falls():
    schedule = OneCycle(0.01, 50)
    rates = np.array([float(schedule(step)) for step in range(51)])
    assert rates.argmax() == 15
    assert (np.diff(rates[:16]) > 0).all()
    assert (np.diff(rates[15:]) < 0).all()


@pytest.mark.parametrize("total_steps", [1, 2, 3])
def test_one_cycle_of_a_few_steps_is_finite_and_positive(total_steps):
    rates = [float(OneCycle(0.01, total_steps)(step)) for step in range(total_steps + 1)]
    assert all(0 < rate <= 0.01 * 1.0001 for rate in rates)


def test_one_cycle_survives_saving():
    schedule = OneCycle(0.5, 80)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert again.get_config() == schedule.get_config() == {"peak": 0.5, "total_steps": 80}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_cycle_drives_a_training(name):
    optimizer = get_optimizer(name, learning_rate=0.01, schedule="one_cycle", total_steps=10)
    model = tiny_model(optimizer)
    assert float(optimizer.learning_rate) == pytest.approx(0.01 / 25, rel=1e-4)
    model.fit(np.ones((6, 3)), np.ones((6, 2)), batch_size=2, epochs=1, verbose=0)
    assert float(optimizer.learning_rate) == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "addam", "learning_rate": 0.1}, "OPTIMIZER 'addam' is not known; did you mean 'adam'.*sgd"),
        ({"name": "sgd", "learning_rate": 0.1, "schedule": "cosinus"}, "SCHEDULE 'cosinus' is not.*mean 'cosine'"),
        ({"name": "sgd", "learning_rate": 0}, "LEARNING_RATE is 0; it must be above 0"),
        ({"name": "adabound", "learning_rate": 0.1, "final_learning_rate": 0}, "FINAL_LEARNING_RATE is 0; it must be"),
        ({"name": "sgd", "learning_rate": 0.1, "warm_up": 1}, "WARM_UP is 1; wanted a fraction"),
        ({"name": "sgd", "learning_rate": 0.1, "warm_up": -0.1}, "WARM_UP is -0.1"),
        ({"name": "adam", "learning_rate": -1e-3}, "LEARNING_RATE is -0.001"),
    ],
)
def test_wrong_choices_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        get_optimizer(**arguments)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "step"])
def test_schedule_without_a_number_of_steps_is_refused(schedule):
    with pytest.raises(ValueError, match=f"SCHEDULE '{schedule}' needs total_steps"):
        get_optimizer("sgd", learning_rate=0.1, schedule=schedule)


def test_adabound_has_its_final_rate_and_the_peak_of_the_schedule_as_base():
    options = {"learning_rate": 0.002, "schedule": "one_cycle", "total_steps": 10}
    optimizer = get_optimizer("adabound", **options, final_learning_rate=0.05)
    assert type(optimizer) is AdaBound
    assert (optimizer.final_learning_rate, optimizer.base_learning_rate) == (0.05, 0.002)
    assert float(optimizer.learning_rate) == pytest.approx(0.002 / 25, rel=1e-4)


def rates_of(steps, **options):
    rate = get_optimizer("sgd", learning_rate=0.1, schedule="cosine", total_steps=100, **options)._learning_rate
    return [float(rate(step)) for step in steps]


def test_cosine_falls_to_nothing_along_half_a_cosine():
    expected = [0.05 * (1 + np.cos(np.pi * step / 100)) for step in (0, 10, 50, 90)]
    assert rates_of((0, 10, 50, 90)) == pytest.approx(expected, rel=1e-4)
    assert 0 < rates_of([99])[0] < 1e-4
    assert rates_of([100, 200]) == pytest.approx([0, 0], abs=1e-8)


def test_cosine_warms_up_from_a_25th_and_still_ends_with_the_training():
    assert rates_of((0, 10, 20, 60, 100), warm_up=0.2) == pytest.approx([0.004, 0.052, 0.1, 0.05, 0], abs=1e-6)


def test_plateau_leaves_the_rate_to_the_callback():
    optimizer = get_optimizer("sgd", learning_rate=0.1, schedule="plateau")
    assert float(optimizer.learning_rate) == pytest.approx(0.1)
    optimizer.learning_rate = 0.01
    assert float(optimizer.learning_rate) == pytest.approx(0.01)
