"""Every block of the general template does what it says: each option is switched on in one of these runs."""

import csv
import json

import numpy as np
import pytest
import running
from running import read_scores
from test_2d_templates import PUBLISHED_LABELS
from test_2d_templates import TOY as TOY_2D
from test_architectures import run, volume_slices  # noqa: F401 - a fixture

from utils.template_text import template_variables

TEMPLATE = "general_template.py"
TRANSFORMS = {
    "ROTATION90": True,
    "WIDTH_SHIFT_RANGE": 0.1,
    "HEIGHT_SHIFT_RANGE": 0.1,
    "SHEAR_RANGE": 5.0,
    "ZOOM_RANGE": "(0.9,1.1)",
    "ELASTIC_ALPHA": "(1,2)",
    "ELASTIC_SIGMA": 8.0,
    "MISALIGNMENT": "(1,3)",
    "BLUR_SIGMA": "(0.5,1)",
    "MEDIAN_SIZE": "(3,5)",
    "MOTION_LENGTH": "(3,5)",
    "BRIGHTNESS_RANGE": "(0.8,1.2)",
    "CONTRAST_RANGE": "(0.8,1.2)",
    "GAMMA_RANGE": "(0.8,1.2)",
    "NOISE_STD": "(0,0.1)",
    "DROPOUT_RANGE": "(0,0.1)",
    "MISSING_SECTIONS": "(0.1,0.2)",
    "CUTMIX_SIZE": "(0.2,0.4)",
    "CUTBLUR_SIZE": "(0.2,0.4)",
    "CUTNOISE_SIZE": "(0.2,0.4)",
    "CUTOUT_SIZE": "(0.2,0.4)",
    "FILL_MODE": "nearest",
    "AUGMENTATION_PROBABILITY": 0.5,
}
# The options of each run; a run may need weights of the first.
RUNS = {
    "data": TRANSFORMS
    | {
        "MIN_FOREGROUND": 0.01,
        "EXTRA_DATA": "({'folder': '{data}', 'n_crops': 5},)",
        "REPLICATE": 1.5,
        "NORMALISATION": "mean_std",
        "WEIGHT_MAPS": True,
        "WEIGHT_MAP_W0": 5.0,
        "WEIGHT_MAP_SIGMA": 3.0,
        "LOSS": "w_bce_dice",
        "CHOOSE_THRESHOLD": True,
        "GRAD_CAM_LAYER": "conv2d_1",
        "FEATURE_MAPS_LAYER": "conv2d",
        "KERNELS_LAYER": "conv2d",
        "FIND_LEARNING_RATE": True,
        "SCHEDULE": "cosine",
        "TENSORBOARD": True,
    },
    "fine_tuning": {
        "FINE_TUNE_FROM": "{weights}",
        "FREEZE_UNTIL": "conv2d_1",
        "RANDOM_CROPS": 2,
        "PROBABILITY_MAP": "(0.9,0.1)",
        "NORMALISATION": "percentile_per_image",
        "PERCENTILES": "(2.0,98.0)",
        "LOSS": "focal",
        "CLASS_WEIGHTS": "(1,2)",
        "OPTIMIZER": "adabound",
        "SCHEDULE": "plateau",
        "PRECISION": "mixed_bfloat16",
        "RANDOM_VALIDATION": False,
        "SPURIOUS_BELOW": 0.55,
        "WATERSHED": "edges",
        "WATERSHED_REACH": 1,
        "MIN_OBJECT_SIZE": 4,
        "FILL_HOLES": True,
    },
    "instances": {
        "INSTANCE_TARGETS": "('binary','contour','distance')",
        "INSTANCES": True,
        "INSTANCE_DISTANCE_NM": 20.0,
        "VOXEL_SIZE_NM": "(20,20)",
        "LOSS": "bce_dice",
        "Z_FILTER_SIZE": 0,
    },
    "volumes": {
        "CROP_SHAPE": "(4,32,32,1)",
        "Z_DOWN": 1,
        "Z_FLIP": True,
        "VALIDATION_SPLIT": 0.25,
        "BATCH_SIZE": 1,
        "RANDOM_CROPS": 3,
        "NORMALISATION": "percentile",
        "LOSS": "tversky",
        "EPOCHS": 1,
        "ELASTIC_ALPHA": "(1,2)",
        "MISALIGNMENT": "(1,3)",
        "MISSING_SECTIONS": "(0.1,0.3)",
        "CUTMIX_SIZE": "(0.2,0.4)",
        "WATERSHED": "gradient",
        "MIN_OBJECT_SIZE": 4,
        "INSTANCES": True,
        "VOXEL_SIZE_NM": "(20,20,20)",
    },
    "classes": {"N_CLASSES": 2, "CLASS_WEIGHTS": "(1,2)", "EPOCHS": 1, "Z_FILTER_SIZE": 0, "OVERLAP": 0.25},
}
# Variables that all templates have are switched in the tests of the others.
ELSEWHERE = {"INTENSITY_RANGE", "LOAD_WEIGHTS"}
POSTS = {
    "data": ["chosen_threshold"],
    "fine_tuning": ["spurious", "watershed", "large_objects", "filled_holes"],
    "instances": ["instances", "instances_by_contour"],
    "volumes": ["watershed", "large_objects", "instances"],
    "classes": ["none"],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, toy_data, volume_slices):  # noqa: F811
    """Run the template with the options of a name, once, and return the folder of the run and what was printed."""
    job, done = tmp_path_factory.mktemp("general"), {}

    def make(name):
        if name not in done:
            weights = make("data")[0] / "checkpoints" / "best.weights.h5" if name == "fine_tuning" else ""
            data = volume_slices if name == "volumes" else toy_data
            options = {
                option: value.replace("{data}", str(data)).replace("{weights}", str(weights))
                if isinstance(value, str)
                else value
                for option, value in RUNS[name].items()
            }
            result = run(TEMPLATE, TOY_2D, data, job, "--id", name, **options)
            done[name] = job / "results" / f"{name}_0", result.stdout
        return done[name]

    return make


@pytest.mark.parametrize("name", RUNS)
def test_blocks_run_and_score(name, finished):
    folder, printed = finished(name)
    rows = json.loads((folder / "scores.json").read_text())
    assert set(POSTS[name]) <= {row["post"] for row in rows}
    assert all(np.isfinite(row["value"]) for row in rows if row["metric"] == "foreground_iou")
    assert "Finished in" in printed


def test_every_variable_is_switched_on_in_some_run():
    text = (running.ROOT / "templates" / TEMPLATE).read_text()
    switched = {option for options in RUNS.values() for option in options} | set(TOY_2D) | ELSEWHERE
    shared = (running.ROOT / "templates" / "U-Net_2D_template.py").read_text()
    shared = {name for name, _, _ in template_variables(shared)}
    assert {name for name, _, _ in template_variables(text)} - switched - shared == set()


def test_as_it_stands_it_does_what_the_reference_does(toy_data, tmp_path):
    scores = []
    for template in (TEMPLATE, "U-Net_2D_template.py"):
        run(template, TOY_2D, toy_data, tmp_path, "--id", template[:7], "--set", "EPOCHS=1", DETERMINISTIC=True)
        scores.append(read_scores(tmp_path / "results" / f"{template[:7]}_0"))
    assert scores[0] == scores[1] and set(PUBLISHED_LABELS) <= set(scores[0])


def test_data_options_leave_their_traces(finished):
    folder, printed = finished("data")
    assert "training crops kept: at least 1 % foreground" in printed
    assert json.loads((folder / "normalisation.json").read_text())["intensity_range"]["std"] > 0
    cache = folder.parents[1] / "cache"
    assert list(cache.glob("kept_crops_*.json")) and len(list(cache.iterdir())) > 5
    assert list((folder / "tensorboard").rglob("events.out.tfevents*"))
    for chart in ("thresholds", "grad_cam", "feature_maps", "kernels", "learning_rate_finder"):
        assert (folder / "charts" / f"{chart}.png").stat().st_size > 1000


def test_fine_tuning_begins_with_the_weights_of_the_other_run(finished):
    printed = finished("fine_tuning")[1]
    assert "layers fit" in printed and "conv2d_1" in printed


def test_instances_are_measured(finished):
    for name in ("instances", "volumes"):
        table = finished(name)[0] / "instances.csv"
        assert table.exists()
        for row in csv.DictReader(table.open()):
            assert float(row["length_nm"]) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"RANDOM_CROPS": 2, "MIN_FOREGROUND": 0.1}, "RANDOM_CROPS=2 and MIN_FOREGROUND=0.1 exclude each other"),
        ({"WATERSHED": "edge"}, "WATERSHED"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message, toy_data, tmp_path):
    result = running.run(TEMPLATE, toy_data, tmp_path, **TOY_2D | options)
    assert result.returncode == 1 and message in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "results").exists()
