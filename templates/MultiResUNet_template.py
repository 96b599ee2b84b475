"""MultiResUNet on electron microscopy slices.

Segments mitochondria with MultiResUNet (Ibtehaz and Rahman 2020, arXiv 1902.04049) at the settings of "Stable deep
neural network architectures for mitochondria segmentation on electron microscopy volumes" (Franco-Barranco et al. 2021,
arXiv 2104.03577) and scores the prediction under all of its protocols.

    python -u templates/MultiResUNet_template.py $code_dir $data_dir $job_dir --id 406 --rid 0 --gpu 0

data_dir holds train/x train/y test/x test/y (png or tif; test/y may be missing). Results go to
job_dir/results/<id>_<rid>/.

7,262,504 parameters. After 15 CPU minutes on Lucchi, benchmarks/architectures.py measured a foreground IoU of 0.163
(U-Net: 0.809). On a CPU, train with the settings that U-Net_2D_template.py names for it, as far as this page has them.

Differs from U-Net_2D_template.py in: the network (without dropout), Adam and its learning rate, the evaluation in one
call.
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
# Minimum overlap of neighbouring crops, as a fraction of the crop, for all axes or one each
OVERLAP = 0.0
# Grey values that become 0 and 1; None: 0..255, 0..65535 or 0..1, by the dtype of the images
INTENSITY_RANGE = None
# Share of the training images kept for validation
VALIDATION_SPLIT = 0.1
# True: drawn at random, as published; False: the last ones, so that no neighbouring slices are in both parts
RANDOM_VALIDATION = True
# Repetition --rid has the seed SEED + rid; with --keep-seed all have SEED
SEED = 42

# --- Data augmentation
# Degrees; the angle is uniform between -ROTATION_RANGE and ROTATION_RANGE
ROTATION_RANGE = 180.0
# True: turn by a multiple of 90 degrees, without resampling
ROTATION90 = False
# Mirror, each with probability 0.5
HORIZONTAL_FLIP = True
VERTICAL_FLIP = True
# (low, high) of a factor on the grey values, or None
BRIGHTNESS_RANGE = None
# Share of the samples that are rotated and brightened
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
# sgd (momentum 0.99), adam, adamw
OPTIMIZER = "adam"
LEARNING_RATE = 0.005
# None, one_cycle or step; LEARNING_RATE is the highest rate of a schedule
SCHEDULE = None
BATCH_SIZE = 6
EPOCHS = 360
# Training ends after this many epochs without a better MONITOR: val_loss or val_foreground_iou
PATIENCE = 200
MONITOR = "val_loss"
# A weights file to use instead of training
LOAD_WEIGHTS = None

# --- Evaluation
# Slices in the median along z; 0 when the test images are not consecutive slices of one volume
Z_FILTER_SIZE = 5
# True: predict with 50 % overlap and full images as an ensemble of 8 orientations too
ENSEMBLE = True

settings = apply_overrides(globals(), args.set)
seed = SEED if args.keep_seed else SEED + args.rid

# %% Imports
from generators.batches import train_and_validation_batches
from generators.image_data_generator import ImageDataGenerator
from networks.multiresunet import MultiResUNet
from utils.data.checks import check_crop_shape
from utils.data.experiment_data import load_images
from utils.pictures.charts import draw_checks
from utils.prediction.dry_run import dry_run
from utils.prediction.evaluation import evaluate_images
from utils.prediction.predictor import Predictor
from utils.runs.run import Run
from utils.training.optimizers import get_optimizer
from utils.training.training import compile_network, prepare_keras, train_network

# %% Checks and data
check_crop_shape(CROP_SHAPE, poolings=DEPTH)
prepare_keras(seed=seed, precision=args.precision, deterministic=args.deterministic)
reading = {"n_classes": N_CLASSES, "intensity_range": INTENSITY_RANGE, "z_filter_size": Z_FILTER_SIZE}
parts = {"validation_split": VALIDATION_SPLIT, "random_validation": RANDOM_VALIDATION, "overlap": OVERLAP}
data = load_images(args.data_dir, CROP_SHAPE, seed=seed, **reading, **parts)
run = Run(args, settings, seed=seed, intensity_range=data.intensity_range, voxel_size_nm=data.voxel_size_nm)

# %% Data augmentation
augmentation = ImageDataGenerator(
    rotation_range=ROTATION_RANGE,
    rotation90=ROTATION90,
    horizontal_flip=HORIZONTAL_FLIP,
    vertical_flip=VERTICAL_FLIP,
    brightness_range=BRIGHTNESS_RANGE,
    probability=AUGMENTATION_PROBABILITY,
)
sampling = {"batch_size": BATCH_SIZE, "workers": args.workers}
train_batches, validation_batches = train_and_validation_batches(augmentation, data, **sampling)
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
steps = EPOCHS * len(train_batches)
optimizer = get_optimizer(OPTIMIZER, learning_rate=LEARNING_RATE, schedule=SCHEDULE, total_steps=steps)
compile_network(model, loss=LOSS, optimizer=optimizer, masks=data.train_crops.y)
predictor = Predictor(model, data, batch_size=BATCH_SIZE, divisor=2**DEPTH)

# %% Training
if args.dry_run:
    merged = predictor.crops(data.test, overlap=OVERLAP)
    dry_run(run, model, train_batches, epochs=EPOCHS, images=data.test, predictions=merged)
training = {"epochs": EPOCHS, "schedule": SCHEDULE, "monitor": MONITOR, "patience": PATIENCE}
train_network(run, model, data, train_batches, validation_batches, weights_file=LOAD_WEIGHTS, **training)

# %% Evaluation: the protocols of U-Net_2D_template.py
evaluate_images(run, predictor, data, z_filter_size=Z_FILTER_SIZE, ensemble=ENSEMBLE)

# %% Results
run.finish()
