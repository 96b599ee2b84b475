"""The 3D templates run from the command line, on toy volumes, as a user would run them."""

import csv
import shutil

import h5py
import numpy as np
import pytest
import running
import tifffile
import zarr
from running import read_scores

from data_sets.synthetic_em import synthetic_em_volume

TOY = {
    "CROP_SHAPE": "(8,32,32,1)",
    "FEATURE_MAPS": "(3,4,5)",
    "DEPTH": 2,
    "DROP_VALUES": "(0.,0.,0.)",
    "Z_DOWN": 1,
    "LOSS": "bce_dice",
    "OPTIMIZER": "adamw",
    "LEARNING_RATE": 0.01,
    "SCHEDULE": "one_cycle",
    "EPOCHS": 2,
    "Z_FILTER_SIZE": 3,
}
STAGES = [
    "Test {} IoU (merge into complete image)",
    "Post-process: Ensemble - Test {} IoU (merge into complete image)",
    "Post-process: Z-Filtering - Test {} IoU (merge into complete image)",
    "Post-process: Ensemble + Z-Filtering - Test {} IoU (merge into complete image)",
    "Test {} IoU (merge with 50% overlap)",
    "Post-process: Ensemble - Test {} IoU (merge with 50% overlap)",
    "Post-process: Ensemble + Z-Filtering - Test {} IoU (merge with 50% overlap)",
    "Test {} IoU (full)",
]
PUBLISHED_LABELS = ["Test loss", "Test Foreground IoU (per crop)"]
PUBLISHED_LABELS += [stage.format(part) for stage in STAGES for part in ("Foreground", "Overall")]


OF_FILES = "U-Net_3D_template_loading_3D_images.py"


def run(data, job, *flags, template="U-Net_3D_template.py", **settings):
    return running.run(template, data, job, *flags, **TOY | settings)


def make_volume(shape, seed):
    image, labels = synthetic_em_volume(shape, seed, voxel_size_nm=(20, 20, 20))
    return image[..., 0], (labels[..., 0] > 0).astype(np.uint8) * 255


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    """Return a data folder with 20 training and 5 test slices of 40 x 52, png, that form two volumes."""
    from data_sets.synthetic_em import write_demo_data

    options = {"n_train": 20, "n_test": 5, "image_shape": (40, 52), "voxel_size_nm": (20, 20, 20)}
    return write_demo_data(tmp_path_factory.mktemp("slices") / "data", **options)


def test_slices_that_form_a_volume(slices, tmp_path):
    result = run(slices, tmp_path, "--id", "slices", FULL_VOLUME=True)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "results" / "slices_0"
    scores = read_scores(folder)
    for label in PUBLISHED_LABELS:
        assert f"{label}: " in result.stdout and np.isfinite(scores[label])
    names = sorted(path.with_suffix(".tif").name for path in (slices / "test" / "x").iterdir())
    written = folder / "images" / "overlap_50" / "ensemble_z_filter" / "binary"
    assert sorted(path.name for path in written.iterdir()) == names
    assert tifffile.imread(written / names[0]).shape == (40, 52)
    for picture in (
        "checks/crops.png",
        "checks/training_crops.png",
        "checks/augmented_pairs.png",
        "charts/history.png",
    ):
        assert (folder / picture).stat().st_size > 1000


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a data folder with volumes of different sizes: tif with ImageJ axes, hdf5 and zarr."""
    data = tmp_path_factory.mktemp("files")
    sizes = {
        "train": {"a.tif": (14, 40, 32), "b.h5": (10, 32, 48)},
        "test": {"c.tif": (5, 33, 35), "d.h5": (9, 40, 30), "e.zarr": (6, 32, 32)},
    }
    for part, volumes in sizes.items():
        for number, (name, shape) in enumerate(volumes.items()):
            for kind, array in zip("xy", make_volume(shape, (number, len(part))), strict=True):
                path = data / part / kind / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.suffix == ".tif":
                    tifffile.imwrite(path, array, imagej=True, metadata={"axes": "ZYX"})
                elif path.suffix == ".zarr":
                    zarr.save_array(path, array)
                else:
                    with h5py.File(path, "w") as file:
                        file["volumes/data"] = array
    return data


def test_files_of_different_sizes_are_volumes(files, tmp_path):
    settings = {"RANDOM_SUBVOLUMES": 4, "PROBABILITY_MAP": "(0.9,0.1)", "PADDING": "(1,4,4)", "PADDING_MODE": "median"}
    settings |= {"ROTATION90": True, "BATCH_SIZE": 2, "BRIGHTNESS_RANGE": "(0.8,1.2)", "ELASTIC_ALPHA": "(0.,1.)"}
    result = run(files, tmp_path, "--id", "files", template=OF_FILES, **settings)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "results" / "files_0"
    for part in ("probability", "binary"):
        written = folder / "images" / "per_image" / "none" / part
        assert sorted(path.name for path in written.iterdir()) == ["c.tif", "d.tif", "e.tif"]
        for name, shape in (("c.tif", (5, 33, 35)), ("d.tif", (9, 40, 30)), ("e.tif", (6, 32, 32))):
            with tifffile.TiffFile(written / name) as tif:
                assert (tif.series[0].axes, tif.series[0].shape) == ("ZYX", shape)
    rows = list(csv.DictReader((folder / "scores_per_image.csv").open()))
    assert {row["image"] for row in rows if row["protocol"] == "per_image"} == {"c.tif", "d.h5", "e.zarr"}
    for kind in "xy":
        pairs = [tifffile.imread(path) for path in (folder / "checks" / "augmented_pairs" / kind).iterdir()]
        assert len(pairs) > 1 and {pair.shape for pair in pairs} == {(8, 32, 32)}


def test_without_truth_predictions_are_written_only(files, tmp_path):
    shutil.copytree(files, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "test" / "y")
    result = run(tmp_path / "data", tmp_path, "--id", "new", EPOCHS=1, Z_FILTER_SIZE=0)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "results" / "new_0"
    assert not (folder / "scores.json").exists()
    assert len(list((folder / "images" / "overlap_50" / "ensemble" / "binary").iterdir())) == 3


def test_a_dry_run_says_what_the_run_will_take(files, tmp_path):
    result = run(files, tmp_path, "--id", "dry", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "s a step" in result.stdout and "Peak memory" in result.stdout
    assert not (tmp_path / "results" / "dry_0").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"CROP_SHAPE": "(8,64,32,1)"}, r"the subvolume (8, 64, 32) is larger than what is left to train on"),
        ({"CROP_SHAPE": "(6,32,32,1)", "Z_DOWN": 2}, "6 is not divisible by 4 (2 poolings along z), use 4 or 8"),
        ({"CROP_SHAPE": "(32,32,1)"}, "wanted four positive integers (z, y, x, channels)"),
        ({"IMAGE_DATASET": "raw"}, "b.h5 cannot be read: it has no dataset raw"),
        ({"PADDING_MODE": "mirorr"}, "PADDING_MODE 'mirorr' is not known; did you mean 'mirror'?"),
        ({"Z_FILTER_SIZE": 4}, "Z_FILTER_SIZE is 4: such a median has no middle slice"),
        ({"Z_DOWN": 0}, "Z_DOWN is 0; wanted one of 1, 2, or values in brackets"),
        ({"PADDING": "(4,0,0)"}, "a padding of (4, 0, 0) leaves nothing of a crop of (8, 32, 32)"),
    ],
)
def test_wrong_settings_are_said_before_training(settings, message, files, tmp_path):
    template = OF_FILES if "PADDING" in settings or "PADDING_MODE" in settings else "U-Net_3D_template.py"
    result = run(files, tmp_path, "--id", "bad", template=template, **settings)
    assert result.returncode != 0
    assert message in result.stderr and "Traceback" not in result.stderr
    assert "epoch 1/" not in result.stdout


def test_the_template_for_files_reads_colour_and_writes_a_tif_for_each(tmp_path):
    data = tmp_path / "data"
    for part, shape in (("train", (12, 32, 40)), ("test", (7, 30, 36))):
        image, mask = make_volume(shape, len(part))
        for kind, array in (("x", np.stack([image, 255 - image, image // 2], axis=-1)), ("y", mask)):
            (data / part / kind).mkdir(parents=True)
            axes = "ZYXS" if kind == "x" else "ZYX"
            tifffile.imwrite(data / part / kind / "vol.tif", array, imagej=True, metadata={"axes": axes})
    settings = {"CROP_SHAPE": "(8,32,32,3)", "PADDING": "(1,4,4)"}
    result = run(data, tmp_path, "--id", "rgb", template=OF_FILES, **settings)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "results" / "rgb_0"
    assert tifffile.imread(folder / "images" / "per_image" / "ensemble_z_filter" / "binary" / "vol.tif").shape == (
        7,
        30,
        36,
    )
    labels = [label for label in PUBLISHED_LABELS if "50%" not in label and "(full)" not in label]
    assert set(labels) <= set(read_scores(folder))
