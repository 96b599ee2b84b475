"""Write a network in the formats of other programs, read it back with their readers, and compare."""

import keras
import numpy as np

# Largest difference allowed between probabilities of the run and of the network that was read back.
TOLERANCE = 1e-4


def plain_network(model):
    """Return a network without what only training needs: optimizer, loss, further outputs.

    Parameters
    ----------
    model : keras.Model
        Functional, with one input; the first of several outputs is the prediction.

    Returns
    -------
    keras.Model
        Shares the layers and weights.
    """
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def own_modules(model):
    """Return the modules of layers that are not of Keras, which a reader of ``.keras`` must import.

    Parameters
    ----------
    model : keras.Model
        Networks within it count too.

    Returns
    -------
    list of str
    """
    found = set()
    for layer in model.layers:
        module = type(layer).__module__
        found |= {module} if module.split(".")[0] != "keras" else set()
        found |= set(own_modules(layer)) if isinstance(layer, keras.Model) else set()
    return sorted(found)


def write_checked(model, path, *, format, inputs):
    """Write a network, read it back with the reader of the format, and compare what it predicts.

    Parameters
    ----------
    model : keras.Model
        From `plain_network`, in float32.
    path : Path
        File or folder to write.
    format : str
        ``keras``, ``savedmodel`` or ``onnx``.
    inputs : list of numpy.ndarray
        Batches as the network gets them, float32 ``(n, y, x, c)`` or ``(n, z, y, x, c)``.

    Returns
    -------
    float
        Largest difference of a probability.

    Raises
    ------
    ValueError
        If that is above ``TOLERANCE``.
    """
    predict = {"keras": _through_keras, "savedmodel": _through_savedmodel, "onnx": _through_onnx}[format](model, path)
    largest = 0.0
    for batch in inputs:
        wanted, got = np.asarray(model.predict_on_batch(batch)), predict(batch)
        difference = float(np.abs(wanted - got).max()) if wanted.shape == got.shape else np.inf
        largest = max(largest, difference)
        if not difference <= TOLERANCE:  # NaN too
            raise ValueError(
                f"{path.name}, read back, predicts otherwise than the run: {got.shape} instead of {wanted.shape}, "
                f"differing by up to {difference:.2g} (allowed {TOLERANCE:g}). Nothing is kept; use another format."
            )
    return largest


def _through_keras(model, path):
    model.save(path)
    again = keras.saving.load_model(path, compile=False)
    return lambda batch: np.asarray(again.predict_on_batch(batch))


def _through_savedmodel(model, path):
    model.export(path, format="tf_saved_model", verbose=False)
    serve = keras.layers.TFSMLayer(str(path), call_endpoint="serving_default")

    def predict(batch):
        (found,) = keras.tree.flatten(serve(batch))
        return np.asarray(found)

    return predict


def _through_onnx(model, path):
    import onnxruntime

    model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]
