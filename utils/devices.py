"""GPUs, precision, compilation, gradients: all that depends on machine or backend. The only module that imports one."""

import functools
import platform
from pathlib import Path

import keras
import numpy as np

from utils.command_line import PRECISIONS, gpu_memory, requested_gpus, this_machine
from utils.errors import check_choice

# What installs a backend with the libraries of NVIDIA.
WITH_GPU = {"tensorflow": "tensorflow[and-cuda]", "jax": "jax[cuda12]", "torch": "torch"}


def set_precision(precision, *, volumes=False):
    """Set the number format in which networks compute; weights stay float32.

    TensorFlow 2.21 computes wrong weight gradients of 3D convolutions in bfloat16 on CPUs, with AMX and without, and no
    faster than float32; there volumes are refused any other format (docs/differences.md has the figures).

    Parameters
    ----------
    precision : str
        ``auto`` (bfloat16 if the processor multiplies it well, else float32), ``float32``, ``mixed_bfloat16`` or
        ``mixed_float16``.
    volumes : bool
        Whether the network has 3D convolutions.

    Returns
    -------
    str
        The Keras policy that is now in force.
    """
    check_choice("--precision", precision, PRECISIONS)
    only_float32 = volumes and _trains_on_tensorflow_cpu()
    if precision == "auto":
        precision = "mixed_bfloat16" if has_bfloat16() and not only_float32 else "float32"
    if precision != "float32" and only_float32:
        raise ValueError(
            f"--precision {precision} gives wrong gradients of 3D convolutions with TensorFlow on a CPU. "
            "Use auto or float32."
        )
    keras.mixed_precision.set_global_policy(precision)
    return precision


def has_bfloat16():
    """Return whether the device that will train has bfloat16 arithmetic in hardware.

    Returns
    -------
    bool
        On GPUs: compute capability 8.0 or more. On CPUs: AVX-512 BF16 or AMX (Linux), which only TensorFlow uses well.
    """
    backend, gpus = keras.backend.backend(), _gpus()
    if not gpus:
        return backend == "tensorflow" and _cpu_has_bfloat16()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0)) >= (8, 0)
    if backend == "jax":
        return float(getattr(gpus[0], "compute_capability", 0)) >= 8.0
    import torch

    return torch.cuda.get_device_capability() >= (8, 0)


def _gpus():
    """Return the visible GPUs: objects of TensorFlow or JAX, or numbers for torch."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.config.list_physical_devices("GPU")
    if backend == "jax":
        import jax

        return [device for device in jax.devices() if device.platform == "gpu"]
    import torch

    return list(range(torch.cuda.device_count()))


def check_gpus():
    """Raise an error if the driver lists the GPUs that were asked for, but the backend does not see them."""
    requested, backend = requested_gpus(), keras.backend.backend()
    if requested and not _gpus():
        raise ValueError(
            f"--gpu {','.join(requested)}: the driver lists this GPU, but {backend} does not see it. Install {backend} "
            f"with GPU support: pip install '{WITH_GPU[backend]}'; or use --gpu -1 for the CPU."
        )


def _trains_on_tensorflow_cpu():
    return keras.backend.backend() == "tensorflow" and not _gpus()


def _cpu_has_bfloat16():
    cpu_info = Path("/proc/cpuinfo")
    flags = cpu_info.read_text().split() if cpu_info.exists() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags


def use_jit():
    """Return what ``model.compile(jit_compile=...)`` should get here.

    Returns
    -------
    bool or str
        False for TensorFlow on a CPU, where XLA is slower than the plain graph, and for torch; ``"auto"`` otherwise.
    """
    if keras.backend.backend() == "torch":
        return False
    return False if _trains_on_tensorflow_cpu() else "auto"


def make_deterministic():
    """Ask TensorFlow for the same result in every run, at some cost in speed; JAX gives it unasked."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


@functools.cache
def training_strategy():
    """Return how TensorFlow trains one network on all visible GPUs and, with ``TF_CONFIG``, on several machines.

    Call it before anything is computed: the first call connects the machines.

    Returns
    -------
    tensorflow.distribute.Strategy or None
        None if there is one device.

    Raises
    ------
    ValueError
        If there are several devices and the backend is not TensorFlow, or ``TF_CONFIG`` is wrong.
    """
    machines, devices = this_machine().count, _training_devices()
    if machines == 1 and len(devices) <= 1:
        return None
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"{max(machines, len(devices))} devices that train one network need KERAS_BACKEND=tensorflow, it is "
            f"{keras.backend.backend()}. Take one GPU, such as --gpu 0, and no TF_CONFIG."
        )
    import tensorflow as tf

    if machines > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.MirroredStrategy(devices)


def _training_devices():
    return [f"GPU:{number}" for number in range(len(_gpus()))]


def sum_over_devices(value):
    """Sum a number over the devices that train, each of which has a part of it.

    Parameters
    ----------
    value : tensor
        Scalar; the result depends on the parts of all devices, and so do gradients.

    Returns
    -------
    tensor
        The value itself if one device trains.
    """
    context = _replica_context()
    return value if context is None else context.all_reduce("SUM", value)


def mean_over_devices(values):
    """Return the mean of all values on all devices that train; the devices may have different numbers of values.

    Parameters
    ----------
    values : tensor
        Any shape.

    Returns
    -------
    tensor
        Scalar.
    """
    if _replica_context() is None:
        return keras.ops.mean(values)
    count = keras.ops.cast(keras.ops.size(values), "float32")
    return sum_over_devices(keras.ops.sum(values)) / sum_over_devices(count)


def share_of_loss(loss):
    """Return the part of the loss of a whole batch whose gradient each device contributes; gradients are added up.

    Parameters
    ----------
    loss : tensor
        Scalar, the same on all devices.

    Returns
    -------
    tensor
        The loss itself if one device trains.
    """
    context = _replica_context()
    return loss if context is None else loss / context.num_replicas_in_sync


def is_one_of_several():
    """Return whether this computation is the part of one of several devices that train.

    Returns
    -------
    bool
    """
    return _replica_context() is not None


def _replica_context():
    """Return the context that connects the devices that train, or None if there is one."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return None if context is None or context.num_replicas_in_sync == 1 else context


def gradient(function, x):
    """Return the gradient of a function with a scalar result.

    Parameters
    ----------
    function : callable
        Takes a tensor like x and returns a scalar tensor; made of Keras layers and ``keras.ops``.
    x : numpy.ndarray
        float32, the place of the gradient.

    Returns
    -------
    numpy.ndarray
        Of the shape of x, float32; zeros if the function does not depend on x.

    Examples
    --------
    >>> gradient(lambda x: keras.ops.sum(x**2), np.array([1.0, 3.0], np.float32)).tolist()
    [2.0, 6.0]
    """
    backend, x = keras.backend.backend(), keras.ops.convert_to_tensor(x, "float32")
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        found = tape.gradient(value, x, unconnected_gradients="zero")
    elif backend == "jax":
        import jax

        found = jax.grad(function)(x)
    else:
        import torch

        x = x.detach().requires_grad_(True)
        found = torch.autograd.grad(function(x), x, materialize_grads=True)[0]
    return np.array(keras.ops.convert_to_numpy(found))


def device_memory():
    """Return the memory for a network on the device that predicts.

    Returns
    -------
    int or None
        Bytes: of the whole first GPU, most of which the backend has reserved already, or the free memory of this
        machine. None if the system does not say.
    """
    if _training_devices():
        return gpu_memory()
    info = Path("/proc/meminfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def describe_device():
    """Return the name of the device that trains.

    Returns
    -------
    str
    """
    backend, gpus = keras.backend.backend(), _gpus()
    if not gpus:
        return f"CPU ({_cpu_name()})"
    if backend == "tensorflow":
        import tensorflow as tf

        names = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus]
    elif backend == "jax":
        names = [device.device_kind for device in gpus]
    else:
        import torch

        names = [torch.cuda.get_device_name(number) for number in gpus]
    return ", ".join(names)


def _cpu_name():
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        for line in cpu_info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
