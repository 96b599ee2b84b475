"""The formats in which a network can be shared, and what each needs; does not load Keras."""

import importlib.util
from typing import NamedTuple

from utils.errors import check_choice

INSTALL = "pip install -r env/requirements-sharing.txt"
ONNX_PACKAGES = ("tf2onnx", "onnx", "onnxruntime")


class Format(NamedTuple):
    """A format: the file or folder to write, what it is, and the additional packages it needs."""

    file: str
    what: str
    packages: tuple


FORMATS = {
    "keras": Format("model.keras", "the network with weights: keras.saving.load_model", ()),
    "savedmodel": Format("saved_model", "the network with weights, for TensorFlow: signature serving_default", ()),
    "onnx": Format("model.onnx", "the network with weights, for onnxruntime and other readers of ONNX", ONNX_PACKAGES),
    "bioimageio": Format(
        "bioimageio.zip", "all this as a package of bioimage.io", (*ONNX_PACKAGES, "bioimageio.spec", "bioimageio.core")
    ),
}


def format_problems(formats, *, backend):
    """Say why formats cannot be written.

    Parameters
    ----------
    formats : sequence of str
        Of ``FORMATS``.
    backend : str
        Backend of Keras; TensorFlow writes all formats, the others only ``keras``.

    Returns
    -------
    list of str
        One clause each.

    Examples
    --------
    >>> format_problems(["savedmodel"], backend="jax")
    ['savedmodel cannot be written with the backend jax; start with KERAS_BACKEND=tensorflow']
    """
    for name in formats:
        check_choice("--as", name, tuple(FORMATS))
    problems, others = [], [name for name in formats if name != "keras"]
    missing = sorted({package for name in formats for package in FORMATS[name].packages if not _is_there(package)})
    if missing:
        problems.append(f"{', '.join(missing)} must be installed: {INSTALL}")
    if others and backend != "tensorflow":
        problems.append(
            f"{', '.join(others)} cannot be written with the backend {backend}; start with KERAS_BACKEND=tensorflow"
        )
    return problems


def _is_there(package):
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:  # the package that it is a part of is missing
        return False
