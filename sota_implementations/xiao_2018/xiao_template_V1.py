"""Xiao et al. 2018, with the improved settings of the study.

Segments mitochondria with the network of "Automatic mitochondria segmentation for EM data using a 3D supervised
convolutional network" (Frontiers in Neuroanatomy 2018): a residual U-Net that never reduces z, with two auxiliary
outputs. Objects are then connected across slices.

    python -u sota_implementations/xiao_2018/xiao_template_V1.py $code_dir $data_dir $job_dir --id 631 --gpu 0

data_dir holds train/x train/y test/x test/y: the slices of one volume (png, tif), or one file for each volume (tif,
hdf5, zarr); test/y may be missing. Results go to job_dir/results/<id>_<rid>/.

Differs from xiao_template_V0.py in one value: ELASTIC_ALPHA, which adds elastic deformations.
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
# Subvolume of the test volumes, and the overlap of these
TEST_CROP_SHAPE = (20, 448, 576, 1)
TEST_OVERLAP = (0.5, 0.0, 0.0)
# Random subvolumes per volume and epoch; 0 uses a regular grid
RANDOM_SUBVOLUMES = 6450
# (foreground, background) weights of the voxel in the middle of a random subvolume, or None
PROBABILITY_MAP = None
# Grey values that become 0 and 1; None: 0..255, 0..65535 or 0..1, by the dtype of the images
INTENSITY_RANGE = None
# Names of the arrays in hdf5 and zarr files that hold several
IMAGE_DATASET = None
MASK_DATASET = None
# Share of the slices of each volume, the last ones, kept for validation
VALIDATION_SPLIT = 0.1
# Repetition --rid has the seed SEED + rid; with --keep-seed all have SEED
SEED = 42

# --- Data augmentation
# Mirror, each with probability 0.5
HORIZONTAL_FLIP = True
VERTICAL_FLIP = True
Z_FLIP = True
# True: turn by a multiple of 90 degrees in the plane, without resampling
ROTATION90 = True
# (low, high) of the size of elastic displacements, and their smoothness, in pixels
ELASTIC_ALPHA = (1.0, 2.0)
ELASTIC_SIGMA = 25.0
# Share of the samples that are displaced
AUGMENTATION_PROBABILITY = 0.5

# --- Network
# Feature maps of the three levels and of the bottleneck
FEATURE_MAPS = (32, 48, 64, 80)
ACTIVATION = "elu"
K_INIT = "he_normal"
# 1: foreground or not; more: number of classes, background included
N_CLASSES = 2
# Weight of each output in the loss: the main one, the auxiliary one of the deepest block, the other
OUTPUT_WEIGHTS = (1.0, 0.15, 0.3)

# --- Training
# bce, w_bce, dice, jaccard, bce_dice, w_bce_dice
LOSS = "bce"
# sgd (momentum 0.99), adam, adamw; EPSILON belongs to the last two
OPTIMIZER = "adam"
EPSILON = 1e-8
LEARNING_RATE = 0.0001
# None, one_cycle or step; LEARNING_RATE is the highest rate of a schedule
SCHEDULE = None
BATCH_SIZE = 2
EPOCHS = 30
# Training ends after this many epochs without a better MONITOR: val_loss or val_foreground_iou
PATIENCE = 30
MONITOR = "val_loss"
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
# True: predict with 50 % overlap too, which can take hours on a CPU
HALF_OVERLAP = True
# True: predict as an ensemble of 16 orientations too, in 16 times the time
ENSEMBLE = True
# True: predict whole volumes at once too; None: if they fit into memory
FULL_VOLUME = None

settings = apply_overrides(globals(), args.set)
seed = SEED if args.keep_seed else SEED + args.rid

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
from utils.prediction.predictor import Predictor
from utils.runs.run import Run
from utils.training.optimizers import get_optimizer
from utils.training.training import compile_network, prepare_keras, train_network

# %% Checks and data
check_crop_shape(CROP_SHAPE, poolings=3, z_down=1)
check_crop_shape(TEST_CROP_SHAPE, poolings=3, z_down=1, name="TEST_CROP_SHAPE")
check_min_overlap(MIN_LAYER_OVERLAP, name="MIN_LAYER_OVERLAP")
check_min_size(MIN_VOXELS, MIN_SLICES, names=("MIN_VOXELS", "MIN_SLICES"))
prepare_keras(seed=seed, precision=args.precision, deterministic=args.deterministic, volumes=True)
datasets = {"image_dataset": IMAGE_DATASET, "mask_dataset": MASK_DATASET}
reading = {"n_classes": N_CLASSES, "intensity_range": INTENSITY_RANGE, "z_filter_size": Z_FILTER_SIZE, **datasets}
parts = {"validation_split": VALIDATION_SPLIT, "overlap": OVERLAP, "random_subvolumes": RANDOM_SUBVOLUMES}
parts |= {"test_grid": (TEST_CROP_SHAPE, TEST_OVERLAP)}
data = load_volumes(args.data_dir, CROP_SHAPE, seed=seed, **reading, **parts)
run = Run(args, settings, seed=seed, intensity_range=data.intensity_range, voxel_size_nm=data.voxel_size_nm, **datasets)

# %% Data augmentation
augmentation = VoxelDataGenerator(
    horizontal_flip=HORIZONTAL_FLIP,
    vertical_flip=VERTICAL_FLIP,
    z_flip=Z_FLIP,
    rotation90=ROTATION90,
    elastic_alpha=ELASTIC_ALPHA,
    elastic_sigma=ELASTIC_SIGMA,
    probability=AUGMENTATION_PROBABILITY,
)
sampling = {"samples_per_array": RANDOM_SUBVOLUMES, "probability_map": PROBABILITY_MAP, "workers": args.workers}
train_batches, validation_batches = train_and_validation_batches(augmentation, data, batch_size=BATCH_SIZE, **sampling)
draw_checks(run.checks, data, train_batches, overlap=OVERLAP)

# %% Network
shape = (None, None, None, CROP_SHAPE[-1])
model = U_Net_3D_Xiao(shape, N_CLASSES, feature_maps=FEATURE_MAPS, activation=ACTIVATION, k_init=K_INIT)
rates = {"schedule": SCHEDULE, "total_steps": EPOCHS * len(train_batches)}
optimizer = get_optimizer(OPTIMIZER, learning_rate=LEARNING_RATE, epsilon=EPSILON, **rates)
compile_network(model, loss=LOSS, optimizer=optimizer, masks=data.train_crops.y, output_weights=OUTPUT_WEIGHTS)
predictor = Predictor(model, data, batch_size=BATCH_SIZE, divisor=(1, 8, 8), crop_shape=TEST_CROP_SHAPE)

# %% Training
if args.dry_run:
    merged = predictor.crops(data.test, overlap=TEST_OVERLAP)
    dry_run(run, model, train_batches, epochs=EPOCHS, images=data.test, predictions=merged)
training = {"epochs": EPOCHS, "schedule": SCHEDULE, "monitor": MONITOR, "patience": PATIENCE}
train_network(run, model, data, train_batches, validation_batches, weights_file=LOAD_WEIGHTS, **training)

# %% Evaluation: all protocols of the study, as U-Net_3D_template.py spells them out
protocols = {"half_overlap": HALF_OVERLAP, "ensemble": ENSEMBLE, "full_volume": FULL_VOLUME}
saved = evaluate_volumes(run, predictor, data, overlap=TEST_OVERLAP, z_filter_size=Z_FILTER_SIZE, **protocols)

# %% Evaluation: slices correct each other, and objects connected across them must be large enough, after the paper
if N_CLASSES <= 2:
    fused = fuse_layers(saved["per_image", "none"], min_overlap=MIN_LAYER_OVERLAP)
    fused = run.evaluate("per_image", data.test, fused, post="fused_layers")
    connected = remove_small_objects(fused, MIN_VOXELS, min_slices=MIN_SLICES)
    run.evaluate("per_image", data.test, connected, post="connected_objects")

# %% Results
run.finish()
