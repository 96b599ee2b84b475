"""What a run has left in its folder, read without loading Keras."""

import csv
import json
from functools import cached_property
from pathlib import Path

import h5py

from utils.files import read_json
from utils.images.intensity import ZScore

SETTINGS_NAME = "settings.json"
ENVIRONMENT_NAME = "environment.json"
LOG_NAME = "log.txt"
HISTORY_NAME = "history.csv"
SCORES_NAME = "scores.json"
CHECKPOINTS_NAME = "checkpoints"
# In the folder of the checkpoints.
STATE_NAME = "state.json"
WEIGHTS_NAME = "best.weights.h5"
NETWORK_NAME = "network.json"

FOLDER_OF_A_RUN = "job_dir/results/<id>_<rid>"
TEMPLATE_FOLDERS = ("templates", "sota_implementations")
# Facts that a resumed run must share with its first start, and their names in messages.
LASTING_FACTS = {
    "seed": "the seed (SEED + rid, or SEED with --keep-seed)",
    "precision": "--precision",
    "deterministic": "--deterministic",
    "template": "the template",
    "data_dir": "the data folder",
}
MISSING = "not there"


class RunRecord:
    """What a run has left in its folder.

    Each file is read when it is first asked for. What is missing is empty or None. A file that cannot be read raises a
    ValueError.

    Parameters
    ----------
    run : str or Path
        Folder ``job_dir/results/<id>_<rid>``, which need not exist yet, or the ``checkpoints/best.weights.h5`` of a run
        with ``network.json`` beside it; these two files may be copied anywhere.

    Attributes
    ----------
    folder : Path
        Folder of the run.
    """

    def __init__(self, run):
        path = Path(str(run))
        self._given = path
        self.folder = path.resolve().parent.parent if path.is_file() else path

    @property
    def name(self):
        """Name of the folder, ``<id>_<rid>``."""
        return self.folder.name

    @property
    def id(self):
        """Name of the experiment."""
        return self.name.rpartition("_")[0]

    @property
    def rid(self):
        """Number of the repetition."""
        return int(self.name.rpartition("_")[2])

    @cached_property
    def facts(self):
        """What was fixed at the start of the run: the content of ``settings.json``."""
        return self._read(SETTINGS_NAME, {}, needed=("settings",))

    @property
    def settings(self):
        """Every variable of the template after overrides, by name."""
        return self.facts.get("settings", {})

    @property
    def template(self):
        """Path of the template, as `describe_origin`; empty if it is not known."""
        return self.facts.get("template", "")

    @property
    def data_dir(self):
        """Data folder, as `describe_origin`; None if it is not known."""
        return self.facts.get("data_dir")

    @property
    def seed(self):
        """Seed of all random numbers of this repetition; None if there is none."""
        return self.facts.get("seed")

    @property
    def command(self):
        """Command of the last start, a list of str."""
        return self.facts.get("command", [])

    @cached_property
    def environment(self):
        """Versions, device and times: the content of ``environment.json``."""
        return self._read(ENVIRONMENT_NAME, {})

    @cached_property
    def scores(self):
        """Rows of the score table, as `utils.runs.scores.ScoreTable` writes them."""
        rows = self._read(SCORES_NAME, [], kind=list)
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{self.folder / SCORES_NAME} does not hold scores. Restore it, or repeat the run.")
        return rows

    @cached_property
    def history(self):
        """Rows of ``history.csv``, one per epoch; all values are text."""
        path = self.folder / HISTORY_NAME
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    @cached_property
    def training_state(self):
        """What `utils.training.callbacks.Checkpoints` saved after the last finished epoch."""
        return self._read(f"{CHECKPOINTS_NAME}/{STATE_NAME}", {})

    @property
    def state(self):
        """``finished``; ``begun`` if an epoch is finished, so that it can be resumed; else ``new``."""
        if "end" in self.environment:
            return "finished"
        return "begun" if (self.folder / CHECKPOINTS_NAME / STATE_NAME).is_file() else "new"

    @property
    def minutes(self):
        """Duration of a finished run, including the training of earlier starts; None if it is not finished."""
        if "seconds" not in self.environment:
            return None
        return (self.environment["seconds"] + self.environment.get("earlier_seconds", 0)) / 60

    def check(self):
        """Raise a ValueError unless the folder is that of a run."""
        if not (self.folder / SETTINGS_NAME).is_file():
            raise ValueError(
                f"{self.folder} is not the folder of a run: it has no {SETTINGS_NAME}. Give {FOLDER_OF_A_RUN}."
            )

    def weights_file(self):
        """Return the Path of the best weights of a finished run, or raise a ValueError that says why there are none."""
        if str(self._given) == "None":
            raise ValueError(f"RUN is not set. Give the folder of a run: --set RUN={FOLDER_OF_A_RUN}.")
        if not self._given.exists():
            raise ValueError(
                f"RUN is {self._given}, which does not exist. Give the folder of a run: {FOLDER_OF_A_RUN}."
            )
        if self._given.is_file():
            return self._given
        self.check()
        weights = self.folder / CHECKPOINTS_NAME / WEIGHTS_NAME
        if self.state != "finished":
            raise ValueError(
                f"the run in {self.folder} is not finished. Resume it (--resume), or give {weights} itself."
            )
        if not weights.is_file():
            raise ValueError(f"{weights} is missing: there is nothing to predict with. Give a run that trained.")
        if problem := weights_problem(weights):
            raise ValueError(f"{problem}. Restore it, or give another run.")
        return weights

    def check_resumable(self):
        """Raise a ValueError unless all that `utils.training.callbacks.Checkpoints` needs to go on is whole."""
        folder, state = self.folder / CHECKPOINTS_NAME, self.training_state
        if not {"history", "best_epoch", "weights", "stopped", "dropout_seeds"} <= state.keys():
            raise ValueError(f"{folder / STATE_NAME} is not complete. Restore it, or start with another --rid.")
        states = [one for one in (state, state.get("previous")) if one]
        problems = [weights_problem(folder / one["weights"]) for one in states]
        if all(problems):
            raise ValueError(
                f"{problems[0]}, and there are no whole weights of the epoch before. Start with another --rid; "
                f"FINE_TUNE_FROM or LOAD_WEIGHTS can take {folder / WEIGHTS_NAME}."
            )
        number = problems.index(None)
        epochs, weights = len(state["history"]) - number, folder / states[number]["weights"]
        lost = states[number]["best_epoch"] != epochs and weights_problem(folder / WEIGHTS_NAME)
        if lost:
            raise ValueError(
                f"{lost}: the weights of the best epoch, {states[number]['best_epoch']}, are lost. Start with another "
                f"--rid; FINE_TUNE_FROM or LOAD_WEIGHTS can take {weights}."
            )

    def network(self):
        """Return what is known about the network of a finished run.

        Returns
        -------
        dict
            Content of ``network.json``, see `utils.training.network_file.write_network`; ``intensity_range`` is None, a
            tuple of float or a ZScore, as `utils.images.intensity.to_network_input` takes it.

        Raises
        ------
        ValueError
            As `weights_file`, or if ``network.json`` is missing.
        """
        weights = self.weights_file()
        path = weights.with_name(NETWORK_NAME)
        if not path.is_file():
            raise ValueError(
                f"{path} is missing, which describes the network that the weights belong to. Copy it from the "
                f"{CHECKPOINTS_NAME}/ of the run; or run the template with the same settings, another --rid and "
                f"--set LOAD_WEIGHTS={weights}, and give that run."
            )
        content = self._read_file(path, needed=("intensity_range",))
        grey = content["intensity_range"]
        grey = ZScore(**grey) if isinstance(grey, dict) else grey and tuple(grey)
        # Earlier runs recorded the size of a voxel among their settings alone.
        earlier = {"voxel_size_nm": content.get("settings", {}).get("VOXEL_SIZE_NM")}
        return earlier | content | {"intensity_range": grey}

    def changes(self, now):
        """Say how a start differs from the one that left this record.

        Parameters
        ----------
        now : dict
            What ``settings.json`` would hold; facts that it lacks are not compared.

        Returns
        -------
        list of str
            A clause for each difference, as ``EPOCHS was 3, is 4``.
        """
        old, new = self.settings, json.loads(json.dumps(now["settings"]))
        pairs = {name: (old.get(name, MISSING), new.get(name, MISSING)) for name in new | old}
        pairs |= {name: (self.facts.get(key), now[key]) for key, name in LASTING_FACTS.items() if key in now}
        return [f"{name} was {before}, is {after}" for name, (before, after) in pairs.items() if before != after]

    def _read(self, name, otherwise, *, kind=dict, needed=()):
        """Return the content of a JSON file of the folder, which must be of a kind and hold the keys."""
        path = self.folder / name
        return self._read_file(path, kind=kind, needed=needed) if path.is_file() else otherwise

    @staticmethod
    def _read_file(path, *, kind=dict, needed=()):
        try:
            content = read_json(path)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} cannot be read ({error}). Restore it, or repeat the run.") from error
        if not isinstance(content, kind) or not all(key in content for key in needed):
            raise ValueError(f"{path} does not hold what a run writes. Restore it, or repeat the run.")
        return content


def weights_problem(path):
    """Say why a file cannot hold the weights of a network, or return None.

    Parameters
    ----------
    path : Path
        The file, of which only the header is read.

    Returns
    -------
    str or None
        A clause with its name.
    """
    if not path.is_file():
        return f"{path} is missing"
    try:
        with h5py.File(path) as file:
            return None if len(file) else f"{path} is empty"
    except OSError:
        return f"{path} is damaged"


def describe_origin(template, data_dir):
    """Return template and data folder of a run in a form that does not depend on the folder it is started from.

    Parameters
    ----------
    template, data_dir : str or Path
        As on the command line.

    Returns
    -------
    dict of str to str
        ``template``: path within the repository, or only the name of a file elsewhere. ``data_dir``: resolved.

    Examples
    --------
    >>> describe_origin("/home/me/code/templates/Kasthuri++/U-Net_2D_template.py", "/data")
    {'template': 'templates/Kasthuri++/U-Net_2D_template.py', 'data_dir': '/data'}
    >>> describe_origin("/mine/my_template.py", "/data")["template"]
    'my_template.py'
    """
    parts = Path(template).resolve().parts
    starts = [number for number, part in enumerate(parts[:-1]) if part in TEMPLATE_FOLDERS]
    inside = parts[starts[-1] :] if starts else parts[-1:]
    return {"template": "/".join(inside), "data_dir": str(Path(data_dir).resolve())}
