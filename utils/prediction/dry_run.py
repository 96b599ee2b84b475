"""What ``--dry-run`` does instead of training: a few steps, one prediction, and what the whole run will take."""

import time

from utils.prediction.protocols import predict_crops
from utils.runs.environment import peak_memory_gib

TIMED_STEPS = 3


def dry_run(run, model, batches, *, epochs, images, predict=None):
    """Train a few steps, predict one image, print the estimates and end the program.

    Parameters
    ----------
    run : Run
        Its folder gets the pictures of the checks and the log.
    model : keras.Model
        Compiled.
    batches : ImageBatches or VolumeBatches
        Training data; their crop, batch size and grey values are those of the prediction too.
    epochs : int
        Epochs of the whole training.
    images : list of numpy.ndarray
        Test images or volumes; the first is predicted.
    predict : callable, optional
        ``predict(model, images, batch_size=..., intensity_range=...)`` yields predictions; without it crops as in
        training are predicted and merged.

    Raises
    ------
    SystemExit
        Always, with status 0.
    """
    model.train_on_batch(*batches[0])  # compiles
    start = time.perf_counter()
    for index in range(TIMED_STEPS):
        batch = batches[index % len(batches)]
        model.train_on_batch(*batch)
    step_seconds = (time.perf_counter() - start) / TIMED_STEPS
    options = {"batch_size": batches.batch_size, "intensity_range": batches.intensity_range}
    start = time.perf_counter()
    if predict is None:
        probability = next(predict_crops(model, images[:1], batches.crop_shape, **options))
    else:
        probability = next(predict(model, images[:1], **options))
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
