"""Every entry point reads a file alike, at once, lazily, by blocks or as labels, and refuses it with one sentence."""

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from block_wise.volumes import VolumeAddress, open_volume
from data_sets.label_import import import_labels
from generators.voxel_data_generator import VoxelDataGenerator
from utils.data.data_folder import load_image_set, open_image_set
from utils.images.reading import read_images

VOLUME = np.random.default_rng(0).integers(0, 255, (6, 20, 30), np.uint8)


def write_ome_zarr(path, axes, zarr_format):
    """Write an OME-Zarr image 0.4 or 0.5 with two levels of resolution."""
    array = VOLUME.transpose(2, 1, 0) if "xyz" in axes else VOLUME
    array = array[(np.newaxis,) * (len(axes) - 3)]
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    group.create_array("full", data=array, chunks=tuple(min(size, 8) for size in array.shape))
    group.create_array("half", data=array[..., ::2, ::2, ::2])
    levels = [{"path": "full"}, {"path": "half"}]
    pyramids = {"multiscales": [{"axes": [{"name": axis} for axis in axes], "datasets": levels}]}
    group.attrs.update(pyramids if zarr_format == 2 else {"ome": pyramids | {"version": "0.5"}})


def write_h5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def tif(**options):
    return lambda path: tifffile.imwrite(path, VOLUME, photometric="minisblack", **options)


WRITERS = {
    "ome_xyz.zarr": lambda path: write_ome_zarr(path, "xyz", 2),
    "ome_cxyz.zarr": lambda path: write_ome_zarr(path, "cxyz", 3),
    "ome_czyx.zarr": lambda path: write_ome_zarr(path, "czyx", 2),
    "ome_tczyx.zarr": lambda path: write_ome_zarr(path, "tczyx", 3),
    "bare.zarr": lambda path: zarr.create_array(path, data=VOLUME, chunks=(4, 8, 8)),
    "one.h5": lambda path: write_h5(path, raw=VOLUME),
    "single_time.h5": lambda path: write_h5(path, raw=VOLUME[np.newaxis, np.newaxis]),
    "plain.tif": tif(metadata={"axes": "ZYX"}),
    "tiled.tif": tif(metadata={"axes": "ZYX"}, tile=(16, 16), compression="zlib"),
    "strips.tif": tif(metadata={"axes": "ZYX"}, rowsperstrip=4, compression="zlib"),
    "imagej.tif": tif(imagej=True, metadata={"axes": "ZYX"}),
    "volume.npy": lambda path: np.save(path, VOLUME),
}


@pytest.fixture(params=WRITERS)
def folder(request, tmp_path):
    """Return a data folder with one volume and its mask, which is stored in the same way."""
    for part in "xy":
        (tmp_path / "train" / part).mkdir(parents=True)
        WRITERS[request.param](tmp_path / "train" / part / request.param)
    return tmp_path / "train"


def test_every_way_to_read_a_volume_gives_the_same(folder):
    (path,) = (folder / "x").iterdir()
    loaded, opened = (read(folder, n_classes=256, volumes=True) for read in (load_image_set, open_image_set))
    assert np.array_equal(loaded.x[0][..., 0], VOLUME) and np.array_equal(opened.x[0], loaded.x[0])
    assert np.array_equal(loaded.y[0][..., 0], VOLUME) and np.array_equal(opened.y[0], loaded.y[0])
    assert opened.names == loaded.names
    assert np.array_equal(np.stack(read_images(path, one_volume=True))[..., 0], VOLUME)
    box = (slice(1, 5), slice(3, 19), slice(7, 30))
    assert np.array_equal(open_volume(VolumeAddress(path))[box][..., 0], VOLUME[box])
    batches = VoxelDataGenerator().flow_from_directory(folder, n_classes=256)
    assert np.array_equal(np.rint(batches[0][0][0, ..., 0] * 255), VOLUME)


def test_labels_are_imported_with_the_same_axes(folder):
    (path,) = (folder / "y").iterdir()
    import_labels(path, folder / "x", folder / "new", kind="instances")
    (written,) = read_images_of(folder / "new")
    assert np.array_equal(np.stack(written)[..., 0], VOLUME)


def read_images_of(folder):
    return [read_images(path) for path in folder.iterdir()]


def test_a_level_of_a_pyramid_is_named(tmp_path):
    write_ome_zarr(tmp_path / "v.zarr", "xyz", 3)
    assert np.array_equal(np.stack(read_images(tmp_path / "v.zarr", dataset="half"))[..., 0], VOLUME[::2, ::2, ::2])


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (
            lambda path: write_h5(path, a=VOLUME, b=VOLUME),
            r"it holds a \(6, 20, 30\), b .*say which",
        ),
        (
            lambda path: write_h5(path, a=np.zeros((2, 2, 3, 4, 5))),
            "the axes of the shape .* unknown",
        ),
        (lambda path: path.write_bytes(b"broken"), "if the file is broken"),
    ],
    ids=["several arrays", "unknown axes", "broken"],
)
def test_every_way_to_read_refuses_with_the_same_sentence(tmp_path, write, said):
    for part in "xy":
        (tmp_path / "train" / part).mkdir(parents=True)
        write(tmp_path / "train" / part / "v.h5")
    path = tmp_path / "train" / "x" / "v.h5"
    ways = [
        lambda: read_images(path),
        lambda: load_image_set(tmp_path / "train", volumes=True),
        lambda: open_image_set(tmp_path / "train"),
        lambda: open_volume(VolumeAddress(path)),
        lambda: VoxelDataGenerator().flow_from_directory(tmp_path / "train"),
        lambda: import_labels(path, tmp_path / "train" / "x", tmp_path / "new", kind="binary"),
    ]
    for read in ways:
        with pytest.raises(ValueError, match=rf"v\.h5 cannot be read: .*{said}"):
            read()
