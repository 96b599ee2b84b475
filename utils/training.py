"""Compiling and training: checkpoints, a chart, a progress line; what has been begun is gone on with."""

import keras

from utils.callbacks import Checkpoints, Progress, ProgressChart, load_weights
from utils.devices import make_deterministic, set_precision, use_jit
from utils.losses import get_loss
from utils.metrics import ForegroundIoU
from utils.optimizers import get_optimizer


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


def compile_network(
    model,
    *,
    loss,
    optimizer,
    learning_rate,
    steps,
    schedule=None,
    momentum=0.99,
    foreground_weight=None,
    masks=None,
    output_weights=None,
):
    """Compile a network with a loss and an optimizer of the study and print its layers.

    Parameters
    ----------
    model : keras.Model
        From a builder.
    loss : str
        As `utils.losses.get_loss`.
    optimizer : str
        As `utils.optimizers.get_optimizer`.
    learning_rate : float
        Constant rate, or the peak of the schedule.
    steps : int
        Steps of the whole training.
    schedule : str, optional
        As `utils.optimizers.get_optimizer`.
    momentum : float
        Of ``sgd``.
    foreground_weight : float, optional
        How many times a foreground pixel counts in ``w_bce`` and ``w_bce_dice``.
    masks : iterable of numpy.ndarray, optional
        Training masks, from which that weight is computed if it is not given.
    output_weights : sequence of float, optional
        For deeply supervised networks: how much each output counts in the loss, the main one first.

    Raises
    ------
    ValueError
        If a name is unknown or a number makes no sense.
    """
    rate = {"learning_rate": learning_rate, "schedule": schedule, "total_steps": steps}
    several = {} if output_weights is None else {"loss_weights": output_weights}
    model.compile(
        optimizer=get_optimizer(optimizer, momentum=momentum, **rate),
        loss=get_loss(loss, foreground_weight=foreground_weight, masks=masks),
        metrics=[ForegroundIoU()],
        jit_compile=use_jit(),
        **several,
    )
    model.summary(line_length=110)


def train_network(
    run, model, batches, validation_batches, *, epochs, monitor="val_loss", patience=200, weights_file=None
):
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
    weights_file : str or Path, optional
        Weights of an earlier run to use instead of training.

    Raises
    ------
    ValueError
        If the monitor is unknown, or the weights do not fit the network.
    """
    run.section("Training")
    if weights_file is not None:
        load_weights(model, weights_file)
        return
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
