"""Every template that differs from a reference in its network runs to its end and gives the scores of the reference."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import running
import tifffile
from PIL import Image
from running import read_scores
from scipy import ndimage
from test_2d_templates import PUBLISHED_LABELS as LABELS_2D
from test_3d_templates import PUBLISHED_LABELS as LABELS_3D
from test_3d_templates import make_volume
from toy_pages import n_axes, template_name, toy_settings

from data_sets.synthetic_em import write_demo_data
from study.page_network import ROOT, page_variables, template_files
from utils.data.checks import check_crop_shape
from utils.data.experiment_data import load_volumes

LABELS = {2: LABELS_2D, 3: LABELS_3D}
OTHER_TESTS = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__))
# The pages that no other test here runs.
PAGES = [page for page in template_files() if ROOT / "templates" in page.parents]
PAGES = [page for page in PAGES if f'"{template_name(page)}"' not in OTHER_TESTS]


def run(page, data, job, *flags, **settings):
    result = running.run(template_name(page), data, job, *flags, **toy_settings(page) | settings)
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return data folders by number of axes, of sizes that no crop or pooling divides; volumes are multi-page tifs."""
    folders = {axes: tmp_path_factory.mktemp(f"data_{axes}d") / "data" for axes in (2, 3)}
    write_demo_data(folders[2], n_train=4, n_test=3, image_shape=(43, 67), voxel_size_nm=(20, 20, 20))
    for seed, (part, depth) in enumerate({"train": 9, "test": 5}.items()):
        for kind, array in zip("xy", make_volume((depth, 21, 19), seed), strict=True):
            (folders[3] / part / kind).mkdir(parents=True)
            path = folders[3] / part / kind / "volume.tif"
            tifffile.imwrite(path, array, imagej=True, metadata={"axes": "ZYX"})
    return folders


@pytest.mark.parametrize("page", PAGES, ids=template_name)
def test_the_page_runs_to_its_end_and_gives_the_scores_of_the_reference(page, data, tmp_path):
    result = run(page, data[n_axes(page)], tmp_path, "--id", "toy")
    scores = read_scores(tmp_path / "results" / "toy_0")
    for label in LABELS[n_axes(page)]:
        if "Ensemble" not in label or toy_settings(page)["ENSEMBLE"]:
            assert f"{label}: " in result.stdout and np.isfinite(scores[label])
        else:
            assert label not in scores


def test_nnunet_as_published(data, tmp_path):
    as_published = {"PLAN": "published", "NORMALIZATION": "published", "LOSS": "bce", "CROP_SHAPE": (128, 256, 1)}
    page = ROOT / "templates" / "nnU-Net_template.py"
    result = run(page, data[2], tmp_path, "--id", "toy", "--dry-run", **as_published)
    assert "probability_7" in result.stdout


@pytest.fixture(scope="module")
def as_deep_as_kasthuri(tmp_path_factory):
    """Return a data folder with 85 training and 75 test slices of 91 x 97 as two multi-page tifs."""
    folder = tmp_path_factory.mktemp("kasthuri")
    for part, depth in {"train": 85, "test": 75}.items():
        for kind in "xy":
            (folder / part / kind).mkdir(parents=True)
            array = np.random.default_rng(depth).integers(0, 2, (depth, 91, 97), np.uint8) * 255
            tifffile.imwrite(folder / part / kind / "volume.tif", array, imagej=True, metadata={"axes": "ZYX"})
    return folder


KASTHURI_3D = [page for page in PAGES if page.parent.name == "Kasthuri++" and n_axes(page) == 3]


@pytest.mark.parametrize("page", KASTHURI_3D, ids=template_name)
def test_kasthuri_3d_templates_take_the_depth_of_their_data(page, as_deep_as_kasthuri):
    chosen = page_variables(page)
    check_crop_shape(chosen["CROP_SHAPE"], poolings=chosen["DEPTH"], z_down=chosen["Z_DOWN"])
    parts = {"validation_split": chosen["VALIDATION_SPLIT"], "overlap": chosen["OVERLAP"]}
    loaded = load_volumes(as_deep_as_kasthuri, chosen["CROP_SHAPE"], seed=chosen["SEED"], **parts)
    for crops in (loaded.train_crops, loaded.validation_crops, loaded.test_crops):
        assert crops.x[0].shape == chosen["CROP_SHAPE"]
    assert len(loaded.train.x[0]) == chosen["CROP_SHAPE"][0]


def rows_of(folder):
    return json.loads((folder / "scores.json").read_text())


@pytest.mark.parametrize("axes", [2, 3])
def test_evaluation_in_one_call_is_that_of_the_reference(axes, data, tmp_path):
    reference = ROOT / "templates" / f"U-Net_{axes}D_template.py"
    other = ROOT / "templates" / "Kasthuri++" / f"U-Net_{axes}D_template.py"
    run(reference, data[axes], tmp_path, "--id", "reference", ENSEMBLE=True)
    results = tmp_path / "results"
    weights = {"LOAD_WEIGHTS": results / "reference_0" / "checkpoints" / "best.weights.h5"}
    run(other, data[axes], tmp_path, "--id", "other", ENSEMBLE=True, **weights)
    run(reference, data[axes], tmp_path, "--id", "plain", **weights)
    rows = rows_of(results / "reference_0")
    without_ensemble = [row for row in rows if "ensemble" not in row["post"]]
    assert len(without_ensemble) < len(rows)
    for expected, name in ((rows, "other_0"), (without_ensemble, "plain_0")):
        found = rows_of(results / name)
        assert [row["label"] for row in found] == [row["label"] for row in expected]
        values = [np.array([row["value"] for row in part], float) for part in (found, expected)]  # None is NaN
        np.testing.assert_allclose(*values, atol=1e-6)
        assert np.isfinite(values[0]).any()


@pytest.mark.parametrize("name", ["Attention_U-Net_2D_template.py", "SE_U-Net_3D_template.py"])
def test_several_classes_are_scored_one_by_one(name, data, tmp_path):
    page = ROOT / "templates" / name
    folder = tmp_path / "data"
    shutil.copytree(data[2], folder)  # slices, which are a volume in 3D
    for path in folder.glob("*/y/*.png"):
        mitochondria = np.asarray(Image.open(path)) > 0
        inside = ndimage.binary_erosion(mitochondria, iterations=3)
        Image.fromarray(mitochondria.astype(np.uint8) + inside).save(path)
    run(
        page,
        folder,
        tmp_path,
        "--id",
        "classes",
        N_CLASSES=3,
        ENSEMBLE=True,
        CROP_SHAPE=(2, 16, 16, 1)[3 - n_axes(page) :],
    )
    results = tmp_path / "results" / "classes_0"
    metrics = {row["metric"] for row in rows_of(results) if row["protocol"] == "overlap_50"}
    assert {"iou_class_0", "iou_class_1", "iou_class_2"} <= metrics
    written = results / "images" / "overlap_50" / "ensemble"
    name = next((written / "binary").iterdir()).name
    probability, classes = (tifffile.imread(written / part / name) for part in ("probability", "binary"))
    assert probability.shape == (3, *classes.shape)  # the channels of ImageJ
    np.testing.assert_allclose(probability.sum(axis=0), 1, atol=0.001)
    assert (probability.argmax(axis=0) == classes).all()
