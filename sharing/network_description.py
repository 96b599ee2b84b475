"""What a user of an exported network must know: axes, sizes, grey values, channels, what to cite."""

import json

from utils.images.intensity import ZScore, black_and_white
from utils.runs.record import RunRecord

CITATION = {
    "text": "Franco-Barranco D, Muñoz-Barrutia A, Arganda-Carreras I. Stable deep neural network architectures for "
    "mitochondria segmentation on electron microscopy volumes. Neuroinformatics 2022, arXiv 2104.03577.",
    "doi": "10.48550/arXiv.2104.03577",
}
MIXED = ("mixed_bfloat16", "mixed_float16")
README_NAME, DESCRIPTION_NAME = "README.md", "description.json"


def describe_run(run, *, strides, name="", description="", authors=(), license="CC-BY-4.0"):
    """Describe the network of a finished run for users of other programs.

    Parameters
    ----------
    run : str or Path
        As `utils.runs.record.RunRecord`.
    strides : tuple of int
        What must divide the sides of images, ``(y, x)`` or ``(z, y, x)``.
    name, description : str
        Empty: made from the name of the network and what it predicts.
    authors : sequence of str
        Names.
    license : str
        SPDX identifier.

    Returns
    -------
    dict
        Content of ``description.json``.
    """
    record = RunRecord(run)
    content = record.network()
    axes, channels = "zyx"[-len(strides) :], output_channels(content)
    title = content["network"]["config"].get("name", "network").replace("_", " ")
    return {
        "name": name or f"{title} for electron microscopy",
        "description": description
        or f"{title}, predicts probabilities of {', '.join(channels)} in electron microscopy images.",
        "authors": list(authors),
        "license": license,
        "cite": [CITATION],
        "run": record.name,
        "template": content["template"],
        "versions": content["versions"],
        "input": {
            "axes": f"n{axes}c",
            "channels": content["crop_shape"][-1],
            "dtype": content["dtype"] or "uint8",
            "crop_shape": content["crop_shape"],
            "divisible_by": dict(zip(axes, strides, strict=True)),
            "voxel_size_nm": voxel_size(content["voxel_size_nm"], len(axes)),
            "preprocessing": preprocessing(content),
        },
        "output": {"axes": f"n{axes}c", "channels": channels, "dtype": "float32", "range": [0, 1]},
        "precision": "float32",
        "trained_in": next((policy for policy in MIXED if policy in json.dumps(content["network"])), "float32"),
        "scores": _scores(record.scores),
    }


def preprocessing(content):
    """Return the steps from stored grey values to the input of the network, as bioimage.io names them.

    Parameters
    ----------
    content : dict
        From `utils.runs.record.RunRecord.network`.

    Returns
    -------
    list of dict
        ``{"id": ..., "kwargs": {...}}`` each; none if the network takes floats 0 .. 1 as they are.

    Examples
    --------
    >>> common = {"normalisation": "dtype", "dtype": "uint8"}
    >>> preprocessing(common | {"intensity_range": (50, 250)})  # doctest: +NORMALIZE_WHITESPACE
    [{'id': 'scale_linear', 'kwargs': {'gain': 0.005, 'offset': -0.25}},
     {'id': 'clip', 'kwargs': {'min': 0.0, 'max': 1.0}}]
    """
    grey, clip = content["intensity_range"], {"id": "clip", "kwargs": {"min": 0.0, "max": 1.0}}
    if content["normalisation"] == "percentile_per_image":
        low, high = content["percentiles"]
        kwargs = {"min_percentile": low, "max_percentile": high, "eps": 1e-6}
        return [{"id": "scale_range", "kwargs": kwargs}, clip]
    if isinstance(grey, ZScore):
        return [{"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": grey.mean, "std": grey.std}}]
    low, high = black_and_white(content["dtype"] or "uint8", grey)
    kwargs = {"gain": 1 / (high - low), "offset": -low / (high - low) if low else 0.0}
    scale = [{"id": "scale_linear", "kwargs": kwargs}] if kwargs != {"gain": 1, "offset": 0} else []
    return scale + ([clip] if grey else [])


def output_channels(content):
    """Return what each channel of a prediction is.

    Parameters
    ----------
    content : dict
        As `preprocessing`.

    Returns
    -------
    list of str
    """
    if content["instance_targets"]:
        return list(content["instance_targets"])
    if content["n_classes"] == 1:
        return ["foreground"]
    return ["background", *(f"class {number}" for number in range(1, content["n_classes"]))]


def voxel_size(size, n_axes):
    """Return the voxel size of a run along each axis.

    Parameters
    ----------
    size : float, list of float or None
        Nanometres as recorded: one for all axes, or one for each of ``(y, x)`` or ``(z, y, x)``; None: not known.
    n_axes : int
        2 or 3. If the third axis is missing, the size along y is used.

    Returns
    -------
    list of float or None
        Along ``(y, x)`` or ``(z, y, x)``.

    Examples
    --------
    >>> voxel_size([30, 3, 3], 3), voxel_size(5, 2), voxel_size(None, 3)
    ([30.0, 3.0, 3.0], [5.0, 5.0], None)
    """
    if size is None:
        return None
    sizes = [float(length) for length in (size if isinstance(size, list | tuple) else [size] * n_axes)]
    return sizes[-n_axes:] if len(sizes) >= n_axes else [sizes[0], *sizes]


def readme(description, files):
    """Return a description as Markdown.

    Parameters
    ----------
    description : dict
        From `describe_run`.
    files : dict of str to str
        Explanation of each file, by its name.

    Returns
    -------
    str
    """
    given, got = description["input"], description["output"]
    sizes = ", ".join(f"{axis} by {step}" for axis, step in given["divisible_by"].items())
    steps = "".join(f"1. {_step_in_words(step)}\n" for step in given["preprocessing"]) or "None.\n"
    size = given["voxel_size_nm"]
    rows = "".join(f"| `{name}` | {what} |\n" for name, what in files.items())
    scores = "".join(f"- {row['label']}: {row['value']:.4f}\n" for row in description["scores"]) or "None on record.\n"
    cite = "".join(f"- {entry['text']} doi:{entry['doi']}\n" for entry in description["cite"])
    return f"""# {description["name"]}

{description["description"]}

| file | what |
| --- | --- |
{rows}
## Input

Axes `{given["axes"]}`, {given["channels"]} channel(s), float32 after the preprocessing. Trained on crops of
{tuple(given["crop_shape"])}; sides must be divisible along {sizes}.
{f"Voxel size of the training: {tuple(size)} nm." if size else "The voxel size of the training is not on record."}

## Preprocessing

From stored grey values ({given["dtype"]}) to the input of the network:

{steps}
## Output

Axes `{got["axes"]}`, float32, probabilities 0 .. 1 of: {", ".join(got["channels"])}. {_mask_in_words(got["channels"])}

## Validation

Scores of the run on its test images:

{scores}
Predict images with known masks, take the mask as above, and compare by intersection over union.

## Citation and licence

{cite}
Authors: {", ".join(description["authors"]) or "not stated"}. Licence: {description["license"]}.

The network computes in float32; it was trained in {description["trained_in"]}.
"""


def _step_in_words(step):
    kwargs = step["kwargs"]
    if step["id"] == "scale_linear":
        return f"grey value * {kwargs['gain']:.9g} + {kwargs['offset']:.9g}"
    if step["id"] == "fixed_zero_mean_unit_variance":
        return f"(grey value - {kwargs['mean']:.9g}) / {kwargs['std']:.9g}"
    if step["id"] == "scale_range":
        low, high = kwargs["min_percentile"], kwargs["max_percentile"]
        return f"in each image or volume, percentile {low:g} becomes 0 and percentile {high:g} becomes 1"
    return f"clip to {kwargs['min']:g} .. {kwargs['max']:g}"


def _mask_in_words(channels):
    if len(channels) > 1 and channels[0] == "background":
        return "The mask is the most probable class."
    return "The mask is where the probability is above 0.5."


def _scores(scores):
    """Return some IoU of the run: of merged images without post-processing, otherwise the first ones."""
    scores = [row for row in scores if row["metric"].endswith("iou") and isinstance(row["value"], float)]
    merged = [row for row in scores if (row["protocol"], row["post"]) == ("per_image", "none")]
    return [{key: row[key] for key in ("label", "value", "n")} for row in (merged or scores)[:4]]
