"""Peak memory of predicting a volume of 165x768x1024 voxels with 50 % overlap, beyond that of the model.

A narrow 3D U-Net predicts a uint8 volume in subvolumes of 80x80x80; a run evaluates the prediction as a whole, that is,
rounds, scores, draws and writes it, and once more filtered along z. Each number is the peak of a process of its own;
"one subvolume" is what TensorFlow and the model need by themselves. What a prediction needs beyond that does not depend
on the width of the network, so a narrow one saves half an hour, nor, for the ensemble, on the number of orientations.

    python benchmarks/volume_memory.py [--quick]
"""

import json
import os
import resource
import statistics
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Keras is imported in the measuring processes only: a process starts with the peak of the one that started it.
import numpy as np
from measuring import call_json, parse_arguments, print_heading, print_table

PROTOCOLS = ("one subvolume", "overlap 50 %", "blended", "ensemble")


def measure(protocol, quick):
    """Evaluate a prediction, and filtered along z; return the peak memory of this process in MiB and the device."""
    from networks.unet import U_Net_3D
    from utils.data.image_set import ImageSet
    from utils.devices import describe_device, set_precision, use_jit
    from utils.images.image_files import ImageName
    from utils.post_processing.z_filter import z_filter
    from utils.prediction.protocols import predict_blended, predict_crops
    from utils.runs.run import Run

    set_precision("auto", volumes=True)
    size, shape, maps = 80, (165, 768, 1024), (4, 4, 4, 4)
    if quick:
        size, shape, maps = 8, (9, 20, 24), (2, 2)
    crop_shape = (size, size, size, 1)
    model = U_Net_3D((None, None, None, 1), feature_maps=maps, depth=len(maps) - 1, drop_values=(0.0,) * len(maps))
    model.compile(jit_compile=use_jit())
    if protocol == "one subvolume":
        shape = crop_shape[:3]
    volume = np.random.default_rng(0).integers(0, 256, (*shape, 1), np.uint8)
    images = ImageSet([volume], [(volume > 240).astype(np.uint8)], [ImageName("volume.tif", slices=())], (0, 255))
    if protocol == "blended":
        predictions = predict_blended(model, images.x, crop_shape, batch_size=1, subdivisions=2, ensemble=False)
    else:
        options = {"overlap": 0.0 if protocol == "ensemble" else 0.5, "ensemble": protocol == "ensemble"}
        predictions = predict_crops(model, images.x, crop_shape, batch_size=1, **options)
    with tempfile.TemporaryDirectory() as folder:
        args = SimpleNamespace(
            job_dir=folder,
            code_dir=folder,
            data_dir=folder,
            id="memory",
            rid=0,
            set=[],
            dry_run=False,
            resume=False,
            precision="auto",
            deterministic=False,
        )
        terminal = sys.stdout
        sys.stdout = sys.stderr  # the answer alone goes to standard output
        run = Run(args, {})
        saved = run.evaluate("overlap_50", images, predictions)
        run.evaluate("overlap_50", images, z_filter(saved), post="z_filter")
        sys.stdout = terminal
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
