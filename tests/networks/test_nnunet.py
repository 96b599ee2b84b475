"""Tests of the 2D network of nnU-Net and of how its strides are planned."""

from math import prod

import keras
import numpy as np
import pytest

from networks.deep_supervision import DeeplySupervised
from networks.nnunet import PUBLISHED_STRIDES, deep_supervision_weights, nnUNet_2D, plan_strides
from utils.metrics.pixels import ForegroundIoU
from utils.training.losses import get_loss

TINY = {"feature_maps": 3, "max_feature_maps": 8}


def batch(shape=(2, 16, 32, 1), seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def n_trained(model):
    return sum(prod(weight.shape) for weight in model.trainable_weights)


def values_of(model):
    return {weight.path: keras.ops.convert_to_numpy(weight).copy() for weight in model.trainable_weights}


def compile_for_test(model, **options):
    options = {"loss": get_loss("bce_dice"), "metrics": [ForegroundIoU()], "run_eagerly": True} | options
    model.compile(optimizer=keras.optimizers.Adam(0.01), **options)


@pytest.fixture
def bfloat16():
    """Use mixed precision for one test."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("options", "trained", "fixed"),
    [
        ({"strides": PUBLISHED_STRIDES, "normalization": "published"}, 52_095_552, 21_120),
        ({"strides": PUBLISHED_STRIDES, "normalization": "batch", "n_classes": 2}, 52_097_952, 21_120),
        ({"strides": PUBLISHED_STRIDES}, 52_095_552, 0),
        ({"strides": PUBLISHED_STRIDES, "n_classes": 2}, 52_097_952, 0),
        ({}, 29_964_672, 0),
        ({"n_classes": 2}, 29_966_112, 0),
        ({"deep_supervision": False}, 29_963_264, 0),
    ],
    ids=str,
)
def test_parameter_count(options, trained, fixed):
    model = nnUNet_2D((256, 256, 1), **options, k_init="zeros")  # zeros are drawn faster
    assert (n_trained(model), model.count_params()) == (trained, trained + fixed)


def test_published_strides_reach_two_pixels_by_one():
    model = nnUNet_2D((256, 256, 1), strides=PUBLISHED_STRIDES, **TINY)
    assert [output.shape[1] for output in model.outputs] == [256, 128, 64, 32, 16, 8, 4, 2]
    assert min(prod(layer.output.shape[1:3]) for layer in model.layers) == 2


@pytest.mark.parametrize(("normalization", "momentum"), [("batch", 0.9), ("published", 0.1)])
def test_batch_normalisation_has_the_momentum_of_nnunet_and_on_request_that_of_the_study(normalization, momentum):
    model = nnUNet_2D((16, 16, 1), normalization=normalization, **TINY)
    momenta = {layer.momentum for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert momenta == {momentum}


@pytest.mark.parametrize(
    ("crop_shape", "strides"),
    [
        ((256, 256), [(2, 2)] * 6),
        ((256, 256, 1), [(2, 2)] * 6),
        ((None, None, 1), [(2, 2)] * 6),
        ((512, 512), [(2, 2)] * 7),
        ((4096, 4096), [(2, 2)] * 8),
        ((128, 256), [(2, 2)] * 5 + [(1, 2)]),
        ((96, 40), [(2, 2)] * 3 + [(2, 1)]),
        ((250, 256), [(2, 2)] + [(1, 2)] * 5),
        ((255, 64), [(1, 2)] * 4),
        ((12, 8), [(2, 2)]),
        ((9, 8, 3), [(1, 2)]),
    ],
)
def test_planned_strides(crop_shape, strides):
    assert plan_strides(crop_shape) == strides
    for size, steps in zip(crop_shape, zip(*strides, strict=True), strict=False):
        rest = (size or 256) / prod(steps)
        assert rest == int(rest) >= 4


@pytest.mark.parametrize("crop_shape", [(256, 256, 1), (None, None, 1), (128, 512)])
def test_published_strides_are_a_plan(crop_shape):
    assert plan_strides(crop_shape, plan="published") == [(2, 2)] * 7 + [(1, 2)]


def test_crops_that_the_published_strides_do_not_divide_and_other_plans_are_refused():
    with pytest.raises(
        ValueError, match=r"CROP_SHAPE \(256, 128, 1\): PLAN published needs y divisible by 128 and x by"
    ):
        plan_strides((256, 128, 1), plan="published")
    with pytest.raises(ValueError, match="PLAN is 'study'; wanted one of crop, published"):
        plan_strides((256, 256, 1), plan="study")


def test_planned_strides_are_capped():
    assert plan_strides((256, 128), num_pool=5) == [(2, 2)] * 5
    assert len(nnUNet_2D((64, 64, 1), num_pool=2, **TINY).outputs) == 2


@pytest.mark.parametrize(("crop_shape", "options"), [((255, 255), {}), ((6, 6, 1), {}), ((256, 256), {"num_pool": 0})])
def test_crops_without_anything_to_halve_are_refused(crop_shape, options):
    with pytest.raises(ValueError, match=r"CROP_SHAPE \(.*, NUM_POOL \d: there is nothing to halve; wanted an even"):
        plan_strides(crop_shape, **options)


@pytest.mark.parametrize(
    ("n_outputs", "weights"), [(1, [1]), (2, [1, 0]), (3, [2 / 3, 1 / 3, 0]), (5, [8 / 15, 4 / 15, 2 / 15, 1 / 15, 0])]
)
def test_weights_of_deep_supervision(n_outputs, weights):
    assert deep_supervision_weights(n_outputs) == pytest.approx(tuple(weights))


def test_published_weights_of_deep_supervision():
    weights = deep_supervision_weights(8)
    assert weights[:7] == pytest.approx([2.0**-level / 1.984375 for level in range(7)])
    assert weights[7] == 0
    assert sum(weights) == pytest.approx(1)


@pytest.mark.parametrize(
    ("normalization", "deep_supervision", "channels"),
    [("instance", True, 1), ("instance", False, 3), ("batch", True, 3)],
)
def test_output_is_a_float32_probability_of_the_size_of_the_input(normalization, deep_supervision, channels):
    options = {"normalization": normalization, "deep_supervision": deep_supervision}
    model = nnUNet_2D((16, 32, channels), **TINY, **options)
    assert not model.compiled
    assert isinstance(model, DeeplySupervised) is deep_supervision
    output = keras.ops.convert_to_numpy(model(batch((2, 16, 32, channels))))
    assert output.shape == (2, 16, 32, 1)
    assert output.dtype == np.float32
    assert 0 <= output.min() < output.max() <= 1


def test_outputs_in_training_halve_by_the_strides_the_full_size_first():
    model = nnUNet_2D((16, 32, 1), **TINY)
    shapes = [tuple(output.shape) for output in model(batch(), training=True)]
    assert shapes == [(2, 16, 32, 1), (2, 8, 16, 1), (2, 4, 8, 1)]
    assert model.output_names == ["probability", "probability_1", "probability_2"]


def test_images_of_any_divisible_size_are_predicted():
    model = nnUNet_2D((None, None, 1), strides=plan_strides((16, 32)), **TINY)
    for size in ((4, 8), (20, 24), (44, 16)):
        assert model.predict_on_batch(batch((1, *size, 1))).shape == (1, *size, 1)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_several_classes_sum_to_one_at_every_size(n_classes):
    for output in nnUNet_2D((16, 32, 1), n_classes=n_classes, **TINY)(batch(), training=True):
        output = keras.ops.convert_to_numpy(output)
        assert output.shape[-1] == n_classes
        np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("normalization", ["instance", "batch"])
def test_outputs_stay_float32_in_mixed_precision(bfloat16, normalization):
    model = nnUNet_2D((16, 32, 1), normalization=normalization, **TINY)
    assert {layer.compute_dtype for layer in model.layers if "conv" in layer.name} == {"bfloat16"}
    outputs = [keras.ops.convert_to_numpy(output) for output in model(batch(), training=True)]
    assert {output.dtype for output in outputs} == {np.dtype("float32")}
    assert len(np.unique(outputs[0])) > 256, "a bfloat16 probability has three digits"


@pytest.mark.parametrize(
    "options",
    [{}, {"normalization": "batch"}, {"n_classes": 3}, {"deep_supervision": False}],
    ids=str,
)
def test_training_lowers_the_loss_and_reaches_every_weight(options):
    keras.utils.set_random_seed(0)
    model = nnUNet_2D((16, 16, 1), strides=[(2, 2)] * 2, **TINY, **options)
    weights = {"loss_weights": (2, 1)} if options.get("deep_supervision", True) else {}
    compile_for_test(model, **weights, run_eagerly=bool(options))  # a graph once
    before = values_of(model)
    x = batch((2, 16, 16, 1))
    y = (x > 0.5).astype(np.uint8)
    losses = [float(model.train_on_batch(x, y)[0]) for _ in range(4)]
    assert losses[-1] < losses[0]
    unchanged = [path for path, value in values_of(model).items() if np.array_equal(value, before[path])]
    assert [path for path in unchanged if "bias" not in path] == []  # a normalisation takes the bias before it away


def test_weights_of_the_paper_leave_only_the_lowest_output_out():
    model = nnUNet_2D((16, 32, 1), **TINY)
    compile_for_test(model, loss_weights=deep_supervision_weights(len(model.outputs)))
    before = values_of(model)
    model.train_on_batch(batch(), (batch() > 0.5).astype(np.uint8))
    changed = {path for path, value in values_of(model).items() if not np.array_equal(value, before[path])}
    assert {path for path in changed if "probability" in path} == {"probability/kernel", "probability_1/kernel"}


@pytest.mark.parametrize("options", [{}, {"normalization": "batch", "deep_supervision": False}], ids=str)
def test_saved_model_predicts_the_same(tmp_path, options):
    model = nnUNet_2D((None, None, 1), strides=[(2, 2), (1, 2)], **TINY, **options)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict_on_batch(batch()), model.predict_on_batch(batch()), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalization": "group"}, "NORMALIZATION is 'group'; wanted one of instance, batch, published"),
        ({"strides": []}, "STRIDES is empty"),
        ({"strides": [(2, 2)] * 4}, r"image_shape \(24, 32, 1\): 24 is not divisible by 16 \(strides"),
        ({"strides": [(2, 2), (1, 3)]}, r"32 is not divisible by 6 \(strides \(\(2, 2\), \(1, 3\)\)\)"),
        ({"image_shape": (17, 19, 1)}, "there is nothing to halve"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        nnUNet_2D(**{"image_shape": (24, 32, 1)} | options)
