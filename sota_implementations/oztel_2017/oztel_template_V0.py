"""Oztel et al. 2017: a classifier of 32x32 patches that sees whole slices, with the settings of the paper.

Segments mitochondria as "Mitochondria segmentation in electron microscopy volumes using deep convolutional neural
network" (IEEE BIBM 2017). Patches of one class train a network, which then classifies the surroundings of every eighth
pixel. Doubtful objects are removed, a watershed moves outlines to edges, and a median along z smooths the volume.

    python -u sota_implementations/oztel_2017/oztel_template_V0.py $code_dir $data_dir $job_dir --id 602 --gpu 0

data_dir holds train/x train/y test/x test/y (png or tif; test/y may be missing). Results go to
job_dir/results/<id>_<rid>/.

Differs from U-Net_2D_template.py in: the network, patches with labels instead of crops with masks, a report on the
validation patches, prediction and evaluation of full images only, the post-processing of the paper.
"""

# %% Command line
import sys
from pathlib import Path

sys.path[:0] = [*sys.argv[1:2], str(Path(__file__).resolve().parents[2])]

from utils.command_line import apply_overrides, parse_command_line

args = parse_command_line(__file__)

# %% Experiment variables
# --- Data
# Patch (y, x, channels) that the network classifies: 32x32
CROP_SHAPE = (32, 32, 1)
# Patches with at least this share of foreground are foreground
FOREGROUND_ABOVE = 0.8
# Patches with at most this share are background; all between are left out
BACKGROUND_BELOW = 0.2
# How often each foreground patch occurs in an epoch; None: until both classes count the same
FOREGROUND_REPEATS = 20
# Grey values that become 0 and 1; None: 0..255, 0..65535 or 0..1, by the dtype of the images
INTENSITY_RANGE = None
# Share of the training images kept for validation
VALIDATION_SPLIT = 0.2
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
# Largest shifts, as fractions of width and height
WIDTH_SHIFT_RANGE = 0.2
HEIGHT_SHIFT_RANGE = 0.2
# Largest shear, in degrees
SHEAR_RANGE = 0.2
# Share of the samples that are rotated, shifted and sheared
AUGMENTATION_PROBABILITY = 1.0

# --- Network
DROP_VALUE = 0.5
K_INIT = "glorot_uniform"

# --- Training
# bce (categorical, for two classes), w_bce, dice, jaccard, bce_dice, w_bce_dice
LOSS = "bce"
# sgd (momentum 0.99), adam, adamw
OPTIMIZER = "adam"
LEARNING_RATE = 0.001
# None, one_cycle or step; LEARNING_RATE is the highest rate of a schedule
SCHEDULE = None
BATCH_SIZE = 128
EPOCHS = 45
# Training ends after this many epochs without a better MONITOR: val_loss or val_foreground_iou (of labels)
PATIENCE = 25
MONITOR = "val_loss"
# A weights file to use instead of training
LOAD_WEIGHTS = None

# --- Evaluation
# Slices in the median along z that follows the ensemble; 0 when the test images are not slices of one volume
Z_FILTER_SIZE = 5
# Objects with a lower mean probability are removed
SPURIOUS_BELOW = 0.8
# Pixels by which the watershed opens the mask, and may move its outline outward and inward
WATERSHED_OPEN = 3
WATERSHED_DILATE = 11
WATERSHED_ERODE = 11
# Standard deviation, in pixels, of the Gaussian before edges are detected
WATERSHED_EDGE_SIGMA = 2.0
# True: separate objects that touch, by a line of background
WATERSHED_PART_TOUCHING = False
# Slices in the last median along z; 0 when the test images are not slices of one volume
LAST_Z_FILTER_SIZE = 9

settings = apply_overrides(globals(), args.set)
seed = SEED if args.keep_seed else SEED + args.rid

# %% Imports
from dataclasses import replace

from generators.batches import train_and_validation_batches
from generators.image_data_generator import ImageDataGenerator
from sota_implementations.oztel_2017 import patches
from sota_implementations.oztel_2017.patch_classifier import create_oztel_model
from sota_implementations.oztel_2017.validation_report import report_validation
from utils.data.checks import check_same_size, check_z_filter_size
from utils.data.experiment_data import load_images
from utils.pictures.charts import draw_checks
from utils.post_processing.edge_watershed import check_watershed, edge_watershed
from utils.post_processing.within_slices import check_min_probability, spurious_filter
from utils.post_processing.z_filter import z_filter
from utils.prediction.dry_run import dry_run
from utils.runs.run import Run
from utils.training.optimizers import get_optimizer
from utils.training.training import compile_network, prepare_keras, train_network

# %% Checks and data
patches.check_patch_shape(CROP_SHAPE)
check_min_probability(SPURIOUS_BELOW, name="SPURIOUS_BELOW")
steps = {"WATERSHED_OPEN": WATERSHED_OPEN, "WATERSHED_DILATE": WATERSHED_DILATE, "WATERSHED_ERODE": WATERSHED_ERODE}
check_watershed(steps, {"WATERSHED_EDGE_SIGMA": WATERSHED_EDGE_SIGMA})
check_z_filter_size(LAST_Z_FILTER_SIZE, name="LAST_Z_FILTER_SIZE")
prepare_keras(seed=seed, precision=args.precision, deterministic=args.deterministic)
reading = {"intensity_range": INTENSITY_RANGE, "z_filter_size": Z_FILTER_SIZE}
parts = {"validation_split": VALIDATION_SPLIT, "random_validation": RANDOM_VALIDATION}
data = load_images(args.data_dir, CROP_SHAPE, seed=seed, **reading, **parts)
if LAST_Z_FILTER_SIZE:
    why = "the last z-filter needs slices of one volume"
    check_same_size(data.test, why=why, remedy="Use --set LAST_Z_FILTER_SIZE=0.")
clear = {"foreground_above": FOREGROUND_ABOVE, "background_below": BACKGROUND_BELOW}
train = patches.repeat_foreground(patches.keep_clear_patches(data.train_crops, **clear), FOREGROUND_REPEATS)
validation = patches.keep_clear_patches(data.validation_crops, **clear)
data = replace(data, train_crops=train, validation_crops=validation)
run = Run(args, settings, seed=seed, intensity_range=data.intensity_range, voxel_size_nm=data.voxel_size_nm)

# %% Data augmentation
augmentation = ImageDataGenerator(
    rotation_range=ROTATION_RANGE,
    rotation90=ROTATION90,
    horizontal_flip=HORIZONTAL_FLIP,
    vertical_flip=VERTICAL_FLIP,
    width_shift_range=WIDTH_SHIFT_RANGE,
    height_shift_range=HEIGHT_SHIFT_RANGE,
    shear_range=SHEAR_RANGE,
    probability=AUGMENTATION_PROBABILITY,
)
sampling = {"batch_size": BATCH_SIZE, "workers": args.workers}
train_pairs, validation_pairs = train_and_validation_batches(augmentation, data, **sampling)
draw_checks(run.checks, data, train_pairs)
train_batches, validation_batches = patches.PatchBatches(train_pairs), patches.PatchBatches(validation_pairs)

# %% Network
model = create_oztel_model(2, (None, None, CROP_SHAPE[-1]), DROP_VALUE, k_init=K_INIT)
rates = {"schedule": SCHEDULE, "total_steps": EPOCHS * len(train_batches)}
optimizer = get_optimizer(OPTIMIZER, learning_rate=LEARNING_RATE, **rates)
compile_network(model, loss=LOSS, optimizer=optimizer, masks=data.train_crops.y)

# %% Training
test, grey = data.test, {"intensity_range": data.intensity_range}
if args.dry_run:
    full = patches.dense_probability(model, test.x, **grey)
    dry_run(run, model, train_batches, epochs=EPOCHS, images=test, predictions=full)
training = {"epochs": EPOCHS, "schedule": SCHEDULE, "monitor": MONITOR, "patience": PATIENCE}
train_network(run, model, data, train_batches, validation_batches, weights_file=LOAD_WEIGHTS, **training)

# %% Evaluation: validation patches
run.section("Evaluation")
report_validation(run, model, validation_batches)

# %% Evaluation: full images
full = run.evaluate("full_image", test, patches.dense_probability(model, test.x, **grey))
ensemble = patches.dense_probability(model, test.x, ensemble=True, **grey)
ensemble = run.evaluate("full_image", test, ensemble, post="ensemble")
if Z_FILTER_SIZE:
    run.evaluate("full_image", test, z_filter(ensemble, Z_FILTER_SIZE), post="ensemble_z_filter")

# %% Evaluation: as in the paper, doubtful objects are removed, outlines move to edges, a median along z follows
spurious = run.evaluate("full_image", test, spurious_filter(full, SPURIOUS_BELOW), post="spurious")
reach = {"dilate_iterations": WATERSHED_DILATE, "erode_iterations": WATERSHED_ERODE}
reach |= {"open_iterations": WATERSHED_OPEN, "canny_sigma": WATERSHED_EDGE_SIGMA}
refined = edge_watershed(spurious, test.x, part_touching=WATERSHED_PART_TOUCHING, **reach, **grey)
refined = run.evaluate("full_image", test, refined, post="spurious_watershed")
if LAST_Z_FILTER_SIZE:
    run.evaluate("full_image", test, z_filter(refined, LAST_Z_FILTER_SIZE), post="spurious_watershed_z_filter")

# %% Results
run.finish()
