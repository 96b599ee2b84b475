"""Tests of the IoU over thresholds against thresholding and counting."""

import csv

import numpy as np
import pytest
from PIL import Image

from utils.metrics.pixels import PROBABILITY_STEPS
from utils.post_processing.thresholds import (
    THRESHOLDS,
    best_threshold,
    choose_threshold,
    count_by_probability,
    draw_thresholds,
    foreground_iou_by_threshold,
)


def draw(n_images=3, seed=0, shift=0.0):
    """Return probabilities that are higher, by chance and by ``shift``, where there is foreground."""
    rng = np.random.default_rng(seed)
    masks = [(rng.random((12, 9 + number, 1)) > 0.6).astype(np.uint8) for number in range(n_images)]
    noise = (rng.normal(0, 0.2, mask.shape) for mask in masks)
    return [
        np.clip(0.3 + 0.3 * m + n + shift, 0, 1).astype(np.float32) for m, n in zip(masks, noise, strict=True)
    ], masks


def naive_iou(predictions, masks, threshold):
    true = np.concatenate([mask.ravel() for mask in masks]) > 0
    rounded = np.concatenate(
        [np.rint(probability.ravel() * PROBABILITY_STEPS) / PROBABILITY_STEPS for probability in predictions]
    )
    found = rounded > threshold
    return (true & found).sum() / (true | found).sum()


def test_the_iou_equals_thresholding_and_counting_at_every_threshold():
    predictions, masks = draw()
    curve = foreground_iou_by_threshold(count_by_probability(predictions, masks))
    assert curve.shape == (PROBABILITY_STEPS,)
    for number in range(0, PROBABILITY_STEPS, 37):
        assert curve[number] == naive_iou(predictions, masks, THRESHOLDS[number])


def test_probabilities_on_the_border_count_as_the_scores_count_them():
    # 0.5 is not above 0.5; 0 and 1 have their own bins, so that threshold 0 finds what is above it and 4095/4096 ones.
    probability = np.array([0.0, 0.5, 0.5 + 1 / PROBABILITY_STEPS, 1.0]).reshape(1, 4, 1)
    curve = foreground_iou_by_threshold(count_by_probability([probability], [np.ones((1, 4, 1), np.uint8)]))
    assert curve[
        [0, PROBABILITY_STEPS // 2 - 1, PROBABILITY_STEPS // 2, PROBABILITY_STEPS // 2 + 1, PROBABILITY_STEPS - 1]
    ].tolist() == [0.75, 0.75, 0.5, 0.25, 0.25]


def test_predictions_are_read_once_and_counts_of_sets_add_up():
    predictions, masks = draw(4)
    whole = count_by_probability(iter(predictions), (mask for mask in masks))
    parts = count_by_probability(predictions[:1], masks[:1]) + count_by_probability(predictions[1:], masks[1:])
    assert np.array_equal(whole, parts)
    assert whole.sum() == sum(mask.size for mask in masks)
    assert whole[1].sum() == sum(mask.sum() for mask in masks)


def test_volumes_and_masks_of_255_count_too():
    probability, mask = np.full((2, 3, 4, 1), 0.25, np.float32), np.full((2, 3, 4, 1), 255, np.uint8)
    assert count_by_probability([probability], [mask])[1, PROBABILITY_STEPS // 4] == 24


def test_the_best_threshold_is_the_closest_to_a_half_of_the_best():
    curve = np.zeros(PROBABILITY_STEPS)
    curve[[100, 1000, 3000]] = 0.8
    assert best_threshold(curve) == 3000 / PROBABILITY_STEPS
    assert best_threshold(np.ones(PROBABILITY_STEPS)) == 0.5


def test_the_threshold_is_chosen_on_validation_and_the_oracle_is_only_named(tmp_path, capsys):
    validation, test = draw(seed=1), draw(seed=2, shift=0.25)
    chosen = choose_threshold(tmp_path, validation=validation, test=test)
    curves = [foreground_iou_by_threshold(count_by_probability(*pairs)) for pairs in (validation, test)]
    assert chosen == best_threshold(curves[0])
    oracle = best_threshold(curves[1])
    assert abs(oracle - chosen) > 0.1
    said = capsys.readouterr().out
    assert f"Threshold chosen on validation: {chosen:.3f} (validation IoU {naive_iou(*validation, chosen):.4f}" in said
    assert f"test IoU {naive_iou(*test, chosen):.4f}; {naive_iou(*test, 0.5):.4f} at 0.5; " in said
    assert f"oracle, chosen on the test: {naive_iou(*test, oracle):.4f} at {oracle:.3f})." in said
    rows = list(csv.DictReader((tmp_path / "thresholds.csv").open()))
    assert list(rows[0]) == ["threshold", "validation_foreground_iou", "test_foreground_iou"]
    assert [float(row["test_foreground_iou"]) for row in rows] == curves[1].tolist()


def test_without_test_masks_only_validation_is_drawn(tmp_path, capsys):
    choose_threshold(tmp_path, validation=draw())
    assert "oracle" not in capsys.readouterr().out
    assert (tmp_path / "thresholds.png").stat().st_size > 1000


def test_the_chart_marks_both_thresholds_in_their_colours(tmp_path):
    validation, test = np.exp(-((THRESHOLDS - 0.3) ** 2) / 0.02), np.exp(-((THRESHOLDS - 0.8) ** 2) / 0.02)

    def columns(colour):
        pixels = np.asarray(Image.open(tmp_path / "chart.png").convert("RGB")).astype(int)
        # Above 0.95 only a vertical line has this colour over some rows.
        return set(np.nonzero((abs(pixels[60:100] - colour).sum(axis=-1) < 60).any(axis=0))[0])

    blue, orange = (31, 119, 180), (255, 127, 14)
    draw_thresholds(tmp_path / "chart.png", validation)
    assert columns(blue) and not columns(orange)
    draw_thresholds(tmp_path / "chart.png", validation, test)
    assert max(columns(blue)) < min(columns(orange))


@pytest.mark.parametrize(
    ("predictions", "masks", "message"),
    [
        ([np.zeros((2, 2, 1))], [], "image 0 has no mask"),
        ([], [np.zeros((2, 2, 1))], "image 0 has no prediction"),
        ([np.zeros((2, 2, 1))], [np.zeros((2, 3, 1))], r"prediction 0 has the shape \(2, 2, 1\), its mask \(2, 3, 1\)"),
        ([np.zeros((2, 2, 3))], [np.zeros((2, 2, 3))], "With several classes the most probable one"),
        ([np.full((2, 2, 1), 255)], [np.zeros((2, 2, 1))], "holds the values 255 to 255; wanted 0 to 1"),
        ([np.full((2, 2, 1), np.nan)], [np.zeros((2, 2, 1))], "holds the values nan to nan"),
        ([np.zeros((2, 2, 1))], [np.zeros((2, 2, 1))], "hold no foreground"),
    ],
)
def test_predictions_and_masks_that_do_not_fit_are_refused(tmp_path, predictions, masks, message):
    with pytest.raises(ValueError, match=message):
        choose_threshold(tmp_path, validation=(predictions, masks))
