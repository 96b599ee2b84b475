"""Training steps of the 2D U-Net in crops per second: ours against a plain PyTorch U-Net of the same structure.

Batches of 6 crops of 256x256, AdamW, binary cross-entropy, all cores. PyTorch computes in float32 with channels-last
memory. Each round starts one process for Keras and one for PyTorch, in turn, so that their threads never meet. On a
machine that is busy with something else PyTorch's threads spend their time waiting for each other and the ratio means
nothing: seen were steps 25 times slower.

    python benchmarks/training_step.py [--quick] [--torch-python PATH]

--torch-python is an interpreter that has torch (``pip install torch``), by default this one.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from measuring import call_json, parse_arguments, print_heading, print_table, ratio

MAPS, PUBLISHED_DROPOUT = (16, 32, 64, 128, 256), (0.1, 0.1, 0.2, 0.2, 0.3)
if "--quick" in sys.argv:
    MAPS, PUBLISHED_DROPOUT = (2, 4), (0.1, 0.2)
DROPOUTS = {"no dropout": (0.0,) * len(MAPS), "published dropout": PUBLISHED_DROPOUT}
WARM_UP_STEPS = 3


def make_batch(quick):
    """Return the images and masks of a batch, float32 (n, y, x, 1)."""
    shape = (2, 32, 32, 1) if quick else (6, 256, 256, 1)
    images = np.random.default_rng(0).random(shape, np.float32)
    return images, (images > 0.9).astype(np.float32)


def crops_per_second(step, n_crops, steps):
    """Time training steps after a few that do not count."""
    for _ in range(min(WARM_UP_STEPS, steps)):
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return n_crops * steps / (time.perf_counter() - start)


def measure_keras(quick, steps):
    """Return the rate of each variant, the parameters and the device, in this process."""
    from networks.unet import U_Net_2D
    from utils.devices import describe_device, set_precision, use_jit
    from utils.training.losses import get_loss
    from utils.training.optimizers import get_optimizer

    images, masks = make_batch(quick)
    rates = {}
    for dropout, rates_of_levels in DROPOUTS.items():
        for precision in ("auto", "float32"):
            set_precision(precision)
            model = U_Net_2D((None, None, 1), feature_maps=MAPS, depth=len(MAPS) - 1, drop_values=rates_of_levels)
            optimizer = get_optimizer("adamw", learning_rate=1e-4)
            model.compile(optimizer=optimizer, loss=get_loss("bce"), jit_compile=use_jit())
            step = lambda model=model: model.train_on_batch(images, masks)  # noqa: E731
            rates[f"ours, {precision}, {dropout}"] = crops_per_second(step, len(images), steps)
    return {"rates": rates, "parameters": model.count_params(), "device": describe_device()}


def measure_torch(quick, steps):
    """Return the rate of each variant and the parameters, in this process; None if torch is missing."""
    try:
        import torch
        from torch_unet import UNet
    except ImportError:
        return None

    # Keras' order of axes, permuted, is PyTorch's channels-last layout.
    images, masks = (torch.from_numpy(array).permute(0, 3, 1, 2) for array in make_batch(quick))
    loss_function = torch.nn.BCEWithLogitsLoss()
    rates = {}
    for dropout, rates_of_levels in DROPOUTS.items():
        model = UNet(MAPS, rates_of_levels).to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)

        def step(model=model, optimizer=optimizer):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_function(model(images), masks)
            loss.backward()
            optimizer.step()
            return loss.item()

        rates[f"PyTorch, float32, {dropout}"] = crops_per_second(step, len(images), steps)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"rates": rates, "parameters": parameters, "version": torch.__version__}


def run_rounds(args):
    """Let processes of Keras and PyTorch take turns; return their answers, that of PyTorch None if it is missing."""
    options = ["--steps", args.steps] + (["--quick"] if args.quick else [])
    answers = {"keras": [], "torch": []}
    for _ in range(args.repetitions):
        for library, python in (("keras", sys.executable), ("torch", args.torch_python)):
            if None not in answers[library]:
                answers[library].append(call_json([python, __file__, "--measure", library, *options]))
    return answers


def make_rows(rounds):
    """Return a row for each variant: name, median rate, ratio to PyTorch under the same dropout."""
    rates = {name: [answer["rates"][name] for answer in rounds["keras"]] for name in rounds["keras"][0]["rates"]}
    if rounds["torch"][0]:
        rates |= {name: [answer["rates"][name] for answer in rounds["torch"]] for name in rounds["torch"][0]["rates"]}
    rows = []
    for name, values in rates.items():
        baseline = rates.get(f"PyTorch, float32, {name.rsplit(', ')[-1]}")
        rows.append([name, f"{statistics.median(values):.2f}", f"{ratio(values, baseline):.2f}x" if baseline else "-"])
    if not rounds["torch"][0]:
        rows.append(["PyTorch, float32: not installed; pip install torch, or --torch-python PATH", "-", "-"])
    return rows


def main():
    """Measure and print; with --measure, measure in this process and print JSON."""
    args = parse_arguments(
        __doc__,
        repetitions=5,
        steps={"type": int, "default": 10, "help": "timed steps of each variant in each round"},
        torch_python={"default": sys.executable, "help": "interpreter that has torch"},
        measure={"choices": ("keras", "torch"), "help": "only this one, in this process, as JSON"},
    )
    args.steps = 1 if args.quick else args.steps
    if args.measure:
        print(json.dumps({"keras": measure_keras, "torch": measure_torch}[args.measure](args.quick, args.steps)))
        return
    rounds = run_rounds(args)
    first = rounds["keras"][0], rounds["torch"][0]
    details = f"{args.steps} steps each; parameters: ours {first[0]['parameters']:,}"
    details += f", PyTorch {first[1]['version']} {first[1]['parameters']:,}" if first[1] else ""
    print_heading("Training steps of the 2D U-Net", first[0]["device"], args, details)
    print_table(["variant", "crops/s", "over PyTorch"], make_rows(rounds))


if __name__ == "__main__":
    main()
