"""3D U-Net on electron microscopy volumes: the reference experiment in three dimensions.

Segments mitochondria with the 3D U-Net of "Stable deep neural network architectures for mitochondria segmentation on
electron microscopy volumes" (Franco-Barranco et al. 2021, arXiv 2104.03577), at its published settings and protocols.

    python -u templates/U-Net_3D_template.py $code_dir $data_dir $job_dir --id 500 --rid 0 --gpu 0

data_dir holds train/x train/y test/x test/y: the slices of one volume (png, tif), or one file for each volume (tif,
hdf5, zarr); test/y may be missing. Results go to job_dir/results/<id>_<rid>/.

Differs from U-Net_2D_template.py in: volumes, validation on the last slices, 3D augmentation, no blending.
On a CPU, use the settings of footnote 2 of the README; so measured on Lucchi: foreground IoU 0.758 to 0.778 merged.
"""

# %% Command line
import sys
from pathlib import Path

sys.path[:0] = [*sys.argv[1:2], str(Path(__file__).resolve().parents[1])]

from utils.command_line import apply_overrides, parse_command_line

args = parse_command_line(__file__)

# %% Experiment variables
# --- Data
# Subvolume (z, y, x, channels) that the network sees; sides divisible by what the poolings reduce
CROP_SHAPE = (80, 80, 80, 1)
# Minimum overlap of neighbouring subvolumes, as a fraction, for all axes or one each
OVERLAP = 0.0
# Margin (z, y, x) of a subvolume whose prediction is thrown away
PADDING = (0, 0, 0)
# What lies outside the volume when predicting: mirror, median
PADDING_MODE = "mirror"
# 0: all subvolumes of a grid; more: so many random subvolumes of each volume in an epoch
RANDOM_SUBVOLUMES = 0
# (foreground, background) weights of the voxel about which a random subvolume lies, or None
PROBABILITY_MAP = None
# Grey values that become 0 and 1; None: 0..255, 0..65535 or 0..1 by the dtype of the images
INTENSITY_RANGE = None
# Names of the arrays in hdf5 and zarr files that hold several
IMAGE_DATASET = None
MASK_DATASET = None
# Share of the slices of each volume, the last ones, kept for validation
VALIDATION_SPLIT = 0.1
# Seed of everything random
SEED = 42

# --- Data augmentation
# Mirror, each with probability 0.5
HORIZONTAL_FLIP = True
VERTICAL_FLIP = True
Z_FLIP = True
# Turn by a multiple of 90 degrees in the plane (no resampling)
ROTATION90 = True
# Degrees; the angle is uniform in +-ROTATION_RANGE
ROTATION_RANGE = 0.0
# (low, high) of the amplitude of elastic displacements in pixels, and their smoothness in pixels
ELASTIC_ALPHA = (1.0, 2.0)
ELASTIC_SIGMA = 25.0
# (low, high) of the zoom factor; below 1 magnifies
ZOOM_RANGE = (1.0, 1.0)
# (low, high) of the factor on grey values, and of the exponent, or None
BRIGHTNESS_RANGE = None
GAMMA_RANGE = None
# (low, high) of the width of a gaussian blur in pixels, or None
BLUR_SIGMA = None
# What comes from outside the volume: reflect, nearest, constant, wrap
FILL_MODE = "reflect"
# Share of the samples that are resampled and changed in their grey values
AUGMENTATION_PROBABILITY = 0.5
# True only where voxels are cubes: z then turns and zooms together with y and x
ISOTROPIC = False

# --- Network
FEATURE_MAPS = (28, 36, 48, 64)
DEPTH = 3
# Dropout of each level, the bottleneck last
DROP_VALUES = (0.0, 0.0, 0.0, 0.0)
SPATIAL_DROPOUT = False
BATCH_NORM = False
ACTIVATION = "elu"
K_INIT = "he_normal"
# Factor of the poolings along z, for all or one each; 1 where slices are thick
Z_DOWN = 2
# 1: foreground or not; more: number of classes, background included
N_CLASSES = 1

# --- Training
# bce, w_bce, dice, jaccard, bce_dice, w_bce_dice
LOSS = "bce"
# How many times a foreground voxel counts in w_bce and w_bce_dice; None: so often that both classes count the same
FOREGROUND_WEIGHT = None
# sgd (momentum 0.99), adam, adamw
OPTIMIZER = "adam"
LEARNING_RATE = 0.0001
# None, one_cycle or step (LEARNING_RATE is then its highest)
SCHEDULE = None
BATCH_SIZE = 1
EPOCHS = 360
# Training ends after so many epochs without a better MONITOR: val_loss or val_foreground_iou
PATIENCE = 200
MONITOR = "val_loss"
# auto (bfloat16 on GPUs that have it, else float32), float32, mixed_bfloat16, mixed_float16
PRECISION = "auto"
# True: exactly the same numbers in every run with the same seed, somewhat slower
DETERMINISTIC = False
# Threads that prepare batches; with a single one TensorFlow can hold up the end of an epoch
WORKERS = 2
# A weights file to use instead of training
LOAD_WEIGHTS = None

# --- Evaluation
# Slices in the median along z; 0 for none
Z_FILTER_SIZE = 5
# Predict as an ensemble of 16 orientations too, in 16 times the time
ENSEMBLE = True
# Predict whole volumes at once too: True, False, or None if they fit into memory
FULL_VOLUME = None

settings = apply_overrides(globals(), args.set)

# %% Imports
from generators.batches import train_and_validation_batches
from generators.voxel_data_generator import VoxelDataGenerator
from networks.unet import U_Net_3D
from utils.data.checks import check_crop_shape, pooling_factors
from utils.data.experiment_data import load_volumes
from utils.pictures.charts import draw_checks
from utils.post_processing.z_filter import z_filter
from utils.prediction.dry_run import dry_run
from utils.prediction.full_volumes import full_volumes_fit
from utils.prediction.protocols import predict_crops, predict_each, predict_full_images
from utils.runs.run import Run
from utils.training.training import compile_network, prepare_keras, train_network

# %% Checks and data
check_crop_shape(CROP_SHAPE, poolings=DEPTH, z_down=Z_DOWN, padding=PADDING, padding_mode=PADDING_MODE)
prepare_keras(seed=SEED, precision=PRECISION, deterministic=DETERMINISTIC, volumes=True)
data = load_volumes(
    args.data_dir,
    CROP_SHAPE,
    overlap=OVERLAP,
    validation_split=VALIDATION_SPLIT,
    random_subvolumes=RANDOM_SUBVOLUMES,
    n_classes=N_CLASSES,
    intensity_range=INTENSITY_RANGE,
    image_dataset=IMAGE_DATASET,
    mask_dataset=MASK_DATASET,
    z_filter_size=Z_FILTER_SIZE,
)
run = Run(args, settings)

# %% Data augmentation
augmentation = VoxelDataGenerator(
    horizontal_flip=HORIZONTAL_FLIP,
    vertical_flip=VERTICAL_FLIP,
    z_flip=Z_FLIP,
    rotation90=ROTATION90,
    rotation_range=ROTATION_RANGE,
    elastic_alpha=ELASTIC_ALPHA,
    elastic_sigma=ELASTIC_SIGMA,
    zoom_range=ZOOM_RANGE,
    brightness_range=BRIGHTNESS_RANGE,
    gamma=GAMMA_RANGE,
    blur_sigma=BLUR_SIGMA,
    fill_mode=FILL_MODE,
    probability=AUGMENTATION_PROBABILITY,
    isotropic=ISOTROPIC,
)
train_batches, validation_batches = train_and_validation_batches(
    augmentation,
    data,
    crop_shape=CROP_SHAPE,
    batch_size=BATCH_SIZE,
    seed=SEED,
    intensity_range=INTENSITY_RANGE,
    workers=WORKERS,
    samples_per_array=max(1, RANDOM_SUBVOLUMES),
    probability_map=PROBABILITY_MAP,
)
draw_checks(run.checks, data, train_batches, overlap=OVERLAP)

# %% Network
model = U_Net_3D(
    (None, None, None, CROP_SHAPE[-1]),
    activation=ACTIVATION,
    feature_maps=FEATURE_MAPS,
    depth=DEPTH,
    drop_values=DROP_VALUES,
    spatial_dropout=SPATIAL_DROPOUT,
    batch_norm=BATCH_NORM,
    k_init=K_INIT,
    z_down=Z_DOWN,
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

# %% Evaluation: per subvolume
run.section("Evaluation")
test, batches = data.test, {"batch_size": BATCH_SIZE, "intensity_range": INTENSITY_RANGE}
per_crop = predict_each(model, data.test_crops.x, **batches)
run.evaluate("per_crop", data.test_crops, per_crop, loss=model.loss, save=False)

# %% Evaluation: merged into complete volumes, as they come and with 50 % overlap
grid = {"crop_shape": CROP_SHAPE, "overlap": OVERLAP, "padding": PADDING, "padding_mode": PADDING_MODE, **batches}
merged = run.evaluate("per_image", test, predict_crops(model, test.x, **grid))
if Z_FILTER_SIZE:
    run.evaluate("per_image", test, z_filter(merged, Z_FILTER_SIZE), post="z_filter")
if ENSEMBLE:
    ensemble = run.evaluate("per_image", test, predict_crops(model, test.x, ensemble=True, **grid), post="ensemble")
if ENSEMBLE and Z_FILTER_SIZE:
    run.evaluate("per_image", test, z_filter(ensemble, Z_FILTER_SIZE), post="ensemble_z_filter")
half = {**grid, "overlap": 0.5}
run.evaluate("overlap_50", test, predict_crops(model, test.x, **half))
if ENSEMBLE:
    ensemble = run.evaluate("overlap_50", test, predict_crops(model, test.x, ensemble=True, **half), post="ensemble")
if ENSEMBLE and Z_FILTER_SIZE:
    run.evaluate("overlap_50", test, z_filter(ensemble, Z_FILTER_SIZE), post="ensemble_z_filter")

# %% Evaluation: full volume
full = {"divisor": pooling_factors(DEPTH, Z_DOWN), "intensity_range": INTENSITY_RANGE}
if full_volumes_fit(model, test.x, full["divisor"], wanted=FULL_VOLUME):
    run.evaluate("full_image", test, predict_full_images(model, test.x, **full))

# %% Results
run.finish()
