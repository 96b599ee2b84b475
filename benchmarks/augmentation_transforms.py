"""Augmented pairs per second on one core, transform by transform: ours against the same with scipy.ndimage and NumPy.

Each transform alone, on one pair after another: a uint8 image of 256x256 or volume of 32x128x128 and its mask become a
float32 sample and a mask. Both draw from the same ranges and fill by reflection, images linearly and masks by nearest
neighbour; with SciPy affine_transform does rotation, zoom, shear and shift, map_coordinates the elastic displacement.
What SciPy has no filter for is written with NumPy. Geometry that resamples is to be 10 times as fast in 2D and 3 times
in 3D. What only copies or multiplies pixels takes longer than bare NumPy, by the 50 microseconds that drawing a sample
takes.

    python benchmarks/augmentation_transforms.py [--quick]
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
import scipy_transforms as twins
from measuring import alternate, parse_arguments, print_heading, print_table, ratio

from generators.image_data_generator import ImageDataGenerator
from generators.voxel_data_generator import VoxelDataGenerator
from utils.devices import describe_device

SIZE = (0.3, 0.3)
GEOMETRY = {
    "rotation": ({"rotation_range": 180}, twins.rotated),
    "zoom": ({"zoom_range": (0.8, 1.2)}, twins.zoomed),
    "shear": ({"shear_range": 20}, twins.sheared),
    "shift": ({"width_shift_range": 0.1, "height_shift_range": 0.1}, twins.shifted),
    "elastic": ({"elastic_alpha": (2, 2), "elastic_sigma": 10}, twins.elastic),
    "flips": ({"horizontal_flip": True, "vertical_flip": True}, twins.mirrored),
    "right angles": ({"rotation90": True}, twins.turned_by_right_angles),
}
ISOTROPIC = {
    "rotation in space": ({"rotation_range": 180, "isotropic": True}, twins.rotated_in_space),
    "elastic in space": ({"elastic_alpha": (2, 2), "isotropic": True}, twins.elastic_in_space),
}
OTHERS = {
    "rotation, misalignment": ({"rotation_range": 180, "misalignment": (16, 16)}, twins.rotated_and_misaligned),
    "misalignment alone": ({"misalignment": (16, 16)}, twins.misaligned),
    "the same, turned": ({"misalignment": (16, 16), "misalignment_rotation": 1}, twins.misaligned_by_a_turn),
    "gaussian blur": ({"blur_sigma": (1.5, 1.5)}, twins.blurred),
    "median blur, 5": ({"median_size": (5, 5)}, twins.median),
    "median blur, 7": ({"median_size": (7, 7)}, twins.median_7),
    "motion blur": ({"motion_length": (7, 7)}, twins.in_motion),
    "brightness": ({"brightness_range": (0.8, 1.2)}, twins.brightened),
    "contrast": ({"contrast_range": (0.8, 1.2)}, twins.contrasted),
    "gamma": ({"gamma": (0.8, 1.25)}, twins.with_gamma),
    "noise": ({"noise_std": (0.1, 0.1)}, twins.noisy),
    "dropout": ({"dropout": (0.1, 0.1)}, twins.with_dropout),
    "cutout": ({"cutout_size": SIZE, "cut_count": (1, 1)}, twins.cut_out),
    "cutblur": ({"cutblur_size": SIZE, "cutblur_factor": (4, 4)}, twins.cut_blurred),
    "cutmix": ({"cutmix_size": SIZE}, twins.cut_mixed),
    "cutnoise": ({"cutnoise_size": SIZE, "cut_count": (1, 1)}, twins.cut_noisy),
    "missing sections": ({"missing_sections": (0.1, 0.1)}, twins.with_missing_sections),
}


def make_pair(shape):
    """Return a random image and a blocky mask, uint8 (..., y, x, 1)."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*shape, 1), np.uint8)
    mask = rng.integers(0, 2, [-(-size // 8) for size in shape], np.uint8)
    for axis in range(len(shape)):
        mask = mask.repeat(8, axis=axis)
    return image, np.ascontiguousarray(mask[tuple(slice(size) for size in shape)])[..., np.newaxis]


def ours(options, pair, count):
    """Return a function that draws so many samples with our generator."""
    generator = (ImageDataGenerator if pair[0].ndim == 3 else VoxelDataGenerator)(**options)
    rng = np.random.default_rng(0)

    def draw():
        for _ in range(count):
            generator.random_sample(pair, pair[0].shape, rng, limits=(0, 255))
        return count

    return draw


def theirs(transform, pair, count):
    """Return a function that draws so many samples with SciPy."""
    rng, (image, mask) = np.random.default_rng(0), (array[..., 0] for array in pair)

    def draw():
        for _ in range(count):
            transform(image, mask, rng)
        return count

    return draw


def compare(cases, shape, repetitions, counts):
    """Measure the cases and return the rows of a table."""
    pair, rows = make_pair(shape), []
    for name, (options, transform) in cases.items():
        work = {"ours": ours(options, pair, counts[0]), "scipy": theirs(transform, pair, counts[1])}
        rates = alternate(work, repetitions)
        speeds = [f"{statistics.median(rates[key]):.1f}" for key in ("ours", "scipy")]
        rows.append([name, *speeds, f"{ratio(rates['ours'], rates['scipy']):.1f}x"])
    return rows


def main():
    """Measure and print."""
    args = parse_arguments(__doc__, repetitions=11)
    cv2.setNumThreads(1)
    print_heading("Augmentation, transform by transform, uint8 pairs, one thread", describe_device(), args)
    shapes = ((32, 32), (8, 24, 24)) if args.quick else ((256, 256), (32, 128, 128))
    header = ["ours, pairs/s", "SciPy, pairs/s", "ratio"]
    for shape, cases, counts in zip(shapes, (GEOMETRY, GEOMETRY | ISOTROPIC), ((20, 2), (4, 1)), strict=True):
        rows = compare(cases | OTHERS, shape, args.repetitions, (1, 1) if args.quick else counts)
        print_table(["x".join(map(str, shape)), *header], rows)


if __name__ == "__main__":
    main()
