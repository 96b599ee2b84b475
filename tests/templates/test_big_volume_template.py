"""The template for volumes that do not fit: as in memory, and the same bits after workers and the run were killed."""

import json
import signal
import time

import numpy as np
import psutil
import pytest
import running
import zarr
from running import read_scores

SHAPE, CROP = (20, 72, 56), (8, 32, 32, 1)
TOY = {"BLOCK_SHAPE": "(8,24,24)", "Z_FILTER_SIZE": 3, "MIN_OBJECT_SIZE": 3, "EMPTY_VALUES": "()"}
RESULTS = ("probability", "z_filter", "mask", "labels")


@pytest.fixture(scope="module")
def model():
    """Return a network that has learnt nothing, but whose probabilities vary about 0.5."""
    import keras

    from networks.unet import U_Net_3D

    keras.utils.set_random_seed(1)
    model = U_Net_3D((None, None, None, 1), feature_maps=(3, 4, 5), depth=2, drop_values=(0.0, 0.0, 0.0), z_down=1)
    last = model.layers[-1]
    kernel, bias = last.get_weights()
    last.set_weights([20 * kernel, bias])
    noise = np.random.default_rng(0).random((1, *CROP), np.float32)
    probability = np.clip(np.asarray(model(noise)), 1e-6, 1 - 1e-6)
    last.set_weights([20 * kernel, bias - np.median(np.log(probability / (1 - probability)))])
    model.compile()
    return model


@pytest.fixture(scope="module")
def data(tmp_path_factory, model):
    """Return a data folder with a zarr volume and its truth; the weights and network.json are beside it."""
    from data_sets.synthetic_em import synthetic_em_volume
    from utils.training.network_file import network_config

    folder = tmp_path_factory.mktemp("big") / "data"
    image, labels = synthetic_em_volume(SHAPE, 3, voxel_size_nm=(20, 20, 20))
    for part, array in (("x", image[..., 0]), ("y", np.uint8(255) * (labels[..., 0] > 0))):
        (folder / "test" / part).mkdir(parents=True)
        zarr.create_array(folder / "test" / part / "volume.zarr", data=array, chunks=(8, 32, 32))
    model.save_weights(weights_of(folder))
    content = {"crop_shape": CROP, "batch_size": 1, "n_classes": 1, "instance_targets": (), "intensity_range": None}
    content |= {"normalisation": "dtype", "percentiles": (1, 99), "dtype": "uint8", "voxel_size_nm": None}
    content["settings"] = {}
    content["network"] = network_config(model)
    weights_of(folder).with_name("network.json").write_text(json.dumps(content))
    return folder


def weights_of(data):
    return data.parent / "best.weights.h5"


def run(data, job, *flags, **settings):
    settings = TOY | {"RUN": weights_of(data)} | settings
    return running.run("big_volume_template.py", data, job, *flags, **settings)


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    """Return the folder of a run of one process that nothing happened to, and what it said."""
    job = tmp_path_factory.mktemp("straight")
    result = run(data, job, "--id", "big", "--workers", "0")
    assert result.returncode == 0, result.stderr
    return job / "results" / "big_0", result.stdout


def read(folder, name):
    name = {"mask": "probability.zarr/labels/mask", "labels": "probability.zarr/labels/instances"}.get(
        name, f"{name}.zarr"
    )
    return zarr.open_array(str(folder / "volumes" / name / "0"), mode="r")[...]


def test_results_are_those_in_memory(data, model, straight):
    from utils.metrics.components import connected_components, sizes_of
    from utils.post_processing.z_filter import z_filter
    from utils.prediction.protocols import predict_blended

    folder, said = straight
    image = zarr.open_array(str(data / "test" / "x" / "volume.zarr"), mode="r")[...][..., np.newaxis]
    expected = next(predict_blended(model, [image], CROP, ensemble=False, batch_size=1))
    assert expected.std() > 0.05
    assert np.allclose(read(folder, "probability"), expected[..., 0], rtol=0, atol=2e-6)
    filtered = np.stack(list(z_filter(read(folder, "probability")[..., np.newaxis], 3)))[..., 0]
    assert np.array_equal(read(folder, "z_filter"), filtered)
    mask = read(folder, "mask")
    assert np.array_equal(mask, filtered > 0.5) and 0 < mask.mean() < 1
    labels, objects = read(folder, "labels"), connected_components(mask)
    kept = sizes_of(objects)[1:] >= 3
    assert labels.max() == kept.sum() and f"{kept.sum()} instances: " in said
    assert np.array_equal(labels > 0, np.isin(objects, 1 + np.flatnonzero(kept)))
    truth = zarr.open_array(str(data / "test" / "y" / "volume.zarr"), mode="r")[...] > 0
    iou = (truth & (mask > 0)).sum() / (truth | (mask > 0)).sum()
    label = "Post-process: Blending + Z-Filtering - Test Foreground IoU (merge into complete image)"
    assert read_scores(folder)[label] == pytest.approx(iou)
    assert (folder / "charts" / "middle.png").stat().st_size > 1000
    assert "end" in json.loads((folder / "environment.json").read_text())


def blocks_done(folder):
    return len(list((folder / "blocks" / "done" / "probability").glob("[0-9]*.json")))


def wait_for_blocks(folder, count, process):
    start = time.time()
    while blocks_done(folder) < count:
        assert process.poll() is None and time.time() - start < 600, "the run ended or stands still"
        time.sleep(0.02)


def test_a_killed_worker_and_a_killed_run_change_no_bit(data, straight, tmp_path):
    folder = tmp_path / "results" / "big_0"
    settings, flags = TOY | {"RUN": weights_of(data)}, ["--id", "big", "--workers", "2"]
    process = running.start("big_volume_template.py", data, tmp_path, *flags, **settings)
    wait_for_blocks(folder, 2, process)
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in children if "multiprocessing.spawn" in " ".join(child.cmdline())]
    assert len(workers) == 2
    workers[0].send_signal(signal.SIGKILL)
    wait_for_blocks(folder, 7, process)
    process.kill()
    process.wait()
    for child in children:  # they would end by themselves, a minute after their scheduler
        if child.is_running():
            child.kill()
    done = blocks_done(folder)
    assert 7 <= done < 27

    record = (folder / "settings.json").read_bytes()
    refused = run(data, tmp_path, "--id", "big", "--workers", "0", ENSEMBLE=True, OUTPUT_DTYPE="float16", THRESHOLD=0.4)
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "ENSEMBLE was False, is True; OUTPUT_DTYPE was 'float32', is 'float16'." in refused.stderr
    assert blocks_done(folder) == done and (folder / "settings.json").read_bytes() == record

    resumed = run(data, tmp_path, "--id", "big", "--resume", "--workers", "0")
    assert resumed.returncode == 0, resumed.stderr
    assert "nothing to resume" not in resumed.stdout
    assert f"This run continues: {done} of 27 blocks are predicted." in resumed.stdout
    for name in RESULTS:
        assert np.array_equal(read(folder, name), read(straight[0], name)), name


def test_a_dry_run_says_how_long_it_will_take(data, tmp_path):
    result = run(data, tmp_path, "--id", "big", "--dry-run", "--workers", "0")
    assert result.returncode == 0, result.stderr
    assert "hours of one worker" in result.stdout
    assert not (tmp_path / "results" / "big_0").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"RUN": None}, "RUN is not set. Give the folder of a run"),
        ({"Z_FILTER_SIZE": 4}, "Z_FILTER_SIZE is 4"),
        (
            {"THRESHOLD": 2.0, "MIN_OBJECT_SIZE": -1},
            "2 problems in --set: THRESHOLD is 2.0; wanted a number from 0 to 1; MIN_OBJECT_SIZE is -1; wanted",
        ),
    ],
    ids=["no run", "z-filter", "threshold and size"],
)
def test_mistakes_end_in_a_sentence_before_the_first_block(data, tmp_path, settings, said):
    result = run(data, tmp_path, **settings)
    assert result.returncode == 1
    assert said in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "results").exists()


def test_a_truth_of_another_size_is_said_before_the_first_block(data, tmp_path):
    (tmp_path / "test" / "y").mkdir(parents=True)
    (tmp_path / "test" / "x").symlink_to(data / "test" / "x")
    zarr.create_array(tmp_path / "test" / "y" / "volume.zarr", data=np.zeros((20, 72, 55), np.uint8))
    result = run(tmp_path, tmp_path / "job", RUN=weights_of(data))
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "the truth volume.zarr is (20, 72, 55) (z, y, x), but the volume (20, 72, 56)" in result.stderr
    assert not (tmp_path / "job").exists()


def test_a_scheduler_that_does_not_answer_is_one_sentence(data, tmp_path):
    result = run(data, tmp_path, "--scheduler", "tcp://127.0.0.1:1")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "no dask scheduler answers at 'tcp://127.0.0.1:1'" in result.stderr
