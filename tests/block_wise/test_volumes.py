"""Tests of reading boxes of volumes on disk, in every format, and of what is said about damaged ones."""

import os
import sys

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from block_wise.results import UnreadableBlock, create_volume, read_box, write_box
from block_wise.volumes import VolumeAddress, find_volume, open_volume, read_volume

VOLUME = np.random.default_rng(0).integers(0, 60000, (7, 11, 13), np.uint16)
BOX = (slice(2, 5), slice(0, 11), slice(4, 13))


def write_h5(folder, array, **options):
    with h5py.File(folder / "v.h5", "w") as file:
        file.create_dataset("volumes/raw", data=array, **options)
    return folder / "v.h5"


def write_zarr(folder, array):
    zarr.create_group(folder / "v.zarr").create_array(
        "raw", data=array, chunks=(2, 4, 4) if array.ndim == 3 else "auto"
    )
    return folder / "v.zarr"


def write_bare_zarr(folder, array):
    zarr.create_array(folder / "v.zarr", data=array)
    return folder / "v.zarr"


def write_ome(folder, array, version="0.5"):
    options = {"zarr_format": 2} if version == "0.4" else {}
    root = zarr.create_group(folder / "v.ome.zarr", **options)
    root.create_array("s0", data=array[np.newaxis, np.newaxis])
    root.create_array("s1", data=array[np.newaxis, np.newaxis, ::2, ::2, ::2])
    axes = [{"name": name} for name in "tczyx"]
    scales = {"multiscales": [{"axes": axes, "datasets": [{"path": "s0"}, {"path": "s1"}]}]}
    root.attrs.update(scales if version == "0.4" else {"ome": scales | {"version": version}})
    return folder / "v.ome.zarr"


def write_tif(folder, array, **options):
    tifffile.imwrite(folder / "v.tif", array, photometric="minisblack", **options)
    return folder / "v.tif"


def write_slices(folder, array, suffix="tif", **options):
    (folder / "slices").mkdir()
    for number, image in enumerate(array):
        path = folder / "slices" / f"im_{number}.{suffix}"  # 10 comes after 9
        if suffix == "tif":
            tifffile.imwrite(path, image, **options)
        else:
            Image.fromarray(image).save(path)
    return folder / "slices"


WRITERS = {
    "h5": write_h5,
    "h5 of chunks": lambda folder, array: write_h5(folder, array, chunks=(2, 4, 4), compression="gzip"),
    "zarr": write_zarr,
    "zarr without a group": write_bare_zarr,
    "OME-Zarr 0.5": write_ome,
    "OME-Zarr 0.4": lambda folder, array: write_ome(folder, array, "0.4"),
    "tif": write_tif,
    "tif of ImageJ": lambda folder, array: write_tif(folder, array, imagej=True, metadata={"axes": "ZYX"}),
    "big-endian tif": lambda folder, array: write_tif(folder, array, byteorder=">"),
    "compressed tif": lambda folder, array: write_tif(folder, array, compression="zlib"),
    "slices": write_slices,
    "compressed slices": lambda folder, array: write_slices(folder, array, compression="zlib"),
    "png slices": lambda folder, array: write_slices(folder, array, "png"),
}


@pytest.mark.parametrize("form", WRITERS)
def test_a_box_is_that_of_the_volume(form, tmp_path):
    volume = open_volume(VolumeAddress(WRITERS[form](tmp_path, VOLUME)))
    assert volume.shape == (*VOLUME.shape, 1)
    assert volume.dtype == np.uint16
    found = volume[BOX]
    assert found.dtype == np.uint16 and found.dtype.isnative
    assert np.array_equal(found[..., 0], VOLUME[BOX])


@pytest.mark.parametrize("form", ["h5", "zarr"])
@pytest.mark.parametrize("first", [True, False])
def test_channels_may_stand_first_or_last(form, first, tmp_path):
    colour = np.stack([VOLUME, VOLUME + 1, VOLUME + 2], axis=-1)
    path = WRITERS[form](tmp_path, np.moveaxis(colour, -1, 0) if first else colour)
    assert np.array_equal(open_volume(VolumeAddress(path))[BOX], colour[BOX])


def test_true_and_false_become_grey_values(tmp_path):
    found = open_volume(VolumeAddress(write_h5(tmp_path, VOLUME > 30000)))[BOX]
    assert np.array_equal(found[..., 0], np.where(VOLUME[BOX] > 30000, 255, 0)) and found.dtype == np.uint8


def test_one_of_several_arrays_is_named(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["raw"], file["labels"] = VOLUME, VOLUME + 1
    with pytest.raises(ValueError, match=r"v\.h5 .* it holds .*raw \(7, 11, 13\).*IMAGE_DATASET"):
        open_volume(VolumeAddress(tmp_path / "v.h5"))
    with pytest.raises(ValueError, match="it has no dataset grey; it holds labels"):
        open_volume(VolumeAddress(tmp_path / "v.h5", "grey"))
    assert np.array_equal(open_volume(VolumeAddress(tmp_path / "v.h5", "/labels"))[BOX][..., 0], VOLUME[BOX] + 1)


def test_what_is_no_volume_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.zarr does not exist"):
        open_volume(VolumeAddress(tmp_path / "none.zarr"))
    for name in ("notes.txt", "v.h5", "v.tif"):
        (tmp_path / name).write_text("this is no volume")
        with pytest.raises(ValueError, match=f"{name} (is no volume|cannot be read)"):
            open_volume(VolumeAddress(tmp_path / name))
    with pytest.raises(ValueError, match=r"the shape \(2, 2, 2, 2, 2\)"):
        open_volume(VolumeAddress(write_bare_zarr(tmp_path, np.zeros((2, 2, 2, 2, 2)))))


def test_slices_of_another_size_are_named(tmp_path):
    folder = write_slices(tmp_path, VOLUME)
    tifffile.imwrite(folder / "im_3.tif", VOLUME[0, :5])
    with pytest.raises(ValueError, match=r"slices: im_3\.tif is 5x13 uint16 and im_0\.tif is 11x13 uint16"):
        open_volume(VolumeAddress(folder))


def test_a_damaged_chunk_is_said_and_the_others_are_read(tmp_path):
    path = write_zarr(tmp_path, VOLUME)
    chunk = path / "raw" / "c" / "1" / "0" / "1"
    chunk.write_bytes(chunk.read_bytes()[:20])
    volume = open_volume(VolumeAddress(path))
    with pytest.raises(UnreadableBlock, match=r"v\.zarr cannot be read: .*, at z 2 to 5, y 0 to 11, x 4 to 13"):
        read_volume(VolumeAddress(path), BOX)
    assert np.array_equal(volume[(slice(0, 2), *BOX[1:])][..., 0], VOLUME[:2, :, 4:])


def test_a_missing_package_is_said_with_its_requirements_file(tmp_path, monkeypatch):
    path = write_zarr(tmp_path, VOLUME)
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r"v\.zarr needs the package zarr.*env/requirements-big\.txt"):
        open_volume(VolumeAddress(path))


def test_the_volume_of_a_data_folder(tmp_path):
    inner = tmp_path / "data" / "test" / "x"
    inner.mkdir(parents=True)
    with pytest.raises(ValueError, match="holds nothing"):
        find_volume(tmp_path / "data")
    first = write_h5(inner, VOLUME)
    assert find_volume(tmp_path / "data") == first
    assert find_volume(first) == first
    (inner / "w.h5").write_bytes(first.read_bytes())
    with pytest.raises(ValueError, match=r"holds v\.h5, w\.h5; wanted one volume"):
        find_volume(tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        find_volume(tmp_path / "nowhere")


def test_slices_of_a_data_folder_are_one_volume(tmp_path):
    inner = tmp_path / "data" / "test"
    inner.mkdir(parents=True)
    write_slices(inner, VOLUME).rename(inner / "x")
    assert np.array_equal(open_volume(VolumeAddress(find_volume(tmp_path / "data")))[BOX][..., 0], VOLUME[BOX])


# --- writing


def test_written_blocks_come_back(tmp_path):
    path = tmp_path / "p.zarr"
    create_volume(path, (5, 6, 7), chunks=(2, 6, 4), dtype="float32")
    box = (slice(2, 4), slice(0, 6), slice(4, 7))
    values = np.random.default_rng(1).random((2, 6, 3)).astype(np.float32)
    write_box(path, box, values)
    create_volume(path, (5, 6, 7), chunks=(2, 6, 4), dtype="float32")  # keeps what is there
    assert np.array_equal(read_box(path, box), values)
    assert not read_box(path, (slice(0, 2), slice(0, 6), slice(0, 7))).any()
    assert [str(file.relative_to(path)) for file in (path / "0" / "c").rglob("*") if file.is_file()] == ["0/c/1/0/1"]


def test_a_full_disk_is_said_in_a_sentence(tmp_path, monkeypatch):
    create_volume(tmp_path / "p.zarr", (2, 2, 2), chunks=(2, 2, 2), dtype="float32")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zarr.storage._local._atomic_write", full)
    with pytest.raises(OSError, match=r"p\.zarr could not be written: the disk is full\. No finished block is lost"):
        write_box(tmp_path / "p.zarr", (slice(0, 2),) * 3, np.ones((2, 2, 2), np.float32))


def test_a_damaged_result_is_said(tmp_path):
    create_volume(tmp_path / "p.zarr", (2, 2, 2), chunks=(2, 2, 2), dtype="float32")
    write_box(tmp_path / "p.zarr", (slice(0, 2),) * 3, np.ones((2, 2, 2), np.float32))
    (tmp_path / "p.zarr" / "0" / "c" / "0" / "0" / "0").write_bytes(b"damaged")
    with pytest.raises(UnreadableBlock, match=r"p\.zarr cannot be read at z 0 to 2"):
        read_box(tmp_path / "p.zarr", (slice(0, 2),) * 3)


def test_a_volume_that_was_replaced_is_opened_anew(tmp_path):
    box = (slice(0, 2), slice(0, 3), slice(0, 4))
    for number, value in enumerate((1, 2)):
        tifffile.imwrite(tmp_path / "new.tif", np.full((2, 3, 4), value, np.uint8))
        os.utime(tmp_path / "new.tif", (number, number))
        os.replace(tmp_path / "new.tif", tmp_path / "v.tif")
        assert (open_volume(VolumeAddress(str(tmp_path / "v.tif")))[box] == value).all()
