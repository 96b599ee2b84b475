"""Tests of block-wise prediction and filtering in one process: as in memory, restartable, clear about failures."""

import errno
import json

import numpy as np
import pytest
from fake_volume_network import FakeNetwork, blobs, make_job

from block_wise import prediction as block_prediction
from block_wise.job import begin_blocks, network_of_run
from block_wise.post_processing import draw_blocks, mask_blocks, z_filter_blocks
from block_wise.prediction import dry_run_blocks, predict_blocks
from block_wise.runner import block_workers
from block_wise.volumes import VolumeAddress
from block_wise.zarr_arrays import read_box
from utils.metrics import confusion_matrix, probability_to_mask
from utils.post_processing import z_filter
from utils.prediction import predict_blended, predict_crops

CROP, BLOCK = (6, 16, 16, 1), (8, 24, 24)


@pytest.fixture
def here():
    with block_workers(0) as workers:
        yield workers


def whole(path):
    return read_box(path, (slice(None),) * 3)


def predict(job, workers):
    begin_blocks(job, {})
    return whole(predict_blocks(job, workers))


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("ensemble", [False, True])
def test_blended_prediction_is_that_in_memory(tmp_path, here, classes, ensemble):
    volume = blobs((19, 40, 37))
    job = make_job(tmp_path, volume, CROP, BLOCK, classes=classes, ensemble=ensemble, batch_size=3)
    network = FakeNetwork(classes)
    expected = next(predict_blended(network, [volume[..., np.newaxis]], CROP, ensemble=ensemble, batch_size=3))
    found = predict(job, here)
    assert np.allclose(found, expected if classes == 2 else expected[..., 0], rtol=0, atol=5e-7)
    assert not (tmp_path / "run" / "blocks" / "parts").exists()


def test_crops_with_margins_are_those_in_memory(tmp_path, here):
    volume = blobs((19, 40, 37))
    options = {"overlap": 0.25, "padding": (1, 3, 3)}
    job = make_job(tmp_path, volume, CROP, BLOCK, grid_options=options, intensity_range=(20, 200))
    predictions = predict_crops(FakeNetwork(), [volume[..., np.newaxis]], CROP, intensity_range=(20, 200), **options)
    assert np.allclose(predict(job, here), next(predictions)[..., 0], rtol=0, atol=5e-7)


@pytest.mark.parametrize("size", [3, 5, 9])
@pytest.mark.parametrize("depth", [3, 19])
def test_z_filter_across_blocks_is_exactly_that_in_memory(tmp_path, here, size, depth):
    job = make_job(tmp_path, blobs((depth, 40, 37)), CROP, (4, 24, 24))
    probability = predict(job, here)
    expected = np.stack(list(z_filter(probability[..., np.newaxis], size)))[..., 0]
    assert np.array_equal(whole(z_filter_blocks(job, here, size)), expected)


def test_mask_and_its_agreement_with_the_truth(tmp_path, here):
    import zarr

    volume = blobs((10, 30, 30))
    truth = np.uint8(255) * (volume > 140)
    zarr.create_array(tmp_path / "truth.zarr", data=truth)
    job = make_job(tmp_path, volume, CROP, BLOCK)
    probability = predict(job, here)
    address = VolumeAddress(str(tmp_path / "truth.zarr"))
    mask, confusion = mask_blocks(job, here, job.output("probability"), threshold=0.45, truth=address)
    expected = probability_to_mask(probability[..., np.newaxis], 0.45)[..., 0]
    assert 0.01 < expected.mean() < 0.99
    assert np.array_equal(whole(mask), expected)
    assert np.array_equal(confusion, confusion_matrix(truth > 0, expected))


def test_a_truth_of_another_size_is_refused(tmp_path, here):
    job = make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK)
    import zarr

    zarr.create_array(tmp_path / "truth.zarr", data=np.zeros((9, 30, 30), np.uint8))
    with pytest.raises(ValueError, match=r"truth\.zarr is \(9, 30, 30\) \(z, y, x\), but the volume \(10, 30, 30\)"):
        mask_blocks(job, here, job.output("probability"), truth=VolumeAddress(str(tmp_path / "truth.zarr")))


@pytest.mark.parametrize("classes", [1, 2])
def test_empty_subvolumes_are_background_whatever_the_blocks(tmp_path, here, classes):
    volume = np.zeros((12, 64, 64), np.uint8)
    volume[:, :20, :20] = 200
    found = []
    for number, block in enumerate([(6, 16, 16), (12, 40, 64)]):
        (tmp_path / str(number)).mkdir()
        options = {"classes": classes, "empty_values": (0,), "grid_options": {"overlap": 0.5}}
        job = make_job(tmp_path / str(number), volume, CROP, block, **options)
        found.append(predict(job, here))
    assert np.allclose(*found, rtol=0, atol=1e-6)
    foreground = found[0] if classes == 1 else found[0][..., 1]
    assert foreground[:, :16, :16].min() > 0.5 and not foreground[:, 40:, 40:].any()
    if classes == 2:
        assert np.allclose(found[0].sum(-1), 1)


def test_an_empty_block_asks_the_network_nothing_and_writes_no_chunk(tmp_path, here, monkeypatch):
    job = make_job(tmp_path, np.zeros((12, 64, 64), np.uint8), CROP, BLOCK, empty_values=(255, 0))
    monkeypatch.setattr(block_prediction, "_model", lambda network: pytest.fail("the network was made"))
    assert not predict(job, here).any()
    assert not (job.output("probability") / "c").exists()


# --- stopped and gone on with


def test_a_killed_run_goes_on_and_gives_the_same_bits(tmp_path, here, monkeypatch, capsys):
    volume = blobs((19, 40, 37))
    (tmp_path / "straight").mkdir()
    expected = predict(make_job(tmp_path / "straight", volume, CROP, BLOCK), here)
    job = make_job(tmp_path, volume, CROP, BLOCK)
    original, predicted = block_prediction.predict_each, []

    def stop_after_five(*arguments, **options):
        predicted.append(1)
        if len(predicted) == 6:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(block_prediction, "predict_each", stop_after_five)
    with pytest.raises(KeyboardInterrupt):
        predict(job, here)
    assert 0 < len(job.markers("probability").done()) < len(job.grid.blocks)
    found = predict(job, here)
    assert "It goes on." in capsys.readouterr().out
    assert np.array_equal(found, expected)
    owners = sum(bool(job.grid.corners(block)) for block in job.grid.blocks)
    assert len(predicted) == owners + 1  # none twice but the one that was interrupted


def test_other_settings_and_another_volume_are_refused(tmp_path):
    job = make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK)
    begin_blocks(job, {"OVERLAP": 0.5, "WORKERS": 1}, free=("WORKERS",))
    begin_blocks(job, {"OVERLAP": 0.5, "WORKERS": 3}, free=("WORKERS",))
    with pytest.raises(ValueError, match=r"OVERLAP was 0\.5, is 0\.25"):
        begin_blocks(job, {"OVERLAP": 0.25})
    (tmp_path / "other").mkdir()
    other = make_job(tmp_path / "other", blobs((11, 30, 30)), CROP, BLOCK, network=FakeNetwork(seconds=0.001))
    import dataclasses

    other = dataclasses.replace(other, folder=job.folder)
    with pytest.raises(ValueError, match=r"weights was .*; volume was .*; volume shape was \[10, 30, 30, 1\]"):
        begin_blocks(other, {"OVERLAP": 0.5})


def test_a_damaged_chunk_costs_its_blocks_only_and_a_repaired_one_is_enough(tmp_path, here):
    volume = blobs((19, 40, 37))
    job = make_job(tmp_path, volume, CROP, BLOCK, grid_options={})
    chunk = tmp_path / "input.zarr" / "c" / "0" / "0" / "0"
    whole_chunk = chunk.read_bytes()
    chunk.write_bytes(whole_chunk[:30])
    with pytest.raises(ValueError, match=r"all other blocks are done.*input\.zarr cannot be read at z 0 to \d+, y 0"):
        predict(job, here)
    done = job.markers("probability").done()
    assert (0, 0, 0) not in done and (2, 1, 1) in done
    chunk.write_bytes(whole_chunk)
    expected = next(predict_crops(FakeNetwork(), [volume[..., np.newaxis]], CROP))[..., 0]
    assert np.allclose(predict(job, here), expected, rtol=0, atol=5e-7)


def test_a_full_disk_ends_the_run_and_loses_nothing(tmp_path, here, monkeypatch):
    job = make_job(tmp_path, blobs((19, 40, 37)), CROP, BLOCK)
    save, saved = np.save, []

    def full_after_four(path, array):
        saved.append(path)
        if len(saved) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, array)

    monkeypatch.setattr(np, "save", full_after_four)
    with pytest.raises(OSError, match=r"the disk is full\. Nothing written before is lost"):
        predict(job, here)
    assert len(list((job.blocks_folder / "parts").iterdir())) + len(job.markers("probability").done()) >= 4
    monkeypatch.undo()
    predict(job, here)
    assert len(saved) == 5


def test_a_disk_that_is_too_small_is_said_at_once(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("block_wise.manifest.shutil.disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match="GiB are free"):
        begin_blocks(make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK), {})


# --- mistakes


def test_a_network_of_other_classes_is_refused(tmp_path, here):
    job = make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK, network=FakeNetwork(2))
    with pytest.raises(ValueError, match="the network has 2 outputs, but N_CLASSES is 1"):
        predict(job, here)


def test_an_unknown_dtype_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"OUTPUT_DTYPE 'float64' is not known"):
        begin_blocks(make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK, dtype="float64"), {})


def test_half_precision_on_disk(tmp_path, here):
    found = predict(make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK, dtype="float16"), here)
    assert found.dtype == np.float16 and 0.5 < found.max() <= 1


def test_a_dry_run_predicts_one_block_and_leaves_no_part(tmp_path, here, capsys):
    job = make_job(tmp_path, blobs((19, 40, 37)), CROP, BLOCK)
    begin_blocks(job, {})
    with pytest.raises(SystemExit) as stopped:
        dry_run_blocks(job, here)
    assert not stopped.value.code
    assert "hours of one worker" in capsys.readouterr().out
    assert not list((job.blocks_folder / "parts").iterdir())


def stored_run(folder, **content):
    """Return a weights file with the description of a network beside it; what is in it is not read here."""
    folder.mkdir()
    (folder / "best.weights.h5").write_bytes(b"weights")
    known = {"crop_shape": (8, 32, 32, 1), "batch_size": 2, "n_classes": 3, "instance_targets": ()}
    known |= {"normalisation": "percentile", "intensity_range": (12, 230)}
    (folder / "network.json").write_text(json.dumps(known | content))
    return folder / "best.weights.h5"


def test_a_run_says_what_its_network_gets_and_gives(tmp_path):
    trained = network_of_run(stored_run(tmp_path / "a"))
    assert trained[1:] == ((8, 32, 32, 1), 3, 2, (12, 230))
    assert network_of_run(stored_run(tmp_path / "b"), crop_shape=(4, 16, 16, 1)).crop_shape == (4, 16, 16, 1)
    assert network_of_run(tmp_path / "b" / "best.weights.h5").network.key == trained.network.key
    other = network_of_run(stored_run(tmp_path / "c", intensity_range=None))
    assert other.intensity_range is None and other.network.key != trained.network.key
    targets = stored_run(tmp_path / "d", instance_targets=("binary", "contour"))
    assert network_of_run(targets).classes == 1


def test_runs_that_cannot_be_used_are_said(tmp_path):
    with pytest.raises(ValueError, match="RUN is nowhere, which does not exist"):
        network_of_run("nowhere")
    with pytest.raises(ValueError, match=r"takes images \(y, x, c\), not volumes"):
        network_of_run(stored_run(tmp_path / "flat", crop_shape=(32, 32, 1)))
    with pytest.raises(ValueError, match="percentile_per_image, but all blocks"):
        network_of_run(stored_run(tmp_path / "each", normalisation="percentile_per_image"))
    with pytest.raises(ValueError, match="PRECISION 'half' is not known"):
        network_of_run(stored_run(tmp_path / "half"), precision="half")


def test_grey_values_without_a_range_and_channels_that_differ_are_refused(tmp_path):
    job = make_job(tmp_path, blobs((10, 30, 30)).astype(np.int32), CROP, BLOCK)
    with pytest.raises(ValueError, match=r"int32 .*INTENSITY_RANGE=\(low, high\)"):
        begin_blocks(job, {})
    with pytest.raises(ValueError, match=r"the volume has 1 channels, but CROP_SHAPE is \(6, 16, 16, 3\)"):
        make_job(tmp_path, tmp_path / "input.zarr", (6, 16, 16, 3), BLOCK)


def test_a_picture_of_the_middle(tmp_path, here):
    job = make_job(tmp_path, blobs((10, 30, 40)), CROP, BLOCK)
    begin_blocks(job, {})
    mask, _ = mask_blocks(job, here, predict_blocks(job, here))
    draw_blocks(tmp_path / "middle.png", job, mask, truth=job.volume)
    assert (tmp_path / "middle.png").stat().st_size > 1000
