"""Tests of block-wise prediction and filtering in one process: as in memory, and clear about mistakes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fake_volume_network import FakeNetwork, blobs, make_job

from block_wise import prediction as block_prediction
from block_wise.checks import check_stages, note_voxel_size
from block_wise.job import begin_blocks
from block_wise.network import network_of_run
from block_wise.post_processing import draw_blocks, mask_blocks, z_filter_blocks
from block_wise.prediction import dry_run_blocks, predict_blocks
from block_wise.results import read_box
from block_wise.runner import block_workers
from block_wise.truth import score_blocks
from block_wise.volumes import volume_scale
from utils.data.experiment_data import NetworkInput
from utils.metrics.pixels import probability_to_mask
from utils.post_processing.z_filter import z_filter
from utils.prediction.new_images import with_grey_values_of
from utils.prediction.protocols import predict_blended, predict_crops

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


@pytest.mark.parametrize("classes", [1, 2])
def test_a_mask_is_that_in_memory(tmp_path, here, classes):
    job = make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK, classes=classes)
    probability = predict(job, here).reshape(10, 30, 30, classes)
    expected = probability_to_mask(probability, 0.45)[..., 0]
    assert 0.01 < expected.mean() < 0.99
    assert np.array_equal(whole(mask_blocks(job, here, job.output("probability"), threshold=0.45)), expected)


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
    monkeypatch.setattr(block_prediction, "_predictor", lambda network: pytest.fail("the network was made"))
    assert not predict(job, here).any()
    assert not (job.output("probability") / "0" / "c").exists()


# --- mistakes


def test_a_network_of_other_classes_is_refused(tmp_path, here):
    job = make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK, network=FakeNetwork(2))
    with pytest.raises(ValueError, match="the network has 2 outputs, but N_CLASSES is 1"):
        predict(job, here)


def test_an_unknown_dtype_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"OUTPUT_DTYPE 'float64' is not known"):
        begin_blocks(make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK, dtype="float64"))


def test_half_precision_on_disk(tmp_path, here):
    found = predict(make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK, dtype="float16"), here)
    assert found.dtype == np.float16 and 0.5 < found.max() <= 1


def test_a_dry_run_predicts_one_block_that_is_not_empty_and_leaves_no_part(tmp_path, here, capsys):
    volume = blobs((8, 16, 80))
    volume[:, :, 16:] = 0  # the block in the middle is empty
    job = make_job(tmp_path, volume, CROP, (8, 16, 16), empty_values=(0,), grid_options={})
    begin_blocks(job)
    with pytest.raises(SystemExit) as stopped:
        dry_run_blocks(job, here)
    assert not stopped.value.code
    said = capsys.readouterr().out
    assert "Block (0, 0, 2) is empty" in said and "Block (0, 0, 0), afterwards" in said
    assert "hours of one worker" in said
    assert not (job.blocks_folder / "parts").exists()


@pytest.mark.parametrize(("value", "said"), [(500.0, "float values 0 to 500, outside 0 to 1"), (np.nan, "holds NaN")])
def test_grey_values_that_no_range_fits_are_refused(tmp_path, here, value, said):
    volume = np.zeros((10, 30, 30), np.float32)
    volume[0, 0, 0] = value  # not in the slice that is looked at first
    job = make_job(tmp_path, volume, CROP, BLOCK)
    check_stages(job)
    with pytest.raises(ValueError, match=f"input.zarr .*{said}"):
        predict(job, here)
    volume[5, 15, 15] = value
    (tmp_path / "middle").mkdir()
    with pytest.raises(ValueError, match=f"input.zarr, in its middle slice, .*{said}"):
        check_stages(make_job(tmp_path / "middle", volume, CROP, BLOCK))


def stored_run(folder, **content):
    """Return a weights file with the description of a network beside it; what is in it is not read here."""
    folder.mkdir()
    (folder / "best.weights.h5").write_bytes(b"weights")
    known = {"crop_shape": (8, 32, 32, 1), "batch_size": 2, "n_classes": 3, "instance_targets": ()}
    known |= {"normalisation": "percentile", "intensity_range": (12, 230), "percentiles": (1, 99)}
    known |= {"dtype": "uint8", "voxel_size_nm": (30, 5, 5)}
    (folder / "network.json").write_text(json.dumps(known | content))
    return folder / "best.weights.h5"


def test_a_run_says_what_its_network_gets_and_gives(tmp_path):
    trained = network_of_run(stored_run(tmp_path / "a"))
    assert trained[2:8] == ((8, 32, 32, 1), 3, 2, (12, 230), "auto", False)
    sixteen_bit = network_of_run(tmp_path / "a" / "best.weights.h5", intensity_range=(0, 65535))
    assert sixteen_bit.intensity_range == (12 * 257, 230 * 257) and sixteen_bit.stated_range == (0, 65535)
    assert network_of_run(stored_run(tmp_path / "b"), crop_shape=(4, 16, 16, 1)).crop_shape == (4, 16, 16, 1)
    assert network_of_run(tmp_path / "b" / "best.weights.h5").key == trained.key
    other = network_of_run(stored_run(tmp_path / "c", intensity_range=None))
    assert other.intensity_range is None and other.key != trained.key
    targets = stored_run(tmp_path / "d", instance_targets=("binary", "contour"))
    assert network_of_run(targets).classes == 1


def test_runs_that_cannot_be_used_are_said(tmp_path):
    with pytest.raises(ValueError, match="RUN is nowhere, which does not exist"):
        network_of_run("nowhere")
    with pytest.raises(ValueError, match=r"takes images \(y, x, c\), not volumes"):
        network_of_run(stored_run(tmp_path / "flat", crop_shape=(32, 32, 1)))
    with pytest.raises(ValueError, match="percentile_per_image, but all blocks"):
        network_of_run(stored_run(tmp_path / "each", normalisation="percentile_per_image"))
    with pytest.raises(ValueError, match="--precision 'half' is not known"):
        network_of_run(stored_run(tmp_path / "half"), precision="half")
    with pytest.raises(ValueError, match="--precision mixed_bfloat16 is for training"):
        network_of_run(tmp_path / "half" / "best.weights.h5", precision="mixed_bfloat16")


def test_grey_values_without_a_range_and_channels_that_differ_are_refused(tmp_path):
    job = make_job(tmp_path, blobs((10, 30, 30)).astype(np.int32), CROP, BLOCK)
    with pytest.raises(ValueError, match=r"int32; give INTENSITY_RANGE=\(low, high\)"):
        check_stages(job)
    with pytest.raises(ValueError, match=r"the volume has 1 channels, but CROP_SHAPE is \(6, 16, 16, 3\)"):
        make_job(tmp_path, tmp_path / "input.zarr", (6, 16, 16, 3), BLOCK)


def test_a_volume_of_another_dtype_is_refused_before_the_first_block(tmp_path):
    job = make_job(tmp_path, blobs((10, 30, 30)).astype(np.uint16), CROP, BLOCK)
    data = NetworkInput(crop_shape=CROP, dtype="uint8")
    with pytest.raises(ValueError, match=r'input.zarr has the dtype uint16, .* "INTENSITY_RANGE=\(0, 65535\)"'):
        check_stages(replace(job, network=job.network._replace(data=data)))
    check_stages(replace(job, network=job.network._replace(data=with_grey_values_of(data, (0, 65535)))))


def test_another_voxel_size_is_noted(tmp_path, capsys):
    job = make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK)
    data = NetworkInput(crop_shape=CROP, voxel_size_nm=(30.0, 5.0, 5.0))
    job = replace(job, network=job.network._replace(data=data))
    note_voxel_size(job)
    assert capsys.readouterr().out == "The voxel size is not known; VOXEL_SIZE_NM states it.\n"
    note_voxel_size(replace(job, scale=volume_scale(job.volume, (30.0, 8.0, 8.0))))
    size, said = capsys.readouterr().out.splitlines()
    assert size == "Voxel size: 30 x 8 x 8 nm."
    assert said.startswith("Note: the voxels of input.zarr are 30 x 8 x 8 nm; those of the training images were 30 x 5")
    assert "predict_template.py resamples" in said


def test_nan_is_an_error_that_names_the_volume_and_the_place(tmp_path, here):
    job = make_job(tmp_path, blobs((10, 30, 30)), CROP, BLOCK, network=FakeNetwork(factor=float("nan")))
    with pytest.raises(ValueError, match="the network predicts NaN for input.zarr, at .*Lower LEARNING_RATE"):
        predict(job, here)


def test_a_picture_of_the_middle(tmp_path, here):
    job = make_job(tmp_path, blobs((10, 30, 40)), CROP, BLOCK)
    begin_blocks(job)
    mask = mask_blocks(job, here, predict_blocks(job, here))
    truth = score_blocks(job, here, mask, job.volume, ids=True)
    draw_blocks(tmp_path / "middle.png", job, mask, truth=truth)
    assert (tmp_path / "middle.png").stat().st_size > 1000
