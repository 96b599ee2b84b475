"""Xiao et al. 2018, with elastic deformations.

Segments mitochondria with the network of "Automatic mitochondria segmentation for EM data using a 3D supervised
convolutional network" (Frontiers in Neuroanatomy 2018): a residual U-Net that never reduces z, with two auxiliary
outputs, and connected objects across slices behind it, at the improved settings of the study.

    python -u sota_implementations/xiao_2018/xiao_template_V1.py $code_dir $data_dir $job_dir --id 631 --gpu 0

data_dir holds train/x train/y test/x test/y: the slices of one volume (png, tif), or one file for each volume (tif,
hdf5, zarr); test/y may be missing. Results go to job_dir/results/<id>_<rid>/.

Differs from xiao_template_V0.py in: elastic deformations.
"""

# %% Command line
import sys
from pathlib import Path

sys.path[:0] = [*sys.argv[1:2], str(Path(__file__).resolve().parents[2])]

from utils.command_line import apply_overrides, parse_command_line

args = parse_command_line(__file__)

# %% Experiment variables
# --- Data
# Subvolume (z, y, x, channels) that the network sees; y and x divisible by 8
CROP_SHAPE = (20, 256, 256, 1)
# Minimum overlap of neighbouring subvolumes, as a fraction, for all axes or one each
OVERLAP = 0.0
# Subvolume of the test volumes and their overlap
TEST_CROP_SHAPE = (20, 448, 576, 1)
TEST_OVERLAP = (0.5, 0.0, 0.0)
# Margin (z, y, x) of a subvolume whose prediction is thrown away
PADDING = (0, 0, 0)
# What lies outside the volume when predicting: mirror, median
PADDING_MODE = "mirror"
# 0: all subvolumes of a grid; more: so many random subvolumes of each volume in an epoch
RANDOM_SUBVOLUMES = 6450
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
# Feature maps of the three levels and of the bottleneck
FEATURE_MAPS = (32, 48, 64, 80)
ACTIVATION = "elu"
K_INIT = "he_normal"
# 1: foreground or not; more: number of classes, background included
N_CLASSES = 2
# How much each output counts in the loss: the main one, the auxiliary one of the deepest block, the other
OUTPUT_WEIGHTS = (1.0, 0.15, 0.3)

# --- Training
# bce, w_bce, dice, jaccard, bce_dice, w_bce_dice
LOSS = "bce"
# How many times a foreground voxel counts in w_bce and w_bce_dice; None: so often that both classes count the same
FOREGROUND_WEIGHT = None
# sgd (momentum 0.99), adam, adamw; the epsilon is of the last two
OPTIMIZER = "adam"
EPSILON = 1e-8
LEARNING_RATE = 0.0001
# None, one_cycle or step (LEARNING_RATE is then its highest)
SCHEDULE = None
BATCH_SIZE = 2
EPOCHS = 30
# Training ends after so many epochs without a better MONITOR: val_loss or val_foreground_iou
PATIENCE = 30
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
# Share of an object in a slice that the slices before and after must show
MIN_LAYER_OVERLAP = 0.2
# Voxels and slices that an object must have
MIN_VOXELS = 1000
MIN_SLICES = 3
# Predict with 50 % overlap too, and each as an ensemble of 16 orientations too; both can take hours on a CPU
HALF_OVERLAP = True
ENSEMBLE = True
# Predict whole volumes at once too: True, False, or None if they fit into memory
FULL_VOLUME = None

settings = apply_overrides(globals(), args.set)

# %% Imports
from generators.batches import train_and_validation_batches
from generators.voxel_data_generator import VoxelDataGenerator
from sota_implementations.xiao_2018.xiao_unet import U_Net_3D_Xiao
from utils.data.checks import check_crop_shape
from utils.data.experiment_data import load_volumes
from utils.pictures.charts import draw_checks
from utils.post_processing.across_slices import check_min_overlap, check_min_size, fuse_layers, remove_small_objects
from utils.prediction.dry_run import dry_run
from utils.prediction.evaluation import evaluate_volumes
from utils.runs.run import Run
from utils.training.training import compile_network, prepare_keras, train_network

# %% Checks and data
check_crop_shape(CROP_SHAPE, poolings=3, z_down=1, padding_mode=PADDING_MODE)
check_crop_shape(TEST_CROP_SHAPE, poolings=3, z_down=1, padding=PADDING, name="TEST_CROP_SHAPE")
check_min_overlap(MIN_LAYER_OVERLAP, name="MIN_LAYER_OVERLAP")
check_min_size(MIN_VOXELS, MIN_SLICES, names=("MIN_VOXELS", "MIN_SLICES"))
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
    test_grid=(TEST_CROP_SHAPE, TEST_OVERLAP),
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
shape = (None, None, None, CROP_SHAPE[-1])
model = U_Net_3D_Xiao(shape, N_CLASSES, feature_maps=FEATURE_MAPS, activation=ACTIVATION, k_init=K_INIT)
compile_network(
    model,
    loss=LOSS,
    optimizer=OPTIMIZER,
    learning_rate=LEARNING_RATE,
    steps=EPOCHS * len(train_batches),
    schedule=SCHEDULE,
    foreground_weight=FOREGROUND_WEIGHT,
    masks=data.train_crops.y,
    output_weights=OUTPUT_WEIGHTS,
    epsilon=EPSILON,
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

# %% Evaluation: the protocols of U-Net_3D_template.py
saved = evaluate_volumes(
    run,
    model,
    data,
    TEST_CROP_SHAPE,
    divisor=(1, 8, 8),
    overlap=TEST_OVERLAP,
    padding=PADDING,
    padding_mode=PADDING_MODE,
    z_filter_size=Z_FILTER_SIZE,
    half_overlap=HALF_OVERLAP,
    ensemble=ENSEMBLE,
    full_volume=FULL_VOLUME,
    batch_size=BATCH_SIZE,
    intensity_range=INTENSITY_RANGE,
)

# %% Evaluation: slices correct each other, and objects connected across them must be large enough, after the paper
if N_CLASSES <= 2:
    fused = fuse_layers(saved["per_image", "none"], min_overlap=MIN_LAYER_OVERLAP)
    fused = run.evaluate("per_image", data.test, fused, post="fused_layers")
    connected = remove_small_objects(fused, MIN_VOXELS, min_slices=MIN_SLICES)
    run.evaluate("per_image", data.test, connected, post="connected_objects")

# %% Results
run.finish()
