"""Every architecture of the study on the same data with the same budget: parameters, CPU time, foreground IoU.

Each is trained for ``--minutes`` of CPU time (of all cores together, so that other work beside it does not count) with
the same recipe (random crops, flips and right-angle turns, AdamW with one-cycle, half cross-entropy and half Dice, no
dropout where it can be chosen; volumes: half of the crops about foreground, batch normalisation) in a process of its
own, then scored on the merged crops of the test images; with batch normalisation, whose averages still hold initial
values after a short training, once more with settled ones. A JSON file for each in the results folder keeps what was
measured and how; a later call measures what is missing, and refuses files measured in another way.

    python benchmarks/architectures.py --data DATA --results FOLDER [--minutes 15] [--only NAME ...] [--quick]
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from measuring import call_json, parse_arguments, print_heading, print_table

from study.page_network import build_network, one_page_for_each_builder, page_variables

CROPS = {2: (256, 256, 1), 3: (32, 96, 96, 1)}
BATCHES = {2: 6, 3: 1}
# What differs from the page of each architecture, where the page has the variable.
CHANGES = {"N_CLASSES": 1, "ENCODER_WEIGHTS": None, "DROP_VALUE": 0.0}
CHANGES_3D = {"BATCH_NORM": True}


def find_architectures():
    """Return the pages by name, those in 2D first: one page for each builder in networks/."""
    pages = [page for (module, _), page in one_page_for_each_builder().items() if module.startswith("networks.")]
    pages = sorted(pages, key=lambda page: len(page_variables(page)["CROP_SHAPE"]))
    return {page.stem.replace("_template", "").replace("_2D", "").replace("_", " "): page for page in pages}


ARCHITECTURES = find_architectures()
LOSS, OPTIMIZER = "bce_dice", "adamw"
RATES = {"learning_rate": 0.001, "schedule": "one_cycle"}
WARM_UP_STEPS = 5
SETTLING_BATCHES = 32
SEED = 42
CAPTION = (
    "2D: 6 crops of 256x256 a step, 3D: one of 32x96x96. s/step: by the clock, median; too long with work beside.",
    "CPU time: of all cores together, compiling included.",
    f"settled: the same with mean and variance of {SETTLING_BATCHES} training batches instead of the moving averages",
    "of batch normalisation, which a short training leaves unsettled; not part of the CPU time.",
    "One class each, where the templates of FCN and nnU-Net have two; U-Net++ from random weights, where its template",
    "starts from ImageNet.",
)


def make_data(dims, data_dir, quick):
    """Return training batches by the number of steps, and the test set."""
    from generators.image_data_generator import ImageDataGenerator
    from generators.voxel_data_generator import VoxelDataGenerator
    from utils.data.data_folder import load_image_sets

    crop = {2: (64, 64, 1), 3: (8, 32, 32, 1)}[dims] if quick else CROPS[dims]
    turns = {"horizontal_flip": True, "vertical_flip": True, "rotation90": True}
    if dims == 2:
        train, test = load_image_sets(data_dir)
        generator, per_image = ImageDataGenerator(**turns), {}
    else:
        train, test = load_image_sets(data_dir, volumes=True)
        generator = VoxelDataGenerator(z_flip=True, **turns)
        per_image = {"samples_per_array": 100, "probability_map": (0.5, 0.5)}
    flow = {"crop_shape": crop, "batch_size": BATCHES[dims], "seed": SEED}
    return generator.flow(train.x, train.y, **per_image, **flow), test, crop


def dimensions_and_options(name):
    """Return 2 or 3, and the variables of a page that are changed here."""
    variables = page_variables(ARCHITECTURES[name])
    dims = len(variables["CROP_SHAPE"]) - 1
    changes = CHANGES | (CHANGES_3D if dims == 3 else {}) | {"CROP_SHAPE": CROPS[dims]}
    changes["DROP_VALUES"] = (0.0,) * len(variables.get("DROP_VALUES", ()))
    return dims, {key: value for key, value in changes.items() if key in variables}


def settings_of(name, data_dir, minutes):
    """Return all that a result depends on, as JSON gives it back."""
    dims, options = dimensions_and_options(name)
    settings = {"data": data_dir.resolve().name, "minutes": minutes, "options": options, "seed": SEED}
    settings |= {"recipe": {"loss": LOSS, "optimizer": OPTIMIZER, **RATES}}
    settings |= {"crop": CROPS[dims], "batch_size": BATCHES[dims]}
    return json.loads(json.dumps(settings))


def read_result(path, settings):
    """Return a stored result.

    Raises
    ------
    ValueError
        If it was measured with other settings.
    """
    result = json.loads(path.read_text())
    others = [f"{key} {result.get(key)}, wanted {value}" for key, value in settings.items() if result.get(key) != value]
    if others:
        raise ValueError(f"{path} was measured with {'; '.join(others)}. Remove it, or give another --results.")
    return result


def measure(name, data_dir, minutes, quick):
    """Train and score one architecture in this process."""
    from utils.devices import describe_device
    from utils.metrics.pixels import confusion_matrix, probability_to_mask, scores_from_confusion
    from utils.prediction.protocols import predict_crops
    from utils.training.optimizers import get_optimizer
    from utils.training.training import compile_network, prepare_keras

    dims, options = dimensions_and_options(name)
    batches, test, crop = make_data(dims, data_dir, quick)
    prepare_keras(seed=SEED, precision="auto", deterministic=False, volumes=dims == 3)

    def compiled(steps):
        model, output_weights = build_network(ARCHITECTURES[name], **options)
        optimizer = get_optimizer(OPTIMIZER, total_steps=steps, **RATES)
        compile_network(model, loss=LOSS, optimizer=optimizer, output_weights=output_weights)
        return model

    def train(model, steps):
        """Return the CPU time of all, seconds, and the median wall time of a step."""
        start, durations = time.process_time(), []
        for step in range(steps):
            started = time.perf_counter()
            if step and step % len(batches) == 0:
                batches.on_epoch_end()
            model.train_on_batch(*batches[step % len(batches)])
            durations.append(time.perf_counter() - started)
        return time.process_time() - start, statistics.median(durations)

    steps = 2
    if not quick:
        model = compiled(steps=100)
        train(model, WARM_UP_STEPS)
        cpu_seconds, _ = train(model, WARM_UP_STEPS)
        steps = max(1, round(60 * minutes * WARM_UP_STEPS / cpu_seconds))
    model = compiled(steps)
    cpu_seconds, step_seconds = train(model, steps)

    def foreground_iou():
        predictions = predict_crops(model, test.x, crop, batch_size=BATCHES[dims])
        pairs = zip(test.y, predictions, strict=True)
        matrices = [confusion_matrix(truth, probability_to_mask(probability)) for truth, probability in pairs]
        return scores_from_confusion(sum(matrices))["foreground_iou"]

    start = time.perf_counter()
    return {
        "parameters": model.count_params(),
        "steps": steps,
        "step_seconds": step_seconds,
        "training_cpu_minutes": cpu_seconds / 60,
        "foreground_iou": foreground_iou(),
        "prediction_seconds": time.perf_counter() - start,
        "settled_foreground_iou": foreground_iou() if settle_normalisation(model, batches) else None,
        "device": describe_device(),
    } | settings_of(name, data_dir, minutes)


def settle_normalisation(model, batches):
    """Give batch normalisation the mean statistics of some training batches; return whether there is any."""
    from keras.layers import BatchNormalization

    parts = [part for layer in model.layers for part in getattr(layer, "layers", [layer])]
    found = [layer for layer in parts if isinstance(layer, BatchNormalization)]
    for number in range(SETTLING_BATCHES if found else 0):
        for layer in found:
            layer.momentum = number / (number + 1)
        model(batches[number % len(batches)][0], training=True)
    return bool(found)


def make_toy_data(folder):
    """Write a few synthetic slices, for --quick."""
    from data_sets.synthetic_em import write_demo_data

    options = {"n_train": 16, "n_test": 8, "image_shape": (64, 96), "voxel_size_nm": (20, 20, 20)}
    return write_demo_data(Path(folder) / "data", **options)


def read_arguments():
    """Return the command line, or end with one sentence when a folder is missing."""
    args = parse_arguments(
        __doc__,
        repetitions=1,
        data={"type": Path, "help": "data folder with train/x train/y test/x test/y, slices of a volume"},
        results={"type": Path, "help": "folder that keeps a JSON file for each architecture"},
        minutes={"type": float, "default": 15.0, "help": "CPU minutes of training of each"},
        only={
            "nargs": "+",
            "choices": list(ARCHITECTURES),
            "metavar": "NAME",
            "help": f"some of: {', '.join(ARCHITECTURES)}",
        },
        measure={"choices": list(ARCHITECTURES), "metavar": "NAME", "help": "only this one, in this process, as JSON"},
    )
    complete = args.data and (args.results or args.measure)
    if not complete and (args.measure or not args.quick):
        sys.exit("--data and --results are required, unless --quick is given.")
    return args


def main():
    """Measure what is missing and print the table; with --measure, measure one here and print JSON."""
    args = read_arguments()
    if args.measure:
        print(json.dumps(measure(args.measure, args.data, args.minutes, args.quick)))
        return
    args.busy_cores = None  # CPU time is what counts, and some results are older than this call
    with tempfile.TemporaryDirectory() as temporary:
        if args.quick:
            args.data, args.results = make_toy_data(temporary), Path(temporary) / "results"
            args.only = args.only or ["U-Net", "U-Net 3D"]
        try:
            results = {name: measure_or_read(name, args) for name in args.only or ARCHITECTURES}
            device = only_device(results)
        except ValueError as error:
            sys.exit(str(error))
    rows = [
        [
            name,
            f"{r['parameters']:,}",
            f"{r['step_seconds']:.2f}",
            f"{60 * r['training_cpu_minutes'] / r['steps']:.2f}",
            f"{r['steps']}",
            f"{r['training_cpu_minutes']:.1f}",
            f"{r['foreground_iou']:.3f}",
            "" if r["settled_foreground_iou"] is None else f"{r['settled_foreground_iou']:.3f}",
        ]
        for name, r in results.items()
    ]
    budget = f"{args.minutes:g} CPU minutes of training were planned for each."
    print_heading("Architectures", device, args, budget, *CAPTION)
    columns = [
        "architecture",
        "parameters",
        "s/step",
        "CPU s/step",
        "steps",
        "CPU minutes",
        "foreground IoU",
        "settled",
    ]
    print_table(columns, rows)


def only_device(results):
    """Return the device that all was measured on.

    Raises
    ------
    ValueError
        If there are several: a CPU minute of each is worth something else.
    """
    found = {result["device"]: name for name, result in results.items()}
    if len(found) > 1:
        where = "; ".join(f"{name} on {device}" for device, name in found.items())
        raise ValueError(f"These were measured on several machines: {where}. Give another --results.")
    return next(iter(found))


def measure_or_read(name, args):
    """Return the result of one architecture, measured in a process of its own unless it is there."""
    path = args.results / f"{name}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, "--measure", name, "--data", args.data, "--minutes", args.minutes]
        path.write_text(json.dumps(call_json([*command, *(["--quick"] if args.quick else [])])))
    return read_result(path, settings_of(name, args.data, args.minutes))


if __name__ == "__main__":
    main()
