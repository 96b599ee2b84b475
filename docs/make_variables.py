"""Write docs/variables.md: every variable of the templates with meaning, values and defaults, from their comments.

python docs/make_variables.py
"""

import ast
import sys
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from study.page_network import ROOT, template_files  # noqa: E402
from utils.errors import raise_problems  # noqa: E402
from utils.files import write_text  # noqa: E402
from utils.template_text import template_variables, variable_groups  # noqa: E402

PAGE = ROOT / "docs" / "variables.md"
TITLE = """# Variables of the templates

Each variable stands at the top of a template and is overridden with `--set NAME=VALUE`; `--help` lists those of one
template. The first default is that of all templates not named behind it. Templates are named in short: `U-Net_2D` is
`templates/U-Net_2D_template.py`, `casser_V0` is `sota_implementations/casser_2018/casser_template_V0.py`.

This page is written by `python docs/make_variables.py` from the comments in the templates.
"""
# What templates leave unsaid where the name, or the comment of the variable above, says it.
MEANINGS = {
    "ACTIVATION": "Activation behind the convolutions, by its name in Keras",
    "BATCH_NORM": "True: batch normalisation behind each convolution",
    "BATCH_SIZE": "Samples that a training step sees",
    "DEPTH": "Number of poolings",
    "DROP_VALUE": "Share of the activations that dropout sets to 0",
    "ELASTIC_SIGMA": "Smoothness in pixels of the elastic displacements",
    "EPOCHS": "Epochs of training at most",
    "EPSILON": "Of adam and adamw: added to the root of the mean square of the gradients",
    "FEATURE_MAPS": "Feature maps of each level, from the top to the bottleneck",
    "FULLY_CONNECTED": "Feature maps of the two layers at the bottom",
    "HEIGHT_SHIFT_RANGE": "Fraction of the height, uniform in +-range",
    "K_INIT": "Initialisation of the kernels, by its name in Keras",
    "LEARNING_RATE": "Learning rate of the optimizer",
    "MASK_DATASET": "Name of the array of masks in hdf5 and zarr files that hold several",
    "MAX_FEATURE_MAPS": "Feature maps of a stage at most",
    "MIN_SLICES": "Slices that an object must have",
    "MONITOR": "What tells the best epoch: val_loss or val_foreground_iou",
    "N_FILTERS_FIRST_CONV": "Feature maps of the first convolution",
    "SPATIAL_DROPOUT": "True: dropout of whole feature maps",
    "TEST_OVERLAP": "Minimum overlap of the test subvolumes, as a fraction, per axis",
    "VERTICAL_FLIP": "Mirror along y, with probability 0.5",
    "WATERSHED_DILATE": "Pixels by which the watershed may move the outline of an object outward",
    "WATERSHED_ERODE": "Pixels by which the watershed may move the outline of an object inward",
    "WEIGHT_MAP_SIGMA": "Distance in pixels over which the weights between close objects fall",
    "Z_FLIP": "Mirror along z, with probability 0.5",
}
KINDS = {bool: "True or False", int: "whole number", float: "number", str: "text"}


def read_variables(paths):
    """Collect what the templates say about each variable.

    Parameters
    ----------
    paths : list of Path
        Templates.

    Returns
    -------
    variables : dict of str to dict
        By name: ``group`` (text), ``meanings`` and ``defaults``, each a dictionary of text to list of template names.
    dimensions : dict of str to int
        2 or 3 by the name of the template.

    Raises
    ------
    ValueError
        If a variable has neither a comment nor an entry in ``MEANINGS``.
    """
    variables, dimensions, missing = {}, {}, []
    for path in paths:
        source = path.read_text(encoding="utf-8")
        template, groups = short_name(path), variable_groups(source)
        for name, default, comment in template_variables(source):
            if not comment and name not in MEANINGS:
                missing.append(f"{name} in {template}")
            entry = variables.setdefault(
                name, {"group": groups[name], "meanings": defaultdict(list), "defaults": defaultdict(list)}
            )
            entry["meanings"][" ".join(comment) or MEANINGS.get(name)].append(template)
            entry["defaults"][default].append(template)
            if name == "CROP_SHAPE":
                dimensions[template] = len(ast.literal_eval(default)) - 1
    raise_problems("variables without a comment above them or a meaning in docs/make_variables.py", missing)
    return variables, dimensions


def short_name(path):
    """Return the name of a template without what all names share.

    Parameters
    ----------
    path : Path
        The template.

    Returns
    -------
    str

    Examples
    --------
    >>> short_name(ROOT / "templates" / "Kasthuri++" / "U-Net_2D_template.py")
    'Kasthuri++/U-Net_2D'
    """
    folder = "" if path.parent.parent == ROOT / "sota_implementations" else path.parent.relative_to(ROOT / "templates")
    return (Path(folder) / path.stem.replace("_template", "")).as_posix()


def where(templates, dimensions):
    """Say in which templates something is, as briefly as it can be said.

    Parameters
    ----------
    templates : list of str
        Their names.
    dimensions : dict of str to int
        2 or 3 for every template there is.

    Returns
    -------
    str

    Examples
    --------
    >>> dimensions = {"a": 2, "b": 2, "c": 2, "d": 3}
    >>> where(["a", "b", "c"], dimensions), where(["a", "d"], dimensions)
    ('all 2D templates', 'a, d')
    """
    names = [", ".join(templates)]
    for text, members in (
        ("all templates", list(dimensions)),
        ("all 2D templates", [name for name, axes in dimensions.items() if axes == 2]),
        ("all 3D templates", [name for name, axes in dimensions.items() if axes == 3]),
    ):
        left_out = [name for name in members if name not in templates]
        if not left_out and len(members) == len(templates):
            return text
        if set(templates) <= set(members):
            names.append(f"{text} but {', '.join(left_out)}")
    return min(names, key=len)


def values_of(defaults, meanings):
    """Say which kind of values a variable takes, as `utils.command_line.apply_overrides` sees it.

    Parameters
    ----------
    defaults : iterable of str
        As written in the templates.
    meanings : iterable of str
        The comments there.

    Returns
    -------
    str

    Examples
    --------
    >>> values_of(["None", "(0.94, 0.06)"], ["weights of the pixel in the middle, or None"])
    'tuple of numbers, None'
    """
    kinds, text = [], " ".join(meanings)
    for value in map(ast.literal_eval, defaults):
        if isinstance(value, tuple):
            parts = {KINDS.get(type(part), type(part).__name__) for part in value}
            kinds.append(f"tuple of {' or '.join(sorted(parts))}s" if parts else "tuple")
        elif value is not None:
            kinds.append(KINDS.get(type(value), type(value).__name__))
    if not kinds:
        return "None, or as the meaning says"
    one_each = "one each" in text and not any(kind.startswith("tuple") for kind in kinds)
    kinds += ["tuple with one for each axis or pooling"] * one_each
    kinds += ["None"] * ("None" in defaults or "None" in text)
    return ", ".join(dict.fromkeys(kinds))


def make_page(paths):
    """Return the text of the page.

    Parameters
    ----------
    paths : list of Path
        Templates.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        As ``read_variables``.
    """
    variables, dimensions = read_variables(paths)
    lines = [TITLE]
    for group in dict.fromkeys(entry["group"] for entry in variables.values()):
        lines.append(f"## {group}\n")
        for name, entry in variables.items():
            if entry["group"] == group:
                lines += _describe(name, entry, dimensions)
    return "\n".join(lines).rstrip() + "\n"


def _describe(name, entry, dimensions):
    meanings, defaults = entry["meanings"], entry["defaults"]
    templates = [template for members in defaults.values() for template in members]
    most_common = Counter({default: len(members) for default, members in defaults.items()}).most_common()
    shown = [f"`{most_common[0][0]}`"]
    shown += [f"`{default}` in {where(defaults[default], dimensions)}" for default, _ in most_common[1:]]
    lines = [f"### {name}\n"]
    for text, members in meanings.items():
        lines.append(f"- {text}" + (f" (*{where(members, dimensions)}*)" if len(meanings) > 1 else ""))
    lines += [
        f"- Values: {values_of(defaults, meanings)}",
        f"- Default: {'; '.join(shown)}",
        f"- In {where(sorted(templates, key=list(dimensions).index), dimensions)}\n",
    ]
    return lines


if __name__ == "__main__":
    write_text(PAGE, make_page(template_files()))
    print(f"{PAGE.relative_to(ROOT)} written.")
