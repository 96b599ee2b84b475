"""2D U-Net on electron microscopy slices: the reference experiment.

Segments mitochondria with the 2D U-Net of "Stable deep neural network architectures for mitochondria segmentation on
electron microscopy volumes" (Franco-Barranco et al. 2021, arXiv 2104.03577), at its published settings, and scores
the prediction under all of its protocols.

    python -u templates/U-Net_2D_template.py $code_dir $data_dir $job_dir --id 400 --rid 0 --gpu 0

data_dir holds train/x train/y test/x test/y (png or tif; test/y may be missing). Results go to
job_dir/results/<id>_<rid>/.

On a CPU, or whenever time is short:
    --set OPTIMIZER=adamw --set LEARNING_RATE=0.001 --set SCHEDULE=one_cycle --set EPOCHS=30 --set
    "DROP_VALUES=(0.,0.,0.,0.,0.)"
Without normalisation, the published dropout makes training and inference disagree until a long training has grown out
of it.

Measured so with 28 epochs (README, footnote 1) on Lucchi with re-drawn masks: foreground IoU 0.853 merged, 0.868 full
image with ensemble and z-filter; 37 undisturbed minutes of training, 1.9 GiB, two cores of an Intel Xeon with AMX.

Differs from U-Net_2D_template.py in: nothing, this is the reference.
"""

# %% Command line
import sys
from pathlib import Path

sys.path[:0] = [*sys.argv[1:2], str(Path(__file__).resolve().parents[1])]

from utils.experiment import apply_overrides, parse_command_line

args = parse_command_line(__file__)

# %% Experiment variables
# --- Data
# Crop (y, x, channels) that the network sees; sides divisible by 2 ** DEPTH
CROP_SHAPE = (256, 256, 1)
# Minimum overlap of neighbouring crops, as a fraction of the crop
OVERLAP = 0.0
# True: a random crop of each image per epoch; False: all crops of all images
RANDOM_CROPS = False
# Grey values that become 0 and 1; None: 0..255, 0..65535 or 0..1 by the dtype of the images
INTENSITY_RANGE = None
# Share of the training images kept for validation
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
FEATURE_MAPS = (16, 32, 64, 128, 256)
DEPTH = 4
# Dropout of each level, the bottleneck last
DROP_VALUES = (0.1, 0.1, 0.2, 0.2, 0.3)
SPATIAL_DROPOUT = False
BATCH_NORM = False
ACTIVATION = "elu"
K_INIT = "he_normal"
# 1: foreground or not; more: number of classes, background included
N_CLASSES = 1

# --- Training
# bce, w_bce, dice, jaccard, bce_dice, w_bce_dice
LOSS = "bce"
# How many times a foreground pixel counts in w_bce and w_bce_dice; None: so often that both classes count the same
FOREGROUND_WEIGHT = None
# sgd (momentum 0.99), adam, adamw
OPTIMIZER = "sgd"
LEARNING_RATE = 0.002
# None or one_cycle (LEARNING_RATE is then its peak)
SCHEDULE = None
BATCH_SIZE = 6
EPOCHS = 360
# Training ends after so many epochs without a better MONITOR: val_loss or val_foreground_iou
PATIENCE = 200
MONITOR = "val_loss"
# auto (bfloat16 where the hardware has it), float32, mixed_bfloat16, mixed_float16
PRECISION = "auto"
# True: exactly the same numbers in every run with the same seed, somewhat slower
DETERMINISTIC = False
# Threads that prepare batches
WORKERS = 1
# A weights file to use instead of training
LOAD_WEIGHTS = None

# --- Evaluation
# Slices in the median along z; 0 when the test images are not consecutive slices of one volume
Z_FILTER_SIZE = 5

settings = apply_overrides(globals(), args.set)

# %% Imports
from generators.image_data_generator import ImageDataGenerator
from networks.unet import U_Net_2D
from utils.callbacks import load_weights
from utils.charts import draw_crop_grid, draw_pairs
from utils.checks import check_crop_shape, check_same_size
from utils.data_folder import load_train_and_test
from utils.devices import use_jit
from utils.dry_run import dry_run
from utils.image_set import crop_image_set, split_validation
from utils.losses import get_loss
from utils.metrics import ForegroundIoU
from utils.optimizers import get_optimizer
from utils.post_processing import z_filter
from utils.prediction import predict_blended, predict_crops, predict_each, predict_full_images
from utils.run import Run
from utils.training import prepare_keras, train_network

# %% Checks and data
check_crop_shape(CROP_SHAPE, poolings=DEPTH)
prepare_keras(seed=SEED, precision=PRECISION, deterministic=DETERMINISTIC)
train, test = load_train_and_test(
    args.data_dir, channels=CROP_SHAPE[-1], n_classes=N_CLASSES, intensity_range=INTENSITY_RANGE
)
if Z_FILTER_SIZE:
    check_same_size(test, why="the z-filter needs slices of one volume", remedy="Use --set Z_FILTER_SIZE=0.")

run = Run(args, settings)
train, validation = split_validation(train, VALIDATION_SPLIT, seed=SEED, shuffle=RANDOM_VALIDATION)
train_crops = train if RANDOM_CROPS else crop_image_set(train, CROP_SHAPE, overlap=OVERLAP)
validation_crops = crop_image_set(validation, CROP_SHAPE)
test_crops = crop_image_set(test, CROP_SHAPE, overlap=OVERLAP)
draw_crop_grid(run.checks / "crops.png", train.x[0], CROP_SHAPE, overlap=OVERLAP, intensity_range=INTENSITY_RANGE)
draw_pairs(run.checks / "training_crops.png", train_crops.x, train_crops.y, intensity_range=INTENSITY_RANGE)

# %% Data augmentation
run.section("Data augmentation")
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
flow = {
    "batch_size": BATCH_SIZE,
    "crop_shape": CROP_SHAPE,
    "seed": SEED,
    "intensity_range": INTENSITY_RANGE,
    "workers": WORKERS,
}
train_batches = augmentation.flow(train_crops.x, train_crops.y, **flow)
validation_batches = ImageDataGenerator().flow(validation_crops.x, validation_crops.y, shuffle=False, **flow)
draw_pairs(run.checks / "augmented_pairs.png", *train_batches.sample(12))

# %% Network
run.section("Network")
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
model.compile(
    optimizer=get_optimizer(
        OPTIMIZER, learning_rate=LEARNING_RATE, schedule=SCHEDULE, total_steps=EPOCHS * len(train_batches)
    ),
    loss=get_loss(LOSS, foreground_weight=FOREGROUND_WEIGHT, masks=train_crops.y),
    metrics=[ForegroundIoU()],
    jit_compile=use_jit(),
)
model.summary(line_length=110)

# %% Training
run.section("Training")
batches = {"batch_size": BATCH_SIZE, "intensity_range": INTENSITY_RANGE}
if args.dry_run:
    prediction = predict_crops(model, test.x, CROP_SHAPE, **batches)
    dry_run(run, model, train_batches, epochs=EPOCHS, prediction=prediction, n_images=len(test))
if LOAD_WEIGHTS is None:
    train_network(run, model, train_batches, validation_batches, epochs=EPOCHS, monitor=MONITOR, patience=PATIENCE)
else:
    load_weights(model, LOAD_WEIGHTS)

# %% Evaluation: per crop
run.section("Evaluation")
run.evaluate("per_crop", test_crops, predict_each(model, test_crops.x, **batches), loss=model.loss, save=False)

# %% Evaluation: merged into complete images
merged = run.evaluate("per_image", test, predict_crops(model, test.x, CROP_SHAPE, overlap=OVERLAP, **batches))
blended = run.evaluate("per_image", test, predict_blended(model, test.x, CROP_SHAPE, **batches), post="blending")
if Z_FILTER_SIZE:
    run.evaluate("per_image", test, z_filter(merged, Z_FILTER_SIZE), post="z_filter")
    run.evaluate("per_image", test, z_filter(blended, Z_FILTER_SIZE), post="blending_z_filter")

# %% Evaluation: 50 % overlap
half = {"crop_shape": CROP_SHAPE, "overlap": 0.5, **batches}
run.evaluate("overlap_50", test, predict_crops(model, test.x, **half))
ensemble = run.evaluate("overlap_50", test, predict_crops(model, test.x, ensemble=True, **half), post="ensemble")
if Z_FILTER_SIZE:
    run.evaluate("overlap_50", test, z_filter(ensemble, Z_FILTER_SIZE), post="ensemble_z_filter")

# %% Evaluation: full image
full = {"divisor": 2**DEPTH, "intensity_range": INTENSITY_RANGE}
run.evaluate("full_image", test, predict_full_images(model, test.x, **full))
ensemble = run.evaluate("full_image", test, predict_full_images(model, test.x, ensemble=True, **full), post="ensemble")
if Z_FILTER_SIZE:
    run.evaluate("full_image", test, z_filter(ensemble, Z_FILTER_SIZE), post="ensemble_z_filter")

# %% Results
run.finish()
