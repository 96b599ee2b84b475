"""Tests of the weight maps of the U-Net paper, against the formula with one distance map for each object."""

import os

import cv2
import numpy as np
import pytest
from scipy import ndimage

import utils.data.weight_maps
from utils.data.data_folder import open_image_set
from utils.data.weight_maps import cached_weight_maps, unet_weight_map
from utils.images.lazy_images import LazyImage

W0 = 10.0


def assert_same(found, expected):
    # The last digit of exp depends on where in memory an array begins.
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def random_mask(seed, shape=(60, 80)):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 2)
    return (smooth > np.quantile(smooth, 0.75)).astype(np.uint8)[..., np.newaxis]


def as_in_the_paper(labels, w0, sigma, class_weights):
    weights = np.where(labels > 0, class_weights[1], class_weights[0]).astype(np.float64)
    distances = [ndimage.distance_transform_edt(labels != number) for number in np.unique(labels[labels > 0])]
    if len(distances) > 1:
        first, second = np.sort(distances, axis=0)[:2]
        weights += (labels == 0) * w0 * np.exp(-((first + second) ** 2) / (2 * sigma**2))
    return weights


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sigma", [1.0, 2.5, 5.0])
def test_equals_the_definition(seed, sigma):
    mask = random_mask(seed)
    labels, count = ndimage.label(mask[..., 0], np.ones((3, 3)))
    assert count > 5
    expected = as_in_the_paper(labels, W0, sigma, (0.5, 1.0))
    found = unet_weight_map(mask, w0=W0, sigma=sigma)
    assert found.shape == mask.shape and found.dtype == np.float32
    np.testing.assert_allclose(found[..., 0], expected, rtol=2e-6, atol=2e-8 * W0)


def test_a_narrow_gap_counts_more_than_a_wide_one():
    mask = np.zeros((30, 60, 1), np.uint8)
    mask[5:25, 5:15] = mask[5:25, 18:30] = mask[5:25, 45:55] = 1
    weights = unet_weight_map(mask)[15, :, 0]
    assert weights[16] == pytest.approx(0.5 + 10 * np.exp(-(4**2) / 50), rel=1e-6)  # gap of 3: 2 and 2
    assert weights[37] == pytest.approx(0.5 + 10 * np.exp(-(16**2) / 50), rel=1e-6)  # gap of 15: 8 and 8
    assert (weights[[10, 20, 50]] == 1).all()


@pytest.mark.parametrize("boxes", [[], [np.s_[5:9, 5:9]], [np.s_[:, :]]])
def test_without_two_objects_there_are_class_weights_only(boxes):
    mask = np.zeros((20, 30, 1), np.uint8)
    for box in boxes:
        mask[box] = 1
    assert np.array_equal(unet_weight_map(mask, class_weights=(2, 7)), np.where(mask, 7, 2))


def test_instances_and_components_are_told_apart():
    labels = np.zeros((20, 30, 1), np.uint16)
    labels[5:15, 5:12], labels[5:15, 14:20] = 300, 300  # one instance in two pieces
    assert (unet_weight_map(labels, instances=True)[labels == 0] == 0.5).all()
    assert unet_weight_map(labels > 0)[10, 12, 0] > 5
    labels[5:15, 14:20] = 301
    assert_same(unet_weight_map(labels, instances=True), unet_weight_map(labels > 0))


def test_several_classes_have_their_own_weights():
    mask = np.zeros((20, 40, 1), np.uint8)
    mask[5:15, 5:12], mask[5:15, 14:20] = 1, 2
    weights = unet_weight_map(mask, class_weights=(1, 3, 4), w0=10)
    assert weights[10, 8, 0] == 3 and weights[10, 17, 0] == 4 and weights[10, 12, 0] > 5


def test_volumes_slice_by_slice():
    volume = np.stack([random_mask(seed) for seed in range(3)])
    expected = np.stack([unet_weight_map(mask) for mask in volume])
    assert_same(unet_weight_map(volume), expected)


def test_maps_are_computed_once_and_the_same_when_read(tmp_path, monkeypatch):
    masks = [random_mask(0), random_mask(1), random_mask(2, (40, 30))]
    first = cached_weight_maps(iter(masks), tmp_path, sigma=3)
    for mask, weights in zip(masks, first, strict=True):
        assert_same(weights, unet_weight_map(mask, sigma=3))
    monkeypatch.setattr(utils.data.weight_maps, "unet_weight_map", lambda *_, **__: pytest.fail("computed again"))
    for before, after in zip(first, cached_weight_maps(masks, tmp_path, sigma=3), strict=True):
        assert isinstance(after, LazyImage) and after.shape == before.shape
        np.testing.assert_array_equal(before, after)
    assert [weights.shape for weights in cached_weight_maps(masks[1:2], tmp_path, sigma=3)] == [masks[1].shape]


def test_maps_of_masks_on_disk_are_read_in_parts_and_leave_no_file_open(tmp_path, monkeypatch):
    monkeypatch.setattr(utils.data.weight_maps, "BLOCK_SHAPES", {3: (1, 16, 16), 4: (2, 16, 16)})
    for part, image in (("x", random_mask(1)), ("y", random_mask(0))):
        (tmp_path / part).mkdir()
        cv2.imwrite(str(tmp_path / part / "a.png"), image[..., 0] * 255)
    [mask] = open_image_set(tmp_path).y
    n_open = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    maps = cached_weight_maps([mask] * 9, tmp_path / "cache")
    window = np.s_[20:33, 5:15]
    assert_same(maps[3][window], unet_weight_map(random_mask(0))[window])
    assert maps[3]._cache.n_bytes == 2 * 16 * 16 * 4
    if n_open:
        assert len(os.listdir("/proc/self/fd")) == n_open
    volume = np.stack([random_mask(seed) for seed in range(3)])
    [found] = cached_weight_maps([volume], tmp_path / "cache")
    assert_same(found, unet_weight_map(volume))


def test_a_broken_map_is_named(tmp_path):
    [weights] = cached_weight_maps([random_mask(0)], tmp_path)
    [path] = tmp_path.iterdir()
    path.write_bytes(b"broken")
    with pytest.raises(ValueError, match=rf"{path.name} cannot be read: .*"):
        weights[...]


@pytest.mark.parametrize("changed", [{"w0": 3}, {"sigma": 4}, {"class_weights": (1, 2)}, {"instances": True}])
def test_other_settings_get_other_maps(tmp_path, changed):
    mask = random_mask(0)
    cached_weight_maps([mask], tmp_path)
    [found] = cached_weight_maps([mask], tmp_path, **changed)
    assert_same(found, unet_weight_map(mask, **changed))
    assert len(os.listdir(tmp_path)) == 2


def test_other_masks_get_other_maps(tmp_path):
    mask = random_mask(0)
    other = mask.copy()
    other[0, 0] ^= 1
    reshaped = mask.reshape(mask.shape[1], mask.shape[0], 1)
    found = cached_weight_maps([mask, other, reshaped], tmp_path)
    assert len(os.listdir(tmp_path)) == 3
    for weights, expected in zip(found, (mask, other, reshaped), strict=True):
        assert_same(weights, unet_weight_map(expected))


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(path, _):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", fail)
        with pytest.raises(OSError, match="the disk is full"):
            cached_weight_maps([random_mask(0)], tmp_path)
    assert os.listdir(tmp_path) == []
    assert_same(cached_weight_maps([random_mask(0)], tmp_path)[0], unet_weight_map(random_mask(0)))


def test_maps_on_disk_can_be_warped_as_the_generators_do(tmp_path):
    [weights] = cached_weight_maps([random_mask(0)], tmp_path)
    matrix = cv2.getRotationMatrix2D((20, 20), 30, 1)
    part = weights[5:45, 7:47]
    np.testing.assert_array_equal(
        cv2.warpAffine(part, matrix, (40, 40)), cv2.warpAffine(np.array(part), matrix, (40, 40))
    )


@pytest.mark.parametrize("wrong", [{"w0": -1}, {"sigma": 0}, {"sigma": float("nan")}, {"w0": float("inf")}])
def test_impossible_parameters_are_refused(wrong, tmp_path):
    with pytest.raises(ValueError, match="w0 is .* and sigma .* Use 10 and 5"):
        unet_weight_map(random_mask(0), **wrong)
    with pytest.raises(ValueError, match="w0 is .* and sigma .* Use 10 and 5"):
        cached_weight_maps([], tmp_path, **wrong)


@pytest.mark.parametrize("weights", [1.0, (1,), (1, -1), (1, float("nan")), ((1, 2), (3, 4))])
def test_impossible_class_weights_are_refused(weights):
    with pytest.raises(ValueError, match=r"class_weights are .* Use \(0.5, 1\)"):
        unet_weight_map(random_mask(0), class_weights=weights)


def test_a_class_without_a_weight_is_refused():
    with pytest.raises(ValueError, match="holds the class 2, but class_weights are .* instances=True"):
        unet_weight_map(random_mask(0) * 2)
