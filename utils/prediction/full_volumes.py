"""Whether a network can take a whole volume at once."""

import math

import keras

from utils.devices import device_memory

# Memory of a prediction, in largest outputs of a layer: one level, the skips above it and a convolution are there at a
# time. On a CPU we measured 3.1 for the U-Net and 4.2 for the residual one.
OUTPUTS_AT_ONCE = 5
GIB = 2**30


def full_volumes_fit(predictor, volumes, *, wanted=None):
    """Tell whether the memory is enough to predict the largest of some volumes at once, and print it.

    The estimate is five times the largest output of a layer.

    Parameters
    ----------
    predictor : Predictor
        Its network takes any size that its divisor divides.
    volumes : ImageSet
        What is to be predicted.
    wanted : bool, optional
        Returned instead of the estimate.

    Returns
    -------
    bool
        False where the memory is not known.
    """
    if wanted is not None:
        return wanted
    needed = max(bytes_of_prediction(predictor.model, volume.shape, predictor.divisor) for volume in volumes.x)
    free = device_memory()
    fits = free is not None and needed < free
    there = "how much there is is not known" if free is None else f"{free / GIB:.1f} GiB are there"
    print(f"Full volumes need about {needed / GIB:.1f} GiB, {there}: {'predicted' if fits else 'left out'}.")
    return fits


def bytes_of_prediction(model, shape, divisor):
    """Estimate the memory that a network needs for a volume.

    Parameters
    ----------
    model : keras.Model
        Takes any size that the divisor divides.
    shape, divisor : tuple of int
        ``(z, y, x, c)`` and ``(z, y, x)``.

    Returns
    -------
    int
    """
    sides = [-(-size // part) * part for size, part in zip(shape[:3], divisor, strict=True)]
    volume = keras.Input((*sides, shape[-1]), batch_size=1)
    copy = keras.models.clone_model(keras.Model(model.inputs, model.outputs), input_tensors=[volume])
    itemsize = 2 if keras.config.dtype_policy().compute_dtype.endswith("16") else 4
    return OUTPUTS_AT_ONCE * itemsize * max(math.prod(layer.output.shape) for layer in copy.layers)
