"""Compile and train a network: checkpoints, a chart, a progress line. An interrupted training is resumed."""

import shutil
import sys
from contextlib import nullcontext

import keras
import numpy as np

from utils.command_line import this_machine
from utils.devices import make_deterministic, set_precision, training_strategy, use_jit
from utils.files import atomic_path
from utils.metrics.pixels import ForegroundIoU
from utils.runs.record import WEIGHTS_NAME
from utils.training.callbacks import Checkpoints, Progress, ProgressChart, ReduceOnPlateau
from utils.training.losses import get_loss
from utils.training.network_file import check_same_network, write_network
from utils.training.several_devices import share_training
from utils.training.weights import load_weights


def prepare_keras(*, seed, precision, deterministic, volumes=False, trains=True):
    """Seed every random number and choose the precision, before a network is built.

    Parameters
    ----------
    seed : int
        Seed of Python, NumPy and the backend.
    precision, volumes
        As `utils.devices.set_precision`.
    deterministic : bool
        Make the backend compute exactly the same numbers every time, somewhat slower.
    trains : bool
        False for a process that only predicts: it uses one device and joins no other machines.

    Raises
    ------
    ValueError
        As `utils.devices.set_precision` and `utils.devices.training_strategy`.
    """
    if trains:
        training_strategy()  # the machines find each other before anything is computed
    keras.utils.set_random_seed(seed)
    set_precision(precision, volumes=volumes)
    if deterministic:
        make_deterministic()


def compile_network(model, *, loss, optimizer, output_weights=None, **options):
    """Compile a network with a loss by name and print its layers.

    Parameters
    ----------
    model : keras.Model
        From a builder.
    loss, **options : str and its options
        As `utils.training.losses.get_loss`: ``masks``, ``foreground_weight``, ``class_weights`` ...
    optimizer : keras.optimizers.Optimizer
        From `utils.training.optimizers.get_optimizer`.
    output_weights : sequence of float, optional
        For deeply supervised networks: how much each output counts in the loss, the main one first.
    """
    several = {} if output_weights is None else {"loss_weights": output_weights}
    model.compile(
        optimizer=optimizer,
        loss=get_loss(loss, n_classes=model.outputs[0].shape[-1], **options),
        weighted_metrics=[ForegroundIoU()],
        jit_compile=use_jit(),
        **several,
    )
    model.summary(line_length=110)


def train_network(
    run,
    model,
    data,
    train_batches,
    validation_batches,
    *,
    epochs,
    schedule=None,
    monitor="val_loss",
    patience=200,
    plateau_patience=20,
    weights_file=None,
    callbacks=(),
):
    """Train a compiled model, from where an earlier start of the same run stopped, and load the best weights.

    Several GPUs, or machines (``TF_CONFIG``), share each batch and train a copy of the model, which then gets the
    weights. At the end, this call stops the processes of all machines but the first.

    Parameters
    ----------
    run : Run
        Its folder gets ``checkpoints/``, ``history.csv`` and ``charts/history.png``, rewritten while it trains, and
        ``checkpoints/network.json``, from which `utils.prediction.predictor.load_predictor` builds the network again.
    model : keras.Model
        From `compile_network`.
    data : ExperimentData
        What is known about the images, for ``network.json``.
    train_batches, validation_batches : keras.utils.PyDataset
        From ``flow()``, which owns their order.
    epochs : int
        Epochs in all, those before an interruption included.
    schedule : str, optional
        As `utils.training.optimizers.get_optimizer`; only ``plateau`` matters here.
    monitor, patience
        As `utils.training.callbacks.Checkpoints`. Where no validation mask holds foreground, ``val_loss`` decides.
    plateau_patience : int
        Of the schedule ``plateau``, as `utils.training.callbacks.ReduceOnPlateau`.
    weights_file : str or Path, optional
        Weights of an earlier run to use instead of training; they are saved as those of this run.
    callbacks : sequence of keras.callbacks.Callback
        Further ones, called last, e.g. `utils.training.callbacks.tensorboard`.

    Raises
    ------
    ValueError
        If the monitor is unknown, a patience makes no sense, the weights belong to another network, or the devices
        cannot share the batches.
    """
    run.section("Training")
    is_first = this_machine().is_first
    if weights_file is not None:
        check_same_network(model, weights_file, run.settings)
    if is_first:
        write_network(run, model, data, batch_size=train_batches.batch_size)
    if weights_file is not None:
        _end_unless(is_first, run)
        load_weights(model, weights_file)
        with atomic_path(run.checkpoints / WEIGHTS_NAME) as temporary:
            model.save_weights(temporary)
        return
    if monitor == "val_foreground_iou" and not any(np.any(mask) for mask in data.validation.y):
        monitor = "val_loss"
        print("The validation masks hold no foreground, so MONITOR is val_loss instead of val_foreground_iou.")
    checkpoints = Checkpoints(run.checkpoints, run.folder / "history.csv", monitor=monitor, patience=patience)
    ours = [checkpoints, ProgressChart(run.charts / "history.png", checkpoints), Progress(epochs)]
    if schedule == "plateau":
        ours.append(ReduceOnPlateau(checkpoints, patience=plateau_patience))
    strategy = training_strategy()
    with strategy.scope() if strategy else nullcontext():
        trained, shared = model, (train_batches, validation_batches)
        if strategy:
            trained, shared = share_training(model, shared, devices=strategy.num_replicas_in_sync)
        # TensorFlow traces a step twice if the first one makes these variables.
        trained.optimizer.build(trained.trainable_variables)
        trained.fit(
            shared[0],
            validation_data=shared[1],
            epochs=epochs,
            initial_epoch=checkpoints.restore(trained, train_batches, epochs, folder=run.saved_training),
            shuffle=False,
            callbacks=[*ours, *callbacks],
            verbose=0,
        )
    _end_unless(is_first, run)
    checkpoints.load_best(model)


def _end_unless(is_first, run):
    """End this process if it is not the first machine, which evaluates and has the same checkpoints."""
    if not is_first:
        shutil.rmtree(run.checkpoints, ignore_errors=True)
        print("This machine has done its part; the first one evaluates.", flush=True)
        sys.exit(0)
