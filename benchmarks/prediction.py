"""What each way of predicting costs: against the bare network, with and without ensemble, in megapixels per second.

The 2D U-Net at its default feature maps, on uint8 images of 768x1024 in crops of 256x256, 6 at a time.

    python benchmarks/prediction.py [--quick] [--precision float32]
"""

import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from measuring import alternate, parse_arguments, print_heading, print_table, ratio

from networks.unet import U_Net_2D
from utils.devices import describe_device, set_precision, use_jit
from utils.images.crops import crop_images
from utils.images.intensity import to_unit_range
from utils.prediction.protocols import predict_blended, predict_crops, predict_full_images

BATCH_SIZE = 6
# Slower than: faster, largest ratio of seconds aimed at.
COMPARISONS = (
    ("crops, 50 % overlap", "bare network, the same crops", 1.15),
    ("crops, 50 % overlap, ensemble", "crops, 50 % overlap", 8.5),
    ("full images, ensemble", "full images", 8.5),
)


def pre_stacked(images, crop_shape):
    """Return all crops of 50 % overlap in float32 batches of one shape, the last filled up as in ``predict_crops``."""
    crops = np.stack([to_unit_range(crop) for crop in crop_images(images, crop_shape, overlap=0.5)])
    missing = -len(crops) % BATCH_SIZE
    crops = np.concatenate([crops, np.zeros((missing, *crops.shape[1:]), np.float32)])
    return np.split(crops, len(crops) // BATCH_SIZE)


def make_measures(model, images, crop_shape):
    """Return for each way of predicting a function that does it and says how many megapixels of image it was."""
    megapixels = sum(image.size for image in images) / 1e6
    batches = pre_stacked(images, crop_shape)
    crops = {"crop_shape": crop_shape, "batch_size": BATCH_SIZE}
    ways = {
        "bare network, the same crops": lambda: (np.asarray(model.predict_on_batch(batch)) for batch in batches),
        "crops, 50 % overlap": lambda: predict_crops(model, images, overlap=0.5, **crops),
        "crops, 50 % overlap, ensemble": lambda: predict_crops(model, images, overlap=0.5, ensemble=True, **crops),
        "full images": lambda: predict_full_images(model, images),
        "full images, ensemble": lambda: predict_full_images(model, images, ensemble=True),
        "crops, no overlap": lambda: predict_crops(model, images, **crops),
        "blended": lambda: predict_blended(model, images, ensemble=False, **crops),
        "blended, ensemble": lambda: predict_blended(model, images, **crops),
    }

    def measure(way):
        for _ in way():
            pass
        return megapixels

    return {name: lambda way=way: measure(way) for name, way in ways.items()}


def main():
    """Measure and print."""
    args = parse_arguments(__doc__, repetitions=5, precision={"default": "auto"}, images={"type": int, "default": 2})
    policy = set_precision(args.precision)
    small = {"feature_maps": (2, 2), "depth": 1, "drop_values": (0.0, 0.0)} if args.quick else {}
    model = U_Net_2D((None, None, 1), **small)
    model.compile(jit_compile=use_jit())
    shape, crop_shape = ((96, 128, 1), (32, 32, 1)) if args.quick else ((768, 1024, 1), (256, 256, 1))
    images = [np.random.default_rng(number).integers(0, 256, shape, np.uint8) for number in range(args.images)]
    rates = alternate(make_measures(model, images, crop_shape), args.repetitions)

    details = f"{args.images} images of {shape[0]}x{shape[1]}, crops of {crop_shape[0]}, {policy}"
    print_heading("Prediction with U_Net_2D", describe_device(), args, details)
    rows = [[slow, fast, f"{ratio(rates[fast], rates[slow]):.2f}x", f"{aim:.2f}x"] for slow, fast, aim in COMPARISONS]
    print_table(["time of", "over time of", "ratio", "aim: at most"], rows)
    print_table(["way", "megapixels/s"], [[name, f"{statistics.median(rates[name]):.3f}"] for name in rates])


if __name__ == "__main__":
    main()
