"""3D Residual U-Net on electron microscopy volumes.

Segments mitochondria with the residual U-Net (full pre-activation blocks, He et al. 2016, arXiv 1603.05027) at the
settings of "Stable deep neural network architectures for mitochondria segmentation on electron microscopy volumes"
(Franco-Barranco et al. 2021, arXiv 2104.03577) and scores the prediction under all of its protocols.

    python -u templates/Residual_U-Net_3D_template.py $code_dir $data_dir $job_dir --id 501 --rid 0 --gpu 0

data_dir holds train/x train/y test/x test/y: the slices of one volume (png, tif), or one file for each volume (tif,
hdf5, zarr); test/y may be missing. Results go to job_dir/results/<id>_<rid>/.

1,501,293 parameters. After 15 CPU minutes on Lucchi, benchmarks/architectures.py measured a foreground IoU of 0.548
(U-Net: 0.491). On a CPU, train with the settings of footnote 2 of the README, as far as this page has them.

Differs from U-Net_3D_template.py in: the network, one level deeper, the evaluation in one call.
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
HORIZONTAL_FLIP = True
VERTICAL_FLIP = True
Z_FLIP = True
# True: turn by a multiple of 90 degrees in the plane, without resampling
ROTATION90 = True
# (low, high) of the size of elastic displacements, and their smoothness, in pixels
ELASTIC_ALPHA = (1.0, 2.0)
ELASTIC_SIGMA = 25.0
# (low, high) of a factor on the grey values, or None
BRIGHTNESS_RANGE = None
# Share of the samples that are displaced and brightened
AUGMENTATION_PROBABILITY = 0.5

# --- Network
FEATURE_MAPS = (28, 36, 48, 64, 80)
DEPTH = 4
# Dropout of each level, the bottleneck last
DROP_VALUES = (0.0, 0.0, 0.0, 0.0, 0.0)
# level: as listed; published: the first value is that of the bottleneck, as in the published code
DROP_ORDER = "level"
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
# sgd (momentum 0.99), adam, adamw
OPTIMIZER = "adam"
LEARNING_RATE = 0.0001
# None, one_cycle or step; LEARNING_RATE is the highest rate of a schedule
SCHEDULE = None
BATCH_SIZE = 1
EPOCHS = 360
# Training ends after this many epochs without a better MONITOR: val_loss or val_foreground_iou
PATIENCE = 200
MONITOR = "val_loss"
# A weights file to use instead of training
LOAD_WEIGHTS = None

# --- Evaluation
# Slices in the median along z; 0 for none
Z_FILTER_SIZE = 5
# True: predict as an ensemble of 16 orientations too, in 16 times the time
ENSEMBLE = True
# True: predict whole volumes at once too; None: if they fit into memory
FULL_VOLUME = None

settings = apply_overrides(globals(), args.set)
seed = SEED if args.keep_seed else SEED + args.rid

# %% Imports
from generators.batches import train_and_validation_batches
from generators.voxel_data_generator import VoxelDataGenerator
from networks.residual_unet import ResUNet_3D
from utils.data.checks import check_crop_shape, pooling_factors
from utils.data.experiment_data import load_volumes
from utils.pictures.charts import draw_checks
from utils.prediction.dry_run import dry_run
from utils.prediction.evaluation import evaluate_volumes
from utils.prediction.predictor import Predictor
from utils.runs.run import Run
from utils.training.optimizers import get_optimizer
from utils.training.training import compile_network, prepare_keras, train_network

# %% Checks and data
check_crop_shape(CROP_SHAPE, poolings=DEPTH, z_down=Z_DOWN)
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
    brightness_range=BRIGHTNESS_RANGE,
    probability=AUGMENTATION_PROBABILITY,
)
sampling = {"samples_per_array": RANDOM_SUBVOLUMES, "probability_map": PROBABILITY_MAP, "workers": args.workers}
train_batches, validation_batches = train_and_validation_batches(augmentation, data, batch_size=BATCH_SIZE, **sampling)
draw_checks(run.checks, data, train_batches, overlap=OVERLAP)

# %% Network
model = ResUNet_3D(
    (None, None, None, CROP_SHAPE[-1]),
    activation=ACTIVATION,
    feature_maps=FEATURE_MAPS,
    depth=DEPTH,
    drop_values=DROP_VALUES,
    batch_norm=BATCH_NORM,
    k_init=K_INIT,
    z_down=Z_DOWN,
    drop_order=DROP_ORDER,
    n_classes=N_CLASSES,
)
steps = EPOCHS * len(train_batches)
optimizer = get_optimizer(OPTIMIZER, learning_rate=LEARNING_RATE, schedule=SCHEDULE, total_steps=steps)
compile_network(model, loss=LOSS, optimizer=optimizer, masks=data.train_crops.y)
predictor = Predictor(model, data, batch_size=BATCH_SIZE, divisor=pooling_factors(DEPTH, Z_DOWN))

# %% Training
if args.dry_run:
    merged = predictor.crops(data.test, overlap=OVERLAP)
    dry_run(run, model, train_batches, epochs=EPOCHS, images=data.test, predictions=merged)
training = {"epochs": EPOCHS, "schedule": SCHEDULE, "monitor": MONITOR, "patience": PATIENCE}
train_network(run, model, data, train_batches, validation_batches, weights_file=LOAD_WEIGHTS, **training)

# %% Evaluation: the protocols of U-Net_3D_template.py
evaluate_volumes(run, predictor, data, z_filter_size=Z_FILTER_SIZE, ensemble=ENSEMBLE, full_volume=FULL_VOLUME)

# %% Results
run.finish()
