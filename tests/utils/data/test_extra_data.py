"""Tests of further data sets that are trained on too."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile

from utils.data.experiment_data import ExperimentData, load_images, load_volumes
from utils.data.extra_data import join_extra_data
from utils.data.image_set import ImageSet, crop_image_set
from utils.images.image_files import ImageName

CROP = (8, 8, 1)


def write_set(folder, images, masks):
    for kind, arrays in (("x", images), ("y", masks)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number, array in enumerate(arrays):
            tifffile.imwrite(folder / kind / f"im_{number}.tif", array, photometric="minisblack")
    return folder


def grey(shape, dtype=np.uint8, *, seed=0, top=255):
    values = np.random.default_rng(seed).random(shape) * top
    return values.astype(dtype) if np.dtype(dtype).kind == "f" else np.rint(values).astype(dtype)


def half(shape, value=255):
    """Return a mask whose left half is foreground."""
    mask = np.zeros(shape, np.uint8)
    mask[..., : shape[-1] // 2] = value
    return mask


@pytest.fixture
def main():
    image = grey((16, 16, 1), seed=9)
    return crop_image_set(ImageSet([image], [image // 128], [ImageName("im_0.tif")], (0, 255)), CROP)


@pytest.fixture
def other(tmp_path):
    """Write a set of one image of 16x24 and one of 8x8, masks 0 and 255."""
    shapes = ((16, 24), (8, 8))
    return write_set(tmp_path / "other", [grey(shape) for shape in shapes], [half(shape) for shape in shapes])


def joined(main, extra_sets, **options):
    """Return training crops with those of further sets; options of the data and of the joining."""
    joining = {name: options.pop(name) for name in ("random_crops", "cache_dir", "weigh") if name in options}
    parts = dict.fromkeys(("train", "validation", "test", "train_crops", "validation_crops", "test_crops"), main)
    data = ExperimentData(**parts, **{"crop_shape": CROP, "seed": 0} | options)
    return join_extra_data(data, extra_sets, **joining).train_crops


def names(images):
    return [source.file for source in images.names]


def test_crops_of_other_sets_follow_those_of_the_main_one(main, other, capsys):
    found = joined(main, [other])
    assert len(found) == len(found.y) == len(found.names) == 4 + 6 + 1
    assert all(found.x[number] is main.x[number] for number in range(4))
    assert {crop.shape for crop in found.x + found.y} == {CROP}
    assert np.array_equal(found.x[4][..., 0], grey((16, 24))[:8, :8])
    assert names(found)[:1] + names(found)[4:6] == [
        "im_0_y00000_x00000.tif",
        "other/im_0_y00000_x00000.tif",
        "other/im_0_y00000_x00008.tif",
    ]
    assert len(set(names(found))) == len(found) and found.mask_values == (0, 255)
    assert "Extra data other: 7 crops beside 4." in capsys.readouterr().out


def test_mask_values_become_classes_in_each_set(main, other, tmp_path):
    labelled = write_set(tmp_path / "labelled", [grey((8, 8))], [half((8, 8), value=1)])
    found = joined(main, [other, labelled])
    assert all(set(np.unique(mask)) <= {0, 1} for mask in found.y)
    assert np.array_equal(found.y[-1], found.y[-2]), "0 and 255 in one set, 0 and 1 in the other"


def test_a_data_folder_stands_for_its_training_images(main, tmp_path):
    write_set(tmp_path / "lucchi" / "train", [grey((8, 8))], [half((8, 8))])
    write_set(tmp_path / "lucchi" / "test", [grey((8, 8))] * 3, [half((8, 8))] * 3)
    assert names(joined(main, tmp_path / "lucchi"))[4:] == ["lucchi/im_0_y00000_x00000.tif"]


def test_sets_in_folders_of_one_name_are_told_apart(main, tmp_path):
    folders = [write_set(tmp_path / place / "train", [grey((8, 8))], [half((8, 8))]) for place in "abc"]
    found = names(joined(main, folders))
    assert [name.split("/")[0] for name in found[4:]] == ["train", "train_2", "train_3"]


def test_small_images_are_mirrored_and_overlap_is_that_of_the_set(main, tmp_path):
    folder = write_set(tmp_path / "small", [grey((6, 5)), grey((8, 16))], [half((6, 5)), half((8, 16))])
    found = joined(main, [{"folder": folder, "overlap": 0.5}])
    assert len(found) == 4 + 1 + 3 and {crop.shape for crop in found.x} == {CROP}


def test_no_extra_sets_change_nothing(main):
    assert joined(main, ()) is main


# --- number of crops and discarding


def test_so_many_crops_as_asked_for_are_drawn_by_the_seed(main, other):
    def drawn(seed, count=3, sets=1):
        return names(joined(main, [{"folder": other, "n_crops": count}] * sets, seed=seed))[4:]

    assert len(drawn(0)) == len(set(drawn(0))) == 3
    assert drawn(0) == drawn(0) == drawn(0, sets=2)[:3], "another set changes nothing"
    assert len({tuple(drawn(seed)) for seed in range(20)}) > 5
    assert len(drawn(0, count=None)) == len(drawn(0, count=0)) == 7
    together = joined(main, [{"folder": other, "n_crops": 2}])
    assert not any(np.shares_memory(crop, together.x[4]) for crop in together.x[5:]) and together.x[4].base is None


def test_crops_of_a_set_are_discarded_before_they_are_drawn(main, other, tmp_path, capsys):
    everything = joined(main, [{"folder": other, "min_foreground": 0.6}], cache_dir=tmp_path / "cache")
    assert [mask.mean() for mask in everything.y[4:]] == [1, 1], "the left ones of the first image"
    assert "2 of 7 crops of other kept" in capsys.readouterr().out
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert len(joined(main, [{"folder": other, "min_foreground": 0.6, "n_crops": 1}])) == 5
    with pytest.raises(ValueError, match=r"other: n_crops is 3, but there are 2 crops"):
        joined(main, [{"folder": other, "min_foreground": 0.6, "n_crops": 3}])


@pytest.mark.parametrize("options", [{}, {"n_crops": 3, "min_foreground": 0.1}])
def test_weights_of_extra_images_are_made_of_whole_masks(options, main, other):
    def weigh(masks):
        return [np.full(mask.shape, mask.shape[1], np.float32) for mask in masks]

    weighed = replace(main, weights=weigh(main.y))
    found = joined(weighed, [{"folder": other, **options}], weigh=weigh)
    assert [weight.shape for weight in found.weights] == [mask.shape for mask in found.y]
    assert {float(weight.max()) for weight in found.weights[len(main) :]} <= {24.0, 8.0}


def test_for_random_crops_images_stay_whole(main, other):
    found = joined(main, [other], random_crops=2)
    assert [image.shape for image in found.x[4:]] == [(16, 24, 1), (8, 8, 1)]
    assert names(found)[4:] == ["other/im_0.tif", "other/im_1.tif"]
    options = {"folder": other, "n_crops": 3, "min_foreground": 0.1}
    with pytest.raises(
        ValueError, match=r"(?s)2 problems.*random_crops=2 and n_crops=3 exclude.*min_foreground=0.1 exclude"
    ):
        joined(main, [options], random_crops=2)


# --- grey values


def with_dtype(dtype, top, shape=(8, 8)):
    image = np.linspace(0, top, 64).reshape(*shape, 1)
    image = image.astype(dtype) if np.dtype(dtype).kind == "f" else np.rint(image).astype(dtype)
    return ImageSet([image], [np.zeros((*shape, 1), np.uint8)], [ImageName("main.tif")], (0, 1))


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
@pytest.mark.parametrize(("other_dtype", "other_top"), [(np.uint8, 255), (np.uint16, 65535), (np.float64, 1)])
def test_other_dtypes_get_the_black_and_white_of_the_main_set(dtype, top, other_dtype, other_top, tmp_path):
    image = np.array([[0, other_top], [other_top // 5, 0]], other_dtype)
    folder = write_set(tmp_path / "o", [image], [np.eye(2, dtype=np.uint8)])
    converted = joined(with_dtype(dtype, top), [folder], crop_shape=(2, 2, 1)).x[-1]
    assert converted.dtype == dtype
    np.testing.assert_allclose(converted[..., 0] / top, image / other_top, atol=1e-6)


def test_stated_ranges_are_matched(tmp_path):
    folder = write_set(tmp_path / "o", [np.array([[1000, 3000], [2000, 5000]], np.uint16)], [np.eye(2, dtype=np.uint8)])
    extra = [{"folder": folder, "intensity_range": (1000, 3000)}]
    options = {"crop_shape": (2, 2, 1), "intensity_range": (-100, 100)}
    found = joined(with_dtype(np.int16, 100), extra, **options).x[-1]
    assert found.dtype == np.int16 and found.ravel().tolist() == [-100, 100, 0, 100]
    same = joined(with_dtype(np.uint16, 100), [folder], **options | {"intensity_range": (0, 9000)}).x[-1]
    assert same.ravel().tolist() == [1000, 3000, 2000, 5000], "the range of the main set holds for its dtype"


def test_values_beyond_a_dtype_do_not_wrap_around(tmp_path):
    folder = write_set(tmp_path / "o", [np.array([[0.0, 1.0]], np.float32)], [np.eye(1, 2, dtype=np.uint8)])
    found = joined(with_dtype(np.uint8, 255), [folder], crop_shape=(1, 2, 1), intensity_range=(0, 300)).x[-1]
    assert found.ravel().tolist() == [0, 255]


@pytest.mark.parametrize(
    ("dtype", "image", "message"),
    [
        (np.float32, np.array([[0, 7.5]], np.float32), r"im_0\.tif holds float values 0 to 7\.5.*INTENSITY_RANGE"),
        (np.uint8, np.array([[0, 7]], np.int32), r"im_0\.tif has the dtype int32"),
        (
            np.int32,
            np.array([[0, 7]], np.uint8),
            r"im_0\.tif is to get the grey values .* int32 has no black and white",
        ),
    ],
)
def test_grey_values_that_cannot_be_compared_are_refused(dtype, image, message, tmp_path):
    folder = write_set(tmp_path / "o", [image], [np.eye(1, 2, dtype=np.uint8)])
    with pytest.raises(ValueError, match=message):
        joined(with_dtype(dtype, 1), [folder], crop_shape=(1, 2, 1))


def test_with_a_measured_range_values_of_the_same_dtype_stay(tmp_path):
    image = np.array([[-5, 7.5], [1, 0]], np.float32)
    folder = write_set(tmp_path / "o", [image], [np.eye(2, dtype=np.uint8)])
    found = joined(with_dtype(np.float32, 1), [folder], crop_shape=(2, 2, 1), normalisation="mean_std").x[-1]
    assert np.array_equal(found[..., 0], image)


def test_images_are_stretched_by_their_own_percentiles_if_those_of_the_main_set_are(tmp_path):
    folder = write_set(tmp_path / "o", [np.array([[10, 20], [20, 30]], np.uint8)], [np.eye(2, dtype=np.uint8)])
    options = {"crop_shape": (2, 2, 1), "normalisation": "percentile_per_image", "percentiles": (0, 100)}
    assert joined(with_dtype(np.uint8, 255), [folder], **options).x[-1].ravel().tolist() == [0, 128, 128, 255]


# --- volumes


def test_volumes_of_slices_and_of_files(main, tmp_path):
    shape = (4, 8, 8, 1)
    volumes = crop_image_set(
        ImageSet([np.zeros(shape, np.uint8)], [np.zeros(shape, np.uint8)], [ImageName("v")], (0, 1)), shape
    )
    slices = write_set(tmp_path / "slices", [grey((8, 16), seed=n) for n in range(8)], [half((8, 16))] * 8)
    files = write_set(tmp_path / "files", [grey((6, 8, 8), np.uint16, top=65535)], [half((6, 8, 8))])
    found = joined(volumes, [slices, {"folder": files, "n_crops": 1}], crop_shape=shape)
    assert len(found) == 1 + 4 + 1 and {crop.shape for crop in found.x + found.y} == {shape}
    assert {crop.dtype for crop in found.x} == {np.dtype(np.uint8)}
    assert np.array_equal(found.x[1][2, ..., 0], grey((8, 16), seed=2)[:, :8])
    assert names(found)[1] == "slices/im_0.tif to im_7_z00000_y00000_x00000.tif"
    whole = joined(volumes, [slices], crop_shape=shape, random_crops=1)
    assert whole.x[1].shape == (8, 8, 16, 1)
    assert [str(part) for part in whole.names[1].slices[:2]] == ["slices/im_0.tif", "slices/im_1.tif"]


# --- mistakes


def test_problems_of_all_sets_are_said_at_once(main, other, tmp_path):
    broken = write_set(tmp_path / "broken", [grey((8, 8))] * 2, [half((8, 8))])
    colour = write_set(tmp_path / "many", [grey((8, 8))], [grey((8, 8))])
    with pytest.raises(ValueError) as error:
        joined(main, [other, broken, colour, tmp_path / "missing"])
    message = str(error.value)
    assert message.startswith("3 problems in the extra data:")
    assert "no mask for im_1.tif" in message and "holds the values" in message
    assert f"{tmp_path / 'missing'}" in message and ".;" not in message and "..." in message


def test_unknown_options_are_all_named(main):
    sets = [
        {"folder": "a", "min_forground": 0.1},
        {"n_crops": 2},
        {"folder": "b", "n_crops": -1},
        {"folder": "b", "n_crops": 1.5},
    ]
    with pytest.raises(ValueError) as error:
        joined(main, sets)
    message = str(error.value)
    assert "4 problems in the extra data" in message
    assert "set 1 has no option 'min_forground'; did you mean 'min_foreground'?" in message
    assert "set 2 names no folder" in message
    assert "set 3 has n_crops=-1" in message and "set 4 has n_crops=1.5" in message


# --- with the main set


def test_extra_crops_join_what_an_experiment_loaded(other, tmp_path):
    for part in ("train", "test"):
        write_set(tmp_path / "main" / part, [grey((16, 16))] * 4, [half((16, 16))] * 4)
    data = load_images(tmp_path / "main", CROP, seed=0)
    found = join_extra_data(data, [other])
    assert len(found.train_crops) == 3 * 4 + 7 and len(found.test_crops) == 16 and len(found.validation_crops) == 4
    volumes = load_volumes(tmp_path / "main", (2, 8, 8, 1), seed=0)
    slices = write_set(tmp_path / "slices", [grey((8, 8))] * 4, [half((8, 8))] * 4)
    assert len(join_extra_data(volumes, [slices]).train_crops) == 8 + 2
