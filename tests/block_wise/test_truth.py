"""Tests of the truth of a volume: which values are which classes, scores as in memory, one that comes or changes."""

import dataclasses
import os

import numpy as np
import pytest
import zarr
from fake_volume_network import blobs, make_job

from block_wise.checks import check_stages
from block_wise.job import begin_blocks
from block_wise.post_processing import mask_blocks
from block_wise.prediction import predict_blocks
from block_wise.results import read_box
from block_wise.runner import block_workers
from block_wise.truth import score_blocks
from block_wise.volumes import VolumeAddress
from utils.metrics.pixels import confusion_matrix

SHAPE, CROP, BLOCK = (10, 30, 30), (6, 16, 16, 1), (8, 24, 24)


@pytest.fixture
def here():
    with block_workers(0) as workers:
        yield workers


def write_truth(tmp_path, array, **options):
    zarr.create_array(
        tmp_path / "truth.zarr", data=array, chunks=(5, 30, 30, 3)[: array.ndim], overwrite=True, **options
    )
    return VolumeAddress(str(tmp_path / "truth.zarr"))


def mask_of(job, here):
    begin_blocks(job)
    return mask_blocks(job, here, predict_blocks(job, here), threshold=0.45)


def classes(n_classes):
    volume = blobs(SHAPE)
    return volume, np.digitize(volume, np.quantile(volume, np.linspace(0, 1, n_classes + 1)[1:-1])).astype(np.uint8)


@pytest.mark.parametrize(
    ("n_classes", "stored"),
    [(1, (0, 255)), (1, (0, 1)), (1, (1, 2)), (2, (0, 255)), (3, (0, 127, 255)), (3, (0, 1, 2))],
)
def test_scores_are_those_of_the_classes(tmp_path, here, n_classes, stored):
    volume, expected = classes(max(2, n_classes))
    truth = write_truth(tmp_path, np.array(stored, np.uint8)[expected])
    job = make_job(tmp_path, volume, CROP, BLOCK, classes=min(n_classes, 2))
    mask = mask_of(job, here)
    found = read_box(mask, (slice(None),) * 3)
    job = dataclasses.replace(
        job, network=job.network._replace(classes=n_classes)
    )  # the network of the tests tells two apart
    check_stages(job, truth=truth)
    scored = score_blocks(job, here, mask, truth)
    assert np.array_equal(scored.confusion, confusion_matrix(expected, found, max(2, n_classes)))
    box = (slice(2, 9), slice(0, 30), slice(3, 20))
    assert np.array_equal(scored.read(box)[..., 0], expected[box])


def test_ids_of_objects_are_foreground_if_that_is_said(tmp_path, here):
    volume = blobs(SHAPE)
    numbers = np.where(volume > 140, np.arange(volume.size).reshape(SHAPE), 0).astype(np.uint32)
    truth = write_truth(tmp_path, numbers)
    job = make_job(tmp_path, volume, CROP, BLOCK)
    with pytest.raises(
        ValueError, match=r"the truth: test/: mask of truth\.zarr holds the values .* 2 in all; .*MASK_IDS=True"
    ):
        check_stages(job, truth=truth)
    check_stages(job, truth=truth, ids=True)
    mask = mask_of(job, here)
    scored = score_blocks(job, here, mask, truth, ids=True)
    found = read_box(mask, (slice(None),) * 3)
    assert np.array_equal(scored.confusion, confusion_matrix(numbers > 0, found))
    box = (slice(0, 10), slice(0, 30), slice(0, 30))
    assert np.array_equal(scored.read(box)[..., 0], numbers > 0)


def test_a_truth_that_comes_after_the_mask_or_is_replaced_is_counted(tmp_path, here):
    volume, expected = classes(2)
    job = make_job(tmp_path, volume, CROP, BLOCK)
    mask = mask_of(job, here)
    found = read_box(mask, (slice(None),) * 3)
    truth = write_truth(tmp_path, expected)
    first = score_blocks(job, here, mask, truth).confusion
    assert np.array_equal(first, confusion_matrix(expected, found))
    stages = len(list((job.blocks_folder / "done").iterdir()))
    score_blocks(job, here, mask, truth)
    assert len(list((job.blocks_folder / "done").iterdir())) == stages
    chunk = tmp_path / "truth.zarr" / "c" / "0" / "0" / "0"
    time = chunk.stat().st_mtime_ns
    write_truth(tmp_path, 1 - expected)
    os.utime(chunk, ns=(time + 1, time + 1))
    assert np.array_equal(score_blocks(job, here, mask, truth).confusion, first[::-1])


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((9, 30, 30), np.uint8), r"truth\.zarr is \(9, 30, 30\) \(z, y, x\), but the volume \(10, 30, 30\)"),
        (np.arange(3 * 9000, dtype=np.uint8).reshape(*SHAPE, 3), r"truth\.zarr has 3 channels, but 1 is wanted"),
        (np.full(SHAPE, np.nan, np.float32), "holds NaN"),
        (np.arange(9000).reshape(SHAPE) % 3 + 1, r"truth\.zarr holds the values 1 2 3, expected 2 in all"),
    ],
    ids=["size", "colour", "nan", "values"],
)
def test_mistakes_are_said_before_the_first_block(tmp_path, array, said):
    job = make_job(tmp_path, blobs(SHAPE), CROP, BLOCK)
    with pytest.raises(ValueError, match=said):
        check_stages(job, truth=write_truth(tmp_path, array))
    assert not job.folder.exists()


def test_a_truth_of_several_arrays_needs_a_name(tmp_path):
    group = zarr.create_group(tmp_path / "truth.zarr")
    for name in ("a", "b"):
        group.create_array(name, data=np.zeros(SHAPE, np.uint8))
    job = make_job(tmp_path, blobs(SHAPE), CROP, BLOCK)
    with pytest.raises(
        ValueError, match=r"the truth: truth\.zarr .*it holds a .*say which \(IMAGE_DATASET, MASK_DATASET"
    ):
        check_stages(job, truth=VolumeAddress(str(tmp_path / "truth.zarr")))
    check_stages(job, truth=VolumeAddress(str(tmp_path / "truth.zarr"), "b"))
    with pytest.raises(ValueError, match="it has no dataset c; it holds a"):
        check_stages(job, truth=VolumeAddress(str(tmp_path / "truth.zarr"), "c"))


def test_variables_of_all_stages_are_checked(tmp_path):
    job = make_job(tmp_path, blobs(SHAPE), CROP, BLOCK, classes=3, batch_size=-1)
    with pytest.raises(ValueError, match="Z_FILTER_SIZE is 4"):
        check_stages(job, z_filter_size=4)
    said = r"(?s)4 problems in .* THRESHOLD is 1\.5; .*MIN_OBJECT_SIZE is -1.*INSTANCES=False.*BATCH_SIZE is -1"
    with pytest.raises(ValueError, match=said):
        check_stages(job, threshold=1.5, min_object_size=-1, instances=True)
    assert not job.folder.exists()
