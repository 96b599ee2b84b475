"""Tests of results as OME-Zarr: metadata that other programs accept, scale and place, coarser levels."""

import json

import numpy as np
import pytest
import zarr
from fake_volume_network import blobs, make_job
from ome_zarr_models.v05 import Image, ImageLabel, Labels

from block_wise.job import begin_blocks
from block_wise.labels import label_blocks
from block_wise.levels import shrunk
from block_wise.post_processing import mask_blocks, z_filter_blocks
from block_wise.prediction import predict_blocks
from block_wise.results import read_box
from block_wise.runner import block_workers
from utils.images.formats import ome_zarr
from utils.images.formats.ome_zarr import level_factors
from utils.images.reading import open_sources
from utils.images.scale import Scale

CROP, BLOCK = (6, 16, 16, 1), (8, 24, 24)
SCALE = Scale((30.0, 8.0, 4.0), (300.0, -16.0, 0.0))


@pytest.fixture
def small_levels(monkeypatch):
    """Make levels for volumes of more than 2,000 voxels."""
    monkeypatch.setattr(ome_zarr, "COARSEST_VOXELS", 2000)


def run_all(job):
    begin_blocks(job, z_filter_size=3, instances=job.classes == 1)
    with block_workers(0) as workers:
        predict_blocks(job, workers)
        mask = mask_blocks(job, workers, z_filter_blocks(job, workers, 3))
        if job.classes == 1:
            label_blocks(job, workers, mask)


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("scale", [SCALE, None, Scale((None, 8.0, 4.0))])
def test_results_are_valid_ome_zarr_at_the_scale_and_place_of_the_volume(tmp_path, small_levels, classes, scale):
    job = make_job(tmp_path, blobs((19, 40, 37)), CROP, BLOCK, classes=classes, scale=scale)
    run_all(job)
    probability = zarr.open_group(job.output("probability"), mode="r")
    names = {"mask", "instances"} if classes == 1 else {"mask"}
    assert set(Labels.from_zarr(probability["labels"]).attributes.ome.labels) == names
    groups = [probability, zarr.open_group(job.output("z_filter"), mode="r")]
    groups += [probability["labels"][name] for name in names]
    for number, group in enumerate(groups):
        is_label = number > 1
        image = (ImageLabel if is_label else Image).from_zarr(group)
        assert image.attributes.ome.version == "0.5"
        if is_label:
            assert image.attributes.ome.image_label.source.image == "../../"
        (pyramid,) = image.attributes.ome.multiscales
        axes = [(axis.name, axis.unit) for axis in pyramid.axes][-3:]
        units = ["nanometer" if scale and size else None for size in (scale.voxel_size_nm if scale else "zyx")]
        assert axes == list(zip("zyx", units, strict=True))
        assert len(pyramid.axes) == (4 if classes == 2 and not is_label else 3) and len(pyramid.datasets) > 1
        for level in pyramid.datasets:
            assert list(group[level.path].metadata.dimension_names) == [axis.name for axis in pyramid.axes]
        size, place = pyramid.datasets[0].coordinateTransformations
        expected = scale or Scale((1.0, 1.0, 1.0))
        assert size.scale[-3:] == [length or 1.0 for length in expected.voxel_size_nm]
        assert place.translation[-3:] == list(expected.offset_nm)
    found = open_sources(job.output("probability"), one_volume=True)[0].scale
    assert found == scale
    assert open_sources(job.output("mask"), one_volume=True)[0].scale == scale


def test_a_coarser_level_shows_the_same_place(tmp_path, small_levels):
    job = make_job(tmp_path, blobs((19, 40, 37)), CROP, BLOCK, scale=SCALE)
    run_all(job)
    for name in ("probability", "z_filter", "mask", "labels"):
        content = json.loads((job.output(name) / "zarr.json").read_text())["attributes"]["ome"]
        factors = level_factors(job.grid.shape, SCALE)
        assert factors[1] == (1, 1, 2)  # x is half as long as y, and z is longer
        levels = [read_box(job.output(name), (slice(None),) * 3, level=level) for level in range(len(factors))]
        for number, level in enumerate(content["multiscales"][0]["datasets"]):
            size, place = (step[step["type"]] for step in level["coordinateTransformations"])
            centre = [
                offset + (factor - 1) / 2 * length
                for offset, factor, length in zip(SCALE.offset_nm, factors[number], SCALE.voxel_size_nm, strict=True)
            ]
            assert place == centre
            assert size == [f * s for f, s in zip(factors[number], SCALE.voxel_size_nm, strict=True)]
            steps = [a // b for a, b in zip(factors[number], factors[max(0, number - 1)], strict=True)]
            finer = levels[max(0, number - 1)]
            expected = shrunk(finer, steps, labels=name in ("mask", "labels"))
            np.testing.assert_array_equal(levels[number], expected)
            assert levels[number].any() and levels[number].dtype == finer.dtype


def test_means_and_labels_of_a_shape_that_two_does_not_divide():
    values = np.arange(15, dtype=np.float32).reshape(1, 3, 5)
    assert shrunk(values, (1, 2, 2), labels=False).tolist() == [[[3, 5, 6.5], [10.5, 12.5, 14]]]
    assert shrunk(values, (1, 2, 2), labels=True).tolist() == [[[0, 2, 4], [10, 12, 14]]]
    channels = np.stack([values, values + 1], axis=-1)
    np.testing.assert_array_equal(
        shrunk(channels, (1, 1, 2), labels=False)[..., 1], shrunk(values, (1, 1, 2), labels=False) + 1
    )


@pytest.mark.parametrize("level", [1, 2])
def test_a_level_that_was_damaged_is_made_anew(tmp_path, small_levels, level):
    job = make_job(tmp_path, blobs((19, 40, 37)), CROP, BLOCK, scale=SCALE)
    run_all(job)
    path = job.output("probability")
    expected = read_box(path, (slice(None),) * 3, level=level)
    (path / str(level) / "c" / "0" / "0" / "0").write_bytes(b"")  # as a power cut leaves it
    run_all(job)
    np.testing.assert_array_equal(read_box(path, (slice(None),) * 3, level=level), expected)
    chunk = path / "1" / "c" / "0" / "1" / "0"
    chunk.write_bytes(chunk.read_bytes()[:40])
    job.markers("probability_level_2").forget((0, 0, 0))
    with pytest.raises(ValueError, match="no longer count as done: start the same command"):
        run_all(job)
    run_all(job)
    np.testing.assert_array_equal(read_box(path, (slice(None),) * 3, level=level), expected)


def test_a_small_volume_has_one_level(tmp_path):
    job = make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK)
    run_all(job)
    assert sorted(path.name for path in job.output("z_filter").iterdir()) == ["0", "zarr.json"]
    assert level_factors((1000, 2000, 2000), Scale((30.0, 5.0, 5.0)))[-1] == (4, 16, 16)
