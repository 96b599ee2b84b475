"""Tests of batches from images on disk: bit for bit those from memory, in a bounded memory, with the same care."""

import shutil
import sys

import h5py
import keras
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from generators.image_data_generator import ImageDataGenerator
from generators.voxel_data_generator import VoxelDataGenerator
from utils.data.data_folder import load_image_set, open_image_set
from utils.data.image_set import split_validation
from utils.images.formats import picture_files
from utils.images.lazy_images import BlockCache, LazyImage
from utils.images.reading import open_sources

COUNT, HEIGHT, WIDTH = 7, 40, 52
PLANE = {
    "rotation_range": 180, "zoom_range": 0.2, "horizontal_flip": True, "vertical_flip": True, "elastic_alpha": (1, 2),
    "elastic_sigma": 6, "gamma": (0.8, 1.2), "cutmix_size": (0.2, 0.4), "probability": 0.8,
}  # fmt: skip
FLOW = {"batch_size": 3, "seed": 5, "probability_map": (0.9, 0.1)}


def grey_and_mask(dtype=np.uint8):
    """Return a volume of noise (z, y, x) and its mask of 0 and 255, foreground in the middle of most slices."""
    volume = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (COUNT, HEIGHT, WIDTH), dtype)
    mask = np.zeros(volume.shape, np.uint8)
    mask[1:, 10:25, 20:45] = 255 * (volume[1:, 10:25, 20:45] > np.iinfo(dtype).max // 3)
    return volume, mask


def write_pngs(folder, volume, name="im"):
    folder.mkdir(parents=True)
    for number, image in enumerate(volume):
        Image.fromarray(image).save(folder / f"{name}_{number:03d}.png")


def write_zarr(path, volume):
    zarr.create_array(path, data=volume, chunks=(3, 16, 20))


def write_h5(path, volume, chunks=(2, 32, 16)):
    with h5py.File(path, "w") as file:
        file.create_dataset("volumes/raw", data=volume, chunks=chunks)


def write_imagej_channels(path, volume):
    """Write a composite of three equal channels, compressed, so that an image is scattered over three pages."""
    tifffile.imwrite(
        path, np.stack([volume] * 3, axis=1), metadata={"axes": "ZCYX"}, compression="zlib", photometric="minisblack"
    )


ONE_FILE = {
    "compressed.tif": lambda path, volume: tifffile.imwrite(path, volume, compression="zlib", metadata={"axes": "ZYX"}),
    "plain.tif": lambda path, volume: tifffile.imwrite(path, volume, metadata={"axes": "ZYX"}),
    "big_endian.tif": lambda path, volume: tifffile.imwrite(path, volume, byteorder=">", metadata={"axes": "ZYX"}),
    "imagej.tif": lambda path, volume: tifffile.imwrite(path, volume, imagej=True),
    "channels.tif": write_imagej_channels,
    "volume.h5": write_h5,
    "whole.h5": lambda path, volume: write_h5(path, volume, chunks=None),
    "volume.zarr": write_zarr,
}


def write_pair(folder, name, volume, mask):
    for part, array in (("x", volume), ("y", mask)):
        (folder / part).mkdir(parents=True)
        ONE_FILE[name](folder / part / name, array)


@pytest.fixture
def slices(tmp_path):
    """Return a folder of png slices with their masks."""
    for part, volume in zip("xy", grey_and_mask(), strict=True):
        write_pngs(tmp_path / "train" / part, volume)
    return tmp_path / "train"


def epochs_of(batches, count=2):
    found = []
    for epoch in range(count):
        batches.epoch = epoch
        found += [part for index in range(len(batches)) for part in batches[index]]
    return found


def assert_as_from_memory(generator, folder, *, volumes, flow, **reading):
    images = load_image_set(folder, volumes=volumes, **reading)
    expected = epochs_of(generator.flow(images.x, images.y, **flow))
    found = epochs_of(generator.flow_from_directory(folder, **flow, **reading))
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


# --- the same batches


@pytest.mark.parametrize(
    ("crop_shape", "cache_bytes"), [(None, 10**8), ((24, 20), 0), ((24, 20), 5000), ((24, 20), 10**8), ((64, 60), 5000)]
)
def test_slices_give_the_batches_of_memory(slices, crop_shape, cache_bytes):
    flow = FLOW | {"crop_shape": crop_shape}
    flow |= {"probability_map": None} if crop_shape != (24, 20) else {}
    images = load_image_set(slices)
    expected = epochs_of(ImageDataGenerator(**PLANE).flow(images.x, images.y, **flow))
    batches = ImageDataGenerator(**PLANE).flow_from_directory(slices, cache_bytes=cache_bytes, **flow)
    assert all(map(np.array_equal, epochs_of(batches), expected))
    assert len({part.tobytes() for part in expected}) > 4


@pytest.mark.parametrize("fill_mode", ["reflect", "nearest", "constant", "wrap"])
def test_every_fill_mode_reads_what_lies_outside_of_a_crop(slices, fill_mode):
    generator = ImageDataGenerator(rotation_range=180, fill_mode=fill_mode)
    assert_as_from_memory(generator, slices, volumes=False, flow=FLOW | {"crop_shape": (24, 24)})


def test_doubled_folders_and_masks_of_other_names(tmp_path):
    volume, mask = grey_and_mask()
    write_pngs(tmp_path / "x" / "x", volume)
    write_pngs(tmp_path / "y" / "y", mask, name="mask_of")
    assert_as_from_memory(ImageDataGenerator(**PLANE), tmp_path, volumes=False, flow=FLOW | {"crop_shape": (24, 20)})


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", ONE_FILE)
def test_pages_of_one_file_give_the_batches_of_memory(tmp_path, name, dtype):
    write_pair(tmp_path, name, *grey_and_mask(dtype))
    assert_as_from_memory(ImageDataGenerator(**PLANE), tmp_path, volumes=False, flow=FLOW | {"crop_shape": (24, 20)})


SPACE = PLANE | {"z_flip": True, "depth_shift_range": 0.3, "rotation90": True, "isotropic": True}
TURNS = {"horizontal_flip": True, "z_flip": True, "rotation90": True}
VOXELS = {"exact": TURNS, "slice by slice": PLANE, "in space": SPACE}


@pytest.mark.parametrize("crop_shape", [(4, 20, 20), (12, 20, 20), (4, 60, 60)], ids=["crops", "flat", "small"])
@pytest.mark.parametrize("options", VOXELS.values(), ids=VOXELS)
def test_a_folder_of_slices_is_a_volume(slices, options, crop_shape):
    flow = FLOW | {"crop_shape": crop_shape, "samples_per_array": 4}
    assert_as_from_memory(VoxelDataGenerator(**options), slices, volumes=True, flow=flow)


@pytest.mark.parametrize("options", VOXELS.values(), ids=VOXELS)
@pytest.mark.parametrize("name", ONE_FILE)
def test_a_volume_of_one_file_gives_the_batches_of_memory(tmp_path, name, options):
    write_pair(tmp_path, name, *grey_and_mask())
    flow = FLOW | {"crop_shape": (4, 20, 20), "samples_per_array": 3}
    assert_as_from_memory(VoxelDataGenerator(**options), tmp_path, volumes=True, flow=flow)


def test_arrays_of_one_file_are_chosen_by_name(tmp_path):
    volume, mask = grey_and_mask()
    for part in "xy":
        (tmp_path / part).mkdir()
        with h5py.File(tmp_path / part / "all.h5", "w") as file:
            file["raw"], file["labels"] = volume, mask
    reading = {"image_dataset": "raw", "mask_dataset": "labels"}
    flow = {"crop_shape": (4, 20, 20), "seed": 1}
    assert_as_from_memory(VoxelDataGenerator(), tmp_path, volumes=True, flow=flow, **reading)
    with pytest.raises(ValueError, match=r"all.h5 cannot be read: it holds .*raw .*IMAGE_DATASET"):
        VoxelDataGenerator().flow_from_directory(tmp_path, mask_dataset="labels")


def test_colour_palettes_single_bits_and_pages_of_several_sizes(tmp_path):
    volume, mask = grey_and_mask()
    for part in "xy":
        (tmp_path / part).mkdir()
    for number, suffix in enumerate((".png", ".tif")):
        Image.fromarray(np.stack([volume[number]] * 3, -1)).save(tmp_path / "x" / f"{number}{suffix}")
        Image.fromarray(mask[number]).convert("1").save(tmp_path / "y" / f"{number}{suffix}")
    Image.fromarray(volume[2]).convert("P").save(tmp_path / "x" / "2.png")
    Image.fromarray(mask[2]).convert("P").save(tmp_path / "y" / "2.png")
    for part, array in (("x", volume[3]), ("y", mask[3])):
        with tifffile.TiffWriter(tmp_path / part / "3.tif") as writer:
            writer.write(array[:30], metadata=None)
            writer.write(array, metadata=None)
    flow = FLOW | {"crop_shape": (24, 20)}
    assert_as_from_memory(ImageDataGenerator(**PLANE), tmp_path, volumes=False, flow=flow)
    for path in (tmp_path / "x").iterdir():
        if path.name not in ("0.png", "1.tif"):
            path.unlink()
            (tmp_path / "y" / path.name).unlink()
    Image.fromarray(volume[:3, :, :].transpose(1, 2, 0).copy()).save(tmp_path / "x" / "0.png")
    assert_as_from_memory(ImageDataGenerator(**PLANE), tmp_path, volumes=False, flow=flow, channels=3)


def test_classes_are_those_of_memory(slices):
    for number, path in enumerate(sorted((slices / "y").iterdir())):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[:20], mask[30:] = (0, 100, 100, 200, 7, 7, 0)[number], 7
        Image.fromarray(mask).save(path)
    images = load_image_set(slices, n_classes=4)
    stored = open_image_set(slices, n_classes=4)
    assert stored.mask_values == images.mask_values == (0, 7, 100, 200)
    assert stored.names == images.names
    assert all(map(np.array_equal, map(np.asarray, stored.y), images.y))
    given = open_image_set(slices, mask_values=(7, 0, 100, 200))
    assert np.unique(np.asarray(given.y[0])).tolist() == [0, 1]
    assert np.asarray(given.y[0])[-1, 0, 0] == 0


@pytest.mark.parametrize("value", [0, 1, 255])
def test_masks_of_a_single_value(slices, value):
    for path in (slices / "y").iterdir():
        Image.fromarray(np.full((HEIGHT, WIDTH), value, np.uint8)).save(path)
    images, stored = load_image_set(slices), open_image_set(slices)
    assert stored.mask_values == images.mask_values
    assert all(map(np.array_equal, map(np.asarray, stored.y), images.y))


def test_a_part_of_the_images_can_be_kept_for_validation(slices):
    parts = [split_validation(read(slices), 0.3, seed=0) for read in (load_image_set, open_image_set)]
    flows = [
        ImageDataGenerator(**PLANE).flow(train.x, train.y, **FLOW | {"crop_shape": (20, 20)}) for train, _ in parts
    ]
    assert all(map(np.array_equal, epochs_of(flows[1]), epochs_of(flows[0])))
    assert [part.names for part in parts[0]] == [part.names for part in parts[1]]


def test_training_sees_the_same_images_with_any_number_of_workers(slices):
    losses = []
    for workers in (1, 3):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(1, 3, padding="same")])
        model.compile(optimizer="sgd", loss="mse")
        batches = ImageDataGenerator(**PLANE).flow_from_directory(
            slices, workers=workers, crop_shape=(20, 20), samples_per_array=3
        )
        losses.append(model.fit(batches, epochs=2, shuffle=False, verbose=0).history["loss"])
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 2


# --- reading no more than needed


def test_only_the_first_pair_is_decoded_before_a_batch_is_asked_for(slices, monkeypatch):
    decoded, read = [], picture_files._read_picture
    monkeypatch.setattr(picture_files, "_read_picture", lambda path, *more: decoded.append(path) or read(path, *more))
    batches = ImageDataGenerator().flow_from_directory(slices, mask_values=(0, 255), batch_size=2, shuffle=False)
    assert [path.name for path in decoded] == ["im_000.png"] * 2  # the first pair is looked at
    batches[0]
    assert len(decoded) == 4
    batches[0]
    assert len(decoded) == 4


@pytest.mark.parametrize("name", ["volume.zarr", "volume.h5", "whole.h5", "plain.tif", "compressed.tif"])
def test_a_window_reads_only_its_blocks(tmp_path, name, monkeypatch):
    volume = np.random.default_rng(0).integers(0, 255, (6, 40, 60), np.uint8)
    for module in ("array_files", "tif_files"):
        monkeypatch.setattr(f"utils.images.formats.{module}.TILE", 16)
    ONE_FILE[name](tmp_path / name, volume)
    (part,) = open_sources(tmp_path / name)
    cache = BlockCache()
    image = LazyImage([part], lambda block, path: block, channels=1, dtype=np.uint8, cache=cache)
    window = image[2:4, 5:12, 33:37]
    assert np.array_equal(window[..., 0], volume[2:4, 5:12, 33:37])
    blocks = {"volume.zarr": 2 * 3 * 16 * 20, "volume.h5": 2 * 32 * 16, "compressed.tif": 2 * 40 * 60}
    assert cache.n_bytes == blocks.get(name, 2 * 16 * 16)


def test_a_cache_keeps_to_its_size_and_what_was_used_last():
    cache, read = BlockCache(250), []
    for key in "abaca":
        cache.get(key, lambda key=key: read.append(key) or np.zeros(100, np.uint8))
        assert cache.n_bytes <= 200
    assert read == list("abc")
    assert cache.get("too large", lambda: np.zeros(251, np.uint8)).size == 251
    assert cache.n_bytes == 200
    with pytest.raises(ValueError, match="cache_bytes is -1; it must be at least 0"):
        BlockCache(-1)


def test_batches_keep_no_more_than_the_cache_may_hold(slices):
    generator = ImageDataGenerator(**PLANE)
    batches = generator.flow_from_directory(slices, cache_bytes=3 * HEIGHT * WIDTH, crop_shape=(20, 20))
    epochs_of(batches)
    cache = batches._parts[0][0]._cache
    assert cache is batches._parts[1][-1]._cache
    assert 0 < cache.n_bytes == sum(block.nbytes for block in cache._blocks.values()) <= 3 * HEIGHT * WIDTH


@pytest.mark.parametrize(
    "index", [0, (0, 0), np.s_[::2], np.s_[..., 0], np.s_[:, :, 0], np.s_[5:5], np.s_[:0]], ids=str
)
def test_other_ways_to_index_are_refused(slices, index):
    image = open_image_set(slices).x[0]
    with pytest.raises(IndexError, match="on disk"):
        image[index]


@pytest.mark.parametrize("shape", [(3, 20, 20), (20, 90, 200), (30, 20, 60)])
def test_windows_and_slices_of_padded_volumes(slices, shape):
    from utils.images.padding import pad_to

    volume, stored = load_image_set(slices, volumes=True).x[0], open_image_set(slices, volumes=True).x[0]
    padded, ours = pad_to(volume, shape)[0], stored.padded_to(shape)
    assert ours.shape == padded.shape
    assert np.array_equal(ours, padded)
    assert np.array_equal(ours[1:5, 3:18, -12:-2], padded[1:5, 3:18, -12:-2])
    for z in (0, 1, -1):
        assert np.array_equal(ours[z], padded[z])
        assert np.array_equal(ours[z][2:9, 5:], padded[z][2:9, 5:])
    with pytest.raises(IndexError, match="range|out of bounds"):
        ours[len(padded)]


# --- mistakes


def image_at(folder, number, part="x"):
    return folder / part / f"im_{number:03d}.png"


def test_every_problem_of_names_and_headers_is_said_at_once(slices):
    image_at(slices, 1, "y").unlink()
    image_at(slices, 2).write_bytes(b"no image")
    Image.fromarray(np.zeros((HEIGHT, WIDTH - 1), np.uint8)).save(image_at(slices, 3, "y"))
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.int32)).save(slices / "x" / "im_004.tif")
    image_at(slices, 4).unlink()
    with pytest.raises(ValueError) as error:
        ImageDataGenerator().flow_from_directory(slices)
    message = str(error.value)
    assert "5 problems in " in message and "train/: 7 images but 6 masks" in message
    for expected in (
        "no mask for im_001.png (add what is missing, or remove files without a partner)",
        "im_002.png cannot be read: cannot identify image file",
        "copy it again, or remove it and its partner",
        "im_003.png is 40x52, its mask im_003.png 40x51 (y x x): save both in one size",
        "im_004.tif has the dtype int32; give INTENSITY_RANGE=(low, high)",
    ):
        assert expected in message


@pytest.mark.parametrize(
    ("part", "expected"), [("x", "x does not exist: put images into x"), ("y", "y does not exist: put images")]
)
def test_missing_folders_are_named(slices, part, expected):
    shutil.rmtree(slices / part)
    with pytest.raises(ValueError, match=rf"train/: the folder .*{expected}"):
        ImageDataGenerator().flow_from_directory(slices)


def test_a_folder_without_images_is_an_error(tmp_path):
    for part in "xy":
        (tmp_path / part).mkdir()
    with pytest.raises(ValueError, match=r"holds no images \(png, tif, npy, hdf5, zarr, mrc, nifti, dm3, dm4\)"):
        VoxelDataGenerator().flow_from_directory(tmp_path)


def test_pages_that_do_not_pair(tmp_path):
    volume, mask = grey_and_mask()
    write_pair(tmp_path, "plain.tif", volume, mask[:-1])
    with pytest.raises(ValueError, match="plain.tif has 7 pages, its mask plain.tif 6"):
        VoxelDataGenerator().flow_from_directory(tmp_path)


def test_slices_of_a_volume_have_one_size_and_dtype(slices):
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(image_at(slices, 5))
    with pytest.raises(
        ValueError, match=r"im_005.png is 40x52 uint16 and im_000.png is 40x52 uint8 \(y x x\): the sli"
    ):
        VoxelDataGenerator().flow_from_directory(slices)


def test_sizes_that_differ_need_a_crop_shape(slices):
    for part in "xy":
        Image.fromarray(np.zeros((HEIGHT, WIDTH - 1), np.uint8)).save(image_at(slices, 3, part))
    with pytest.raises(ValueError, match=r"image 3 is \(40, 51\), the first \(40, 52\).*Give crop_shape"):
        ImageDataGenerator().flow_from_directory(slices)
    assert len(ImageDataGenerator().flow_from_directory(slices, crop_shape=(20, 20))) == 1


def test_channels_that_the_header_tells(slices):
    with pytest.raises(ValueError, match="im_000.png has 1 channel, the crop shape 3"):
        ImageDataGenerator().flow_from_directory(slices, channels=3)


def test_a_file_with_two_channels_is_refused(tmp_path):
    volume, mask = grey_and_mask()
    write_pair(tmp_path, "plain.tif", volume, mask)
    tifffile.imwrite(
        tmp_path / "x" / "plain.tif", np.zeros((20, 30, 2), np.uint8), metadata={"axes": "YXS"}, planarconfig="contig"
    )
    with pytest.raises(ValueError, match="plain.tif has 2 channels, the crop shape 1 .end CROP_SHAPE with 2"):
        ImageDataGenerator().flow_from_directory(tmp_path)


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def colour(path):
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def other_values(path):
    Image.fromarray(np.full((HEIGHT, WIDTH), 128, np.uint8)).save(path)


def other_size(path):
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(path)


@pytest.mark.parametrize(
    ("part", "damage", "expected"),
    [
        ("x", truncate, "im_006.png cannot be read: image file is truncated .*copy it again, or remove it"),
        ("y", truncate, "im_006.png cannot be read: image file is truncated .*copy it again, or remove it"),
        ("x", colour, "im_006.png has 3 channels, the crop shape 1 .end CROP_SHAPE with 3, or save it in grey"),
        ("y", colour, "mask im_006.png has 3 channels, .* wanted one grey value per class"),
        ("y", other_values, "mask im_006.png holds the values 128, expected 0 255 .*Correct the mask"),
    ],
)
def test_what_only_pixels_tell_is_said_when_they_are_read(slices, part, damage, expected):
    damage(image_at(slices, 6, part))
    batches = ImageDataGenerator().flow_from_directory(slices)
    with pytest.raises(ValueError, match=expected):
        epochs_of(batches)


@pytest.mark.parametrize("name", ["plain.tif", "compressed.tif", "volume.h5", "volume.zarr"])
def test_files_that_vanish_or_break_later_are_named(tmp_path, name):
    write_pair(tmp_path, name, *grey_and_mask())
    batches = ImageDataGenerator().flow_from_directory(tmp_path)
    path = tmp_path / "x" / name
    if path.is_dir():
        for chunk in path.rglob("c/*/*/*"):
            chunk.write_bytes(b"broken")
    else:
        path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ValueError, match=f"{name} cannot be read: (?!{name}).*copy it again"):
        epochs_of(batches)


def test_a_file_that_changes_later_is_noticed(slices):
    batches = ImageDataGenerator().flow_from_directory(slices)
    other_size(image_at(slices, 2))
    with pytest.raises(
        ValueError, match=r"im_002.png has changed since.*\(1, 40, 52, 1\) uint8 to \(1, 8, 9, 1\).*Start"
    ):
        epochs_of(batches)


def test_masks_that_are_read_for_their_values_are_checked(slices):
    other_values(image_at(slices, 0, "y"))
    with pytest.raises(ValueError, match="mask of im_001.png holds the values 0 255, expected 2 in all"):
        ImageDataGenerator().flow_from_directory(slices)
    truncate(image_at(slices, 0, "y"))
    with pytest.raises(ValueError, match="im_000.png cannot be read"):
        ImageDataGenerator().flow_from_directory(slices)


@pytest.mark.parametrize(("value", "expected"), [(np.nan, "holds NaN"), (7.0, "holds float values .* INTENSITY_RANGE")])
def test_grey_values_are_checked_when_read(tmp_path, value, expected):
    volume, mask = grey_and_mask()
    volume = (volume / 255).astype(np.float32)
    volume[5, 3, 3] = value
    write_pair(tmp_path, "plain.tif", volume, mask)
    batches = ImageDataGenerator().flow_from_directory(tmp_path)
    with pytest.raises(ValueError, match=f"plain.tif {expected}"):
        epochs_of(batches)


def test_probability_map_is_checked_at_once(slices):
    with pytest.raises(ValueError, match="probability_map is"):
        ImageDataGenerator().flow_from_directory(slices, crop_shape=(20, 20), probability_map=(0, 0))


def test_zarr_without_its_package(tmp_path, monkeypatch):
    write_pair(tmp_path, "volume.zarr", *grey_and_mask())
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match="volume.zarr needs the package zarr.*requirements-big.txt"):
        VoxelDataGenerator().flow_from_directory(tmp_path)
