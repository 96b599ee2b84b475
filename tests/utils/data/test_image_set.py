"""Tests of splitting and cropping sets of images."""

from dataclasses import replace

import numpy as np
import pytest

from generators.image_data_generator import ImageDataGenerator
from generators.voxel_data_generator import VoxelDataGenerator
from utils.data.image_set import ImageSet, crop_image_set, replicate, split_validation, split_validation_z
from utils.data.weight_maps import cached_weight_maps
from utils.images.image_files import ImageName


def image_set(count, shape=(4, 6, 1)):
    x = [np.full(shape, number, np.uint8) for number in range(count)]
    y = [np.full((*shape[:2], 1), number % 2, np.uint8) for number in range(count)]
    return ImageSet(x, y, [ImageName(f"{number}.png") for number in range(count)], (0, 255))


# --- splitting


@pytest.mark.parametrize(
    ("count", "fraction", "wanted"),
    [(165, 0.1, 17), (10, 0.1, 1), (8, 0.25, 2), (3, 0.01, 1), (2, 0.5, 1), (7, 0.5, 4)],
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_share_of_the_images_is_rounded_up(count, fraction, wanted, shuffle):
    training, validation = split_validation(image_set(count), fraction, seed=0, shuffle=shuffle)
    assert (len(training), len(validation)) == (count - wanted, wanted)


@pytest.mark.parametrize("count", [30, 60, 70, 90, 110, 140, 190, 230])
def test_share_that_is_whole_is_not_rounded_up(count):
    assert len(split_validation(image_set(count), 0.1, seed=0)[1]) == count // 10


def test_split_parts_whole_images_with_their_masks_and_names():
    images = image_set(20)
    training, validation = split_validation(images, 0.3, seed=1)
    for part in (training, validation):
        for image, mask, source in zip(part.x, part.y, part.names, strict=True):
            number = int(image.max())
            assert (mask.max(), source.file) == (number % 2, f"{number}.png")
        assert part.mask_values == images.mask_values
        numbers = [int(image.max()) for image in part.x]
        assert numbers == sorted(numbers), "each part keeps the order, which is that of the slices of a volume"
    names = [source.file for source in training.names + validation.names]
    assert sorted(names) == sorted(source.file for source in images.names)


def test_split_without_shuffling_takes_the_last():
    training, validation = split_validation(image_set(10), 0.3, seed=0, shuffle=False)
    assert [int(image.max()) for image in training.x] == list(range(7))
    assert [int(image.max()) for image in validation.x] == [7, 8, 9]


def test_seed_decides_the_split():
    def chosen(seed):
        return [source.file for source in split_validation(image_set(30), 0.3, seed=seed)[1].names]

    assert chosen(1) == chosen(1)
    assert chosen(1) != chosen(2)
    assert chosen(1) != [f"{number}.png" for number in range(21, 30)]


@pytest.mark.parametrize(("count", "fraction"), [(10, 0), (10, 1), (10, -0.1), (10, 0.95), (1, 0.1), (10, 1.5)])
def test_impossible_split_is_refused(count, fraction):
    with pytest.raises(ValueError, match=rf"validation split of {fraction} of {count} image\(s\).*between 0 and 1"):
        split_validation(image_set(count), fraction, seed=0)


def test_subset_of_a_set_without_masks():
    images = ImageSet([np.zeros((2, 2, 1))] * 3, None, [ImageName(str(n)) for n in range(3)], ())
    assert images.subset([2, 0]).y is None
    assert [source.file for source in images.subset([2, 0]).names] == ["2", "0"]


# --- cropping


def test_crops_of_images_and_masks_agree_and_are_views():
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 1), np.uint8)
    whole = ImageSet([image], [image // 128], [ImageName("v.tif", 2)], (0, 255))
    crops = crop_image_set(whole, (8, 8, 1), overlap=0.25)
    assert len(crops) == len(crops.y) == len(crops.names) == 3 * 5
    for crop, mask in zip(crops.x, crops.y, strict=True):
        assert crop.shape == mask.shape == (8, 8, 1)
        assert np.array_equal(mask, crop // 128)
        assert np.shares_memory(crop, image)
        assert np.shares_memory(mask, whole.y[0])


def test_crops_are_named_after_image_page_and_corner():
    whole = ImageSet([np.zeros((8, 16, 1))] * 2, None, [ImageName("v.tif", 2), ImageName("a.b.png")], ())
    names = [str(source) for source in crop_image_set(whole, (8, 8)).names]
    assert names == [
        "v_p0002_y00000_x00000.tif",
        "v_p0002_y00000_x00008.tif",
        "a.b_y00000_x00000.png",
        "a.b_y00000_x00008.png",
    ]


def test_small_images_give_padded_crops():
    crops = crop_image_set(image_set(2, shape=(4, 6, 1)), (8, 8))
    assert [crop.shape for crop in crops.x + crops.y] == [(8, 8, 1)] * 4


# --- volumes


def volume_set():
    """Return a volume that came as ten slices and one of five slices that came as a file."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (count, 6, 8, 1), np.uint8) for count in (10, 5)]
    sources = [
        ImageName("0 to 9", slices=tuple(ImageName(f"{n}.png") for n in range(10))),
        ImageName("b.tif", slices=()),
    ]
    return ImageSet(images, [image // 128 for image in images], sources, (0, 255))


def test_the_last_slices_of_every_volume_are_for_validation():
    volumes = volume_set()
    training, validation = split_validation_z(volumes, 0.15)
    assert [len(volume) for volume in training.x] == [8, 4]
    assert [len(volume) for volume in validation.x] == [2, 1]
    for part, places in ((training, (slice(8), slice(4))), (validation, (slice(8, None), slice(4, None)))):
        for number, place in enumerate(places):
            assert np.array_equal(part.x[number], volumes.x[number][place])
            assert np.array_equal(part.y[number], volumes.y[number][place])
            assert np.shares_memory(part.x[number], volumes.x[number])
    assert [source.file for source in validation.names[0].slices] == ["8.png", "9.png"]
    assert training.names[1] == ImageName("b.tif", slices=())


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 0.99])
def test_impossible_split_along_z_is_refused(fraction):
    with pytest.raises(ValueError, match="of the 10 slices of 0 to 9 leaves nothing to train on"):
        split_validation_z(volume_set(), fraction)


def test_volumes_of_slices_fall_into_slices_and_others_stay_whole():
    volumes = volume_set()
    pieces = volumes.pieces(0)
    assert [str(source) for source, _ in pieces] == [f"{n}.png" for n in range(10)]
    assert all(np.array_equal(volumes.x[0][place], volumes.x[0][n]) for n, (_, place) in enumerate(pieces))
    ((source, place),) = volumes.pieces(1)
    assert source == ImageName("b.tif", slices=()) and volumes.x[1][place].shape == (5, 6, 8, 1)


def test_subvolumes_are_named_after_their_corner():
    crops = crop_image_set(volume_set(), (5, 6, 8, 1))
    assert [str(source) for source in crops.names] == [
        "0 to 9_z00000_y00000_x00000",
        "0 to 9_z00005_y00000_x00000",
        "b_z00000_y00000_x00000.tif",
    ]
    assert {crop.shape for crop in crops.x + crops.y} == {(5, 6, 8, 1)}


# --- joining and repeating


def test_joined_sets_keep_images_masks_and_names_together():
    first, second = image_set(2), image_set(3, shape=(8, 8, 1)).renamed("other")
    joined = first.joined_with(second)
    assert joined.x == [*first.x, *second.x] and joined.y == [*first.y, *second.y]
    assert [str(source) for source in joined.names] == ["0.png", "1.png", "other/0.png", "other/1.png", "other/2.png"]
    without = ImageSet(first.x, None, first.names, ()).joined_with(second)
    assert without.y is None and len(without) == 5


def test_names_of_slices_are_prefixed_too():
    first, second = volume_set().renamed("v").names
    assert first.file == "v/0 to 9" and [part.file for part in first.slices[:2]] == ["v/0.png", "v/1.png"]
    assert second == ImageName("v/b.tif", slices=())


@pytest.mark.parametrize(("factor", "count"), [(1, 10), (2, 20), (3.0, 30), (1.5, 15), (0.5, 5), (2.25, 22), (0.06, 1)])
def test_replicated_images_are_taken_equally_often(factor, count):
    images = image_set(10)
    many = replicate(images, factor, seed=0)
    assert len(many) == count and all(any(x is original for original in images.x) for x in many.x)
    assert all(mask.max() == image.max() % 2 for image, mask in zip(many.x, many.y, strict=True))
    numbers = np.bincount([int(image.max()) for image in many.x], minlength=10)
    assert numbers.max() - numbers.min() <= 1


def test_seed_decides_which_images_are_taken_once_more():
    def names(seed):
        return [source.file for source in replicate(image_set(20), 1.5, seed=seed).names[20:]]

    assert names(0) == names(0) and names(0) != names(1)
    assert len({name for seed in range(9) for name in names(seed)}) == 20


@pytest.mark.parametrize("factor", [0, -1, 0.01, float("nan"), float("inf")])
def test_a_factor_that_leaves_nothing_is_refused(factor):
    with pytest.raises(ValueError, match=rf"{factor} times 10 training images leaves nothing.*Use a number above 0"):
        replicate(image_set(10), factor, seed=0)


# --- weights


def test_weights_stay_with_their_images_through_everything():
    weights = [np.full((4, 6, 1), number, np.float32) for number in range(3)]
    images = replace(image_set(3), weights=weights)
    crops = crop_image_set(images, (4, 3, 1))
    for part in (images.subset([2, 0]), images.joined_with(images), crops, replicate(crops, 2.5, seed=0)):
        assert len(part.weights) == len(part)
        for image, weight in zip(part.x, part.weights, strict=True):
            assert weight.shape == image.shape and weight.max() == image.max()


@pytest.mark.parametrize("depth", [0, 3])
def test_weight_maps_of_whole_images_know_what_a_crop_does_not_show(depth, tmp_path):
    mask = np.zeros((16, 32, 1), np.uint8)
    mask[4:12, 4:15] = mask[4:12, 17:28] = 1  # the border of the crops, at 16, lies in the gap
    mask = np.stack([mask] * depth) if depth else mask
    images = ImageSet([mask], [mask], [ImageName("a.png")], (0, 1))
    weighed = replace(images, weights=cached_weight_maps(images.y, tmp_path))
    for crop_shape in ((2, 16, 16, 1)[0 if depth else 1 :], (2, 8, 40, 1)[0 if depth else 1 :]):
        crops = crop_image_set(weighed, crop_shape)
        batches = (VoxelDataGenerator if depth else ImageDataGenerator)().flow(
            crops.x, crops.y, sample_weight=crops.weights, batch_size=len(crops), shuffle=False
        )
        _, masks, weights = batches[0]
        for index, crop in enumerate(crops.weights):
            np.testing.assert_array_equal(weights[index], np.asarray(crop))
        assert weights[masks == 0].max() == pytest.approx(0.5 + 10 * np.exp(-(3**2) / 50), rel=1e-5)
    shifted = VoxelDataGenerator if depth else ImageDataGenerator
    shifted = shifted(width_shift_range=0.2).flow(crops.x, crops.y, sample_weight=crops.weights)
    assert all(np.isfinite(part).all() for part in shifted[0])
