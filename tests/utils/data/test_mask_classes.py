"""Tests of what a stored value of a mask means: one thing in all folders."""

import re

import numpy as np
import pytest
import tifffile

from generators.image_data_generator import ImageDataGenerator
from utils.data.data_folder import load_image_sets
from utils.data.mask_classes import OTHERS, class_values


@pytest.mark.parametrize(
    ("parts", "n_classes", "values"),
    [
        ({"train": [0, 255], "test": [0]}, 1, (0, 255)),
        ({"train": [0], "test": [0, 255]}, 1, (0, 255)),
        ({"train": [0, 1], "test": [0, 1, 2]}, 3, (0, 1, 2)),
        ({"train": [0, 1], "test": [0]}, 3, (0, 1, 2)),
        ({"train": [0, 128, 255], "val": [0, 255]}, 3, (0, 128, 255)),
        ({"train": [0, 255], "test": [0, 128, 255]}, 3, (0, 128, 255)),
        ({"train": [255]}, 1, (255,)),
        ({"train": [1, 2]}, 1, (1, 2)),
    ],
    ids=str,
)
def test_a_value_means_one_class_in_all_folders(parts, n_classes, values):
    found = {part: {"a.tif": held} for part, held in parts.items()}
    assert class_values(found, n_classes) == (values, [])


@pytest.mark.parametrize(
    ("parts", "n_classes", "problem"),
    [
        ({"train": [0, 1], "test": [0, 255]}, 1, "train/ 0 1, test/ 0 255; save the masks of all folders alike"),
        ({"train": [0, 1], "test": [0, 255]}, 3, "train/ 0 1, test/ 0 255; save the masks of all folders alike"),
        ({"train": [0, 1, 2], "test": [0, 128, 255]}, 3, "save the masks of all folders alike"),
        ({"val": [0, 255]}, 3, "hold only the values 0 255, .* which of the 3 classes they are; .*mask_values"),
        ({"train": [7, 2**64 - 1]}, 1, "masks hold the value 18446744073709551615, which stands for no object: python"),
        ({"train": [0, 7, 9, 12]}, 1, "train/: mask of a.tif .*import_labels.py makes masks .*MASK_IDS=True"),
    ],
    ids=str,
)
def test_values_that_may_mean_two_things_are_refused(parts, n_classes, problem):
    found = {part: {"a.tif": held} for part, held in parts.items()}
    (text,) = class_values(found, n_classes)[1]
    assert re.search(problem, text)


def write(folder, values, n_files=2):
    for kind in "xy":
        (folder / kind).mkdir(parents=True)
    for number in range(n_files):
        pixels = np.resize(np.array(values), (16, 16))
        tifffile.imwrite(folder / "x" / f"{number}.tif", np.zeros((16, 16), np.uint8))
        tifffile.imwrite(folder / "y" / f"{number}.tif", pixels.astype(np.uint8 if max(values) < 256 else np.uint16))


def test_folders_that_are_read_one_by_one_need_the_values_of_all_classes(tmp_path):
    write(tmp_path / "train", (0, 128, 255))
    write(tmp_path / "val", (0, 255))
    flow = ImageDataGenerator().flow_from_directory
    assert np.unique(flow(tmp_path / "train", n_classes=3)[0][1]).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="val/: the masks hold only the values 0 255, .*mask_values"):
        flow(tmp_path / "val", n_classes=3)
    batches = flow(tmp_path / "val", n_classes=3, mask_values=(0, 128, 255))
    assert np.unique(batches[0][1]).tolist() == [0, 2]


def test_ids_are_foreground_if_that_is_said(tmp_path):
    write(tmp_path / "train", (0, 3793, 4016))
    write(tmp_path / "test", (0, 5))
    train, test = load_image_sets(tmp_path, mask_ids=True)
    assert train.mask_values == (0, OTHERS) and np.unique(train.y[0]).tolist() == [0, 1]
    assert np.array_equal(test.y[0][..., 0], tifffile.imread(tmp_path / "test" / "y" / "0.tif") > 0)
