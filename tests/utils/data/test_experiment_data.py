"""Tests of the data of an experiment: measured grey values, and what is never touched."""

from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
import tifffile

from generators.batches import train_and_validation_batches
from generators.voxel_data_generator import VoxelDataGenerator
from utils.data.discarding import discard_crops
from utils.data.experiment_data import load_images, load_volumes
from utils.images.intensity import ZScore, to_network_input
from utils.metrics.pixels import ForegroundIoU
from utils.training.losses import get_loss

CROP, SUBVOLUME = (8, 8, 1), (2, 8, 8, 1)


def write_data(folder, dtype=np.uint8, *, train=(10, 20, 30, 40), test=(200,)):
    """Write slices of 8x16; each holds one grey value in its left half and twice that in its right half."""
    for part, values in (("train", train), ("test", test)):
        for number, value in enumerate(values):
            image = np.full((8, 16), value, dtype)
            image[:, 8:] = 2 * value if value < 100 else value
            mask = np.zeros((8, 16), np.uint8)
            mask[:, 8:] = 1
            for kind, array in (("x", image), ("y", mask)):
                (folder / part / kind).mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(folder / part / kind / f"{number}.tif", array)
    return folder


def loaded(folder, **options):
    return load_images(folder, CROP, seed=0, validation_split=0.25, random_validation=False, **options)


def loaded_volumes(folder, **options):
    return load_volumes(folder, SUBVOLUME, seed=0, validation_split=0.25, **options)


@pytest.mark.parametrize("load", [loaded, loaded_volumes])
def test_by_default_the_range_is_the_stated_one(load, tmp_path):
    folder = write_data(tmp_path)
    assert load(folder).intensity_range is None
    assert load(folder, intensity_range=(10, 90)).intensity_range == (10, 90)


@pytest.mark.parametrize("load", [loaded, loaded_volumes])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_ranges_are_measured_without_validation_and_test(load, dtype, tmp_path):
    folder = write_data(tmp_path, dtype)  # 10 20 30 and their doubles are trained on, 40 and 200 are not
    assert load(folder, normalisation="percentile", percentiles=(0, 100)).intensity_range == (10, 60)
    score = load(folder, normalisation="mean_std").intensity_range
    assert isinstance(score, ZScore) and score.mean == pytest.approx(30)
    assert score.std == pytest.approx(np.std([10, 20, 20, 40, 30, 60]))
    assert score[:2] == ((0, 255) if dtype is np.uint8 else (10, 60))


@pytest.mark.parametrize("load", [loaded, loaded_volumes])
def test_each_image_or_volume_is_stretched_in_every_part(load, tmp_path):
    folder = write_data(tmp_path)
    data = load(folder, normalisation="percentile_per_image", percentiles=(0, 100))
    assert data.intensity_range is None
    whole = [np.concatenate(parts) for parts in zip(data.train.x, data.validation.x, strict=False)]
    images = whole if load is loaded_volumes else data.train.x + data.validation.x
    assert images and all((image.dtype, image.min(), image.max()) == (np.uint8, 0, 255) for image in images)
    assert not data.test.x[0].any(), "all of one value"
    assert np.shares_memory(data.train_crops.x[0], data.train.x[0])


@pytest.mark.parametrize("load", [loaded, loaded_volumes])
@pytest.mark.parametrize("normalisation", ["percentile", "mean_std", "percentile_per_image", "dtype"])
def test_a_later_prediction_sees_the_same_as_the_training_did(load, normalisation, tmp_path):
    first = load(write_data(tmp_path / "a"), normalisation=normalisation, percentiles=(5, 95))
    known = {"intensity_range": first.intensity_range}
    if normalisation == "percentile_per_image":
        known = {"normalisation": normalisation, "percentiles": first.percentiles}
    later = load(write_data(tmp_path / "b", train=(20, 35, 47, 59)), **known)
    assert later.intensity_range == first.intensity_range
    seen = [to_network_input(data.test.x[0], data.intensity_range) for data in (first, later)]
    assert np.array_equal(*seen)


@pytest.mark.parametrize("load", [loaded, loaded_volumes])
def test_test_images_of_another_dtype_are_refused_where_a_range_is_measured(load, tmp_path):
    folder = write_data(tmp_path)
    tifffile.imwrite(folder / "test" / "x" / "0.tif", np.zeros((8, 16), np.uint16))
    assert load(folder).intensity_range is None
    with pytest.raises(ValueError, match="dtypes uint16, uint8"):
        load(folder, normalisation="percentile")


@pytest.mark.parametrize("load", [loaded, loaded_volumes])
def test_mistakes_are_said_before_anything_is_read(load, tmp_path):
    with pytest.raises(ValueError, match="did you mean 'mean_std'"):
        load(tmp_path / "nowhere", normalisation="meanstd")
    with pytest.raises(ValueError, match="Leave INTENSITY_RANGE None"):
        load(tmp_path / "nowhere", normalisation="mean_std", intensity_range=(0, 1))


def test_numbers_that_make_no_sense_are_said_before_anything_is_read(tmp_path):
    for load in (load_images, load_volumes):
        with pytest.raises(ValueError, match="Z_FILTER_SIZE is 4"):
            load(tmp_path / "nowhere", (4, 4, 1), seed=0, z_filter_size=4)
    with pytest.raises(ValueError, match="RANDOM_SUBVOLUMES is -3"):
        load_volumes(tmp_path / "nowhere", (4, 4, 4, 1), seed=0, random_subvolumes=-3)


def test_what_belongs_to_the_data_is_remembered_once(tmp_path):
    folder = write_data(tmp_path, np.uint16)
    data = loaded(folder, overlap=0.5, normalisation="percentile", percentiles=(0, 100), voxel_size_nm=(5, 4))
    assert (data.crop_shape, data.overlap, data.seed, data.n_classes) == (CROP, 0.5, 0, 1)
    assert (data.normalisation, data.percentiles, data.intensity_range) == ("percentile", (0, 100), (10, 60))
    assert (data.dtype, data.voxel_size_nm, data.instance_targets) == ("uint16", (5, 4), ())
    volumes = load_volumes(folder, SUBVOLUME, seed=7, validation_split=0.25, image_dataset="raw", mask_dataset="cells")
    assert (volumes.seed, volumes.image_dataset, volumes.mask_dataset) == (7, "raw", "cells")
    train, validation = train_and_validation_batches(VoxelDataGenerator(), volumes, batch_size=2, samples_per_array=3)
    assert (train.seed, train.crop_shape, train.batch_size, train.n_samples) == (
        7,
        (2, 8, 8),
        2,
        3 * len(volumes.train_crops),
    )
    assert validation.n_samples == len(volumes.validation_crops)


@pytest.mark.parametrize(("load", "crop"), [(load_images, CROP), (load_volumes, SUBVOLUME)])
def test_arrays_of_a_file_with_several_are_chosen_by_name(tmp_path, load, crop):
    raw, labels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8), np.zeros((4, 8, 8), np.uint8)
    labels[:, 2:4] = 255
    for part in ("train/x", "train/y", "test/x", "test/y"):
        (tmp_path / part).mkdir(parents=True)
        with h5py.File(tmp_path / part / "cells.h5", "w") as file:
            file.update({"raw": raw, "labels": labels})
    with pytest.raises(ValueError, match="labels .*, raw .*IMAGE_DATASET, MASK_DATASET"):
        load(tmp_path, crop, seed=0)
    data = load(tmp_path, crop, seed=0, validation_split=0.5, image_dataset="raw", mask_dataset="labels")
    assert np.array_equal(np.stack(list(data.test.x)).reshape(raw.shape), raw)
    assert np.array_equal(np.stack(list(data.test.y)).reshape(raw.shape), labels > 0)
    assert (data.image_dataset, data.mask_dataset) == ("raw", "labels")


def test_discarding_is_for_training_crops_alone(tmp_path):
    data = loaded(write_data(tmp_path))
    found = replace(data, train_crops=discard_crops(data.train_crops, min_foreground=0.5))
    assert (len(data.train_crops), len(found.train_crops)) == (6, 3)
    assert all(mask.all() for mask in found.train_crops.y)
    assert len(found.validation_crops) == len(found.test_crops) == 2


def test_training_slices_complete_flat_validation_subvolumes_without_counting(tmp_path):
    folder = write_data(tmp_path, train=(10, 20, 30, 40, 50, 60, 70, 80))
    data = load_volumes(folder, (4, 8, 8, 1), seed=0, validation_split=0.2)
    assert (len(data.train.x[0]), len(data.validation.x[0])) == (6, 2)
    for crop, weight in zip(data.validation_crops.x, data.validation_weights, strict=True):
        assert crop.shape == weight.shape == (4, 8, 8, 1)
        assert crop[:, 0, 0, 0].tolist() in ([50, 60, 70, 80], [100, 120, 140, 160])
        assert weight[:, 0, 0, 0].tolist() == [0, 0, 2, 2] and weight.mean() == 1
    assert len(data.validation_crops) == 2


def test_deep_validation_parts_need_no_context(tmp_path):
    assert loaded_volumes(write_data(tmp_path, train=range(1, 9))).validation_weights is None


def test_test_subvolumes_may_lie_on_a_grid_of_their_own(tmp_path):
    data = loaded_volumes(write_data(tmp_path, test=(10, 20, 30, 40)), test_grid=((2, 8, 16, 1), (0.5, 0, 0)))
    assert [crop[:, 0, 0, 0].tolist() for crop in data.test_crops.x] == [[10, 20], [20, 30], [30, 40]]
    assert {crop.shape for crop in data.test_crops.x} == {(2, 8, 16, 1)}


def test_validation_counts_its_own_slices_alone(tmp_path):
    folder = write_data(tmp_path, train=(10, 20, 30, 40, 50, 60, 70, 80))
    data = load_volumes(folder, (4, 8, 8, 1), seed=0, validation_split=0.2)
    _, batches = train_and_validation_batches(VoxelDataGenerator(), data, batch_size=1)
    # A network that is right in the last two slices only, the validation part.
    inputs = keras.Input((4, 8, 8, 1))
    right_there = keras.layers.Lambda(lambda x: keras.ops.cast(x > 0.5, "float32"))(inputs)
    model = keras.Model(inputs, right_there)
    model.compile(loss=get_loss("bce_dice"), weighted_metrics=[ForegroundIoU()])
    found = model.evaluate(batches, verbose=0, return_dict=True)
    assert found["foreground_iou"] == 1 and found["loss"] == pytest.approx(0, abs=1e-5)
    halves = [np.concatenate([batch[part] for batch in (batches[i] for i in range(2))]) for part in range(3)]
    assert halves[2][:, :2].max() == 0 and halves[2][:, 2:].min() == 2


# --- the size of pixels


def write_slices(folder, *, part_sizes):
    for part, sizes in part_sizes.items():
        for number, size in enumerate(sizes):
            for kind, value in (("x", number), ("y", 1)):
                (folder / part / kind).mkdir(parents=True, exist_ok=True)
                options = {} if size is None else {"resolution": (1 / size,) * 2, "metadata": {"unit": "nm"}}
                image = np.full((16, 16), value, np.uint8)
                image[:8] = 0
                tifffile.imwrite(folder / part / kind / f"{number}.tif", image, imagej=True, **options)
    return folder


@pytest.mark.parametrize(
    ("sizes", "stated", "size", "printed"),
    [
        ([5, 5, 5], None, (5.0, 5.0), "Size of a pixel: 5 x 5 nm."),
        ([5, 5, 5], (7, 8), (7, 8), "Size of a pixel: 7 x 8 nm."),
        ([None, None, None], None, None, "Size of a pixel: not known."),
        ([None, None, None], 4.0, (4.0, 4.0), "Size of a pixel: 4 x 4 nm."),
        ([5, 8, 5], None, None, "not known. Note: The sizes of pixels differ"),
    ],
    ids=str,
)
def test_the_size_of_pixels_is_that_of_the_files_unless_stated(tmp_path, capsys, sizes, stated, size, printed):
    folder = write_slices(tmp_path, part_sizes={"train": sizes, "test": [5]})
    data = load_images(folder, (16, 16, 1), seed=0, voxel_size_nm=stated, validation_split=0.3, random_validation=False)
    assert (data.voxel_size_nm, printed in capsys.readouterr().out) == (size, True)
    assert data.test.names[0].scale.voxel_size_nm[1:] == (size if stated else (5.0, 5.0))
