"""Compiling and training: checkpoints, a chart, a progress line; what has been begun is gone on with."""

import shutil
import sys
from contextlib import nullcontext

import keras

from utils.command_line import this_machine
from utils.devices import make_deterministic, set_precision, training_strategy, use_jit
from utils.files import atomic_path
from utils.metrics.pixels import ForegroundIoU
from utils.runs.record import WEIGHTS_NAME
from utils.training.callbacks import Checkpoints, Progress, ProgressChart, ReduceOnPlateau, load_weights
from utils.training.losses import get_loss
from utils.training.network_file import check_same_network, write_network
from utils.training.optimizers import get_optimizer
from utils.training.several_devices import share_training


def prepare_keras(*, seed, precision, deterministic, volumes=False, trains=True):
    """Seed every random number and choose the precision, before a network is built.

    Parameters
    ----------
    seed : int
        Seed of Python, NumPy and the backend.
    precision : str
        ``auto``, ``float32``, ``mixed_bfloat16`` or ``mixed_float16`` (see ``utils.devices.set_precision``).
    deterministic : bool
        Make the backend compute exactly the same numbers every time, somewhat slower.
    volumes : bool
        Whether the network has 3D convolutions, which not every precision suits.
    trains : bool
        False for a process that only predicts, on one device: it joins no others.

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


def compile_network(
    model,
    *,
    loss,
    optimizer,
    learning_rate,
    steps,
    schedule=None,
    momentum=0.99,
    warm_up=0.0,
    final_learning_rate=0.1,
    epsilon=1e-7,
    foreground_weight=None,
    class_weights=None,
    focal_gamma=2.0,
    tversky_weights=(0.3, 0.7),
    masks=None,
    output_weights=None,
):
    """Compile a network with a loss and an optimizer by name and print its layers.

    Parameters
    ----------
    model : keras.Model
        From a builder.
    loss : str
        As `utils.training.losses.get_loss`.
    optimizer : str
        As `utils.training.optimizers.get_optimizer`.
    learning_rate : float
        Constant rate, or the peak of the schedule.
    steps : int
        Steps of the whole training.
    schedule : str, optional
        As `utils.training.optimizers.get_optimizer`; ``plateau`` is carried out by `train_network`.
    momentum : float
        Of ``sgd``.
    warm_up : float
        Of the schedule ``cosine``: fraction of the steps in which the rate rises.
    final_learning_rate : float
        Of ``adabound``: rate of the SGD that it becomes.
    epsilon : float
        Of ``adam`` and ``adamw``.
    foreground_weight : float, optional
        How many times a foreground pixel counts in ``w_bce`` and ``w_bce_dice``.
    class_weights : sequence of float, optional
        How many times a pixel of each class counts in ``focal`` and the cross-entropies, background first.
    focal_gamma : float
        Of ``focal``: how much less well classified pixels count.
    tversky_weights : tuple of float
        Of ``tversky``: what false and what missed foreground costs.
    masks : iterable of numpy.ndarray, optional
        Training masks, from which that weight is computed if it is not given.
    output_weights : sequence of float, optional
        For deeply supervised networks: how much each output counts in the loss, the main one first.

    Raises
    ------
    ValueError
        If a name is unknown or a number makes no sense.
    """
    rate = {"learning_rate": learning_rate, "schedule": schedule, "total_steps": steps, "warm_up": warm_up}
    rate |= {"momentum": momentum, "final_learning_rate": final_learning_rate, "epsilon": epsilon}
    weights = {"foreground_weight": foreground_weight, "class_weights": class_weights, "masks": masks}
    weights |= {"focal_gamma": focal_gamma, "tversky_weights": tversky_weights}
    several = {} if output_weights is None else {"loss_weights": output_weights}
    model.compile(
        optimizer=get_optimizer(optimizer, **rate),
        loss=get_loss(loss, n_classes=model.outputs[0].shape[-1], **weights),
        weighted_metrics=[ForegroundIoU()],
        jit_compile=use_jit(),
        **several,
    )
    model.schedule = schedule  # train_network acts on "plateau"
    model.summary(line_length=110)


def train_network(
    run,
    model,
    batches,
    validation_batches,
    *,
    epochs,
    monitor="val_loss",
    patience=200,
    plateau_patience=20,
    weights_file=None,
    callbacks=(),
):
    """Train a compiled model, going on where an earlier call in the same run folder stopped, and load the best weights.

    Several GPUs, or machines (``TF_CONFIG``), share each batch and train a copy of the model; the model gets the
    weights. All machines but the first are at their end then: this call ends their process.

    Parameters
    ----------
    run : Run
        Its folder gets ``checkpoints/``, ``history.csv`` and ``charts/history.png``, rewritten after every epoch, and
        ``checkpoints/network.json``, from which `utils.prediction.predictor.load_trained` makes the network again.
    model : keras.Model
        From `compile_network`.
    batches, validation_batches : keras.utils.PyDataset
        From ``flow()``; their order is their own and does not depend on the number of workers.
    epochs : int
        Epochs in all, those before an interruption included.
    monitor : str
        ``val_loss`` or ``val_foreground_iou``: what decides which weights are the best.
    patience : int
        Training ends after so many epochs without a better value.
    plateau_patience : int
        With the schedule ``plateau``: after so many epochs without a better value the learning rate is divided by ten.
    weights_file : str or Path, optional
        Weights of an earlier run to use instead of training; they are saved as those of this run.
    callbacks : sequence of keras.callbacks.Callback
        Further ones, called last, e.g. `utils.training.callbacks.tensorboard`.

    Raises
    ------
    ValueError
        If the monitor is unknown, a patience makes no sense, the weights are of another network, or the devices cannot
        share the batches.
    """
    run.section("Training")
    is_first = this_machine().is_first
    if weights_file is not None:
        check_same_network(model, weights_file, run.settings)
    if is_first:
        write_network(run, model, batches)
    if weights_file is not None:
        _end_unless(is_first, run)
        load_weights(model, weights_file)
        with atomic_path(run.checkpoints / WEIGHTS_NAME) as temporary:
            model.save_weights(temporary)
        return
    checkpoints = Checkpoints(run.checkpoints, run.folder / "history.csv", monitor=monitor, patience=patience)
    ours = [checkpoints, ProgressChart(run.charts / "history.png", checkpoints), Progress(epochs)]
    if getattr(model, "schedule", None) == "plateau":
        ours.append(ReduceOnPlateau(checkpoints, patience=plateau_patience))
    strategy = training_strategy()
    with strategy.scope() if strategy else nullcontext():
        trained, shared = model, (batches, validation_batches)
        if strategy:
            trained, shared = share_training(model, shared, devices=strategy.num_replicas_in_sync)
        trained.fit(
            shared[0],
            validation_data=shared[1],
            epochs=epochs,
            initial_epoch=checkpoints.restore(trained, batches, epochs, folder=run.saved_training),
            shuffle=False,
            callbacks=[*ours, *callbacks],
            verbose=0,
        )
    _end_unless(is_first, run)
    checkpoints.load_best(model)


def _end_unless(is_first, run):
    """End this process if another machine evaluates; its checkpoints are those of the first one."""
    if not is_first:
        shutil.rmtree(run.checkpoints, ignore_errors=True)
        print("This machine has done its part; the first one goes on.", flush=True)
        sys.exit(0)
