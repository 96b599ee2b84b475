"""Tests of what the variables of templates may be."""

import ast
from pathlib import Path

import keras
import pytest

from generators.geometry import FILL_MODES
from networks import blocks, nnunet, residual_unet, unet_plus_plus
from utils.command_line import apply_overrides
from utils.data.instance_targets import TARGETS
from utils.images.normalisation import NORMALISATIONS
from utils.images.padding import PADDING_MODES
from utils.prediction.predictor import PROTOCOLS
from utils.template_text import template_variables
from utils.training.callbacks import MONITORS
from utils.training.losses import LOSSES
from utils.training.optimizers import OPTIMIZERS, SCHEDULES
from utils.variables import ACTIVATIONS, INITIALIZERS, VARIABLES, variable_problem

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted([*ROOT.glob("templates/**/*_template*.py"), *ROOT.glob("sota_implementations/*/*template*.py")])
U_NET = ROOT / "templates" / "U-Net_2D_template.py"
GENERAL = ROOT / "templates" / "general_template.py"


def values_of(path):
    return {name: ast.literal_eval(text) for name, text, _ in template_variables(path.read_text())}


def overridden(*assignments, template=GENERAL):
    return apply_overrides(values_of(template) | {"__file__": str(template)}, list(assignments))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_variable_is_declared_and_every_default_is_possible(path):
    for name, text, comment in template_variables(path.read_text()):
        value = ast.literal_eval(text)
        assert name in VARIABLES or isinstance(value, bool), name
        assert variable_problem(name, value, " ".join(comment)) is None


def test_no_variable_is_declared_that_no_template_has():
    assert set(VARIABLES) <= {name for path in TEMPLATES for name in values_of(path)}


@pytest.mark.parametrize(
    "assignment",
    [
        "EPOCHS=0",
        "SEED=-1",
        "N_CLASSES=0",
        "N_CLASSES=100000",
        "RANDOM_CROPS=-1",
        "PATIENCE=0",
        "VALIDATION_SPLIT=1e999",
        "VALIDATION_SPLIT=1",
        "DROP_VALUES=(1.,1.,1.)",
        "DROP_VALUES=(2,2,2)",
        "DROP_VALUES=(-1.,0.,0.)",
        "FEATURE_MAPS=(0,0,0)",
        "FEATURE_MAPS=(4.5,8,16)",
        "FEATURE_MAPS=('a','b','c')",
        "FEATURE_MAPS=()",
        "ACTIVATION=foo",
        "K_INIT=foo",
        "FOREGROUND_WEIGHT=abc",
        "FOREGROUND_WEIGHT=0",
        "LOAD_WEIGHTS=",
        "PROBABILITY_MAP=(1e999,1)",
        "PROBABILITY_MAP=(1,)",
        "BATCH_SIZE=-1",
        "BATCH_SIZE=0",
        "WATERSHED_REACH=1000000",
        "LOSS={[]:1}",
        "SEED=" + "-" * 100_000,
        "SEED=" + "9" * 4000,
        "LEARNING_RATE=" + "9" * 4000,
        "LEARNING_RATE=0",
        "DEPTH=100",
        "INTENSITY_RANGE=(1,0)",
        "INTENSITY_RANGE=(5,5)",
        "INTENSITY_RANGE=(0,1e999)",
        "INTENSITY_RANGE=7",
        "CROP_SHAPE=()",
        "CROP_SHAPE=(64,64)",
        "CROP_SHAPE=(64,64.5,1)",
        "OVERLAP=1.0",
        "OVERLAP=(0.5,1.5)",
        "Z_DOWN=3",
        "ROTATION_RANGE=-5",
        "NOISE_STD=(0.2,0.1)",
        "FOREGROUND_WEIGHT=None1",
        "PROBABILITIES={'cutmix_size': 2}",
        "CVAL=True",
        "MONITOR=loss",
        "N_CLASSES=True",
    ],
    ids=lambda text: text[:30],
)
def test_an_impossible_value_is_one_short_sentence_that_names_the_variable(assignment):
    with pytest.raises(ValueError) as raised:
        overridden(assignment)
    message = str(raised.value)
    name = assignment.partition("=")[0]
    assert message.startswith(f"--set: {name}") and len(message) < 500
    assert " wanted " in message or "Use one of [" in message


def test_all_problems_are_said_at_once():
    with pytest.raises(ValueError) as raised:
        overridden("EPOCHS=0", "LOSS=bec", "EPOCH=3")
    for part in (
        "3 problems in --set:",
        "EPOCHS is 0; ",
        "LOSS 'bec' is not known; did you mean 'bce'?",
        "no variable EPOCH;",
    ):
        assert part in str(raised.value)


def test_a_value_that_was_edited_in_the_template_is_checked_too():
    with pytest.raises(ValueError, match="the variables: EPOCHS is 0; wanted a whole number from 1"):
        apply_overrides(values_of(U_NET) | {"EPOCHS": 0, "__file__": str(U_NET)}, [])


def test_what_is_typed_for_a_text_variable_is_a_text():
    found = overridden("LOAD_WEIGHTS=5", "IMAGE_DATASET=0", "FREEZE_UNTIL=400_0", "MASK_DATASET='1'")
    assert [found[name] for name in ("LOAD_WEIGHTS", "IMAGE_DATASET", "FREEZE_UNTIL", "MASK_DATASET")] == [
        "5",
        "0",
        "400_0",
        "1",
    ]
    assert overridden("LOAD_WEIGHTS=None")["LOAD_WEIGHTS"] is None


def test_zero_is_a_batch_size_only_where_the_comment_says_so():
    predict = ROOT / "templates" / "predict_template.py"
    assert overridden("BATCH_SIZE=0", template=predict)["BATCH_SIZE"] == 0
    assert overridden("CROP_SHAPE=()", template=predict)["CROP_SHAPE"] == ()


def test_choices_are_those_of_the_code():
    expected = {
        "LOSS": tuple(LOSSES),
        "OPTIMIZER": OPTIMIZERS,
        "SCHEDULE": SCHEDULES,
        "MONITOR": tuple(MONITORS),
        "NORMALISATION": NORMALISATIONS,
        "PADDING_MODE": PADDING_MODES,
        "PROTOCOL": PROTOCOLS,
        "FILL_MODE": FILL_MODES,
        "GATE": blocks.GATED,
        "NORMALIZATION": nnunet.NORMALIZATIONS,
        "PLAN": nnunet.PLANS,
        "DROP_ORDER": residual_unet.DROP_ORDERS,
        "BACKBONE": unet_plus_plus.BACKBONES,
    }
    for name, choices in expected.items():
        assert set(VARIABLES[name].choices) == set(choices), name
    assert all(variable_problem("INSTANCE_TARGETS", (target,)) is None for target in TARGETS)
    assert all(
        keras.activations.get(name) and keras.initializers.get(init) for name in ACTIVATIONS for init in INITIALIZERS
    )
