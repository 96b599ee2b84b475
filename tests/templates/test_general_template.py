"""Every block of the general template does what it says: each option is switched on in one of these runs."""

import ast
import builtins
import csv
import dataclasses
import json
import re

import h5py
import numpy as np
import pytest
import running
from PIL import Image
from running import read_scores
from test_2d_templates import PUBLISHED_LABELS
from test_2d_templates import TOY as TOY_2D

from generators.image_data_generator import ImageDataGenerator
from generators.voxel_data_generator import VoxelDataGenerator
from utils.metrics.components import connected_components
from utils.template_text import template_variables
from utils.training.losses import LOSSES

TEMPLATE = "general_template.py"
TEXT = (running.ROOT / "templates" / TEMPLATE).read_text()
BLOCKS = [cell for cell in re.split(r"^(?=# %% )", TEXT, flags=re.MULTILINE) if re.match(r"# %% [\w ]+: \d", cell)]
TRANSFORMS = {
    "ROTATION90": True,
    "WIDTH_SHIFT_RANGE": 0.1,
    "HEIGHT_SHIFT_RANGE": 0.1,
    "SHEAR_RANGE": 5.0,
    "ZOOM_RANGE": "(0.9,1.1)",
    "ELASTIC_ALPHA": "(1,2)",
    "ELASTIC_SIGMA": 8.0,
    "MISALIGNMENT": "(1,3)",
    "MISALIGNMENT_ROTATION": 0.5,
    "BLUR_SIGMA": "(0.5,1)",
    "MEDIAN_SIZE": "(3,5)",
    "MOTION_LENGTH": "(3,5)",
    "BRIGHTNESS_RANGE": "(0.8,1.2)",
    "CONTRAST_RANGE": "(0.8,1.2)",
    "GAMMA_RANGE": "(0.8,1.2)",
    "NOISE_STD": "(0,0.1)",
    "DROPOUT_RANGE": "(0,0.1)",
    "MISSING_SECTIONS": "(0.1,0.2)",
    "MISSING_FILL": "mean",
    "CUTMIX_SIZE": "(0.2,0.4)",
    "CUTBLUR_SIZE": "(0.2,0.4)",
    "CUTBLUR_FACTOR": "(2,3)",
    "CUTBLUR_INSIDE": False,
    "CUTNOISE_SIZE": "(0.2,0.4)",
    "CUTNOISE_STRENGTH": "(0.1,0.3)",
    "CUTOUT_SIZE": "(0.2,0.4)",
    "CUTOUT_FILL": 0.5,
    "CUTOUT_MASK": True,
    "CUT_COUNT": "(1,3)",
    "FILL_MODE": "constant",
    "CVAL": 100.0,
    "AUGMENTATION_PROBABILITY": 0.5,
    "PROBABILITIES": "{'cutmix_size':1.0}",
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
        "INSTANCE_DEPTH": 0.2,
        "VOXEL_SIZE_NM": "(20,20)",
        "LOSS": "w_bce",
        "GRAD_CAM_LAYER": "conv2d_1",
        "DROP_VALUES": "(0.1,0.1,0.1)",
        "SPATIAL_DROPOUT": True,
        "BATCH_NORM": True,
        "ACTIVATION": "relu",
        "K_INIT": "glorot_uniform",
        "MONITOR": "val_foreground_iou",
        "Z_FILTER_SIZE": 0,
    },
    "plain": {
        "IMAGE_DATASET": "em",
        "MASK_DATASET": "labels",
        "MASK_IDS": True,
        "LOSS": "jaccard",
        "OPTIMIZER": "sgd",
        "SCHEDULE": "step",
        "EPOCHS": 1,
        "INTENSITY_RANGE": "(0,200)",
        "ROTATION_RANGE": 0.0,
        "HORIZONTAL_FLIP": False,
        "VERTICAL_FLIP": False,
        "Z_FILTER_SIZE": 0,
        "ENSEMBLE": False,
    },
    "volumes": {
        "CROP_SHAPE": "(4,32,32,1)",
        "Z_DOWN": 1,
        "Z_FLIP": True,
        "VALIDATION_SPLIT": 0.25,
        "BATCH_SIZE": 1,
        "RANDOM_CROPS": 3,
        "NORMALISATION": "percentile",
        "LOSS": "w_bce",
        "FOREGROUND_WEIGHT": 3.0,
        "EPOCHS": 1,
        "ISOTROPIC": True,
        "DEPTH_SHIFT_RANGE": 0.2,
        "ELASTIC_ALPHA": "(1,2)",
        "MISALIGNMENT": "(1,3)",
        "MISSING_SECTIONS": "(0.1,0.3)",
        "CUTMIX_SIZE": "(0.2,0.4)",
        "WATERSHED": "gradient",
        "MIN_OBJECT_SIZE": 4,
        "INSTANCE_TARGETS": "('binary','contour')",
        "INSTANCES": True,
        "INSTANCE_DISTANCE_NM": 20.0,
        "VOXEL_SIZE_NM": "(20,20,20)",
    },
    "classes": {
        "N_CLASSES": 2,
        "WEIGHT_MAPS": True,
        "WEIGHT_MAP_CLASSES": "(0.5,2)",
        "RANDOM_CROPS": 1,
        "LOSS": "tversky",
        "EPOCHS": 1,
        "Z_FILTER_SIZE": 0,
        "OVERLAP": 0.25,
        "GRAD_CAM_LAYER": "conv2d_1",
        "GRAD_CAM_CLASS": 0,
    },
}
# Variables that are switched in the tests of the other templates, or mean nothing here.
ELSEWHERE = {"LOAD_WEIGHTS", "SEED", "PATIENCE"}
# Flags of each run.
FLAGS = {"fine_tuning": ["--precision", "mixed_bfloat16"], "instances": ["--workers", "3"]}
POSTS = {
    "data": ["chosen_threshold"],
    "fine_tuning": [
        "spurious",
        "spurious_watershed",
        "spurious_watershed_z_filter",
        "large_objects",
        "filled_holes",
    ],
    "instances": ["instances", "instances_by_targets"],
    "plain": ["none"],
    "volumes": ["watershed", "watershed_z_filter", "large_objects", "instances", "instances_by_targets"],
    "classes": ["none"],
}


def run(template, data, job, *flags, **settings):
    """Run with toy settings; a setting of None is not given."""
    chosen = {name: value for name, value in (TOY_2D | settings).items() if value is not None}
    result = running.run(template, data, job, *flags, **chosen)
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def hdf5_data(tmp_path_factory, toy_data):
    """Return the toy data as hdf5 files that hold an image and the ids of its objects."""
    folder = tmp_path_factory.mktemp("hdf5")
    for part in ("train", "test"):
        files = zip(*(sorted((toy_data / part / kind).iterdir()) for kind in "xy"), strict=True)
        for number, paths in enumerate(files):
            for kind in "xy":
                target = folder / part / kind / f"{number}.h5"
                target.parent.mkdir(parents=True, exist_ok=True)
                with h5py.File(target, "w") as file:
                    em, mask = (np.asarray(Image.open(path)) for path in paths)
                    ids = connected_components(mask > 0) + 3000 * (mask > 0)
                    file["em"], file["labels"] = em, ids.astype(np.uint16)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, toy_data, volume_slices, hdf5_data):
    """Run the template with the options of a name, once, and return the folder of the run and what was printed."""
    job, done = tmp_path_factory.mktemp("general"), {}

    def make(name):
        if name not in done:
            weights = make("data")[0] / "checkpoints" / "best.weights.h5" if name == "fine_tuning" else ""
            data = {"volumes": volume_slices, "plain": hdf5_data}.get(name, toy_data)
            options = {
                option: value.replace("{data}", str(data)).replace("{weights}", str(weights))
                if isinstance(value, str)
                else value
                for option, value in RUNS[name].items()
            }
            result = run(TEMPLATE, data, job, "--id", name, *FLAGS.get(name, ()), **options)
            done[name] = job / "results" / f"{name}_0", result.stdout
        return done[name]

    return make


@pytest.mark.parametrize("name", RUNS)
def test_blocks_run_and_score(name, finished):
    folder, printed = finished(name)
    rows = json.loads((folder / "scores.json").read_text())
    posts = {row["post"] for row in rows}
    assert set(POSTS[name]) <= posts and ("ensemble" in posts) == RUNS[name].get("ENSEMBLE", True)
    assert all(np.isfinite(row["value"]) for row in rows if row["metric"] == "foreground_iou")
    assert "Finished in" in printed


def test_every_variable_is_switched_on_in_some_run():
    switched = {option for options in RUNS.values() for option in options} | set(TOY_2D) | ELSEWHERE
    assert {name for name, _, _ in template_variables(TEXT)} - switched == set()


def test_as_it_stands_it_does_what_the_reference_does(toy_data, tmp_path):
    scores = []
    for template in (TEMPLATE, "U-Net_2D_template.py"):
        run(template, toy_data, tmp_path, "--id", template[:7], "--set", "EPOCHS=1", "--deterministic")
        scores.append(read_scores(tmp_path / "results" / f"{template[:7]}_0"))
    assert scores[0] == scores[1] and set(PUBLISHED_LABELS) <= set(scores[0])


def test_data_options_leave_their_traces(finished):
    folder, printed = finished("data")
    assert "training crops kept: at least 1 % foreground" in printed
    network = json.loads((folder / "checkpoints" / "network.json").read_text())
    assert network["normalisation"] == "mean_std" and network["intensity_range"]["std"] > 0
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
    assert (finished("instances")[0] / "charts" / "grad_cam.png").stat().st_size > 1000


# --- rules


def check(**options):
    """Run the first block with the defaults of the template and these options."""
    variables = {name: ast.literal_eval(default) for name, default, _ in template_variables(TEXT)} | options
    assert len(variables) == len(template_variables(TEXT))
    imports = TEXT[TEXT.index("# %% Imports") : TEXT.index("# %% Checks and data: 1.")]
    block = BLOCKS[0][: BLOCKS[0].index("prepare_keras(")]
    exec(compile(imports + block, TEMPLATE, "exec"), variables)  # noqa: S102


@pytest.mark.parametrize(
    "options",
    [
        {"RANDOM_CROPS": 2, "MIN_FOREGROUND": 0.1},
        {"WEIGHT_MAPS": True, "FOREGROUND_WEIGHT": 3.0},
        {"INSTANCE_TARGETS": ("binary",), "N_CLASSES": 5},
        {"INSTANCE_TARGETS": ("binary",), "PROBABILITY_MAP": (0.5, 0.5), "RANDOM_CROPS": 3},
        {"INSTANCE_TARGETS": ("binary", "contour"), "CLASS_WEIGHTS": (1, 2)},
        {"LOAD_WEIGHTS": "a.weights.h5", "FINE_TUNE_FROM": "b.weights.h5"},
        {"LOAD_WEIGHTS": "a.weights.h5", "FIND_LEARNING_RATE": True},
        {"CHOOSE_THRESHOLD": True, "SPURIOUS_BELOW": 0.8},
        {
            "INSTANCE_DISTANCE_NM": 20.0,
            "INSTANCE_DEPTH": 0.5,
            "INSTANCES": True,
            "INSTANCE_TARGETS": ("binary", "distance"),
        },
    ],
)
def test_options_that_exclude_each_other_are_refused_as_they_were_set(options):
    first, second = [f"{name}={value!r}" for name, value in options.items()][:2]
    with pytest.raises(ValueError, match=re.escape(f"the variables: {first} and {second} exclude each other")):
        check(**options)


@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [
        ("Z_FLIP", True, {"CROP_SHAPE": (16, 64, 64, 1)}),
        ("DEPTH_SHIFT_RANGE", 0.1, {"CROP_SHAPE": (16, 64, 64, 1)}),
        ("ISOTROPIC", True, {"CROP_SHAPE": (16, 64, 64, 1)}),
        ("Z_DOWN", 1, {"CROP_SHAPE": (16, 64, 64, 1)}),
        ("PROBABILITY_MAP", (0.5, 0.5), {"RANDOM_CROPS": 2}),
        ("MISALIGNMENT_ROTATION", 0.5, {"MISALIGNMENT": (1, 3)}),
        ("MISSING_FILL", "mean", {"MISSING_SECTIONS": (0.1, 0.2)}),
        ("CUTBLUR_INSIDE", False, {"CUTBLUR_SIZE": (0.2, 0.4)}),
        ("CUTOUT_FILL", 0.5, {"CUTOUT_SIZE": (0.2, 0.4)}),
        ("CUTOUT_MASK", True, {"CUTOUT_SIZE": (0.2, 0.4)}),
        ("CVAL", 5.0, {"FILL_MODE": "constant"}),
        ("FREEZE_UNTIL", "conv2d", {"FINE_TUNE_FROM": "a.weights.h5"}),
        ("INSTANCE_DISTANCE_NM", 20.0, {"INSTANCES": True}),
        ("INSTANCE_DEPTH", 0.5, {"INSTANCES": True, "INSTANCE_TARGETS": ("binary", "distance")}),
        ("GRAD_CAM_CLASS", 0, {"GRAD_CAM_LAYER": "conv2d"}),
    ],
)
def test_options_that_do_nothing_alone_are_refused(name, value, needed):
    with pytest.raises(ValueError, match=re.escape(f"{name}={value!r} does nothing without ")):
        check(**{name: value})
    check(**{name: value}, **needed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"INSTANCE_DEPTH": 2.0, "INSTANCES": True, "INSTANCE_TARGETS": ("binary", "distance")}, "INSTANCE_DEPTH is 2"),
        ({"WATERSHED": "edge"}, "WATERSHED 'edge' is not known; did you mean 'edges'"),
        ({"WATERSHED": "edges", "WATERSHED_REACH": 0}, "WATERSHED_REACH"),
        ({"SPURIOUS_BELOW": 0.2}, "SPURIOUS_BELOW"),
        ({"INSTANCES": True, "INSTANCE_DISTANCE_NM": -1.0}, "INSTANCES: min_distance is -1"),
        ({"N_CLASSES": 3, "CHOOSE_THRESHOLD": True}, "CHOOSE_THRESHOLD=True is made for one foreground class"),
        ({"N_CLASSES": 3, "FILL_HOLES": True, "MIN_OBJECT_SIZE": 9}, "2 problems in the post-processing"),
        ({"N_CLASSES": 3, "WATERSHED": "gradient", "INSTANCES": True}, "2 problems in the post-processing"),
        ({"CROP_SHAPE": (250, 250, 1)}, "250 is not divisible by 16"),
    ],
)
def test_what_is_out_of_range_is_refused_before_anything_is_read(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check(**options)


def test_the_options_of_the_runs_break_no_rule():
    check()
    for options in RUNS.values():
        texts = {"LOAD_WEIGHTS", "FINE_TUNE_FROM", "EXTRA_DATA"}
        given = {name: value for name, value in (TOY_2D | options).items() if name not in texts}
        literals = {name: ast.literal_eval(v) if str(v)[:1] in "([{" else v for name, v in given.items()}
        check(**literals, **({"FINE_TUNE_FROM": "a.weights.h5"} if "FINE_TUNE_FROM" in options else {}))


def test_a_broken_rule_is_one_sentence_and_leaves_no_folder(toy_data, tmp_path):
    result = running.run(TEMPLATE, toy_data, tmp_path, **TOY_2D | {"RANDOM_CROPS": 2, "MIN_FOREGROUND": 0.1})
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "RANDOM_CROPS=2 and MIN_FOREGROUND=0.1 exclude each other" in result.stderr
    assert not (tmp_path / "results").exists()


# --- the page


def test_the_page_stays_readable():
    assert len(TEXT.splitlines()) <= 500


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split(".")[0])
def test_titles_of_blocks_say_what_they_take_from_others(block):
    imported = {
        alias.name
        for node in ast.walk(ast.parse(TEXT))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    known = imported | set(dir(builtins)) | {name for name, _, _ in template_variables(TEXT)}
    names = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Name) and node.id not in known]
    made = {}
    for node in names:
        if isinstance(node.ctx, ast.Store):
            made[node.id] = min(node.lineno, made.get(node.id, node.lineno))
    taken = {n.id for n in names if isinstance(n.ctx, ast.Load) and n.lineno <= made.get(n.id, n.lineno)}
    said = re.search(r"\[(.*)\]$", block.splitlines()[0])
    assert set(said[1].split(", ")) == taken


def test_every_option_of_the_generators_is_a_variable():
    variables = {name for name, _, _ in template_variables(TEXT)}
    [call] = [
        node
        for node in ast.walk(ast.parse(TEXT))
        if isinstance(node, ast.Call) and "VoxelDataGenerator" in ast.unparse(node.func)
    ]
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg}
    in_volumes = next(keyword.value.body for keyword in call.keywords if keyword.arg is None)
    only = {key.value: value.id for key, value in zip(in_volumes.keys, in_volumes.values, strict=True)}
    for generator, passed in ((ImageDataGenerator, given), (VoxelDataGenerator, given | only)):
        assert set(passed) == {field.name for field in dataclasses.fields(generator)}
    renamed = {"gamma": "GAMMA_RANGE", "dropout": "DROPOUT_RANGE", "probability": "AUGMENTATION_PROBABILITY"}
    assert all(value == renamed.get(name, name.upper()) for name, value in (given | only).items())
    assert set((given | only).values()) <= variables


def test_the_comment_of_the_loss_names_all_of_them():
    [comment] = [" ".join(lines) for name, _, lines in template_variables(TEXT) if name == "LOSS"]
    assert comment.split(", ") == list(LOSSES)


def test_a_dry_run_sweeps_no_learning_rates_and_weights_are_balanced_over_the_foreground():
    assert TEXT.index("    dry_run(") < TEXT.index("=find_learning_rate(")
    assert '"masks": masks' in TEXT and TEXT.index("masks = data.train_crops.y") < TEXT.index("learn_instances(data")
