"""Tests of block-wise runs that were stopped, changed, damaged, or met a full disk, and go on."""

import dataclasses
import errno
import os

import numpy as np
import pytest
from fake_volume_network import FakeNetwork, blobs, make_job

from block_wise import prediction as block_prediction
from block_wise.job import begin_blocks, check_begun
from block_wise.labels import label_blocks
from block_wise.manifest import Markers
from block_wise.post_processing import mask_blocks, z_filter_blocks
from block_wise.prediction import predict_blocks
from block_wise.results import DamagedResult, create_volume, read_box, save_arrays, write_box
from block_wise.runner import block_workers
from utils.post_processing.z_filter import z_filter
from utils.prediction.protocols import predict_crops

CROP, BLOCK = (6, 16, 16, 1), (8, 24, 24)


@pytest.fixture
def here():
    with block_workers(0) as workers:
        yield workers


def whole(path):
    return read_box(path, (slice(None),) * 3)


def predict(job, workers):
    begin_blocks(job)
    return whole(predict_blocks(job, workers))


def test_a_killed_run_goes_on_and_gives_the_same_bits(tmp_path, here, monkeypatch, capsys):
    volume = blobs((19, 40, 37))
    (tmp_path / "straight").mkdir()
    expected = predict(make_job(tmp_path / "straight", volume, CROP, BLOCK), here)
    job = make_job(tmp_path, volume, CROP, BLOCK)
    original, predicted = block_prediction._predictor, []

    def stop_after_five(network):
        predicted.append(1)
        if len(predicted) == 6:
            raise KeyboardInterrupt
        return original(network)

    monkeypatch.setattr(block_prediction, "_predictor", stop_after_five)
    with pytest.raises(KeyboardInterrupt):
        predict(job, here)
    assert 0 < len(job.markers("probability").done()) < len(job.grid.blocks)
    found = predict(job, here)
    assert "This run continues: " in capsys.readouterr().out
    assert np.array_equal(found, expected)
    owners = sum(bool(job.grid.corners(block)) for block in job.grid.blocks)
    assert len(predicted) == owners + 1  # none twice but the one that was interrupted


def test_other_settings_and_another_volume_are_refused(tmp_path):
    volume = blobs((10, 30, 30))
    job = make_job(tmp_path, volume, CROP, BLOCK, grid_options={"overlap": 0.5})
    begin_blocks(job)
    job.markers("probability").mark((0, 0, 0))
    begin_blocks(job)
    changed = make_job(tmp_path, volume, CROP, BLOCK, grid_options={"overlap": 0.25}, dtype="float16")
    with pytest.raises(ValueError, match=r"OVERLAP was 0\.5, is 0\.25; OUTPUT_DTYPE was 'float32', is 'float16'"):
        begin_blocks(changed)
    (tmp_path / "other").mkdir()
    other = make_job(tmp_path / "other", blobs((11, 30, 30)), CROP, BLOCK, network=FakeNetwork(seconds=0.001))
    other = dataclasses.replace(other, folder=job.folder)
    with pytest.raises(ValueError, match=r"(?s)volume was .*volume shape was \[10, 30, 30, 1\].*weights was"):
        begin_blocks(other)


@pytest.mark.parametrize(("fact", "value"), [("precision", "float32"), ("deterministic", True), ("batch_size", 3)])
def test_how_the_network_predicts_may_not_change(tmp_path, fact, value):
    job = make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK)
    begin_blocks(job)
    job.markers("probability").mark((0, 0, 0))
    with pytest.raises(ValueError, match=f"(?i){fact} was .*, is "):
        check_begun(dataclasses.replace(job, network=job.network._replace(**{fact: value})))


def test_a_run_of_which_nothing_is_done_may_begin_with_any_settings(tmp_path, here):
    volume = blobs((10, 30, 30))
    first = make_job(tmp_path, volume, CROP, BLOCK)
    begin_blocks(first)
    create_volume(first.output("probability"), first.output_shape, chunks=BLOCK, dtype="float32")  # and then killed
    job = make_job(tmp_path, volume, CROP, (4, 30, 30), dtype="float16")
    begin_blocks(job)
    assert whole(predict_blocks(job, here)).dtype == np.float16
    with pytest.raises(ValueError, match="BLOCK_SHAPE was"):
        begin_blocks(first)


@pytest.mark.parametrize(
    ("name", "stage"),
    [("z_filter_size", "z_filter"), ("z_filter_size", "mask"), ("threshold", "mask"), ("instances", "components")]
    + [("min_object_size", "labels")],
)
def test_settings_of_a_stage_may_change_until_it_begins(tmp_path, name, stage):
    job = make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK)
    begin_blocks(job, **{name: 5})
    job.markers("probability").mark((0, 0, 0))
    begin_blocks(job, **{name: 3})
    job.markers(stage).mark((0, 0, 0))
    with pytest.raises(ValueError, match=f"{name.upper()} was 3, is 5"):
        check_begun(job, **{name: 5})
    assert check_begun(job, **{name: 3})


def test_a_damaged_chunk_costs_its_blocks_only_and_a_repaired_one_is_enough(tmp_path, here):
    volume = blobs((19, 40, 37))
    job = make_job(tmp_path, volume, CROP, BLOCK, grid_options={})
    chunk = tmp_path / "input.zarr" / "c" / "0" / "0" / "0"
    whole_chunk = chunk.read_bytes()
    chunk.write_bytes(whole_chunk[:30])
    with pytest.raises(
        ValueError, match=r"all other blocks are done.*input\.zarr cannot be read: .*, at z 0 to \d+, y 0"
    ):
        predict(job, here)
    done = job.markers("probability").done()
    assert (0, 0, 0) not in done and (2, 1, 1) in done
    chunk.write_bytes(whole_chunk)
    expected = next(predict_crops(FakeNetwork(), [volume[..., np.newaxis]], CROP))[..., 0]
    assert np.allclose(predict(job, here), expected, rtol=0, atol=5e-7)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_ends_the_run_and_loses_nothing(tmp_path, here, monkeypatch, number):
    job = make_job(tmp_path, blobs((19, 40, 37)), CROP, BLOCK)
    save, saved = np.save, []

    def full_after_four(file, array):
        saved.append(file)
        if len(saved) == 5:
            raise OSError(number, os.strerror(number))
        save(file, array)

    monkeypatch.setattr(np, "save", full_after_four)
    with pytest.raises(
        OSError, match=r"the disk is full\. No finished block is lost: .* start the same command again\."
    ):
        predict(job, here)
    assert len(list((job.blocks_folder / "parts").iterdir())) + len(job.markers("probability").done()) >= 4
    monkeypatch.undo()
    predict(job, here)
    assert len(saved) == 5


needs_full_device = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@needs_full_device
@pytest.mark.parametrize(
    "content", [np.zeros(100_000), {"a": np.random.default_rng(0).random(100_000)}], ids=["1", "2"]
)
def test_numpy_hides_no_reason(tmp_path, content):
    (tmp_path / "tmp_part.npy").symlink_to("/dev/full")
    with pytest.raises(OSError, match="the disk is full") as raised:
        save_arrays(tmp_path / "part.npy", content)
    assert raised.value.errno == errno.ENOSPC


@needs_full_device
def test_a_full_disk_under_a_marker_names_no_flag(tmp_path):
    (tmp_path / "tmp_0_0_0.json").symlink_to("/dev/full")
    with pytest.raises(
        OSError, match=r"the disk is full\. No finished block is lost: free some space and start the same"
    ):
        Markers(tmp_path).mark((0, 0, 0), {"much": [0] * 10_000})


def test_a_disk_that_is_too_small_is_said_at_once_and_again_for_what_remains(tmp_path, monkeypatch):
    job = make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("block_wise.manifest.shutil.disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match="GiB are free"):
        begin_blocks(job)
    assert not job.folder.exists()
    usage.free = 10**9
    begin_blocks(job)
    usage.free = 9000  # enough for the mask alone
    for block in job.grid.blocks[1:]:
        job.markers("probability").mark(block)
    with pytest.raises(ValueError, match="GiB are free"):
        begin_blocks(job)
    job.markers("probability").mark(job.grid.blocks[0])
    begin_blocks(job)
    for more in ({"z_filter_size": 3}, {"instances": True}):
        with pytest.raises(ValueError, match="GiB are free"):
            begin_blocks(job, **more)


# --- results that were damaged


def empty_chunk(job, name, block):
    path = job.output(name).joinpath("0", "c", *map(str, block))
    path.write_bytes(b"")


def run_all(job, workers):
    begin_blocks(job, z_filter_size=3, instances=True)
    predict_blocks(job, workers)
    mask = mask_blocks(job, workers, z_filter_blocks(job, workers, 3))
    labels, _ = label_blocks(job, workers, mask)
    return {name: whole(job.output(name)) for name in ("probability", "z_filter", "mask", "labels")}


@pytest.mark.parametrize("name", ["probability", "z_filter", "mask", "labels"])
def test_a_result_that_a_power_cut_emptied_is_computed_anew(tmp_path, here, name):
    job = make_job(tmp_path, blobs((19, 40, 37)), CROP, BLOCK)
    expected = run_all(job, here)
    (job.markers("z_filter").folder / "0_0_0.json").write_bytes(b"")
    empty_chunk(job, name, (1, 1, 1))
    found = run_all(job, here)
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


def test_facts_about_components_that_a_power_cut_emptied_are_found_anew(tmp_path, here):
    job = make_job(tmp_path, blobs((19, 40, 37)), CROP, BLOCK)
    expected = run_all(job, here)
    rows = (job.folder / "volumes" / "instances.csv").read_text()
    for file in ("block_1_1_0.npz", "pairs_1_1_1.npy"):
        (job.blocks_folder / "labels" / file).write_bytes(b"")
        assert np.array_equal(run_all(job, here)["labels"], expected["labels"])
        assert (job.folder / "volumes" / "instances.csv").read_text() == rows


def test_a_block_of_zeros_replaces_what_was_written_before_a_kill(tmp_path, here):
    job = make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK)
    probability = predict(job, here)
    block = (0, 0, 0)
    mask_blocks(job, here, job.output("probability"), threshold=0.1)
    for marked in job.grid.blocks:  # as if all had been killed before their markers
        job.markers("mask").forget(marked)
    begin_blocks(job, threshold=1.0)
    assert probability[job.grid.box(block)].any()
    assert not whole(mask_blocks(job, here, job.output("probability"), threshold=1.0)).any()


def test_a_damaged_result_is_computed_anew_by_the_next_start(tmp_path, here):
    volume = blobs((19, 40, 37))
    job = make_job(tmp_path, volume, CROP, BLOCK)
    expected = predict(job, here)
    chunk = job.output("probability").joinpath("0", "c", "1", "0", "1")
    chunk.write_bytes(chunk.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"results on disk, which no longer count as done: start the same command"):
        z_filter_blocks(job, here, 3)
    assert set(job.grid.blocks) - job.markers("probability").done() == {(1, 0, 1)}
    assert np.array_equal(predict(job, here), expected)
    straight = np.stack(list(z_filter(expected[..., np.newaxis], 3)))[..., 0]
    assert np.array_equal(whole(z_filter_blocks(job, here, 3)), straight)


@pytest.mark.parametrize("length", [0, 60, 500])
def test_a_damaged_part_is_predicted_anew(tmp_path, here, monkeypatch, length):
    volume = blobs((19, 40, 37))
    (tmp_path / "straight").mkdir()
    expected = predict(make_job(tmp_path / "straight", volume, CROP, BLOCK), here)
    job = make_job(tmp_path, volume, CROP, BLOCK)
    begin_blocks(job)
    for block in job.grid.blocks[:3]:
        block_prediction.predict_part(job, block)
    job.part(job.grid.blocks[1]).write_bytes(job.part(job.grid.blocks[1]).read_bytes()[:length])
    assert np.array_equal(predict(job, here), expected)
    block_prediction.predict_part(job, job.grid.blocks[0])
    job.part(job.grid.blocks[0]).write_bytes(b"")
    with pytest.raises(DamagedResult, match=r"the part of block \(0, 0, 0\) is damaged"):
        block_prediction.merge_parts(job, job.grid.blocks[0])
    assert not job.part(job.grid.blocks[0]).exists()


def test_an_array_whose_description_is_empty_is_made_again(tmp_path):
    create_volume(tmp_path / "a.zarr", (4, 8, 8), chunks=(4, 4, 4), dtype=np.uint8)
    box = (slice(0, 4), slice(0, 4), slice(0, 4))
    write_box(tmp_path / "a.zarr", box, np.ones((4, 4, 4), np.uint8))
    for empty in ("zarr.json", "0/zarr.json"):
        (tmp_path / "a.zarr" / empty).write_bytes(b"")
    create_volume(tmp_path / "a.zarr", (4, 8, 8), chunks=(4, 4, 4), dtype=np.uint8)
    assert read_box(tmp_path / "a.zarr", box).all()
