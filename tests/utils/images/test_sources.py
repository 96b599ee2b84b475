"""Tests of reading volumes from hdf5 and zarr, and of what may be the slices of a volume."""

import sys

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from block_wise.volumes import VolumeAddress, find_volume, open_volume
from utils.images.image_files import ImageName, list_images
from utils.images.reading import open_sources, read_images
from utils.images.writing import ImageWriter, SavedImages, write_pairs

VOLUME = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)


def write_h5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name.replace("__", "/")] = array
    return path


def write_zarr(path, **arrays):
    root = zarr.create_group(path)
    for name, array in arrays.items():
        root.create_array(name.replace("__", "/"), data=array)
    return path


WRITERS = {"h5": write_h5, "hdf5": write_h5, "zarr": write_zarr}
every_format = pytest.mark.parametrize("suffix", WRITERS)


def read(path, **options):
    return np.stack(read_images(path, **options))


@every_format
def test_the_only_array_is_read_without_its_name(tmp_path, suffix):
    volume = read(WRITERS[suffix](tmp_path / f"v.{suffix}", volumes__raw=VOLUME, offsets=np.zeros(3)))
    assert volume.dtype == np.uint16
    assert np.array_equal(volume[..., 0], VOLUME)


@every_format
def test_a_single_slice_in_colour_keeps_its_channels(tmp_path, suffix):
    slices = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(1, 4, 5, 3)
    path = WRITERS[suffix](tmp_path / f"v.{suffix}", raw=slices)
    assert np.array_equal(read(path), slices)
    (pages,) = open_sources(path)
    assert pages.shape == (1, 4, 5, 3)


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("imagej", [False, True])
def test_a_volume_of_three_or_four_slices_is_not_taken_for_colour(tmp_path, count, imagej):
    volume = np.arange(count * 20 * 30, dtype=np.uint16).reshape(count, 20, 30)
    tifffile.imwrite(tmp_path / "v.tif", volume, imagej=imagej)
    assert np.array_equal(read(tmp_path / "v.tif", one_volume=True)[..., 0], volume)
    (pages,) = open_sources(tmp_path / "v.tif", one_volume=True)
    window = (slice(0, count), slice(0, 20), slice(0, 30))
    assert pages.shape == (count, 20, 30, 1) and np.array_equal(pages.read(window)[..., 0], volume)


@every_format
def test_one_of_several_arrays_is_read_by_its_name(tmp_path, suffix):
    path = WRITERS[suffix](tmp_path / f"v.{suffix}", volumes__raw=VOLUME, volumes__labels=VOLUME > 9)
    assert np.array_equal(read(path, dataset="volumes/raw")[..., 0], VOLUME)
    assert np.array_equal(read(path, dataset="/volumes/labels")[..., 0] > 0, VOLUME > 9)


@every_format
def test_an_array_may_be_named_in_the_path(tmp_path, suffix):
    path = WRITERS[suffix](tmp_path / f"v.{suffix}", volumes__raw=VOLUME, volumes__labels=VOLUME > 9)
    assert np.array_equal(read(f"{path}:volumes/raw")[..., 0], VOLUME)
    (pages,) = open_sources(f"{path}:volumes/raw")
    assert pages.shape == (*VOLUME.shape, 1) and pages.dtype == VOLUME.dtype
    assert open_volume(VolumeAddress(str(find_volume(f"{path}:volumes/raw")))).shape[:3] == VOLUME.shape
    with pytest.raises(ValueError, match=f"v.{suffix} cannot be read: it has no dataset em"):
        read_images(f"{path}:em")


@every_format
def test_arrays_to_choose_from_are_listed(tmp_path, suffix):
    path = WRITERS[suffix](tmp_path / f"v.{suffix}", raw=VOLUME, labels=VOLUME)
    with pytest.raises(ValueError, match=r"raw \(3, 4, 5\).*say which \(IMAGE_DATASET, MASK_DATASET\)"):
        read_images(path)
    with pytest.raises(ValueError, match=r"it has no dataset em; it holds .*labels \(3, 4, 5\)"):
        read_images(path, dataset="em")


def test_a_zarr_array_without_a_group(tmp_path):
    zarr.create_array(tmp_path / "v.zarr", data=VOLUME)
    assert np.array_equal(read(tmp_path / "v.zarr")[..., 0], VOLUME)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (VOLUME[0], VOLUME[:1]),
        (VOLUME[np.newaxis, np.newaxis], VOLUME),
        (np.stack([VOLUME, VOLUME + 1, VOLUME + 2], -1), None),
        (np.stack([VOLUME, VOLUME + 1, VOLUME + 2]), None),
    ],
    ids=["one slice", "single time and channel", "channels last", "channels first"],
)
def test_axes_follow_from_the_shape(tmp_path, array, expected):
    volume = read(write_h5(tmp_path / "v.h5", raw=array))
    if expected is None:
        expected = np.stack([VOLUME, VOLUME + 1, VOLUME + 2], -1)
    assert np.array_equal(volume, expected.reshape(volume.shape))


def test_numbers_of_other_byte_order_become_those_of_the_machine(tmp_path):
    volume = read(write_h5(tmp_path / "v.h5", raw=VOLUME.astype(">u2")))
    assert volume.dtype == np.uint16 and volume.dtype.isnative
    assert np.array_equal(volume[..., 0], VOLUME)


def test_unknown_axes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"v\.h5 cannot be read: the axes of the shape \(2, 2, 3, 4, 5\) are unknown"):
        read_images(write_h5(tmp_path / "v.h5", raw=np.zeros((2, 2, 3, 4, 5))))


def test_a_missing_package_is_said_with_its_requirements_file(tmp_path, monkeypatch):
    zarr.create_array(tmp_path / "v.zarr", data=VOLUME)
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r"v\.zarr needs the package zarr.*env/requirements-big\.txt"):
        read_images(tmp_path / "v.zarr")


def test_files_of_volumes_are_listed(tmp_path):
    write_h5(tmp_path / "b.h5", raw=VOLUME)
    write_zarr(tmp_path / "a.zarr", raw=VOLUME)
    assert [path.name for path in list_images(tmp_path)] == ["a.zarr", "b.h5"]


# --- tif


@pytest.mark.parametrize(
    ("axes", "options"),
    [
        ("ZYX", {}),
        ("QYX", {}),
        ("ZYX", {"imagej": True}),
        ("TYX", {"imagej": True}),
        ("ZYX", {"ome": True}),
    ],
)
def test_tif_volumes_of_any_name_for_z(tmp_path, axes, options):
    volume = np.arange(7 * 4 * 5, dtype=np.uint16).reshape(7, 4, 5)
    tifffile.imwrite(tmp_path / "v.tif", volume, metadata={"axes": axes}, photometric="minisblack", **options)
    assert np.array_equal(read(tmp_path / "v.tif", one_volume=True)[..., 0], volume)


@pytest.mark.parametrize(("axes", "options"), [("ZYXS", {}), ("ZYXS", {"imagej": True})])
def test_tif_volumes_in_colour(tmp_path, axes, options):
    volume = np.arange(7 * 4 * 5 * 3, dtype=np.uint8).reshape(7, 4, 5, 3)
    tifffile.imwrite(tmp_path / "v.tif", volume, metadata={"axes": axes}, photometric="rgb", **options)
    assert np.array_equal(read(tmp_path / "v.tif", one_volume=True), volume)


def test_tif_with_channels_as_an_axis_of_its_own(tmp_path):
    volume = np.arange(7 * 3 * 4 * 5, dtype=np.uint16).reshape(7, 3, 4, 5)
    tifffile.imwrite(tmp_path / "v.tif", volume, imagej=True, metadata={"axes": "ZCYX"})
    assert np.array_equal(read(tmp_path / "v.tif", one_volume=True), np.moveaxis(volume, 1, -1))


def test_tif_with_time_and_z_is_no_single_volume(tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", np.zeros((2, 6, 4, 5), np.uint8), imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(ValueError, match=r"v\.tif .*: T 2, Z 6 beside y and x\. Save each volume in a file of its own"):
        read_images(tmp_path / "v.tif", one_volume=True)
    assert len(read_images(tmp_path / "v.tif")) == 12


def test_tif_with_pages_of_several_sizes_is_no_volume(tmp_path):
    with tifffile.TiffWriter(tmp_path / "v.tif") as tif:
        tif.write(np.zeros((4, 5), np.uint8))
        tif.write(np.zeros((6, 5), np.uint8))
    with pytest.raises(ValueError, match="pages have 2 different sizes"):
        read_images(tmp_path / "v.tif", one_volume=True)


# --- writing


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_written_volumes_come_back_with_their_axes(tmp_path, channels, dtype):
    volumes = [np.random.default_rng(n).integers(0, 9, (4, 6, 7 + n, channels)).astype(dtype) for n in range(2)]
    sources = [ImageName("a.h5", slices=()), ImageName("b.tif", slices=())]
    with ImageWriter([tmp_path], sources) as writer:
        for volume in volumes:
            writer.write(volume)
    saved = SavedImages(tmp_path, sources)
    assert all(np.array_equal(found, volume) for found, volume in zip(saved, volumes, strict=True))
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        axes = "ZYX" if channels == 1 else "ZYXS" if (channels, dtype) == (3, np.uint8) else "ZCYX"
        assert (len(tif.series), tif.series[0].axes) == (1, axes)


def test_a_volume_of_slices_is_written_slice_by_slice_and_read_back_whole(tmp_path):
    volume = np.random.default_rng(0).random((3, 4, 5, 1)).astype(np.float32)
    sources = [ImageName("a to c", slices=tuple(ImageName(f"{name}.png") for name in "abc"))]
    with ImageWriter([tmp_path], sources) as writer:
        for slice_ in volume:
            writer.write(slice_)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "b.tif", "c.tif"]
    (found,) = SavedImages(tmp_path, sources)
    assert np.array_equal(found, volume)


@pytest.mark.parametrize("shape", [(4, 5, 1), (4, 5, 3), (3, 4, 5, 1)])
def test_pairs_are_written_to_look_at(tmp_path, shape):
    images = [np.random.default_rng(n).random(shape).astype(np.float32) for n in range(2)]
    masks = [(image[..., :1] > 0.5).astype(np.uint8) for image in images]
    write_pairs(tmp_path, images, masks)
    for number in range(2):
        image = images[number][..., 0] if shape[-1] == 1 else np.moveaxis(images[number], -1, 0)
        assert np.array_equal(tifffile.imread(tmp_path / "x" / f"0{number}.tif"), image)
        assert np.array_equal(tifffile.imread(tmp_path / "y" / f"0{number}.tif"), masks[number][..., 0])


def test_a_dataset_may_be_named_by_a_number(tmp_path):
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["0"], file["1"] = np.zeros((2, 5, 6), np.uint8), np.ones((2, 5, 6), np.uint8)
    assert not np.any(read_images(tmp_path / "two.h5", dataset=0)) and np.all(
        read_images(tmp_path / "two.h5", dataset=1)
    )
