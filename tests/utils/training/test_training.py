"""Tests of compiling and training: what is passed on to losses, optimizers and callbacks."""

import csv
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from generators.image_data_generator import ImageDataGenerator
from networks.unet import U_Net_2D
from utils.data.experiment_data import NetworkInput
from utils.training.optimizers import get_optimizer
from utils.training.training import compile_network, prepare_keras, train_network

MASKS = [(np.random.default_rng(0).random((8, 8, 1)) > 0.7).astype(np.uint8) for _ in range(2)]

DATA = NetworkInput(crop_shape=(8, 8, 1))


@pytest.fixture
def run(tmp_path):
    folders = {"checkpoints": tmp_path / "checkpoints", "charts": tmp_path / "charts"}
    return SimpleNamespace(
        folder=tmp_path, section=print, settings={}, saved_training=folders["checkpoints"], **folders
    )


def flow(masks=MASKS):
    return ImageDataGenerator().flow([mask * 200 for mask in MASKS], masks, batch_size=2, seed=1)


def build(n_classes=1, **options):
    model = U_Net_2D((None, None, 1), feature_maps=(2, 3), depth=1, drop_values=(0.0, 0.0), n_classes=n_classes)
    compile_network(model, **{"loss": "bce", "optimizer": get_optimizer("sgd", learning_rate=0.1)} | options)
    return model


def train(run, model, *, validated=None, **options):
    train_network(run, model, DATA, flow(), validated or flow(), **options)


def test_every_choice_reaches_its_loss_and_optimizer():
    loss = {"loss": "focal", "focal_gamma": 3.0, "class_weights": (1.0, 2.0, 3.0), "tversky_weights": (0.4, 0.6)}
    rates = {"learning_rate": 0.1, "final_learning_rate": 0.02, "schedule": "cosine", "warm_up": 0.2}
    model = build(n_classes=3, **loss, optimizer=get_optimizer("adabound", total_steps=10, **rates))
    assert (model.loss.focal_gamma, model.loss.class_weights) == (3.0, (1.0, 2.0, 3.0))
    assert model.loss.tversky_weights == (0.4, 0.6)
    assert model.optimizer.final_learning_rate == 0.02
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1 / 25)


def test_class_weights_are_checked_against_the_network():
    with pytest.raises(ValueError, match="wanted 3 numbers above 0 for a network with 3 output channels"):
        build(n_classes=3, class_weights=(1, 2))


def test_further_callbacks_are_called_in_every_epoch(run):
    epochs = []
    further = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append((epoch, logs["val_loss"])))
    train(run, build(), epochs=3, callbacks=[further])
    assert [epoch for epoch, _ in epochs] == [0, 1, 2]
    assert (run.charts / "history.png").exists()


def test_weights_of_another_network_are_refused_before_anything_is_written(run, tmp_path):
    train(run, build(), epochs=1)
    weights, own = run.checkpoints / "best.weights.h5", (run.checkpoints / "network.json").read_text()
    other = U_Net_2D((None, None, 1), "relu", feature_maps=(2, 3), depth=1, drop_values=(0.0, 0.0))
    with pytest.raises(ValueError, match="was trained in another network"):
        train(run, other, epochs=1, weights_file=weights)
    assert (run.checkpoints / "network.json").read_text() == own
    train(run, build(), epochs=1, weights_file=weights)


@pytest.mark.parametrize(("schedule", "falls"), [("plateau", True), (None, False)])
def test_the_rate_falls_on_a_plateau_if_that_is_the_schedule(run, schedule, falls):
    # Validated on the opposite, the network becomes worse in every epoch.
    opposite = flow([1 - mask for mask in MASKS])
    train(run, build(), validated=opposite, epochs=4, schedule=schedule, plateau_patience=2)
    rows = list(csv.DictReader((run.folder / "history.csv").open()))
    found = [float(row["learning_rate"]) for row in rows]
    assert found == pytest.approx([0.1, 0.1, 0.1, 0.01 if falls else 0.1])


def test_what_only_predicts_joins_no_other_devices(monkeypatch):
    joined = []
    monkeypatch.setattr("utils.training.training.training_strategy", lambda: joined.append(True))
    policy = keras.config.dtype_policy()
    for trains in (False, True):
        prepare_keras(seed=0, precision="float32", deterministic=False, trains=trains)
        assert joined == [True] * trains
    keras.config.set_dtype_policy(policy)
