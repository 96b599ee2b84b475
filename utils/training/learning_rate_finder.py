"""The learning-rate finder (Smith 2017): a short sweep over learning rates, its chart, table and suggestion."""

import math
import random
from pathlib import Path

import keras
import numpy as np

from utils.files import write_csv
from utils.pictures.figures import new_figure, save_figure

# Weight of the past in the exponential mean of the losses.
SMOOTHING = 0.9
# The sweep ends when the smoothed loss exceeds so many times its lowest value.
DIVERGENCE = 4.0
# Share of the steps, at the beginning, that the suggestion leaves out: their mean is over too few losses.
SETTLING = 0.1
# The suggestion is at most this share of the rate with the lowest loss: above it training nearly diverges.
SAFETY = 0.1
# Without a fall of the loss by this share no rate is suggested.
LEAST_FALL = 1e-3


def find_learning_rate(folder, model, batches, *, lowest=1e-6, highest=1.0, steps=100):
    """Train a copy of a model with a rising learning rate and suggest the rate at which its loss fell fastest.

    In step i of N the rate is lowest (highest / lowest)^(i / (N - 1)). The loss is smoothed by an exponential mean. The
    sweep ends early when the mean is no number or exceeds four times its lowest value. The suggestion is where the
    smoothed loss falls steepest over the logarithm of the rate, among the rates up to a tenth of that with the lowest
    loss. After Smith 2017 (arXiv 1506.01186, section 3.3).

    Writes ``learning_rate_finder.csv`` and ``learning_rate_finder.png`` and prints the suggestion. The model, its
    optimizer and the batches stay as they are.

    Parameters
    ----------
    folder : str or Path
        Gets the table and the chart.
    model : keras.Model
        Functional and compiled; the schedule of its optimizer is not used.
    batches : keras.utils.PyDataset
        Training data; starts again at its end.
    lowest, highest : float
        Range of the rates.
    steps : int
        Training steps, at least 10.

    Returns
    -------
    float
        The suggested learning rate.

    Raises
    ------
    ValueError
        If the range or the steps make no sense, or the loss did not fall at any rate.
    """
    if not 0 < lowest < highest or steps < 10:
        raise ValueError(
            f"the learning-rate finder got rates {lowest} to {highest} and {steps} steps; wanted rates above 0 in "
            "rising order and at least 10 steps."
        )
    rates = lowest * (highest / lowest) ** (np.arange(steps) / (steps - 1))
    losses = _sweep(model, batches, rates)
    smoothed, rates = smooth_losses(losses), rates[: len(losses)]
    suggestion = suggest_learning_rate(rates, smoothed)
    columns = zip(rates.tolist(), losses, smoothed.tolist(), strict=True)
    rows = [{"learning_rate": rate, "loss": loss, "smoothed_loss": mean} for rate, loss, mean in columns]
    write_csv(Path(folder) / "learning_rate_finder.csv", rows)
    _draw(Path(folder) / "learning_rate_finder.png", rates, losses, smoothed, suggestion)
    if suggestion is None:
        raise ValueError(
            f"the loss did not fall between the learning rates {lowest} and {rates[-1]:.2g}; see "
            f"{Path(folder) / 'learning_rate_finder.png'}. Take a wider range, or check images and masks."
        )
    print(f"Learning-rate finder: {suggestion:.2g} is suggested, where the loss fell fastest.", flush=True)
    return suggestion


def _sweep(model, batches, rates):
    """Return the loss of each step of a copy of the model, until it diverges."""
    random_state = random.getstate()  # Keras seeds the layers of the copy from it
    copy = _copy(model, rates)
    random.setstate(random_state)
    losses = []
    for step in range(len(rates)):
        losses.append(float(copy.train_on_batch(*batches[step % len(batches)], return_dict=True)["loss"]))
        smoothed = smooth_losses(losses)
        if not math.isfinite(smoothed[-1]) or smoothed[-1] > DIVERGENCE * smoothed.min():
            break
    return losses


def _copy(model, rates):
    """Return a compiled copy with the same weights, whose optimizer takes one rate after the other."""
    config = model.get_compile_config()
    schedule = keras.optimizers.schedules.ExponentialDecay(rates[0], len(rates) - 1, rates[-1] / rates[0])
    config["optimizer"]["config"]["learning_rate"] = keras.saving.serialize_keras_object(schedule)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.compile_from_config(config)
    return copy


def smooth_losses(losses, smoothing=SMOOTHING):
    """Smooth the loss of each step by an exponential mean, corrected for its start at zero.

    mean_k = (1 - s) sum_i s^(k - i) loss_i / (1 - s^k), k = 1 ...

    Parameters
    ----------
    losses : sequence of float
        One per step.
    smoothing : float
        s, at least 0 and below 1.

    Returns
    -------
    numpy.ndarray
        As many, float64.

    Examples
    --------
    >>> smooth_losses([3.0, 3.0, 0.0], 0.5).round(3).tolist()
    [3.0, 3.0, 1.286]
    """
    mean, smoothed = 0.0, []
    for number, loss in enumerate(losses, start=1):
        mean = smoothing * mean + (1 - smoothing) * loss
        smoothed.append(mean / (1 - smoothing**number))
    return np.array(smoothed)


def suggest_learning_rate(rates, smoothed):
    """Return the rate, up to a tenth of that with the lowest loss, at which the loss falls steepest over log(rate).

    Parameters
    ----------
    rates : numpy.ndarray
        Rising learning rates.
    smoothed : numpy.ndarray
        Smoothed loss at each; the first tenth of the steps does not count.

    Returns
    -------
    float or None
        None if the loss falls by less than a thousandth.

    Examples
    --------
    >>> suggest_learning_rate(10.0 ** np.arange(-6, 0), np.array([5.0, 5.0, 5.0, 3.0, 2.0, 9.0]))
    0.001
    """
    first = math.ceil(SETTLING * len(rates))
    finite = np.where(np.isfinite(smoothed), smoothed, np.inf)
    end = first + int(np.argmin(finite[first:])) + 1
    if not np.isfinite(finite[first]) or finite[first] - finite[end - 1] <= LEAST_FALL * abs(finite[first]):
        return None
    slopes = np.gradient(finite[first:end], np.log10(rates[first:end]))
    highest = max(SAFETY * rates[end - 1] * (1 + 1e-6), rates[first])
    return float(rates[first + np.argmin(slopes[rates[first:end] <= highest])])


def _draw(path, rates, losses, smoothed, suggestion):
    figure, panels = new_figure(1, 1, width=7, height=4.5)
    panel = panels[0][0]
    panel.plot(rates, losses, color="lightgrey", label="loss")
    panel.plot(rates, smoothed, label="smoothed loss")
    if suggestion is not None:
        panel.axvline(suggestion, color="tab:red", linestyle=":", label=f"suggested: {suggestion:.2g} (steepest fall)")
    finite = smoothed[np.isfinite(smoothed)]
    low, start = finite.min(), finite[0]
    margin = 0.5 * (start - low) or 0.1 * start  # the end, where the loss diverges, would flatten the rest
    panel.set_ylim(low - margin, start + margin)
    panel.set(title="Learning-rate finder", xlabel="Learning rate", ylabel="Training loss", xscale="log")
    panel.legend()
    save_figure(figure, path)
