"""Every template that differs from a reference in its network runs, with the same labels as the reference."""

import json
import shutil

import numpy as np
import pytest
import running
import tifffile
from PIL import Image
from running import ROOT, read_scores
from scipy import ndimage
from test_2d_templates import PUBLISHED_LABELS as LABELS_2D
from test_2d_templates import TOY as TOY_2D
from test_3d_templates import PUBLISHED_LABELS as LABELS_3D
from test_3d_templates import TOY as TOY_3D
from test_3d_templates import make_volume

from data_sets.synthetic_em import write_demo_data

LEVELS = {"FEATURE_MAPS": None, "DEPTH": None, "DROP_VALUES": None}
SMALL_FCN = LEVELS | {"FEATURE_MAPS": "(2,2,4,4,4)", "FULLY_CONNECTED": 8}
SMALL_TIRAMISU = LEVELS | {
    "N_FILTERS_FIRST_CONV": 4,
    "N_POOL": 2,
    "GROWTH_RATE": 2,
    "N_LAYERS_PER_BLOCK": "(1,2,2,2,1)",
}
TEMPLATES_2D = {
    "Residual_U-Net_2D_template.py": {},
    "Attention_U-Net_2D_template.py": {},
    "SE_U-Net_2D_template.py": {},
    "FCN8_template.py": SMALL_FCN,
    "FCN32_template.py": SMALL_FCN,
    "MultiResUNet_template.py": {"FEATURE_MAPS": "(4,6,8)", "DROP_VALUES": None},
    "MNet_template.py": {"OUTPUT_WEIGHTS": "(0.6,0.2,0.2)", "DROP_VALUES": None},
    "Tiramisu_template.py": SMALL_TIRAMISU,
    "U-Net++_template.py": LEVELS
    | {"FEATURE_MAPS": "(2,2,4,4,4)", "ENCODER_WEIGHTS": "None", "DEEP_SUPERVISION": True, "BATCH_SIZE": 16},
    # strides of 8 along y and 16 along x: the ensemble cannot turn crops
    "nnU-Net_template.py": LEVELS | {"CROP_SHAPE": "(40,64,1)", "FEATURE_MAPS": 4, "MAX_FEATURE_MAPS": 8},
    "Kasthuri++/U-Net_2D_template.py": {},
    "Kasthuri++/Residual_U-Net_2D_template.py": {"DROP_ORDER": "published"},
    "Kasthuri++/Attention_U-Net_2D_template.py": {"GATE": "decoder"},
}
TEMPLATES_3D = {
    "Residual_U-Net_3D_template.py": {"DROP_ORDER": "published"},
    "Attention_U-Net_3D_template.py": {"GATE": "decoder"},
    "SE_U-Net_3D_template.py": {},
    "Vanilla_U-Net_3D_template.py": {"FEATURE_MAPS": "(3,4,5,6)", "DROP_VALUES": None},
    "Kasthuri++/U-Net_3D_template.py": {},
    "Kasthuri++/Residual_U-Net_3D_template.py": {},
    "Kasthuri++/Attention_U-Net_3D_template.py": {},
}
ELSEWHERE = {
    "general_template.py",
    "big_data_template.py",
    "big_volume_template.py",
    "predict_template.py",
    "U-Net_2D_template.py",
    "U-Net_3D_template.py",
    "U-Net_3D_template_loading_3D_images.py",
}


def run(template, toy, data, job, *flags, **settings):
    """Run with toy settings; a setting of None is not given, because the template has no such variable."""
    chosen = {name: value for name, value in (toy | settings).items() if value is not None}
    result = running.run(template, data, job, *flags, **chosen)
    assert result.returncode == 0, result.stderr
    return result


def test_every_template_is_run_by_some_test():
    names = {str(path.relative_to(ROOT / "templates")) for path in (ROOT / "templates").rglob("*_template*.py")}
    assert names == ELSEWHERE | set(TEMPLATES_2D) | set(TEMPLATES_3D)


@pytest.fixture(scope="module")
def odd_slices(tmp_path_factory):
    """Return a data folder with eight training and four test slices of 67 x 97, which no crop or pooling divides."""
    options = {"n_train": 8, "n_test": 4, "image_shape": (67, 97), "voxel_size_nm": (20, 20, 20)}
    return write_demo_data(tmp_path_factory.mktemp("odd") / "data", **options)


@pytest.mark.parametrize("template", TEMPLATES_2D)
def test_2d_template(template, toy_data, odd_slices, tmp_path):
    data = odd_slices if template.startswith("Kasthuri++") else toy_data
    result = run(template, TOY_2D, data, tmp_path, "--id", "toy", EPOCHS=1, **TEMPLATES_2D[template])
    scores = read_scores(tmp_path / "results" / "toy_0")
    for label in LABELS_2D:
        assert f"{label}: " in result.stdout and np.isfinite(scores[label])


@pytest.fixture(scope="module")
def volume_slices(tmp_path_factory):
    """Return a data folder with 12 training and 5 test slices of 33 x 37 as two multi-page tifs."""
    data = tmp_path_factory.mktemp("volumes")
    for seed, (part, depth) in enumerate({"train": 12, "test": 5}.items()):
        for kind, array in zip("xy", make_volume((depth, 33, 37), seed), strict=True):
            (data / part / kind).mkdir(parents=True)
            tifffile.imwrite(data / part / kind / "volume.tif", array, imagej=True, metadata={"axes": "ZYX"})
    return data


@pytest.mark.parametrize("template", TEMPLATES_3D)
def test_3d_template(template, volume_slices, tmp_path):
    settings = {"EPOCHS": 1, "FULL_VOLUME": True} | TEMPLATES_3D[template]
    result = run(template, TOY_3D, volume_slices, tmp_path, "--id", "toy", **settings)
    scores = read_scores(tmp_path / "results" / "toy_0")
    for label in LABELS_3D:
        assert f"{label}: " in result.stdout and np.isfinite(scores[label])


def test_nnunet_as_published(toy_data, tmp_path):
    as_published = {"PLAN": "published", "NORMALIZATION": "published", "LOSS": "bce", "CROP_SHAPE": "(128,256,1)"}
    settings = TEMPLATES_2D["nnU-Net_template.py"] | as_published
    result = run("nnU-Net_template.py", TOY_2D, toy_data, tmp_path, "--id", "toy", "--dry-run", **settings)
    assert "probability_7" in result.stdout


@pytest.fixture(scope="module")
def as_deep_as_kasthuri(tmp_path_factory):
    """Return a data folder with 85 training and 75 test slices of 91 x 97 as two multi-page tifs."""
    data = tmp_path_factory.mktemp("kasthuri")
    for part, depth in {"train": 85, "test": 75}.items():
        for kind in "xy":
            (data / part / kind).mkdir(parents=True)
            array = np.random.default_rng(depth).integers(0, 2, (depth, 91, 97), np.uint8) * 255
            tifffile.imwrite(data / part / kind / "volume.tif", array, imagej=True, metadata={"axes": "ZYX"})
    return data


@pytest.mark.parametrize("template", [template for template in TEMPLATES_3D if template.startswith("Kasthuri++")])
def test_kasthuri_3d_templates_take_the_depth_of_their_data(template, as_deep_as_kasthuri, tmp_path):
    small = {"FEATURE_MAPS": "(1,1,1,1)", "BATCH_SIZE": 1, "FULL_VOLUME": False}
    run(template, {}, as_deep_as_kasthuri, tmp_path, "--id", "deep", "--dry-run", **small)


@pytest.mark.parametrize(
    ("reference", "other", "toy", "data"),
    [
        ("U-Net_2D_template.py", "Kasthuri++/U-Net_2D_template.py", TOY_2D, "toy_data"),
        ("U-Net_2D_template.py", "Kasthuri++/U-Net_2D_template.py", TOY_2D | {"ENSEMBLE": False}, "toy_data"),
        ("U-Net_3D_template.py", "Kasthuri++/U-Net_3D_template.py", TOY_3D, "volume_slices"),
        ("U-Net_3D_template.py", "Kasthuri++/U-Net_3D_template.py", TOY_3D | {"ENSEMBLE": False}, "volume_slices"),
    ],
)
def test_evaluation_in_one_call_is_that_of_the_reference(reference, other, toy, data, tmp_path, request):
    data = request.getfixturevalue(data)
    run(reference, toy, data, tmp_path, "--id", "reference", EPOCHS=1)
    weights = tmp_path / "results" / "reference_0" / "checkpoints" / "best.weights.h5"
    run(other, toy, data, tmp_path, "--id", "other", EPOCHS=1, LOAD_WEIGHTS=weights)
    rows = [
        json.loads((tmp_path / "results" / name / "scores.json").read_text()) for name in ("reference_0", "other_0")
    ]
    assert [row["label"] for row in rows[0]] == [row["label"] for row in rows[1]]
    assert any("ensemble" in row["post"] for row in rows[0]) == toy.get("ENSEMBLE", True)
    values = [np.array([row["value"] for row in part], float) for part in rows]  # None is NaN
    np.testing.assert_allclose(*values, atol=1e-6)
    assert np.isfinite(values[0]).any()


@pytest.mark.parametrize(
    ("template", "toy"), [("Attention_U-Net_2D_template.py", TOY_2D), ("SE_U-Net_3D_template.py", TOY_3D)]
)
def test_several_classes_are_scored_one_by_one(template, toy, toy_data, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(toy_data, data)
    for path in data.glob("*/y/*.png"):
        mitochondria = np.asarray(Image.open(path)) > 0
        inside = ndimage.binary_erosion(mitochondria, iterations=3)
        Image.fromarray(mitochondria.astype(np.uint8) + inside).save(path)
    crop = {"CROP_SHAPE": "(4,32,32,1)"} if toy is TOY_3D else {}
    run(template, toy, data, tmp_path, "--id", "classes", EPOCHS=1, N_CLASSES=3, **crop)
    folder = tmp_path / "results" / "classes_0"
    rows = json.loads((folder / "scores.json").read_text())
    metrics = {row["metric"] for row in rows if row["protocol"] == "overlap_50"}
    assert {"iou_class_0", "iou_class_1", "iou_class_2"} <= metrics
    written = folder / "images" / "overlap_50" / "ensemble"
    name = next((written / "binary").iterdir()).name
    probability, classes = (tifffile.imread(written / part / name) for part in ("probability", "binary"))
    assert probability.shape[-1] == 3
    np.testing.assert_allclose(probability.sum(axis=-1), 1, atol=0.001)
    assert (probability.argmax(axis=-1) == classes).all()
