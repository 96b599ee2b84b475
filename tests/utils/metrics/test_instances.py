"""Tests of the scores of instances: known answers, and scikit-image where it has the same score."""

import itertools

import numpy as np
import pytest
from skimage.metrics import adapted_rand_error, variation_of_information

from utils.metrics.instances import contingency_table, instance_scores, matching, rand_and_information


def row(*values):
    return np.array([values])[..., np.newaxis]


def random_labels(seed, shape=(30, 40), n_labels=6):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, n_labels, (shape[0] // 5, shape[1] // 5)).repeat(5, axis=0).repeat(5, axis=1)
    blocks[rng.random(shape) < 0.1] = 0
    return blocks[..., np.newaxis]


def matched(truth, prediction, threshold=0.5):
    return matching(contingency_table([truth], [prediction]), threshold=threshold)


# IoUs of the objects of truth with their prediction: 1, 2 / 3, 0.5, none; one prediction is false.
TRUTH = row(1, 1, 0, 2, 2, 2, 0, 3, 3, 0, 4, 4, 0, 0)
PREDICTION = row(5, 5, 0, 7, 7, 0, 0, 9, 0, 0, 0, 0, 0, 8)


def test_known_matches():
    found = matched(TRUTH, PREDICTION)
    assert {name: found[name] for name in ("tp", "fp", "fn", "n_true", "n_pred")} == {
        "tp": 3,
        "fp": 1,
        "fn": 1,
        "n_true": 4,
        "n_pred": 4,
    }
    total = 1 + 2 / 3 + 1 / 2
    expected = {
        "precision": 3 / 4,
        "recall": 3 / 4,
        "accuracy": 3 / 5,
        "f1": 6 / 8,
        "mean_matched_score": total / 3,
        "mean_true_score": total / 4,
        "panoptic_quality": total / (3 + 0.5 + 0.5),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("threshold, tp", [(0.1, 3), (0.5, 3), (0.51, 2), (2 / 3, 2), (0.75, 1), (1, 1)])
def test_thresholds(threshold, tp):
    found = matched(TRUTH, PREDICTION, threshold)
    assert found["tp"] == tp and found["threshold"] == threshold
    assert found["accuracy"] == pytest.approx(tp / (8 - tp))


def test_an_object_is_matched_once():
    halves = matched(row(1, 1, 1, 1), row(1, 1, 2, 2))
    assert (halves["tp"], halves["fp"], halves["fn"], halves["mean_matched_score"]) == (1, 1, 0, 0.5)
    merged = matched(row(1, 1, 2, 2), row(3, 3, 3, 3))
    assert (merged["tp"], merged["fp"], merged["fn"]) == (1, 0, 1)


def test_more_partners_come_before_higher_ious():
    # Greedy would take the pair of IoU 4 / 7 and leave the two others alone.
    truth = row(1, 1, 1, 1, 1, 1, 2, 2, 2, 0)
    prediction = row(1, 1, 2, 2, 2, 2, 2, 0, 0, 0)
    table = contingency_table([truth], [prediction])
    assert table.toarray()[1:, 1:].tolist() == [[2, 4], [0, 1]]
    assert matching(table, threshold=0.1)["tp"] == 2
    assert matching(table, threshold=0.1)["mean_matched_score"] == pytest.approx((2 / 6 + 1 / 7) / 2)
    assert matching(table, threshold=0.5)["mean_matched_score"] == pytest.approx(4 / 7)


def best_by_trying_all(iou, threshold):
    """Return the largest number of pairs, and the largest sum of their IoUs among those."""
    iou = iou if iou.shape[0] <= iou.shape[1] else iou.T
    chosen = (
        [value for value in iou[range(len(iou)), list(places)] if value >= threshold]
        for places in itertools.permutations(range(iou.shape[1]), len(iou))
    )
    return max((len(values), sum(values)) for values in chosen)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threshold", [0.05, 0.1, 0.3])
def test_matches_are_the_best_possible(seed, threshold):
    truth, prediction = random_labels(seed), random_labels(seed + 100)
    prediction[:, :20] = truth[:, :20]
    iou = np.array(
        [
            [((truth == t) & (prediction == p)).sum() / ((truth == t) | (prediction == p)).sum() for p in range(1, 6)]
            for t in range(1, 6)
        ]
    )
    found = matched(truth, prediction, threshold)
    tp, total = best_by_trying_all(iou, threshold)
    assert found["tp"] == tp and found["tp"] * found["mean_matched_score"] == pytest.approx(total)


@pytest.mark.parametrize("seed", range(4))
def test_table_equals_counting_pairs(seed):
    truth, prediction = random_labels(seed), 10 * random_labels(seed + 100, n_labels=4)
    expected = [[((truth == t) & (prediction == p)).sum() for p in range(0, 40, 10)] for t in range(6)]
    assert contingency_table([truth], [prediction]).toarray().tolist() == expected


def test_labels_of_different_images_are_different_instances():
    pairs = [(TRUTH, PREDICTION), (row(1, 1, 2), row(1, 1, 1)), (row(0, 0), row(0, 0)), (TRUTH, TRUTH)]
    table = contingency_table(*zip(*pairs, strict=True))
    separate = [matched(*pair) for pair in pairs]
    pooled = matching(table)
    for name in ("tp", "fp", "fn", "n_true", "n_pred"):
        assert pooled[name] == sum(found[name] for found in separate)
    assert table.sum() == sum(truth.size for truth, _ in pairs)


@pytest.mark.parametrize("seed", range(4))
def test_rand_and_information_equal_scikit_image(seed):
    truth, prediction = random_labels(seed), random_labels(seed + 100)
    prediction[:15] = truth[:15]
    found = rand_and_information(contingency_table([truth], [prediction]))
    assert found["adapted_rand_error"] == pytest.approx(adapted_rand_error(truth, prediction)[0])
    inside = truth > 0
    split, merge = variation_of_information(truth[inside], prediction[inside])
    assert found["variation_of_information_split"] == pytest.approx(split)
    assert found["variation_of_information_merge"] == pytest.approx(merge)


def test_splits_and_merges_in_bits():
    halves, whole = row(0, 1, 1, 2, 2), row(0, 4, 4, 4, 4)
    names = ("variation_of_information_split", "variation_of_information_merge")
    for truth, prediction, expected in ((halves, whole, [0, 1]), (whole, halves, [1, 0]), (halves, halves, [0, 0])):
        found = rand_and_information(contingency_table([truth], [prediction]))
        assert [found[name] for name in names] == expected
    # 4 voxels in one segment are 12 ordered pairs, in two halves 4: precision 4 / 12, recall 1.
    found = rand_and_information(contingency_table([halves], [whole]))
    assert found["adapted_rand_error"] == pytest.approx(1 - 2 * 4 / (12 + 4))


def test_scores_of_volumes_under_their_names():
    truth = np.zeros((4, 6, 8, 1), np.uint16)
    truth[:2, :3, :4], truth[2:, 3:, 4:] = 1, 2
    assert instance_scores([truth], [5 * truth]) == {
        "average_precision_50": 1,
        "average_precision_75": 1,
        "mean_matched_score": 1,
        "panoptic_quality": 1,
        "adapted_rand_error": 0,
        "variation_of_information_split": 0,
        "variation_of_information_merge": 0,
    }


def test_nothing_to_score_is_nan():
    empty = np.zeros((4, 5, 1), int)
    assert all(np.isnan(value) for value in instance_scores([empty], [empty]).values())
    missed = instance_scores([row(0, 1, 1)], [row(0, 0, 0)])
    assert missed["average_precision_50"] == missed["panoptic_quality"] == 0
    assert np.isnan(missed["mean_matched_score"])
    false = instance_scores([row(0, 0)], [row(1, 1)])
    assert false["average_precision_50"] == 0 and np.isnan(false["adapted_rand_error"])


def test_single_voxels_are_neither_split_nor_merged():
    assert rand_and_information(contingency_table([row(1, 2)], [row(1, 2)]))["adapted_rand_error"] == 0


@pytest.mark.parametrize("threshold", [0, -1, 1.1, float("nan")])
def test_impossible_thresholds_are_refused(threshold):
    with pytest.raises(ValueError, match="IoU threshold is .* such as 0.5"):
        matched(TRUTH, PREDICTION, threshold)


def test_labels_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="fewer predictions than true labels, from number 2"):
        contingency_table([TRUTH, TRUTH], [PREDICTION])
    with pytest.raises(ValueError, match="more predictions than true labels, from number 2"):
        contingency_table(iter([TRUTH]), iter([PREDICTION, PREDICTION]))
    with pytest.raises(ValueError, match=r"labels 1 have the size \(1, 14\), their prediction \(1, 2\)"):
        contingency_table([TRUTH], [row(1, 2)])
    with pytest.raises(ValueError, match="there are no labels"):
        contingency_table([], [])
    with pytest.raises(ValueError, match="the predicted labels have the dtype float64"):
        contingency_table([TRUTH], [PREDICTION / 2])
