import csv
import importlib.util
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from generators.image_data_generator import ImageDataGenerator
from networks.unet import U_Net_2D
from utils.files import read_json
from utils.metrics.pixels import ForegroundIoU
from utils.training import callbacks
from utils.training.callbacks import Checkpoints, Progress, ProgressChart, ReduceOnPlateau, tensorboard
from utils.training.losses import get_loss
from utils.training.optimizers import get_optimizer
from utils.training.weights import load_weights


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    masks = [(rng.random((16, 16, 1)) > 0.7).astype(np.uint8) for _ in range(4)]
    return [mask * 200 for mask in masks], masks


@pytest.fixture
def batches(pairs):
    return ImageDataGenerator(vertical_flip=True).flow(*pairs, batch_size=2, seed=1)


@pytest.fixture
def new_model():
    def build(epochs=4):
        keras.utils.set_random_seed(7)
        model = U_Net_2D((None, None, 1), feature_maps=(2, 4), depth=1, drop_values=(0.3, 0.3))
        optimizer = get_optimizer("adamw", learning_rate=0.01, schedule="one_cycle", total_steps=2 * epochs)
        model.compile(optimizer=optimizer, loss=get_loss("bce"), metrics=[ForegroundIoU()], jit_compile=False)
        return model

    return build


class FakeModel:
    """A model of which only the numbers of each epoch matter."""

    def __init__(self):
        self.optimizer = keras.optimizers.SGD(0.5)
        self.stop_training, self.layers, self.variables = False, [], []
        self.saved = []

    def save_weights(self, path):
        self.saved.append(path.name)
        path.write_text("weights")


def play(folder, values, monitor="val_loss", patience=200):
    checkpoints = Checkpoints(folder, folder / "history.csv", monitor=monitor, patience=patience)
    model = FakeModel()
    checkpoints.set_model(model)
    for epoch, value in enumerate(values):
        checkpoints.on_epoch_begin(epoch)
        checkpoints.on_epoch_end(epoch, {"loss": 1.0, monitor: value})
        if model.stop_training:
            break
    return checkpoints, model


def test_the_best_epoch_is_the_lowest_loss(tmp_path):
    checkpoints, model = play(tmp_path, [3.0, 1.0, 2.0])
    assert (checkpoints.best, checkpoints.best_epoch) == (1.0, 2)
    assert sum("best" in name for name in model.saved) == 2


def test_the_best_epoch_is_the_highest_iou(tmp_path):
    nan = float("nan")
    checkpoints, _ = play(tmp_path, [nan, 0.3, 0.5, nan, 0.5], monitor="val_foreground_iou")
    assert (checkpoints.best, checkpoints.best_epoch) == (0.5, 3)


@pytest.mark.parametrize(
    ("values", "losses", "best"),
    [
        (
            ["nan", "nan", 0, "nan"],
            [0.5, 0.4, 0.9, 0.6],
            2,
        ),  # nothing found is better than false finds
        (["nan", 0.1, "nan"], [0.1, 0.9, 0.1], 2),
        ([0.5, 0.5, 0.5], [0.4, 0.3, 0.35], 2),  # the loss decides between equals
        ([0, 0], [0.4, 0.3], 2),
    ],
)
def test_the_best_epoch_where_validation_has_little_foreground(tmp_path, values, losses, best):
    checkpoints = Checkpoints(tmp_path, tmp_path / "history.csv", monitor="val_foreground_iou")
    checkpoints.set_model(FakeModel())
    for epoch, (value, loss) in enumerate(zip(values, losses, strict=True)):
        checkpoints.on_epoch_begin(epoch)
        checkpoints.on_epoch_end(epoch, {"loss": 1.0, "val_foreground_iou": float(value), "val_loss": loss})
    assert checkpoints.best_epoch == best


def test_training_stops_after_the_patience(tmp_path, capsys):
    checkpoints, model = play(tmp_path, [1.0, 0.5, 0.6, 0.6, 0.4], patience=2)
    assert model.stop_training and len(checkpoints.history) == 4
    assert "No better val_loss in 2 epochs" in capsys.readouterr().out
    assert read_json(tmp_path / "state.json")["stopped"]


def test_a_loss_that_is_no_number_stops_with_a_remedy(tmp_path):
    checkpoints = Checkpoints(tmp_path, tmp_path / "history.csv")
    checkpoints.set_model(FakeModel())
    checkpoints.on_epoch_begin(0)
    with pytest.raises(ValueError, match="loss became nan in epoch 1. Lower LEARNING_RATE"):
        checkpoints.on_epoch_end(0, {"loss": float("nan"), "val_loss": 1.0})


def test_only_the_two_newest_states_and_the_best_are_kept(tmp_path):
    play(tmp_path, [3.0, 1.0, 2.0])
    names = sorted(path.name for path in tmp_path.glob("*.h5"))
    assert names == ["best.weights.h5", "epoch_00002.weights.h5", "epoch_00003.weights.h5"]
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert {"loss", "val_loss", "learning_rate", "seconds"} <= set(rows[0])


@pytest.mark.parametrize(("seconds", "charts"), [(0, [1, 2, 3]), (60, [3])])
def test_the_chart_shows_the_last_epoch_and_is_not_drawn_too_often(seconds, charts, monkeypatch):
    drawn = []
    monkeypatch.setattr("utils.training.callbacks.SECONDS_BETWEEN_CHARTS", seconds)
    monkeypatch.setattr("utils.training.callbacks.draw_history", lambda _, history, **__: drawn.append(len(history)))
    checkpoints = SimpleNamespace(history=[], best_epoch=None)
    chart = ProgressChart("history.png", checkpoints)
    chart.on_train_begin()
    for epoch in range(3):
        checkpoints.history.append({})
        chart.on_epoch_end(epoch)
    chart.on_train_end()
    assert drawn == charts


def test_an_unknown_monitor_is_refused(tmp_path):
    with pytest.raises(ValueError, match="MONITOR 'val_los' is not known; did you mean 'val_loss'"):
        Checkpoints(tmp_path, tmp_path / "history.csv", monitor="val_los")


def fit(model, folder, batches, validation, epochs, stop_after=None):
    checkpoints = Checkpoints(folder, folder / "history.csv")
    first = checkpoints.restore(model, batches, epochs)
    callbacks = [checkpoints, ProgressChart(folder / "history.png", checkpoints), Progress(epochs)]
    last = stop_after or epochs
    model.fit(
        batches,
        validation_data=validation,
        epochs=last,
        initial_epoch=first,
        shuffle=False,
        callbacks=callbacks,
        verbose=0,
    )
    return checkpoints


def without_seconds(checkpoints):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in checkpoints.history]


@pytest.mark.parametrize("damaged", [False, True])
def test_a_restored_training_ends_as_one_never_interrupted(tmp_path, pairs, new_model, capsys, damaged):
    def flows():
        train = ImageDataGenerator(rotation_range=90).flow(*pairs, batch_size=2, seed=1)
        return train, ImageDataGenerator().flow(*pairs, batch_size=4, shuffle=False)

    whole = new_model()
    reference = fit(whole, tmp_path / "whole", *flows(), epochs=4)
    fit(new_model(), tmp_path / "parts", *flows(), epochs=4, stop_after=2)
    if damaged:  # those of the epoch before are used
        (tmp_path / "parts" / "epoch_00002.weights.h5").write_bytes(b"damaged")
    resumed = new_model()
    continued = fit(resumed, tmp_path / "parts", *flows(), epochs=4)
    assert ("is damaged: the epoch is trained again." in capsys.readouterr().out) == damaged
    assert without_seconds(continued) == without_seconds(reference)
    continued.load_best(resumed)
    reference.load_best(whole)
    for ours, theirs in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    assert (tmp_path / "parts" / "history.png").stat().st_size > 1000


def test_best_weights_are_those_of_the_best_epoch_after_a_kill_between_state_and_weights(
    tmp_path, pairs, new_model, monkeypatch
):
    def flow():
        return ImageDataGenerator().flow(*pairs, batch_size=2, seed=1)

    killed = new_model()
    monkeypatch.setattr(Checkpoints, "_write_what_follows", lambda self, is_best: None)
    fit(killed, tmp_path, flow(), flow(), epochs=4, stop_after=1)
    monkeypatch.undo()
    assert not (tmp_path / "best.weights.h5").exists() and not (tmp_path / "history.csv").exists()
    model = new_model()
    checkpoints = Checkpoints(tmp_path, tmp_path / "history.csv")
    assert checkpoints.restore(model, flow(), 4) == checkpoints.best_epoch == 1
    model.set_weights([0 * weight for weight in model.get_weights()])
    checkpoints.load_best(model)
    for ours, theirs in zip(model.get_weights(), killed.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    assert len(list(csv.DictReader((tmp_path / "history.csv").open()))) == 1


def test_a_stopped_training_is_not_continued(tmp_path, batches, new_model):
    model = new_model()
    checkpoints = fit(model, tmp_path, batches, batches, epochs=2)
    checkpoints.stopped = True
    checkpoints._commit(2)
    assert Checkpoints(tmp_path, tmp_path / "history.csv").restore(new_model(), batches, epochs=9) == 9


def test_progress_says_the_time_left_in_one_line_an_epoch(tmp_path, batches, new_model, capsys):
    fit(new_model(), tmp_path, batches, batches, epochs=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2 and "min left" in lines[0] and "val_foreground_iou" in lines[1]


def test_weights_that_are_missing_or_do_not_fit_are_refused(tmp_path, new_model):
    with pytest.raises(ValueError, match="does not exist"):
        load_weights(new_model(), tmp_path / "none.weights.h5")
    other = U_Net_2D((None, None, 1), feature_maps=(2, 3, 4), depth=2, drop_values=(0.0, 0.0, 0.0))
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ValueError, match="does not fit this network"):
        load_weights(new_model(), tmp_path / "other.weights.h5")


def test_weights_of_an_earlier_run_are_loaded(tmp_path, new_model):
    first, second = new_model(), new_model()
    first.set_weights([weight + 1 for weight in first.get_weights()])
    first.save_weights(tmp_path / "best.weights.h5")
    load_weights(second, tmp_path / "best.weights.h5")
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))


def rates_of_epochs(folder, values, *, patience, start=1.0):
    """Return the learning rate of each epoch, with the validation losses given."""
    checkpoints, model = Checkpoints(folder, folder / "history.csv"), FakeModel()
    model.optimizer = keras.optimizers.SGD(start)
    ours = [checkpoints, ReduceOnPlateau(checkpoints, patience=patience)]
    for epoch, value in enumerate(values):
        for callback in ours:
            callback.set_model(model)
            callback.on_epoch_begin(epoch)
        checkpoints.on_epoch_end(epoch, {"loss": 1.0, "val_loss": value})
    return [row["learning_rate"] for row in checkpoints.history]


def test_the_rate_falls_after_epochs_without_a_better_value_and_then_waits_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(callbacks, "PLATEAU_FACTOR", 0.5)
    # Best in epoch 2; epochs 3 and 4 are not better, nor 5 and 6 at the second rate; epoch 7 is.
    rates = rates_of_epochs(tmp_path, [3, 1, 2, 2, 2, 2, 0.5, 0.6, 0.6, 0.6], patience=2)
    assert rates == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]
    said = [line for line in capsys.readouterr().out.splitlines() if "the learning rate becomes" in line]
    assert len(said) == 3 and said[0] == "No better val_loss in 2 epochs: the learning rate becomes 0.5."


def test_the_rate_stays_while_the_value_improves_and_does_not_fall_below_the_lowest(tmp_path, monkeypatch):
    monkeypatch.setattr(callbacks, "LOWEST_RATE", 0.05)
    assert rates_of_epochs(tmp_path / "a", [5, 4, 3, 2, 1], patience=1) == [1] * 5
    rates = rates_of_epochs(tmp_path / "b", [1] * 6, patience=1)
    assert rates == pytest.approx([1, 1, 0.1, 0.05, 0.05, 0.05])
    assert rates_of_epochs(tmp_path / "c", [1] * 3, patience=1, start=0.001) == pytest.approx([0.001] * 3)


def test_a_plateau_that_makes_no_sense_is_refused(tmp_path):
    with pytest.raises(ValueError, match="PLATEAU_PATIENCE is 0; wanted at least 1 epoch"):
        ReduceOnPlateau(Checkpoints(tmp_path, tmp_path / "history.csv"), patience=0)


def test_a_killed_training_lowers_the_rate_as_one_never_interrupted(tmp_path, pairs, monkeypatch):
    monkeypatch.setattr(callbacks, "PLATEAU_FACTOR", 0.5)

    def train(folder, last):
        keras.utils.set_random_seed(7)
        model = U_Net_2D((None, None, 1), feature_maps=(2, 4), depth=1, drop_values=(0.3, 0.3))
        optimizer = get_optimizer("adam", learning_rate=0.3, schedule="plateau")
        model.compile(optimizer, get_loss("bce"), metrics=[ForegroundIoU()], jit_compile=False)
        batches = ImageDataGenerator(rotation_range=90).flow(*pairs, batch_size=2, seed=1)
        validation = ImageDataGenerator().flow(*pairs, batch_size=4, shuffle=False)
        checkpoints = Checkpoints(folder, folder / "history.csv")
        first = checkpoints.restore(model, batches, 9)
        ours = [checkpoints, ReduceOnPlateau(checkpoints, patience=1)]
        options = {"validation_data": validation, "shuffle": False, "callbacks": ours, "verbose": 0}
        model.fit(batches, epochs=last, initial_epoch=first, **options)
        return checkpoints, model

    reference, whole = train(tmp_path / "whole", 9)
    rates = [row["learning_rate"] for row in reference.history]
    reduced = [number for number in range(1, 9) if rates[number] < rates[number - 1]]
    assert len(reduced) > 1
    # Killed right before the rate falls, and right after.
    for last in (reduced[0], reduced[0] + 1, 9):
        continued, resumed = train(tmp_path / "parts", last)
    assert without_seconds(continued) == without_seconds(reference)
    assert all(np.array_equal(a, b) for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True))


def without(*missing):
    return lambda package: None if package in missing else object()


def test_tensorboard_writes_into_the_folder_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", without())
    callback = tensorboard(tmp_path)
    assert isinstance(callback, keras.callbacks.TensorBoard)
    assert callback.log_dir == str(tmp_path / "tensorboard")


@pytest.mark.parametrize("missing", [("tensorboard",), ("tensorflow", "tensorboard")])
def test_tensorboard_without_its_packages_says_what_to_install(tmp_path, monkeypatch, missing):
    monkeypatch.setattr(importlib.util, "find_spec", without(*missing))
    with pytest.raises(
        ValueError, match=f"need the package {' and '.join(missing)}, .*'pip install {' '.join(missing)}'"
    ):
        tensorboard(tmp_path)
    assert not (tmp_path / "tensorboard").exists()


def test_tensorboard_logs_a_training(tmp_path, batches, new_model):
    pytest.importorskip("tensorboard")
    model = new_model()
    model.fit(batches, validation_data=batches, epochs=1, callbacks=[tensorboard(tmp_path)], verbose=0)
    for part in ("train", "validation"):
        events = list((tmp_path / "tensorboard" / part).glob("events.*"))
        assert len(events) == 1 and b"epoch_loss" in events[0].read_bytes()
