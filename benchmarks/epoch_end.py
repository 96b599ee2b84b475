"""Seconds that an epoch lasts beyond its steps, by the number of threads that prepare batches.

Keras gives batches of a single thread to ``tf.data``. Its tuning thread sleeps for 10 ms, 20 ms, 40 ms ... up to a
minute, and when an epoch ends, TensorFlow 2.21 at times waits until it wakes. Of two and more threads Keras takes care
itself. Batches that sleep and a network of one convolution leave nothing else to wait for; every epoch also validates.

    python benchmarks/epoch_end.py [--quick]
"""

import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from measuring import parse_arguments, print_heading, print_table

from utils.devices import describe_device

WORKERS = (1, 2)
SECONDS_OF_STEPS = 6.0


class SleepingBatches(keras.utils.PyDataset):
    """Batches of zeros that take ``seconds`` in all, however many threads prepare them."""

    def __init__(self, workers, seconds):
        super().__init__(workers=workers)
        self.pause = seconds * workers / len(self)

    def __len__(self):
        return 30

    def __getitem__(self, index):
        time.sleep(self.pause)
        return np.zeros((2, 8, 8, 1), np.float32), np.zeros((2, 8, 8, 1), np.float32)


class Stopwatch(keras.callbacks.Callback):
    """Note how long each epoch lasts, validation included."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        """Start."""
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Stop."""
        self.seconds.append(time.perf_counter() - self.start)


def seconds_beyond(workers, seconds, epochs):
    """Return how much longer than its batches each epoch lasts; the first, which compiles, is left out."""
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 1)])
    model.compile("sgd", "mse", jit_compile=False)
    stopwatch = Stopwatch()
    batches, validation_batches = (SleepingBatches(workers, seconds) for _ in range(2))
    model.fit(batches, validation_data=validation_batches, epochs=epochs + 1, verbose=0, callbacks=[stopwatch])
    return [lasted - 2 * seconds for lasted in stopwatch.seconds[1:]]


def main():
    """Measure and print."""
    args = parse_arguments(__doc__, repetitions=15)
    seconds = 0.3 if args.quick else SECONDS_OF_STEPS
    beyond = {workers: seconds_beyond(workers, seconds, args.repetitions) for workers in WORKERS}
    details = f"epochs of {seconds:g} s of training and {seconds:g} s of validation"
    print_heading("Ends of epochs", describe_device(), args, details)
    rows = [
        [
            str(workers),
            *(f"{figure:.2f}" for figure in (statistics.mean(values), statistics.median(values), max(values))),
        ]
        for workers, values in beyond.items()
    ]
    print_table(["threads", "mean, s", "median, s", "longest, s"], rows)


if __name__ == "__main__":
    main()
