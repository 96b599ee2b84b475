"""Training with checkpoints, a chart and a progress line; what has been begun is gone on with."""

import keras

from utils.callbacks import Checkpoints, Progress, ProgressChart
from utils.devices import make_deterministic, set_precision


def prepare_keras(*, seed, precision, deterministic):
    """Seed every random number and choose the precision, before a network is built.

    Parameters
    ----------
    seed : int
        Seed of Python, NumPy and the backend.
    precision : str
        ``auto``, ``float32``, ``mixed_bfloat16`` or ``mixed_float16`` (see ``utils.devices.set_precision``).
    deterministic : bool
        Make the backend compute exactly the same numbers every time, somewhat slower.
    """
    keras.utils.set_random_seed(seed)
    set_precision(precision)
    if deterministic:
        make_deterministic()


def train_network(run, model, batches, validation_batches, *, epochs, monitor="val_loss", patience=200):
    """Train a compiled model, going on where an earlier call in the same run folder stopped, and load the best weights.

    Parameters
    ----------
    run : Run
        Its folder gets ``checkpoints/``, ``history.csv`` and ``charts/history.png``, rewritten after every epoch.
    model : keras.Model
        Compiled.
    batches, validation_batches : keras.utils.PyDataset
        From ``flow()``; their order is their own and does not depend on the number of workers.
    epochs : int
        Epochs in all, those before an interruption included.
    monitor : str
        ``val_loss`` or ``val_foreground_iou``: what decides which weights are the best.
    patience : int
        Training ends after so many epochs without a better value.
    """
    checkpoints = Checkpoints(run.checkpoints, run.folder / "history.csv", monitor=monitor, patience=patience)
    model.fit(
        batches,
        validation_data=validation_batches,
        epochs=epochs,
        initial_epoch=checkpoints.restore(model, batches, epochs),
        shuffle=False,
        callbacks=[checkpoints, ProgressChart(run.charts / "history.png", checkpoints), Progress(epochs)],
        verbose=0,
    )
    checkpoints.load_best(model)
