"""Tests of instances across the borders of blocks: those of the whole mask, with the same numbers."""

import csv

import numpy as np
import pytest
from fake_volume_network import blobs, make_job

from block_wise.labels import label_blocks
from block_wise.results import create_volume, read_box, write_box
from block_wise.runner import block_workers
from utils.metrics.components import connected_components, sizes_of


def label(tmp_path, mask, block, **options):
    job = make_job(tmp_path, np.uint8(255) * mask, (4, 8, 8), block)
    create_volume(job.output("mask"), mask.shape, chunks=job.grid.block_shape, dtype=np.uint8)
    for number in job.grid.blocks:
        write_box(job.output("mask"), job.grid.box(number), mask[job.grid.box(number)])
    with block_workers(0) as workers:
        labels, count = label_blocks(job, workers, job.output("mask"), **options)
    return read_box(labels, (slice(None),) * 3), count, job


@pytest.mark.parametrize("block", [(4, 9, 10), (3, 40, 7), (30, 30, 30), (1, 13, 8)], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_labels_are_those_of_the_whole_mask(tmp_path, block, seed):
    mask = (blobs((13, 26, 31), seed) > 165).astype(np.uint8)
    found, count, _ = label(tmp_path, mask, block)
    expected = connected_components(mask)
    assert expected.max() > 8
    assert count == expected.max()
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 2, 2), (4, 2, 2)),  # across a face
        ((2, 3, 3), (2, 4, 4)),  # across an edge
        ((3, 3, 3), (4, 4, 4)),  # across a corner
        ((3, 4, 4), (4, 3, 3)),
        ((3, 4, 3), (4, 3, 4)),
        ((3, 3, 4), (4, 4, 3)),
    ],
)
def test_two_voxels_that_touch_across_blocks_are_one_object(tmp_path, a, b):
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[a] = mask[b] = 1
    found, count, _ = label(tmp_path, mask, (4, 4, 4))
    assert count == 1 and found[a] == found[b] == 1


def test_two_voxels_with_a_gap_are_two_objects(tmp_path):
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[3, 3, 3] = mask[5, 3, 3] = 1
    assert label(tmp_path, mask, (4, 4, 4))[1] == 2


def test_a_snake_through_all_blocks(tmp_path):
    mask = np.zeros((9, 12, 12), np.uint8)
    for z in range(0, 9, 2):
        for y in range(0, 12, 2):
            mask[z, y] = 1
            mask[z, min(y + 1, 11), -1 if y % 4 == 0 else 0] = 1
        mask[min(z + 1, 8), 11 if z % 4 == 0 else 0, 0] = 1
        mask[z, 11] = 1
    found, _, _ = label(tmp_path, mask, (3, 4, 4))
    assert np.array_equal(found, connected_components(mask))


def test_small_objects_go_by_their_size_in_all_blocks(tmp_path):
    mask = (blobs((13, 26, 31)) > 165).astype(np.uint8)
    sizes = sizes_of(connected_components(mask))[1:]
    limit = int(np.median(sizes))
    found, count, job = label(tmp_path, mask, (4, 9, 10), min_voxels=limit)
    assert count == (sizes >= limit).sum() < len(sizes)
    assert np.array_equal(found > 0, np.isin(connected_components(mask), 1 + np.flatnonzero(sizes >= limit)))
    with (job.folder / "volumes" / "instances.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["voxels"]) for row in rows] == sizes_of(found)[1:].tolist()


@pytest.mark.parametrize("value", [0, 1])
def test_nothing_and_everything(tmp_path, value):
    found, count, _ = label(tmp_path, np.full((6, 10, 10), value, np.uint8), (3, 4, 5))
    assert count == value and (found == value).all()


def test_labels_go_on_after_a_stop_at_any_block(tmp_path, monkeypatch):
    from block_wise import labels as block_labels

    mask = (blobs((13, 26, 31)) > 165).astype(np.uint8)
    (tmp_path / "straight").mkdir()
    expected, _, _ = label(tmp_path / "straight", mask, (4, 9, 10))
    original, calls = block_labels._relabel_block, []

    def stop_in_the_middle(job, block):
        calls.append(block)
        if len(calls) == 10:
            raise KeyboardInterrupt
        original(job, block)

    monkeypatch.setattr(block_labels, "_relabel_block", stop_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        label(tmp_path, mask, (4, 9, 10))
    found, _, job = label(tmp_path, mask, (4, 9, 10))
    assert np.array_equal(found, expected)
    assert len(calls) == len(job.grid.blocks) + 1
    assert not job.output("components").exists()
