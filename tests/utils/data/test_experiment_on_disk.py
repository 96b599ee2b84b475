"""Tests of data larger than memory: opened as it would be loaded, evaluated one image at a time."""

import gc
import json
import shutil
import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image

from utils.data.experiment_data import load_images, open_images, read_samples
from utils.data.image_set import crop_image_set
from utils.images.formats import picture_files
from utils.images.lazy_images import LazyImage
from utils.post_processing.z_filter import z_filter
from utils.prediction.protocols import predict_blended, predict_crops, predict_each, predict_full_images
from utils.runs.run import Run
from utils.training.losses import get_loss

CROP, LARGE = (16, 16, 1), (128, 128, 1)
SIZES = {"train": [(40, 52), (20, 30), (10, 40), (64, 64)], "val": [(33, 30), (16, 16)], "test": [(40, 52), (9, 70)]}


class Oracle:
    """A model whose probability of the foreground is the grey value."""

    def predict_on_batch(self, batch):
        return batch


def write_part(folder, sizes, *, doubled=True, suffix=".png", seed=0):
    """Write images of noise, whose bright pixels are foreground."""
    rng = np.random.default_rng(seed)
    for number, size in enumerate(sizes):
        image = rng.integers(0, 256, size, np.uint8)
        for part, array in (("x", image), ("y", np.uint8(255) * (image > 140))):
            path = folder / part / (part if doubled else "") / f"im_{number:03d}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if suffix == ".tif":
                tifffile.imwrite(path, array)
            else:
                Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path):
    """Return a data folder in the doubled layout, of images of different sizes."""
    for seed, (part, sizes) in enumerate(SIZES.items()):
        write_part(tmp_path / "data" / part, sizes, seed=seed)
    return tmp_path / "data"


@pytest.fixture
def make_run(tmp_path):
    def make(name, *, draw=True):
        values = {
            "id": name,
            "rid": 0,
            "job_dir": tmp_path,
            "code_dir": tmp_path,
            "data_dir": tmp_path,
            "set": [],
            "resume": False,
            "precision": "auto",
            "deterministic": False,
        }
        run = Run(SimpleNamespace(**values, dry_run=False), {})
        if not draw:  # pictures of three images, however many there are
            run._draw = lambda *_: None
        return run

    return make


def assert_same_sets(stored, loaded):
    assert stored.names == loaded.names and stored.mask_values == loaded.mask_values
    for ours, theirs in ((stored.x, loaded.x), (stored.y, loaded.y)):
        assert [(a.shape, a.dtype, a.ndim, a.size, len(a)) for a in ours] == [
            (a.shape, a.dtype, a.ndim, a.size, len(a)) for a in theirs
        ]
        assert all(map(np.array_equal, ours, theirs))


# --- what is opened


def test_without_a_validation_folder_all_is_as_if_it_were_loaded(folder):
    shutil.rmtree(folder / "val")
    options = {"seed": 3, "overlap": 0.3, "validation_split": 0.4}
    stored, loaded = open_images(folder, CROP, **options), load_images(folder, CROP, random_crops=1, **options)
    for name in ("train", "validation", "test", "train_crops", "validation_crops", "test_crops"):
        assert_same_sets(getattr(stored, name), getattr(loaded, name))
    assert {type(crop) for crop in stored.test_crops.x + stored.validation_crops.y} == {LazyImage}


def test_a_validation_folder_takes_no_training_images(folder, capsys):
    data = open_images(folder, CROP, seed=0, validation_split=0.0)
    assert [image.shape[:2] for image in data.train.x] == SIZES["train"]
    assert [image.shape[:2] for image in data.validation.x] == SIZES["val"]
    assert "4 images to train on, 2 in val/ to validate with, 2 test" in capsys.readouterr().out


def test_test_masks_may_be_missing(folder):
    shutil.rmtree(folder / "test" / "y")
    data = open_images(folder, CROP, seed=0)
    assert data.test.y is None and data.test_crops.y is None and len(data.test) == 2


def test_opening_decodes_one_image_and_mask_of_each_folder(folder, monkeypatch):
    decoded, read = [], picture_files._read_picture
    monkeypatch.setattr(picture_files, "_read_picture", lambda path, *more: decoded.append(path) or read(path, *more))
    open_images(folder, CROP, seed=0)
    assert {path.name for path in decoded} == {"im_000.png"} and len(decoded) <= 7


@pytest.mark.parametrize("index", [np.s_[...], np.s_[3:9], np.s_[-4:, 2:5], np.s_[:, :7]], ids=str)
def test_crops_on_disk_are_indexed_like_arrays(folder, index):
    images = open_images(folder, CROP, seed=0).train
    loaded = crop_image_set(replace(images, x=[*map(np.asarray, images.x)], y=None), CROP, overlap=0.4)
    stored = crop_image_set(replace(images, y=None), CROP, overlap=0.4)
    for ours, theirs in zip(stored.x, loaded.x, strict=True):
        assert np.array_equal(ours[index], theirs[index])
    assert all(isinstance(image, LazyImage) for image in images.x)
    with pytest.raises(IndexError, match="on disk is indexed by slices"):
        stored.x[0][0]
    with pytest.raises(IndexError, match="is empty"):
        stored.x[0][5:5]


def test_the_cache_holds_the_largest_image_with_its_mask(folder):
    data = open_images(folder, CROP, seed=0, cache_bytes=100)
    cache = data.train.x[0]._cache
    assert cache.max_bytes == 2 * 64 * 64 and cache is data.test.y[0]._cache


def test_samples_for_pictures_are_read(folder):
    data = open_images(folder, CROP, seed=0)
    samples = read_samples(data, count=5)
    assert len(samples.train_crops) == 5 and {crop.shape for crop in samples.train_crops.y} == {CROP}
    assert all(isinstance(array, np.ndarray) for array in samples.train.x + samples.train_crops.x)
    assert samples.train.x[0].shape == (40, 52, 1) and samples.train_crops.names[0].file.startswith("im_000")


# --- mistakes


def test_all_problems_of_all_folders_are_said_at_once(folder):
    shutil.rmtree(folder / "val")
    (folder / "train/y/y/im_001.png").unlink()
    (folder / "train/x/x/im_002.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((9, 71), np.uint8)).save(folder / "test/y/y/im_001.png")
    shutil.copy(folder / "test/x/x/im_000.png", folder / "test/x/x/im_000.bmp")
    with pytest.raises(ValueError) as error:
        open_images(folder, CROP, seed=0, validation_split=0)
    message = str(error.value)
    assert message.startswith(
        f"7 problems in {folder}:\n  - there is no folder {folder / 'val'} and VALIDATION_SPLIT is 0"
    )
    for expected in (
        "--set VALIDATION_SPLIT=0.1",
        "train/: 4 images but 3 masks",
        "train/: no mask for im_001.png",
        "train/: im_002.png cannot be read",
        "test/: 3 images but 2 masks",
        "test/: im_001.png is 9x70, its mask im_001.png 9x71 (y x x)",
        "test/: 2 images are called im_000 and differ only in their suffix",
    ):
        assert expected in message


@pytest.mark.parametrize(
    ("path", "array", "expected"),
    [
        ("test/y/y", np.ones((40, 52), np.uint8), "test/: mask im_000.png holds the values 1, expected 0 255 as in"),
        ("val/x/x", np.dstack([np.eye(33, 30, dtype=np.uint8)] + [np.zeros((33, 30), np.uint8)] * 2), "val/: im_000"),
    ],
)
def test_the_first_image_of_each_folder_is_looked_at(folder, path, array, expected):
    Image.fromarray(array).save(folder / path / "im_000.png")
    with pytest.raises(ValueError, match=expected):
        open_images(folder, CROP, seed=0)


def test_the_z_filter_needs_slices_of_one_size(folder):
    with pytest.raises(ValueError, match="im_001.png is 9x70 and im_000.png 40x52, but the z-filter .*Z_FILTER_SIZE=0"):
        open_images(folder, CROP, seed=0, z_filter_size=5)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(
        ValueError, match="(?s)2 problems in .*train/: the folder .*train/x does not exist.*test/: the fol"
    ):
        open_images(tmp_path, CROP, seed=0)


# --- evaluation


def evaluate(run, data, crop=CROP):
    """Score the oracle under the protocols of the template."""
    test, oracle, batches = data.test, Oracle(), {"batch_size": 4}
    run.evaluate("per_crop", data.test_crops, predict_each(oracle, data.test_crops.x), loss=get_loss("bce"), save=False)
    merged = run.evaluate("per_image", test, predict_crops(oracle, test.x, crop, overlap=0.3, padding=2, **batches))
    run.evaluate("per_image", test, predict_blended(oracle, test.x, crop, **batches), post="blending")
    run.evaluate("overlap_50", test, predict_crops(oracle, test.x, crop, overlap=0.5, ensemble=True, **batches))
    run.evaluate("full_image", test, predict_full_images(oracle, test.x))
    if len({image.shape for image in test.x}) == 1:
        run.evaluate("per_image", test, z_filter(merged, 3), post="z_filter")


def written_by(run):
    """Return the rows of the scores, if there are any, and all predictions by their paths."""
    scores, images = run.folder / "scores.json", run.images.rglob("*.tif")
    rows = json.loads(scores.read_text()) if scores.exists() else None
    return rows, {path.relative_to(run.images): tifffile.imread(path) for path in images}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_scores_and_images_are_those_from_memory(folder, make_run, suffix):
    shutil.rmtree(folder / "test")
    write_part(folder / "test", [(40, 52)] * 3, suffix=suffix)
    shutil.rmtree(folder / "val")
    options = {"seed": 0, "overlap": 0.25}
    runs = [make_run(name, draw=False) for name in ("stored", "loaded")]
    evaluate(runs[0], open_images(folder, CROP, **options))
    evaluate(runs[1], load_images(folder, CROP, **options))
    (stored, images), (loaded, expected) = map(written_by, runs)
    assert stored == loaded and len(stored) == 6 * 5 + 1
    assert images.keys() == expected.keys() and len(images) == 5 * 2 * 3
    assert all(np.array_equal(images[name], expected[name]) for name in images)


def test_without_masks_predictions_are_written_only(folder, make_run):
    shutil.rmtree(folder / "test" / "y")
    run = make_run("new")
    evaluate(run, open_images(folder, CROP, seed=0))
    scores, images = written_by(run)
    assert scores is None and len(images) == 4 * 2 * 2
    assert (run.images / "per_image/none/overlay.png").stat().st_size > 0


def peak_of_evaluation(folder, make_run, count):
    """Return the highest memory, in bytes, while so many test images are evaluated."""
    shutil.rmtree(folder / "test", ignore_errors=True)
    write_part(folder / "test", [LARGE[:2]] * count)
    run, data = make_run(f"run_{count}", draw=False), open_images(folder, LARGE, seed=0, cache_bytes=0)
    evaluate(run, replace(data, test=data.test.subset([0]), test_crops=data.test_crops.subset([0])), LARGE)
    # Among the many objects of other tests Python would hardly ever look for garbage.
    gc.collect()
    gc.freeze()
    tracemalloc.start()
    try:
        evaluate(run, data, LARGE)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.unfreeze()


def test_memory_does_not_grow_with_the_number_of_test_images(folder, make_run):
    few, many = (peak_of_evaluation(folder, make_run, count) for count in (5, 15))
    assert many - few < 3 * LARGE[0] * LARGE[1] * 4  # of ten maps more that were predicted
