"""What a run has left in its folder, read without Keras."""

import csv
import json
from functools import cached_property
from pathlib import Path

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
# Facts that a resumed run must share with its first start, and how a message calls them.
LASTING_FACTS = {
    "seed": "the seed (SEED + rid, or SEED with --keep-seed)",
    "precision": "--precision",
    "deterministic": "--deterministic",
    "template": "the template",
    "data_dir": "the data folder",
}
MISSING = "not there"


class RunRecord:
    """What a run has left. Each file is read once, when it is first asked for; what is missing is empty or None.

    Parameters
    ----------
    run : str or Path
        Folder ``job_dir/results/<id>_<rid>``, which need not exist yet, or the ``checkpoints/best.weights.h5`` of a run
        with ``network.json`` beside it; these two files may be copied anywhere.

    Attributes
    ----------
    folder : Path
        Folder of the run.

    Raises
    ------
    ValueError
        By every member, if a file that it needs cannot be read.
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
        """What was fixed when the run started: all that ``settings.json`` holds."""
        return self._read(SETTINGS_NAME, {})

    @property
    def settings(self):
        """Every variable of the template after overrides, by name."""
        return self.facts.get("settings", {})

    @property
    def template(self):
        """Template, as `describe_origin`; empty if it is not known."""
        return self.facts.get("template", "")

    @property
    def data_dir(self):
        """Data folder, as `describe_origin`; None if it is not known."""
        return self.facts.get("data_dir")

    @property
    def seed(self):
        """Seed of everything random in this repetition; None if nothing is."""
        return self.facts.get("seed")

    @property
    def command(self):
        """Command of the last start, a list of str."""
        return self.facts.get("command", [])

    @cached_property
    def environment(self):
        """Versions, device and times: what ``environment.json`` holds."""
        return self._read(ENVIRONMENT_NAME, {})

    @cached_property
    def scores(self):
        """Rows of the score table, as `utils.runs.scores.ScoreTable` writes them."""
        return self._read(SCORES_NAME, [])

    @cached_property
    def history(self):
        """Rows of ``history.csv``, one for each epoch; all values are text."""
        path = self.folder / HISTORY_NAME
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    @cached_property
    def training_state(self):
        """What the training saved after its last finished epoch, see `utils.training.callbacks.Checkpoints`."""
        return self._read(f"{CHECKPOINTS_NAME}/{STATE_NAME}", {})

    @property
    def state(self):
        """``finished``; ``begun`` if it can be resumed, at least one epoch being done; else ``new``."""
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
        """Return the best weights of a finished run.

        Returns
        -------
        Path

        Raises
        ------
        ValueError
            If the run does not exist, is not finished or has no weights.
        """
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
        return weights

    def network(self):
        """Return what is known about the network of a finished run.

        Returns
        -------
        dict
            What ``network.json`` holds, see `utils.training.network_file.write_network`; ``intensity_range`` is None, a
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
        content = read_json(path)
        grey = content["intensity_range"]
        return content | {"intensity_range": ZScore(**grey) if isinstance(grey, dict) else grey and tuple(grey)}

    def changes(self, now):
        """Say in what a start differs from the one that this record is of.

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

    def _read(self, name, otherwise):
        """Return what a JSON file of the folder holds."""
        path = self.folder / name
        try:
            return read_json(path) if path.is_file() else otherwise
        except ValueError as error:
            raise ValueError(f"{path} cannot be read ({error}). Restore it, or repeat the run.") from error


def describe_origin(template, data_dir):
    """Return the facts about template and data of a run, the same from whatever folder it is started.

    Parameters
    ----------
    template, data_dir : str or Path
        As given on the command line.

    Returns
    -------
    dict of str to str
        ``template``: path within the repository, of a file elsewhere its name alone. ``data_dir``: resolved.

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
