"""The template for new images predicts, from the weights of a finished run alone, what the run predicted itself."""

import csv
import importlib.util
import json
import shutil

import numpy as np
import pytest
import running
import tifffile
from test_2d_templates import TOY as TOY_2D
from test_3d_templates import TOY as TOY_3D
from test_3d_templates import slices  # noqa: F401 - a fixture

from utils.prediction.predictor import load_predictor
from utils.template_text import template_variables

TEMPLATE = "predict_template.py"


def train(template, toy, data, job, **settings):
    result = running.run(template, data, job, "--id", "run", **toy | {"EPOCHS": 1} | settings)
    assert result.returncode == 0, result.stdout + result.stderr
    return job / "results" / "run_0"


def predict(data, job, *flags, **settings):
    result = running.run(TEMPLATE, data, job, *flags, **settings)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def assert_same_files(run, ours):
    names = sorted(path.name for path in run.iterdir())
    assert names and names == sorted(path.name for path in ours.iterdir())
    for name in names:
        np.testing.assert_array_equal(tifffile.imread(ours / name), tifffile.imread(run / name))


@pytest.fixture(scope="module")
def flat(toy_data, tmp_path_factory):
    """Return the folder of a run of the 2D reference with measured grey values and instance targets."""
    targets = {"INSTANCE_TARGETS": "('binary','contour')", "NORMALISATION": "mean_std", "INSTANCES": True}
    job = tmp_path_factory.mktemp("flat")
    return train("general_template.py", TOY_2D, toy_data, job, **targets, LOSS="bce_dice", EPOCHS=4)


@pytest.fixture(scope="module")
def deep(slices, tmp_path_factory):  # noqa: F811
    """Return the folder of a run of the 3D reference."""
    return train("U-Net_3D_template.py", TOY_3D, slices, tmp_path_factory.mktemp("deep"), FULL_VOLUME=True)


@pytest.mark.parametrize(
    ("theirs", "ours", "settings"),
    [
        ("per_image/blending", "blended", {"ENSEMBLE": True}),
        ("overlap_50/none", "crops", {}),
        ("full_image/ensemble", "full", {"ENSEMBLE": True, "Z_FILTER_SIZE": 5}),
    ],
)
def test_images_are_predicted_as_by_the_run(theirs, ours, settings, flat, toy_data, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(toy_data / "test" / "x", images)
    predict(images, tmp_path, "--id", "new", RUN=flat, PROTOCOL=ours, **settings)
    folder = tmp_path / "results" / "new_0"
    for part in ("probability", "binary"):
        assert_same_files(flat / "images" / theirs / part, folder / "images" / ours / "none" / part)
        if "Z_FILTER_SIZE" in settings:
            run = flat / "images" / "full_image" / "ensemble_z_filter" / part
            assert_same_files(run, folder / "images" / ours / "z_filter" / part)
    assert not (folder / "scores.json").exists() and (folder / "report.html").exists()


def test_images_stretched_each_are_post_processed_as_by_the_run(toy_data, tmp_path):
    data = tmp_path / "data"
    for path in toy_data.glob("*/[xy]/*.png"):
        image = imread_grey(path)
        target = data / path.relative_to(toy_data).with_suffix(".tif")
        target.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(target, image.astype(np.int16) * 20 - 700 if target.parent.name == "x" else image)
    edges = {"WATERSHED": "edges", "WATERSHED_REACH": 1}
    options = edges | {"NORMALISATION": "percentile_per_image", "LOSS": "w_bce", "LEARNING_RATE": 0.01, "EPOCHS": 6}
    flat = train("general_template.py", TOY_2D, data, tmp_path, **options, ENSEMBLE=False)
    predict(data / "test" / "x", tmp_path, "--id", "new", RUN=flat, PROTOCOL="crops", OVERLAP=0.0, **edges)
    ours = tmp_path / "results" / "new_0" / "images" / "crops"
    for part, post in (("probability", "none"), ("binary", "watershed")):
        assert_same_files(flat / "images" / "per_image" / post / part, ours / post / part)
    moved = [imread_grey(ours / "watershed" / "binary" / path.name) for path in (ours / "none" / "binary").iterdir()]
    assert 0.02 < np.mean(moved) / 255 < 0.9


def test_volumes_are_predicted_as_by_the_run_and_in_python(deep, slices, tmp_path):  # noqa: F811
    predict(slices, tmp_path, "--id", "new", RUN=deep, PROTOCOL="crops", OVERLAP=0.0, INSTANCES=True)
    folder = tmp_path / "results" / "new_0"
    for part in ("probability", "binary"):
        assert_same_files(deep / "images/per_image/none" / part, folder / "images/crops/none" / part)
    assert (folder / "instances.csv").exists()
    assert len(list((folder / "images/crops/instances/labels").iterdir())) == 5

    trained = load_predictor(deep)
    paths = sorted((slices / "test" / "x").iterdir())
    volume = np.stack([imread_grey(path) for path in paths])
    mask = trained.segment(volume, protocol="full")
    saved = [tifffile.imread(deep / "images/full_image/none/binary" / f"{path.stem}.tif") for path in paths]
    np.testing.assert_array_equal(mask[..., 0] * 255, np.stack(saved))


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_predicts_the_same(backend, deep, slices, tmp_path):  # noqa: F811
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    predict(slices, tmp_path, "--id", "new", RUN=deep, PROTOCOL="full", backend=backend)
    assert f"backend {backend}" in (tmp_path / "results/new_0/log.txt").read_text()
    for path in (deep / "images/full_image/none/probability").iterdir():
        ours = tifffile.imread(tmp_path / "results/new_0/images/full/none/probability" / path.name)
        np.testing.assert_allclose(ours, tifffile.imread(path), atol=0.002)


def imread_grey(path):
    from PIL import Image

    return np.asarray(Image.open(path))


POST = {
    "ENSEMBLE": True,
    "PROTOCOL": "crops",
    "CROP_SHAPE": "(64,32,1)",
    "OVERLAP": "(0.25,0.5)",
    "PADDING": 4,
    "PADDING_MODE": "median",
    "BATCH_SIZE": 3,
    "Z_FILTER_SIZE": 3,
    "SPURIOUS_BELOW": 0.55,
    "THRESHOLD": 0.4,
    "WATERSHED": "edges",
    "WATERSHED_REACH": 1,
    "MIN_OBJECT_SIZE": 3,
    "FILL_HOLES": True,
    "INSTANCES": True,
    "INSTANCE_DISTANCE_NM": 10.0,
    "INSTANCE_CONTOURS": True,
    "VOXEL_SIZE_NM": "(20,20)",
    "INTENSITY_RANGE": "(0,255)",
    "RESCALE": False,
}


def test_every_post_processing_is_done_in_turn_and_instances_are_measured(flat, toy_data, tmp_path):
    weights = flat / "checkpoints" / "best.weights.h5"
    predict(toy_data, tmp_path, "--id", "post", "--precision", "float32", RUN=weights, **POST)
    folder = tmp_path / "results" / "post_0"
    posts = ["none", "z_filter", "spurious", "threshold", "watershed", "large_objects", "filled_holes", "instances"]
    assert {path.name for path in (folder / "images/crops").iterdir()} == set(posts)
    labels = [tifffile.imread(path) for path in sorted((folder / "images/crops/instances/labels").iterdir())]
    rows = list(csv.DictReader((folder / "instances.csv").open()))
    assert len(rows) == sum(len(np.unique(image)) - 1 for image in labels)
    filled = [tifffile.imread(path) > 0 for path in sorted((folder / "images/crops/filled_holes/binary").iterdir())]
    assert all((mask | (label == 0)).all() for mask, label in zip(filled, labels, strict=True))
    assert {name for name, _, _ in template_variables((running.ROOT / "templates" / TEMPLATE).read_text())} == {
        *POST,
        "RUN",
        "IMAGE_DATASET",
    }


def test_a_dry_run_predicts_the_first_image(flat, toy_data, tmp_path):
    predict(toy_data, tmp_path, "--id", "dry", "--dry-run", RUN=flat, WATERSHED="gradient")
    folder = tmp_path / "results" / "dry_0_dry_run"
    assert len(list((folder / "images/blended/watershed/binary").iterdir())) == 1


def test_a_run_with_loaded_weights_can_predict_too(flat, toy_data, tmp_path):
    weights = flat / "checkpoints" / "best.weights.h5"
    options = {"INSTANCE_TARGETS": "('binary','contour')", "NORMALISATION": "mean_std", "LOSS": "bce_dice"}
    again = train("general_template.py", TOY_2D, toy_data, tmp_path, LOAD_WEIGHTS=weights, **options)
    image = imread_grey(next((toy_data / "test" / "x").iterdir()))
    first, second = load_predictor(flat), load_predictor(again)
    np.testing.assert_array_equal(first.predict(image), second.predict(image))
    assert json.loads((again / "checkpoints" / "network.json").read_text())["template"].endswith("general_template.py")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "RUN is not set. Give the folder of a run"),
        ({"RUN": "{run}", "PROTOCOL": "blendet"}, "PROTOCOL 'blendet' is not known; did you mean 'blended'"),
        ({"RUN": "{run}", "CROP_SHAPE": "(30,32,1)"}, "CROP_SHAPE (30, 32, 1) does not suit the network"),
        ({"RUN": "{run}", "WATERSHED": "edge"}, "WATERSHED 'edge' is not known"),
        ({"RUN": "{run}", "SPURIOUS_BELOW": "0.1"}, "the post-processing: SPURIOUS_BELOW: min_probability is 0.1"),
        ({"RUN": "{run}", "THRESHOLD": "50.0"}, "THRESHOLD is 50.0; wanted a number from 0 to 1"),
    ],
)
def test_mistakes_are_one_sentence_before_anything_is_written(settings, sentence, flat, toy_data, tmp_path):
    settings = {name: value.replace("{run}", str(flat)) for name, value in settings.items()}
    result = running.run(TEMPLATE, toy_data, tmp_path, **settings)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert sentence in result.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "results").exists()
