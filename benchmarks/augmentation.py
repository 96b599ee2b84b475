"""Augmented pairs per second on one core: our ImageDataGenerator against the one of Keras that the study used.

Both rotate by any angle, mirror both ways and fill by reflection, on pairs of uint8 images of 256x256 in batches of
6. The old generator is used as published: two of them with the same seed, one for images and one for masks, both
scaling by 1/255. Ours makes exact masks; the old one interpolates them.

    python benchmarks/augmentation.py [--quick]
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

# Not public any more: Keras 3 keeps the old generator for old code only.
from keras.src.legacy.preprocessing.image import ImageDataGenerator as OldImageDataGenerator
from measuring import alternate, parse_arguments, print_heading, print_table, ratio

from generators.image_data_generator import ImageDataGenerator
from utils.devices import describe_device

OPTIONS = {"rotation_range": 180, "horizontal_flip": True, "vertical_flip": True, "fill_mode": "reflect"}
BATCH_SIZE = 6
# Ours is so much faster that it needs more work to be timed well.
OUR_EPOCHS = 10


def make_pairs(count):
    """Return random images and blocky masks (0 or 255), uint8 (n, 256, 256, 1)."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 256, 256, 1), np.uint8)
    blocks = rng.integers(0, 2, (count, 16, 16, 1), np.uint8) * np.uint8(255)
    return images, blocks.repeat(16, axis=1).repeat(16, axis=2)


def our_epochs(images, masks):
    """Return a function that draws some epochs of augmented pairs and says how many pairs they held."""
    batches = ImageDataGenerator(**OPTIONS).flow(images, masks, batch_size=BATCH_SIZE, seed=1)

    def draw():
        count = 0
        for epoch in range(OUR_EPOCHS):
            batches.epoch = epoch
            count += sum(len(batches[number][0]) for number in range(len(batches)))
        return count

    return draw


def old_epoch(images, masks):
    """Return a function that draws an epoch of augmented pairs from two old generators of the same seed."""
    flows = [
        OldImageDataGenerator(**OPTIONS, rescale=1 / 255).flow(array, batch_size=BATCH_SIZE, seed=1)
        for array in (images, masks)
    ]
    return lambda: sum(len(next(flows[0])) + 0 * len(next(flows[1])) for _ in range(len(flows[0])))


def main():
    """Measure and print."""
    args = parse_arguments(__doc__, repetitions=11)
    cv2.setNumThreads(1)
    pairs = make_pairs(12 if args.quick else 120)
    rates = alternate({"ours": our_epochs(*pairs), "old": old_epoch(*pairs)}, args.repetitions)
    print_heading("Augmentation of 256x256 uint8 pairs, one thread", describe_device(), args)
    names = {"ours": "generators.image_data_generator", "old": "Keras' old ImageDataGenerator, two of one seed"}
    rows = [
        [names[key], f"{statistics.median(rates[key]):.0f}", f"{ratio(rates[key], rates['old']):.1f}x"]
        for key in ("ours", "old")
    ]
    print_table(["generator", "pairs/s", "ratio"], rows)


if __name__ == "__main__":
    main()
