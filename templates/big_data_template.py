"""Big data: a 2D U-Net trained and scored on images that never are in memory together.

Training crops are drawn from images on disk; test images of any size (4096 x 4096 and up) are read, predicted, written
and scored one by one, so that memory depends on the largest image and not on their number. With LOSS w_bce or
w_bce_dice pixels count by the weight maps of the U-Net paper, which are computed once and kept in job_dir/cache/.

    python -u templates/big_data_template.py $code_dir $data_dir $job_dir --id 900 --rid 0 --gpu 0

data_dir holds train/x train/y val/x val/y test/x test/y, each also doubled (x/x, y/y) as Keras' flow_from_directory()
wants it. Without val/ a share of train/ is kept for validation; test/y may be missing. Results go to
job_dir/results/<id>_<rid>/. Memory, weight maps, and which files are read fastest: docs/big_data.md.

Settings of the big data template of the study, whose 50 % overlap was blended; here it is merged as in all templates.
A test image of 4096 x 4096 took 1.4 GiB with a toy network, Keras included.

Differs from U-Net_2D_template.py in: data on disk, val/, random crops, weight maps, padding, whole images only where
asked for; twice as wide, no dropout, learning rate 0.001, patience 50.
"""

# %% Command line
import sys
from pathlib import Path

sys.path[:0] = [*sys.argv[1:2], str(Path(__file__).resolve().parents[1])]

from utils.command_line import apply_overrides, parse_command_line

args = parse_command_line(__file__)

# %% Experiment variables
# --- Data
# Crop (y, x, channels) that the network sees; sides divisible by 2 ** DEPTH
CROP_SHAPE = (256, 256, 1)
# Minimum overlap of neighbouring test crops, as a fraction of the crop
OVERLAP = 0.0
# Margin of each test crop whose prediction is thrown away in merging, for both axes or one each
PADDING = 0
# So many random crops of each training image in an epoch
RANDOM_CROPS = 1
# (foreground, background) weights of the pixel about which a random crop lies, or None
PROBABILITY_MAP = None
# Grey values that become 0 and 1; None: 0..255, 0..65535 or 0..1 by the dtype of the images
INTENSITY_RANGE = None
# Share of the training images kept for validation where there is no folder val/
VALIDATION_SPLIT = 0.1
# True: drawn at random, as published; False: the last ones, so that neighbouring slices are not on both sides
RANDOM_VALIDATION = True
# Seed of everything random
SEED = 42

# --- Data augmentation
# Degrees; the angle is uniform in +-ROTATION_RANGE
ROTATION_RANGE = 180.0
# Turn by a multiple of 90 degrees (no resampling)
ROTATION90 = False
# Mirror, each with probability 0.5
HORIZONTAL_FLIP = True
VERTICAL_FLIP = True
# Fractions of width and height, uniform in +-range
WIDTH_SHIFT_RANGE = 0.0
HEIGHT_SHIFT_RANGE = 0.0
# Degrees
SHEAR_RANGE = 0.0
# (low, high) of the zoom factor; below 1 magnifies
ZOOM_RANGE = (1.0, 1.0)
# (low, high) of the factor on grey values, or None
BRIGHTNESS_RANGE = None
# What comes from outside the image: reflect, nearest, constant, wrap
FILL_MODE = "reflect"
# Share of the samples that are rotated, shifted, sheared, zoomed and brightened
AUGMENTATION_PROBABILITY = 1.0

# --- Network
FEATURE_MAPS = (32, 64, 128, 256, 512)
DEPTH = 4
# Dropout of each level, the bottleneck last
DROP_VALUES = (0.0, 0.0, 0.0, 0.0, 0.0)
SPATIAL_DROPOUT = False
BATCH_NORM = False
ACTIVATION = "elu"
K_INIT = "he_normal"
# 1: foreground or not; more: number of classes, background included
N_CLASSES = 1

# --- Training
# bce, w_bce, dice, jaccard, bce_dice, w_bce_dice; those with w_ have weight maps
LOSS = "bce"
# Weights of background and each class in the weight maps
WEIGHT_MAP_CLASSES = (0.5, 1.0)
# Height of the weights between objects that are close to each other
WEIGHT_MAP_W0 = 10.0
# Distance in pixels over which they fall
WEIGHT_MAP_SIGMA = 5.0
# sgd (momentum 0.99), adam, adamw
OPTIMIZER = "sgd"
LEARNING_RATE = 0.001
# None, one_cycle or step (LEARNING_RATE is then its highest)
SCHEDULE = None
BATCH_SIZE = 6
EPOCHS = 360
# Training ends after so many epochs without a better MONITOR: val_loss or val_foreground_iou
PATIENCE = 50
MONITOR = "val_loss"
# auto (bfloat16 where the hardware has it), float32, mixed_bfloat16, mixed_float16
PRECISION = "auto"
# True: exactly the same numbers in every run with the same seed, somewhat slower
DETERMINISTIC = False
# Threads that read and prepare batches
WORKERS = 4
# A weights file to use instead of training
LOAD_WEIGHTS = None

# --- Evaluation
# Slices in the median along z; 0 when the test images are not consecutive slices of one volume
Z_FILTER_SIZE = 5
# True: whole images at once too, where the network with the largest one fits into memory
FULL_IMAGE = False

settings = apply_overrides(globals(), args.set)

# %% Imports
from generators.batches import train_and_validation_batches
from generators.image_data_generator import ImageDataGenerator
from networks.unet import U_Net_2D
from utils.data.checks import check_crop_shape
from utils.data.stored_experiment import open_images, read_samples
from utils.data.weight_maps import cached_weight_maps
from utils.errors import check_choice
from utils.pictures.charts import draw_checks
from utils.post_processing.z_filter import z_filter
from utils.prediction.dry_run import dry_run
from utils.prediction.protocols import predict_blended, predict_crops, predict_each, predict_full_images
from utils.runs.run import Run
from utils.training.losses import LOSSES
from utils.training.training import compile_network, prepare_keras, train_network

# %% Checks and data
check_crop_shape(CROP_SHAPE, poolings=DEPTH, padding=PADDING)
check_choice("LOSS", LOSS, tuple(LOSSES))
prepare_keras(seed=SEED, precision=PRECISION, deterministic=DETERMINISTIC)
data = open_images(
    args.data_dir,
    CROP_SHAPE,
    seed=SEED,
    overlap=OVERLAP,
    validation_split=VALIDATION_SPLIT,
    random_validation=RANDOM_VALIDATION,
    z_filter_size=Z_FILTER_SIZE,
    n_classes=N_CLASSES,
    intensity_range=INTENSITY_RANGE,
)
run = Run(args, settings)
weight_maps = None
if LOSS.startswith("w_"):
    shape = {"w0": WEIGHT_MAP_W0, "sigma": WEIGHT_MAP_SIGMA, "class_weights": WEIGHT_MAP_CLASSES}
    weight_maps = cached_weight_maps(data.train.y, args.job_dir / "cache", **shape)

# %% Data augmentation
augmentation = ImageDataGenerator(
    rotation_range=ROTATION_RANGE,
    rotation90=ROTATION90,
    horizontal_flip=HORIZONTAL_FLIP,
    vertical_flip=VERTICAL_FLIP,
    width_shift_range=WIDTH_SHIFT_RANGE,
    height_shift_range=HEIGHT_SHIFT_RANGE,
    shear_range=SHEAR_RANGE,
    zoom_range=ZOOM_RANGE,
    brightness_range=BRIGHTNESS_RANGE,
    fill_mode=FILL_MODE,
    probability=AUGMENTATION_PROBABILITY,
)
train_batches, validation_batches = train_and_validation_batches(
    augmentation,
    data,
    crop_shape=CROP_SHAPE,
    batch_size=BATCH_SIZE,
    seed=SEED,
    intensity_range=INTENSITY_RANGE,
    workers=WORKERS,
    samples_per_array=RANDOM_CROPS,
    probability_map=PROBABILITY_MAP,
    sample_weight=weight_maps,
)
draw_checks(run.checks, read_samples(data, CROP_SHAPE), train_batches, overlap=OVERLAP)

# %% Network
model = U_Net_2D(
    (None, None, CROP_SHAPE[-1]),
    activation=ACTIVATION,
    feature_maps=FEATURE_MAPS,
    depth=DEPTH,
    drop_values=DROP_VALUES,
    spatial_dropout=SPATIAL_DROPOUT,
    batch_norm=BATCH_NORM,
    k_init=K_INIT,
    n_classes=N_CLASSES,
)
compile_network(
    model,
    loss=LOSS,
    optimizer=OPTIMIZER,
    learning_rate=LEARNING_RATE,
    steps=EPOCHS * len(train_batches),
    schedule=SCHEDULE,
    foreground_weight=1.0 if weight_maps else None,
)

# %% Training
if args.dry_run:
    dry_run(run, model, train_batches, epochs=EPOCHS, images=data.test.x)
train_network(
    run,
    model,
    train_batches,
    validation_batches,
    epochs=EPOCHS,
    monitor=MONITOR,
    patience=PATIENCE,
    weights_file=LOAD_WEIGHTS,
)

# %% Evaluation: per crop
run.section("Evaluation")
test, batches = data.test, {"batch_size": BATCH_SIZE, "intensity_range": INTENSITY_RANGE}
per_crop = predict_each(model, data.test_crops.x, **batches)
run.evaluate("per_crop", data.test_crops, per_crop, loss=model.loss, save=False)

# %% Evaluation: merged into complete images, which are read, predicted, written and scored one by one
crops = {"crop_shape": CROP_SHAPE, "padding": PADDING, **batches}
merged = run.evaluate("per_image", test, predict_crops(model, test.x, overlap=OVERLAP, **crops))
blended = run.evaluate("per_image", test, predict_blended(model, test.x, CROP_SHAPE, **batches), post="blending")
if Z_FILTER_SIZE:
    run.evaluate("per_image", test, z_filter(merged, Z_FILTER_SIZE), post="z_filter")
    run.evaluate("per_image", test, z_filter(blended, Z_FILTER_SIZE), post="blending_z_filter")

# %% Evaluation: 50 % overlap
run.evaluate("overlap_50", test, predict_crops(model, test.x, overlap=0.5, **crops))
ensemble = predict_crops(model, test.x, overlap=0.5, ensemble=True, **crops)
ensemble = run.evaluate("overlap_50", test, ensemble, post="ensemble")
if Z_FILTER_SIZE:
    run.evaluate("overlap_50", test, z_filter(ensemble, Z_FILTER_SIZE), post="ensemble_z_filter")

# %% Evaluation: full image
if FULL_IMAGE:
    full = {"divisor": 2**DEPTH, "intensity_range": INTENSITY_RANGE}
    run.evaluate("full_image", test, predict_full_images(model, test.x, **full))
    run.evaluate("full_image", test, predict_full_images(model, test.x, ensemble=True, **full), post="ensemble")

# %% Results
run.finish()
