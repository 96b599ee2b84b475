"""Images left on disk against images in memory: time of a training step, and memory with thousands of images.

Steps: batches of 6 augmented crops of 256x256 train the 2D U-Net, from ``flow()`` on loaded images and from
``flow_from_directory()`` on the same folder, in turn, each with 4 workers; the mean over the steps of an epoch counts.
Beside the default memory of 256 MiB, which holds about as much as the training images of the study, one without any
decodes all images anew. "batches" is the same without a network, as hard on reading as can be.

Memory: one epoch over a tenth and over all of so many generated images of 512x512 (png) through one convolution, each
in a process of its own; the peak of all memory, Keras included.

    python benchmarks/flow_from_directory.py [--quick] [--data FOLDER] [--images N]

FOLDER holds x/ and y/, e.g. a downloaded ``lucchi/train``; without it 20 slices of 768x1024 are made up.
"""

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

import numpy as np
from measuring import alternate, call_json, parse_arguments, print_heading, print_table, ratio

BATCH_SIZE, WORKERS = 6, 4
AUGMENTATION = {"rotation_range": 180, "horizontal_flip": True, "vertical_flip": True}
IN_MEMORY, ON_DISK, NO_CACHE = "flow()", "flow_from_directory()", "flow_from_directory(), nothing kept"


def write_images(folder, count, size):
    """Write images and masks; those of a few contents, encoded once."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for part, values in (("x", 16), ("y", 2)):
        (folder / part).mkdir(parents=True)
        encoded = []
        for number in range(8):
            pixels = rng.integers(0, values, (size // 8, size // 8), np.uint8).repeat(8, 0).repeat(8, 1)
            noise = rng.integers(0, 16, pixels.shape, np.uint8) if part == "x" else 0
            path = folder / part / f"{number:06d}.png"
            Image.fromarray(pixels * np.uint8(255 // values) + noise).save(path, compress_level=1)
            encoded.append(path.read_bytes())
        for number in range(8, count):
            (folder / part / f"{number:06d}.png").write_bytes(encoded[number % 8])


def measure_memory(count, quick):
    """Train an epoch on so many images on disk; return the peak memory of this process in MiB and the seconds."""
    import keras

    from generators.image_data_generator import ImageDataGenerator

    crop_shape = (32, 32, 1) if quick else (256, 256, 1)
    model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(1, 3, padding="same")])
    model.compile(optimizer="sgd", loss="mse")
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), count, 64 if quick else 512)
        start = time.perf_counter()
        options = {"batch_size": BATCH_SIZE, "workers": WORKERS, "crop_shape": crop_shape}
        generator = ImageDataGenerator(**AUGMENTATION)
        batches = generator.flow_from_directory(folder, probability_map=(0.9, 0.1), **options)
        opened = time.perf_counter() - start
        model.fit(batches, shuffle=False, verbose=0)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    return {"peak": peak, "opened": opened, "seconds": time.perf_counter() - start}


def training(model, batches):
    """Return a function that trains an epoch and says how many steps that was.

    A whole one: of what the workers prepare in advance nothing is thrown away.
    """

    def train():
        model.fit(batches, shuffle=False, verbose=0)
        return len(batches)

    return train


def drawing(batches):
    """Return a function that draws an epoch of batches, with as many threads as in training, and says how many."""
    from concurrent.futures import ThreadPoolExecutor

    def draw():
        with ThreadPoolExecutor(WORKERS) as threads:
            return sum(1 for _ in threads.map(batches.__getitem__, range(len(batches))))

    return draw


def measure_steps(folder, args):
    """Return rows of the table, milliseconds of a step and of a batch alone and their ratios, and steps an epoch."""
    from generators.image_data_generator import ImageDataGenerator
    from networks.unet import U_Net_2D
    from utils.data.data_folder import load_image_set
    from utils.devices import set_precision, use_jit

    crop_shape = (32, 32, 1) if args.quick else (256, 256, 1)
    options = {"batch_size": BATCH_SIZE, "crop_shape": crop_shape, "seed": 1, "workers": WORKERS}
    generator, images = ImageDataGenerator(**AUGMENTATION), load_image_set(folder)
    flows = {
        IN_MEMORY: generator.flow(images.x, images.y, **options),
        ON_DISK: generator.flow_from_directory(folder, **options),
        NO_CACHE: generator.flow_from_directory(folder, cache_bytes=0, **options),
    }
    if not all(map(np.array_equal, flows[IN_MEMORY][0], flows[NO_CACHE][0])):
        raise RuntimeError("the batches from disk are not those from memory")
    set_precision("auto")
    small = {"feature_maps": (2, 2), "depth": 1, "drop_values": (0.0, 0.0)} if args.quick else {}
    model = U_Net_2D((None, None, 1), **small)
    model.compile(optimizer="sgd", loss="binary_crossentropy", jit_compile=use_jit())
    rates = alternate({name: drawing(batches) for name, batches in flows.items()}, args.repetitions)
    rows = [["batches, " + row[0], *row[1:]] for row in make_rows(rates)]
    steps = {name: training(model, batches) for name, batches in flows.items()}
    rows = [["steps, " + row[0], *row[1:]] for row in make_rows(alternate(steps, args.repetitions))] + rows
    return rows, len(flows[IN_MEMORY])


def make_rows(rates):
    """Return name, milliseconds and ratio of times to ``flow()`` of each candidate."""
    return [
        [name, f"{1000 / statistics.median(found):.1f}", f"{ratio(rates[IN_MEMORY], found):.2f}x"]
        for name, found in rates.items()
    ]


def main():
    """Measure and print; with --measure, measure memory with so many images in this process and print JSON."""
    args = parse_arguments(
        __doc__,
        repetitions=5,
        data={"type": Path, "help": "folder with x/ and y/"},
        images={"type": int, "default": 10_000, "help": "how many images the memory is measured with"},
        measure={"type": int, "metavar": "N", "help": "only the memory with N images, in this process, as JSON"},
    )
    if args.measure:
        print(json.dumps(measure_memory(args.measure, args.quick)))
        return
    args.images = 30 if args.quick else args.images
    options = ["--quick"] if args.quick else []
    counts = args.images // 10, args.images
    peaks = [call_json([sys.executable, __file__, "--measure", count, *options]) for count in counts]
    with tempfile.TemporaryDirectory() as made_up:
        folder = args.data or Path(made_up) / "train"
        if args.data is None:
            from data_sets.synthetic_em import write_demo_data

            shape, count = ((64, 96), 8) if args.quick else ((768, 1024), 20)
            write_demo_data(made_up, n_train=count, n_test=1, image_shape=shape)
        rows, n_steps = measure_steps(folder, args)
    from utils.devices import describe_device

    print_heading("Images on disk", describe_device(), args, f"epochs of {n_steps} steps, {WORKERS} workers")
    print_table(["2D U-Net, 6 crops of 256x256", "ms", "time over flow()"], rows)
    columns = ["memory, one epoch", "peak, MiB", "opened, s", "all, s"]
    cells = [[f"{answer['peak']:.0f}", f"{answer['opened']:.1f}", f"{answer['seconds']:.0f}"] for answer in peaks]
    print_table(columns, [[f"{count} images", *row] for count, row in zip(counts, cells, strict=True)])


if __name__ == "__main__":
    main()
