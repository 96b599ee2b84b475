"""The file beside the weights of a run that tells what a prediction with them needs, the network itself included."""

import importlib
import json
from pathlib import Path

import keras

from utils.errors import check_choice
from utils.files import read_json, write_json
from utils.finished_run import NETWORK_NAME, PRECISIONS

MIXED = ("mixed_bfloat16", "mixed_float16")
# Where layers may come from: modules of this repository, which register them when they are imported.
OWN_PACKAGES = ("networks", "sota_implementations")
DROPOUTS = ("Dropout", "SpatialDropout2D", "SpatialDropout3D")
# What the description of a layer holds that changes no prediction with given weights.
WITHOUT_EFFECT = ("name", "dtype", "trainable", "batch_shape", "momentum")
TRAINING_ONLY = ("_initializer", "_regularizer", "_constraint")
SHOWN_CHANGES = 6


def write_network(run, model, batches):
    """Write ``checkpoints/network.json``: the network, how it was fed, and the settings of the run.

    A network with a layer that cannot be described is trained all the same, and said to be lost for later.

    Parameters
    ----------
    run : Run
        Its ``settings.json`` and ``environment.json`` are copied from, if they are there.
    model : keras.Model
        What is trained.
    batches : PairBatches
        What it is trained on: tells crop, batch size, grey values and dtype.
    """
    settings_file, environment_file = run.folder / "settings.json", run.folder / "environment.json"
    written = read_json(settings_file) if settings_file.exists() else {}
    environment = read_json(environment_file) if environment_file.exists() else {}
    settings, arrays = written.get("settings", {}), getattr(batches, "_parts", None)
    grey = batches.intensity_range
    try:
        network = network_config(model)
    except NotImplementedError as error:  # what Keras raises for a layer without get_config
        print(
            f"No {NETWORK_NAME} is written, so this run cannot predict new images: {str(error).strip().splitlines()[0]}"
        )
        return
    content = {
        "crop_shape": [*batches.crop_shape, model.inputs[0].shape[-1]],
        "n_classes": model.outputs[0].shape[-1],
        "batch_size": batches.batch_size,
        "normalisation": settings.get("NORMALISATION", "dtype"),
        "percentiles": settings.get("PERCENTILES", (1.0, 99.0)),
        "intensity_range": grey._asdict() if hasattr(grey, "_asdict") else grey,
        "dtype": str(arrays[0][0].dtype) if arrays else None,
        "instance_targets": settings.get("INSTANCE_TARGETS", ()),
        "template": written.get("command", [None])[0],
        "versions": environment.get("versions", {}),
        "settings": settings,
        "network": network,
    }
    write_json(run.checkpoints / NETWORK_NAME, content)


def network_config(model):
    """Return what a network can be built from again, on any backend; neither weights nor loss and optimizer.

    Parameters
    ----------
    model : keras.Model
        Made of layers of Keras and registered ones.

    Returns
    -------
    dict
        Made of what JSON knows.
    """
    config = json.loads(model.to_json())
    config.pop("compile_config", None)
    return config


def build_network(config, *, precision="trained", sides=None):
    """Build a network from its description, with random weights.

    Parameters
    ----------
    config : dict
        From `network_config`.
    precision : str
        ``trained``: the number format of the training; ``float32``: in place of 16-bit formats, for processors that
        are slow with these.
    sides : tuple of int, optional
        Build it for images of this size instead of any.

    Returns
    -------
    keras.Model
        Not compiled.

    Raises
    ------
    ValueError
        If the precision is unknown, or a layer is none of Keras or this repository and was not registered before.

    Examples
    --------
    >>> model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(2, 3)])
    >>> build_network(network_config(model)).output_shape
    (None, None, None, 2)
    """
    check_choice("PRECISION", precision, PRECISIONS)
    _register_layers(config)
    # A copy, because Keras takes apart what it is given.
    config = _replaced(config, dict.fromkeys(MIXED, "float32") if precision == "float32" else {})
    if sides is not None:
        shape = _input_layer(config)["config"]["batch_shape"]
        _input_layer(config)["config"]["batch_shape"] = [shape[0], *sides, shape[-1]]
    return keras.saving.deserialize_keras_object(config)


def total_strides(config, *, side=1024):
    """Return by how much a network reduces each axis from top to bottom; it divides the sides of images.

    Parameters
    ----------
    config : dict
        From `network_config`; a functional model.
    side : int
        A power of two, more than the answer: the network is built for images of this size, without computing anything.

    Returns
    -------
    tuple of int
        ``(y, x)`` or ``(z, y, x)``.

    Examples
    --------
    >>> image = keras.Input((None, None, 1))
    >>> pooled = keras.layers.MaxPooling2D((1, 4))(keras.layers.MaxPooling2D(2)(image))
    >>> total_strides(network_config(keras.Model(image, keras.layers.UpSampling2D((2, 8))(pooled))))
    (2, 8)
    """
    n_axes = len(_input_layer(config)["config"]["batch_shape"]) - 2
    model = build_network(config, sides=(side,) * n_axes)
    # Inputs too: what leaves a network in the network is known where it goes in.
    tensors = keras.tree.flatten([[layer.input, layer.output] for layer in model.layers])
    sizes = [tensor.shape[1:-1] for tensor in tensors if len(tensor.shape) == n_axes + 2]
    # Means over the whole image have the size 1 and reduce nothing that comes back.
    sizes = [size for size in sizes if None not in size and min(size) > 1]
    return tuple(max(side // size for size in along) for along in zip(*sizes, strict=True))


def check_same_network(model, weights, settings):
    """Check that weights of another run mean the same in a network: that the network of that run computes the same.

    Weights can fit and mean something else, as those of another gate or of an encoder that wants its images scaled.
    Number formats, dropout and initial values may differ. Nothing is checked without ``network.json`` beside the file.

    Parameters
    ----------
    model : keras.Model
        What the weights are to be loaded into.
    weights : str or Path
        A ``.weights.h5`` file.
    settings : dict
        Variables of the template; those that differ are named.

    Raises
    ------
    ValueError
        If that network has other layers, joined in another way or with other options.
    """
    path = Path(weights).with_name(NETWORK_NAME)
    content = read_json(path) if path.is_file() else {}
    if "network" not in content or _same_layers(_layers(content["network"]), _layers(network_config(model))):
        return
    now = json.loads(json.dumps(settings))
    changes = [
        f"{key} was {old}, is {now[key]}" for key, old in content["settings"].items() if now.get(key, old) != old
    ]
    more = f" and {len(changes) - SHOWN_CHANGES} more" * (len(changes) > SHOWN_CHANGES)
    raise ValueError(
        f"LOAD_WEIGHTS: {weights} was trained in another network than this one ({path} describes it). Variables that "
        f"differ: {'; '.join(changes[:SHOWN_CHANGES]) or 'none'}{more}. Use its template and settings for the network."
    )


def _layers(config):
    """Return kind, places of the sources and options of each layer but dropout, in the order of their weights."""
    places, found = {}, []
    for layer in config["config"]["layers"]:
        name, nodes = layer["config"]["name"], layer.get("inbound_nodes")
        # Of a Sequential each layer follows the one before.
        sources = [len(found) - 1] if nodes is None else [places[source] for source in _sources(nodes)]
        if layer["class_name"] in DROPOUTS:
            places[name] = sources[0]
            continue
        places[name] = len(found)
        options = {
            key: value
            for key, value in layer["config"].items()
            if key not in WITHOUT_EFFECT and not key.endswith(TRAINING_ONLY)
        }
        if "layers" in options:
            options = {"network": _layers(layer)}
        found.append((layer["class_name"], sources, options))
    return found


def _sources(part):
    """Return the names of the layers whose tensors are in a description of what goes into a layer."""
    if isinstance(part, list):
        return [name for entry in part for name in _sources(entry)]
    if not isinstance(part, dict):
        return []
    if part.get("class_name") == "__keras_tensor__":
        return [part["config"]["keras_history"][0]]
    return [name for entry in part.values() for name in _sources(entry)]


def _same_layers(before, now):
    """Tell whether layers are the same; an option that only one version of Keras writes down does not count."""

    def same(old, new):
        if old[:2] != new[:2]:
            return False
        if "network" in old[2] and "network" in new[2]:
            return _same_layers(old[2]["network"], new[2]["network"])
        return all(old[2][key] == new[2][key] for key in old[2].keys() & new[2].keys())

    return len(before) == len(now) and all(map(same, before, now))


def _register_layers(config):
    """Import the modules of this repository that the layers come from."""
    for module, name, registered in sorted(_foreign_classes(config)):
        if keras.saving.get_registered_object(registered) is None:
            if module.split(".")[0] not in OWN_PACKAGES:
                raise ValueError(
                    f"the network has the layer {name} of {module}, which is neither of Keras nor of this repository. "
                    "Register it with keras.saving.register_keras_serializable and import its module before."
                )
            importlib.import_module(module)


def _foreign_classes(part):
    """Return module, class and registered name of everything in a description that is not of Keras."""
    if isinstance(part, list):
        return set().union(*map(_foreign_classes, part))
    if not isinstance(part, dict):
        return set()
    found = set().union(*map(_foreign_classes, part.values()))
    module, name, registered = (part.get(key) for key in ("module", "class_name", "registered_name"))
    if module and registered and module.split(".")[0] not in ("keras", "builtins"):
        found.add((module, name, registered))
    return found


def _replaced(part, names):
    if isinstance(part, dict):
        return {key: _replaced(value, names) for key, value in part.items()}
    if isinstance(part, list):
        return [_replaced(value, names) for value in part]
    return names.get(part, part) if isinstance(part, str) else part


def _input_layer(config):
    return next(layer for layer in config["config"]["layers"] if layer["class_name"] == "InputLayer")
