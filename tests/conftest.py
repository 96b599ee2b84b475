"""What all tests share: the repository root on the path, one quiet backend, and a small data set."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory):
    """Return a data folder with eight training and four test slices of 64 x 96 (y, x); do not write into it."""
    from data_sets.synthetic_em import write_demo_data

    options = {"n_train": 8, "n_test": 4, "image_shape": (64, 96), "voxel_size_nm": (20, 20, 20)}
    return write_demo_data(tmp_path_factory.mktemp("toy") / "data", **options)
