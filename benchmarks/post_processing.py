"""Seconds that each post-processing takes for a prediction of 165x768x1024 voxels, slice by slice as in a template.

Images and masks are a synthetic tissue of 55x256x256 voxels, repeated; the prediction is the blurred mask with smooth
noise, which makes spurious blobs and rough outlines. All is in memory.

    python benchmarks/post_processing.py [--quick]
"""

import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from measuring import alternate, parse_arguments, print_heading, print_table
from scipy import ndimage

from data_sets.synthetic_em import synthetic_em_volume
from utils.devices import describe_device
from utils.post_processing.across_slices import fuse_layers, remove_small_objects
from utils.post_processing.edge_watershed import edge_watershed
from utils.post_processing.gradient_watershed import gradient_watershed
from utils.post_processing.within_slices import spurious_filter
from utils.post_processing.z_filter import z_filter

OZTEL = ("spurious_filter", "edge_watershed", "z_filter, 9 slices")
XIAO = ("fuse_layers", "remove_small_objects")


def make_volume(tissue_shape, voxel_size_nm, repetitions):
    """Return images, uint8, and a prediction, float32, both (z, y, x, 1)."""
    images, labels = synthetic_em_volume(tissue_shape, 0, voxel_size_nm=voxel_size_nm)
    noise = np.random.default_rng(0).standard_normal(images.shape, np.float32)
    noise = ndimage.gaussian_filter(noise, (1, 3, 3, 0))
    prediction = ndimage.gaussian_filter((labels > 0).astype(np.float32), (1, 2, 2, 0)) + 0.2 * noise / noise.std()
    return np.tile(images, (*repetitions, 1)), np.tile(np.clip(prediction, 0, 1), (*repetitions, 1))


def run_through(post_processing):
    """Return a function that post-processes all slices, keeps none, and says how many they were."""
    return lambda: sum(1 for _ in post_processing())


def main():
    """Measure and print."""
    args = parse_arguments(__doc__, repetitions=3)
    sizes = ((5, 48, 64), (20, 20, 20), (1, 1, 1)) if args.quick else ((55, 256, 256), (5, 5, 5), (3, 3, 4))
    images, prediction = make_volume(*sizes)
    measures = {
        "z_filter, 5 slices": lambda: z_filter(prediction),
        "spurious_filter": lambda: spurious_filter(prediction),
        "edge_watershed": lambda: edge_watershed(prediction, images),
        "gradient_watershed": lambda: gradient_watershed(prediction, images),
        "z_filter, 9 slices": lambda: z_filter(prediction, 9),
        "fuse_layers": lambda: fuse_layers(prediction),
        "remove_small_objects": lambda: remove_small_objects(prediction, 1000, min_slices=3),
    }
    rates = alternate({name: run_through(measure) for name, measure in measures.items()}, args.repetitions)
    details = f"{len(prediction)} slices of {prediction.shape[1]}x{prediction.shape[2]}"
    share = f"foreground: {100 * (prediction > 0.5).mean():.0f} %"
    print_heading("Post-processing of a volume", describe_device(), args, f"{details}, {share}")
    seconds = {name: statistics.median(len(prediction) / rate for rate in found) for name, found in rates.items()}
    seconds["Oztel et al. (2017), all three"] = sum(seconds[name] for name in OZTEL)
    seconds["Xiao et al. (2018), both"] = sum(seconds[name] for name in XIAO)
    rows = [[name, f"{value:.1f}", f"{1000 * value / len(prediction):.1f}"] for name, value in seconds.items()]
    print_table(["post-processing", "seconds", "ms a slice"], rows)


if __name__ == "__main__":
    main()
