"""Fine-tuning: take over the weights of another run wherever they fit, and freeze layers."""

import tempfile
from pathlib import Path

import h5py

from utils.errors import check_choice
from utils.files import why_not_there
from utils.training.weights import check_weights


def load_matching_weights(model, path):
    """Load the weights of another run into the layers where they fit; the others keep theirs.

    Keras stores layers by kind and number (``conv2d``, ``conv2d_1``, ...). A layer takes the weights stored under its
    kind and number if all shapes agree. So a network with another number of classes takes over all but its last layer,
    one with other input channels all but its first. Call it before the network is compiled. It does not load the
    optimizer.

    Prints how many layers fit, and the shapes of each that does not.

    Parameters
    ----------
    model : keras.Model
        The network to be trained.
    path : str or Path
        A ``.weights.h5`` file of another run, e.g. its ``checkpoints/best.weights.h5``.

    Returns
    -------
    list of str
        Names of the layers with weights that do not fit.

    Raises
    ------
    ValueError
        If the file is missing, holds no weights or NaN, or less than half of the layers fit.
    """
    if not Path(path).is_file():
        raise ValueError(
            f"the weights file {why_not_there(path)}. Give the path of a best.weights.h5 of an earlier run."
        )
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / "merged.weights.h5"
        model.save_weights(merged)
        n_layers, misfits = _copy_fitting(path, merged)
        _check_share(path, n_layers, misfits)
        model.load_weights(merged)
        check_weights(model, path)
    print(f"Weights of {path}: {n_layers - len(misfits)} of {n_layers} layers fit.")
    for name, reason in misfits.items():
        print(f"  {name} keeps its own: {reason}")
    return list(misfits)


def _copy_fitting(path, merged):
    """Overwrite in ``merged`` what fits; return the number of layers, and the misfits with their shapes."""
    n_layers, misfits = 0, {}
    try:
        source = h5py.File(path)
    except OSError as error:
        raise ValueError(f"{path} is not a weights file: {error}. Give a best.weights.h5 of an earlier run.") from error
    with source, h5py.File(merged, "r+") as target:
        for place in _layers_with_weights(target):
            own, other = target[place], source.get(place, {})
            shapes, wanted = _shapes(other), _shapes(own)
            n_layers += 1
            if shapes == wanted:
                for name in own:
                    own[name][...] = other[name][...]
            else:
                found = f"{_listed(shapes)} in the file" if shapes else "not in the file"
                misfits[own.attrs.get("name", place)] = f"{_listed(wanted)} here, {found}"
    return n_layers, misfits


def _layers_with_weights(file):
    """Return the groups of a weights file that hold the weights of a layer; the seeds of dropout do not count."""
    places = []

    def collect(place, entry):
        is_layer = place.startswith("layers/") and place.endswith("/vars") and "seed_generator" not in place
        if is_layer and isinstance(entry, h5py.Group) and len(entry):
            places.append(place)

    file.visititems(collect)
    return places


def _shapes(group):
    return [group[name].shape for name in sorted(group, key=int)]


def _listed(shapes):
    return ", ".join(map(str, shapes))


def _check_share(path, n_layers, misfits):
    if n_layers - len(misfits) < max(1, n_layers / 2):
        examples = "; ".join(f"{name}: {reason}" for name, reason in list(misfits.items())[:3])
        raise ValueError(
            f"{path} does not fit this network: {n_layers - len(misfits)} of {n_layers} layers ({examples}). Use the "
            "network and the FEATURE_MAPS of the run that wrote it."
        )


def freeze_layers(model, *, until):
    """Freeze the first layers of a network; normalisation in them uses its stored statistics.

    Call it before the network is compiled.

    Parameters
    ----------
    model : keras.Model
        The network.
    until : str
        Name of the last frozen layer, in the order of the summary: ``max_pooling2d_3`` is the end of the encoder of a
        2D U-Net with four poolings.

    Returns
    -------
    list of str
        Names of the frozen layers that have weights.

    Raises
    ------
    ValueError
        If there is no such layer, or nothing remains to be trained.
    """
    names = [layer.name for layer in model.layers]
    check_choice("FREEZE_UNTIL", until, tuple(names))
    frozen = model.layers[: names.index(until) + 1]
    for layer in frozen:
        layer.trainable = False
    if not model.trainable_variables:
        raise ValueError(f"FREEZE_UNTIL {until!r} leaves nothing to be trained. Name an earlier layer.")
    with_weights = [layer.name for layer in frozen if layer.weights]
    print(f"Frozen: {', '.join(with_weights) or 'nothing'}.")
    return with_weights
