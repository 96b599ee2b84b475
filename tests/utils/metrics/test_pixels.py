"""Tests of the scores against values known from counting pixels."""

import math

import keras
import numpy as np
import pytest

from utils.metrics.pixels import (
    METRICS,
    ForegroundIoU,
    confusion_matrix,
    nan_mean,
    probability_to_mask,
    round_probability,
    scores_from_confusion,
)


def scores(truth, prediction, n_classes=2):
    return scores_from_confusion(confusion_matrix(truth, prediction, n_classes))


def box(top, left, height, width, shape=(20, 30)):
    mask = np.zeros((*shape, 1), np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


def disc(centre_y, centre_x, radius, shape=(200, 200)):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return ((y - centre_y) ** 2 + (x - centre_x) ** 2 < radius**2).astype(np.uint8)[..., np.newaxis]


def random_batch(n_classes=1, seed=0, shape=(3, 8, 9)):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, max(2, n_classes), (*shape, 1), np.uint8)
    probability = rng.random((*shape, n_classes)).astype(np.float32)
    return truth, probability / (probability.sum(-1, keepdims=True) if n_classes > 1 else 1)


def test_shifted_boxes_have_the_counted_scores():
    # 6 x 10 pixels each, shifted by 4: 36 common, 24 only true, 24 only predicted, 516 neither.
    found = scores(box(5, 5, 6, 10), box(5, 9, 6, 10))
    assert found == pytest.approx(
        {
            "foreground_iou": 36 / 84,
            "overall_iou": (36 / 84 + 516 / 564) / 2,
            "dice": 72 / 120,
            "precision": 36 / 60,
            "recall": 36 / 60,
        }
    )


def test_precision_and_recall_are_not_mixed_up():
    found = scores(truth=box(0, 0, 10, 10), prediction=box(0, 0, 5, 10))
    assert found["precision"] == 1
    assert found["recall"] == 0.5
    assert found["foreground_iou"] == 0.5
    assert found["dice"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("distance", [0, 10, 30, 50, 59])
def test_shifted_discs_have_the_analytic_iou(distance):
    radius = 30.0
    half_angle = math.acos(distance / (2 * radius))
    lens = 2 * radius**2 * half_angle - distance / 2 * math.sqrt(4 * radius**2 - distance**2)
    found = scores(disc(100, 60, radius), disc(100, 60 + distance, radius))
    assert found["foreground_iou"] == pytest.approx(lens / (2 * math.pi * radius**2 - lens), abs=0.01)


def test_perfect_prediction_scores_one_everywhere():
    assert scores(box(2, 3, 4, 5), box(2, 3, 4, 5)) == dict.fromkeys(METRICS, 1.0)


def test_disjoint_prediction_scores_zero():
    found = scores(box(0, 0, 2, 2), box(10, 10, 2, 2))
    assert all(found[name] == 0 for name in ("foreground_iou", "dice", "precision", "recall"))
    assert found["overall_iou"] == pytest.approx(592 / 600 / 2)


def test_nothing_to_score_is_nan_and_left_out_of_the_overall_mean():
    empty = box(0, 0, 0, 0)
    found = scores(empty, empty)
    assert all(math.isnan(found[name]) for name in ("foreground_iou", "dice", "precision", "recall"))
    assert found["overall_iou"] == 1


def test_empty_prediction_has_no_precision_and_recall_zero():
    found = scores(box(0, 0, 2, 2), box(0, 0, 0, 0))
    assert math.isnan(found["precision"])
    assert (found["recall"], found["foreground_iou"], found["dice"]) == (0, 0, 0)


def test_several_classes_are_averaged_without_background():
    truth = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    prediction = np.array([0, 0, 1, 1, 1, 2, 0, 0])
    found = scores(truth, prediction, 3)
    assert [found[f"iou_class_{number}"] for number in range(3)] == pytest.approx([2 / 5, 2 / 3, 1 / 3])
    assert found["foreground_iou"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert found["overall_iou"] == pytest.approx((2 / 5 + 2 / 3 + 1 / 3) / 3)
    assert found["precision"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["recall"] == pytest.approx((1 + 1 / 3) / 2)


def test_absent_class_is_left_out_of_the_means():
    found = scores(np.array([0, 1]), np.array([0, 1]), 3)
    assert found["foreground_iou"] == 1
    assert math.isnan(found["iou_class_2"])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_rows_of_the_confusion_matrix_are_the_truth(dtype):
    truth, prediction = np.array([0, 0, 1, 1, 1]).astype(dtype), np.array([0, 1, 1, 1, 0]).astype(np.uint8)
    assert confusion_matrix(truth, prediction).tolist() == [[1, 1], [1, 2]]


def test_matrices_of_images_add_up_to_that_of_all_pixels():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 4, (2, 5, 6, 7))
    total = sum(confusion_matrix(t, p, 4) for t, p in zip(truth, prediction, strict=True))
    assert np.array_equal(total, confusion_matrix(truth, prediction, 4))


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"mask has the shape \(3, 1\), the prediction \(3,\)"):
        confusion_matrix(np.zeros((3, 1)), np.zeros(3))


@pytest.mark.parametrize(("truth", "prediction", "name"), [([0, 255], [0, 1], "mask"), ([0, 1], [0, -1], "prediction")])
def test_values_that_are_no_class_are_refused(truth, prediction, name):
    with pytest.raises(ValueError, match=f"the {name} holds the values .*wanted classes 0 to 1"):
        confusion_matrix(np.array(truth), np.array(prediction))


def test_probabilities_are_rounded_to_steps_that_keep_their_dtype():
    probability = np.linspace(0, 1, 1001, dtype=np.float32)
    rounded = round_probability(probability)
    assert rounded.dtype == np.float32 and np.array_equal(rounded * 4096, np.rint(probability * 4096))
    assert round_probability(np.float32([0.5 + 1e-5])) == 0.5


def test_one_channel_is_thresholded_above():
    probability = np.array([0.2, 0.5, 0.51, 1.0], np.float32).reshape(2, 2, 1)
    assert probability_to_mask(probability).ravel().tolist() == [0, 0, 1, 1]
    assert probability_to_mask(probability, 0.1).ravel().tolist() == [1, 1, 1, 1]


def test_several_channels_give_the_most_probable_class():
    probability = np.array([[[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]], np.float32)
    mask = probability_to_mask(probability)
    assert mask.shape == (1, 2, 1)
    assert mask.dtype == np.uint8
    assert mask.ravel().tolist() == [2, 0]


def test_nan_mean():
    assert nan_mean([1, float("nan"), 3]) == 2
    assert math.isnan(nan_mean([float("nan")]))
    assert math.isnan(nan_mean([]))


@pytest.mark.parametrize("n_classes", [1, 3])
def test_keras_metric_equals_numpy_pooled_over_batches(n_classes):
    metric = ForegroundIoU()
    batches = [random_batch(n_classes, seed, shape) for seed, shape in enumerate([(3, 8, 9), (1, 4, 5)])]
    total = 0
    for truth, probability in batches:
        metric.update_state(truth, probability)
        total += confusion_matrix(truth > 0, probability_to_mask(probability) > 0)
    assert float(metric.result()) == pytest.approx(scores_from_confusion(total)["foreground_iou"], abs=1e-6)
    metric.reset_state()
    metric.update_state(*batches[1])
    alone = confusion_matrix(batches[1][0] > 0, probability_to_mask(batches[1][1]) > 0)
    assert float(metric.result()) == pytest.approx(scores_from_confusion(alone)["foreground_iou"], abs=1e-6)


def test_keras_metric_is_nan_when_there_is_nothing_to_score():
    metric = ForegroundIoU()
    assert math.isnan(float(metric.result()))
    metric.update_state(np.zeros((1, 2, 2, 1)), np.zeros((1, 2, 2, 1)))
    assert math.isnan(float(metric.result()))


def test_keras_metric_leaves_out_pixels_of_weight_0_and_counts_all_others_alike():
    truth, probability = random_batch(shape=(4, 8, 9))
    weights = np.random.default_rng(1).uniform(0.1, 5, truth.shape)
    weights[:2] = 0
    half, weighted, per_sample = ForegroundIoU(), ForegroundIoU(), ForegroundIoU()
    half.update_state(truth[2:], probability[2:])
    weighted.update_state(truth, probability, sample_weight=weights)
    per_sample.update_state(truth, probability, sample_weight=np.array([0, 0, 1, 3]))
    assert float(weighted.result()) == float(per_sample.result()) == float(half.result())


def test_keras_metric_uses_its_threshold():
    metric = ForegroundIoU(threshold=0.9)
    metric.update_state(np.ones((1, 1, 2, 1)), np.array([0.8, 0.95]).reshape(1, 1, 2, 1))
    assert float(metric.result()) == 0.5


def test_keras_metric_survives_saving():
    metric = ForegroundIoU(threshold=0.25, name="iou")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert (again.threshold, again.name) == (0.25, "iou")
