"""Tests of predicting with the network of a finished run: what is rebuilt, what is predicted, what is refused."""

import json
import shutil
from functools import partial
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tifffile
from keras import tree
from toy_pages import pages_of_networks, toy_settings

from networks.fcn import FCN32_VGG16
from networks.nnunet import nnUNet_2D
from networks.pretrained import as_in_imagenet
from networks.residual_unet import ResUNet_3D
from networks.unet import U_Net_2D, U_Net_3D
from networks.vanilla_unet import Vanilla_U_Net_3D
from sota_implementations.casser_2018.casser_unet import Casser_U_Net_2D
from sota_implementations.cheng_2017.asymmetric_network import asymmetric_3D_network, asymmetric_network
from sota_implementations.oztel_2017.patch_classifier import create_oztel_model
from sota_implementations.xiao_2018.xiao_unet import U_Net_3D_Xiao
from study import page_network
from utils.data.data_folder import load_new_images
from utils.data.experiment_data import NetworkInput
from utils.data.image_set import ImageSet
from utils.images.intensity import ZScore
from utils.images.normalisation import stretch_each
from utils.prediction.predictor import Predictor, load_predictor
from utils.prediction.protocols import predict_blended, predict_crops, predict_full_images
from utils.training.network_file import build_network, check_same_network, network_config, total_strides, write_network

LEVELS = {"feature_maps": (4, 5, 6), "depth": 2}
DROPS = LEVELS | {"drop_values": (0.1, 0.1, 0.1), "batch_norm": True}
FCN = {"feature_maps": (2, 2, 4, 4, 4), "fully_connected": 8}
# Builder, small options, by how much it reduces the image.
NETWORKS = [
    (U_Net_2D, DROPS | {"spatial_dropout": True}, (4, 4)),
    (FCN32_VGG16, FCN | {"n_classes": 3}, (32, 32)),
    (nnUNet_2D, {"feature_maps": 4, "strides": ((2, 2), (1, 2))}, (2, 4)),
    (Casser_U_Net_2D, {"start_filters": 2}, (16, 16)),
    (asymmetric_network, {"numInitChannels": 4, "fixed_dropout": 0.1}, (8, 8)),
    (U_Net_3D, DROPS | {"z_down": 1}, (1, 4, 4)),
    (ResUNet_3D, DROPS | {"z_down": (1, 2)}, (2, 4, 4)),
    (Vanilla_U_Net_3D, {"feature_maps": (3, 4, 5, 6), "depth": 2}, (4, 4, 4)),
    (asymmetric_3D_network, {"numInitChannels": 6}, (8, 8, 8)),
    (U_Net_3D_Xiao, {"feature_maps": (2, 3, 4, 5)}, (1, 8, 8)),
]


def randomise(model, seed=0):
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "seed" not in weight.path:
            values = rng.normal(0, 1 / np.sqrt(max(1, np.prod(weight.shape[:-1]))), weight.shape)
            weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values)


@pytest.mark.parametrize(("builder", "options", "strides"), NETWORKS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_network_with_any_options_is_rebuilt_and_its_strides_are_found(builder, options, strides, tmp_path):
    written = check_rebuilt(partial(builder, (*(None,) * len(strides), 1), **options), tmp_path)
    assert total_strides(written) == strides


@pytest.mark.parametrize("page", pages_of_networks().values(), ids=lambda page: page.name)
def test_the_network_of_every_page_is_rebuilt(page, tmp_path):
    check_rebuilt(lambda: page_network.build_network(page, **toy_settings(page))[0], tmp_path)


def check_rebuilt(build, folder):
    """Check that a network comes back from its description and predicts the same; return the description."""
    model = build()
    randomise(model)
    model.save_weights(folder / "some.weights.h5")
    written = json.loads(json.dumps(network_config(model)))
    again = build_network(written)
    again.load_weights(folder / "some.weights.h5")
    size = (32, 64) if len(model.input_shape) == 4 else (8, 16, 24)
    image = np.random.default_rng(1).random((1, *size, 1), np.float32)
    # By name: collected doctests import the same module under a second name, which Keras's registry then has.
    assert type(again).__name__ == type(model).__name__
    for found, expected in zip(*(tree.flatten(net.predict_on_batch(image)) for net in (again, model)), strict=True):
        np.testing.assert_array_equal(found, expected)
    (folder / "network.json").write_text(json.dumps({"network": written, "settings": {}}))
    check_same_network(build(), folder / "some.weights.h5", {})  # built again, its layers have other names
    return written


def test_an_input_prepared_for_imagenet_is_rebuilt():
    for channels in (1, 3):
        image = keras.Input((None, None, channels))
        model = keras.Model(image, as_in_imagenet(image))
        x = np.random.default_rng(0).random((1, 4, 4, channels), np.float32)
        again = build_network(json.loads(json.dumps(network_config(model))))
        np.testing.assert_array_equal(again.predict_on_batch(x), model.predict_on_batch(x))


def test_16_bit_formats_become_float32_on_request():
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    config = network_config(U_Net_2D((None, None, 1), **DROPS))
    keras.mixed_precision.set_dtype_policy(policy)
    as_trained, full = build_network(config), build_network(config, precision="float32")
    assert {layer.compute_dtype for layer in as_trained.layers} >= {"bfloat16", "float32"}
    assert {layer.compute_dtype for layer in full.layers} == {"float32"}
    with pytest.raises(ValueError, match="--precision 'half' is not known"):
        build_network(config, precision="half")
    with pytest.raises(ValueError, match="--precision mixed_bfloat16 is for training.*auto for that, or float32"):
        build_network(config, precision="mixed_bfloat16")


def test_a_layer_of_another_project_is_refused_until_it_is_registered():
    config = network_config(U_Net_2D((None, None, 1), **DROPS))
    config["config"]["layers"][1] |= {"module": "elsewhere", "class_name": "Blur", "registered_name": "elsewhere>Blur"}
    with pytest.raises(ValueError, match="the layer Blur of elsewhere"):
        build_network(config)


def make_run(folder, model, *, crop_shape, settings=None, **known):
    """Write what a finished run holds, and return its folder."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps({"settings": settings or {}, "command": ["some_template.py"]}))
    (folder / "environment.json").write_text(json.dumps({"end": "now", "versions": {"keras": keras.__version__}}))
    data = NetworkInput(crop_shape=crop_shape, **{"dtype": "uint8"} | known)
    write_network(SimpleNamespace(folder=folder, checkpoints=folder / "checkpoints"), model, data, batch_size=2)
    model.save_weights(folder / "checkpoints" / "best.weights.h5")
    return folder


def grey_image(shape, seed=0, high=256, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """Return a 2D network and the folder of its run."""
    model = U_Net_2D((None, None, 1), **DROPS)
    randomise(model)
    folder = tmp_path_factory.mktemp("flat") / "run"
    return model, make_run(folder, model, crop_shape=(16, 16, 1), voxel_size_nm=(5.0, 4.0))


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Return a 3D network and the folder of its run."""
    model = U_Net_3D((None, None, None, 1), z_down=1, n_classes=3, **DROPS)
    randomise(model)
    folder = tmp_path_factory.mktemp("deep") / "run"
    return model, make_run(folder, model, crop_shape=(4, 16, 16, 1), settings={"N_CLASSES": 3})


def test_what_prediction_needs_is_beside_the_weights(flat):
    content = json.loads((flat[1] / "checkpoints" / "network.json").read_text())
    assert content["crop_shape"] == [16, 16, 1] and content["n_classes"] == 1 and content["batch_size"] == 2
    assert (content["dtype"], content["normalisation"], content["voxel_size_nm"]) == ("uint8", "dtype", [5, 4])
    assert content["template"] == "some_template.py" and content["versions"]["keras"] == keras.__version__
    assert "compile_config" not in content["network"]


@pytest.mark.parametrize("ensemble", [False, True])
def test_images_are_predicted_as_in_a_run(flat, ensemble):
    model, folder = flat
    trained, image = load_predictor(folder), grey_image((21, 35, 1), seed=5)
    grid = {"ensemble": ensemble, "batch_size": 2}
    expected = {
        "blended": predict_blended(model, [image], (16, 16, 1), **grid),
        "crops": predict_crops(model, [image], (16, 16, 1), overlap=0.25, padding=2, padding_mode="median", **grid),
        "full": predict_full_images(model, [image], divisor=4, ensemble=ensemble),
    }
    for protocol, predictions in expected.items():
        options = {"overlap": 0.25, "padding": 2, "padding_mode": "median"} if protocol == "crops" else {}
        probability = trained.predict(image[..., 0], protocol=protocol, ensemble=ensemble, **options)
        np.testing.assert_array_equal(probability, next(predictions))
    assert trained.predict(image).shape == (21, 35, 1)


def test_in_a_training_it_predicts_as_the_finished_run_does(flat):
    model, folder = flat
    images = ImageSet([grey_image((21, 35, 1), seed=5), grey_image((16, 16, 1))], None, [None, None], ())
    training = Predictor(model, NetworkInput(crop_shape=(16, 16, 1)), batch_size=2, divisor=4)
    finished = load_predictor(folder)
    assert (finished.divisor, finished.batch_size, finished.crop_shape) == ((4, 4), 2, (16, 16, 1))
    for method, options in (("crops", {"overlap": 0.25}), ("blended", {}), ("full", {"ensemble": True})):
        for ours, theirs in zip(
            *(getattr(one, method)(images, **options) for one in (training, finished)), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    crops = images.subset([1])
    np.testing.assert_array_equal(next(training.each(crops)), next(predict_crops(model, crops.x, (16, 16, 1))))


def test_volumes_of_several_classes_become_a_mask(deep):
    model, folder = deep
    trained, volume = load_predictor(folder), grey_image((3, 21, 18, 1), seed=6)
    assert trained.is_3d and trained.n_classes == 3
    probability = next(predict_blended(model, [volume], (4, 16, 16, 1), ensemble=False, batch_size=2))
    np.testing.assert_array_equal(trained.predict(volume), probability)
    mask = trained.segment(volume)
    assert mask.shape == (3, 21, 18, 1) and mask.dtype == np.uint8
    np.testing.assert_array_equal(mask[..., 0], np.rint(probability * 4096).argmax(axis=-1))


def test_the_threshold_is_that_of_probability(flat):
    trained, image = load_predictor(flat[1]), grey_image((16, 16, 1))
    probability = trained.predict(image)
    middle = float(np.median(probability))
    assert 0.3 < trained.segment(image, threshold=middle).mean() < 0.7
    np.testing.assert_array_equal(trained.segment(image), np.rint(probability * 4096) > 2048)
    for threshold in (-0.1, 128, float("nan")):
        with pytest.raises(ValueError, match="but a probability from 0 to 1 is needed"):
            trained.segment(None, threshold=threshold)


def test_two_files_suffice_wherever_they_are(flat, tmp_path):
    for name in ("best.weights.h5", "network.json"):
        shutil.copy(flat[1] / "checkpoints" / name, tmp_path)
    image = grey_image((16, 16, 1))
    moved = load_predictor(tmp_path / "best.weights.h5")
    np.testing.assert_array_equal(moved.predict(image), load_predictor(flat[1]).predict(image))


@pytest.mark.parametrize(
    ("normalisation", "grey"),
    [("percentile", (40.0, 200.0)), ("mean_std", ZScore(0.0, 255.0, 120.0, 30.0)), ("percentile_per_image", None)],
)
def test_grey_values_are_those_of_the_training(normalisation, grey, tmp_path):
    model = U_Net_2D((None, None, 1), **DROPS)
    randomise(model)
    known = {"normalisation": normalisation, "percentiles": (5.0, 90.0), "intensity_range": grey}
    folder = make_run(tmp_path / "run", model, crop_shape=(16, 16, 1), **known)
    trained, image = load_predictor(folder), grey_image((16, 16, 1), seed=3)
    assert trained.intensity_range == grey and type(trained.intensity_range) is type(grey)
    shown = image
    if grey is None:
        shown = stretch_each(ImageSet([image], None, [None], ()), normalisation, percentiles=(5.0, 90.0)).x[0]
        assert not (shown == image).all()
    expected = next(predict_full_images(model, [shown], divisor=4, intensity_range=grey))
    np.testing.assert_array_equal(trained.predict(image, protocol="full"), expected)
    plain = next(predict_full_images(model, [image], divisor=4))
    assert np.abs(expected - plain).max() > 1e-4
    if grey is not None:
        with pytest.raises(
            ValueError, match=r"has the dtype uint16, the training images had uint8; .*INTENSITY_RANGE=\(0, 65535\)"
        ):
            trained.predict(image.astype(np.uint16))


SCENE = np.random.default_rng(8).integers(0, 4096, (24, 32, 1)).astype(np.uint16)


@pytest.mark.parametrize(
    ("known", "stated"),
    [
        ({"intensity_range": (0, 4095)}, (0, 4095 / 16)),
        ({"normalisation": "percentile", "intensity_range": (200.0, 3800.0)}, (0, 65535 / 16)),
        ({"normalisation": "mean_std", "intensity_range": ZScore(0, 65535, 2048, 1200)}, (0, 65535 / 16)),
    ],
    ids=["stated", "percentile", "mean_std"],
)
def test_an_8_bit_copy_is_predicted_as_the_12_bit_original(known, stated, tmp_path):
    model = U_Net_2D((None, None, 1), **DROPS)
    randomise(model)
    folder = make_run(tmp_path / "run", model, crop_shape=(16, 16, 1), dtype="uint16", **known)
    wanted, copied = load_predictor(folder).predict(SCENE), (SCENE // 16).astype(np.uint8)
    with pytest.raises(ValueError, match=r'uint8, the training images had uint16; .* "INTENSITY_RANGE=\(0, 255\)"'):
        load_predictor(folder).predict(copied)
    found = load_predictor(folder, intensity_range=stated).predict(copied)
    assert np.abs(found - wanted).max() < 0.2 * np.ptp(wanted) and np.abs(found - wanted).mean() < 0.02 * np.ptp(wanted)
    np.testing.assert_array_equal(load_predictor(folder).predict(SCENE.astype(">u2")), wanted)
    exact = load_predictor(folder, intensity_range=(0, known["intensity_range"][1] if len(known) == 1 else 65535))
    np.testing.assert_allclose(exact.predict(SCENE.astype(np.float32)), wanted, atol=1e-5)


def test_nan_in_weights_or_probabilities_is_an_error(flat, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(flat[1], folder)
    model = load_predictor(folder).model
    trained = model.get_weights()
    for number, value in ((0, np.nan), (-1, np.inf)):
        broken = [weight.copy() for weight in trained]
        broken[number].flat[0] = value
        model.set_weights(broken)
        model.save_weights(folder / "checkpoints" / "best.weights.h5")
        with pytest.raises(
            ValueError, match=r"best.weights.h5 holds NaN or infinite numbers \(.*LEARNING_RATE and train"
        ):
            load_predictor(folder)
    unchecked = Predictor(model, NetworkInput(crop_shape=(16, 16, 1)), batch_size=1)
    model.set_weights([np.full_like(weight, np.nan) for weight in trained])
    with pytest.raises(ValueError, match="the network predicts NaN for the image. Lower LEARNING_RATE"):
        unchecked.predict(grey_image((16, 16, 1)))


def test_of_instance_targets_the_foreground_or_a_named_channel_is_returned(tmp_path):
    model = U_Net_2D((None, None, 1), n_classes=2, output_activation="sigmoid", **DROPS)
    randomise(model)
    targets, image = ("binary", "contour"), grey_image((16, 16, 1))
    folder = make_run(tmp_path / "run", model, crop_shape=(16, 16, 1), instance_targets=targets)
    trained = load_predictor(folder)
    both = next(predict_full_images(model, [image], divisor=4))
    np.testing.assert_array_equal(trained.predict(image, protocol="full"), both[..., :1])
    np.testing.assert_array_equal(trained.for_target("contour").predict(image, protocol="full"), both[..., 1:])
    assert trained.n_classes == 1 and trained.segment(image).shape == (16, 16, 1)
    with pytest.raises(ValueError, match="target 'edge' is not known"):
        trained.for_target("edge")


def test_what_does_not_suit_the_network_is_said(flat, deep):
    trained, volume_network = load_predictor(flat[1]), load_predictor(deep[1])
    image = grey_image((16, 16, 1))
    for wrong, message in [
        (grey_image((16, 16, 3)), "has 3 channel.s., the training images had 1"),
        (grey_image((2, 16, 16, 1)), r"takes \(y, x, c\), one at a time"),
        (
            grey_image((16, 16, 1)).astype(np.int32),
            "has the dtype int32, the training images had uint8; state its grey values for 0 and 255",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            trained.predict(wrong)
    with pytest.raises(ValueError, match="holds NaN"):
        load_predictor(flat[1], intensity_range=(0, 1)).predict(np.full((16, 16, 1), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"takes \(z, y, x, c\)"):
        volume_network.predict(grey_image((16, 16)))
    for options, message in [
        ({"protocol": "fulll"}, "PROTOCOL 'fulll' is not known; did you mean 'full'"),
        ({"padding_mode": "zero"}, "PADDING_MODE 'zero'"),
    ]:
        with pytest.raises(ValueError, match=message):
            trained.predict(image, **options)
    for crop, message in [
        ((18, 16, 1), r"CROP_SHAPE \(18, 16, 1\) .* divisible by \(4, 4\)"),
        ((16, 16), r"CROP_SHAPE \(16, 16\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_predictor(flat[1], crop_shape=crop)
    assert load_predictor(flat[1], crop_shape=(8, 20, 1)).predict(image).shape == (16, 16, 1)


def test_runs_that_cannot_predict_are_said(flat, tmp_path):
    with pytest.raises(ValueError, match="RUN is not set. Give the folder"):
        load_predictor(None)
    with pytest.raises(ValueError, match="which does not exist"):
        load_predictor(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is not the folder of a run"):
        load_predictor(tmp_path)
    folder = tmp_path / "copy"
    shutil.copytree(flat[1], folder)
    (folder / "checkpoints" / "network.json").rename(tmp_path / "kept.json")
    with pytest.raises(ValueError, match="network.json is missing.*--set LOAD_WEIGHTS="):
        load_predictor(folder)
    (tmp_path / "kept.json").rename(folder / "checkpoints" / "network.json")
    (folder / "environment.json").write_text("{}")
    with pytest.raises(ValueError, match="is not finished"):
        load_predictor(folder)
    (folder / "environment.json").write_text('{"end": "now"}')
    U_Net_2D((None, None, 1), **DROPS | {"feature_maps": (7, 8, 9)}).save_weights(
        folder / "checkpoints" / "best.weights.h5"
    )
    with pytest.raises(ValueError, match="does not fit this network"):
        load_predictor(folder)
    (folder / "checkpoints" / "best.weights.h5").unlink()
    with pytest.raises(ValueError, match="best.weights.h5 is missing"):
        load_predictor(folder)


def test_a_classifier_of_patches_is_sent_to_its_own_prediction():
    with pytest.raises(ValueError, match="classifies patches"):
        Predictor(create_oztel_model(), NetworkInput(crop_shape=(32, 32, 1)), batch_size=1, stored=True)


def test_a_description_that_lacks_something_is_said(flat, tmp_path):
    for name in ("best.weights.h5", "network.json"):
        shutil.copy(flat[1] / name if (flat[1] / name).exists() else flat[1] / "checkpoints" / name, tmp_path)
    whole = json.loads((tmp_path / "network.json").read_text())
    for name in ("crop_shape", "batch_size"):
        (tmp_path / "network.json").write_text(json.dumps({key: value for key, value in whole.items() if key != name}))
        with pytest.raises(ValueError, match=f"network.json lacks {name}. Restore it"):
            load_predictor(tmp_path / "best.weights.h5")
    for text, said in (("{", "cannot be read"), ("[]", "does not hold what a run writes")):
        (tmp_path / "network.json").write_text(text)
        with pytest.raises(ValueError, match=f"network.json {said}"):
            load_predictor(tmp_path / "best.weights.h5")


@pytest.mark.parametrize("place", ["", "x", "x/x", "test/x"])
def test_images_are_found_wherever_they_lie(flat, place, tmp_path):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(tmp_path / place / "b.tif", grey_image((2, 9, 8)), photometric="minisblack")
    tifffile.imwrite(tmp_path / place / "a.tif", grey_image((7, 8)))
    images = load_new_images(tmp_path, load_predictor(flat[1]))
    assert [str(source) for source in images.names] == ["a.tif", "b.tif page 0", "b.tif page 1"]
    assert [image.shape for image in images.x] == [(7, 8, 1), (9, 8, 1), (9, 8, 1)] and images.y is None


def test_many_images_of_another_dtype_are_one_line_and_a_stated_range_is_for_one_dtype(flat, tmp_path):
    for number in range(9):
        tifffile.imwrite(tmp_path / f"{number}.tif", grey_image((9, 8), dtype=np.uint16))
    with pytest.raises(ValueError, match=r"0.tif has the dtype uint16, .*\(9 such files: 0.tif, 1.tif, 2.tif ...\)"):
        load_new_images(tmp_path, load_predictor(flat[1]))
    stated = load_predictor(flat[1], intensity_range=(0, 65535))
    assert len(load_new_images(tmp_path, stated)) == 9
    tifffile.imwrite(tmp_path / "9.tif", grey_image((9, 8)))
    with pytest.raises(ValueError, match="INTENSITY_RANGE holds for one dtype, but there are uint16 and uint8"):
        load_new_images(tmp_path, stated)


def test_slices_are_one_volume_and_files_one_each(deep, tmp_path):
    trained = load_predictor(deep[1])
    for number in range(3):
        tifffile.imwrite(tmp_path / f"{number}.tif", grey_image((9, 8), seed=number))
    images = load_new_images(tmp_path, trained)
    assert [image.shape for image in images.x] == [(3, 9, 8, 1)] and len(images.names[0].slices) == 3
    tifffile.imwrite(tmp_path / "1.tif", grey_image((9, 9)))
    with pytest.raises(ValueError, match="must have one size"):
        load_new_images(tmp_path, trained)
    (tmp_path / "files").mkdir()
    for number in (2, 4):
        tifffile.imwrite(tmp_path / "files" / f"{number}.tif", grey_image((number, 9, 8)), photometric="minisblack")
    images = load_new_images(tmp_path / "files", trained)
    assert [image.shape for image in images.x] == [(2, 9, 8, 1), (4, 9, 8, 1)]


def test_all_problems_of_new_images_are_said_at_once(flat, tmp_path):
    trained = load_predictor(flat[1])
    with pytest.raises(ValueError, match="there are no images"):
        load_new_images(tmp_path, trained)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_new_images(tmp_path / "nowhere", trained)
    (tmp_path / "broken.png").write_text("no image")
    tifffile.imwrite(tmp_path / "colour.tif", grey_image((8, 8, 3)), photometric="rgb")
    tifffile.imwrite(tmp_path / "float.tif", np.full((8, 8), 7, np.float32))
    tifffile.imwrite(tmp_path / "float.tiff", grey_image((8, 8)))
    with pytest.raises(ValueError, match="4 problems in") as error:
        load_new_images(tmp_path, trained)
    for part in (
        "broken.png cannot be read",
        "colour.tif has 3 channel(s)",
        "float.tif has the dtype float32",
        "2 images are called",
    ):
        assert part in str(error.value)
