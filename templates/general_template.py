"""Everything the project can do, as numbered blocks to copy: each is switched on by a variable and off by default.

Segments electron microscopy images, or volumes if CROP_SHAPE has a z, with the U-Nets of the study. As it stands it
does what U-Net_2D_template.py does; docs/variables.md lists all variables. A block works elsewhere too, with the
variables that it names and the imports of its functions.

    python -u templates/general_template.py $code_dir $data_dir $job_dir --id 700 --rid 0 --gpu 0

data_dir holds train/x train/y test/x test/y (png or tif, or files of volumes; test/y may be missing). Results go to
job_dir/results/<id>_<rid>/, what is computed once and kept to job_dir/cache/.

Differs from U-Net_2D_template.py in: every option that the project has.
"""

# %% Command line
import sys
from pathlib import Path

sys.path[:0] = [*sys.argv[1:2], str(Path(__file__).resolve().parents[1])]

from utils.experiment import apply_overrides, parse_command_line

args = parse_command_line(__file__)

# %% Experiment variables
# --- Data
# Crop (y, x, channels), or of volumes (z, y, x, channels), that the network sees
CROP_SHAPE = (256, 256, 1)
# Minimum overlap of neighbouring crops, as a fraction of the crop
OVERLAP = 0.0
# 0: all crops of a grid; more: so many random crops of each image or volume in an epoch
RANDOM_CROPS = 0
# (foreground, background) weights of the pixel about which a random crop lies, or None
PROBABILITY_MAP = None
# Crops of a grid with less than this share of foreground are left out of the training
MIN_FOREGROUND = 0.0
# How often each crop is taken in an epoch; a fraction takes some of them once more than others
REPLICATE = 1.0
# Further training data: folders, or {"folder": ..., "min_foreground": ..., "n_crops": ..., "overlap": ...}
EXTRA_DATA = ()
# dtype, percentile, percentile_per_image, mean_std: how grey values become what the network sees
NORMALISATION = "dtype"
# (low, high) percentiles that become 0 and 1
PERCENTILES = (1.0, 99.0)
# Grey values that become 0 and 1 with NORMALISATION dtype; None: 0..255, 0..65535 or 0..1 by the dtype
INTENSITY_RANGE = None
# True: weight maps of the U-Net paper, which count pixels between close objects more
WEIGHT_MAPS = False
# Height of these weights
WEIGHT_MAP_W0 = 10.0
# Distance in pixels over which they fall
WEIGHT_MAP_SIGMA = 5.0
# Channels that the network learns instead of the mask: some of ("binary", "contour", "distance"), binary first
INSTANCE_TARGETS = ()
# Share of the training images, or of the slices of each volume, kept for validation
VALIDATION_SPLIT = 0.1
# True: images drawn at random; False: the last ones; of volumes it is always the last slices
RANDOM_VALIDATION = True
# Size of a voxel (z, y, x) or pixel (y, x) in nanometres, for weights, instances and measurements
VOXEL_SIZE_NM = 1.0
# Seed of everything random
SEED = 42

# --- Data augmentation
# Degrees; the angle is uniform in +-ROTATION_RANGE
ROTATION_RANGE = 180.0
# Turn by a multiple of 90 degrees (no resampling)
ROTATION90 = False
# Mirror, each with probability 0.5; Z_FLIP for volumes
HORIZONTAL_FLIP = True
VERTICAL_FLIP = True
Z_FLIP = False
# Fractions of width and height, uniform in +-range
WIDTH_SHIFT_RANGE = 0.0
HEIGHT_SHIFT_RANGE = 0.0
# Degrees
SHEAR_RANGE = 0.0
# (low, high) of the zoom factor; below 1 magnifies
ZOOM_RANGE = (1.0, 1.0)
# (low, high) of the amplitude of elastic displacements in pixels, or None, and their smoothness in pixels
ELASTIC_ALPHA = None
ELASTIC_SIGMA = 10.0
# (low, high) of the pixels by which a part of the image, or following sections, are displaced, or None
MISALIGNMENT = None
# (low, high) of the standard deviation of a Gaussian blur in pixels, or None
BLUR_SIGMA = None
# (low, high) of the side of the square of a median filter in pixels, or None
MEDIAN_SIZE = None
# (low, high) of the length of a motion blur in pixels, or None
MOTION_LENGTH = None
# (low, high) of the factor on grey values, or None
BRIGHTNESS_RANGE = None
# (low, high) of the factor on contrast, or None
CONTRAST_RANGE = None
# (low, high) of the exponent of the grey values, or None
GAMMA_RANGE = None
# (low, high) of the standard deviation of noise, as a fraction of the grey values, or None
NOISE_STD = None
# (low, high) of the share of single pixels that turn black, or None
DROPOUT_RANGE = None
# (low, high) of the share of an image, or sections of a volume, that is lost, or None
MISSING_SECTIONS = None
# (low, high) of the size, as a share of the crop, of a box from another image, with its mask, or None
CUTMIX_SIZE = None
# (low, high) of the size of a box at a lower resolution, or None
CUTBLUR_SIZE = None
# (low, high) of the size of noisy boxes, or None
CUTNOISE_SIZE = None
# (low, high) of the size of black boxes, or None
CUTOUT_SIZE = None
# What comes from outside the image: reflect, nearest, constant, wrap
FILL_MODE = "reflect"
# Share of the samples that are resampled, and by itself of each other change
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
# None, one_cycle, cosine, step (LEARNING_RATE is then its highest), or plateau
SCHEDULE = None
BATCH_SIZE = 6
EPOCHS = 360
# Training ends after so many epochs without a better MONITOR: val_loss or val_foreground_iou
PATIENCE = 200
MONITOR = "val_loss"
# auto (bfloat16 where the hardware has it; volumes on a CPU: float32), float32, mixed_bfloat16, mixed_float16
PRECISION = "auto"
# True: exactly the same numbers in every run with the same seed, somewhat slower
DETERMINISTIC = False
# Threads that prepare batches
WORKERS = 1
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
# True: the threshold with the best IoU on validation images, beside 0.5, with a chart
CHOOSE_THRESHOLD = False
# Objects of a lower mean probability go; 0 keeps all
SPURIOUS_BELOW = 0.0
# edges (Oztel et al. 2017) or gradient: outlines move to edges of the image; None: they stay
WATERSHED = None
# Pixels by which the watershed may move an outline
WATERSHED_REACH = 4
# Objects of fewer pixels or voxels go
MIN_OBJECT_SIZE = 0
# True: holes in objects close
FILL_HOLES = False
# True: instances, their scores and a table of measurements
INSTANCES = False
# Distance to the background, in nanometres, above which a pixel is sure to be inside: narrower necks part
INSTANCE_DISTANCE_NM = 0.0

# --- Looking inside
# Name of a layer, for a picture of where it speaks for the foreground (Grad-CAM), or None
GRAD_CAM_LAYER = None
# Name of a layer, for pictures of its feature maps, or None
FEATURE_MAPS_LAYER = None
# Name of a convolution, for pictures of its kernels, or None
KERNELS_LAYER = None

settings = apply_overrides(globals(), args.set)

# %% Imports
import keras

from generators.batches import train_and_validation_batches
from generators.image_data_generator import ImageDataGenerator
from generators.voxel_data_generator import VoxelDataGenerator
from networks.unet import U_Net_2D, U_Net_3D
from utils.callbacks import tensorboard
from utils.charts import draw_checks
from utils.checks import check_crop_shape, check_exclusive, pooling_factors
from utils.discarding import discard_crops
from utils.dry_run import dry_run
from utils.errors import check_choice
from utils.evaluation import evaluate_images, evaluate_volumes
from utils.experiment_data import load_images, load_volumes
from utils.extra_data import join_extra_data
from utils.fine_tuning import freeze_layers, load_matching_weights
from utils.gradient_watershed import gradient_watershed
from utils.image_set import replicate
from utils.instance_evaluation import evaluate_instances
from utils.instance_targets import learn_instances
from utils.instances import instances_from_probability
from utils.learning_rate_finder import find_learning_rate
from utils.looking_inside import draw_feature_maps, draw_grad_cam, draw_kernels, feature_maps, grad_cam, kernels
from utils.morphology import fill_holes, remove_small_components
from utils.normalisation import write_normalisation
from utils.prediction import predict_crops
from utils.refinement import spurious_filter, watershed_refinement
from utils.run import Run
from utils.thresholds import apply_threshold, choose_threshold
from utils.training import compile_network, prepare_keras, train_network
from utils.volume_refinement import remove_small_objects
from utils.weight_maps import cached_weight_maps

# %% Checks and data: 1. options that exclude each other, and the crop
volumes = len(CROP_SHAPE) == 4
check_exclusive(
    [
        (
            {"RANDOM_CROPS": RANDOM_CROPS, "MIN_FOREGROUND": MIN_FOREGROUND},
            "only crops of a grid can be left out",
            "set one to 0",
        ),
        ({"WEIGHT_MAPS": WEIGHT_MAPS, "FOREGROUND_WEIGHT": FOREGROUND_WEIGHT}, "both weigh pixels", "leave one off"),
        (
            {"WEIGHT_MAPS": WEIGHT_MAPS, "EXTRA_DATA": EXTRA_DATA and RANDOM_CROPS},
            "maps are of crops of one grid",
            "set RANDOM_CROPS to 0",
        ),
        (
            {"INSTANCE_TARGETS": INSTANCE_TARGETS, "N_CLASSES": N_CLASSES > 1},
            "targets are channels themselves",
            "set N_CLASSES to 1",
        ),
        (
            {"INSTANCE_TARGETS": INSTANCE_TARGETS, "PROBABILITY_MAP": PROBABILITY_MAP},
            "it reads masks",
            "set it to None",
        ),
        (
            {"LOAD_WEIGHTS": LOAD_WEIGHTS, "FINE_TUNE_FROM": FINE_TUNE_FROM},
            "weights are used or trained",
            "leave one None",
        ),
        (
            {"FIND_LEARNING_RATE": FIND_LEARNING_RATE, "LOAD_WEIGHTS": LOAD_WEIGHTS},
            "nothing is trained",
            "leave one off",
        ),
    ]
)
check_choice("WATERSHED", WATERSHED, (None, "edges", "gradient"))
divisor = pooling_factors(DEPTH, Z_DOWN) if volumes else 2**DEPTH
check_crop_shape(CROP_SHAPE, poolings=DEPTH, **({"z_down": Z_DOWN} if volumes else {}))
prepare_keras(seed=SEED, precision=PRECISION, deterministic=DETERMINISTIC, volumes=len(CROP_SHAPE) == 4)
cache = args.job_dir / "cache"

# %% Checks and data: 2. images or volumes, normalised and cropped
stored = {"n_classes": N_CLASSES, "intensity_range": INTENSITY_RANGE}
stored |= {"normalisation": NORMALISATION, "percentiles": PERCENTILES}
if volumes:
    data = load_volumes(
        args.data_dir,
        CROP_SHAPE,
        overlap=OVERLAP,
        validation_split=VALIDATION_SPLIT,
        random_subvolumes=RANDOM_CROPS,
        z_filter_size=Z_FILTER_SIZE,
        **stored,
    )
else:
    data = load_images(
        args.data_dir,
        CROP_SHAPE,
        seed=SEED,
        overlap=OVERLAP,
        validation_split=VALIDATION_SPLIT,
        random_validation=RANDOM_VALIDATION,
        random_crops=RANDOM_CROPS,
        z_filter_size=Z_FILTER_SIZE,
        **stored,
    )
run = Run(args, settings, intensity_range=data.intensity_range)
train, grey = data.train_crops, {"intensity_range": data.intensity_range}
write_normalisation(
    run.folder / "normalisation.json", data.intensity_range, normalisation=NORMALISATION, percentiles=PERCENTILES
)

# %% Checks and data: 3. crops with too little foreground are left out
if MIN_FOREGROUND:
    train = discard_crops(train, min_foreground=MIN_FOREGROUND, cache_dir=cache)

# %% Checks and data: 4. further data sets
if EXTRA_DATA:
    train = join_extra_data(
        train, EXTRA_DATA, crop_shape=CROP_SHAPE, seed=SEED, random_crops=RANDOM_CROPS, cache_dir=cache, **stored
    )

# %% Checks and data: 5. training crops taken several times
if REPLICATE != 1:
    train = replicate(train, REPLICATE, seed=SEED)

# %% Checks and data: 6. weight maps of the U-Net paper
weight_maps = None
if WEIGHT_MAPS:
    weight_maps = cached_weight_maps(train.y, cache, w0=WEIGHT_MAP_W0, sigma=WEIGHT_MAP_SIGMA)

# %% Checks and data: 7. instance targets instead of masks
data = data._replace(train_crops=train)
if INSTANCE_TARGETS:
    data = learn_instances(data, INSTANCE_TARGETS, voxel_size_nm=VOXEL_SIZE_NM)

# %% Data augmentation: 8. every transform
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
    blur_sigma=BLUR_SIGMA,
    median_size=MEDIAN_SIZE,
    motion_length=MOTION_LENGTH,
    brightness_range=BRIGHTNESS_RANGE,
    contrast_range=CONTRAST_RANGE,
    gamma=GAMMA_RANGE,
    noise_std=NOISE_STD,
    dropout=DROPOUT_RANGE,
    missing_sections=MISSING_SECTIONS,
    cutmix_size=CUTMIX_SIZE,
    cutblur_size=CUTBLUR_SIZE,
    cutnoise_size=CUTNOISE_SIZE,
    cutout_size=CUTOUT_SIZE,
    fill_mode=FILL_MODE,
    probability=AUGMENTATION_PROBABILITY,
    **({"z_flip": Z_FLIP} if volumes else {}),
)
train_batches, validation_batches = train_and_validation_batches(
    augmentation,
    data,
    crop_shape=CROP_SHAPE,
    batch_size=BATCH_SIZE,
    seed=SEED,
    workers=WORKERS,
    probability_map=PROBABILITY_MAP,
    sample_weight=weight_maps,
    **{"samples_per_volume" if volumes else "samples_per_image": max(1, RANDOM_CROPS)},
    **grey,
)
draw_checks(run.checks, data, train_batches, overlap=OVERLAP)

# %% Network: 9. the U-Net in two or three dimensions
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

# %% Network: 10. weights of another run to begin with, some of them kept
if FINE_TUNE_FROM is not None:
    load_matching_weights(model, FINE_TUNE_FROM)
if FREEZE_UNTIL is not None:
    freeze_layers(model, until=FREEZE_UNTIL)

# %% Network: 11. loss, optimizer and schedule
compiling = {
    "loss": LOSS,
    "optimizer": OPTIMIZER,
    "steps": EPOCHS * len(train_batches),
    "foreground_weight": 1.0 if WEIGHT_MAPS and LOSS.startswith("w_") else FOREGROUND_WEIGHT,
    "class_weights": CLASS_WEIGHTS,
    "masks": data.train_crops.y,
}
compile_network(model, learning_rate=LEARNING_RATE, schedule=SCHEDULE, **compiling)

# %% Network: 12. the learning rate, found by a short sweep
if FIND_LEARNING_RATE:
    found_rate = find_learning_rate(run.charts, model, train_batches)
    compile_network(model, learning_rate=found_rate, schedule=SCHEDULE, **compiling)

# %% Training: 13. with logs for TensorBoard
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
    callbacks=[tensorboard(run.folder)] if TENSORBOARD else [],
)

# %% Evaluation: 14. all protocols of the study
foreground_model = keras.Model(model.inputs, model.outputs[0][..., :1]) if INSTANCE_TARGETS else model
foreground_model.loss = model.loss
saved = (evaluate_volumes if volumes else evaluate_images)(
    run,
    foreground_model,
    data,
    CROP_SHAPE,
    divisor=divisor,
    overlap=OVERLAP,
    z_filter_size=Z_FILTER_SIZE,
    batch_size=BATCH_SIZE,
    **grey,
)
test, merged, tiles = data.test, saved["per_image", "none"], {"batch_size": BATCH_SIZE, **grey}

# %% Evaluation: 15. the threshold, chosen on validation images
if CHOOSE_THRESHOLD:
    on_validation = predict_crops(foreground_model, data.validation.x, CROP_SHAPE, overlap=OVERLAP, **tiles)
    on_test = None if test.y is None else (merged, test.y)
    threshold = choose_threshold(run.charts, validation=(on_validation, data.validation.y), test=on_test)
    run.evaluate("per_image", test, apply_threshold(merged, threshold), post="chosen_threshold")

# %% Evaluation: 16. doubtful objects go
if SPURIOUS_BELOW:
    merged = run.evaluate("per_image", test, spurious_filter(merged, SPURIOUS_BELOW), post="spurious")

# %% Evaluation: 17. outlines move to edges of the image
if WATERSHED == "edges":
    reach = {"dilate_iterations": WATERSHED_REACH, "erode_iterations": WATERSHED_REACH}
    merged = run.evaluate("per_image", test, watershed_refinement(merged, test.x, **reach, **grey), post="watershed")
if WATERSHED == "gradient":
    reach = {"marker_radius": WATERSHED_REACH}
    merged = run.evaluate("per_image", test, gradient_watershed(merged, test.x, **reach, **grey), post="watershed")

# %% Evaluation: 18. small objects go, holes close
if MIN_OBJECT_SIZE:
    remove = remove_small_objects if volumes else remove_small_components
    merged = run.evaluate("per_image", test, remove(merged, MIN_OBJECT_SIZE), post="large_objects")
if FILL_HOLES:
    merged = run.evaluate("per_image", test, fill_holes(merged), post="filled_holes")

# %% Evaluation: 19. instances, their scores and measurements
if INSTANCES:
    limits = {"min_distance": INSTANCE_DISTANCE_NM, "voxel_size_nm": VOXEL_SIZE_NM, "min_voxels": MIN_OBJECT_SIZE}
    labels = (instances_from_probability(probability, **limits) for probability in merged)
    evaluate_instances(run, test, labels, voxel_size_nm=VOXEL_SIZE_NM)
if INSTANCES and "contour" in INSTANCE_TARGETS:
    contour = INSTANCE_TARGETS.index("contour")
    channels = predict_crops(model, test.x, CROP_SHAPE, overlap=OVERLAP, **tiles)
    labels = (
        instances_from_probability(found[..., :1], contour=found[..., contour : contour + 1]) for found in channels
    )
    evaluate_instances(run, test, labels, voxel_size_nm=VOXEL_SIZE_NM, post="instances_by_contour")

# %% Evaluation: 20. looking inside the network
sample = data.test_crops.x[len(data.test_crops) // 2]
if GRAD_CAM_LAYER is not None:
    speaking = grad_cam(model, sample, layer=GRAD_CAM_LAYER, **grey)
    draw_grad_cam(run.charts / "grad_cam.png", sample, speaking, title=GRAD_CAM_LAYER, **grey)
if FEATURE_MAPS_LAYER is not None:
    maps = feature_maps(model, sample, layer=FEATURE_MAPS_LAYER, **grey)
    draw_feature_maps(run.charts / "feature_maps.png", maps, title=FEATURE_MAPS_LAYER)
if KERNELS_LAYER is not None:
    draw_kernels(run.charts / "kernels.png", kernels(model, KERNELS_LAYER), title=KERNELS_LAYER)

# %% Results
run.finish()
