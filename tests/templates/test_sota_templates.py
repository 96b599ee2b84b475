"""The templates of the four published methods run on toy data, with the labels of the references."""

import os
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import running
from PIL import Image
from running import ROOT, read_scores
from test_2d_templates import PUBLISHED_LABELS as LABELS_2D
from test_2d_templates import TOY as TOY_2D
from test_3d_templates import PUBLISHED_LABELS as LABELS_3D
from test_3d_templates import TOY as TOY_3D
from test_architectures import run, volume_slices  # noqa: F401 - a fixture

from data_sets.synthetic_em import write_demo_data

NO_LEVELS = {"FEATURE_MAPS": None, "DEPTH": None, "DROP_VALUES": None, "EPOCHS": 1, "LOSS": None, "SCHEDULE": None}
CASSER = NO_LEVELS | {"START_FILTERS": 4, "DROP_VALUE": 0.1}
# Not AdamW, which makes the graph of so many layers a good part larger.
CHENG = NO_LEVELS | {"NUM_INIT_CHANNELS": 4, "BATCH_SIZE": 2, "OPTIMIZER": "sgd"}
CHENG_3D = CHENG | {"Z_DOWN": None, "CROP_SHAPE": "(8,32,32,1)"}
XIAO = NO_LEVELS | {"FEATURE_MAPS": "(4,5,6,7)", "RANDOM_SUBVOLUMES": 2, "CROP_SHAPE": "(5,32,32,1)"}
XIAO |= {"TEST_CROP_SHAPE": "(5,32,40,1)", "MIN_VOXELS": 4, "Z_DOWN": None}
OZTEL = NO_LEVELS | {
    "CROP_SHAPE": None,
    "DROP_VALUES": None,
    "FOREGROUND_ABOVE": 0.5,
    "VALIDATION_SPLIT": 0.25,
    "RANDOM_VALIDATION": True,
}
OZTEL |= {"WATERSHED_OPEN": 1, "WATERSHED_DILATE": 2, "WATERSHED_ERODE": 2, "BATCH_SIZE": 16}
# V1 runs without what V0 shows: one of each leaves out what takes long.
NO_ENSEMBLE, NO_HALF_OVERLAP = {"ENSEMBLE": False}, {"HALF_OVERLAP": False}
TEMPLATES = {
    "casser_2018/casser_template_V0.py": (TOY_2D, CASSER),
    "casser_2018/casser_template_V1.py": (TOY_2D, CASSER | NO_ENSEMBLE),
    "cheng_2017/cheng_2D_template_V0.py": (TOY_2D, CHENG),
    "cheng_2017/cheng_2D_template_V1.py": (TOY_2D, CHENG | {"RANDOM_CROPS": 1} | NO_ENSEMBLE),
    "cheng_2017/cheng_3D_template_V0.py": (TOY_3D, CHENG_3D),
    "cheng_2017/cheng_3D_template_V1.py": (TOY_3D, CHENG_3D | NO_ENSEMBLE | NO_HALF_OVERLAP),
    "oztel_2017/oztel_template_V0.py": (TOY_2D, OZTEL),
    "oztel_2017/oztel_template_V1.py": (TOY_2D, OZTEL | {"Z_FILTER_SIZE": 0, "FOREGROUND_REPEATS": "None"}),
    "xiao_2018/xiao_template_V0.py": (TOY_3D, XIAO),
    "xiao_2018/xiao_template_V1.py": (TOY_3D, XIAO | NO_ENSEMBLE | NO_HALF_OVERLAP),
}
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
LABELS = {"casser": LABELS_2D, "cheng_2D": LABELS_2D, "cheng_3D": LABELS_3D, "oztel": OZTEL_LABELS}
LEFT_OUT = {"ENSEMBLE": "Ensemble", "HALF_OVERLAP": "50% overlap", "Z_FILTER_SIZE": "Z-Filtering"}
LABELS |= {"xiao": [*LABELS_3D, *XIAO_LABELS]}


def test_every_template_of_a_method_is_run():
    folder = ROOT / "sota_implementations"
    assert {str(path.relative_to(folder)) for path in folder.glob("*/*_template*.py")} == set(TEMPLATES)


@pytest.fixture(scope="module")
def magnified_slices(tmp_path_factory):
    """Return a data folder whose mitochondria fill whole patches of 32x32 pixels."""
    options = {"n_train": 8, "n_test": 2, "image_shape": (128, 128), "voxel_size_nm": (20, 5, 5)}
    return write_demo_data(tmp_path_factory.mktemp("magnified") / "data", **options)


@pytest.mark.parametrize("template", TEMPLATES)
def test_template(template, tmp_path, request):
    toy, settings = TEMPLATES[template]
    method = Path(template).name.split("_template")[0]
    fixture = "magnified_slices" if method == "oztel" else "toy_data" if toy is TOY_2D else "volume_slices"
    data = request.getfixturevalue(fixture)
    settings = settings if toy is TOY_2D else {"FULL_VOLUME": True} | settings
    result = run(f"sota_implementations/{template}", toy, data, tmp_path, "--id", "toy", **settings)
    scores = read_scores(tmp_path / "results" / "toy_0")
    for label in LABELS[method]:
        left_out = [part for name, part in LEFT_OUT.items() if part in label and not settings.get(name, True)]
        # The last z-filter of Oztel et al. has a size of its own.
        if left_out and "Watershed" not in label:
            assert label not in result.stdout and label not in scores
        else:
            assert f"{label}: " in result.stdout and np.isfinite(scores[label])


def test_images_of_different_sizes_need_the_last_z_filter_off(magnified_slices, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(magnified_slices, data)
    for kind in "xy":
        path = sorted((data / "test" / kind).iterdir())[0]
        Image.fromarray(np.asarray(Image.open(path))[:-20]).save(path)
    template = "sota_implementations/oztel_2017/oztel_template_V0.py"
    settings = {name: value for name, value in (TOY_2D | OZTEL).items() if value is not None} | {"Z_FILTER_SIZE": 0}
    result = running.run(template, data, tmp_path, "--id", "sizes", **settings)
    assert result.returncode == 1 and not (tmp_path / "results").exists()
    assert "the last z-filter needs slices of one volume. Use --set LAST_Z_FILTER_SIZE=0." in result.stderr
    result = running.run(template, data, tmp_path, "--id", "sizes", LAST_Z_FILTER_SIZE=0, **settings)
    assert result.returncode == 0, result.stderr
    scores = read_scores(tmp_path / "results" / "sizes_0")
    assert {label for label in OZTEL_LABELS if label in scores} == {
        label for label in OZTEL_LABELS if "Z-Filtering" not in label
    }


def test_dry_run(magnified_slices, tmp_path):
    settings = {name: value for name, value in OZTEL.items() if value is not None}
    template = "sota_implementations/oztel_2017/oztel_template_V0.py"
    result = running.run(template, magnified_slices, tmp_path, "--id", "dry", "--dry-run", **settings)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["dry_0_dry_run"]


BAD_SETTINGS = [
    ("oztel_2017/oztel", "LAST_Z_FILTER_SIZE=4", "LAST_Z_FILTER_SIZE is 4: such a median has no middle slice"),
    ("oztel_2017/oztel", "Z_FILTER_SIZE=4", "Z_FILTER_SIZE is 4: such a median has no middle slice"),
    ("oztel_2017/oztel", "SPURIOUS_BELOW=0.3", "SPURIOUS_BELOW is 0.3, but the mean"),
    ("oztel_2017/oztel", "WATERSHED_OPEN=-1", "WATERSHED_OPEN is -1, but a number of steps"),
    ("oztel_2017/oztel", "WATERSHED_DILATE=0 WATERSHED_ERODE=0", "WATERSHED_DILATE and WATERSHED_ERODE are 0"),
    ("oztel_2017/oztel", "WATERSHED_EDGE_SIGMA=-1.0", "WATERSHED_EDGE_SIGMA is -1.0"),
    ("xiao_2018/xiao", "MIN_LAYER_OVERLAP=3.0", "MIN_LAYER_OVERLAP is 3.0, but a share"),
    ("xiao_2018/xiao", "MIN_VOXELS=-1", "MIN_VOXELS is -1 and MIN_SLICES 3"),
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
    with pytest.raises(ValueError, match=f"^{message}"):
        runpy.run_path(template)
    assert not (tmp_path / "job").exists()
