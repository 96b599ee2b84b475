"""Hdf5 and zarr files: the axes, the levels and the scale that they state are honoured."""

import json

import h5py
import numpy as np
import pytest
import zarr

from block_wise.volumes import VolumeAddress, open_volume
from utils.data.data_folder import load_image_set
from utils.images.reading import open_sources, read_images

ZYX = np.zeros((6, 20, 30), np.uint8)
ZYX[2, 3:9, 4:20] = 200


def ordered(axes, array=ZYX):
    """Return a volume with the axes in another order; channels and times have length 1."""
    spatial = [axis for axis in axes if axis in "zyx"]
    turned = array.transpose(["zyx".index(axis) for axis in spatial])
    return turned.reshape([turned.shape[spatial.index(axis)] if axis in spatial else 1 for axis in axes])


def write_ome_zarr(path, axes, *, version=3, levels=1, unit=None, scale=None, translation=None, group=""):
    types = {"c": "channel", "t": "time"}
    named = [{"name": axis, "type": types.get(axis, "space")} | ({"unit": unit} if unit else {}) for axis in axes]
    root = zarr.open_group(path, mode="a", zarr_format=version)
    image = root.require_group(group) if group else root
    datasets = []
    for level in range(levels):
        array = ordered(axes, ZYX[:, :: 2**level, :: 2**level])
        image.create_array(str(level), data=array)
        steps = [{"type": "scale", "scale": scale or [1.0] * len(axes)}]
        steps += [{"type": "translation", "translation": translation}] if translation else []
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    pyramid = [{"axes": named, "datasets": datasets, "version": "0.4"}]
    image.attrs.update(
        {"multiscales": pyramid} if version == 2 else {"ome": {"version": "0.5", "multiscales": pyramid}}
    )
    return path


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("axes", ["zyx", "xyz", "cxyz", "czyx", "tczyx"])
def test_ome_zarr_axes_of_any_order(tmp_path, axes, version):
    path = write_ome_zarr(tmp_path / "x" / "v.ome.zarr", axes, version=version, levels=2)
    assert np.array_equal(load_image_set(tmp_path, masks_optional=True, volumes=True).x[0][..., 0], ZYX)
    assert np.array_equal(np.asarray(open_volume(VolumeAddress(path)))[..., 0], ZYX)
    coarse = np.stack(read_images(path, dataset="1"))[..., 0]
    assert np.array_equal(coarse, ZYX[:, ::2, ::2])
    (source,) = open_sources(path)
    window = [slice(1, 4), slice(2, 11), slice(3, 25)]
    assert np.array_equal(source.read(window)[..., 0], ZYX[tuple(window)])


def test_images_of_a_group_and_its_labels_are_named(tmp_path):
    path = write_ome_zarr(tmp_path / "v.zarr", "zyx", levels=2)
    write_ome_zarr(path, "zyx", group="labels/mito")
    assert np.array_equal(np.stack(read_images(path))[..., 0], ZYX)
    assert np.array_equal(np.stack(read_images(path, dataset="labels/mito"))[..., 0], ZYX)
    several = write_ome_zarr(tmp_path / "w.zarr", "zyx", group="0")
    write_ome_zarr(several, "zyx", group="1")
    with pytest.raises(ValueError, match=r"it holds 0 \(6, 20, 30\), 1 \(6, 20, 30\); say which"):
        read_images(several)


@pytest.mark.parametrize(
    ("unit", "scale", "translation", "size", "offset"),
    [
        ("nanometer", [30, 5, 4], None, (30, 5, 4), (0, 0, 0)),
        ("micrometer", [0.03, 0.005, 0.004], [1, 2, 3], (30, 5, 4), (1000, 2000, 3000)),
        (None, [30, 5, 4], None, None, None),
    ],
)
def test_ome_zarr_scale(tmp_path, unit, scale, translation, size, offset):
    path = write_ome_zarr(tmp_path / "v.zarr", "zyx", unit=unit, scale=scale, translation=translation)
    (source,) = open_sources(path)
    if size is None:
        assert source.scale is None
    else:
        assert source.scale.voxel_size_nm == pytest.approx(size) and source.scale.offset_nm == pytest.approx(offset)


def tags(axes):
    return json.dumps({"axes": [{"key": axis, "typeFlags": 2, "resolution": 0} for axis in axes]})


@pytest.mark.parametrize(
    ("axes", "attributes"),
    [
        ("zyxc", {"axistags": tags("zyxc")}),
        ("tzyxc", {"axistags": tags("tzyxc")}),
        ("xyz", {"axistags": tags("xyz")}),
        ("xyz", {"axes": "xyz"}),
        ("xyz", {"axes": ["x", "y", "z"]}),
        ("yxz", {"_ARRAY_DIMENSIONS": ["y", "x", "z"]}),
        ("zyx", {}),
    ],
    ids=str,
)
def test_axes_that_hdf5_attributes_name(tmp_path, axes, attributes):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["exported_data"] = ordered(axes)
        file["exported_data"].attrs.update(attributes)
    assert np.array_equal(np.stack(read_images(tmp_path / "v.h5", one_volume=True))[..., 0], ZYX)
    assert np.array_equal(np.asarray(open_volume(VolumeAddress(tmp_path / "v.h5")))[..., 0], ZYX)


def test_axes_that_do_not_fit_the_array_are_refused(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["raw"] = ZYX
        file["raw"].attrs["axistags"] = tags("zyxc")
    with pytest.raises(ValueError, match=r"raw has the shape \(6, 20, 30\), but its axes are called ZYXC"):
        read_images(tmp_path / "v.h5")


@pytest.mark.parametrize(
    ("attributes", "size", "offset"),
    [
        ({"element_size_um": (0.03, 0.005, 0.004)}, (30, 5, 4), (0, 0, 0)),
        ({"resolution": (40.0, 4.0, 4.0), "offset": (40.0, 8.0, 0.0)}, (40, 4, 4), (40, 8, 0)),
        ({"resolution": "fine"}, None, None),
        ({}, None, None),
    ],
    ids=str,
)
def test_scale_of_hdf5_attributes(tmp_path, attributes, size, offset):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["raw"] = ZYX
        file["raw"].attrs.update(attributes)
    (source,) = open_sources(tmp_path / "v.h5")
    if size is None:
        assert source.scale is None
    else:
        assert source.scale.voxel_size_nm == pytest.approx(size) and source.scale.offset_nm == pytest.approx(offset)


def test_numpy_files_with_channels_that_are_wanted(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 2)).astype(np.uint8)
    np.save(tmp_path / "a.npy", image)
    assert np.array_equal(np.stack(read_images(tmp_path / "a.npy", channels=2))[0], image)
    np.save(tmp_path / "b.npy", np.moveaxis(image, -1, 0))
    assert np.array_equal(np.stack(read_images(tmp_path / "b.npy", channels=2))[0], image)
    assert len(read_images(tmp_path / "b.npy", channels=1)) == 2
