"""Tests of exporting the network of a run: what is written predicts the same, says how to be fed, or is not there."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tifffile
from keras import layers

from networks.blocks import CropTo
from networks.deep_supervision import DeeplySupervised
from sharing import formats, model_export
from sharing.formats import format_problems
from sharing.model_export import own_modules, plain_network, write_checked
from sharing.network_description import describe_run, output_channels, preprocessing, readme, voxel_size
from sharing.run_export import export_run, make_test_image, network_input, read_test_image
from utils.data.experiment_data import NetworkInput
from utils.images.intensity import ZScore, to_network_input
from utils.prediction.predictor import load_predictor
from utils.runs.record import RunRecord
from utils.training.network_file import write_network

REPOSITORY = Path(__file__).resolve().parents[2]


def write_run(folder, model, *, dtype="uint8", **known):
    """Write what a finished run holds, and return its folder."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps({"settings": {}, "command": ["some_template.py"]}))
    (folder / "environment.json").write_text(json.dumps({"end": "now", "versions": {"keras": keras.__version__}}))
    score = {"protocol": "per_image", "post": "none", "metric": "foreground_iou", "value": 0.875, "n": 4}
    (folder / "scores.json").write_text(json.dumps([score | {"label": "Test Foreground IoU"}]))
    data, run = NetworkInput(dtype=dtype, **known), SimpleNamespace(folder=folder, checkpoints=folder / "checkpoints")
    write_network(run, model, data, batch_size=2)
    model.save_weights(folder / "checkpoints" / "best.weights.h5")
    return folder


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """Return the run of a 2D network of three classes, trained in 16 bits on a measured range."""
    keras.utils.set_random_seed(0)
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    image = keras.Input((None, None, 1))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", activation="elu")(image))
    x = layers.UpSampling2D(2)(layers.Conv2D(4, 3, padding="same")(layers.MaxPooling2D(2)(x)))
    model = keras.Model(image, layers.Conv2D(3, 1, activation="softmax", dtype="float32")(x), name="Tiny_2D")
    keras.mixed_precision.set_dtype_policy(policy)
    options = {"crop_shape": (16, 24, 1), "intensity_range": (40.0, 200.0), "voxel_size_nm": (6.0, 5.0)}
    return write_run(tmp_path_factory.mktemp("flat") / "400_0", model, normalisation="percentile", **options)


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Return the run of a deeply supervised 3D network with a layer of this repository, percentiles of each image."""
    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, None, 1))
    x = layers.Conv3D(3, 3, padding="same", activation="relu")(image)
    low = layers.Conv3D(2, 3, padding="same")(layers.MaxPooling3D((1, 2, 2), padding="same")(x))
    x = layers.Concatenate()([CropTo()([layers.UpSampling3D((1, 2, 2))(low), x]), x])
    heads = [layers.Conv3D(1, 1, activation="sigmoid", name=name)(part) for name, part in (("main", x), ("low", low))]
    model = DeeplySupervised(image, heads, name="Tiny_3D")
    options = {"crop_shape": (4, 16, 16, 1), "dtype": "uint16", "percentiles": (2.0, 98.0)}
    return write_run(tmp_path_factory.mktemp("deep") / "500_0", model, normalisation="percentile_per_image", **options)


def prepared(image, steps):
    """Follow the steps of a description, naively."""
    image = image.astype(np.float64)
    for step in steps:
        kwargs = step["kwargs"]
        if step["id"] == "scale_linear":
            image = image * kwargs["gain"] + kwargs["offset"]
        elif step["id"] == "clip":
            image = np.minimum(np.maximum(image, kwargs["min"]), kwargs["max"])
        elif step["id"] == "scale_range":
            low, high = np.percentile(image, [kwargs["min_percentile"], kwargs["max_percentile"]])
            image = (image - low) / (high - low)
        else:
            image = (image - kwargs["mean"]) / kwargs["std"]
    return image.astype(np.float32)


@pytest.mark.parametrize("name", ["flat", "deep"])
def test_networks_are_exported_with_all_that_is_needed_to_use_them(name, request, tmp_path):
    run = request.getfixturevalue(name)
    target, trained = tmp_path / "exported", load_predictor(run, precision="float32")
    lines = export_run(run, target, ["keras", "savedmodel", "keras"])
    assert [line.split(",")[0] for line in lines] == ["model.keras", "saved_model"]
    written = {path.name for path in target.iterdir()}
    assert written == {
        "model.keras",
        "saved_model",
        "README.md",
        "description.json",
        "test_input.npy",
        "test_output.npy",
    }
    # Used as a stranger would: network, steps and test image out of the folder.
    told = json.loads((target / "description.json").read_text())
    model = keras.saving.load_model(target / "model.keras")
    stored, wanted = np.load(target / "test_input.npy"), np.load(target / "test_output.npy")
    assert stored.dtype == told["input"]["dtype"] and wanted.shape[-1] == len(told["output"]["channels"])
    seen = prepared(stored, told["input"]["preprocessing"])
    np.testing.assert_allclose(np.asarray(model.predict_on_batch(seen)), wanted, atol=1e-5)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"} and not model.compiled
    assert len(model.outputs) == 1
    # The run rounds percentiles of an image to its integers, here of 16 bits.
    np.testing.assert_allclose(trained.predict(stored[0], protocol="full"), wanted[0], atol=1e-3)


@pytest.mark.parametrize("name", ["flat", "deep"])
def test_onnx_and_bioimageio_packages_pass_their_own_checks(name, request, tmp_path):
    for package in formats.FORMATS["bioimageio"].packages:
        pytest.importorskip(package)
    import onnxruntime

    run = request.getfixturevalue(name)
    lines = export_run(run, tmp_path / "exported", ["onnx", "bioimageio"], authors=["A. Nonymous"], license="MIT")
    assert lines[-2].startswith("model.onnx, read back, predicts the same")
    # Format, test image, and 2 batch sizes of 3 sizes, for each file of weights.
    assert int(re.search(r"(\d+) checks passed", lines[-1])[1]) >= (16 if name == "flat" else 9)
    told = json.loads((tmp_path / "exported" / "description.json").read_text())
    session = onnxruntime.InferenceSession(tmp_path / "exported" / "model.onnx")
    seen = prepared(np.load(tmp_path / "exported" / "test_input.npy"), told["input"]["preprocessing"])
    (found,) = session.run(None, {session.get_inputs()[0].name: seen})
    np.testing.assert_allclose(found, np.load(tmp_path / "exported" / "test_output.npy"), atol=1e-4)
    with zipfile.ZipFile(tmp_path / "exported" / "bioimageio.zip") as package:
        names = package.namelist()
    # A file of Keras with a layer of this repository is of no use to others.
    assert ("model.keras" in names) == (name == "flat") and "model.onnx" in names


def test_a_description_says_what_belongs_to_the_network(flat, deep):
    told = describe_run(flat, strides=(2, 2), authors=["Ada"], name="My network")
    assert told["input"]["divisible_by"] == {"y": 2, "x": 2} and told["input"]["voxel_size_nm"] == [6.0, 5.0]
    assert told["output"]["channels"] == ["background", "class 1", "class 2"]
    assert told["trained_in"] == "mixed_bfloat16" and told["run"] == "400_0" and told["scores"][0]["value"] == 0.875
    assert [step["id"] for step in told["input"]["preprocessing"]] == ["scale_linear", "clip"]
    text = readme(told, {"model.keras": "the network"})
    for part in ("# My network", "## Validation", "0.8750", "arXiv", "Ada", "y by 2, x by 2", "grey value * 0.00625"):
        assert part in text
    text = readme(describe_run(deep, strides=(1, 2, 2)), {})
    for part in ("# Tiny 3D", "percentile 2 becomes 0", "above 0.5", "not stated", "not on record"):
        assert part in text


@pytest.mark.parametrize(
    ("dtype", "grey"),
    [
        ("uint8", None),
        ("uint16", None),
        ("float32", None),
        ("uint16", (1000.0, 30000.0)),
        ("int16", (-50.0, 77.0)),
        ("uint8", ZScore(low=0.0, high=255.0, mean=120.0, std=30.0)),
    ],
)
def test_the_steps_do_as_the_run(dtype, grey):
    content = {"normalisation": "dtype", "dtype": dtype, "intensity_range": grey, "crop_shape": [8, 8, 1]}
    image = make_test_image(content)
    assert image.shape == (8, 8, 1) and image.dtype == dtype and len(np.unique(image)) > 30
    wanted = to_network_input(image, grey)
    np.testing.assert_array_equal(network_input(image, content), wanted)
    np.testing.assert_allclose(prepared(image, preprocessing(content)), wanted, atol=1e-6)


def test_channels_and_voxel_sizes_are_named():
    assert output_channels({"instance_targets": [], "n_classes": 1}) == ["foreground"]
    assert output_channels({"instance_targets": ["binary", "contour"], "n_classes": 2}) == ["binary", "contour"]
    assert voxel_size(None, 3) is None and voxel_size([4, 5], 3) == [4, 4, 5] and voxel_size(1.0, 2) == [1, 1]


def test_the_middle_of_an_image_can_be_the_test_image(flat, tmp_path):
    trained, content = load_predictor(flat), RunRecord(flat).network()
    image = np.random.default_rng(0).integers(0, 256, (20, 20)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "image.tif", image)
    found = read_test_image(tmp_path / "image.tif", trained, content)
    assert found.shape == (16, 24, 1)
    np.testing.assert_array_equal(found[:, 2:22, 0], image[2:18])
    tifffile.imwrite(tmp_path / "other.tif", image.astype(np.uint16))
    with pytest.raises(ValueError, match="--image other.tif: has the dtype uint16"):
        read_test_image(tmp_path / "other.tif", trained, content)
    with pytest.raises(ValueError, match="nowhere.tif does not exist"):
        read_test_image(tmp_path / "nowhere.tif", trained, content)


def test_what_predicts_otherwise_is_not_kept(flat, tmp_path, monkeypatch):
    def wrong(model, path):
        model.save(path)
        return lambda batch: np.asarray(model.predict_on_batch(batch)) + 0.001

    monkeypatch.setattr(model_export, "_through_keras", wrong)
    with pytest.raises(ValueError, match=r"model.keras, read back, predicts otherwise .* up to 0.001 \(allowed 0.0001"):
        export_run(flat, tmp_path / "exported", ["keras"])
    assert list(tmp_path.iterdir()) == []
    image = keras.Input((None, None, 1))
    model = keras.Model(image, layers.Conv2D(1, 1)(image))
    monkeypatch.setattr(model_export, "_through_keras", lambda *_: lambda batch: np.full((1, 2, 2, 1), np.nan))
    for sides in ((2, 2), (2, 3)):
        with pytest.raises(ValueError, match="predicts otherwise"):
            write_checked(model, tmp_path / "m.keras", format="keras", inputs=[np.zeros((1, *sides, 1), np.float32)])


def test_problems_are_said_at_once_and_nothing_is_written_over(flat, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is there already"):
        export_run(flat, tmp_path / "there", ["keras"])
    with pytest.raises(ValueError, match="--as 'onx' is not known; did you mean 'onnx'"):
        export_run(flat, tmp_path / "new", ["onx"])
    monkeypatch.setattr(formats, "_is_there", lambda package: package == "onnx")
    problems = format_problems(["keras", "onnx"], backend="torch")
    assert problems[0] == "onnxruntime, tf2onnx must be installed: pip install -r env/requirements-sharing.txt"
    assert "onnx cannot be written with the backend torch" in problems[1]
    assert format_problems(["keras"], backend="jax") == []
    with pytest.raises(ValueError, match="the export: bioimageio.core, bioimageio.spec, .* must be installed"):
        export_run(flat, tmp_path / "new", ["bioimageio"], authors=["A"])
    assert not (tmp_path / "new").exists()


def test_what_bioimageio_does_not_take_is_said_at_once():
    pytest.importorskip("bioimageio.spec")
    from sharing.bioimageio_package import description_problems

    told = {"name": "a/b", "description": "", "authors": [], "license": "mine"}
    problems = description_problems(told)
    assert [problem.split(":")[0].split(" '")[0] for problem in problems] == [
        "bioimage.io wants authors",
        "--name",
        "--license",
    ]
    assert "has a slash" in description_problems(told | {"authors": ["A/B"]})[0]
    good = {"name": "A network (2D)", "description": "", "authors": ["A"], "license": "CC-BY-4.0"}
    assert description_problems(good) == []


def test_own_layers_are_found_in_networks_within_networks(deep):
    model = plain_network(load_predictor(deep).model)
    assert type(model).__name__ == "Functional" and own_modules(model) == ["networks.blocks"]
    image = keras.Input((None, None, None, 1))
    assert own_modules(keras.Model(image, model(image))) == ["networks.blocks"]


def test_a_mistake_on_the_command_line_is_one_sentence(tmp_path):
    command = [sys.executable, str(REPOSITORY / "sharing" / "export.py"), str(tmp_path / "run"), str(tmp_path / "new")]
    done = subprocess.run([*command, "--as", "keras"], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "ValueError: RUN is" in done.stderr and "which does not exist" in done.stderr
    unknown = subprocess.run([*command, "--as", "h5"], capture_output=True, text=True, timeout=600, check=False)
    assert unknown.returncode == 2 and "invalid choice: 'h5'" in unknown.stderr
