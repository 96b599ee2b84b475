"""A volume larger than memory with the 3D network of a finished run: predicted, filtered and labelled block by block.

For zarr (OME-Zarr too), hdf5, tif and folders of slices of any size, on one machine or many. Subvolumes are blended
across the borders of blocks as in memory; blocks without image are skipped. Several processes share the work, each
with a model of its own: --workers of them on this machine (one for each GPU is right; 0: none but this one), or those
of a dask scheduler, whose address is --scheduler (docs/big_volumes.md has SLURM).

    python -u templates/big_volume_template.py $code_dir $data_dir $job_dir --id 910 --gpu 0 --set RUN=$run

$run is the folder of the finished run, such as $job_dir/results/500_0: layers, weights, subvolume, grey values and
classes come from it. data_dir is the volume itself, or holds it in test/x; test/y may hold the truth.
Needs env/requirements-big.txt. After a kill, start the same command again: it continues. Results go to
job_dir/results/<id>_<rid>/volumes/, as OME-Zarr with the voxel size and position of the volume.

Differs from predict_template.py in: nothing is in memory as a whole, results are OME-Zarr, 3D only.
Differs from U-Net_3D_template.py in: nothing is trained.
"""

# %% Command line
import sys
from pathlib import Path

sys.path[:0] = [*sys.argv[1:2], str(Path(__file__).resolve().parents[1])]

from utils.command_line import apply_overrides, parse_command_line

scheduler = {"--scheduler": "address of a dask scheduler whose workers are used instead, e.g. tcp://node7:8786"}
args = parse_command_line(__file__, workers=1, more=scheduler)

# %% Experiment variables
# --- Data
# Folder of the finished run, job_dir/results/<id>_<rid>, or its best.weights.h5 with network.json beside it
RUN = None
# Block (z, y, x) that a process works on: several subvolumes a side; it is the chunk of the results too
BLOCK_SHAPE = (160, 320, 320)
# Names of the arrays in hdf5 and zarr files that hold several
IMAGE_DATASET = None
MASK_DATASET = None
# True: every value above 0 in the truth is foreground, such as the ids of objects
MASK_IDS = False
# A subvolume of nothing but one of these grey values is background and not predicted; (): all are predicted
EMPTY_VALUES = (0,)
# Size of a voxel (z, y, x) in nanometres; None: as the volume states
VOXEL_SIZE_NM = None
# Grey values of black and white of the volume if they differ from those of the training images; None: the same
INTENSITY_RANGE = None

# --- Prediction
# blended: half-overlapping subvolumes, without seams; crops: averaged where they overlap
PROTOCOL = "blended"
# Subvolume (z, y, x, channels) that the network sees; (): as in training
CROP_SHAPE = ()
# Minimum overlap of neighbouring subvolumes with PROTOCOL crops, as a fraction, for all axes or one each
OVERLAP = 0.5
# Margin of each subvolume whose prediction is thrown away with PROTOCOL crops, for all axes or one each
PADDING = 0
# True: the mean over 16 orientations of each subvolume, in that many times the time
ENSEMBLE = False
# Subvolumes predicted at once; 0: as in training
BATCH_SIZE = 0
# Number format of the probabilities on disk: float32, or float16, which takes half the space
OUTPUT_DTYPE = "float32"

# --- Post-processing
# Slices in the median along z; 0 for none
Z_FILTER_SIZE = 5
# Voxels with a higher probability are foreground
THRESHOLD = 0.5
# True: instances, each connected object with a label of its own
INSTANCES = True
# Objects of fewer voxels get no label
MIN_OBJECT_SIZE = 0

settings = apply_overrides(globals(), args.set)

# %% Imports
from block_wise.checks import check_stages, note_voxel_size
from block_wise.grid import BlockGrid
from block_wise.job import BlockJob, begin_blocks, check_begun
from block_wise.labels import label_blocks
from block_wise.network import network_of_run
from block_wise.post_processing import draw_blocks, mask_blocks, z_filter_blocks
from block_wise.prediction import dry_run_blocks, predict_blocks
from block_wise.runner import block_workers
from block_wise.truth import score_blocks
from block_wise.volumes import VolumeAddress, find_truth, find_volume, open_volume, volume_scale
from utils.errors import check_choice
from utils.metrics.pixels import scores_from_confusion
from utils.runs.run import Run, run_folder

# %% Checks and data
check_choice("PROTOCOL", PROTOCOL, ("blended", "crops"))
# Flags that decide about results, as the variables do
machine = {"precision": args.precision, "deterministic": args.deterministic}
network = network_of_run(RUN, crop_shape=CROP_SHAPE, batch_size=BATCH_SIZE, intensity_range=INTENSITY_RANGE, **machine)
volume = VolumeAddress(find_volume(args.data_dir), IMAGE_DATASET, channels=network.crop_shape[-1])
truth = find_truth(args.data_dir) and VolumeAddress(find_truth(args.data_dir), MASK_DATASET)

# %% Data augmentation: none, nothing is trained

# %% Network: that of the run, loaded by each worker
job = BlockJob(
    run_folder(args),
    volume,
    BlockGrid(
        open_volume(volume).shape,
        network.crop_shape,
        BLOCK_SHAPE,
        blending=PROTOCOL == "blended",
        overlap=OVERLAP,
        padding=PADDING,
    ),
    network,
    ensemble=ENSEMBLE,
    empty_values=EMPTY_VALUES,
    dtype=OUTPUT_DTYPE,
    scale=volume_scale(volume, VOXEL_SIZE_NM),
)
stages = {"z_filter_size": Z_FILTER_SIZE, "threshold": THRESHOLD}
stages |= {"instances": INSTANCES, "min_object_size": MIN_OBJECT_SIZE}
check_stages(job, truth=truth, ids=MASK_IDS, **stages)
datasets = {"image_dataset": IMAGE_DATASET, "mask_dataset": MASK_DATASET}
begun = check_begun(job, **stages)
known = {"intensity_range": network.intensity_range, "voxel_size_nm": job.voxel_size_nm}
run = Run(args, settings, begun=begun, **known, **datasets)
begin_blocks(job, **stages)

# %% Training: none, the weights are the best of the run
run.section("Prediction")
note_voxel_size(job)

# %% Evaluation: block by block
post = "blending" if PROTOCOL == "blended" else "none"
share = {"scheduler": args.scheduler, "gpus": args.gpu, "log_folder": run.folder / "workers"}
with block_workers(args.workers, **share) as workers:
    if args.dry_run:
        dry_run_blocks(job, workers)
    probability = predict_blocks(job, workers)
    if Z_FILTER_SIZE:
        probability = z_filter_blocks(job, workers, Z_FILTER_SIZE)
        post = "blending_z_filter" if PROTOCOL == "blended" else "z_filter"
    mask = mask_blocks(job, workers, probability, threshold=THRESHOLD)
    if INSTANCES:
        labels, n_instances = label_blocks(job, workers, mask, min_voxels=MIN_OBJECT_SIZE)
        print(f"{n_instances} instances: {labels}")
    scored = truth and score_blocks(job, workers, mask, truth, ids=MASK_IDS)

# %% Results
if scored:
    run.add_scores("per_image", post, scores_from_confusion(scored.confusion), n=1)
draw_blocks(run.charts / "middle.png", job, mask, truth=scored)
run.finish()
