"""3D U-Net on a volume larger than memory: predicted, filtered and labelled block by block, on one machine or many.

For zarr (OME-Zarr too), hdf5, tif and folders of slices of any size, with the network of a finished run. Subvolumes are
blended across the borders of blocks as in memory; blocks without image are skipped. Several processes share the
work, each with a model of its own: on this machine, or those of a dask scheduler (docs/big_volumes.md has SLURM).

    python -u templates/big_volume_template.py $code_dir $data_dir $job_dir --id 800 --rid 0 --gpu 0
        --set LOAD_WEIGHTS=$job_dir/results/500_0/checkpoints/best.weights.h5

data_dir is the volume itself, or holds it in test/x; test/y may hold the truth. Needs env/requirements-big.txt. After a
kill, start the same command again: it goes on. Results go to job_dir/results/<id>_<rid>/volumes/.

Differs from U-Net_3D_template.py in: nothing is trained, nothing is held in memory, results are zarr.
"""

# %% Command line
import sys
from pathlib import Path

sys.path[:0] = [*sys.argv[1:2], str(Path(__file__).resolve().parents[1])]

from utils.experiment import apply_overrides, parse_command_line

args = parse_command_line(__file__)

# %% Experiment variables
# --- Data
# Subvolume (z, y, x, channels) that the network sees; sides divisible by what the poolings reduce
CROP_SHAPE = (80, 80, 80, 1)
# Block (z, y, x) that a process works on: several subvolumes a side; it is the chunk of the results too
BLOCK_SHAPE = (160, 320, 320)
# Names of the arrays in hdf5 and zarr files that hold several
IMAGE_DATASET = None
MASK_DATASET = None
# Grey values that become 0 and 1; None: 0..255, 0..65535 or 0..1 by the dtype of the images
INTENSITY_RANGE = None
# The normalisation.json of a run that measured its grey values, instead of INTENSITY_RANGE, or None
NORMALISATION_FILE = None
# A subvolume of nothing but one of these grey values is background and not predicted; (): all are predicted
EMPTY_VALUES = (0,)

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
# Weights of the run that trained the network: its checkpoints/best.weights.h5
LOAD_WEIGHTS = None
# auto (bfloat16 on GPUs that have it, else float32), float32, mixed_bfloat16, mixed_float16
PRECISION = "auto"
# True: exactly the same numbers in every run with the same seed, somewhat slower
DETERMINISTIC = False

# --- Evaluation
# True: half-overlapping subvolumes blended by a spline window; False: OVERLAP and PADDING
BLENDING = True
# Minimum overlap of neighbouring subvolumes, as a fraction, for all axes or one each
OVERLAP = 0.0
# Margin (z, y, x) of a subvolume whose prediction is thrown away
PADDING = 0
# True: average the 16 orientations of each subvolume
ENSEMBLE = False
# Subvolumes that are predicted at once
BATCH_SIZE = 1
# Of the probabilities on disk: float32, or float16, which takes half of it
OUTPUT_DTYPE = "float32"
# Slices in the median along z; 0 for none
Z_FILTER_SIZE = 5
# Foreground is what has a higher probability
THRESHOLD = 0.5
# True: instances, each connected object with a label of its own
INSTANCES = True
# Objects of fewer voxels get no label
MIN_OBJECT_SIZE = 0
# Processes on this machine, each with a model; one for each GPU of --gpu is right; 0: none but this one
WORKERS = 1
# Address of a dask scheduler whose workers are used instead, such as "tcp://node7:8786"
SCHEDULER = None

settings = apply_overrides(globals(), args.set)

# %% Imports
from functools import partial

from block_wise.grid import BlockGrid
from block_wise.job import BlockJob, begin_blocks, range_of_run, trained_network
from block_wise.labels import label_blocks
from block_wise.post_processing import draw_blocks, mask_blocks, z_filter_blocks
from block_wise.prediction import dry_run_blocks, predict_blocks
from block_wise.runner import block_workers
from block_wise.volumes import VolumeAddress, find_truth, find_volume, open_volume
from networks.unet import U_Net_3D
from utils.checks import check_crop_shape
from utils.metrics import scores_from_confusion
from utils.run import Run

# %% Checks and data
check_crop_shape(CROP_SHAPE, poolings=DEPTH, z_down=Z_DOWN, padding=PADDING)
volume = VolumeAddress(find_volume(args.data_dir), IMAGE_DATASET)
truth = find_truth(args.data_dir) and VolumeAddress(find_truth(args.data_dir), MASK_DATASET)
grid = BlockGrid(
    open_volume(volume).shape, CROP_SHAPE, BLOCK_SHAPE, blending=BLENDING, overlap=OVERLAP, padding=PADDING
)

# %% Data augmentation: none, nothing is trained

# %% Network
build = partial(
    U_Net_3D,
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

# %% Training: done by another run, whose weights each worker loads
network = trained_network(build, LOAD_WEIGHTS, precision=PRECISION, deterministic=DETERMINISTIC)
run = Run(args, settings)
job = BlockJob(
    run.folder,
    volume,
    grid,
    network,
    classes=N_CLASSES,
    batch_size=BATCH_SIZE,
    ensemble=ENSEMBLE,
    intensity_range=range_of_run(NORMALISATION_FILE, INTENSITY_RANGE),
    empty_values=EMPTY_VALUES,
    dtype=OUTPUT_DTYPE,
)
begin_blocks(job, settings, free=("WORKERS", "SCHEDULER", "LOAD_WEIGHTS"), z_filter_size=Z_FILTER_SIZE)

# %% Evaluation: block by block
run.section("Evaluation")
post = "blending" if BLENDING else "none"
with block_workers(WORKERS, scheduler=SCHEDULER, gpus=args.gpu, log_folder=run.folder / "workers") as workers:
    if args.dry_run:
        dry_run_blocks(job, workers)
    probability = predict_blocks(job, workers)
    if Z_FILTER_SIZE:
        probability, post = (
            z_filter_blocks(job, workers, Z_FILTER_SIZE),
            "blending_z_filter" if BLENDING else "z_filter",
        )
    mask, confusion = mask_blocks(job, workers, probability, threshold=THRESHOLD, truth=truth)
    if INSTANCES:
        labels, n_instances = label_blocks(job, workers, mask, min_voxels=MIN_OBJECT_SIZE)
        print(f"{n_instances} instances: {labels}")

# %% Results
if confusion is not None:
    run.add_scores("per_image", post, scores_from_confusion(confusion), n=1)
draw_blocks(run.charts / "middle.png", job, mask, truth=truth)
run.finish()
