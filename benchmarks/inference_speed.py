"""Megapixels per second at inference: the network of Casser et al. (2018) beside the 2D U-Net of the study.

The paper's claim is speed. Both networks predict the same batch of crops through the bare network, and the same uint8
images of 768x1024 at once as the templates do. A ratio above 1 means that the network of Casser et al. is faster.

    python benchmarks/inference_speed.py [--quick] [--precision float32]
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
from sota_implementations.casser_2018.casser_unet import Casser_U_Net_2D
from utils.devices import describe_device, set_precision, use_jit
from utils.prediction.protocols import predict_full_images

BATCH_SIZE = 4
CASSER, U_NET = "Casser_U_Net_2D", "U_Net_2D"
WAYS = ("bare network, crops", "full images")


def make_networks(quick):
    """Return both networks by name, compiled for prediction."""
    networks = {
        CASSER: Casser_U_Net_2D((None, None, 1), **({"start_filters": 2} if quick else {})),
        U_NET: U_Net_2D((None, None, 1), **({"feature_maps": (2, 4, 8, 16, 32)} if quick else {})),
    }
    for network in networks.values():
        network.compile(jit_compile=use_jit())
    return networks


def make_measures(networks, crops, images):
    """Return for each network and way of predicting a function that does it and says how many megapixels it was."""

    def predict_crops(network):
        np.asarray(network.predict_on_batch(crops))
        return crops.size / 1e6

    def predict_images(network):
        return sum(probability.size for probability in predict_full_images(network, images)) / 1e6

    ways = dict(zip(WAYS, (predict_crops, predict_images), strict=True))
    return {
        (way, name): lambda predict=predict, network=network: predict(network)
        for way, predict in ways.items()
        for name, network in networks.items()
    }


def main():
    """Measure and print."""
    args = parse_arguments(__doc__, repetitions=7, precision={"default": "auto"}, images={"type": int, "default": 2})
    policy = set_precision(args.precision)
    crop, shape = (32, (96, 128, 1)) if args.quick else (512, (768, 1024, 1))
    rng = np.random.default_rng(0)
    crops = rng.random((BATCH_SIZE, crop, crop, 1), np.float32)
    images = [rng.integers(0, 256, shape, np.uint8) for _ in range(args.images)]
    networks = make_networks(args.quick)
    rates = alternate(make_measures(networks, crops, images), args.repetitions)

    parameters = ", ".join(f"{name} {network.count_params():,}" for name, network in networks.items())
    details = f"{BATCH_SIZE} crops of {crop}x{crop}; {args.images} images of {shape[0]}x{shape[1]}; {policy}"
    print_heading("Inference", describe_device(), args, details, f"parameters: {parameters}")
    rows = [
        [way, *(f"{statistics.median(rates[way, name]):.2f}" for name in networks), f"{ratio_of(rates, way):.2f}x"]
        for way in WAYS
    ]
    print_table(["megapixels/s", *networks, "ratio"], rows)


def ratio_of(rates, way):
    """Return how many times as fast the network of Casser et al. is."""
    return ratio(rates[way, CASSER], rates[way, U_NET])


if __name__ == "__main__":
    main()
