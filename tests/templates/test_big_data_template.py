"""The template for big data runs on images on disk, of several sizes, in the doubled layout, with every loss of it."""

import csv
import json
import shutil

import numpy as np
import pytest
import running
import tifffile
from PIL import Image

TEMPLATE = "big_data_template.py"
TOY = {
    "CROP_SHAPE": "(32,32,1)",
    "FEATURE_MAPS": "(4,8,16)",
    "DEPTH": 2,
    "DROP_VALUES": "(0.,0.,0.)",
    "OPTIMIZER": "adamw",
    "LEARNING_RATE": 0.005,
    "EPOCHS": 1,
    "RANDOM_CROPS": 3,
    "Z_FILTER_SIZE": 0,
}
TEST_SIZES = [(64, 96), (30, 50), (130, 150)]
PROTOCOLS = {"per_image/none", "per_image/blending", "overlap_50/none", "overlap_50/ensemble"}
LABELS = [
    "Test loss",
    "Test Foreground IoU (per crop)",
    "Test Foreground IoU (merge into complete image)",
    "Post-process: Blending - Test Overall IoU (merge into complete image)",
    "Test Overall IoU (merge with 50% overlap)",
    "Post-process: Ensemble - Test Foreground IoU (merge with 50% overlap)",
]


def put(source, target, sizes):
    """Copy images and masks into the doubled layout, cut or mirrored to the given sizes."""
    for part in "xy":
        (target / part / part).mkdir(parents=True)
        for number, (path, size) in enumerate(zip(sorted((source / part).iterdir()), sizes, strict=False)):
            image = np.asarray(Image.open(path))
            image = np.pad(image, [(0, max(0, a - b)) for a, b in zip(size, image.shape, strict=True)], "symmetric")
            Image.fromarray(image[: size[0], : size[1]]).save(target / part / part / f"im_{number}.png")


@pytest.fixture(scope="module")
def data(toy_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("doubled")
    put(toy_data / "train", folder / "train", [(64, 96), (64, 80), (50, 60), (40, 96), (128, 96)])
    put(toy_data / "train", folder / "val", [(64, 96), (70, 90)])
    put(toy_data / "test", folder / "test", TEST_SIZES)
    return folder


def run(data, job, *flags, **settings):
    result = running.run(TEMPLATE, data, job, *flags, **TOY | settings)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """Return a finished run with weight maps and every protocol, and what it printed."""
    job = tmp_path_factory.mktemp("job")
    settings = {"LOSS": "w_bce_dice", "FULL_IMAGE": True, "PADDING": 4, "OVERLAP": 0.25, "EPOCHS": 2}
    return job / "results" / "maps_0", run(data, job, "--id", "maps", **settings)


def test_scores_are_those_of_the_written_masks(finished, data):
    folder, printed = finished
    rows = {(r["protocol"], r["post"], r["metric"]): r for r in json.loads((folder / "scores.json").read_text())}
    per_image = list(csv.DictReader((folder / "scores_per_image.csv").open()))
    truth = [np.asarray(Image.open(path)) > 0 for path in sorted((data / "test/y/y").iterdir())]
    for name in PROTOCOLS | {"full_image/none", "full_image/ensemble"}:
        protocol, post = name.split("/")
        found = [tifffile.imread(folder / "images" / name / "binary" / f"im_{n}.tif") > 0 for n in range(3)]
        assert [mask.shape for mask in found] == TEST_SIZES
        counts = [((t & f).sum(), (t | f).sum(), (~t & ~f).sum(), t.size) for t, f in zip(truth, found, strict=True)]
        both, either, neither, size = np.sum(counts, axis=0)
        foreground = both / either
        overall = (foreground + neither / (size - both)) / 2
        assert rows[protocol, post, "foreground_iou"]["value"] == pytest.approx(foreground, abs=1e-9)
        assert rows[protocol, post, "overall_iou"]["value"] == pytest.approx(overall, abs=1e-9)
        of_post = [row for row in per_image if (row["protocol"], row["post"]) == (protocol, post)]
        assert [row["image"] for row in of_post] == ["im_0.png", "im_1.png", "im_2.png"]
        for row, (hit, union, _, _) in zip(of_post, counts, strict=True):
            expected = hit / union if union else np.nan
            assert float(row["foreground_iou"]) == pytest.approx(expected, abs=1e-9, nan_ok=True)
    labels = {row["label"] for row in rows.values()}
    assert all(f"{label}: " in printed and label in labels for label in LABELS)
    assert rows["per_crop", "none", "loss"]["n"] == sum(row["protocol"] == "per_crop" for row in per_image)


def test_the_run_folder_is_complete(finished):
    folder, printed = finished
    pictures = ("checks/crops.png", "checks/training_crops.png", "checks/augmented_pairs.png", "charts/history.png")
    for name in (*pictures, "report.html", "checkpoints/network.json", "images/per_image/none/overlay.png"):
        assert (folder / name).stat().st_size > 0
    assert not list(folder.parents[1].rglob("tmp_*"))
    assert "5 images to train on, 2 in val/ to validate with, 3 test" in printed


def test_weight_maps_are_computed_once(finished, data):
    folder, _ = finished
    maps = {path: path.stat().st_mtime_ns for path in (folder.parents[1] / "cache").iterdir()}
    assert len(maps) == 5
    run(data, folder.parents[1], "--id", "again", "--dry-run", LOSS="w_bce")
    assert {path: path.stat().st_mtime_ns for path in (folder.parents[1] / "cache").iterdir()} == maps


def test_slices_without_validation_folder_and_test_masks(toy_data, tmp_path):
    shutil.copytree(toy_data / "train", tmp_path / "data" / "train")
    shutil.copytree(toy_data / "test" / "x", tmp_path / "data" / "test" / "x")
    printed = run(tmp_path / "data", tmp_path, "--id", "new", Z_FILTER_SIZE=3, LOSS="w_bce")
    folder = tmp_path / "results" / "new_0"
    assert "7 images to train on, 1 out of train/" in printed and not (folder / "scores.json").exists()
    filtered = PROTOCOLS | {"per_image/z_filter", "per_image/blending_z_filter", "overlap_50/ensemble_z_filter"}
    assert {f"{path.parent.name}/{path.name}" for path in (folder / "images").glob("*/*")} == filtered
    written = [tifffile.imread(path) for path in sorted((folder / "images/per_image/none/probability").iterdir())]
    smooth = tifffile.imread(folder / "images/per_image/z_filter/probability/x_0001.tif")
    assert np.array_equal(smooth, np.median(written[:3], axis=0))


def test_mistakes_are_one_sentence_before_anything_is_written(data, tmp_path):
    refused = running.run(TEMPLATE, data, tmp_path, **TOY | {"Z_FILTER_SIZE": 5, "LOSS": "bce"})
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "im_1.png is 30x50 and im_0.png 64x96" in refused.stderr.strip().splitlines()[-1]
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data/train/y/y/im_1.png").unlink()
    (tmp_path / "data/test/x/x/im_0.png").write_text("no image")
    shutil.rmtree(tmp_path / "data/val")
    refused = running.run(TEMPLATE, tmp_path / "data", tmp_path, **TOY | {"VALIDATION_SPLIT": 0.0})
    message = refused.stderr[refused.stderr.index("ValueError: ") :]
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    for expected in ("VALIDATION_SPLIT is 0.0", "no mask for im_1.png", "test/: im_0.png cannot be read"):
        assert expected in message
    assert not (tmp_path / "results").exists()


def test_the_plain_loss_learns_and_an_interrupted_evaluation_is_done_again(data, tmp_path):
    run(data, tmp_path, "--id", "plain", LOSS="bce")
    folder = tmp_path / "results" / "plain_0"
    assert not (tmp_path / "cache").exists()
    before = json.loads((folder / "scores.json").read_text())
    environment = json.loads((folder / "environment.json").read_text())
    del environment["end"]  # as a run that was killed while it evaluated
    (folder / "environment.json").write_text(json.dumps(environment))
    shutil.rmtree(folder / "images")
    run(data, tmp_path, "--id", "plain", "--resume", LOSS="bce")
    assert json.loads((folder / "scores.json").read_text()) == before
