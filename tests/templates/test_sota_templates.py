"""The templates of the four published methods run on toy data, with the labels of the references."""

from pathlib import Path

import numpy as np
import pytest
from running import ROOT, read_scores
from test_2d_templates import PUBLISHED_LABELS as LABELS_2D
from test_2d_templates import TOY as TOY_2D
from test_3d_templates import PUBLISHED_LABELS as LABELS_3D
from test_3d_templates import TOY as TOY_3D
from test_architectures import run, volume_slices  # noqa: F401 - a fixture

from utils.synthetic_em import write_demo_data

NO_LEVELS = {"FEATURE_MAPS": None, "DEPTH": None, "DROP_VALUES": None, "EPOCHS": 1, "LOSS": None, "SCHEDULE": None}
CASSER = NO_LEVELS | {"START_FILTERS": 4, "DROP_VALUE": 0.1}
CHENG = NO_LEVELS | {"NUM_INIT_CHANNELS": 4, "BATCH_SIZE": 2}
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
TEMPLATES = {
    "casser_2018/casser_template_V0.py": (TOY_2D, CASSER),
    "casser_2018/casser_template_V1.py": (TOY_2D, CASSER),
    "cheng_2017/cheng_2D_template_V0.py": (TOY_2D, CHENG),
    "cheng_2017/cheng_2D_template_V1.py": (TOY_2D, CHENG | {"RANDOM_CROPS": 1}),
    "cheng_2017/cheng_3D_template_V0.py": (TOY_3D, CHENG_3D),
    "cheng_2017/cheng_3D_template_V1.py": (TOY_3D, CHENG_3D),
    "oztel_2017/oztel_template_V0.py": (TOY_2D, OZTEL),
    "oztel_2017/oztel_template_V1.py": (TOY_2D, OZTEL),
    "xiao_2018/xiao_template_V0.py": (TOY_3D, XIAO),
    "xiao_2018/xiao_template_V1.py": (TOY_3D, XIAO),
}
XIAO_LABELS = ["Post-process: Connected Objects - Test Foreground IoU (merge into complete image)"]
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
        assert f"{label}: " in result.stdout and np.isfinite(scores[label])
