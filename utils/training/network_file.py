"""The file beside the weights of a run that holds what a prediction with them needs, the network itself included."""

import importlib
import json
from pathlib import Path

import keras

from utils.command_line import check_prediction_precision
from utils.files import read_json, write_json
from utils.runs.record import NETWORK_NAME, RunRecord

MIXED = ("mixed_bfloat16", "mixed_float16")
# Packages of this repository that register their layers when they are imported.
OWN_PACKAGES = ("networks", "sota_implementations")
HOW_TO_REGISTER = (
    "Put its class into a module in networks/, above it @keras.saving.register_keras_serializable(), and give it a "
    "get_config() with all its arguments."
)
DROPOUTS = ("Dropout", "SpatialDropout2D", "SpatialDropout3D")
# Options of a layer that change no prediction with given weights.
WITHOUT_EFFECT = ("name", "dtype", "trainable", "batch_shape", "momentum", "seed")
TRAINING_ONLY = ("_initializer", "_regularizer", "_constraint")
# Sides of the images that `total_strides` builds a network for: a power of two above any product of strides.
LARGE_SIDE = 1024


def write_network(run, model, data, *, batch_size):
    """Write ``checkpoints/network.json``: the network, how it was fed, and the settings of the run.

    Parameters
    ----------
    run : Run
        Its folder tells settings, template and versions.
    model : keras.Model
        What is trained.
    data : NetworkInput
        What is known about the training images.
    batch_size : int
        Crops per step.

    Raises
    ------
    ValueError
        If a layer could not be built again for a prediction: it is neither of Keras nor of this repository, or does not
        say how it was made.
    """
    record, grey = RunRecord(run.folder), data.intensity_range
    try:
        network = network_config(model)
    except NotImplementedError as error:  # what Keras raises for a layer without get_config
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"the trained network could not be loaded again: {reason} {HOW_TO_REGISTER}") from error
    for module, name, _ in sorted(_foreign_classes(network)):
        if module.split(".")[0] not in OWN_PACKAGES:
            raise ValueError(
                f"the trained network could not be loaded again: the layer {name} of {module} is neither of Keras nor "
                f"of this repository. {HOW_TO_REGISTER}"
            )
    content = {
        "crop_shape": data.crop_shape,
        "n_classes": model.outputs[0].shape[-1],
        "batch_size": batch_size,
        "normalisation": data.normalisation,
        "percentiles": data.percentiles,
        "intensity_range": grey._asdict() if hasattr(grey, "_asdict") else grey,
        "dtype": data.dtype,
        "instance_targets": data.instance_targets,
        "voxel_size_nm": data.voxel_size_nm,
        "template": record.command[0] if record.command else None,
        "versions": record.environment.get("versions", {}),
        "settings": record.settings,
        "network": network,
    }
    write_json(run.checkpoints / NETWORK_NAME, content)


def network_config(model):
    """Return a description from which a network can be built again on any backend, without weights, loss and optimizer.

    Parameters
    ----------
    model : keras.Model
        Made of layers of Keras and registered ones.

    Returns
    -------
    dict
        Can be written as JSON.
    """
    config = json.loads(model.to_json())
    config.pop("compile_config", None)
    return config


def build_network(config, *, precision="auto", sides=None):
    """Build a network from its description, with random weights.

    Parameters
    ----------
    config : dict
        From `network_config`.
    precision : str
        ``auto``: the number format of the training. ``float32``: instead of 16-bit formats, for processors that are
        slow with these.
    sides : tuple of int, optional
        Build it for images of this size instead of any.

    Returns
    -------
    keras.Model
        Not compiled.

    Raises
    ------
    ValueError
        If the precision is unknown, or a layer is neither of Keras nor of this repository nor registered before.
    """
    check_prediction_precision(precision)
    _register_layers(config)
    # A copy, because Keras takes apart what it is given.
    config = _replaced(config, dict.fromkeys(MIXED, "float32") if precision == "float32" else {})
    if sides is not None:
        shape = _input_layer(config)["config"]["batch_shape"]
        _input_layer(config)["config"]["batch_shape"] = [shape[0], *sides, shape[-1]]
    return keras.saving.deserialize_keras_object(config)


def total_strides(config):
    """Return by how much a network reduces each axis from top to bottom; the sides of images must be divisible by it.

    The network is built for one size to find out, without computing anything.

    Parameters
    ----------
    config : dict
        From `network_config`; a functional model.

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
    model = build_network(config, sides=(LARGE_SIDE,) * n_axes)
    # Inputs too: the size of what leaves a network within the network is known only at the next layer.
    tensors = keras.tree.flatten([[layer.input, layer.output] for layer in model.layers])
    sizes = [tensor.shape[1:-1] for tensor in tensors if len(tensor.shape) == n_axes + 2]
    # Means over the whole image have the size 1; they need no divisible sides.
    sizes = [size for size in sizes if None not in size and min(size) > 1]
    return tuple(max(LARGE_SIDE // size for size in along) for along in zip(*sizes, strict=True))


def check_same_network(model, weights, settings):
    """Check that the network of another run computes the same as this one, before its weights are loaded.

    Weights can fit and mean something else, as those of another gate or of an encoder that wants its images scaled.
    Number formats, dropout and initial values may differ. Without ``network.json`` beside the weights nothing is
    checked.

    Parameters
    ----------
    model : keras.Model
        Will get the weights.
    weights : str or Path
        A ``.weights.h5`` file.
    settings : dict
        Variables of the template; the message names those that differ.

    Raises
    ------
    ValueError
        If that network has other layers, other connections or other options.
    """
    path = Path(weights).with_name(NETWORK_NAME)
    content = read_json(path) if path.is_file() else {}
    if "network" not in content or _same(_computation(content["network"]), _computation(network_config(model))):
        return
    before, now = content["settings"], json.loads(json.dumps(settings))
    changed = [key for key, old in before.items() if now.get(key, old) not in (old, str(weights))]
    changes = "; ".join(f"{key} was {before[key]}, is {now[key]}" for key in changed)
    raise ValueError(
        f"LOAD_WEIGHTS: {weights} was trained in another network than this one ({path} describes it). Variables that "
        f"differ: {changes or 'none'}. Use its template and settings for the network."
    )


def _computation(config):
    """Return kind, options and inputs of each layer but dropout, in the order of their weights, and the outputs.

    A tensor is named by the place of its layer in this order.
    """
    layers = config["config"]["layers"]
    names = [layer["config"].get("name", layer.get("name")) for layer in layers]
    dropouts = {
        name: _tensors(layer.get("inbound_nodes"))[:1]
        for name, layer in zip(names, layers, strict=True)
        if layer["class_name"] in DROPOUTS
    }
    places = {name: place for place, name in enumerate(name for name in names if name not in dropouts)}

    def told(part):
        if isinstance(part, list):
            return [told(entry) for entry in part]
        if not isinstance(part, dict):
            return part
        if part.get("class_name") == "__keras_tensor__":
            return tensor(*part["config"]["keras_history"])
        return {key: told(value) for key, value in part.items() if value is not None}

    def tensor(name, *node):
        while dropouts.get(name):
            name, *node = dropouts[name][0]
        return [places.get(name), *node]

    found = []
    for name, layer in zip(names, layers, strict=True):
        if name in places:
            options = {"network": _computation(layer)} if "layers" in layer["config"] else _options(layer["config"])
            found.append([layer["class_name"], options, told(layer.get("inbound_nodes"))])
    outputs = config["config"].get("output_layers") or []
    outputs = [outputs] if outputs and isinstance(outputs[0], str) else outputs
    return {"layers": found, "outputs": [tensor(*output) for output in outputs]}


def _options(config):
    """Return the options of a layer that decide what it predicts."""
    return {key: config[key] for key in config if key not in WITHOUT_EFFECT and not key.endswith(TRAINING_ONLY)}


def _tensors(part):
    """Return layer, node and number of each tensor in a description of what goes into a layer."""
    if isinstance(part, list):
        return [tensor for entry in part for tensor in _tensors(entry)]
    if not isinstance(part, dict):
        return []
    if part.get("class_name") == "__keras_tensor__":
        return [part["config"]["keras_history"]]
    return [tensor for entry in part.values() for tensor in _tensors(entry)]


def _same(old, new):
    """Tell whether descriptions agree; an option that only one of two versions of Keras writes does not count."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        return all(_same(old[key], new[key]) for key in old.keys() & new.keys())
    return old == new


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
    """Return module, class and registered name of everything in a description that does not come from Keras."""
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
