"""Tests of reading, pairing and checking data folders."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from utils.data.data_folder import load_image_set, load_image_sets
from utils.data.pairing import pair_by_name
from utils.images.image_files import ImageName

IMAGE = np.arange(48, dtype=np.uint8).reshape(6, 8)
MASK = np.zeros((6, 8), np.uint8)
MASK[2:4, 3:6] = 255


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, array, photometric="minisblack" if array.shape[-1] != 3 else "rgb")
    else:
        Image.fromarray(array).save(path)


def write_set(folder, images, masks=None):
    """Write dictionaries of name and array to ``folder/x`` and ``folder/y``."""
    for kind, arrays in (("x", images), ("y", masks)):
        for name, array in (arrays or {}).items():
            write(folder / kind / name, array)
    return folder


def numbered(pattern, array, count=3):
    return {pattern.format(number): array for number in range(count)}


def pairs_of(image_names, mask_names):
    pairs, problems = pair_by_name([Path(name) for name in image_names], [Path(name) for name in mask_names])
    return [(image.name, mask.name) for image, mask in pairs], problems


# --- pairing


@pytest.mark.parametrize(
    ("image_names", "mask_names"),
    [
        (["a.png", "b.png"], ["a.tif", "b.tif"]),
        (["testing-0007.png", "testing-0008.png"], ["testing_groundtruth-0007.png", "testing_groundtruth-0008.png"]),
        (["a.png", "b.png"], ["a_mask.png", "b_mask.png"]),
        (["a.png", "b.png"], ["mask_a.png", "mask_b.png"]),
        (["7.tif", "8.tif"], ["007.tif", "008.tif"]),
        (["im_9.png", "im_10.png", "im_11.png"], ["lab_0009.png", "lab_0010.png", "lab_0011.png"]),
        (["im_10.png", "im_11.png"], ["seg10_v2.png", "seg11_v2.png"]),
        (["7.tif"], ["007.tif"]),
        (["a.png"], ["a_mask.png"]),
        (["x_0000.png", "x_0001.png"], ["y_0000.png", "y_0001.png"]),
        (["mito1_z3.png", "mito2_z3.png"], ["mito1_z3_gt.png", "mito2_z3_gt.png"]),
    ],
)
def test_pairs_by_what_names_do_not_share(image_names, mask_names):
    assert pairs_of(image_names, mask_names[::-1]) == (
        list(zip(image_names, mask_names, strict=True)),
        [],
    )


def test_files_without_a_partner_are_listed():
    pairs, problems = pairs_of(["im_1.png", "im_2.png", "im_3.png"], ["im_1.png", "im_3.png", "im_4.png"])
    assert pairs == [("im_1.png", "im_1.png"), ("im_3.png", "im_3.png")]
    assert problems == ["no mask for im_2.png", "no image for mask im_4.png"]


def test_different_counts_are_said_first():
    _, problems = pairs_of(["im_1.png", "im_2.png", "im_3.png"], ["im_1.png", "im_3.png"])
    assert problems == ["3 images but 2 masks", "no mask for im_2.png"]


def test_names_that_become_equal_do_not_lose_an_image():
    pairs, problems = pairs_of(["1.png", "01.png"], ["1_m.png", "01_m.png"])
    assert problems or pairs == [("1.png", "1_m.png"), ("01.png", "01_m.png")]


# --- reading


def test_toy_data_is_read(toy_data):
    train = load_image_set(toy_data / "train")
    assert len(train) == len(train.x) == len(train.y) == 8
    assert {image.shape for image in train.x + train.y} == {(64, 96, 1)}
    assert {image.dtype for image in train.x + train.y} == {np.dtype(np.uint8)}
    assert train.mask_values == (0, 255)
    assert set(np.unique(train.y)) == {0, 1}
    assert train.names[3] == ImageName("x_0003.png")
    assert np.array_equal(train.x[3][..., 0], np.asarray(Image.open(toy_data / "train/x/x_0003.png")))
    assert np.array_equal(train.y[3][..., 0] * 255, np.asarray(Image.open(toy_data / "train/y/y_0003.png")))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (3, 7)])
def test_smallest_mask_value_becomes_background(tmp_path, low, high):
    mask = np.where(MASK, high, low).astype(np.uint8)
    loaded = load_image_set(write_set(tmp_path, {"a.png": IMAGE}, {"a.png": mask}))
    assert loaded.mask_values == (low, high)
    assert loaded.y[0].dtype == np.uint8
    assert np.array_equal(loaded.y[0][..., 0], MASK > 0)


def test_image_without_foreground_among_others(tmp_path):
    folder = write_set(tmp_path, numbered("{}.png", IMAGE, 2), {"0.png": MASK, "1.png": np.zeros_like(MASK)})
    loaded = load_image_set(folder)
    assert loaded.mask_values == (0, 255)
    assert not loaded.y[1].any()


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (255, 1), (1, 1)])
def test_masks_of_a_single_value(tmp_path, value, expected):
    folder = write_set(tmp_path, {"a.png": IMAGE}, {"a.png": np.full_like(MASK, value)})
    assert np.all(load_image_set(folder).y[0] == expected)


def write_parts(folder, train_mask, test_mask):
    write_set(folder / "train", {"a.png": IMAGE}, {"a.png": train_mask})
    return write_set(folder / "test", {"b.png": IMAGE}, {"b.png": test_mask}).parent


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (3, 7)])
@pytest.mark.parametrize("only", ["low", "high"])
def test_mask_values_of_both_parts_decide_together(tmp_path, low, high, only):
    both, single = np.where(MASK, high, low).astype(np.uint8), np.full_like(MASK, {"low": low, "high": high}[only])
    for name, masks in (("first", (both, single)), ("second", (single, both))):
        parts = load_image_sets(write_parts(tmp_path / name, *masks))
        for part, mask in zip(parts, masks, strict=True):
            assert part.mask_values == (low, high)
            assert np.array_equal(part.y[0][..., 0], mask == high)


def test_several_classes(tmp_path):
    mask = np.repeat(np.array([[0, 100, 200, 255]], np.uint8), 6, axis=0).repeat(2, axis=1)
    loaded = load_image_set(write_set(tmp_path, {"a.png": IMAGE}, {"a.png": mask}), n_classes=4)
    assert loaded.y[0][0, ::2, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("values", [(0, 1, 2), (0, 100, 255), (5, 6, 7)])
def test_class_missing_from_training_does_not_change_what_the_others_mean(tmp_path, values):
    classes = np.where(MASK, 2, 0)
    sparse = np.array(values, np.uint8)[classes]
    full = sparse.copy()
    full[0, 0] = values[1]
    train, test = load_image_sets(write_parts(tmp_path, sparse, full), n_classes=3)
    assert np.array_equal(train.y[0][..., 0], classes)
    assert test.y[0][0, 0, 0] == 1
    assert test.y[0].max() == 2


def test_train_and_test_are_read_together(toy_data):
    train, test = load_image_sets(toy_data)
    assert (len(train), len(test)) == (8, 4)
    assert train.mask_values == test.mask_values == (0, 255)
    assert [source.file for source in test.names] == [f"x_000{number}.png" for number in range(4)]


def test_test_folder_may_lack_masks_and_the_training_folder_may_not(tmp_path):
    write_set(tmp_path / "train", {"a.png": IMAGE}, {"a.png": MASK})
    write_set(tmp_path / "test", {"a.png": IMAGE})
    assert load_image_sets(tmp_path)[1].y is None
    (tmp_path / "train" / "y").rename(tmp_path / "test" / "y")
    with pytest.raises(ValueError, match="train/: the folder .*train/y does not exist"):
        load_image_sets(tmp_path)


def test_problems_of_train_and_test_are_said_together(tmp_path):
    write_set(tmp_path / "data" / "train", {"a.png": IMAGE}, {"a.png": MASK[:5]})
    write_set(tmp_path / "data" / "test", {"b.png": COLOUR}, {"b.png": MASK})
    with pytest.raises(
        ValueError, match="(?s)^2 problems in .*data:.*  - train/: a.png is 6x8.*  - test/: b.png has 3 channels"
    ):
        load_image_sets(tmp_path / "data")


def test_values_that_differ_between_train_and_test_are_refused(tmp_path):
    folder = write_parts(tmp_path, MASK, MASK // 255 * 7)
    with pytest.raises(
        ValueError,
        match="values of masks differ between folders: train/ 0 255, test/ 0 7; save the masks of all folders alike",
    ):
        load_image_sets(folder)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_images_keep_their_dtype(tmp_path, dtype):
    folder = write_set(tmp_path, {"a.tif": (IMAGE / 64).astype(dtype)}, {"a.png": MASK})
    assert load_image_set(folder).x[0].dtype == dtype


def test_pages_become_images_with_named_sources(tmp_path):
    stack = np.stack([IMAGE, IMAGE + 1])
    folder = write_set(tmp_path, {"v.tif": stack, "w.tif": IMAGE}, {"v.tif": np.stack([MASK] * 2), "w.tif": MASK})
    loaded = load_image_set(folder)
    assert loaded.names == [ImageName("v.tif", 0), ImageName("v.tif", 1), ImageName("w.tif", None)]
    assert np.array_equal(loaded.x[1][..., 0], IMAGE + 1)


def test_test_set_without_masks(tmp_path):
    loaded = load_image_set(write_set(tmp_path, numbered("{}.png", IMAGE)), masks_optional=True)
    assert loaded.y is None
    assert len(loaded) == 3
    with pytest.raises(ValueError, match="y does not exist"):
        load_image_set(tmp_path)


def test_optional_masks_are_read_when_they_are_there(tmp_path):
    folder = write_set(tmp_path, {"a.png": IMAGE}, {"a.png": MASK})
    assert load_image_set(folder, masks_optional=True).y[0].any()


def test_doubled_folders(tmp_path):
    write(tmp_path / "x" / "x" / "a.png", IMAGE)
    write(tmp_path / "y" / "y" / "a.png", MASK)
    assert len(load_image_set(tmp_path)) == 1


def test_missing_folder(tmp_path):
    with pytest.raises(ValueError, match="train/x does not exist"):
        load_image_set(tmp_path / "train")


def test_empty_folder(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    with pytest.raises(ValueError, match=r"x holds no images \(png, tif, npy, hdf5, zarr, mrc, nifti, dm3, dm4\)"):
        load_image_set(tmp_path)


# --- problems: images, masks, options, message

COLOUR = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
THREE_VALUES = MASK.copy()
THREE_VALUES[0, 0] = 128
MASKS = numbered("im_{}.png", MASK)
PROBLEMS = {
    "missing mask": (numbered("im_{}.png", IMAGE, 4), MASKS, {}, "4 images but 3 masks.*no mask for im_3.png"),
    "missing image": (numbered("im_{}.png", IMAGE, 2), MASKS, {}, "2 images but 3 masks.*no image for mask im_2.png"),
    "three values": (
        numbered("im_{}.png", IMAGE), MASKS | {"im_1.png": THREE_VALUES}, {},
        "mask of im_1.png holds the values 0 128 255, expected 2",
    ),
    "picture as mask": (
        numbered("im_{}.png", IMAGE), MASKS | {"im_2.png": IMAGE}, {},
        r"mask of im_2.png holds the values 0 1 2 3 4 5 6 7 \.\.\., expected 2",
    ),
    "mask of another size": ({"a.png": IMAGE}, {"a.png": MASK[:5]}, {}, "a.png is 6x8, its mask a.png 5x8"),
    "colour mask": (
        {"a.png": IMAGE}, {"a.png": COLOUR}, {}, "mask a.png has 3 channels, .*wanted one grey value per class",
    ),
    "colour image": (
        {"a.png": COLOUR}, {"a.png": MASK}, {}, r"a.png has 3 channels, the crop shape 1 \(end CROP_SHAPE with 3, or",
    ),
    "grey image": (
        {"a.png": IMAGE}, {"a.png": MASK}, {"channels": 3},
        r"a.png has 1 channel, the crop shape 3 \(end CROP_SHAPE with 1\)",
    ),
    "int32": (
        {"a.tif": IMAGE.astype(np.int32)}, {"a.png": MASK}, {}, "a.tif has the dtype int32; give INTENSITY_RANGE",
    ),
    "float": (
        {"a.tif": IMAGE.astype(np.float32)}, {"a.png": MASK}, {},
        "a.tif holds float values 0 to 47, .*give INTENSITY_RANGE",
    ),
    "pages": (
        {"a.tif": np.stack([IMAGE] * 2)}, {"a.tif": np.stack([MASK] * 4)}, {}, "a.tif has 2 pages, its mask a.tif 4",
    ),
    "second page": (
        {"a.tif": np.stack([IMAGE / 47, IMAGE]).astype(np.float32)}, {"a.tif": np.stack([MASK] * 2)}, {},
        "float values 0 to 47",
    ),
    "same stem": (
        {"a.png": IMAGE, "a.tif": IMAGE}, {"a.png": MASK, "b.png": MASK}, {},
        "2 images are called a and differ only in their suffix",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("images", "masks", "options", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_problem_is_said(tmp_path, images, masks, options, message):
    folder = write_set(tmp_path / "train", images, masks)
    with pytest.raises(ValueError, match=f"(?s)train/: .*{message}"):
        load_image_set(folder, **options)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_stated_range_makes_any_dtype_welcome(tmp_path, dtype):
    folder = write_set(tmp_path, {"a.tif": IMAGE.astype(dtype)}, {"a.png": MASK})
    assert load_image_set(folder, intensity_range=(0, 47)).x[0].max() == 47


def test_all_problems_are_said_at_once(tmp_path):
    images = numbered("im_{}.png", IMAGE, 6)
    masks = numbered("im_{}.png", MASK, 5) | {"im_0.png": THREE_VALUES, "im_1.png": MASK[:5]}
    folder = write_set(tmp_path / "train", images, masks)
    (folder / "x" / "im_2.png").write_text("no image")
    write(folder / "x" / "im_3.png", COLOUR)
    with pytest.raises(ValueError, match="^6 problems in .*:\n  - train/: ") as error:
        load_image_set(folder)
    message = str(error.value)
    for part in (
        "6 images but 5 masks",
        "no mask for im_5.png",
        "im_2.png cannot be read",
        "im_3.png has 3 channels",
        "im_1.png is 6x8, its mask im_1.png 5x8",
        "mask of im_0.png holds the values 0 128 255",
    ):
        assert part in message
    assert len(message.splitlines()) == 7


def test_right_mask_is_blamed_after_a_pair_with_different_numbers_of_pages(tmp_path):
    images = {"a.tif": np.stack([IMAGE] * 2), "b.tif": IMAGE, "c.tif": IMAGE}
    masks = {"a.tif": np.stack([MASK] * 4), "b.tif": THREE_VALUES, "c.tif": MASK}
    with pytest.raises(ValueError, match="a.tif has 2 pages") as error:
        load_image_set(write_set(tmp_path, images, masks))
    assert "mask of b.tif holds the values 0 128 255" in str(error.value)
    assert "mask of c.tif" not in str(error.value)


def test_page_with_other_channels_is_noticed(tmp_path):
    grey_first = np.stack([np.stack([IMAGE] * 3, axis=-1), COLOUR])
    folder = write_set(tmp_path, {"a.tif": grey_first}, {"a.tif": np.stack([MASK] * 2)})
    with pytest.raises(ValueError, match="a.tif.* channel"):
        load_image_set(folder)


def test_equal_problems_are_said_once(tmp_path):
    folder = write_set(tmp_path, numbered("im_{}.png", COLOUR, 25), numbered("im_{}.png", MASK, 25))
    with pytest.raises(
        ValueError, match=r"im_0.png has 3 channels, .*\(25 such files: im_0.png, im_1.png, im_2.png \.\.\.\)\.$"
    ):
        load_image_set(folder)


# --- volumes


def volume_of(count=3, value=0):
    return np.stack([IMAGE + value] * count)


def write_volumes(folder, train=None, test=None):
    """Write ``{file name: (volume, mask volume)}`` for both parts."""
    for part, volumes in (("train", train), ("test", test or train)):
        for name, (image, mask) in volumes.items():
            for kind, array in (("x", image), ("y", mask)):
                path = folder / part / kind / name
                path.parent.mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(path, array, photometric="minisblack")
    return folder


def test_slices_of_a_folder_are_one_volume(toy_data):
    train, test = load_image_sets(toy_data, volumes=True)
    pages, _ = load_image_sets(toy_data)
    assert (len(train), len(test)) == (1, 1)
    assert np.array_equal(train.x[0], np.stack(pages.x)) and np.array_equal(train.y[0], np.stack(pages.y))
    assert train.names[0].slices == tuple(pages.names)
    assert str(train.names[0]) == f"{pages.names[0].file} to {pages.names[-1].file}"


def test_every_file_of_several_slices_is_a_volume(tmp_path):
    masks = np.stack([MASK, 0 * MASK, MASK, MASK])
    volumes = {"b.tif": (volume_of(4), masks), "a.tif": (volume_of(3, 7), masks[:3])}
    train, test = load_image_sets(write_volumes(tmp_path, volumes), volumes=True)
    assert [volume.shape for volume in train.x] == [(3, 6, 8, 1), (4, 6, 8, 1)]
    assert train.names == [ImageName("a.tif", slices=()), ImageName("b.tif", slices=())]
    assert np.array_equal(train.y[1][..., 0], masks > 0) and train.y[0].dtype == np.uint8
    assert test.x[0][0, 0, 0, 0] == 7


def test_volumes_of_different_sizes_may_stand_in_one_folder(tmp_path):
    volumes = {"a.tif": (volume_of(3), np.stack([MASK] * 3)), "b.tif": (np.zeros((5, 9, 4), np.uint8),) * 2}
    train, _ = load_image_sets(write_volumes(tmp_path, volumes), volumes=True)
    assert [volume.shape[:3] for volume in train.x] == [(3, 6, 8), (5, 9, 4)]


def test_images_and_masks_may_be_two_arrays_of_one_hdf5_file(tmp_path):
    for part in ("train", "test"):
        for kind in ("x", "y"):
            (tmp_path / part / kind).mkdir(parents=True)
            with h5py.File(tmp_path / part / kind / "sample.h5", "w") as file:
                file["volumes/raw"], file["volumes/labels"] = volume_of(), np.stack([MASK] * 3)
    names = {"image_dataset": "volumes/raw", "mask_dataset": "volumes/labels"}
    train, _ = load_image_sets(tmp_path, volumes=True, **names)
    assert np.array_equal(train.x[0][..., 0], volume_of()) and train.y[0].sum() == 3 * (MASK > 0).sum()
    with pytest.raises(ValueError, match=r"4 problems .*train/: sample\.h5 cannot be read: .*IMAGE_DATASET|say which"):
        load_image_sets(tmp_path, volumes=True)


def test_volumes_without_test_masks(tmp_path):
    data = write_volumes(tmp_path, {"a.tif": (volume_of(), np.stack([MASK] * 3))})
    shutil.rmtree(data / "test" / "y")
    train, test = load_image_sets(data, volumes=True)
    assert test.y is None and train.y is not None


def test_problems_of_volumes_are_said_together(tmp_path):
    data = write_volumes(
        tmp_path,
        {"a.tif": (volume_of(4), np.stack([MASK] * 3)), "b.tif": (volume_of(3), np.zeros((3, 6, 7), np.uint8))},
        {"c.tif": (np.zeros((2, 3, 6, 8), np.uint8), np.zeros((2, 3, 6, 8), np.uint8))},
    )
    with pytest.raises(ValueError) as error:
        load_image_sets(data, volumes=True)
    for part in (
        "train/: a.tif has 4 pages, its mask a.tif 3",
        "train/: b.tif is 6x8, its mask b.tif 6x7",
        "test/: c.tif cannot be read: it has more axes than z, y, x and channels",
    ):
        assert part in str(error.value)


def test_a_volume_with_another_mask_is_one_problem(tmp_path):
    pair = (volume_of(5), np.zeros((5, 6, 7), np.uint8))
    data = write_volumes(tmp_path, {"a.tif": pair}, {"b.tif": pair})
    with pytest.raises(ValueError, match=r"(?s)^2 problems in .*a\.tif is 6x8, its mask a\.tif 6x7.*b\.tif is 6x8"):
        load_image_sets(data, volumes=True)


def test_slices_of_different_sizes_are_no_volume(tmp_path):
    for part in ("train", "test"):
        write_set(tmp_path / part, numbered("{}.png", IMAGE), numbered("{}.png", MASK))
    write_set(tmp_path / "train", {"3.png": IMAGE[:4]}, {"3.png": MASK[:4]})
    with pytest.raises(
        ValueError, match=r"train/: 3\.png is 4x8 uint8 and 0\.png is 6x8 .* slices of a volume must have one size"
    ):
        load_image_sets(tmp_path, volumes=True)
