"""Loading weights, and refusing those that are missing, damaged, of another network, or NaN."""

from pathlib import Path

import keras
import numpy as np

from utils.files import why_not_there
from utils.runs.record import weights_problem


def load_weights(model, path):
    """Load weights that an earlier run saved.

    Parameters
    ----------
    model : keras.Model
        The same network as in that run.
    path : str or Path
        A ``.weights.h5`` file.

    Raises
    ------
    ValueError
        If the file is missing, does not fit the network or holds NaN.
    """
    if not Path(path).is_file():
        raise ValueError(
            f"the weights file {why_not_there(path)}. Give the path of a best.weights.h5 of an earlier run."
        )
    if problem := weights_problem(Path(path)):
        raise ValueError(f"{problem}. Give a whole file of weights.")
    try:
        model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(
            f"{path} does not fit this network: {str(error).splitlines()[0]} Use the settings of the run that wrote it."
        ) from error
    check_weights(model, path)
    print(f"Weights of {path} are used.")


def check_weights(model, path):
    """Raise an error if weights that were loaded are NaN or infinite: all predictions would be.

    Parameters
    ----------
    model : keras.Model
        Has the weights.
    path : str or Path
        Their file, for the message.

    Raises
    ------
    ValueError
        That names the file and the first such layer.
    """
    wrong = (w.path for w in model.weights if not np.isfinite(keras.ops.convert_to_numpy(w)).all())
    if first := next(wrong, None):
        raise ValueError(
            f"{path} holds NaN or infinite numbers ({first}): that training failed. Lower LEARNING_RATE and train "
            "again."
        )
