"""Tests of the learning-rate finder."""

import csv
import random

import keras
import numpy as np
import pytest

from networks.deep_supervision import DeeplySupervised
from utils.metrics.pixels import ForegroundIoU
from utils.training.learning_rate_finder import find_learning_rate, smooth_losses, suggest_learning_rate
from utils.training.losses import get_loss
from utils.training.optimizers import get_optimizer


@keras.saving.register_keras_serializable("test_learning_rate_finder")
def mean_prediction(true, predicted):
    return keras.ops.mean(predicted)


@keras.saving.register_keras_serializable("test_learning_rate_finder")
def always_one(true, predicted):
    return 1.0 + 0 * keras.ops.mean(predicted)


class Batches(keras.utils.PyDataset):
    """Two batches of noise in which bright pixels are foreground."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def __len__(self):
        return 2

    def __getitem__(self, index):
        self.asked.append(index)
        x = np.random.default_rng(index).random((2, 8, 8, 1)).astype(np.float32)
        return x, (x > 0.5).astype(np.uint8)


def build(optimizer="sgd", outputs=1, **options):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(keras.layers.Dropout(0.2)(x))
    heads = [keras.layers.Conv2D(1, 1, activation="sigmoid")(x) for _ in range(outputs)]
    model = keras.Model(inputs, heads[0]) if outputs == 1 else DeeplySupervised(inputs, heads)
    options = {"learning_rate": 0.01, "momentum": 0.9} | options
    model.compile(get_optimizer(optimizer, **options), get_loss("bce"), metrics=[ForegroundIoU()], jit_compile=False)
    return model


def everything(model):
    variables = [*model.variables, *model.optimizer.variables, *(v for m in model.metrics for v in m.variables)]
    return [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables]


def rows_of(folder):
    rows = list(csv.DictReader((folder / "learning_rate_finder.csv").open()))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def test_the_sweep_is_exponential_and_the_suggestion_follows_from_the_table(tmp_path):
    found = find_learning_rate(tmp_path, build(), Batches(), lowest=1e-3, highest=1.0, steps=25)
    table = rows_of(tmp_path)
    np.testing.assert_allclose(table["learning_rate"], 10.0 ** np.linspace(-3, 0, 25)[: len(table["loss"])])
    np.testing.assert_allclose(table["smoothed_loss"], smooth_losses(table["loss"]))
    assert found == suggest_learning_rate(table["learning_rate"], table["smoothed_loss"])
    assert 1e-3 < found < 1.0
    assert (tmp_path / "learning_rate_finder.png").stat().st_size > 1000


def test_the_rates_of_the_table_are_those_that_trained(tmp_path):
    # One weight, SGD without momentum and loss w: the loss of a step is the start less all rates before.
    inputs = keras.Input((1,))
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(123.0), mean_prediction, jit_compile=False)
    batches = [(np.ones((1, 1)), np.zeros((1, 1)))]
    find_learning_rate(tmp_path, model, batches, lowest=1e-4, highest=1e-1, steps=10)
    table = rows_of(tmp_path)
    trained = np.concatenate([[0], np.cumsum(table["learning_rate"])[:-1]])
    np.testing.assert_allclose(table["loss"], 1 - trained, rtol=1e-5)


@pytest.mark.parametrize(("optimizer", "schedule"), [("adamw", "one_cycle"), ("adabound", None)])
def test_model_optimizer_and_random_numbers_stay_bit_equal(tmp_path, optimizer, schedule):
    model, batches = build(optimizer, schedule=schedule, total_steps=100), Batches()
    model.train_on_batch(*batches[0])
    compiled, before, state = model.optimizer, everything(model), random.getstate()
    find_learning_rate(tmp_path, model, batches, steps=12)
    assert model.optimizer is compiled
    assert random.getstate() == state
    for ours, theirs in zip(everything(model), before, strict=True):
        assert np.array_equal(ours, theirs)
    assert batches.asked == [0, *(step % 2 for step in range(len(rows_of(tmp_path)["loss"])))]


def test_training_goes_on_as_if_there_had_been_no_sweep(tmp_path):
    swept, untouched = build("adamw"), build("adamw")
    find_learning_rate(tmp_path, swept, Batches(), steps=10)
    for model in (swept, untouched):
        keras.utils.set_random_seed(4)  # torch draws dropout from a generator that all models share
        model.fit(Batches(), epochs=2, shuffle=False, verbose=0)
    for ours, theirs in zip(everything(swept), everything(untouched), strict=True):
        assert np.array_equal(ours, theirs)


def test_a_network_with_several_outputs_is_swept(tmp_path):
    model = build(outputs=2)
    before = everything(model)
    assert 1e-3 <= find_learning_rate(tmp_path, model, Batches(), lowest=1e-3, steps=20) <= 1
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(everything(model), before, strict=True))


def test_the_sweep_ends_when_the_loss_diverges(tmp_path):
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse", jit_compile=False)
    batches = [(np.ones((1, 1)), np.full((1, 1), 5.0))]
    find_learning_rate(tmp_path, model, batches, lowest=1e-3, highest=1e4, steps=50)
    table = rows_of(tmp_path)
    assert 10 < len(table["loss"]) < 45
    assert not table["smoothed_loss"][-1] <= 4 * table["smoothed_loss"].min()
    assert (table["smoothed_loss"][:-1] <= 4 * np.minimum.accumulate(table["smoothed_loss"])[:-1]).all()


def test_a_loss_that_never_falls_is_said_after_the_chart_is_drawn(tmp_path):
    model = build()
    model.compile("sgd", always_one, jit_compile=False)
    with pytest.raises(ValueError, match="the loss did not fall between the learning rates 1e-06 and 1; see .*png"):
        find_learning_rate(tmp_path, model, Batches(), steps=10)
    assert (tmp_path / "learning_rate_finder.png").exists()


def test_a_steep_fall_just_before_the_lowest_loss_is_not_suggested():
    exponents = np.linspace(-6, 0, 61)
    loss = 1 - 0.1 * np.tanh(2 * (exponents + 4)) - 5 * (exponents > -1.95) + 50 * (exponents > -1.65)
    assert suggest_learning_rate(10**exponents, loss) == pytest.approx(1e-4)


def test_the_suggestion_is_the_steepest_fall_over_the_logarithm():
    exponents = np.linspace(-6, 0, 61)
    falling = -np.tanh(2 * (exponents + 3)) + np.exp(8 * (exponents + 1))  # steepest at 1e-3, diverges above 0.1
    assert suggest_learning_rate(10**exponents, falling) == pytest.approx(1e-3)
    noisy_start = falling.copy()
    noisy_start[0] += 50
    assert suggest_learning_rate(10**exponents, noisy_start) == pytest.approx(1e-3)
    falling[-1] = np.nan
    assert suggest_learning_rate(10**exponents, falling) == pytest.approx(1e-3)


def test_without_a_fall_nothing_is_suggested():
    assert suggest_learning_rate(10.0 ** np.arange(-9, 1), np.arange(10.0)) is None
    assert suggest_learning_rate(10.0 ** np.arange(-9, 1), np.ones(10)) is None
    assert suggest_learning_rate(10.0 ** np.arange(-9, 1), 1 - 1e-5 * np.arange(10)) is None
    assert suggest_learning_rate(10.0 ** np.arange(-9, 1), np.full(10, np.nan)) is None


@pytest.mark.parametrize("options", [{"lowest": 0}, {"lowest": 0.1, "highest": 0.01}, {"steps": 9}])
def test_numbers_that_make_no_sense_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match="wanted rates above 0 in rising order and at least 10 steps"):
        find_learning_rate(tmp_path, None, None, **options)
