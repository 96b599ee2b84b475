"""Tests of the settings of the templates: V0 has those of the paper, and V1 differs from it as the study says."""

import ast
from pathlib import Path

import pytest

from utils.template_text import template_variables

FOLDER = Path(__file__).resolve().parents[2] / "sota_implementations"
V = ("V0", "V1")
RANDOM_ABOUT_FOREGROUND = {"RANDOM_CROPS": 1, "PROBABILITY_MAP": (0.94, 0.06)}
FLIPS_2D = {"HORIZONTAL_FLIP": True, "VERTICAL_FLIP": True, "ROTATION90": False}
ADAM = {"OPTIMIZER": "adam", "LEARNING_RATE": 0.0001, "SCHEDULE": None}
CHENG = {
    "OPTIMIZER": "sgd",
    "MOMENTUM": 0.9,
    "SCHEDULE": "step",
    "LOSS": "jaccard",
    "NUM_INIT_CHANNELS": 16,
    "DROP_VALUE": 0.1,
    "DOWNSAMPLING_GROUP": 4,
    "N_CLASSES": 2,
    "PATIENCE": 200,
    "VALIDATION_SPLIT": 0.1,
}
V0 = {
    "casser_2018/casser": {
        "CROP_SHAPE": (512, 512, 1),
        "RANDOM_CROPS": 1,
        "PROBABILITY_MAP": None,
        "ROTATION_RANGE": 180.0,
        **FLIPS_2D,
        "RANDOM_VALIDATION": False,
        "VALIDATION_SPLIT": 0.1,
        "OPTIMIZER": "adam",
        "LEARNING_RATE": 0.0005,
        "BATCH_SIZE": 4,
        "EPOCHS": 360,
        "PATIENCE": 200,
        "START_FILTERS": 16,
        "DROP_VALUE": 0.2,
        "ACTIVATION": "relu",
        "LOSS": "bce",
        "N_CLASSES": 1,
        "Z_FILTER_SIZE": 9,
    },
    "cheng_2017/cheng_2D": {
        **CHENG,
        "CROP_SHAPE": (256, 256, 1),
        **RANDOM_ABOUT_FOREGROUND,
        "ROTATION_RANGE": 0.0,
        **FLIPS_2D,
        "RANDOM_VALIDATION": True,
        "BATCH_SIZE": 24,
        "LEARNING_RATE": 0.05,
        "EPOCHS": 4000,
    },
    "cheng_2017/cheng_3D": {
        **CHENG,
        "CROP_SHAPE": (96, 128, 128, 1),
        "RANDOM_SUBVOLUMES": 0,
        "ROTATION90": True,
        "HORIZONTAL_FLIP": False,
        "VERTICAL_FLIP": False,
        "Z_FLIP": False,
        "ELASTIC_ALPHA": (0.0, 0.0),
        "BATCH_SIZE": 3,
        "LEARNING_RATE": 0.1,
        "EPOCHS": 545,
    },
    "oztel_2017/oztel": {
        "CROP_SHAPE": (32, 32, 1),
        "FOREGROUND_ABOVE": 0.8,
        "BACKGROUND_BELOW": 0.2,
        "FOREGROUND_REPEATS": 20,
        "VALIDATION_SPLIT": 0.2,
        "ROTATION_RANGE": 180.0,
        **FLIPS_2D,
        "WIDTH_SHIFT_RANGE": 0.2,
        "HEIGHT_SHIFT_RANGE": 0.2,
        "SHEAR_RANGE": 0.2,
        "DROP_VALUE": 0.5,
        "OPTIMIZER": "adam",
        "LEARNING_RATE": 0.001,
        "BATCH_SIZE": 128,
        "EPOCHS": 45,
        "PATIENCE": 25,
        "SPURIOUS_BELOW": 0.8,
        "WATERSHED_OPEN": 3,
        "WATERSHED_DILATE": 11,
        "WATERSHED_ERODE": 11,
        "WATERSHED_EDGE_SIGMA": 2.0,
        "WATERSHED_PART_TOUCHING": False,
        "LAST_Z_FILTER_SIZE": 9,
    },
    "xiao_2018/xiao": {
        "CROP_SHAPE": (20, 256, 256, 1),
        "TEST_CROP_SHAPE": (20, 448, 576, 1),
        "TEST_OVERLAP": (0.5, 0.0, 0.0),
        "RANDOM_SUBVOLUMES": 86 * 75,
        "HORIZONTAL_FLIP": True,
        "VERTICAL_FLIP": True,
        "Z_FLIP": True,
        "ROTATION90": True,
        "ELASTIC_ALPHA": (0.0, 0.0),
        "FEATURE_MAPS": (32, 48, 64, 80),
        "OUTPUT_WEIGHTS": (1.0, 0.15, 0.3),
        "N_CLASSES": 2,
        **ADAM,
        "EPSILON": 1e-8,
        "BATCH_SIZE": 2,
        "EPOCHS": 30,
        "PATIENCE": 30,
        "VALIDATION_SPLIT": 0.1,
    },
}
V1 = {
    "casser_2018/casser": RANDOM_ABOUT_FOREGROUND | {"RANDOM_CROPS": 2},
    "cheng_2017/cheng_2D": ADAM | {"EPOCHS": 400, "DROP_VALUE": 0.0, "ROTATION_RANGE": 180.0, "RANDOM_CROPS": 12},
    "cheng_2017/cheng_3D": ADAM | {"EPOCHS": 250, "PATIENCE": 30},
    "oztel_2017/oztel": {"DROP_VALUES": (0.1, 0.2, 0.3)},
    "xiao_2018/xiao": {"ELASTIC_ALPHA": (1.0, 2.0), "ELASTIC_SIGMA": 25.0},
}


def settings_of(method, version):
    text = (FOLDER / f"{method}_template_{version}.py").read_text()
    return {name: ast.literal_eval(default) for name, default, _ in template_variables(text)}


@pytest.mark.parametrize("method", V0)
def test_v0_has_the_settings_of_the_paper(method):
    found = settings_of(method, "V0")
    assert {name: found[name] for name in V0[method]} == V0[method]


@pytest.mark.parametrize("method", V1)
def test_v1_differs_from_v0_as_the_study_says_and_in_nothing_else(method):
    old, new = settings_of(method, "V0"), settings_of(method, "V1")
    assert {name: new[name] for name in V1[method]} == V1[method]
    assert {name for name in new if name not in old or new[name] != old[name]} <= set(V1[method])


@pytest.mark.parametrize("method", V1)
def test_v1_does_with_its_values_what_v0_does(method):
    old, new = ((FOLDER / f"{method}_template_{version}.py").read_text().partition("# %% Imports")[2] for version in V)
    # That of Oztel et al. has another network.
    new = new.replace("create_oztel_model_V1", "create_oztel_model").replace("DROP_VALUES", "DROP_VALUE")
    assert old == new and "train_network(" in old
