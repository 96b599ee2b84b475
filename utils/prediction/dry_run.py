"""What ``--dry-run`` does instead of training: a few steps, one prediction, and estimates for the whole run."""

import time

from utils.runs.environment import peak_memory_gib

TIMED_STEPS = 3


def dry_run(run, model, batches, *, epochs, images, predictions):
    """Train a few steps, predict one image, print the estimates and end the program with status 0.

    Parameters
    ----------
    run : Run
        Its folder gets the pictures of the checks and the log.
    model : keras.Model
        Compiled.
    batches : PairBatches
        Training data.
    epochs : int
        Epochs of the whole training.
    images : ImageSet
        Test images or volumes.
    predictions : iterator of numpy.ndarray
        Predictions of these by any protocol; only the first is made.
    """
    model.train_on_batch(*batches[0])  # compiles
    start = time.perf_counter()
    for index in range(TIMED_STEPS):
        model.train_on_batch(*(batch := batches[index % len(batches)]))
    step_seconds = (time.perf_counter() - start) / TIMED_STEPS
    start = time.perf_counter()
    probability = next(predictions)
    first_seconds = time.perf_counter() - start
    shapes = ", ".join(str(part.shape) for part in batch)
    hours = step_seconds * len(batches) * epochs / 3600
    print(f"Batch: {shapes}. Prediction: {probability.shape}, {probability.min():.3f} to {probability.max():.3f}.")
    print(
        f"Training: {step_seconds:.3f} s a step, {len(batches)} steps an epoch, "
        f"about {hours:.2f} hours for {epochs} epochs."
    )
    print(
        f"Prediction: at most {first_seconds:.2f} s each (compiling included), "
        f"{len(images)} images or volumes in each protocol."
    )
    print(f"Peak memory so far: {peak_memory_gib()} GiB.")
    print(f"Dry run finished; look at {run.checks}", flush=True)
    raise SystemExit(0)
