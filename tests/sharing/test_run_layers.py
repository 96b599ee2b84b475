"""Tests of looking at a run: which layers there are, what they hold, and the command with and without a viewer."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from sharing.run_layers import lazy_array, run_layers

REPOSITORY = Path(__file__).resolve().parents[2]


def pixels(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"photometric": "minisblack"} | ({"planarconfig": "contig"} if array.shape[-1] == 2 else {})
    tifffile.imwrite(path, array, compression="zlib", **options)


@pytest.fixture
def run(tmp_path):
    """Return the folder of a run on three slices, of which the data folder holds one more."""
    data, folder = tmp_path / "data", tmp_path / "results" / "400_0"
    for number in (1, 2, 10, 11):
        write(data / "test" / "x" / f"im_{number}.tif", pixels((6, 8), seed=number))
        write(data / "test" / "y" / f"im_{number}.tif", np.uint8(255) * (pixels((6, 8), seed=number) > 99))
    for number in (1, 2, 10):
        for post in ("none", "z_filter"):
            probability = pixels((6, 8), seed=number) / np.float32(200)
            probability = probability if post == "none" else 1 - probability
            write(folder / "images" / "per_image" / post / "probability" / f"im_{number}.tif", probability)
            write(folder / "images" / "per_image" / post / "binary" / f"im_{number}.tif", pixels((6, 8), seed=number))
        labels = pixels((6, 8), np.int32, seed=number)
        write(folder / "images" / "per_image" / "instances" / "labels" / f"im_{number}.tif", labels)
    write(folder / "images" / "overlap_50" / "blending" / "probability" / "im_1.tif", np.zeros((6, 8, 2), np.float32))
    facts = {"settings": {}, "voxel_size_nm": [30, 3, 4], "data_dir": str(data)}
    (folder / "settings.json").write_text(json.dumps(facts))
    return folder


def test_channels_that_could_be_slices_are_shown_as_the_network_took_them(run):
    folder = Path(json.loads((run / "settings.json").read_text())["data_dir"]) / "test" / "x"
    stored = {}
    for number in (1, 2, 10):
        stored[number] = pixels((2, 6, 8), seed=number)
        tifffile.imwrite(folder / f"im_{number}.tif", stored[number], imagej=True)
    image = run_layers(run)[0][0]
    assert image["shape"] == (3, 6, 8, 2)
    np.testing.assert_array_equal(image["pages"][1](), np.moveaxis(stored[2], 0, -1))


def test_slices_are_stacks_in_natural_order_with_the_voxel_size(run):
    layers, notes = run_layers(run)
    assert notes == [] and all(layer["options"]["scale"] == (30, 3, 4) for layer in layers)
    assert [(layer["name"], layer["kind"]) for layer in layers] == [
        ("image", "image"),
        ("truth", "labels"),
        ("probability", "image"),
        ("mask", "labels"),
        ("instances", "labels"),
    ]
    wanted = np.stack([pixels((6, 8), seed=number) for number in (1, 2, 10)])
    found = dict(zip(("image", "truth", "probability", "mask", "instances"), map(lazy_array, layers), strict=True))
    for array, layer in zip(found.values(), layers, strict=True):
        assert array.shape == layer["shape"] == (3, 6, 8) and array.dtype == layer["dtype"]
    for name in ("image", "mask", "instances"):
        np.testing.assert_array_equal(found[name].compute(), wanted)
    np.testing.assert_array_equal(found["truth"][1].compute(), 255 * (wanted[1] > 99))
    np.testing.assert_array_equal(found["probability"].compute(), wanted / np.float32(200))


def test_images_of_double_suffixes_are_those_of_the_predictions(run):
    for path in run.parents[1].glob("data/test/?/*.tif"):
        path.rename(path.with_suffix(".ome.tif"))
    layers, notes = run_layers(run)
    assert notes == [] and [layer["name"] for layer in layers][:2] == ["image", "truth"]


def test_only_what_is_looked_at_is_read(run):
    layers, _ = run_layers(run)
    array = lazy_array(layers[0])
    (run.parents[1] / "data" / "test" / "x" / "im_10.tif").unlink()
    np.testing.assert_array_equal(array[0].compute(), pixels((6, 8), seed=1))
    with pytest.raises(ValueError, match="im_10.tif cannot be read"):
        array[2].compute()


def test_protocol_and_post_processing_are_chosen(run):
    layers, _ = run_layers(run, post="z_filter")
    probability = lazy_array(next(layer for layer in layers if layer["name"] == "probability"))
    np.testing.assert_array_equal(probability[0].compute(), 1 - pixels((6, 8), seed=1) / np.float32(200))
    layers, _ = run_layers(run, protocol="overlap_50")
    names = [layer["name"] for layer in layers]
    assert names == ["image", "truth", "probability, channel 0", "probability, channel 1"]
    assert lazy_array(layers[-1]).compute().shape == (1, 6, 8)
    with pytest.raises(ValueError, match="--protocol 'per_imag' is not known; did you mean 'per_image'"):
        run_layers(run, protocol="per_imag")
    with pytest.raises(ValueError, match="--post 'filter' is not known.*'instances', 'none', 'z_filter'"):
        run_layers(run, post="filter")


def test_volumes_and_images_of_other_sizes_are_layers_of_their_own(run, tmp_path):
    probability = run / "images" / "per_image" / "none" / "probability"
    write(probability / "im_2.tif", np.zeros((9, 8), np.float32))
    data = tmp_path / "volumes"
    write(data / "x" / "im_1.tif", pixels((4, 6, 8)))
    layers, notes = run_layers(run, data_dir=data)
    assert [layer["name"] for layer in layers][:4] == [
        "image im_1.tif",
        "probability im_1.tif",
        "probability im_2.tif",
        "probability im_10.tif",
    ]
    assert notes == [] and layers[0]["shape"] == (4, 6, 8) and layers[2]["shape"] == (1, 9, 8)
    np.testing.assert_array_equal(lazy_array(layers[0]).compute(), pixels((4, 6, 8)))


def test_colour_images_are_shown_in_colour(run, tmp_path):
    colour = pixels((6, 8, 3))
    tifffile.imwrite(tmp_path / "im_1.tif", colour, photometric="rgb")
    layers, _ = run_layers(run, data_dir=tmp_path)
    assert layers[0]["options"]["rgb"] and layers[0]["shape"] == (1, 6, 8, 3)
    np.testing.assert_array_equal(lazy_array(layers[0])[0].compute(), colour)


def test_truth_of_other_names_is_found_and_not_shown_where_it_is_not_complete(run, tmp_path):
    data = tmp_path / "data"
    for number, path in ((number, data / "test" / "y" / f"im_{number}.tif") for number in (1, 2, 10, 11)):
        path.rename(path.with_name(f"groundtruth_{number:02d}.tif"))
    layers, notes = run_layers(run)
    truth = next(layer for layer in layers if layer["name"] == "truth")
    wanted = [np.uint8(255) * (pixels((6, 8), seed=number) > 99) for number in (1, 2, 10)]
    np.testing.assert_array_equal(lazy_array(truth).compute() > 0, np.stack(wanted) > 0)
    assert notes == []
    (data / "test" / "y" / "groundtruth_02.tif").unlink()
    layers, notes = run_layers(run)
    assert "truth" not in [layer["name"] for layer in layers] and "1 images have no mask" in notes[0]


def test_the_datasets_on_record_are_read(run, tmp_path):
    h5py = pytest.importorskip("h5py")
    data = tmp_path / "stored"
    data.mkdir()
    for name, number in (("im_1", 1), ("im_2", 2), ("im_10", 10)):
        with h5py.File(data / f"{name}.h5", "w") as file:
            file["raw"], file["other"] = pixels((1, 6, 8), seed=number), pixels((1, 6, 8), seed=99)
    facts = json.loads((run / "settings.json").read_text())
    (run / "settings.json").write_text(json.dumps(facts | {"data_dir": str(data), "image_dataset": "raw"}))
    layers, notes = run_layers(run)
    assert layers[0]["name"] == "image" and notes == []
    np.testing.assert_array_equal(lazy_array(layers[0])[1].compute(), pixels((6, 8), seed=2))


def test_what_is_not_there_is_said(run, tmp_path):
    (run.parents[1] / "data").rename(tmp_path / "moved")
    layers, notes = run_layers(run)
    assert "Give their folder: --data DATA_DIR" in notes[0] and layers[0]["name"] == "probability"
    (tmp_path / "other").mkdir()
    assert "holds none of the names" in run_layers(run, data_dir=tmp_path / "other")[1][0]
    assert run_layers(run, data_dir=tmp_path / "moved")[0][0]["name"] == "image"
    with pytest.raises(ValueError, match="is not the folder of a run"):
        run_layers(tmp_path)
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(ValueError, match="has saved no predictions"):
        run_layers(tmp_path)


def test_the_command_opens_a_viewer(run, monkeypatch, capsys):
    calls = []

    class Viewer:
        def __init__(self, title):
            calls.append(("viewer", title))

        def add_image(self, data, **options):
            calls.append(("image", data.shape, options["name"]))

        def add_labels(self, data, **options):
            calls.append(("labels", data.shape, options["name"]))

    monkeypatch.setitem(sys.modules, "napari", SimpleNamespace(Viewer=Viewer, run=lambda: calls.append("run")))
    monkeypatch.setattr(sys, "argv", ["view.py", str(run)])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    runpy.run_path(str(REPOSITORY / "sharing" / "view.py"), run_name="__main__")
    assert calls[:3] == [("viewer", str(run)), ("image", (3, 6, 8), "image"), ("labels", (3, 6, 8), "truth")]
    assert len(calls) == 7 and calls[-1] == "run"
    assert "mask: (3, 6, 8) uint8" in capsys.readouterr().out


def test_without_napari_the_command_says_what_to_install(run):
    code = "import sys, runpy; sys.modules.update(napari=None, keras=None, tensorflow=None); sys.argv = sys.argv[1:]; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, str(REPOSITORY / "sharing" / "view.py")]
    options = {"capture_output": True, "text": True, "timeout": 300, "check": False}
    done = subprocess.run([*command, str(run)], **options)
    assert done.returncode == 1 and done.stderr.startswith("ImportError: the viewer napari must be installed: pip")
    assert "env/requirements-napari.txt" in done.stderr and "Traceback" not in done.stderr
    listed = subprocess.run([*command, str(run), "--list"], **options)
    assert listed.returncode == 0 and "probability: (3, 6, 8) float32" in listed.stdout
    wrong = subprocess.run([*command, str(run.parent)], **options)
    assert wrong.returncode == 1 and "is not the folder of a run" in wrong.stderr and "Traceback" not in wrong.stderr
