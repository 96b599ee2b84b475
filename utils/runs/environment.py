"""The environment of a run: versions, device, state of the repository, memory."""

import importlib.metadata
import shutil
import subprocess
import sys

import keras

from utils.devices import describe_device

PACKAGES = (
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "jax",
    "torch",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "tifffile",
)


def describe_environment(code_dir):
    """Return versions, backend, device, precision and git state.

    Parameters
    ----------
    code_dir : str or Path
        Folder of the repository.

    Returns
    -------
    dict
    """
    versions = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "git_commit": _git(code_dir, "rev-parse", "HEAD"),
        "git_dirty": bool(_git(code_dir, "status", "--porcelain")),
        "versions": versions,
        "backend": keras.backend.backend(),
        "device": describe_device(),
        "precision": keras.mixed_precision.global_policy().name,
    }


def _git(folder, *arguments):
    if shutil.which("git") is None:
        return None
    answer = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return answer.stdout.strip() or None


def peak_memory_gib():
    """Return the peak memory of this process in GiB, or None if the system does not report it.

    Returns
    -------
    float or None
    """
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 2)
