"""Block-wise prediction of volumes that do not fit into memory: speed beside that in memory, time and memory by size.

A uint8 zarr volume is predicted in subvolumes of 80x80x80, half overlapping and blended, float32. First one volume by a
narrow 3D U-Net, in memory (`predict_blended`) and block by block in this process (reading, parts and writing included).
Then three sizes block by block, each in a process of its own: time should grow as the volume does, memory not at all.
There the network is one convolution, so that the time is that of all else; the largest has more than 8 GiB of output.
Disk: three times the output.

    python benchmarks/big_volume.py [--quick] [--folder FAST_DISK]
"""

import functools
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Keras is imported in the measuring processes only: a process starts with the peak of the one that started it.
import numpy as np
from measuring import alternate, call_json, parse_arguments, print_heading, print_table, ratio

COMPARED = (240, 400, 400)
SIZES = ((512, 704, 768), (768, 1024, 1024), (1024, 1408, 1536))
CROP, BLOCK, MAPS, BATCH = (80, 80, 80, 1), (160, 320, 320), (8, 8, 16, 16), 4
if "--quick" in sys.argv:
    COMPARED, SIZES = (16, 32, 32), ((16, 32, 32), (16, 32, 64), (32, 64, 64))
    CROP, BLOCK, MAPS, BATCH = (8, 16, 16, 1), (16, 32, 32), (2, 2), 2


def make_model():
    from networks.unet import U_Net_3D
    from utils.devices import set_precision, use_jit

    set_precision("auto", volumes=True)
    model = U_Net_3D((None, None, None, 1), feature_maps=MAPS, depth=len(MAPS) - 1, drop_values=(0.0,) * len(MAPS))
    model.compile(jit_compile=use_jit())
    return model


def make_thin_model():
    import keras

    from utils.devices import use_jit

    model = keras.Sequential([keras.Input((None, None, None, 1)), keras.layers.Conv3D(1, 1, activation="sigmoid")])
    model.compile(jit_compile=use_jit())
    return model


def make_job(folder, shape, make):
    """Write a random volume, slab by slab, and return the job of predicting it."""
    from block_wise.grid import BlockGrid
    from block_wise.job import BlockJob, Network
    from block_wise.results import create_volume, write_box
    from block_wise.volumes import VolumeAddress

    random, path = np.random.default_rng(0), Path(folder) / "volume.zarr"
    chunk = (16, 128, 128)
    create_volume(path, shape, chunks=chunk, dtype=np.uint8)
    for start in range(0, shape[0], chunk[0]):
        slab = random.integers(0, 256, (min(chunk[0], shape[0] - start), *shape[1:]), np.uint8)
        write_box(path, (slice(start, start + len(slab)), slice(None), slice(None)), slab)
    grid = BlockGrid(shape, CROP, BLOCK, blending=True)
    network = Network(make.__name__, functools.partial(make_predictor, make), CROP, batch_size=BATCH)
    return BlockJob(Path(folder) / "run", VolumeAddress(str(path)), grid, network)


def make_predictor(make):
    """Return the predictor of a network that a function makes."""
    from utils.data.experiment_data import NetworkInput
    from utils.prediction.predictor import Predictor

    return Predictor(make(), NetworkInput(crop_shape=CROP), batch_size=BATCH)


def predict_by_blocks(job):
    """Predict a volume anew and return its voxels."""
    import shutil

    from block_wise.job import begin_blocks
    from block_wise.prediction import predict_blocks
    from block_wise.runner import block_workers

    shutil.rmtree(job.folder, ignore_errors=True)
    begin_blocks(job)
    with block_workers(0) as workers:
        predict_blocks(job, workers)
    return int(np.prod(job.grid.shape))


def compare(folder, repetitions):
    """Return voxels per second in memory and block by block, the difference of the results, and the device."""
    from block_wise.results import read_box
    from block_wise.volumes import open_volume
    from utils.devices import describe_device
    from utils.prediction.protocols import predict_blended

    model, kept = make_model(), {}
    job = make_job(folder, COMPARED, lambda: model)

    def in_memory():
        volume = np.asarray(open_volume(job.volume))
        kept["whole"] = next(predict_blended(model, [volume], CROP, ensemble=False, batch_size=BATCH))
        return volume.size

    rates = alternate({"in memory": in_memory, "block by block": lambda: predict_by_blocks(job)}, repetitions)
    found = read_box(job.output("probability"), (slice(None),) * 3)
    difference = float(np.abs(found - kept["whole"][..., 0]).max())
    return {"rates": rates, "difference": difference, "device": describe_device()}


def measure_size(folder, shape):
    """Predict a volume of a size block by block; return seconds and the peak memory of this process in MiB."""
    job = make_job(folder, shape, make_thin_model)
    start = time.perf_counter()
    predict_by_blocks(job)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    return {"seconds": time.perf_counter() - start, "peak": peak}


def main():
    """Measure and print; with --measure, measure in this process and print JSON."""
    choices = ["compare", *map(str, range(len(SIZES)))]
    args = parse_arguments(
        __doc__,
        repetitions=3,
        measure={"choices": choices, "help": "only this, in this process, as JSON"},
        folder={"help": "where volumes are written and deleted again"},
    )
    if args.measure:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            if args.measure == "compare":
                print("\n" + json.dumps(compare(folder, args.repetitions)))
            else:
                print("\n" + json.dumps(measure_size(folder, SIZES[int(args.measure)])))
        return
    options = ["--quick"] if args.quick else ["--repetitions", args.repetitions]
    options += ["--folder", args.folder] if args.folder else []
    found = call_json([sys.executable, __file__, "--measure", "compare", *options])
    rates = found["rates"]
    share = ratio(rates["block by block"], rates["in memory"])
    print_heading(
        "Volumes block by block",
        found["device"],
        args,
        f"Subvolumes {CROP}, blocks {BLOCK}, feature maps {MAPS}, half overlapping, blended.",
        f"Largest difference to the prediction in memory: {found['difference']:.1e}.",
    )
    rows = [[name, f"{statistics.median(values):,.0f}"] for name, values in rates.items()]
    rows[0].append("1.00")
    rows[1].append(f"{share:.2f}")
    print_table([f"volume {COMPARED}", "voxels/s", "ratio"], rows)
    rows = []
    for number, shape in enumerate(SIZES):
        size = call_json([sys.executable, __file__, "--measure", str(number), *options])
        voxels = int(np.prod(shape))
        rows.append([f"{shape}", f"{voxels * 4 / 2**30:.2f}", f"{size['seconds']:.0f}"])
        rows[-1] += [f"{voxels / size['seconds']:,.0f}", f"{size['peak']:,.0f}"]
    print_table(["blocks of a volume, one convolution", "output, GiB", "seconds", "voxels/s", "peak, MiB"], rows)


if __name__ == "__main__":
    main()
