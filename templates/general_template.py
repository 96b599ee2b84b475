"""The options of the project as numbered blocks to copy: each is switched on by a variable and off by default.

Segments electron microscopy images, or volumes if CROP_SHAPE has a z, with the U-Nets of the study. As it stands it
does what U-Net_2D_template.py does; docs/variables.md lists all variables. A block works elsewhere too, with the
variables that it names, the imports of its functions, and what the brackets in its title say that it takes from others.
Each post-processing takes the result of the one before.

    python -u templates/general_template.py $code_dir $data_dir $job_dir --id 700 --rid 0 --gpu 0

data_dir holds train/x train/y test/x test/y (png or tif, or files of volumes; test/y may be missing). Results go to
job_dir/results/<id>_<rid>/, what is computed once and kept to job_dir/cache/.

Differs from U-Net_2D_template.py in: options of data, augmentation, losses, training and refinement.
"""

# %% Command line
import sys
from pathlib import Path

sys.path[:0] = [*sys.argv[1:2], str(Path(__file__).resolve().parents[1])]

from utils.command_line import apply_overrides, parse_command_line

args = parse_command_line(__file__)

# %% Experiment variables
# --- Data
# Crop (y, x, channels), or of volumes (z, y, x, channels), that the network sees
CROP_SHAPE = (256, 256, 1)
# Minimum overlap of neighbouring crops, as a fraction of the crop, for all axes or one each
OVERLAP = 0.0
# Random crops per image or volume and epoch; 0 uses a regular grid
RANDOM_CROPS = 0
# (foreground, background) weights of the pixel in the middle of a random crop, or None
PROBABILITY_MAP = None
# Crops of a grid with less than this share of foreground are left out of the training
MIN_FOREGROUND = 0.0
# How often an epoch takes each crop; with a fraction it takes some of them once more than others
REPLICATE = 1.0
# Further training data: folders, or {"folder": ..., "min_foreground": ..., "n_crops": ..., "overlap": ...}
EXTRA_DATA = ()
# dtype, percentile, percentile_per_image, mean_std: how grey values become what the network sees
NORMALISATION = "dtype"
# (low, high) percentiles that become 0 and 1
PERCENTILES = (1.0, 99.0)
# Grey values that become 0 and 1 with NORMALISATION dtype; None: 0..255, 0..65535 or 0..1, by the dtype
INTENSITY_RANGE = None
# True: weight maps of the U-Net paper, which give pixels between close objects more weight
WEIGHT_MAPS = False
# Weights of background and each class in the weight maps
WEIGHT_MAP_CLASSES = (0.5, 1.0)
# Height of the weights between objects that are close to each other
WEIGHT_MAP_W0 = 10.0
# Distance in pixels over which these weights fall
WEIGHT_MAP_SIGMA = 5.0
# Channels that the network learns instead of the mask: some of ("binary", "contour", "distance"), binary first
INSTANCE_TARGETS = ()
# Names of the arrays in hdf5 and zarr files that hold several
IMAGE_DATASET = None
MASK_DATASET = None
# True: every value above 0 in the masks is foreground, such as the ids of objects
MASK_IDS = False
# Share of the training images, or of the slices of each volume, kept for validation
VALIDATION_SPLIT = 0.1
# True: images drawn at random; False: the last ones; of volumes it is always the last slices
RANDOM_VALIDATION = True
# Size of a voxel (z, y, x) or pixel (y, x) in nanometres, for instances and measurements; None: as the files state
VOXEL_SIZE_NM = None
# Repetition --rid has the seed SEED + rid; with --keep-seed all have SEED
SEED = 42

# --- Data augmentation
# Degrees; the angle is uniform between -ROTATION_RANGE and ROTATION_RANGE
ROTATION_RANGE = 180.0
# True: turn by a multiple of 90 degrees, without resampling
ROTATION90 = False
# Mirror, each with probability 0.5; Z_FLIP for volumes
HORIZONTAL_FLIP = True
VERTICAL_FLIP = True
Z_FLIP = False
# Fractions of width and height, uniform in +-range
WIDTH_SHIFT_RANGE = 0.0
HEIGHT_SHIFT_RANGE = 0.0
# The same of the depth, for volumes
DEPTH_SHIFT_RANGE = 0.0
# Degrees
SHEAR_RANGE = 0.0
# (low, high) of the zoom factor; below 1 magnifies
ZOOM_RANGE = (1.0, 1.0)
# (low, high) of the size of elastic displacements, or None, and their smoothness, in pixels
ELASTIC_ALPHA = None
ELASTIC_SIGMA = 10.0
# (low, high) of the pixels by which a part of the image, or following sections, are displaced, or None
MISALIGNMENT = None
# Share of the misalignments that turn these rows or sections instead
MISALIGNMENT_ROTATION = 0.0
# (low, high) of the standard deviation of a Gaussian blur in pixels, or None
BLUR_SIGMA = None
# (low, high) of the side of the square of a median filter in pixels, or None
MEDIAN_SIZE = None
# (low, high) of the length of a motion blur in pixels, or None
MOTION_LENGTH = None
# (low, high) of a factor on the grey values, or None
BRIGHTNESS_RANGE = None
# (low, high) of a factor on the contrast, or None
CONTRAST_RANGE = None
# (low, high) of the exponent of the grey values, or None
GAMMA_RANGE = None
# (low, high) of the standard deviation of noise, as a fraction of the grey values, or None
NOISE_STD = None
# (low, high) of the share of single pixels that turn black, or None
DROPOUT_RANGE = None
# (low, high) of the share of an image, or sections of a volume, that is lost, or None
MISSING_SECTIONS = None
# What is there instead: 0 for black to 1 for white, mean, or, of volumes, neighbour; None: black
MISSING_FILL = None
# (low, high) of the size, as a share of the crop, of a box from another image, with its mask, or None
CUTMIX_SIZE = None
# (low, high) of the size of a box at a lower resolution, or None
CUTBLUR_SIZE = None
# (low, high) of how many of its pixels then become one
CUTBLUR_FACTOR = (2, 8)
# False: every second time the box stays sharp and all around it is changed
CUTBLUR_INSIDE = True
# (low, high) of the size of noisy boxes, or None
CUTNOISE_SIZE = None
# (low, high) of the largest value of this noise, as a fraction of the grey values
CUTNOISE_STRENGTH = (0.1, 0.2)
# (low, high) of the size of boxes that are cut out, or None
CUTOUT_SIZE = None
# What is there instead: 0 for black to 1 for white, or mean; None: black
CUTOUT_FILL = None
# True: the mask becomes 0 there
CUTOUT_MASK = False
# (low, high) of how many boxes are noisy or cut out
CUT_COUNT = (1, 2)
# What comes from outside the image: reflect, nearest, constant, wrap
FILL_MODE = "reflect"
# Grey value for constant
CVAL = 0.0
# True only where voxels are cubes: z then turns and zooms together with y and x
ISOTROPIC = False
# Probability that a sample is rotated, shifted, sheared, zoomed or displaced, and that of each other change
AUGMENTATION_PROBABILITY = 1.0
# Probabilities of single changes instead, by the generator's name of what switches them on: {"cutmix_size": 0.2}
PROBABILITIES = {}

# --- Network
FEATURE_MAPS = (16, 32, 64, 128, 256)
DEPTH = 4
# Dropout of each level, the bottleneck last
DROP_VALUES = (0.1, 0.1, 0.2, 0.2, 0.3)
SPATIAL_DROPOUT = False
BATCH_NORM = False
ACTIVATION = "elu"
K_INIT = "he_normal"
# Factor of the poolings of volumes along z, for all or one each; 1 where slices are thick
Z_DOWN = 2
# 1: foreground or not; more: number of classes, background included
N_CLASSES = 1

# --- Training
# bce, w_bce, dice, jaccard, bce_dice, w_bce_dice, focal, tversky
LOSS = "bce"
# How many times a foreground pixel counts in w_bce and w_bce_dice; None: so often that both classes count the same
FOREGROUND_WEIGHT = None
# How many times a pixel of each class counts in cross-entropy and focal loss, background first, or None
CLASS_WEIGHTS = None
# sgd (momentum 0.99), adam, adamw, adabound
OPTIMIZER = "sgd"
LEARNING_RATE = 0.002
# True: a short sweep over learning rates before the training, whose suggestion is used instead of LEARNING_RATE
FIND_LEARNING_RATE = False
# None, one_cycle, cosine, step or plateau; LEARNING_RATE is the highest rate of a schedule
SCHEDULE = None
BATCH_SIZE = 6
EPOCHS = 360
# Training ends after this many epochs without a better MONITOR: val_loss or val_foreground_iou
PATIENCE = 200
MONITOR = "val_loss"
# A weights file to use instead of training
LOAD_WEIGHTS = None
# A weights file to begin the training with, also of a network with another number of classes
FINE_TUNE_FROM = None
# Name of the layer up to which, from the first on, weights stay as they are, or None
FREEZE_UNTIL = None
# True: logs for TensorBoard
TENSORBOARD = False

# --- Evaluation
# Slices in the median along z; 0 when the test images are not consecutive slices of one volume
Z_FILTER_SIZE = 5
# True: predict as an ensemble of 8 orientations too, in 3D of 16
ENSEMBLE = True
# True: the threshold with the best IoU on validation images, beside 0.5, with a chart
CHOOSE_THRESHOLD = False
# Objects with a lower mean probability are removed; 0 keeps all
SPURIOUS_BELOW = 0.0
# edges (Oztel et al. 2017) or gradient: outlines move to edges of the image; None: they stay
WATERSHED = None
# Pixels by which the watershed may move an outline
WATERSHED_REACH = 4
# Objects of fewer pixels or voxels are removed
MIN_OBJECT_SIZE = 0
# True: holes in objects are filled
FILL_HOLES = False
# True: instances, their scores and a table of measurements
INSTANCES = False
# Distance to the background, in nanometres, above which a pixel is inside an instance: narrower necks are cut
INSTANCE_DISTANCE_NM = 0.0
# The same with the learnt target distance, from 0 at the outline of an instance to 1 in its middle
INSTANCE_DEPTH = 0.0

# --- Looking inside
# Name of a layer, for a picture of the places where it sees a class (Grad-CAM), or None
GRAD_CAM_LAYER = None
# The class that it sees
GRAD_CAM_CLASS = 1
# Name of a layer, for pictures of its feature maps, or None
FEATURE_MAPS_LAYER = None
# Name of a convolution, for pictures of its kernels, or None
KERNELS_LAYER = None

settings = apply_overrides(globals(), args.set)
seed = SEED if args.keep_seed else SEED + args.rid

# %% Imports
from dataclasses import replace
from functools import partial

from generators.batches import train_and_validation_batches
from generators.image_data_generator import ImageDataGenerator
from generators.options import check_numbers
from generators.voxel_data_generator import VoxelDataGenerator
from networks.unet import U_Net_2D, U_Net_3D
from utils.data.checks import check_crop_shape, check_exclusive, check_needs, pooling_factors
from utils.data.discarding import discard_crops
from utils.data.experiment_data import load_images, load_volumes
from utils.data.extra_data import join_extra_data
from utils.data.image_set import crop_image_set, replicate
from utils.data.instance_targets import learn_instances
from utils.data.weight_maps import cached_weight_maps
from utils.pictures.charts import draw_checks
from utils.pictures.looking_inside import check_layers, look_inside
from utils.post_processing.across_slices import remove_small_objects
from utils.post_processing.checks import check_distance, check_post_processing
from utils.post_processing.edge_watershed import edge_watershed
from utils.post_processing.gradient_watershed import gradient_watershed
from utils.post_processing.thresholds import apply_threshold, choose_threshold
from utils.post_processing.within_slices import fill_holes, spurious_filter
from utils.post_processing.z_filter import z_filter
from utils.prediction.dry_run import dry_run
from utils.prediction.evaluation import evaluate_images, evaluate_volumes
from utils.prediction.instance_evaluation import evaluate_instances, label_instances
from utils.prediction.predictor import Predictor
from utils.runs.run import Run
from utils.training.callbacks import tensorboard
from utils.training.fine_tuning import freeze_layers, load_matching_weights
from utils.training.learning_rate_finder import find_learning_rate
from utils.training.optimizers import get_optimizer
from utils.training.training import compile_network, prepare_keras, train_network

# %% Checks and data: 1. options that exclude or need each other, and the crop [args, seed]
volumes = len(CROP_SHAPE) == 4
check_exclusive(
    [
        ({"RANDOM_CROPS": RANDOM_CROPS, "MIN_FOREGROUND": MIN_FOREGROUND}, "only a grid leaves out", "set one to 0"),
        ({"WEIGHT_MAPS": WEIGHT_MAPS, "FOREGROUND_WEIGHT": FOREGROUND_WEIGHT}, "both weigh pixels", "leave one off"),
        ({"INSTANCE_TARGETS": INSTANCE_TARGETS, f"{N_CLASSES=}": N_CLASSES > 1}, "both make channels", "use one"),
        ({"INSTANCE_TARGETS": INSTANCE_TARGETS, "PROBABILITY_MAP": PROBABILITY_MAP}, "it reads masks", "use one"),
        ({"INSTANCE_TARGETS": INSTANCE_TARGETS, "CLASS_WEIGHTS": CLASS_WEIGHTS}, "channels are no classes", "use one"),
        ({"MASK_IDS": MASK_IDS, f"{N_CLASSES=}": N_CLASSES > 2}, "all ids are one class", "use one"),
        ({"LOAD_WEIGHTS": LOAD_WEIGHTS, "FINE_TUNE_FROM": FINE_TUNE_FROM}, "weights are used or trained", "use one"),
        ({"LOAD_WEIGHTS": LOAD_WEIGHTS, "FIND_LEARNING_RATE": FIND_LEARNING_RATE}, "nothing is trained", "use one"),
        ({"CHOOSE_THRESHOLD": CHOOSE_THRESHOLD, "SPURIOUS_BELOW": SPURIOUS_BELOW}, "masks are all sure", "use one"),
        ({"INSTANCE_DISTANCE_NM": INSTANCE_DISTANCE_NM, "INSTANCE_DEPTH": INSTANCE_DEPTH}, "both say it", "use one"),
    ]
)
in_volumes = {"Z_FLIP": Z_FLIP, "DEPTH_SHIFT_RANGE": DEPTH_SHIFT_RANGE, "ISOTROPIC": ISOTROPIC}
check_needs(
    [
        (in_volumes | {f"{Z_DOWN=}": Z_DOWN != 2}, volumes, "a CROP_SHAPE with z"),
        ({"PROBABILITY_MAP": PROBABILITY_MAP}, RANDOM_CROPS, "RANDOM_CROPS, which it is about"),
        ({"MISALIGNMENT_ROTATION": MISALIGNMENT_ROTATION}, MISALIGNMENT, "MISALIGNMENT, e.g. (1, 16)"),
        ({"MISSING_FILL": MISSING_FILL}, MISSING_SECTIONS, "MISSING_SECTIONS, e.g. (0.05, 0.2)"),
        ({f"{CUTBLUR_INSIDE=}": not CUTBLUR_INSIDE}, CUTBLUR_SIZE, "CUTBLUR_SIZE, e.g. (0.2, 0.4)"),
        ({"CUTOUT_FILL": CUTOUT_FILL, "CUTOUT_MASK": CUTOUT_MASK}, CUTOUT_SIZE, "CUTOUT_SIZE, e.g. (0.2, 0.4)"),
        ({"CVAL": CVAL}, FILL_MODE == "constant", "FILL_MODE constant"),
        ({"FREEZE_UNTIL": FREEZE_UNTIL}, FINE_TUNE_FROM, "FINE_TUNE_FROM, weights that are worth keeping"),
        ({"INSTANCE_DISTANCE_NM": INSTANCE_DISTANCE_NM, "INSTANCE_DEPTH": INSTANCE_DEPTH}, INSTANCES, "INSTANCES"),
        ({"INSTANCE_DEPTH": INSTANCE_DEPTH}, "distance" in INSTANCE_TARGETS, "distance among the INSTANCE_TARGETS"),
        ({f"{GRAD_CAM_CLASS=}": GRAD_CAM_CLASS != 1}, GRAD_CAM_LAYER, "GRAD_CAM_LAYER"),
    ]
)
check_numbers(INSTANCE_DEPTH=(INSTANCE_DEPTH, 0, 1))
check_post_processing(
    N_CLASSES,
    len(CROP_SHAPE) - 1,
    z_filter_size=Z_FILTER_SIZE,
    choose_threshold=CHOOSE_THRESHOLD,
    spurious_below=SPURIOUS_BELOW,
    watershed=WATERSHED,
    watershed_reach=WATERSHED_REACH,
    min_object_size=MIN_OBJECT_SIZE,
    fill_holes=FILL_HOLES,
    instances=INSTANCES,
    instance_distance_nm=INSTANCE_DISTANCE_NM,
    voxel_size_nm=VOXEL_SIZE_NM or 1.0,
)
divisor = pooling_factors(DEPTH, Z_DOWN) if volumes else 2**DEPTH
check_crop_shape(CROP_SHAPE, poolings=DEPTH, **({"z_down": Z_DOWN} if volumes else {}))
prepare_keras(seed=seed, precision=args.precision, deterministic=args.deterministic, volumes=volumes)
cache = args.job_dir / "cache"

# %% Checks and data: 2. images or volumes, normalised and cropped [volumes, args, settings, seed]
stored = {"n_classes": N_CLASSES, "intensity_range": INTENSITY_RANGE, "voxel_size_nm": VOXEL_SIZE_NM}
stored |= {"normalisation": NORMALISATION, "percentiles": PERCENTILES}
stored |= {"image_dataset": IMAGE_DATASET, "mask_dataset": MASK_DATASET, "mask_ids": MASK_IDS}
parts = {"overlap": OVERLAP, "validation_split": VALIDATION_SPLIT, "z_filter_size": Z_FILTER_SIZE, "seed": seed}
if volumes:
    data = load_volumes(args.data_dir, CROP_SHAPE, random_subvolumes=RANDOM_CROPS, **parts, **stored)
else:
    parts |= {"random_validation": RANDOM_VALIDATION, "random_crops": RANDOM_CROPS}
    data = load_images(args.data_dir, CROP_SHAPE, **parts, **stored)
run = Run(args, settings, seed=seed, intensity_range=data.intensity_range, voxel_size_nm=data.voxel_size_nm)
check_distance(INSTANCE_DISTANCE_NM, data.voxel_size_nm)

# %% Checks and data: 3. weight maps of the U-Net paper, of whole images, cropped as their masks [cache, data]
weigh = None
if WEIGHT_MAPS:
    shape = {"w0": WEIGHT_MAP_W0, "sigma": WEIGHT_MAP_SIGMA, "class_weights": WEIGHT_MAP_CLASSES}
    weigh = partial(cached_weight_maps, folder=cache, **shape)
    train = replace(data.train, weights=weigh(data.train.y))
    train = train if RANDOM_CROPS else crop_image_set(train, CROP_SHAPE, overlap=OVERLAP)
    data = replace(data, train_crops=train)

# %% Checks and data: 4. crops with too little foreground are left out [data, cache]
if MIN_FOREGROUND:
    kept = discard_crops(data.train_crops, min_foreground=MIN_FOREGROUND, cache_dir=cache)
    data = replace(data, train_crops=kept)

# %% Checks and data: 5. further data sets [data, cache, weigh]
if EXTRA_DATA:
    data = join_extra_data(data, EXTRA_DATA, random_crops=RANDOM_CROPS, cache_dir=cache, weigh=weigh)

# %% Checks and data: 6. training crops taken several times [data, seed]
if REPLICATE != 1:
    data = replace(data, train_crops=replicate(data.train_crops, REPLICATE, seed=seed))

# %% Checks and data: 7. instance targets instead of masks [data]
masks = data.train_crops.y
if INSTANCE_TARGETS:
    data = learn_instances(data, INSTANCE_TARGETS)

# %% Data augmentation: 8. every transform [volumes, data, args, run]
augmentation = (VoxelDataGenerator if volumes else ImageDataGenerator)(
    rotation_range=ROTATION_RANGE,
    rotation90=ROTATION90,
    horizontal_flip=HORIZONTAL_FLIP,
    vertical_flip=VERTICAL_FLIP,
    width_shift_range=WIDTH_SHIFT_RANGE,
    height_shift_range=HEIGHT_SHIFT_RANGE,
    shear_range=SHEAR_RANGE,
    zoom_range=ZOOM_RANGE,
    elastic_alpha=ELASTIC_ALPHA,
    elastic_sigma=ELASTIC_SIGMA,
    misalignment=MISALIGNMENT,
    misalignment_rotation=MISALIGNMENT_ROTATION,
    blur_sigma=BLUR_SIGMA,
    median_size=MEDIAN_SIZE,
    motion_length=MOTION_LENGTH,
    brightness_range=BRIGHTNESS_RANGE,
    contrast_range=CONTRAST_RANGE,
    gamma=GAMMA_RANGE,
    noise_std=NOISE_STD,
    dropout=DROPOUT_RANGE,
    missing_sections=MISSING_SECTIONS,
    missing_fill=MISSING_FILL,
    cutmix_size=CUTMIX_SIZE,
    cutblur_size=CUTBLUR_SIZE,
    cutblur_factor=CUTBLUR_FACTOR,
    cutblur_inside=CUTBLUR_INSIDE,
    cutnoise_size=CUTNOISE_SIZE,
    cutnoise_strength=CUTNOISE_STRENGTH,
    cutout_size=CUTOUT_SIZE,
    cutout_fill=CUTOUT_FILL,
    cutout_mask=CUTOUT_MASK,
    cut_count=CUT_COUNT,
    fill_mode=FILL_MODE,
    cval=CVAL,
    probability=AUGMENTATION_PROBABILITY,
    probabilities=PROBABILITIES,
    **({"z_flip": Z_FLIP, "depth_shift_range": DEPTH_SHIFT_RANGE, "isotropic": ISOTROPIC} if volumes else {}),
)
sampling = {"samples_per_array": RANDOM_CROPS, "probability_map": PROBABILITY_MAP, "workers": args.workers}
train_batches, validation_batches = train_and_validation_batches(augmentation, data, batch_size=BATCH_SIZE, **sampling)
draw_checks(run.checks, data, train_batches, overlap=OVERLAP)

# %% Network: 9. the U-Net in two or three dimensions [volumes, data, divisor]
model = (U_Net_3D if volumes else U_Net_2D)(
    (*(None,) * (len(CROP_SHAPE) - 1), CROP_SHAPE[-1]),
    activation=ACTIVATION,
    feature_maps=FEATURE_MAPS,
    depth=DEPTH,
    drop_values=DROP_VALUES,
    spatial_dropout=SPATIAL_DROPOUT,
    batch_norm=BATCH_NORM,
    k_init=K_INIT,
    n_classes=len(INSTANCE_TARGETS) or N_CLASSES,
    output_activation="sigmoid" if INSTANCE_TARGETS else None,
    **({"z_down": Z_DOWN} if volumes else {}),
)
predictor = Predictor(model, data, batch_size=BATCH_SIZE, divisor=divisor)
inside = {"grad_cam_layer": GRAD_CAM_LAYER, "feature_maps_layer": FEATURE_MAPS_LAYER, "kernels_layer": KERNELS_LAYER}
check_layers(predictor.target_model, grad_cam_class=GRAD_CAM_CLASS, **inside)

# %% Network: 10. weights of another run to begin with, some of them kept [model]
if FINE_TUNE_FROM is not None:
    load_matching_weights(model, FINE_TUNE_FROM)
if FREEZE_UNTIL is not None:
    freeze_layers(model, until=FREEZE_UNTIL)

# %% Network: 11. loss, optimizer and schedule [train_batches, masks, model]
rates = {"schedule": SCHEDULE, "total_steps": EPOCHS * len(train_batches)}
weighing = {"foreground_weight": 1.0 if WEIGHT_MAPS and LOSS.startswith("w_") else FOREGROUND_WEIGHT}
weighing |= {"class_weights": CLASS_WEIGHTS, "masks": masks}
optimizer = get_optimizer(OPTIMIZER, learning_rate=LEARNING_RATE, **rates)
compile_network(model, loss=LOSS, optimizer=optimizer, **weighing)

# %% Training: 12. a sweep for the learning rate [args, predictor, data, run, model, train_batches, rates, weighing]
if args.dry_run:
    merged = predictor.crops(data.test, overlap=OVERLAP)
    dry_run(run, model, train_batches, epochs=EPOCHS, images=data.test, predictions=merged)
if FIND_LEARNING_RATE:
    optimizer = get_optimizer(OPTIMIZER, learning_rate=find_learning_rate(run.charts, model, train_batches), **rates)
    compile_network(model, loss=LOSS, optimizer=optimizer, **weighing)

# %% Training: 13. with logs for TensorBoard [run, model, data, train_batches, validation_batches]
training = {"epochs": EPOCHS, "schedule": SCHEDULE, "monitor": MONITOR, "patience": PATIENCE}
training |= {"weights_file": LOAD_WEIGHTS, "callbacks": [tensorboard(run.folder)] if TENSORBOARD else []}
train_network(run, model, data, train_batches, validation_batches, **training)

# %% Evaluation: 14. all protocols of the study [volumes, run, predictor, data]
protocols = evaluate_volumes if volumes else evaluate_images
saved = protocols(run, predictor, data, z_filter_size=Z_FILTER_SIZE, ensemble=ENSEMBLE)
test, merged = data.test, saved["per_image", "none"]

# %% Evaluation: 15. the threshold, chosen on validation images [predictor, data, test, merged, run]
if CHOOSE_THRESHOLD:
    on_validation = predictor.crops(data.validation, overlap=OVERLAP)
    on_test = None if test.y is None else (merged, test.y)
    threshold = choose_threshold(run.charts, validation=(on_validation, data.validation.y), test=on_test)
    merged = run.evaluate("per_image", test, apply_threshold(merged, threshold), post="chosen_threshold")

# %% Evaluation: 16. doubtful objects are removed [run, test, merged]
if SPURIOUS_BELOW:
    merged = run.evaluate("per_image", test, spurious_filter(merged, SPURIOUS_BELOW), post="spurious")

# %% Evaluation: 17. outlines move to edges of the image [run, test, merged, data]
grey = {"intensity_range": data.intensity_range}
refined = "spurious_watershed" if SPURIOUS_BELOW and WATERSHED else "watershed" if WATERSHED else "spurious"
if WATERSHED == "edges":
    reach = {"dilate_iterations": WATERSHED_REACH, "erode_iterations": WATERSHED_REACH}
    merged = run.evaluate("per_image", test, edge_watershed(merged, test.x, **reach, **grey), post=refined)
if WATERSHED == "gradient":
    reach = {"marker_radius": WATERSHED_REACH}
    merged = run.evaluate("per_image", test, gradient_watershed(merged, test.x, **reach, **grey), post=refined)

# %% Evaluation: 18. a median along z after these, as published [run, test, merged, refined]
if Z_FILTER_SIZE and (SPURIOUS_BELOW or WATERSHED):
    merged = run.evaluate("per_image", test, z_filter(merged, Z_FILTER_SIZE), post=f"{refined}_z_filter")

# %% Evaluation: 19. small objects are removed, holes filled [volumes, run, test, merged]
if MIN_OBJECT_SIZE:
    removed = remove_small_objects(merged, MIN_OBJECT_SIZE, per_slice=not volumes)
    merged = run.evaluate("per_image", test, removed, post="large_objects")
if FILL_HOLES:
    merged = run.evaluate("per_image", test, fill_holes(merged), post="filled_holes")

# %% Evaluation: 20. instances, their scores and measurements [data, run, test, merged, predictor]
size = {"voxel_size_nm": data.voxel_size_nm}
limits = {"min_distance_nm": INSTANCE_DISTANCE_NM, "min_voxels": MIN_OBJECT_SIZE, **size}
if INSTANCES:
    evaluate_instances(run, test, label_instances(merged, **limits), **size)
if INSTANCES and len(INSTANCE_TARGETS) > 1:
    learnt = {"targets": INSTANCE_TARGETS, "min_distance_share": INSTANCE_DEPTH}
    learnt["channels"] = predictor.for_target(None).crops(test, overlap=OVERLAP)
    labels = label_instances(merged, **learnt, **limits)
    evaluate_instances(run, test, labels, post="instances_by_targets", **size)

# %% Evaluation: 21. looking inside the network [data, run, predictor, inside]
sample, grey = data.test_crops.x[len(data.test_crops) // 2], {"intensity_range": data.intensity_range}
look_inside(run.charts, predictor.target_model, sample, grad_cam_class=GRAD_CAM_CLASS, **inside, **grey)

# %% Results
run.finish()
