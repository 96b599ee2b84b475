"""Tests of what is refused of a post-processing before anything is predicted."""

import pytest

from utils.post_processing.across_slices import fuse_layers, remove_small_objects
from utils.post_processing.checks import check_post_processing
from utils.post_processing.edge_watershed import edge_watershed
from utils.post_processing.gradient_watershed import gradient_watershed
from utils.post_processing.thresholds import apply_threshold
from utils.post_processing.within_slices import spurious_filter
from utils.post_processing.z_filter import z_filter

ALL_ON = {
    "z_filter_size": 5,
    "spurious_below": 0.8,
    "threshold": 0.4,
    "choose_threshold": True,
    "watershed": "edges",
    "watershed_reach": 4,
    "min_object_size": 100,
    "fill_holes": True,
    "instances": True,
    "instance_distance_nm": 10.0,
}


def never_read():
    raise AssertionError("the predictions are read before the limits are checked")
    yield


@pytest.mark.parametrize(
    "process",
    [
        lambda predictions: z_filter(predictions, 4),
        lambda predictions: spurious_filter(predictions, 0.3),
        lambda predictions: apply_threshold(predictions, 1.5),
        lambda predictions: apply_threshold(predictions, float("nan")),
        lambda predictions: edge_watershed(predictions, [], dilate_iterations=-1),
        lambda predictions: gradient_watershed(predictions, [], marker_radius=0),
        lambda predictions: remove_small_objects(predictions, -1, per_slice=True),
        lambda predictions: remove_small_objects(predictions, -1),
        lambda predictions: remove_small_objects(predictions, 5, per_slice=True, min_slices=2),
        lambda predictions: fuse_layers(predictions, min_overlap=2),
    ],
)
def test_a_bad_limit_is_said_by_the_call_and_not_by_its_first_result(process):
    with pytest.raises(ValueError, match="needed|lies between|no middle slice|has one slice"):
        process(never_read())


@pytest.mark.parametrize("watershed", [None, "edges", "gradient"])
@pytest.mark.parametrize(("n_axes", "voxel"), [(2, 4.0), (3, (30, 4, 4))])
def test_what_works_passes(watershed, n_axes, voxel):
    check_post_processing(1, n_axes, **ALL_ON | {"watershed": watershed, "voxel_size_nm": voxel})
    check_post_processing(2, n_axes, **ALL_ON | {"threshold": 0.5, "choose_threshold": False})
    check_post_processing(5, n_axes, z_filter_size=3)


def test_several_classes_are_refused_for_all_at_once():
    with pytest.raises(ValueError) as error:
        check_post_processing(5, 2, **ALL_ON)
    text = str(error.value)
    assert text.startswith(
        "7 problems in the post-processing:\n  - SPURIOUS_BELOW=0.8 is made for one foreground class, but"
    )
    for part in (
        "THRESHOLD=0.4",
        "CHOOSE_THRESHOLD=True",
        "WATERSHED='edges'",
        "MIN_OBJECT_SIZE=100",
        "FILL_HOLES=True",
    ):
        assert f"{part} is made for one foreground class, but the network tells 5 classes apart; leave it off" in text
    with pytest.raises(ValueError, match="the post-processing: THRESHOLD=0.0 is made for .* tells 2 classes apart"):
        check_post_processing(2, 2, threshold=0.0)


def test_limits_are_named_by_their_variables_all_at_once():
    wrong = {"z_filter_size": 4, "spurious_below": 0.2, "threshold": -0.1, "watershed_reach": 0}
    wrong |= {"min_object_size": -5, "instance_distance_nm": -1.0}
    with pytest.raises(ValueError) as error:
        check_post_processing(1, 3, **ALL_ON | wrong)
    text = str(error.value)
    assert text.startswith("6 problems in the post-processing:\n  - Z_FILTER_SIZE: a z-filter of size 4")
    for part in (
        "SPURIOUS_BELOW: min_probability is 0.2",
        "THRESHOLD: the threshold is -0.1, but a probability from 0 to 1 is needed",
        "WATERSHED_REACH: dilate_iterations and erode_iterations are 0",
        "MIN_OBJECT_SIZE: min_size is -5",
        "INSTANCES: min_distance is -1.0",
    ):
        assert part in text
    with pytest.raises(ValueError, match="WATERSHED_REACH: marker_radius is 0, but at least 1 pixel is needed"):
        check_post_processing(1, 2, watershed="gradient", watershed_reach=0)
    with pytest.raises(ValueError, match="INSTANCES: .* 2 values for 3 axes"):
        check_post_processing(1, 3, instances=True, voxel_size_nm=(4, 4))
    with pytest.raises(ValueError, match="WATERSHED 'edge' is not known"):
        check_post_processing(1, 2, watershed="edge")
