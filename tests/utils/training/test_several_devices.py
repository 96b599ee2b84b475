"""Tests of batches that several devices share; training itself is shown in tests/templates/test_several_devices.py."""

import numpy as np
import pytest

from generators.image_data_generator import ImageDataGenerator
from utils.training.several_devices import SharedBatches

IMAGES = [np.full((4, 4, 1), 10 * number, np.uint8) for number in range(7)]


def flow(batch_size):
    return ImageDataGenerator().flow(IMAGES, IMAGES, batch_size=batch_size, seed=1, shuffle=True)


@pytest.mark.parametrize(("batch_size", "devices", "sizes"), [(4, 2, [4, 2]), (6, 3, [6]), (2, 2, [2, 2, 2])])
def test_what_cannot_be_shared_evenly_is_left_out(batch_size, devices, sizes):
    batches = flow(batch_size)
    shared = SharedBatches(batches, devices)
    found = [shared[index] for index in range(len(shared))]
    assert [len(part) for batch in found for part in batch] == [size for size in sizes for _ in range(2)]
    for index, batch in enumerate(found):
        assert all(
            np.array_equal(ours, theirs[: len(ours)]) for ours, theirs in zip(batch, batches[index], strict=True)
        )
    shared.on_epoch_end()
    assert batches.epoch == 1


def test_batches_that_cannot_be_shared_are_refused():
    with pytest.raises(ValueError, match="BATCH_SIZE is 3, which 2 devices cannot share evenly. Take 2 or 4, or"):
        SharedBatches(flow(3), 2)
    with pytest.raises(ValueError, match="there are 7 samples for 8 devices"):
        SharedBatches(flow(8), 8)
