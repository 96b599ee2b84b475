"""What a run was made of, how far it is, and whether a new start is made of the same."""

import json
from pathlib import Path

from utils.files import read_json

STATE_NAME = "state.json"
TEMPLATE_FOLDERS = ("templates", "sota_implementations")
MISSING = "not there"


def template_name(path):
    """Return the path of a template from its folder in the repository on.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    str
        The mere file name of what is in none of these folders.

    Examples
    --------
    >>> template_name("/home/me/code/templates/Kasthuri++/U-Net_2D_template.py")
    'templates/Kasthuri++/U-Net_2D_template.py'
    >>> template_name("mine/my_template.py")
    'my_template.py'
    """
    parts = Path(path).parts
    starts = [number for number, part in enumerate(parts[:-1]) if part in TEMPLATE_FOLDERS]
    return "/".join(parts[starts[-1] :]) if starts else Path(path).name


def describe_origin(template, data_dir):
    """Return what ``settings.json`` notes of a run's template and data, whatever folder it is started in.

    Parameters
    ----------
    template, data_dir : str or Path
        As given on the command line.

    Returns
    -------
    dict of str to str
        ``template``, as `template_name`, and ``data_dir``, resolved.
    """
    return {"template": template_name(Path(template).resolve()), "data_dir": str(Path(data_dir).resolve())}


def changes_since(before, now):
    """Say in what a new start of a run differs from the one that wrote ``settings.json``.

    Parameters
    ----------
    before : dict
        What ``settings.json`` holds.
    now : dict
        What it would hold: ``settings`` and, from `describe_origin`, ``template`` and ``data_dir``.

    Returns
    -------
    list of str
        A clause for each difference, as ``EPOCHS was 3, is 4``; empty if the new start goes on with the same.
    """
    old, new = before["settings"], json.loads(json.dumps(now["settings"]))
    pairs = {key: (old.get(key, MISSING), new.get(key, MISSING)) for key in new | old}
    # How numbers are computed is no variable, but changes them; older runs did not record it.
    pairs |= {f"--{key}": (before[key], now[key]) for key in ("seed", "precision", "deterministic") if key in before}
    origin = recorded_origin(before)
    for key, name in (("template", "the template"), ("data_dir", "the data folder")):
        pairs |= {name: (origin[key], now[key])} if key in origin else {}
    return [f"{name} was {old}, is {new}" for name, (old, new) in pairs.items() if old != new]


def recorded_origin(record):
    """Return template and data folder of a run; of one that did not note them, what its command tells.

    Parameters
    ----------
    record : dict
        What ``settings.json`` holds.

    Returns
    -------
    dict of str to str
        As `describe_origin`; without what is not known.
    """
    if "template" in record:
        return {key: record[key] for key in ("template", "data_dir")}
    command = record.get("command", [])
    if not command:
        return {}
    if len(command) < 4 or any(part.startswith("-") for part in command[:4]):
        return {"template": template_name(command[0])}
    return describe_origin(command[0], command[2])


def state_file(folder):
    """Return where a run keeps the state of its training after each epoch.

    Parameters
    ----------
    folder : Path
        ``job_dir/results/<id>_<rid>``.

    Returns
    -------
    Path
    """
    return folder / "checkpoints" / STATE_NAME


def run_state(folder):
    """Tell how far a run is, from its folder.

    Parameters
    ----------
    folder : Path
        ``job_dir/results/<id>_<rid>``.

    Returns
    -------
    str
        ``finished``; ``begun`` if at least an epoch is done, so that ``--resume`` goes on with it; else ``new``.
    """
    environment = folder / "environment.json"
    if environment.is_file() and "end" in read_json(environment):
        return "finished"
    return "begun" if state_file(folder).is_file() else "new"
