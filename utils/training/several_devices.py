"""Training on several devices, of one machine or several: each takes its part of every batch."""

import keras

from utils.command_line import this_machine
from utils.devices import is_one_of_several


def share_training(model, batches, *, devices):
    """Have several devices share a training; call it in the scope of the strategy.

    Parameters
    ----------
    model : keras.Model
        From `utils.training.training.compile_network`.
    batches : tuple of PairBatches
        To train and to validate with.
    devices : int
        How many share each batch.

    Returns
    -------
    model : keras.Model
        A copy for every device, with the same weights and compiled alike.
    batches : list of SharedBatches

    Raises
    ------
    ValueError
        As `SharedBatches`.
    """
    shared = [SharedBatches(part, devices) for part in batches]
    print(f"{devices} devices share each batch of {batches[0].batch_size}.")
    return _copy_for_all(model), shared


def _copy_for_all(model):
    config = model.get_compile_config() | {"jit_compile": False}  # XLA cannot add up gradients of several devices
    copy = keras.models.clone_model(model)
    copy.compile_from_config(config)
    copy.set_weights(model.get_weights())
    copy.optimizer.build(copy.trainable_variables)
    # Keras 3.15 averages the first batch over the devices to learn its shape, which fails with several machines.
    # Without a strategy on the model it does not, and uses the one in force; we built above what it would build.
    copy._distribute_strategy = None
    if this_machine().count > 1:
        _give_logs_an_axis(copy)
    return copy


def _give_logs_an_axis(model):
    """Have a training step return vectors of one number, because Keras 3.15 averages over the first axis of each."""
    scalars = model.get_metrics_result

    def get_metrics_result():
        found = scalars()
        return {name: keras.ops.reshape(value, (1,)) for name, value in found.items()} if is_one_of_several() else found

    model.get_metrics_result = get_metrics_result


class SharedBatches(keras.utils.PyDataset):
    """Batches that several devices can share evenly.

    An empty part of a batch has no gradient. So each epoch leaves out what the samples have beyond a multiple of the
    devices, every time others.

    Parameters
    ----------
    batches : PairBatches
        From ``flow()``; its epochs advance with those of this one.
    devices : int
        How many share a batch.

    Raises
    ------
    ValueError
        If the batch size is no multiple of the devices, or there are fewer samples than devices.
    """

    def __init__(self, batches, devices):
        super().__init__(workers=batches.workers)
        if batches.batch_size % devices:
            higher = -(-batches.batch_size // devices) * devices
            raise ValueError(
                f"BATCH_SIZE is {batches.batch_size}, which {devices} devices cannot share evenly. Take "
                f"{' or '.join(str(size) for size in (higher - devices, higher) if size)}, or other devices, such as "
                "--gpu 0."
            )
        if batches.n_samples < devices:
            raise ValueError(
                f"there are {batches.n_samples} samples for {devices} devices: each needs one. Use more data to train "
                "and to validate with, or fewer devices, such as --gpu 0."
            )
        self._batches = batches
        self._n_samples = batches.n_samples // devices * devices

    def __len__(self):
        return -(-self._n_samples // self._batches.batch_size)

    def __getitem__(self, index):
        size = self._n_samples - index * self._batches.batch_size
        return tuple(part[:size] for part in self._batches[index])

    def on_epoch_end(self):
        """Start the next epoch."""
        self._batches.on_epoch_end()
