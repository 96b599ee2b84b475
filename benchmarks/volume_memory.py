"""Peak memory of predicting a volume of 165x768x1024 voxels with 50 % overlap, beyond that of the model.

A narrow 3D U-Net predicts a uint8 volume in subvolumes of 80x80x80; probabilities and masks are written as a run
writes them and filtered along z. Each number is the peak of a process of its own; "one subvolume" is what TensorFlow
and the model need by themselves. What a prediction needs beyond that does not depend on the width of the network, so a
narrow one saves half an hour.

    python benchmarks/volume_memory.py [--quick]
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

PROTOCOLS = ("one subvolume", "overlap 50 %", "blended")


def measure(protocol, quick):
    """Predict, save, filter along z, save; return the peak memory of this process in MiB and the device."""
    from networks.unet import U_Net_3D
    from utils.devices import describe_device, set_precision, use_jit
    from utils.image_files import ImageWriter, SavedImages, Source
    from utils.metrics import probability_to_mask
    from utils.post_processing import z_filter
    from utils.prediction import predict_blended, predict_crops

    set_precision("auto", volumes=True)
    size, shape, maps = 80, (165, 768, 1024), (4, 4, 4, 4)
    if quick:
        size, shape, maps = (8, (11, 40, 50), (2, 2, 2, 2))
    crop_shape = (size, size, size, 1)
    model = U_Net_3D((None, None, None, 1), feature_maps=maps, drop_values=(0.0,) * 4)
    model.compile(jit_compile=use_jit())
    if protocol == "one subvolume":
        shape = crop_shape[:3]
    volume = np.random.default_rng(0).integers(0, 256, (*shape, 1), np.uint8)
    predict = predict_blended if protocol == "blended" else predict_crops
    options = {"subdivisions": 2, "ensemble": False} if protocol == "blended" else {"overlap": 0.5}
    sources = [Source("volume.tif")]
    with tempfile.TemporaryDirectory() as folder:
        for name in ("none", "z_filter"):
            folders = [Path(folder) / name / part for part in ("probability", "binary")]
            if name == "none":
                predictions = predict(model, [volume], crop_shape, batch_size=1, **options)
            else:
                predictions = z_filter(SavedImages(Path(folder) / "none" / "probability", sources))
            with ImageWriter(folders, sources) as writer:
                for probability in predictions:
                    writer.write(probability, probability_to_mask(probability) * np.uint8(255))
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    return {"peak": peak, "device": describe_device()}


def main():
    """Measure and print; with --measure, measure in this process and print JSON."""
    args = parse_arguments(
        __doc__,
        repetitions=1,
        measure={"choices": PROTOCOLS, "help": "only this protocol, in this process, as JSON"},
    )
    if args.measure:
        print(json.dumps(measure(args.measure, args.quick)))
        return
    options = ["--quick"] if args.quick else []
    answers = {protocol: [] for protocol in PROTOCOLS}
    for _ in range(args.repetitions):
        for protocol, collected in answers.items():
            collected.append(call_json([sys.executable, __file__, "--measure", protocol, *options]))
    print_heading("Peak memory of a volume", answers[PROTOCOLS[0]][0]["device"], args)
    peaks = {protocol: statistics.median(answer["peak"] for answer in found) for protocol, found in answers.items()}
    rows = [[protocol, f"{peak:.0f}", f"{(peak - peaks[PROTOCOLS[0]]) / 1024:.2f}"] for protocol, peak in peaks.items()]
    print_table(["protocol, then z-filter", "peak, MiB", "beyond the model, GiB"], rows)


if __name__ == "__main__":
    main()
