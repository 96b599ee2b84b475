"""Tests of the blocks of a volume: put together from parts, a prediction is that of the whole volume."""

import pickle

import numpy as np
import pytest

from block_wise.grid import BlockGrid, block_bytes, mirrored
from utils.prediction.protocols import predict_blended, predict_crops, predict_each


class Ramps:
    """A network of two classes whose prediction depends on where in the subvolume a voxel lies."""

    def predict_on_batch(self, batch):
        ramp = np.linspace(0.5, 1.5, batch[0].size).reshape(batch.shape[1:])
        return np.concatenate([batch * ramp, batch * ramp**2], axis=-1).astype(np.float32)


def block_by_block(volume, grid):
    """Predict with parts held in memory, as the workers do with files."""
    parts, result = {}, np.full((*volume.shape[:3], 2), np.nan, np.float32)
    for block in grid.blocks:
        parts[block] = np.zeros((*(side.stop - side.start for side in grid.part_box(block)), 2), np.float32)
        if corners := grid.corners(block):
            crops = grid.crops(block, volume[grid.read_box(block)])
            for corner, prediction in zip(corners, predict_each(Ramps(), crops, batch_size=3), strict=True):
                grid.add(parts[block], corner, prediction, origin=[side.start for side in grid.part_box(block)])
    for block in grid.blocks:
        # A volume of the whole size keeps this twin simple.
        total = np.zeros_like(result)
        for part in grid.parts_of(block):
            total[grid.part_box(part)] += parts[part]
        result[grid.box(block)] = total[grid.box(block)] / grid.weights(block)
    return result


OPTIONS = [
    {"blending": True},
    {"overlap": 0.5},
    {"overlap": (0, 0.3, 0.7)},
    {"padding": (1, 0, 1)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("seed", range(6))
def test_blocks_give_what_the_whole_volume_gives(options, seed):
    random = np.random.default_rng(seed)
    shape, crop, block = (tuple(random.integers(low, high, 3).tolist()) for low, high in ((1, 24), (3, 12), (1, 20)))
    volume = random.integers(0, 256, (*shape, 1), np.uint8)
    grid = BlockGrid(volume.shape, crop, block, **options)
    if options.get("blending"):
        predictions = predict_blended(Ramps(), [volume], (*crop, 1), ensemble=False)
    else:
        predictions = predict_crops(Ramps(), [volume], (*crop, 1), **options)
    assert np.allclose(block_by_block(volume, grid), next(predictions), rtol=0, atol=2e-6)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_subvolume_belongs_to_one_block_and_blocks_fill_the_volume(options):
    grid = BlockGrid((23, 30, 17, 1), (6, 8, 8), (9, 10, 17), **options)
    corners = [corner for block in grid.blocks for corner in grid.corners(block)]
    assert len(corners) == len(set(corners)) == grid.count_subvolumes()
    covered = np.zeros(grid.shape, int)
    for block in grid.blocks:
        covered[grid.box(block)] += 1
        assert grid.voxels(block) == covered[grid.box(block)].size
        assert all(block in grid.users_of(part) for part in grid.parts_of(block))
        assert all(block in grid.parts_of(user) for user in grid.users_of(block))
    assert (covered == 1).all()


def test_a_subvolume_is_predicted_once_whatever_the_blocks():
    shape, crop = (40, 40, 40), (16, 16, 16)
    counts = {BlockGrid(shape, crop, (size,) * 3, blending=True).count_subvolumes() for size in (7, 16, 40)}
    assert len(counts) == 1


def test_without_overlap_each_block_needs_its_own_part_alone():
    grid = BlockGrid((32, 64, 64), (16, 16, 16), (16, 32, 32))
    assert all(grid.parts_of(block) == [block] for block in grid.blocks)


@pytest.mark.parametrize("before", range(9))
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_mirroring_is_that_of_numpy(before, size):
    places = mirrored(np.arange(-before, size + 4), size)
    assert np.array_equal(places, np.pad(np.arange(size), (before, 4), mode="symmetric"))


def test_a_grid_travels_without_its_cached_weights():
    grid = BlockGrid((20, 20, 20), (8, 8, 8), (10, 10, 10), blending=True)
    small = len(pickle.dumps(grid))
    weights = grid.weights((0, 0, 0))
    assert len(pickle.dumps(grid)) == small
    assert np.array_equal(pickle.loads(pickle.dumps(grid)).weights((0, 0, 0)), weights)


def test_bytes_of_a_block_grow_with_the_block_and_not_with_the_volume():
    memory = {
        (size, block): block_bytes(BlockGrid((size,) * 3, (16,) * 3, (block,) * 3, blending=True))
        for size in (256, 512)
        for block in (32, 64)
    }
    assert memory[256, 32] == memory[512, 32] < memory[256, 64]
    # Block of 64, half a subvolume beyond at each side for the first, float32.
    assert memory[256, 64][1] == (64 + 8) ** 3 * 4


@pytest.mark.parametrize(
    ("shape", "crop", "block"),
    [((8, 8, 8), (4, 4), (8, 8, 8)), ((8, 8, 8), (4, 4, 4), (8, 8)), ((8, 0, 8), (4, 4, 4), (8, 8, 8))],
)
def test_sizes_that_are_none_are_refused(shape, crop, block):
    with pytest.raises(ValueError, match="BLOCK_SHAPE"):
        BlockGrid(shape, crop, block)
