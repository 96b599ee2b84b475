"""Augmented subvolumes per second on one core: our VoxelDataGenerator against the same written with scipy.ndimage.

Both take random subvolumes of 80x80x80 out of a larger uint8 volume and its mask, mirror them along z, y and x, turn
them by right angles in the y-x plane and displace them elastically in this plane, filling by reflection: volume linear,
mask nearest neighbour, one batch of one pair after another, scaled to 0 .. 1. With SciPy the displacement is white
noise blurred by ``gaussian_filter``, and ``map_coordinates`` resamples in three dimensions.

    python benchmarks/voxel_augmentation.py [--quick]
"""

import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import cv2
import numpy as np
from measuring import alternate, parse_arguments, print_heading, print_table, ratio
from scipy import ndimage

from generators.voxel_data_generator import VoxelDataGenerator
from utils.devices import describe_device

ALPHA, SIGMA = 3.0, 10.0
# Ours is so much faster that it needs more work to be timed well.
OUR_EPOCHS = 5


def make_volume(shape):
    """Return a random volume and a blocky mask, uint8 (z, y, x, 1)."""
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 256, (*shape, 1), np.uint8)
    blocks = rng.integers(0, 2, [size // 8 for size in shape], np.uint8)
    return volume, blocks.repeat(8, axis=0).repeat(8, axis=1).repeat(8, axis=2)[..., np.newaxis]


def our_epochs(volume, mask, crop_shape, count):
    """Return a function that draws some epochs of augmented pairs and says how many pairs they held."""
    generator = VoxelDataGenerator(
        horizontal_flip=True,
        vertical_flip=True,
        z_flip=True,
        rotation90=True,
        elastic_alpha=(ALPHA, ALPHA),
        elastic_sigma=SIGMA,
    )
    batches = generator.flow([volume], [mask], crop_shape=crop_shape, samples_per_array=count)

    def draw():
        pairs = 0
        for epoch in range(OUR_EPOCHS):
            batches.epoch = epoch
            pairs += sum(len(batches[number][0]) for number in range(len(batches)))
        return pairs

    return draw


def scipy_pair(volume, mask, crop_shape, rng):
    """Return one augmented pair made with scipy.ndimage."""
    corner = [rng.integers(size - crop + 1) for size, crop in zip(volume.shape, crop_shape, strict=False)]
    grid = np.indices(crop_shape, np.float32)
    for axis in range(3):
        if rng.random() < 0.5:
            grid = np.flip(grid, axis + 1)
    grid = np.rot90(grid, rng.integers(4), axes=(2, 3))
    coordinates = grid + np.array(corner, np.float32).reshape(3, 1, 1, 1)
    for axis in (1, 2):
        noise = ndimage.gaussian_filter(rng.standard_normal(crop_shape, dtype=np.float32), SIGMA)
        coordinates[axis] += ALPHA / noise.std() * noise
    image = ndimage.map_coordinates(volume[..., 0], coordinates, output=np.float32, order=1, mode="reflect")
    mask = ndimage.map_coordinates(mask[..., 0], coordinates, order=0, mode="reflect")
    return image[np.newaxis, ..., np.newaxis] / np.float32(255), mask[np.newaxis, ..., np.newaxis]


def scipy_epoch(volume, mask, crop_shape, count):
    """Return a function that draws an epoch of pairs with scipy.ndimage."""
    rng = np.random.default_rng(0)
    return lambda: sum(len(scipy_pair(volume, mask, crop_shape, rng)[0]) for _ in range(count))


def main():
    """Measure and print."""
    args = parse_arguments(__doc__, repetitions=11)
    cv2.setNumThreads(1)
    crop_shape, shape, count = ((16,) * 3, (24, 32, 40), 2) if args.quick else ((80,) * 3, (160, 384, 512), 10)
    work = (*make_volume(shape), crop_shape, count)
    rates = alternate({"ours": our_epochs(*work), "scipy": scipy_epoch(*work)}, args.repetitions)
    size = "x".join(map(str, crop_shape))
    print_heading(f"Elastic augmentation of {size} uint8 subvolumes, one thread", describe_device(), args)
    names = {"ours": "generators.voxel_data_generator", "scipy": "scipy.ndimage, map_coordinates"}
    rows = [
        [names[key], f"{statistics.median(rates[key]):.1f}", f"{ratio(rates[key], rates['scipy']):.1f}x"]
        for key in ("ours", "scipy")
    ]
    print_table(["generator", "pairs/s", "ratio"], rows)


if __name__ == "__main__":
    main()
