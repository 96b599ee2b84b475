"""MultiResUNet on electron microscopy slices.

Segments mitochondria with MultiResUNet (Ibtehaz and Rahman 2020, arXiv 1902.04049) at the settings of "Stable deep
neural network architectures for mitochondria segmentation on electron microscopy volumes" (Franco-Barranco et al.
2021, arXiv 2104.03577) and scores the prediction under all of its protocols.

    python -u templates/MultiResUNet_template.py $code_dir $data_dir $job_dir --id 406 --rid 0 --gpu 0

data_dir holds train/x train/y test/x test/y (png or tif; test/y may be missing). Results go to
job_dir/results/<id>_<rid>/.

Differs from U-Net_2D_template.py in: the network, Adam, the evaluation in one call.
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
# Minimum overlap of neighbouring crops, as a fraction of the crop
OVERLAP = 0.0
# 0: all crops of a grid; more: so many random crops of each image in an epoch
RANDOM_CROPS = 0
# (foreground, background) weights of the pixel about which a random crop lies, or None
PROBABILITY_MAP = None
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
FEATURE_MAPS = (32, 64, 128, 256, 512)
DEPTH = 4
ACTIVATION = "relu"
K_INIT = "he_normal"
# 1: foreground or not; more: number of classes, background included
N_CLASSES = 1

# --- Training
# bce, w_bce, dice, jaccard, bce_dice, w_bce_dice
LOSS = "bce"
# How many times a foreground pixel counts in w_bce and w_bce_dice; None: so often that both classes count the same
FOREGROUND_WEIGHT = None
# sgd (momentum 0.99), adam, adamw
OPTIMIZER = "adam"
LEARNING_RATE = 0.005
# None, one_cycle or step (LEARNING_RATE is then its highest)
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
# Threads that prepare batches; with a single one TensorFlow can hold up the end of an epoch
WORKERS = 2
# A weights file to use instead of training
LOAD_WEIGHTS = None

# --- Evaluation
# Slices in the median along z; 0 when the test images are not consecutive slices of one volume
Z_FILTER_SIZE = 5
# Predict with 50 % overlap and full images as an ensemble of 8 orientations too; blending always is one
ENSEMBLE = True

settings = apply_overrides(globals(), args.set)

# %% Imports
from generators.batches import train_and_validation_batches
from generators.image_data_generator import ImageDataGenerator
from networks.multiresunet import MultiResUNet
from utils.data.checks import check_crop_shape
from utils.data.experiment_data import load_images
from utils.pictures.charts import draw_checks
from utils.prediction.dry_run import dry_run
from utils.prediction.evaluation import evaluate_images
from utils.runs.run import Run
from utils.training.training import compile_network, prepare_keras, train_network

# %% Checks and data
check_crop_shape(CROP_SHAPE, poolings=DEPTH)
prepare_keras(seed=SEED, precision=PRECISION, deterministic=DETERMINISTIC)
data = load_images(
    args.data_dir,
    CROP_SHAPE,
    seed=SEED,
    overlap=OVERLAP,
    validation_split=VALIDATION_SPLIT,
    random_validation=RANDOM_VALIDATION,
    random_crops=RANDOM_CROPS,
    z_filter_size=Z_FILTER_SIZE,
    n_classes=N_CLASSES,
    intensity_range=INTENSITY_RANGE,
)
run = Run(args, settings)

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
    samples_per_array=max(1, RANDOM_CROPS),
    probability_map=PROBABILITY_MAP,
)
draw_checks(run.checks, data, train_batches, overlap=OVERLAP)

# %% Network
model = MultiResUNet(
    (None, None, CROP_SHAPE[-1]),
    activation=ACTIVATION,
    feature_maps=FEATURE_MAPS,
    depth=DEPTH,
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
    foreground_weight=FOREGROUND_WEIGHT,
    masks=data.train_crops.y,
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

# %% Evaluation: the protocols of U-Net_2D_template.py
evaluate_images(
    run,
    model,
    data,
    CROP_SHAPE,
    divisor=2**DEPTH,
    overlap=OVERLAP,
    z_filter_size=Z_FILTER_SIZE,
    ensemble=ENSEMBLE,
    batch_size=BATCH_SIZE,
    intensity_range=INTENSITY_RANGE,
)

# %% Results
run.finish()
