"""Tests of where random crops are taken."""

import collections
import time

import numpy as np
import pytest

from generators.probability_map import ProbabilityMap, check_probability_map, random_corner


def blob_mask(shape=(5, 6, 7)):
    """Return a mask with foreground in some lines: none, one voxel, a part, all of it."""
    mask = np.zeros((*shape, 1), np.uint8)
    mask[1, 2, 3] = mask[1, 2, 5] = mask[3, 0, 0] = 1
    mask[4, 5] = 2
    return mask


def draws(probability_map, count, seed=0):
    rng = np.random.default_rng(seed)
    return collections.Counter(probability_map.draw(rng) for _ in range(count))


@pytest.mark.parametrize(("weights", "share"), [((0.94, 0.06), 0.94), ((1, 3), 0.25), ((1, 0), 1.0), ((0, 2), 0.0)])
def test_foreground_is_drawn_as_often_as_its_weight_says(weights, share):
    mask, count = blob_mask(), 4000
    drawn = draws(ProbabilityMap(mask, weights), count)
    found = sum(number for place, number in drawn.items() if mask[place]) / count
    assert found == pytest.approx(share, abs=4 * (share * (1 - share) / count) ** 0.5)


@pytest.mark.parametrize("weights", [(1, 0), (0, 1)], ids=["foreground", "background"])
@pytest.mark.parametrize(
    "mask", [blob_mask(), blob_mask() == 0, blob_mask()[3:, :, ::2]], ids=["blobs", "bool", "view"]
)
def test_every_voxel_of_a_class_is_as_likely_as_any_other(mask, weights):
    drawn = draws(ProbabilityMap(mask, weights), 40_000)
    expected = {tuple(place) for place in np.argwhere((mask[..., 0] != 0) == bool(weights[0])).tolist()}
    assert set(drawn) == expected
    mean = 40_000 / len(expected)
    assert max(abs(number - mean) for number in drawn.values()) < 5 * mean**0.5


def test_images_have_a_map_too():
    mask = np.zeros((6, 7, 1), np.uint8)
    mask[2, 4] = mask[5, 6] = 1
    assert set(draws(ProbabilityMap(mask, (1, 0)), 100)) == {(2, 4), (5, 6)}


@pytest.mark.parametrize("value", [0, 1], ids=["no foreground", "no background"])
@pytest.mark.parametrize("weights", [(1, 0), (0, 1), (0.9, 0.1)], ids=str)
def test_a_mask_of_one_class_has_no_preferred_place(value, weights):
    probability_map = ProbabilityMap(np.full((3, 4, 5, 1), value, np.uint8), weights)
    assert probability_map.draw(np.random.default_rng(0)) is None


@pytest.mark.parametrize("weights", [(-0.1, 1.1), (1, -1), (0, 0), (1,), (1, 2, 3), (float("nan"), 1)], ids=str)
def test_weights_that_make_no_sense_are_refused(weights):
    with pytest.raises(ValueError, match=r"probability_map is .*foreground weight, background weight.*\(0.94, 0.06\)"):
        check_probability_map(weights)


def test_draws_from_a_large_volume_are_fast():
    mask = np.zeros((165, 768, 64, 1), np.uint8)  # what takes time is the number of lines
    mask[50:80, 100:400, 20:40] = 1
    probability_map, rng = ProbabilityMap(mask, (0.94, 0.06)), np.random.default_rng(0)
    start = time.perf_counter()
    for _ in range(200):
        probability_map.draw(rng)
    assert (time.perf_counter() - start) / 200 < 0.005  # measured: 0.00001


# --- the corners of crops


def corners(sizes, crop_shape, probability_map=None, count=300):
    rng = np.random.default_rng(0)
    return [random_corner(sizes, crop_shape, rng, probability_map) for _ in range(count)]


def test_without_a_map_every_corner_is_equally_likely():
    counts = collections.Counter(corners((3, 4, 5), (2, 4, 4), count=4000))
    assert set(counts) == {(z, 0, x) for z in range(2) for x in range(2)}
    assert min(counts.values()) > 900


@pytest.mark.parametrize(
    ("voxel", "expected"),
    [((5, 6, 7), (4, 4, 5)), ((0, 0, 0), (0, 0, 0)), ((9, 11, 13), (7, 8, 9)), ((1, 11, 7), (0, 8, 5))],
)
def test_the_drawn_voxel_is_the_centre_unless_the_border_is_near(voxel, expected):
    mask = np.zeros((10, 12, 14, 1), np.uint8)
    mask[voxel] = 1
    (found,) = set(corners((10, 12, 14), (3, 4, 5), ProbabilityMap(mask, (1, 0)), count=5))
    assert found == expected
    assert all(start <= place < start + size for start, place, size in zip(found, voxel, (3, 4, 5), strict=True))


def test_a_volume_without_foreground_falls_back_to_every_corner():
    mask = np.zeros((4, 6, 6, 1), np.uint8)
    assert len(set(corners((4, 6, 6), (2, 3, 3), ProbabilityMap(mask, (0.9, 0.1)), count=1000))) == 3 * 4 * 4
