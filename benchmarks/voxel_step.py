"""What augmentation costs in 3D beside a training step: time of a batch, of a step, and of steps that use the batches.

Subvolumes are drawn at random from a uint8 volume of 165x768x1024, mirrored along three axes, turned by right angles
and displaced elastically, as in U-Net_3D_template.py; the network is that of the template. A constant batch is trained
on again and again; augmented ones as in a template, where the next is prepared while one is trained on.

    python benchmarks/voxel_step.py [--quick]
"""

import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from measuring import alternate, parse_arguments, print_heading, print_table

from generators.voxel_data_generator import VoxelDataGenerator
from networks.unet import U_Net_3D
from utils.devices import describe_device, set_precision, use_jit
from utils.training.losses import get_loss

AUGMENTATION = {"horizontal_flip": True, "vertical_flip": True, "z_flip": True, "rotation90": True}
AUGMENTATION |= {"elastic_alpha": (1.0, 2.0), "elastic_sigma": 25.0}


class Constant(keras.utils.PyDataset):
    """One batch, as often as another data set has batches."""

    def __init__(self, batches):
        super().__init__()
        self._batch, self._count = batches[0], len(batches)

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        return self._batch


def measure(crop_shape, volume, steps, repetitions, maps):
    """Return milliseconds of a batch, of a step on a constant batch and of a step on augmented batches."""
    mask = (volume > 240).astype(np.uint8)
    generator = VoxelDataGenerator(**AUGMENTATION)
    batches = generator.flow([volume], [mask], crop_shape=crop_shape, samples_per_array=steps, batch_size=1, seed=1)
    model = U_Net_3D((None, None, None, 1), feature_maps=maps, depth=len(maps) - 1, drop_values=(0.0,) * len(maps))
    model.compile(optimizer=keras.optimizers.Adam(1e-4), loss=get_loss("bce"), jit_compile=use_jit())
    start = time.perf_counter()
    for number in range(len(batches)):
        batches[number]
    batch = (time.perf_counter() - start) / len(batches)

    def train(data):
        def one_epoch():
            model.fit(data, shuffle=False, verbose=0)
            return len(data)

        return one_epoch

    rates = alternate({"constant": train(Constant(batches)), "augmented": train(batches)}, repetitions)
    return [1000 * batch, *(1000 / statistics.median(found) for found in rates.values())]


def main():
    """Measure and print."""
    args = parse_arguments(__doc__, repetitions=3)
    set_precision("auto", volumes=True)
    shape = (20, 64, 64) if args.quick else (165, 768, 1024)
    crops = ((16, 16, 16), (8, 24, 24)) if args.quick else ((80, 80, 80), (32, 96, 96))
    maps, steps = ((2, 2), 4) if args.quick else ((28, 36, 48, 64), 20)
    volume = np.random.default_rng(0).integers(0, 256, (*shape, 1), np.uint8)
    rows = []
    for crop_shape in crops:
        batch, constant, augmented = measure(crop_shape, volume, steps, args.repetitions, maps)
        cells = [f"{batch:.1f}", f"{constant:.0f}", f"{100 * batch / constant:.1f} %", f"{augmented / constant:.3f}x"]
        rows.append(["x".join(map(str, crop_shape)), *cells])
    print_heading("Augmentation beside a step", describe_device(), args, f"epochs of {steps} steps, batch 1")
    columns = ["subvolume", "batch, ms", "step on a constant batch, ms", "share", "steps on augmented batches"]
    print_table(columns, rows)


if __name__ == "__main__":
    main()
