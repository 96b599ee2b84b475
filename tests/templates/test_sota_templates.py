"""The templates of the four published methods run on toy data, with the labels of the references."""

import os
import runpy
import shutil
import sys

import numpy as np
import pytest
import running
from PIL import Image
from running import ROOT, read_scores
from test_2d_templates import PUBLISHED_LABELS as LABELS_2D
from test_3d_templates import PUBLISHED_LABELS as LABELS_3D

from data_sets.synthetic_em import write_demo_data

XIAO_LABELS = [
    f"Post-process: {post} - Test Foreground IoU (merge into complete image)"
    for post in ("Fused Layers", "Connected Objects")
]
OZTEL_LABELS = [
    f"{post}Test {score} IoU (full)"
    for post in (
        "",
        "Post-process: Ensemble - ",
        "Post-process: Ensemble + Z-Filtering - ",
        "Post-process: Spurious Detection - ",
        "Post-process: Spurious Detection + Watershed - ",
        "Post-process: Spurious Detection + Watershed + Z-Filtering - ",
    )
    for score in ("Foreground", "Overall")
]
LABELS = {
    "casser_2018/casser": LABELS_2D,
    "cheng_2017/cheng_2D": LABELS_2D,
    "cheng_2017/cheng_3D": LABELS_3D,
    "oztel_2017/oztel": OZTEL_LABELS,
    "xiao_2018/xiao": [*LABELS_3D, *XIAO_LABELS],
}
DATA = {
    "casser_2018/casser": "odd_slices",
    "cheng_2017/cheng_2D": "odd_slices",
    "cheng_2017/cheng_3D": "volume_slices",
    "oztel_2017/oztel": "magnified_slices",
    "xiao_2018/xiao": "volume_slices",
}
SLICES = {"CROP_SHAPE": "(32,32,1)", "EPOCHS": 1}
VOLUMES = {"EPOCHS": 1, "FULL_VOLUME": True, "Z_FILTER_SIZE": 3}
CHENG = {"NUM_INIT_CHANNELS": 4, "BATCH_SIZE": 2, "LEARNING_RATE": 0.005}
TOY = {
    "casser_2018/casser": SLICES | {"START_FILTERS": 4},
    "cheng_2017/cheng_2D": SLICES | CHENG,
    "cheng_2017/cheng_3D": VOLUMES | CHENG | {"CROP_SHAPE": "(8,32,32,1)"},
    "oztel_2017/oztel": {
        "FOREGROUND_ABOVE": 0.5,
        "VALIDATION_SPLIT": 0.25,
        "WATERSHED_OPEN": 1,
        "WATERSHED_DILATE": 2,
        "WATERSHED_ERODE": 2,
        "BATCH_SIZE": 16,
        "EPOCHS": 1,
    },
    "xiao_2018/xiao": VOLUMES
    | {
        "CROP_SHAPE": "(5,32,32,1)",
        "TEST_CROP_SHAPE": "(5,32,40,1)",
        "RANDOM_SUBVOLUMES": 2,
        "FEATURE_MAPS": "(4,5,6,7)",
        "MIN_VOXELS": 4,
    },
}
# V0 shows all stages; V1 runs without those that take long, or that can be left out.
ONLY_IN_V0 = {
    "casser_2018/casser": {"ENSEMBLE": False},
    "cheng_2017/cheng_2D": {"ENSEMBLE": False},
    "cheng_2017/cheng_3D": {"ENSEMBLE": False, "HALF_OVERLAP": False},
    "oztel_2017/oztel": {"Z_FILTER_SIZE": 0},
    "xiao_2018/xiao": {"ENSEMBLE": False, "HALF_OVERLAP": False},
}
LEFT_OUT = {"ENSEMBLE": "Ensemble", "HALF_OVERLAP": "50% overlap", "Z_FILTER_SIZE": "Ensemble + Z-Filtering"}
OZTEL = "sota_implementations/oztel_2017/oztel_template_V0.py"


def test_every_template_of_a_method_is_run():
    folder = ROOT / "sota_implementations"
    pages = {str(path.relative_to(folder)) for path in folder.glob("*/*_template*.py")}
    assert pages == {f"{method}_template_{version}.py" for method in TOY for version in ("V0", "V1")}


@pytest.fixture(scope="module")
def odd_slices(tmp_path_factory):
    """Return a data folder with four training and three test slices of 41 x 52, which no crop or pooling divides."""
    options = {"n_train": 4, "n_test": 3, "image_shape": (41, 52), "voxel_size_nm": (20, 20, 20)}
    return write_demo_data(tmp_path_factory.mktemp("odd") / "data", **options)


@pytest.fixture(scope="module")
def magnified_slices(tmp_path_factory):
    """Return a data folder whose mitochondria fill whole patches of 32x32 pixels."""
    options = {"n_train": 8, "n_test": 2, "image_shape": (128, 128), "voxel_size_nm": (20, 5, 5)}
    return write_demo_data(tmp_path_factory.mktemp("magnified") / "data", **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, request):
    """Return a function that runs a template once, and gives its folder and what it printed."""
    job, runs = tmp_path_factory.mktemp("job"), {}

    def run(method, version, **settings):
        template = f"{method}_template_{version}"
        if template not in runs:
            data, name = request.getfixturevalue(DATA[method]), template.split("/")[1]
            page = f"sota_implementations/{template}.py"
            result = running.run(page, data, job, "--id", name, **TOY[method] | settings)
            assert result.returncode == 0, result.stderr
            runs[template] = job / "results" / f"{name}_0", result.stdout
        return runs[template]

    return run


@pytest.mark.parametrize("method", TOY)
def test_v0_trains_and_scores_all_stages(method, finished):
    folder, printed = finished(method, "V0")
    scores = read_scores(folder)
    for label in LABELS[method]:
        assert f"{label}: " in printed and np.isfinite(scores[label])


@pytest.mark.parametrize("method", TOY)
def test_v1_scores_the_stages_that_are_not_left_out(method, finished):
    # V1 has the training cell of V0 (test_settings.py) and, but for that of Oztel et al., the same network, whose
    # weights it loads.
    settings, same_network = ONLY_IN_V0[method], method != "oztel_2017/oztel"
    if same_network:
        settings = settings | {"LOAD_WEIGHTS": finished(method, "V0")[0] / "checkpoints" / "best.weights.h5"}
    else:
        settings = settings | {"FOREGROUND_REPEATS": None}
    folder, printed = finished(method, "V1", **settings)
    scores, of_v0 = read_scores(folder), read_scores(finished(method, "V0")[0])
    left_out = [part for name, part in LEFT_OUT.items() if name in settings]
    for label in LABELS[method]:
        if any(part in label for part in left_out):
            assert label not in printed and label not in scores
        else:
            assert f"{label}: " in printed and np.isfinite(scores[label])
            assert not same_network or scores[label] == pytest.approx(of_v0[label], abs=1e-6)


def test_images_of_different_sizes_need_the_last_z_filter_off(magnified_slices, finished, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(magnified_slices, data)
    for kind in "xy":
        path = sorted((data / "test" / kind).iterdir())[0]
        Image.fromarray(np.asarray(Image.open(path))[:-20]).save(path)
    settings = TOY["oztel_2017/oztel"] | {"Z_FILTER_SIZE": 0}
    result = running.run(OZTEL, data, tmp_path, "--id", "sizes", **settings)
    assert result.returncode == 1 and not (tmp_path / "results").exists()
    assert "the last z-filter needs slices of one volume. Use --set LAST_Z_FILTER_SIZE=0." in result.stderr
    weights = finished("oztel_2017/oztel", "V0")[0] / "checkpoints" / "best.weights.h5"
    settings |= {"LAST_Z_FILTER_SIZE": 0, "LOAD_WEIGHTS": weights}
    result = running.run(OZTEL, data, tmp_path, "--id", "sizes", **settings)
    assert result.returncode == 0, result.stderr
    scores = read_scores(tmp_path / "results" / "sizes_0")
    assert {label for label in OZTEL_LABELS if label in scores} == {
        label for label in OZTEL_LABELS if "Z-Filtering" not in label
    }


def test_dry_run(magnified_slices, tmp_path):
    result = running.run(OZTEL, magnified_slices, tmp_path, "--id", "dry", "--dry-run", **TOY["oztel_2017/oztel"])
    assert result.returncode == 0, result.stderr
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["dry_0_dry_run"]


BAD_SETTINGS = [
    ("oztel_2017/oztel", "LAST_Z_FILTER_SIZE=4", "LAST_Z_FILTER_SIZE is 4: such a median has no middle slice"),
    ("oztel_2017/oztel", "Z_FILTER_SIZE=4", "Z_FILTER_SIZE is 4: such a median has no middle slice"),
    ("oztel_2017/oztel", "SPURIOUS_BELOW=0.3", "SPURIOUS_BELOW is 0.3, but the mean"),
    ("oztel_2017/oztel", "WATERSHED_OPEN=-1", "WATERSHED_OPEN is -1; wanted a whole number from 0"),
    ("oztel_2017/oztel", "WATERSHED_DILATE=0 WATERSHED_ERODE=0", "WATERSHED_DILATE and WATERSHED_ERODE are 0"),
    ("oztel_2017/oztel", "WATERSHED_EDGE_SIGMA=-1.0", "WATERSHED_EDGE_SIGMA is -1.0"),
    ("xiao_2018/xiao", "MIN_LAYER_OVERLAP=3.0", "MIN_LAYER_OVERLAP is 3.0; wanted a number from 0 to 1"),
    ("xiao_2018/xiao", "MIN_VOXELS=-1", "MIN_VOXELS is -1; wanted a whole number"),
    ("xiao_2018/xiao", "Z_FILTER_SIZE=2", "Z_FILTER_SIZE is 2"),
]


@pytest.mark.parametrize("version", ["V0", "V1"])
@pytest.mark.parametrize(("method", "settings", "message"), BAD_SETTINGS)
def test_bad_post_processing_is_refused_before_anything_is_read(
    method, settings, message, version, tmp_path, monkeypatch
):
    template = str(ROOT / "sota_implementations" / f"{method}_template_{version}.py")
    overrides = [word for setting in settings.split() for word in ("--set", setting)]
    missing, job = str(tmp_path / "missing"), str(tmp_path / "job")
    monkeypatch.setattr(sys, "argv", [template, str(ROOT), missing, job, "--gpu", "-1", *overrides])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with pytest.raises(ValueError, match=f"^(--set: )?{message}"):
        runpy.run_path(template)
    assert not (tmp_path / "job").exists()
