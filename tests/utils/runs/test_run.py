import csv
import json
import shutil
import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import tifffile

from utils.data.image_set import ImageSet
from utils.errors import say_error
from utils.images.image_files import ImageName
from utils.post_processing.z_filter import z_filter
from utils.runs.folder import describe_data
from utils.runs.record import RunRecord
from utils.runs.run import Run


@pytest.fixture
def arguments(tmp_path):
    def make(**changes):
        values = {
            "id": "400",
            "rid": 0,
            "job_dir": tmp_path,
            "code_dir": tmp_path,
            "data_dir": tmp_path,
            "set": ["A=1"],
            "resume": False,
            "precision": "auto",
            "deterministic": False,
        }
        return SimpleNamespace(**(values | {"dry_run": False} | changes))

    return make


@pytest.fixture
def images():
    """Three images whose left half is foreground; the last one has none."""
    masks = [np.zeros((8, 12, 1), np.uint8) for _ in range(3)]
    for mask in masks[:2]:
        mask[:, :6] = 1
    return ImageSet([mask * 200 for mask in masks], masks, [ImageName(f"im_{n}.png") for n in range(3)], (0, 255))


def perfect(images):
    return (mask.astype(np.float32) for mask in images.y)


def test_a_run_writes_settings_environment_and_log(arguments, capsys):
    run = Run(arguments(), {"CROP_SHAPE": (256, 256, 1), "EPOCHS": 3})
    print("something said")
    run.finish()
    settings = json.loads((run.folder / "settings.json").read_text())
    environment = json.loads((run.folder / "environment.json").read_text())
    assert run.folder.name == "400_0"
    assert settings["settings"] == {"CROP_SHAPE": [256, 256, 1], "EPOCHS": 3} and settings["set"] == ["A=1"]
    assert {"versions", "backend", "device", "precision", "start", "end", "seconds", "peak_memory_gib"} <= set(
        environment
    )
    assert environment["versions"]["keras"] and environment["seconds"] >= 0
    log = (run.folder / "log.txt").read_text()
    assert "something said" in log and "EPOCHS = 3" in log and "something said" in capsys.readouterr().out


def begin(run, history=({"epoch": 1, "seconds": 1.0},)):
    """Leave in the folder of a run what a training leaves after its epochs."""
    run.checkpoints.mkdir()
    for name in ("best.weights.h5", "epoch_00001.weights.h5"):
        with h5py.File(run.checkpoints / name, "w") as file:
            file["layer"] = np.zeros(3)
    state = {"history": list(history), "best_epoch": 1, "weights": "epoch_00001.weights.h5", "stopped": False}
    (run.checkpoints / "state.json").write_text(json.dumps(state | {"dropout_seeds": [], "previous": None}))


def test_a_run_records_the_facts_that_it_is_told(arguments, capsys):
    facts = {"seed": 43, "voxel_size_nm": (30, 5, 5), "image_dataset": "raw", "mask_dataset": "labels"}
    run = Run(arguments(precision="float32", deterministic=True), {"A": 1}, **facts)
    written = json.loads((run.folder / "settings.json").read_text())
    assert {key: written[key] for key in facts} == facts | {"voxel_size_nm": [30, 5, 5]}
    assert written["precision"] == "float32" and written["deterministic"] is True
    assert "Seed of this repetition: 43." in capsys.readouterr().out


def test_a_second_run_of_a_notebook_leaves_the_log_of_the_first_alone(arguments):
    terminal = sys.stdout
    first = Run(arguments(), {})
    log = first.folder / "log.txt"
    print("of the first")
    second = Run(arguments(rid=1), {})  # the first was not finished
    print("of the second")
    assert "of the first" in log.read_text() and "of the second" not in log.read_text()
    second.finish()
    print("of nobody")
    assert sys.stdout is terminal
    assert "of the second" in (second.folder / "log.txt").read_text()
    assert "of nobody" not in (second.folder / "log.txt").read_text()


def test_a_finished_run_is_not_written_over(arguments):
    Run(arguments(), {}).finish()
    for resume in (False, True):
        with pytest.raises(FileExistsError, match="is finished; its results are in .* Choose another --rid"):
            Run(arguments(resume=resume), {})
    assert Run(arguments(rid=1), {}).folder.name == "400_1"


def test_a_run_that_failed_before_its_first_epoch_starts_again(arguments):
    Run(arguments(), {"EPOCHS": 3})
    run = Run(arguments(), {"EPOCHS": 4})
    assert json.loads((run.folder / "settings.json").read_text())["settings"] == {"EPOCHS": 4}


def test_a_start_anew_keeps_nothing_of_the_results_of_the_one_that_failed(arguments, images):
    failed = Run(arguments(), {"EPOCHS": 3})
    failed.evaluate("per_image", images, perfect(images))
    failed.evaluate("per_image", images, perfect(images), post="z_filter")
    (failed.folder / "instances.csv").touch()
    (failed.folder / "mine.txt").touch()
    assert (failed.folder / "scores.csv").exists()
    run = Run(arguments(), {"EPOCHS": 4})
    assert not run.images.exists() and not list(run.folder.glob("*.csv")) and (run.folder / "mine.txt").exists()
    run.evaluate("full_image", ImageSet(images.x[:1], None, images.names[:1], (0, 255)), [next(perfect(images))])
    assert [path.name for path in run.images.iterdir()] == ["full_image"] and not list(run.folder.glob("scores*"))
    assert "EPOCHS = 3" in (run.folder / "log.txt").read_text()


def test_a_resumed_and_a_block_wise_run_keep_their_results(arguments, images):
    for rid, begun in ((0, False), (1, True)):
        run = Run(arguments(rid=rid), {})
        run.evaluate("per_image", images, perfect(images))
        if not begun:
            begin(run)
        Run(arguments(rid=rid, resume=True), {}, begun=begun)
        assert (run.images / "per_image" / "none" / "overlay.png").exists() and (run.folder / "scores.csv").exists()


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_of_another_process_is_left_alone(arguments, begun):
    fcntl = pytest.importorskip("fcntl")
    run = Run(arguments(), {"EPOCHS": 3})
    run.finish()
    (run.folder / "environment.json").unlink()
    if begun:
        begin(run)
    log = (run.folder / "log.txt").open("a")
    fcntl.flock(log, fcntl.LOCK_EX)
    with pytest.raises(FileExistsError, match=r"run 400_0 is running in another process \(.*400_0\)\. Wait"):
        Run(arguments(), {"EPOCHS": 4})
    assert json.loads((run.folder / "settings.json").read_text())["settings"] == {"EPOCHS": 3}
    log.close()
    Run(arguments(resume=begun), {"EPOCHS": 3})


def test_a_run_that_is_refused_leaves_the_log_of_the_one_before_alone(arguments):
    Run(arguments(), {}).finish()
    second = Run(arguments(rid=1), {})
    with pytest.raises(FileExistsError, match="is finished"):
        Run(arguments(), {})
    print("of the second")
    assert "of the second" in (second.folder / "log.txt").read_text()


def test_a_begun_run_needs_resume_and_the_same_settings(arguments):
    run = Run(arguments(), {"CROP": (1, 2), "EPOCHS": 3})
    begin(run)
    with pytest.raises(FileExistsError, match="Add --resume to continue it, or choose another --rid"):
        Run(arguments(), {"CROP": (1, 2), "EPOCHS": 3})
    with pytest.raises(ValueError, match="other settings: EPOCHS was 3, is 4"):
        Run(arguments(resume=True), {"CROP": (1, 2), "EPOCHS": 4})
    Run(arguments(resume=True), {"CROP": (1, 2), "EPOCHS": 3})


def test_a_begun_run_is_not_resumed_with_another_seed_or_precision(arguments):
    run = Run(arguments(rid=1), {"SEED": 42}, seed=43)
    begin(run)
    match = r"the seed \(SEED \+ rid, or SEED with --keep-seed\) was 43, is 42; --precision was auto, is float32\. Use"
    with pytest.raises(ValueError, match=match):
        Run(arguments(rid=1, resume=True, precision="float32"), {"SEED": 42}, seed=42)
    Run(arguments(rid=1, resume=True), {"SEED": 42}, seed=43)


def test_a_begun_run_is_not_resumed_with_another_template_or_data(arguments, tmp_path, monkeypatch):
    for name in ("data", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["templates/A_template.py"])
    settings = {"CROP": (1, 2), "RANGES": ((0, 1), (2, 3))}
    run = Run(arguments(data_dir="data"), settings)
    begin(run)
    Run(arguments(resume=True, data_dir=tmp_path / "data"), settings)
    with pytest.raises(ValueError, match=rf"the data folder was {tmp_path / 'data'}, is {tmp_path / 'other'}\. Use"):
        Run(arguments(resume=True, data_dir="other"), settings)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "templates" / "Kasthuri++" / "A_template.py")])
    match = r"the template was templates/A_template\.py, is templates/Kasthuri\+\+/A_template\.py\. Use"
    with pytest.raises(ValueError, match=match):
        Run(arguments(resume=True, data_dir="data"), settings)


def test_the_time_of_earlier_starts_is_kept(arguments, capsys):
    run = Run(arguments(), {})
    begin(run, [{"epoch": 1, "seconds": 60.5}, {"epoch": 2, "seconds": 59.5}])
    Run(arguments(resume=True), {}).finish()
    environment = json.loads((run.folder / "environment.json").read_text())
    assert environment["earlier_seconds"] == 120 and environment["seconds"] < 60
    assert "minutes after 2.0 of training in earlier starts, peak memory" in capsys.readouterr().out


def test_resuming_nothing_starts_anew(arguments, capsys):
    Run(arguments(resume=True), {})
    assert "nothing to resume" in capsys.readouterr().out


def test_a_dry_run_has_its_own_folder_and_may_be_repeated(arguments):
    for _ in range(2):
        run = Run(arguments(dry_run=True), {})
        assert run.folder.name == "400_0_dry_run" and not run.checkpoints.exists()
        run.checkpoints.mkdir()
        (run.folder / "mine.txt").touch()
    assert (run.folder / "mine.txt").exists()


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_folder_of_somebody_else_is_left_alone(arguments, tmp_path, dry_run):
    folder = tmp_path / "results" / ("400_0" + "_dry_run" * dry_run)
    (folder / "images").mkdir(parents=True)
    for name in ("images/cell.png", "report.html", "log.txt"):
        (folder / name).write_text("mine")
    with pytest.raises(FileExistsError, match="not the folder of a run: it has no settings.json, but holds images"):
        Run(arguments(dry_run=dry_run), {})
    assert all((folder / name).read_text() == "mine" for name in ("images/cell.png", "report.html", "log.txt"))
    assert len(list(folder.iterdir())) == 3


def test_a_file_in_place_of_the_folder_and_a_log_alone(arguments, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "400_0").touch()
    with pytest.raises(FileExistsError, match="400_0 is a file, not the folder of a run"):
        Run(arguments(), {})
    (tmp_path / "results" / "400_1").mkdir()
    (tmp_path / "results" / "400_1" / "log.txt").write_text("Run 400_1, begun and killed\n")
    assert Run(arguments(rid=1), {}).folder.name == "400_1"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: (data / "train" / "a.png").unlink(), r"\(missing: train/a.png\)"),
        (lambda data: (data / "train" / "c.png").write_bytes(b"c"), r"\(new: train/c.png\)"),
        (lambda data: (data / "train" / "b.png").write_bytes(b"B"), r"\(changed: train/b.png\)"),
    ],
)
def test_a_run_is_not_resumed_on_other_files(arguments, tmp_path, change, said):
    data = tmp_path / "data"
    (data / "train").mkdir(parents=True)
    for name in "ab":
        (data / "train" / f"{name}.png").write_bytes(name.encode())
    begin(Run(arguments(data_dir=data), {}))
    (data / "test").mkdir()
    (data / "test" / "repaired.png").touch()
    Run(arguments(data_dir=data, resume=True), {})
    change(data)
    with pytest.raises(ValueError, match=f"with other files in the data folder {said}. Restore these"):
        Run(arguments(data_dir=data, resume=True), {})


def test_results_within_the_data_folder_are_no_data(tmp_path):
    (tmp_path / "job" / "results").mkdir(parents=True)
    (tmp_path / "job" / "results" / "a.png").touch()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.png").write_bytes(b"1")
    assert list(describe_data(tmp_path, tmp_path / "job")) == ["x/a.png"]
    assert list(describe_data(tmp_path / "x" / "a.png", tmp_path)) == ["a.png"]
    assert list(describe_data(tmp_path, tmp_path.parent)) == ["job/results/a.png", "x/a.png"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "state.json").write_text("{}"), "state.json is not complete"),
        (lambda folder: (folder / "state.json").write_text("{"), "state.json cannot be read"),
        (lambda folder: (folder / "state.json").write_text("[]"), "state.json does not hold what a run writes"),
        (
            lambda folder: (folder / "epoch_00001.weights.h5").unlink(),
            "00001.weights.h5 is missing, and there are",
        ),
        (
            lambda folder: (folder / "epoch_00001.weights.h5").write_bytes(b"\0" * 99),
            "is damaged, and there",
        ),
        (lambda folder: (folder.parent / "settings.json").write_text("[1"), "settings.json cannot be read"),
        (lambda folder: (folder.parent / "settings.json").write_text("{}"), "settings.json does not hold what a run"),
        (lambda folder: (folder.parent / "settings.json").unlink(), "it lost its settings.json"),
        (lambda folder: (folder.parent / "environment.json").write_text("1"), "environment.json does not hold"),
    ],
)
def test_what_is_damaged_is_said_before_anything_else(arguments, damage, said):
    run = Run(arguments(), {})
    begin(run)
    damage(run.checkpoints)
    with pytest.raises((ValueError, FileExistsError), match=said):
        Run(arguments(resume=True), {})


def test_whole_weights_of_the_epoch_before_are_enough_and_lost_best_weights_are_said(arguments):
    run = Run(arguments(), {})
    begin(run, [{"epoch": 1, "seconds": 1.0}, {"epoch": 2, "seconds": 1.0}])
    state = json.loads((run.checkpoints / "state.json").read_text())
    previous = {name: state[name] for name in ("best_epoch", "weights", "stopped", "dropout_seeds")}
    now = state | {"weights": "epoch_00002.weights.h5", "previous": previous}
    (run.checkpoints / "state.json").write_text(json.dumps(now))
    Run(arguments(resume=True), {})
    (run.checkpoints / "best.weights.h5").unlink()
    Run(arguments(resume=True), {})  # the epoch before was the best: its weights are there
    shutil.copy(run.checkpoints / "epoch_00001.weights.h5", run.checkpoints / "epoch_00002.weights.h5")
    with pytest.raises(ValueError, match="best.weights.h5 is missing: the weights of the best epoch, 1, are lost"):
        Run(arguments(resume=True), {})


def test_what_to_do_after_a_stop(arguments, capsys):
    def stopped():
        say_error(KeyboardInterrupt, KeyboardInterrupt("SIGTERM"), None)
        return capsys.readouterr().err.strip()

    run = Run(arguments(), {})
    assert stopped() == "Stopped by SIGTERM. The same command starts 400_0 again."
    begin(run)
    assert stopped() == "Stopped by SIGTERM. --resume goes on from epoch 2."
    run.section("Evaluation")
    assert stopped() == "Stopped by SIGTERM. --resume goes on with what follows the training."
    run.finish()
    assert stopped() == "Stopped by SIGTERM."


def test_a_run_is_finished_when_all_that_it_leaves_is_there(arguments, monkeypatch):
    run = Run(arguments(), {})
    monkeypatch.setattr("utils.runs.run.write_report", lambda *_, **__: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(OSError, match="killed"):
        run.finish()
    assert RunRecord(run.folder).state == "new"
    monkeypatch.undo()
    again = Run(arguments(), {})
    again.finish()
    assert RunRecord(again.folder).state == "finished"
    assert "<td>end</td>" in (again.folder / "report.html").read_text()


def test_evaluate_scores_saves_and_prints_the_published_label(arguments, images, capsys):
    run = Run(arguments(), {})
    saved = run.evaluate("per_image", images, perfect(images))
    folder = run.folder / "images" / "per_image" / "none"
    assert sorted(path.name for path in (folder / "binary").iterdir()) == ["im_0.tif", "im_1.tif", "im_2.tif"]
    assert tifffile.imread(folder / "binary" / "im_0.tif").tolist() == (images.y[0][..., 0] * 255).tolist()
    probability = tifffile.imread(folder / "probability" / "im_1.tif")
    assert probability.dtype == np.float32 and probability.max() == 1
    assert (folder / "overlay.png").stat().st_size > 1000
    assert [image.tolist() for image in saved] == [mask.tolist() for mask in images.y]
    printed = capsys.readouterr().out
    assert "Test Foreground IoU (merge into complete image): 1.0000" in printed
    assert "Test Overall IoU (merge into complete image): 1.0000" in printed


def test_scores_are_pooled_and_means_beside_them_skip_what_cannot_be_scored(arguments, images):
    run = Run(arguments(), {})
    halved = [mask.astype(np.float32) for mask in images.y]
    halved[0][:, 3:] = 0  # half of the first foreground is missed
    run.evaluate("full_image", images, halved, post="ensemble")
    rows = {row["metric"]: row for row in json.loads((run.folder / "scores.json").read_text())}
    iou = rows["foreground_iou"]
    assert iou["value"] == pytest.approx((24 + 48) / 96)
    assert iou["mean_per_image"] == pytest.approx((0.5 + 1) / 2)
    assert (iou["n"], iou["n_scored_images"]) == (3, 2)
    assert iou["label"] == "Post-process: Ensemble - Test Foreground IoU (full)"
    assert rows["overall_iou"]["value"] == pytest.approx(((24 + 48) / 96 + 192 / 216) / 2)
    per_image = list(csv.DictReader((run.folder / "scores_per_image.csv").open()))
    assert [row["image"] for row in per_image] == ["im_0.png", "im_1.png", "im_2.png"]
    assert float(per_image[0]["foreground_iou"]) == 0.5 and per_image[2]["foreground_iou"] == "nan"
    long_rows = list(csv.DictReader((run.folder / "scores.csv").open()))
    assert len(long_rows) == 5 and long_rows[0]["protocol"] == "full_image"


def test_what_is_scored_is_what_is_saved(arguments, images):
    run = Run(arguments(), {})
    noise = [np.random.default_rng(n).random((8, 12, 1), dtype=np.float32) for n in range(3)]
    saved = run.evaluate("per_image", images, noise)
    for image, mask, wanted in zip(saved, range(3), noise, strict=True):
        binary = tifffile.imread(run.folder / "images/per_image/none/binary" / f"im_{mask}.tif")
        assert np.array_equal(image[..., 0] > 0.5, binary > 0)
        assert np.abs(image - wanted).max() <= 1 / 8192 + 1e-6


def test_without_truth_it_only_saves(arguments, images):
    run = Run(arguments(), {})
    blind = ImageSet(images.x, None, images.names, ())
    run.evaluate("per_image", blind, perfect(images))
    run.finish()
    assert (run.folder / "images/per_image/none/binary/im_2.tif").exists()
    assert not (run.folder / "scores.json").exists()


def test_a_stack_comes_back_as_a_stack(arguments, images):
    run = Run(arguments(), {})
    stack = ImageSet(images.x, images.y, [ImageName("stack.tif", page) for page in range(3)], (0, 1))
    saved = run.evaluate("per_image", stack, perfect(images))
    assert tifffile.imread(run.folder / "images/per_image/none/binary/stack.tif").shape == (3, 8, 12)
    assert np.array_equal(saved[1], images.y[1])


def test_several_classes_are_scored_one_by_one(arguments, images):
    run = Run(arguments(), {})
    classes = [np.concatenate([1 - mask, mask, 0 * mask], axis=-1).astype(np.float32) for mask in images.y]
    run.evaluate("per_image", images, classes)
    rows = {row["metric"]: row["value"] for row in json.loads((run.folder / "scores.json").read_text())}
    assert rows["iou_class_1"] == 1 and rows["iou_class_2"] is None and rows["foreground_iou"] == 1


@pytest.mark.parametrize("count", [0, 2, 4])
def test_too_few_or_too_many_predictions_are_refused(count, arguments, images):
    run = Run(arguments(), {})
    predictions = [np.zeros((8, 12, 1), np.float32)] * count
    with pytest.raises(ValueError, match="predictions for 3 images|does not belong to the 3 images"):
        run.evaluate("per_image", images, iter(predictions))


def test_the_loss_is_the_mean_over_the_images(arguments, images, capsys):
    run = Run(arguments(), {})
    run.evaluate("per_crop", images, perfect(images), loss=lambda true, probability: true.sum(), save=False)
    assert "Test loss: 32.0000" in capsys.readouterr().out
    assert not (run.folder / "images").exists()


def test_the_end_names_scores_and_an_overlay(arguments, images, capsys):
    run = Run(arguments(), {})
    run.evaluate("per_image", images, perfect(images))
    run.finish()
    printed = capsys.readouterr().out
    assert "scores.csv" in printed and "overlay.png" in printed and "peak memory" in printed


# --- volumes


@pytest.fixture
def volumes():
    """A volume that came as three slices and one that came as a file."""
    masks = [np.zeros((count, 8, 12, 1), np.uint8) for count in (3, 4)]
    for mask in masks:
        mask[:2, :, :6] = 1
    sources = [
        ImageName("a to c", slices=tuple(ImageName(f"{name}.png") for name in "abc")),
        ImageName("d.h5", slices=()),
    ]
    return ImageSet([mask * 200 for mask in masks], masks, sources, (0, 255))


def test_volumes_are_written_under_the_names_of_their_slices_or_of_their_file(arguments, volumes):
    run = Run(arguments(), {})
    saved = run.evaluate("per_image", volumes, perfect(volumes))
    folder = run.images / "per_image" / "none"
    for part in ("probability", "binary"):
        assert sorted(path.name for path in (folder / part).iterdir()) == ["a.tif", "b.tif", "c.tif", "d.tif"]
    assert tifffile.imread(folder / "binary" / "d.tif").shape == (4, 8, 12)
    assert all(np.array_equal(found, mask) for found, mask in zip(saved, volumes.y, strict=True))
    assert (folder / "overlay.png").stat().st_size > 1000


def test_volumes_are_scored_per_slice_or_file_and_pooled(arguments, volumes):
    run = Run(arguments(), {})
    wrong = [mask.astype(np.float32) for mask in volumes.y]
    wrong[1][:, :, 6:] = 1
    run.evaluate("per_image", volumes, iter(wrong))
    rows = list(csv.DictReader((run.folder / "scores_per_image.csv").open()))
    assert [row["image"] for row in rows] == ["a.png", "b.png", "c.png", "d.h5"]
    assert [float(row["foreground_iou"]) for row in rows] == pytest.approx([1, 1, np.nan, 96 / 288], nan_ok=True)
    pooled = {row["metric"]: row for row in csv.DictReader((run.folder / "scores.csv").open())}["foreground_iou"]
    assert float(pooled["value"]) == pytest.approx(192 / 384)
    assert (pooled["n"], pooled["n_scored_images"]) == ("4", "3")


def test_volumes_pass_from_one_step_to_the_next(arguments, volumes):
    run = Run(arguments(), {})
    saved = run.evaluate("per_image", volumes, perfect(volumes))
    again = run.evaluate("per_image", volumes, z_filter(saved, 1), post="z_filter")
    assert [volume.shape for volume in again] == [volume.shape for volume in volumes.x]


def test_a_prediction_of_another_depth_is_refused(arguments, volumes):
    with pytest.raises(ValueError, match="prediction 1 does not belong to the 2 images"):
        Run(arguments(), {}).evaluate("per_image", volumes, [mask[:-1] for mask in volumes.y])
