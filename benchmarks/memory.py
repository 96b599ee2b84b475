"""Peak memory of each evaluation protocol with 5 and with 20 test images: it must not grow with the test set.

The 2D U-Net at its default feature maps predicts uint8 images of 768x1024, which are in memory as in a template; the
probabilities are saved, read back and saved again after the z-filter, image by image. Each number is the peak of a
process of its own.

    python benchmarks/memory.py [--quick]
"""

import json
import os
import resource
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Keras is imported in the measuring processes only: a process starts with the peak of the one that started it.
import numpy as np
from measuring import call_json, parse_arguments, print_heading, print_table

# Protocol, and whether with ensemble.
PROTOCOLS = ("crops", "blended", "overlap 50 %", "overlap 50 %, ensemble", "full image", "full image, ensemble")
QUICK_PROTOCOLS = ("blended", "full image, ensemble")


def predict(protocol, images, quick):
    """Return the generator of probabilities of a protocol."""
    from networks.unet import U_Net_2D
    from utils.devices import set_precision, use_jit
    from utils.prediction.protocols import predict_blended, predict_crops, predict_full_images

    set_precision("auto")
    small = {"feature_maps": (2, 2), "depth": 1, "drop_values": (0.0, 0.0)} if quick else {}
    model = U_Net_2D((None, None, 1), **small)
    model.compile(jit_compile=use_jit())
    crop_shape, ensemble = (32, 32, 1) if quick else (256, 256, 1), protocol.endswith("ensemble")
    if protocol == "blended":
        return predict_blended(model, images, crop_shape)
    if protocol.startswith("full image"):
        return predict_full_images(model, images, ensemble=ensemble)
    overlap = 0.5 if protocol.startswith("overlap") else 0.0
    return predict_crops(model, images, crop_shape, overlap=overlap, ensemble=ensemble)


def save(folder, sources, predictions):
    """Write probabilities and masks one by one, as a run does, and return the probabilities on disk."""
    from utils.images.writing import ImageWriter, SavedImages
    from utils.metrics.pixels import probability_to_mask, round_probability

    folders = [folder / "probability", folder / "binary"]
    with ImageWriter(folders, sources) as writer:
        for probability in predictions:
            probability = round_probability(probability)
            writer.write(probability, probability_to_mask(probability) * np.uint8(255))
    return SavedImages(folders[0], sources)


def measure(protocol, count, quick):
    """Predict, save, filter along z, save; return the peak memory of this process in MiB and the device."""
    from utils.devices import describe_device
    from utils.images.image_files import ImageName
    from utils.post_processing.z_filter import z_filter

    shape = (96, 128, 1) if quick else (768, 1024, 1)
    images = [np.random.default_rng(number).integers(0, 256, shape, np.uint8) for number in range(count)]
    sources = [ImageName(f"{number:04d}.png") for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        saved = save(Path(folder) / "none", sources, predict(protocol, images, quick))
        save(Path(folder) / "z_filter", sources, z_filter(saved))
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    return {"peak": peak, "stored": sum(image.nbytes for image in images) / 2**20, "device": describe_device()}


def run_rounds(args, protocols, counts):
    """Let the processes take turns; return the answers of each protocol and count."""
    answers = {(protocol, count): [] for protocol in protocols for count in counts}
    for _ in range(args.repetitions):
        for (protocol, count), collected in answers.items():
            options = ["--measure", protocol, "--count", count] + (["--quick"] if args.quick else [])
            collected.append(call_json([sys.executable, __file__, *options]))
    return answers


def main():
    """Measure and print; with --measure, measure in this process and print JSON."""
    args = parse_arguments(
        __doc__,
        repetitions=1,
        measure={"choices": PROTOCOLS, "help": "only this protocol, in this process, as JSON"},
        count={"type": int, "default": 5, "help": "images for --measure"},
    )
    if args.measure:
        print(json.dumps(measure(args.measure, args.count, args.quick)))
        return
    protocols, counts = (QUICK_PROTOCOLS, (2, 6)) if args.quick else (PROTOCOLS, (5, 20))
    answers = run_rounds(args, protocols, counts)
    stored = [answers[protocols[0], count][0]["stored"] for count in counts]
    details = f"Stored uint8 images: {stored[0]:.1f} and {stored[1]:.1f} MiB"
    print_heading("Peak memory", answers[protocols[0], counts[0]][0]["device"], args, details)
    rows = []
    for protocol in protocols:
        few, many = (statistics.median(answer["peak"] for answer in answers[protocol, count]) for count in counts)
        growth = many - few - (stored[1] - stored[0])
        rows.append(
            [protocol, f"{few:.0f}", f"{many:.0f}", f"{many - few:+.0f}", f"{growth:+.0f}", f"{many / few:.2f}x"]
        )
    header = [f"{count} images, MiB" for count in counts]
    print_table(["protocol, then z-filter", *header, "difference", "without stored images", "ratio"], rows)


if __name__ == "__main__":
    main()
