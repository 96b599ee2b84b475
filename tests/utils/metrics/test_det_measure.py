"""Tests of DET on cases counted by hand."""

import numpy as np
import pytest

from utils.metrics.instances import det_measure


def row(*values):
    return np.array([values])[..., np.newaxis]


TRUTH = row(1, 1, 1, 0, 2, 2, 2, 0, 3, 3, 3, 3)


@pytest.mark.parametrize(
    "prediction, splits, missed, false",
    [
        ((1, 1, 1, 0, 2, 2, 2, 0, 3, 3, 3, 3), 0, 0, 0),
        ((9, 9, 0, 0, 0, 4, 4, 0, 5, 5, 5, 0), 0, 0, 0),  # more than half of each
        ((1, 1, 1, 0, 2, 2, 2, 0, 3, 3, 0, 0), 0, 1, 1),  # half is not more than half
        ((1, 1, 1, 0, 2, 2, 2, 0, 3, 3, 4, 4), 0, 1, 2),  # nor are both halves
        ((1, 1, 1, 0, 2, 2, 2, 0, 3, 3, 3, 4), 0, 0, 1),
        ((1, 1, 1, 1, 1, 1, 1, 0, 3, 3, 3, 3), 1, 0, 0),
        ((1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1), 2, 0, 0),
        ((0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0, 3, 0),
        ((1, 0, 2, 5, 1, 0, 2, 5, 4, 0, 0, 4), 0, 3, 4),
        ((1, 1, 1, 5, 0, 2, 2, 6, 0, 0, 4, 3), 0, 1, 4),
    ],
)
def test_counts_and_costs(prediction, splits, missed, false):
    found = det_measure([TRUTH], [row(*prediction)])
    cost = 5 * splits + 10 * missed + 1 * false
    assert found == {
        "det": pytest.approx(1 - min(cost, 30) / 30),
        "splits": splits,
        "missed": missed,
        "false": false,
        "n_true": 3,
    }


def test_worse_than_nothing_is_zero():
    found = det_measure([row(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)], [row(0, *range(1, 14))])
    assert found["det"] == 0 and found["missed"] == 1 and found["false"] == 13


def test_costs_of_frames_add_up():
    frames = [(TRUTH, TRUTH), (TRUTH, np.ones_like(TRUTH)), (TRUTH, 0 * TRUTH)]
    found = det_measure(*zip(*frames, strict=True))
    assert found == {"det": pytest.approx(1 - (0 + 10 + 30) / 90), "splits": 2, "missed": 3, "false": 0, "n_true": 9}


def test_volumes_are_frames_of_their_own():
    volume = np.zeros((4, 5, 6, 1), np.int32)
    volume[:2, :2, :2], volume[2:, 3:, 3:] = 1, 2
    assert det_measure([volume], [(volume == 1) * 7])["det"] == pytest.approx(1 - 10 / 20)


def test_labels_above_255_stay_apart():
    labels = np.arange(600).reshape(1, 600, 1)
    assert det_measure([labels], [labels]) == {"det": 1, "splits": 0, "missed": 0, "false": 0, "n_true": 599}


def test_without_true_objects_there_is_nothing_to_score():
    found = det_measure([row(0, 0)], [row(1, 0)])
    assert np.isnan(found["det"]) and found["false"] == 1 and found["n_true"] == 0


def test_frames_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="fewer predictions than true labels"):
        det_measure([TRUTH, TRUTH], [TRUTH])
    with pytest.raises(ValueError, match="there are no labels"):
        det_measure([], [])
