"""New images: the network of a finished run on images or volumes without masks.

Writes probabilities, masks and, if asked for, instances with a table of measurements. All that belongs to the network
(its layers, weights, normalisation, crop, axes and classes) comes from the run, in two and in three dimensions.
With --precision float32 it computes so instead of as in training, for processors that are slow with 16-bit numbers.

    python -u templates/predict_template.py $code_dir $data_dir $job_dir --id 800 --gpu 0 --set RUN=$run

$run is the folder of the finished run, such as $job_dir/results/400_0.
data_dir holds the images (png, tif) or volumes (slices, or files: tif, hdf5, zarr) themselves, or in x/ or test/x/.
Results go to job_dir/results/<id>_<rid>/images/, under the names of the images. With --dry-run only the first image is
predicted. The same in Python, array in, mask out:

    from utils.prediction.new_images import note_differences
from utils.prediction.predictor import load_predictor
    mask = load_predictor("job_dir/results/400_0").segment(image)

Differs from U-Net_2D_template.py in: no training, no masks, one protocol of choice, the post-processings of
general_template.py.
"""

# %% Command line
import sys
from pathlib import Path

sys.path[:0] = [*sys.argv[1:2], str(Path(__file__).resolve().parents[1])]

from utils.command_line import apply_overrides, parse_command_line

args = parse_command_line(__file__)

# %% Experiment variables
# --- Data
# Folder of the finished run, job_dir/results/<id>_<rid>, or its best.weights.h5 with network.json beside it
RUN = None
# Name of the array in hdf5 and zarr files that hold several
IMAGE_DATASET = None
# Size of a voxel (z, y, x) or pixel (y, x) in nanometres, for instances and measurements; None: as the files state
VOXEL_SIZE_NM = None
# Grey values of black and white of the new images if they differ from those of the training images; None: the same
INTENSITY_RANGE = None

# --- Prediction
# blended: crops that overlap by half, without seams; crops: averaged where they overlap; full: whole images at once
PROTOCOL = "blended"
# Crop (y, x, channels) or (z, y, x, channels) that the network sees; (): as in training
CROP_SHAPE = ()
# Minimum overlap of neighbouring crops with PROTOCOL crops, as a fraction of the crop, for all axes or one each
OVERLAP = 0.5
# Margin of each crop whose prediction is thrown away with PROTOCOL crops, for all axes or one each
PADDING = 0
# What lies outside the image with PROTOCOL crops: mirror, median
PADDING_MODE = "mirror"
# True: the mean over 8 orientations, of volumes 16, in that many times the time
ENSEMBLE = False
# Crops predicted at once; 0: as in training
BATCH_SIZE = 0
# True: images are resampled to the voxel size of the training for the network, and its predictions back
RESCALE = False

# --- Post-processing
# Slices in the median along z; 0 when the images are not consecutive slices of one volume
Z_FILTER_SIZE = 0
# Objects with a lower mean probability are removed; 0 keeps all
SPURIOUS_BELOW = 0.0
# Pixels with a higher probability are foreground
THRESHOLD = 0.5
# edges (Oztel et al. 2017) or gradient: outlines move to edges of the image; None: they stay
WATERSHED = None
# Pixels by which the watershed may move an outline
WATERSHED_REACH = 4
# Objects of fewer pixels or voxels are removed
MIN_OBJECT_SIZE = 0
# True: holes in objects are filled
FILL_HOLES = False

# --- Instances
# True: instances and a table of measurements
INSTANCES = False
# Distance to the background, in nanometres, above which a pixel is inside an instance: narrower necks are cut
INSTANCE_DISTANCE_NM = 0.0
# True: instances end at contours, if the network learned these (INSTANCE_TARGETS)
INSTANCE_CONTOURS = True

settings = apply_overrides(globals(), args.set)

# %% Imports
from itertools import repeat

from utils.data.checks import check_same_size
from utils.data.data_folder import load_new_images
from utils.data.image_set import voxel_size_of
from utils.post_processing.across_slices import remove_small_objects
from utils.post_processing.checks import check_distance, check_post_processing
from utils.post_processing.edge_watershed import edge_watershed
from utils.post_processing.gradient_watershed import gradient_watershed
from utils.post_processing.instances import instances_from_probability
from utils.post_processing.thresholds import apply_threshold
from utils.post_processing.within_slices import fill_holes, spurious_filter
from utils.post_processing.z_filter import z_filter
from utils.prediction.instance_evaluation import evaluate_instances
from utils.prediction.new_images import note_differences
from utils.prediction.predictor import load_predictor
from utils.runs.run import Run

# %% Checks and data
network = {"precision": args.precision, "crop_shape": CROP_SHAPE, "batch_size": BATCH_SIZE}
predictor = load_predictor(RUN, intensity_range=INTENSITY_RANGE, **network)
check_post_processing(
    predictor.n_classes,
    len(predictor.crop_shape) - 1,
    z_filter_size=Z_FILTER_SIZE,
    spurious_below=SPURIOUS_BELOW,
    threshold=THRESHOLD,
    watershed=WATERSHED,
    watershed_reach=WATERSHED_REACH,
    min_object_size=MIN_OBJECT_SIZE,
    fill_holes=FILL_HOLES,
    instances=INSTANCES,
    instance_distance_nm=INSTANCE_DISTANCE_NM,
    voxel_size_nm=VOXEL_SIZE_NM or 1.0,
)
images = load_new_images(args.data_dir, predictor, dataset=IMAGE_DATASET).with_voxel_size(VOXEL_SIZE_NM)
size = voxel_size_of(images, volumes=predictor.is_3d)
check_distance(INSTANCE_DISTANCE_NM, size)
if args.dry_run:
    images = images.subset([0])
if Z_FILTER_SIZE and not predictor.is_3d:
    check_same_size(images, why="the z-filter needs slices of one volume", remedy="Use --set Z_FILTER_SIZE=0.")

# %% Data augmentation: of the prediction, which may be a mean over orientations
prediction = {"overlap": OVERLAP, "padding": PADDING, "padding_mode": PADDING_MODE, "ensemble": ENSEMBLE}
prediction["rescale"] = RESCALE

# %% Network: that of the run
predicted = predictor.by_protocol(images, PROTOCOL, **prediction)
grey = {"intensity_range": predictor.intensity_range}
run = Run(args, settings, voxel_size_nm=size, image_dataset=IMAGE_DATASET, **grey)

# %% Training: none, the weights are the best of the run
run.section("Prediction")
note_differences(images, predictor, rescale=RESCALE)

# %% Evaluation: probabilities and masks
stored, images = images, predictor.stretched(images)
merged = run.evaluate(PROTOCOL, images, predicted)
if Z_FILTER_SIZE:
    merged = run.evaluate(PROTOCOL, images, z_filter(merged, Z_FILTER_SIZE), post="z_filter")
if SPURIOUS_BELOW:
    merged = run.evaluate(PROTOCOL, images, spurious_filter(merged, SPURIOUS_BELOW), post="spurious")
if THRESHOLD != 0.5:
    merged = run.evaluate(PROTOCOL, images, apply_threshold(merged, THRESHOLD), post="threshold")

# %% Evaluation: outlines move to edges of the image
if WATERSHED == "edges":
    reach = {"dilate_iterations": WATERSHED_REACH, "erode_iterations": WATERSHED_REACH}
    merged = run.evaluate(PROTOCOL, images, edge_watershed(merged, images.x, **reach, **grey), post="watershed")
if WATERSHED == "gradient":
    reach = {"marker_radius": WATERSHED_REACH}
    merged = run.evaluate(PROTOCOL, images, gradient_watershed(merged, images.x, **reach, **grey), post="watershed")

# %% Evaluation: small objects are removed, holes filled
if MIN_OBJECT_SIZE:
    removed = remove_small_objects(merged, MIN_OBJECT_SIZE, per_slice=not predictor.is_3d)
    merged = run.evaluate(PROTOCOL, images, removed, post="large_objects")
if FILL_HOLES:
    merged = run.evaluate(PROTOCOL, images, fill_holes(merged), post="filled_holes")

# %% Evaluation: instances and their measurements
if INSTANCES:
    limits = {"min_distance": INSTANCE_DISTANCE_NM, "min_voxels": MIN_OBJECT_SIZE, "voxel_size_nm": size or 1.0}
    contours = repeat(None)
    if INSTANCE_CONTOURS and "contour" in predictor.targets:
        contours = predictor.for_target("contour").by_protocol(stored, PROTOCOL, **prediction)
    found = (instances_from_probability(p, contour=c, **limits) for p, c in zip(merged, contours, strict=False))
    evaluate_instances(run, images, found, protocol=PROTOCOL, voxel_size_nm=size)

# %% Results
run.finish()
