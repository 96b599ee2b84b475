"""What a finished run left for prediction: the file of its weights and what belongs to them, read without Keras."""

from pathlib import Path

from utils.files import read_json
from utils.images.intensity import ZScore

NETWORK_NAME = "network.json"
WEIGHTS_NAME = "best.weights.h5"


def find_network(run):
    """Return where the best weights of a finished run are, and what its template wrote about the network.

    Parameters
    ----------
    run : str or Path
        Folder ``job_dir/results/<id>_<rid>`` of the run, or its ``checkpoints/best.weights.h5`` with ``network.json``
        beside it; these two files may be copied anywhere.

    Returns
    -------
    weights : Path
        File of the weights; ``network.json`` is beside it.
    content : dict
        What ``network.json`` holds, see `utils.training.network_file.write_network`.

    Raises
    ------
    ValueError
        If the run does not exist or is not finished, or a file is missing.
    """
    weights = _weights_of(run)
    description = weights.with_name(NETWORK_NAME)
    if not description.is_file():
        raise ValueError(
            f"{description} is missing, which says what network the weights are of. If the run is older than such "
            f"files, run its template with its settings, another --rid and --set LOAD_WEIGHTS={weights}, and give that "
            "run."
        )
    return weights, read_json(description)


def stored_range(content):
    """Return the intensity range of a training.

    Parameters
    ----------
    content : dict
        What ``network.json`` holds.

    Returns
    -------
    tuple of float, ZScore or None
        As `utils.images.intensity.to_network_input` takes it.

    Examples
    --------
    >>> stored_range({"intensity_range": [0, 4095]})
    (0, 4095)
    >>> stored_range({"intensity_range": {"mean": 120.0, "std": 30.0, "low": 0.0, "high": 255.0}})
    ZScore(low=0.0, high=255.0, mean=120.0, std=30.0)
    """
    grey = content["intensity_range"]
    return ZScore(**grey) if isinstance(grey, dict) else grey and tuple(grey)


def _weights_of(run):
    """Return the weights file of a run, or raise why there is none."""
    path = Path(str(run))
    if run is None or not path.exists():
        raise ValueError(f"RUN is {run}, which does not exist. Give the folder of a run: job_dir/results/<id>_<rid>.")
    if path.is_file():
        return path
    environment, weights = path / "environment.json", path / "checkpoints" / WEIGHTS_NAME
    if not environment.is_file():
        raise ValueError(f"{path} is not the folder of a run. Give job_dir/results/<id>_<rid>, or a {WEIGHTS_NAME}.")
    if "end" not in read_json(environment):
        raise ValueError(f"the run in {path} is not finished. Go on with it (--resume), or give {weights} itself.")
    if not weights.is_file():
        raise ValueError(f"{weights} is missing, so that there is nothing to predict with. Give a run that trained.")
    return weights
