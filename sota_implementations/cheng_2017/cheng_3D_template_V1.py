"""Cheng and Varshney 2017 in 3D, with the improved settings of the study.

Segments mitochondria with the network of "Volume segmentation using convolutional neural networks with limited
training data" (ICIP 2017): factorised convolutions, stochastic downsampling, no skips, Jaccard loss.

    python -u sota_implementations/cheng_2017/cheng_3D_template_V1.py $code_dir $data_dir $job_dir --id 621 --gpu 0

data_dir holds train/x train/y test/x test/y: the slices of one volume (png, tif), or one file for each volume (tif,
hdf5, zarr); test/y may be missing. Results go to job_dir/results/<id>_<rid>/.

Differs from cheng_3D_template_V0.py in values: Adam with a constant rate, EPOCHS, PATIENCE.
"""

# %% Command line
import sys
from pathlib import Path

sys.path[:0] = [*sys.argv[1:2], str(Path(__file__).resolve().parents[2])]

from utils.command_line import apply_overrides, parse_command_line

args = parse_command_line(__file__)

# %% Experiment variables
# --- Data
# Subvolume (z, y, x, channels) that the network sees; sides divisible by 8
CROP_SHAPE = (96, 128, 128, 1)
# Minimum overlap of neighbouring subvolumes, as a fraction, for all axes or one each
OVERLAP = 0.0
# Random subvolumes per volume and epoch; 0 uses a regular grid
RANDOM_SUBVOLUMES = 0
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
HORIZONTAL_FLIP = False
VERTICAL_FLIP = False
Z_FLIP = False
# True: turn by a multiple of 90 degrees in the plane, without resampling
ROTATION90 = True
# (low, high) of the size of elastic displacements, and their smoothness, in pixels
ELASTIC_ALPHA = (0.0, 0.0)
ELASTIC_SIGMA = 25.0
# Share of the samples that are displaced
AUGMENTATION_PROBABILITY = 0.5

# --- Network
# Feature maps of the first convolution
NUM_INIT_CHANNELS = 16
DROP_VALUE = 0.1
# Stochastic downsampling keeps half of each group of this many voxels along each axis
DOWNSAMPLING_GROUP = 4
K_INIT = "he_normal"
# 1: foreground or not; more: number of classes, background included
N_CLASSES = 2

# --- Training
# bce, w_bce, dice, jaccard, bce_dice, w_bce_dice
LOSS = "jaccard"
# sgd, adam, adamw
OPTIMIZER = "adam"
LEARNING_RATE = 0.0001
# Momentum of sgd
MOMENTUM = 0.9
# None, one_cycle, or step: a tenth after half of the training, a hundredth after three quarters
SCHEDULE = None
BATCH_SIZE = 3
EPOCHS = 250
# Training ends after this many epochs without a better MONITOR: val_loss or val_foreground_iou
PATIENCE = 30
MONITOR = "val_loss"
# A weights file to use instead of training
LOAD_WEIGHTS = None

# --- Evaluation
# Slices in the median along z; 0 for none
Z_FILTER_SIZE = 5
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
from sota_implementations.cheng_2017.asymmetric_network import asymmetric_3D_network
from utils.data.checks import check_crop_shape
from utils.data.experiment_data import load_volumes
from utils.pictures.charts import draw_checks
from utils.prediction.dry_run import dry_run
from utils.prediction.evaluation import evaluate_volumes
from utils.prediction.predictor import Predictor
from utils.runs.run import Run
from utils.training.optimizers import get_optimizer
from utils.training.training import compile_network, prepare_keras, train_network

# %% Checks and data
check_crop_shape(CROP_SHAPE, poolings=3, z_down=2)
prepare_keras(seed=seed, precision=args.precision, deterministic=args.deterministic, volumes=True)
datasets = {"image_dataset": IMAGE_DATASET, "mask_dataset": MASK_DATASET}
reading = {"n_classes": N_CLASSES, "intensity_range": INTENSITY_RANGE, "z_filter_size": Z_FILTER_SIZE, **datasets}
parts = {"validation_split": VALIDATION_SPLIT, "overlap": OVERLAP, "random_subvolumes": RANDOM_SUBVOLUMES}
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
model = asymmetric_3D_network(
    (None, None, None, CROP_SHAPE[-1]),
    numInitChannels=NUM_INIT_CHANNELS,
    fixed_dropout=DROP_VALUE,
    t_downsmp_layer=DOWNSAMPLING_GROUP,
    k_init=K_INIT,
    n_classes=N_CLASSES,
)
rates = {"schedule": SCHEDULE, "total_steps": EPOCHS * len(train_batches)}
optimizer = get_optimizer(OPTIMIZER, learning_rate=LEARNING_RATE, momentum=MOMENTUM, **rates)
compile_network(model, loss=LOSS, optimizer=optimizer, masks=data.train_crops.y)
predictor = Predictor(model, data, batch_size=BATCH_SIZE, divisor=8)

# %% Training
if args.dry_run:
    merged = predictor.crops(data.test, overlap=OVERLAP)
    dry_run(run, model, train_batches, epochs=EPOCHS, images=data.test, predictions=merged)
training = {"epochs": EPOCHS, "schedule": SCHEDULE, "monitor": MONITOR, "patience": PATIENCE}
train_network(run, model, data, train_batches, validation_batches, weights_file=LOAD_WEIGHTS, **training)

# %% Evaluation: all protocols of the study, as U-Net_3D_template.py spells them out
protocols = {"half_overlap": HALF_OVERLAP, "ensemble": ENSEMBLE, "full_volume": FULL_VOLUME}
evaluate_volumes(run, predictor, data, z_filter_size=Z_FILTER_SIZE, **protocols)

# %% Results
run.finish()
