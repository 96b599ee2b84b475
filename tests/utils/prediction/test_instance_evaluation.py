"""Tests of instances that are written, measured and scored."""

import csv
import json
from argparse import Namespace

import numpy as np
import pytest

from utils.data.image_set import ImageSet
from utils.images.image_files import Source
from utils.prediction.instance_evaluation import evaluate_instances, label_instances
from utils.runs.run import Run


@pytest.fixture
def run(tmp_path):
    arguments = {
        "id": "inst",
        "rid": 0,
        "job_dir": tmp_path,
        "code_dir": ".",
        "data_dir": ".",
        "dry_run": False,
        "resume": False,
        "precision": "auto",
        "deterministic": False,
    }
    return Run(Namespace(set=[], **arguments), {})


@pytest.fixture
def two_images():
    """Return two images, the first with two true objects, the second with one, and labels that miss one of them."""
    masks = [np.zeros((12, 20, 1), np.uint8) for _ in range(2)]
    masks[0][2:6, 2:8] = masks[0][8:11, 10:18] = masks[1][4:9, 4:9] = 1
    labels = [mask.astype(np.int32) for mask in masks]
    labels[0][8:11, 10:18] = 0
    labels[1] *= 300
    images = ImageSet([mask * 100 for mask in masks], masks, [Source("a.png"), Source("b.tif")], (0, 255))
    return images, labels


def test_labels_are_saved_measured_and_scored(run, two_images, capsys):
    images, labels = two_images
    saved = evaluate_instances(run, images, iter(labels), voxel_size_nm=(10, 5))
    for found, expected in zip(saved, labels, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.int32
    rows = list(csv.DictReader((run.folder / "instances.csv").open()))
    assert [(row["image"], row["label"], row["area_nm2"]) for row in rows] == [
        ("a.png", "1", "1200.0"),
        ("b.tif", "300", "1250.0"),
    ]
    scores = {row["metric"]: row for row in json.loads((run.folder / "scores.json").read_text())}
    assert scores["average_precision_50"]["value"] == pytest.approx(2 / 3)
    assert scores["det"]["value"] == pytest.approx(2 / 3) and scores["missed"]["value"] == 1
    assert scores["det"]["label"] == "Post-process: instances - Test DET (merge into complete image)"
    run.finish()
    assert "2 instances in 2 images" in capsys.readouterr().out


def test_without_truth_instances_are_saved_and_measured(run, two_images):
    images, labels = two_images
    evaluate_instances(run, ImageSet(images.x, None, images.sources, ()), labels)
    assert not (run.folder / "scores.json").exists()
    assert len((run.folder / "instances.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "change",
    [lambda found: found[:1], lambda found: [*found, found[0]], lambda found: [label[:, :5] for label in found]],
)
def test_labels_of_other_images_are_refused(run, two_images, change):
    images, labels = two_images
    with pytest.raises(ValueError, match="instances: labels"):
        evaluate_instances(run, images, change(labels))


# --- instances by what the network learnt


@pytest.fixture
def two_touching():
    """Return foreground of two touching squares, their contour, and the distance to it, of 12x22 pixels each."""
    foreground, contour, distance = np.zeros((3, 12, 22, 1), np.float32)
    foreground[2:10, 2:20] = 1
    contour[2:10, 10:12] = 1
    distance[5:7, 5:7] = distance[5:7, 15:17] = 0.9
    return foreground, contour, distance


def count(*arguments, **options):
    return [int(labels.max()) for labels in label_instances(*arguments, **options)]


def test_contours_and_predicted_distances_part_what_touches(two_touching):
    foreground, contour, distance = two_touching
    channels = [np.concatenate([foreground, distance, contour], axis=-1)]
    learnt = {"channels": channels, "targets": ("binary", "distance", "contour")}
    assert count([foreground]) == [1]
    assert count([foreground], **learnt) == [2]
    assert count([foreground], channels=channels, targets=("binary", "distance"), min_distance_share=0.5) == [2]
    assert count([foreground], channels=channels, targets=("binary", "distance")) == [1]


def test_distances_sizes_and_what_was_post_processed_count_with_contours_too(two_touching):
    foreground, contour, _ = two_touching
    channels, targets = [np.concatenate([foreground, contour], axis=-1)], ("binary", "contour")
    learnt = {"channels": channels, "targets": targets, "voxel_size_nm": 10}
    assert count([foreground], **learnt, min_distance_nm=30) == [2]
    assert count([foreground], **learnt, min_distance_nm=60) == [1]  # no marker, so the component stays whole
    assert count([foreground], **learnt, min_voxels=100) == [1]
    cleaned = foreground.copy()
    cleaned[:, 11:] = 0
    assert count([cleaned], **learnt) == [1]
    [labels] = label_instances([cleaned], **learnt)
    assert not labels[:, 11:].any()


def test_a_share_of_a_distance_that_is_not_predicted_is_refused(two_touching):
    foreground, contour, _ = two_touching
    with pytest.raises(ValueError, match=r"a share of 0\.5 of the predicted distance .* no distance is predicted"):
        count([foreground], min_distance_share=0.5)
    with pytest.raises(ValueError, match="strict|shorter|longer"):
        count([foreground, foreground], channels=[contour], targets=("contour",))
