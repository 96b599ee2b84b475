"""Tests of boxes that are cut out, blurred, made noisy or exchanged."""

import numpy as np
import pytest

from generators.cut_transforms import (
    CUT_OPTIONS,
    change_boxes,
    coarse,
    cut_options,
    cutblur,
    cutmix,
    cutnoise,
    cutout,
    moved_box,
    random_box,
)
from generators.streams import Streams

DEFAULTS = {
    "cutmix_size": None, "cutblur_size": None, "cutblur_factor": (2, 8), "cutblur_inside": True, "cutnoise_size": None,
    "cutnoise_strength": (0.1, 0.2), "cutout_size": None, "cutout_fill": 0.0, "cutout_mask": False, "cut_count": (1, 2),
}  # fmt: skip
SHAPES = [(20, 24, 1), (20, 24, 5), (8, 20, 24, 1), (8, 20, 24, 2)]


def noise(shape, low=0.0, high=255.0, seed=0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def a_box(image, start=2, stop=7):
    return (slice(start, stop),) * (image.ndim - 1)


def outside(image, box):
    kept = np.ones(image.shape, bool)
    kept[box] = False
    return kept


def change(image, mask=None, *, seed=0, limits=(0, 255), probability=1.0, **options):
    """Change a copy, and return it with its mask."""
    image = image.copy()
    mask = np.ones((*image.shape[:-1], 1), np.uint8) if mask is None else mask.copy()
    options = cut_options(**DEFAULTS | options)
    probabilities = dict.fromkeys(CUT_OPTIONS, probability)
    change_boxes(image, mask, options, Streams(np.random.default_rng(seed)), limits=limits, probabilities=probabilities)
    return image, mask


# --- boxes


@pytest.mark.parametrize("shape", [(10, 20), (5, 10, 20)])
def test_boxes_have_one_share_of_all_sizes_and_reach_every_corner(shape):
    rng, shares, corners = np.random.default_rng(0), [], []
    for _ in range(500):
        box = random_box(rng, shape, (0.2, 0.6))
        sides = [part.stop - part.start for part in box]
        assert all(0 <= part.start < part.stop <= length for part, length in zip(box, shape, strict=True))
        shares.append(sides[-1] / shape[-1])
        for side, length in zip(sides, shape, strict=True):
            assert abs(side - shares[-1] * length) <= 0.5 + length / shape[-1] / 2
        corners.append([(part.start, part.stop) for part in box])
    assert min(shares) == pytest.approx(0.2)
    assert max(shares) == pytest.approx(0.6)
    for axis, length in enumerate(shape):
        assert min(corner[axis][0] for corner in corners) == 0
        assert max(corner[axis][1] for corner in corners) == length


def test_boxes_have_at_least_one_pixel_and_at_most_all():
    rng = np.random.default_rng(0)
    assert [part.stop - part.start for part in random_box(rng, (3, 100), (0.01, 0.01))] == [1, 1]
    assert random_box(rng, (3, 7), (1, 1)) == (slice(0, 3), slice(0, 7))
    assert {moved_box(rng, (4,), (3,))[0].start for _ in range(50)} == {0, 1}


# --- each of them


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("with_mask", [False, True])
def test_cutout_fills_the_box_and_leaves_the_rest(shape, with_mask):
    image, mask = noise(shape), np.ones((*shape[:-1], 1), np.uint8)
    before, box, grey = image.copy(), a_box(image), np.arange(shape[-1]) + 300
    cutout(image, box, grey, mask=mask if with_mask else None)
    assert (image[box] == grey).all()
    assert np.array_equal(image[outside(image, box)], before[outside(image, box)])
    assert (mask[box] == (not with_mask)).all()
    assert mask[outside(mask, box)].all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_coarse_pixels_are_the_means_of_blocks(shape, factor):
    image = noise(shape)
    *slices, height, width, channels = shape
    blocks = image.reshape(*slices, height // factor, factor, width // factor, factor, channels).mean(axis=(-2, -4))
    expected = blocks.repeat(factor, axis=-3).repeat(factor, axis=-2)
    np.testing.assert_allclose(coarse(image, factor), expected, rtol=1e-5)


@pytest.mark.parametrize("factor", [2, 4])
def test_coarse_voxels_are_the_means_of_cubes_when_isotropic(factor):
    image = noise((8, 20, 24, 2))
    blocks = image.reshape(8 // factor, factor, 20 // factor, factor, 24 // factor, factor, 2).mean(axis=(1, 3, 5))
    expected = blocks.repeat(factor, axis=0).repeat(factor, axis=1).repeat(factor, axis=2)
    np.testing.assert_allclose(coarse(image, factor, isotropic=True), expected, rtol=1e-5)


@pytest.mark.parametrize("isotropic", [False, True])
@pytest.mark.parametrize(
    ("size", "factor", "values"), [((1, 5, 7), 3, 2), ((3, 2, 2), 8, 1), ((1, 1, 1), 2, 1)], ids=str
)
def test_coarse_of_any_size_has_few_values_and_the_same_mean(size, factor, values, isotropic):
    image = noise((*size, 1))
    found = coarse(image, factor, isotropic=isotropic)
    assert found.shape == image.shape
    assert len(np.unique(found[0].round(3))) <= values
    assert found.min() >= image.min() - 1e-3
    assert found.max() <= image.max() + 1e-3


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("inside", [True, False])
def test_cutblur_changes_the_box_or_all_around_it(shape, inside):
    image = noise(shape)
    before, box = image.copy(), a_box(image)
    cutblur(image, box, 4, inside=inside)
    rest = outside(image, box)
    changed, kept = (image[box] != before[box], image[rest] == before[rest])
    if not inside:
        changed, kept = (image[rest] != before[rest], image[box] == before[box])
    assert changed.mean() > 0.99
    assert kept.all()
    if inside:
        np.testing.assert_array_equal(image[box], coarse(before[box], 4))


@pytest.mark.parametrize("limits", [(0, 255), (-300, 300)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cutnoise_is_uniform_the_same_in_all_channels_and_cut_off(shape, limits):
    image = np.full(shape, sum(limits) / 2, np.float32)
    box = (slice(1, None),) * (image.ndim - 1)
    cutnoise(image, box, 0.2, limits, np.random.default_rng(0))
    change, width = image - sum(limits) / 2, 0.2 * (limits[1] - limits[0])
    assert not change[outside(image, box)].any()
    assert np.abs(change).max() <= width
    assert change[box].std() == pytest.approx(width / 3**0.5, rel=0.1)
    assert change[box].mean() == pytest.approx(0, abs=0.1 * width)
    assert (change == change[..., :1]).all()
    image[...] = limits[1]
    cutnoise(image, box, 0.2, limits, np.random.default_rng(0))
    assert image.max() == limits[1]
    assert image.min() < limits[1] - 0.9 * width


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cutmix_moves_image_mask_and_weights_together(shape):
    sample, partner = (
        [noise(shape, seed=seed), *(noise((*shape[:-1], 1), seed=seed + 9) for _ in range(2))] for seed in (0, 1)
    )
    before, box, other = [array.copy() for array in sample], a_box(sample[0]), a_box(sample[0], 0, 5)
    cutmix(sample, partner, box, other)
    for array, old, source in zip(sample, before, partner, strict=True):
        assert np.array_equal(array[box], source[other])
        assert np.array_equal(array[outside(array, box)], old[outside(array, box)])


# --- drawn


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["cutblur_size", "cutnoise_size", "cutout_size"])
def test_each_option_changes_boxes_of_its_size_and_leaves_masks_bit_equal(name, shape):
    image, shares = noise(shape, low=50), []
    for seed in range(60):
        changed, mask = change(image, seed=seed, cut_count=(1, 1), **{name: (0.3, 0.5)})
        assert mask.all()
        columns = np.flatnonzero((changed != image).any(axis=-1).reshape(-1, shape[-2]).any(axis=0))
        shares.append((np.ptp(columns) + 1) / shape[-2])
    assert 0.25 <= min(shares) < 0.36
    assert 0.44 < max(shares) <= 0.55


def test_cutout_may_zero_the_mask_exactly_where_the_image_is_filled():
    image = noise((30, 30, 1), low=50)
    changed, mask = change(image, cutout_size=(0.3, 0.5), cutout_mask=True)
    assert np.array_equal(mask == 0, changed == 0)
    assert 0 < (mask == 0).mean() < 0.6


@pytest.mark.parametrize(("fill", "expected"), [(0, -100), (1, 300), (0.25, 0), ("mean", 100)])
def test_cutout_fills_with_what_is_asked_for(fill, expected):
    image = np.tile(np.array([50, 150], np.float32), (10, 10))[..., np.newaxis]
    changed, _ = change(image, limits=(-100, 300), cutout_size=(0.2, 0.4), cutout_fill=fill)
    assert set(np.unique(changed)) == {50, expected, 150}


def test_the_number_of_boxes_has_both_ends_of_its_range(monkeypatch):
    boxes, counts = [], set()
    monkeypatch.setattr("generators.cut_transforms.cutout", lambda image, box, grey, mask: boxes.append(box))
    for seed in range(50):
        boxes.clear()
        change(noise((10, 10, 1)), seed=seed, cutout_size=(0.1, 0.2), cut_count=(1, 3))
        counts.add(len(boxes))
    assert counts == {1, 2, 3}


@pytest.mark.parametrize(("inside", "expected"), [(True, {True}), (False, {True, False})])
def test_cutblur_draws_factor_and_side(monkeypatch, inside, expected):
    seen = []
    record = lambda image, box, factor, *, inside, isotropic: seen.append((factor, bool(inside)))  # noqa: E731
    monkeypatch.setattr("generators.cut_transforms.cutblur", record)
    for seed in range(100):
        change(noise((10, 10, 1)), seed=seed, cutblur_size=(0.1, 0.2), cutblur_factor=(2, 4), cutblur_inside=inside)
    assert {factor for factor, _ in seen} == {2, 3, 4}
    assert {side for _, side in seen} == expected
    if not inside:
        assert 30 < sum(side for _, side in seen) < 70


def test_one_option_does_not_change_the_draws_of_another():
    image = noise((30, 30, 1), low=50)
    alone, _ = change(image, cutout_size=(0.3, 0.5))
    both, _ = change(image, cutout_size=(0.3, 0.5), cutnoise_size=(0.3, 0.5), cutblur_size=(0.3, 0.5))
    assert np.array_equal(alone == 0, both == 0)


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.3, 35, 85), (1.0, 200, 200)])
def test_probability_is_the_share_of_changed_samples(probability, low, high):
    image = noise((10, 10, 1), low=50)
    found = [change(image, seed=seed, probability=probability, cutout_size=(0.3, 0.5))[0] for seed in range(200)]
    assert low <= sum(not np.array_equal(changed, image) for changed in found) <= high


def test_nothing_happens_when_all_is_off():
    image = noise((10, 10, 1))
    assert np.array_equal(change(image)[0], image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"cutmix_size": (0, 0.4)},
            r"cutmix_size is \(0, 0.4\); it must be \(low, high\) with 0 < low <= high <= 1, e.g.",
        ),
        ({"cutblur_size": (0.2, 1.4)}, r"cutblur_size is \(0.2, 1.4\)"),
        ({"cutnoise_size": 0.3}, "cutnoise_size is 0.3"),
        ({"cutout_size": (0.4, 0.2)}, r"cutout_size is \(0.4, 0.2\)"),
        ({"cutblur_factor": 4}, "cutblur_factor is 4; it must be two whole numbers"),
        ({"cutblur_factor": None}, "cutblur_factor is None"),
        ({"cutnoise_strength": None}, "cutnoise_strength is None; it must be"),
        ({"cutout_fill": "black"}, "cutout_fill is 'black'; it must be a number from 0"),
        ({"cut_count": 0}, "cut_count is 0; it must be two whole numbers"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        cut_options(**DEFAULTS | options)
