"""What happens around an epoch: best weights, early stop, resuming, history, lower rates, progress and charts."""

import importlib.util
import math
import time
from pathlib import Path

import keras
from tqdm.auto import tqdm

from utils.errors import check_choice
from utils.files import atomic_path, read_json, write_csv, write_json
from utils.pictures.charts import draw_history
from utils.runs.record import STATE_NAME, WEIGHTS_NAME, weights_problem
from utils.training.weights import check_weights

# Bytes that a weights file needs beside its numbers.
HDF5_OVERHEAD = 500_000
# What a plateau multiplies the learning rate by, and what the rate never falls below.
PLATEAU_FACTOR, LOWEST_RATE = 0.1, 1e-7
SECONDS_BETWEEN_CHARTS = 10
MONITORS = ("val_loss", "val_foreground_iou")
# Rank of an IoU that is NaN because nothing is foreground and nothing was found: better than to find what is not there.
NOTHING_FOUND = 1e-9


class Checkpoints(keras.callbacks.Callback):
    """Keep the best weights, stop early, write the history, and resume an interrupted training exactly.

    After every epoch we write weights and optimizer under a new name. Then ``state.json``, which holds that name,
    replaces the one before. So a kill at any moment leaves one consistent state, that of the last finished epoch.
    Keras' own ``BackupAndRestore``, ``ModelCheckpoint`` and ``EarlyStopping`` forget the best value and the patience at
    a restart.

    Parameters
    ----------
    folder : Path
        Folder of ``best.weights.h5``, ``epoch_*.weights.h5`` and ``state.json``.
    history_file : Path
        CSV with one row per epoch, rewritten after every epoch.
    monitor : str
        Which value decides what is best: ``val_loss`` or ``val_foreground_iou``.
    patience : int
        Training stops after this many epochs without improvement.
    """

    def __init__(self, folder, history_file, *, monitor="val_loss", patience=200):
        super().__init__()
        check_choice("MONITOR", monitor, MONITORS)
        self.folder, self.history_file = folder, history_file
        self.monitor, self.patience = monitor, patience
        self.history, self.best, self.best_epoch, self.stopped = [], None, None, False
        self._previous = None

    @property
    def _best_file(self):
        return self.folder / WEIGHTS_NAME

    def restore(self, model, batches, epochs, *, folder=None):
        """Put model, optimizer and data where an unfinished training stopped.

        Parameters
        ----------
        model : keras.Model
            Compiled as in the earlier training.
        batches : PairBatches
            Training data; its epoch is set.
        epochs : int
            Epochs of the whole training.
        folder : Path, optional
            Folder of the earlier training, if it is not that of this one.

        Returns
        -------
        int
            For ``fit(initial_epoch=...)``: 0 if there is nothing to resume, ``epochs`` if the training had stopped
            early.
        """
        folder = self.folder if folder is None else folder
        if not (folder / STATE_NAME).exists():
            return 0
        state = read_json(folder / STATE_NAME)
        self.history, problem = state["history"], weights_problem(folder / state["weights"])
        if problem:  # `RunRecord.check_resumable` has seen that those of the epoch before are whole
            state, self.history = state["previous"], self.history[:-1]
            print(f"{problem}: the epoch is trained again.")
        self.best, self.best_epoch, self.stopped = state["best"], state["best_epoch"], state["stopped"]
        self._previous = {name: value for name, value in state.items() if name not in ("history", "previous")}
        model.optimizer.build(model.trainable_variables)
        model.load_weights(folder / state["weights"])
        for seed, value in zip(_dropout_seeds(model), state["dropout_seeds"], strict=True):
            seed.assign(value)
        batches.epoch = len(self.history)
        self.set_model(model)
        self._write_what_follows(is_best=self.best_epoch == len(self.history))
        print(f"Resuming after epoch {len(self.history)} of {epochs}.")
        return epochs if self.stopped else len(self.history)

    def load_best(self, model):
        """Load the weights of the best epoch, and check them."""
        if problem := weights_problem(self._best_file):
            raise ValueError(f"{problem}: the weights of the best epoch are lost. Start with another --rid.")
        model.load_weights(self._best_file)
        check_weights(model, self._best_file)
        print(f"Weights of epoch {self.best_epoch} ({self.monitor} {self.best}) are used from here on.")

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Write history, best weights and state; decide whether to stop."""
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in logs.items()}}
        self.history.append(row | {"learning_rate": rate, "seconds": round(time.perf_counter() - self._start, 2)})
        if not math.isfinite(row["loss"]):
            raise ValueError(
                f"the training loss became {row['loss']} in epoch {epoch + 1}. Lower LEARNING_RATE, or use --precision "
                "float32; the state of the epoch before is kept."
            )
        is_best = self.best_epoch is None or self._rank(row) > self._rank(self.history[self.best_epoch - 1])
        if is_best:
            value = row[self.monitor]
            self.best, self.best_epoch = value if math.isfinite(value) else None, epoch + 1
        if epoch + 1 - self.best_epoch >= self.patience:
            self.stopped = self.model.stop_training = True
            print(f"No better {self.monitor} in {self.patience} epochs: training ends after epoch {epoch + 1}.")
        self._commit(epoch + 1)
        self._write_what_follows(is_best)

    def _write_what_follows(self, is_best):
        """Write what the committed state promises; `restore` repeats it, because the process may be killed before."""
        if is_best:
            self._save(self._best_file)
        write_csv(self.history_file, self.history)

    def _rank(self, row):
        """Return what is larger for a better epoch: by the monitor, then by the validation loss."""
        value, loss = (
            math.nan if row.get(name) is None else row[name] for name in (self.monitor, "val_loss")
        )  # a resumed history has None for NaN
        by_loss = -loss if math.isfinite(loss) else -math.inf
        if self.monitor == "val_loss":
            return (by_loss,)
        return (value if math.isfinite(value) else NOTHING_FOUND, by_loss)

    def _save(self, path):
        variables = [*self.model.variables, *self.model.optimizer.variables]
        size = sum(4 * math.prod(variable.shape) for variable in variables) + HDF5_OVERHEAD
        with atomic_path(path, size=size) as temporary:
            self.model.save_weights(temporary)

    def _commit(self, epoch):
        weights = self.folder / f"epoch_{epoch:05d}.weights.h5"
        self._save(weights)
        state = {"best": self.best, "best_epoch": self.best_epoch, "stopped": self.stopped, "weights": weights.name}
        # Keras saves weights and optimizer, but not where the random numbers of dropout stand.
        state["dropout_seeds"] = [keras.ops.convert_to_numpy(seed).tolist() for seed in _dropout_seeds(self.model)]
        write_json(self.folder / STATE_NAME, state | {"previous": self._previous, "history": self.history})
        # The weights of the epoch before stay too, in case these are damaged.
        kept = {weights.name, (self._previous or {}).get("weights")}
        self._previous = state
        for old in self.folder.glob("epoch_*.weights.h5"):
            if old.name not in kept:
                old.unlink()


def _dropout_seeds(model):
    return [layer.seed_generator.state for layer in model.layers if hasattr(layer, "seed_generator")]


class ReduceOnPlateau(keras.callbacks.Callback):
    """Divide the learning rate by ten when the monitored value has not improved for some epochs.

    At the beginning of an epoch it reads from the history of `Checkpoints` which epoch was the best and since when the
    present rate holds. So a resumed training lowers the rate at the same epochs as one that was never interrupted.
    Keras' own ``ReduceLROnPlateau`` forgets both.

    Parameters
    ----------
    checkpoints : Checkpoints
        Holds the history and the best epoch.
    patience : int
        Epochs without improvement, at the present rate, before the rate falls.
    """

    def __init__(self, checkpoints, *, patience=20):
        super().__init__()
        if patience < 1:
            raise ValueError(f"PLATEAU_PATIENCE is {patience}; wanted at least 1 epoch, e.g. 20.")
        self.checkpoints, self.patience = checkpoints, patience

    def on_epoch_begin(self, epoch, logs=None):
        """Lower the rate if it is time."""
        rates = [row["learning_rate"] for row in self.checkpoints.history]
        if not rates:
            return
        changed = [number for number, rate in enumerate(rates, start=1) if rate != rates[-1]]
        waited = len(rates) - max(self.checkpoints.best_epoch, *changed[-1:], 0)
        reduced = max(rates[-1] * PLATEAU_FACTOR, LOWEST_RATE)
        if waited >= self.patience and reduced < rates[-1]:
            self.model.optimizer.learning_rate = reduced
            print(f"No better {self.checkpoints.monitor} in {waited} epochs: the learning rate becomes {reduced:.3g}.")


class Progress(keras.callbacks.Callback):
    """Show one bar over the whole training with the time left, and print one line per epoch."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_train_begin(self, logs=None):
        """Leave the bar to the first epoch, which tells where it starts."""
        self._bar = None

    def on_epoch_begin(self, epoch, logs=None):
        """Name the epoch."""
        self._epoch_start = time.perf_counter()
        if self._bar is None:
            self._first, self._train_start = epoch, self._epoch_start
            steps = self.params["steps"]
            self._bar = tqdm(
                total=steps * self.epochs, initial=steps * epoch, unit="step", disable=None, smoothing=0.05
            )
        self._bar.set_description(f"epoch {epoch + 1}/{self.epochs}")

    def on_train_batch_end(self, batch, logs=None):
        """Advance the bar."""
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        """Print the epoch in one line."""
        now = time.perf_counter()
        left = (now - self._train_start) / (epoch + 1 - self._first) * (self.epochs - epoch - 1)
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
        line = f"epoch {epoch + 1}/{self.epochs}  {now - self._epoch_start:.1f} s, {left / 60:.1f} min left  {numbers}"
        self._bar.clear()
        print(line, flush=True)

    def on_train_end(self, logs=None):
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()


class ProgressChart(keras.callbacks.Callback):
    """Redraw the chart of losses, IoU and learning rate after an epoch, at most every ten seconds, and at the end.

    Parameters
    ----------
    path : Path
        The png file.
    checkpoints : Checkpoints
        Holds the whole history; must come before this callback.
    """

    def __init__(self, path, checkpoints):
        super().__init__()
        self.path, self.checkpoints = path, checkpoints
        self._drawn, self._next = 0, 0.0

    def on_train_begin(self, logs=None):
        """Draw for the first time after ten seconds: a chart takes longer than an epoch of a few crops."""
        self._drawn, self._next = 0, time.monotonic() + SECONDS_BETWEEN_CHARTS

    def on_epoch_end(self, epoch, logs=None):
        """Draw."""
        if time.monotonic() >= self._next:
            self._draw()

    def on_train_end(self, logs=None):
        """Draw what was not drawn yet."""
        if len(self.checkpoints.history) > self._drawn:
            self._draw()

    def _draw(self):
        draw_history(self.path, self.checkpoints.history, best_epoch=self.checkpoints.best_epoch)
        self._drawn, self._next = len(self.checkpoints.history), time.monotonic() + SECONDS_BETWEEN_CHARTS


def tensorboard(folder):
    """Return a callback that writes losses, metrics and learning rate for ``tensorboard --logdir FOLDER``.

    Parameters
    ----------
    folder : str or Path
        Folder of the run. Logs go to ``tensorboard/`` in it; a resumed training adds to them.

    Returns
    -------
    keras.callbacks.TensorBoard

    Raises
    ------
    ValueError
        If a package is missing.
    """
    missing = [package for package in ("tensorflow", "tensorboard") if importlib.util.find_spec(package) is None]
    if missing:
        raise ValueError(
            f"TensorBoard logs need the package {' and '.join(missing)}, whatever the backend. Install it with "
            f"'pip install {' '.join(missing)}', or train without them."
        )
    return keras.callbacks.TensorBoard(Path(folder) / "tensorboard", write_graph=False)
