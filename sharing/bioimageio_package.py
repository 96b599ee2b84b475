"""The package of a network for bioimage.io, checked by the libraries of bioimage.io."""

import contextlib
import importlib.metadata
import io

from utils.errors import raise_problems

UNIT = "nanometer"
# Share of the crop that users cut off at each border of a tile.
HALO = 1 / 8


def write_package(path, description, *, weights, tensors, documentation, keras_is_plain, sides):
    """Write the zip of a package and check it: format, test prediction, other sizes and batches.

    Parameters
    ----------
    path : Path
        The zip.
    description : dict
        From `sharing.network_description.describe_run`.
    weights : dict of str to Path
        Files of the formats ``keras`` and ``onnx``.
    tensors : tuple of Path
        ``.npy`` files of a test image in stored grey values and its prediction, ``(1, ..., c)``.
    documentation : Path
        ``README.md`` with a section on validation.
    keras_is_plain : bool
        False leaves the ``.keras`` file out, because it has layers that only this repository has.
    sides : tuple of int or None
        Sizes of the images that the network takes; None: any divisible size.

    Returns
    -------
    list of str
        The checks that passed.

    Raises
    ------
    ValueError
        If the checker refuses the package, with its message.
    """
    from bioimageio.core import test_description
    from bioimageio.spec import InvalidDescr, load_description, save_bioimageio_package
    from bioimageio.spec.model import v0_5

    raise_problems("the bioimage.io package", description_problems(description))
    data_type = _data_type(description["input"]["dtype"])
    model = v0_5.ModelDescr(
        name=description["name"],
        description=description["description"],
        authors=[v0_5.Author(name=author) for author in description["authors"]],
        license=description["license"],
        cite=[v0_5.CiteEntry(**entry) for entry in description["cite"]],
        documentation=v0_5.FileDescr(source=documentation),
        tags=["electron-microscopy", "segmentation", f"{len(sides)}d", "keras"],
        inputs=[_input(v0_5, description, sides, data_type, tensors[0])],
        outputs=[_output(v0_5, description, sides, tensors[1])],
        weights=_weights(v0_5, description, weights, keras_is_plain),
    )
    save_bioimageio_package(model, output_path=path)
    loaded = load_description(path)
    if isinstance(loaded, InvalidDescr):
        raise ValueError(f"the bioimage.io package is not valid: {loaded.get_reason()}")
    with contextlib.redirect_stdout(io.StringIO()):  # progress bars
        summary = test_description(loaded)
    if summary.status != "passed":
        raise ValueError(f"the bioimage.io package does not pass its test:\n{_failures(summary)}")
    return [detail.name for detail in summary.details if detail.status == "passed"]


def description_problems(description):
    """Say in terms of the command line what bioimage.io would refuse.

    Parameters
    ----------
    description : dict
        From `sharing.network_description.describe_run`.

    Returns
    -------
    list of str
        One clause each.
    """
    from bioimageio.spec.model.v0_5 import LicenseId
    from pydantic import TypeAdapter, ValidationError

    problems = []
    if not description["authors"]:
        problems.append("bioimage.io wants authors: give --author NAME, repeatedly for several")
    problems += [f"the author {name!r} has a slash" for name in description["authors"] if set(name) & set("/\\")]
    name = description["name"]
    if not 5 <= len(name) <= 128 or not all((sign.isascii() and sign.isalnum()) or sign in "_+- ()" for sign in name):
        problems.append(f"--name {name!r}: wanted 5 to 128 letters, digits, spaces and _+-()")
    if len(description["description"]) > 1024:
        problems.append("--description has more than 1024 characters")
    try:
        TypeAdapter(LicenseId).validate_python(description["license"])
    except ValidationError:
        problems.append(f"--license {description['license']!r} is none of spdx.org/licenses, such as CC-BY-4.0 or MIT")
    return problems


def _data_type(dtype):
    """Return a dtype if bioimage.io knows it, otherwise float32."""
    known = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
    return dtype if dtype in known else "float32"


def _space_axes(description):
    """Return name, size of the crop, divisor, and voxel size or None, of each axis."""
    given = description["input"]
    sizes = given["voxel_size_nm"] or [None] * len(given["divisible_by"])
    return [
        (name, side, step, size)
        for (name, step), side, size in zip(given["divisible_by"].items(), given["crop_shape"], sizes, strict=False)
    ]


def _scale(size):
    return {} if size is None else {"scale": size, "unit": UNIT}


def _input(v0_5, description, sides, data_type, test_tensor):
    given = description["input"]
    colours = {1: ["grey"], 3: ["red", "green", "blue"]}
    names = colours.get(given["channels"]) or [f"channel {number}" for number in range(given["channels"])]
    axes = [v0_5.BatchAxis()]
    for (name, crop, step, size), side in zip(_space_axes(description), sides, strict=True):
        any_size = v0_5.ParameterizedSize(min=crop, step=step)
        axes.append(
            v0_5.SpaceInputAxis(id=name, size=any_size if side is None else side, concatenable=True, **_scale(size))
        )
    axes.append(v0_5.ChannelAxis(channel_names=names))
    to_float = {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}
    return v0_5.InputTensorDescr(
        id="image",
        axes=axes,
        data=v0_5.IntervalOrRatioDataDescr(type=data_type),
        preprocessing=[
            {"id": "ensure_dtype", "kwargs": {"dtype": data_type}},
            *([] if data_type == "float32" else [to_float]),
            *_over_each_image(given["preprocessing"], description),
            to_float,
        ],
        test_tensor=v0_5.FileDescr(source=test_tensor),
    )


def _over_each_image(steps, description):
    """Compute percentiles over all axes of an image, so that each image has its own."""
    axes = [*description["input"]["divisible_by"], "channel"]
    return [
        {**step, "kwargs": step["kwargs"] | {"axes": axes}} if step["id"] == "scale_range" else step for step in steps
    ]


def _output(v0_5, description, sides, test_tensor):
    axes = [v0_5.BatchAxis()]
    for (name, crop, _, size), side in zip(_space_axes(description), sides, strict=True):
        halo = int(crop * HALO)
        as_input = v0_5.SizeReference(tensor_id="image", axis_id=name)
        if halo and side is None:
            axes.append(v0_5.SpaceOutputAxisWithHalo(id=name, size=as_input, halo=halo, **_scale(size)))
        else:
            axes.append(v0_5.SpaceOutputAxis(id=name, size=as_input, **_scale(size)))
    axes.append(v0_5.ChannelAxis(channel_names=description["output"]["channels"]))
    data = v0_5.IntervalOrRatioDataDescr(type="float32", range=(0.0, 1.0))
    return v0_5.OutputTensorDescr(
        id="probability", axes=axes, data=data, test_tensor=v0_5.FileDescr(source=test_tensor)
    )


def _weights(v0_5, description, weights, keras_is_plain):
    import keras
    import onnx

    # A parent must be in the package; without the Keras file, ONNX counts as the original.
    opset = next(part.version for part in onnx.load(weights["onnx"]).opset_import if not part.domain)
    parent = {"parent": "keras_v3"} if keras_is_plain else {}
    entries = {"onnx": v0_5.OnnxWeightsDescr(source=weights["onnx"], opset_version=opset, **parent)}
    if keras_is_plain:
        entries["keras_v3"] = v0_5.KerasV3WeightsDescr(
            source=weights["keras"], keras_version=keras.__version__, backend=("tensorflow", _tensorflow_version())
        )
    return v0_5.WeightsDescr(**entries)


def _tensorflow_version():
    versions = {package.metadata["Name"]: package.version for package in importlib.metadata.distributions()}
    return next(versions[name] for name in ("tensorflow", "tensorflow-cpu", "tensorflow_cpu") if name in versions)


def _failures(summary):
    """Return the message of the checker for each check that failed."""
    return "\n".join(
        f"{detail.name}: {'; '.join(error.msg for error in detail.errors)}"
        for detail in summary.details
        if detail.status != "passed"
    )
