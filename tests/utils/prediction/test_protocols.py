"""Tests of prediction with predictors whose answer is known."""

import weakref

import keras
import numpy as np
import pytest

from networks.nnunet import nnUNet_2D, total_strides
from utils.images.intensity import ZScore
from utils.prediction.orientations import orient, restore
from utils.prediction.protocols import predict_blended, predict_crops, predict_each, predict_full_images

CROP = (32, 32)
SHAPES = {
    "40x56": [(40, 56)],
    "64x64": [(64, 64), (64, 64)],
    "smaller than the crop": [(30, 100), (9, 11)],
    "mixed": [(40, 56), (64, 64), (30, 100), (33, 32), (32, 32), (32, 32)],
}


class Oracle:
    """A model that answers with a function of the batch, and records the shapes it was sent."""

    def __init__(self, answer=lambda batch: batch):
        self.answer, self.shapes = answer, []

    def predict_on_batch(self, batch):
        assert batch.dtype == np.float32
        self.shapes.append(batch.shape)
        return self.answer(batch)


def x_ramp(batch):
    """Answer with 0 at the left border of a tile and 1 at its right border, whatever the content."""
    return np.broadcast_to(np.linspace(0, 1, batch.shape[2], dtype=np.float32)[:, np.newaxis], (*batch.shape[:3], 1))


def random_images(shapes, dtype=np.uint8, channels=1):
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return [rng.random((*shape, channels)).astype(dtype) for shape in shapes]
    return [rng.integers(0, np.iinfo(dtype).max, (*shape, channels), dtype, endpoint=True) for shape in shapes]


class CountedImages:
    """An iterator that counts how many images were read from it."""

    def __init__(self, images):
        self.images, self.read = iter(images), 0

    def __iter__(self):
        return self

    def __next__(self):
        image = next(self.images)
        self.read += 1
        return image


PROTOCOLS = {
    "each": lambda model, images, **kw: predict_each(model, images, **kw),
    "crops": lambda model, images, **kw: predict_crops(model, images, CROP, **kw),
    "crops overlap 0.25": lambda model, images, **kw: predict_crops(model, images, CROP, overlap=0.25, **kw),
    "crops overlap 0.5": lambda model, images, **kw: predict_crops(model, images, CROP, overlap=0.5, **kw),
    "crops overlap per axis": lambda model, images, **kw: predict_crops(model, images, CROP, overlap=(0, 0.8), **kw),
    "oblong crops": lambda model, images, **kw: predict_crops(model, images, (16, 48, 1), overlap=0.1, **kw),
    "blended": lambda model, images, **kw: predict_blended(model, images, CROP, **kw),
    "blended in thirds": lambda model, images, **kw: predict_blended(model, images, CROP, subdivisions=3, **kw),
    "blended oblong": lambda model, images, **kw: predict_blended(model, images, (16, 48), **kw),
    "full images": lambda model, images, **kw: predict_full_images(model, images, **kw),
    "full images by 2": lambda model, images, **kw: predict_full_images(model, images, divisor=2, **kw),
}
BATCHED = [name for name in PROTOCOLS if not name.startswith("full")]
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)


@every_protocol
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("ensemble", [False, True])
def test_identity_predictor_returns_the_scaled_images(protocol, shapes, ensemble):
    images = random_images(shapes)
    predictions = list(protocol(Oracle(), images, ensemble=ensemble))
    assert len(predictions) == len(images)
    for image, prediction in zip(images, predictions, strict=True):
        assert prediction.dtype == np.float32
        assert prediction.shape == image.shape
        np.testing.assert_allclose(prediction, image / np.float32(255), atol=1e-6)


@every_protocol
def test_several_classes_pass_through(protocol):
    images = random_images([(40, 56)])

    def two_classes(batch):
        return np.concatenate([batch, 1 - batch], axis=-1)

    (prediction,) = protocol(Oracle(two_classes), images, ensemble=True)
    expected = images[0] / np.float32(255)
    np.testing.assert_allclose(prediction, np.concatenate([expected, 1 - expected], axis=-1), atol=1e-6)


@pytest.mark.parametrize("protocol", [PROTOCOLS[name] for name in BATCHED], ids=BATCHED)
@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_every_batch_has_the_stated_size(protocol, ensemble, batch_size):
    model = Oracle()
    list(protocol(model, random_images(SHAPES["mixed"]), ensemble=ensemble, batch_size=batch_size))
    assert {shape[0] for shape in model.shapes} == {batch_size}


@pytest.mark.parametrize("name", ["crops", "crops overlap 0.5", "blended"])
def test_square_crops_compile_a_single_shape(name):
    model = Oracle()
    list(PROTOCOLS[name](model, random_images(SHAPES["mixed"]), ensemble=True))
    assert set(model.shapes) == {(6, *CROP, 1)}


@pytest.mark.parametrize("ensemble", [False, True])
def test_oblong_crops_compile_no_more_than_one_shape_per_orientation(ensemble):
    model = Oracle()
    list(PROTOCOLS["oblong crops"](model, random_images(SHAPES["mixed"]), ensemble=ensemble))
    assert set(model.shapes) == ({(6, 16, 48, 1), (6, 48, 16, 1)} if ensemble else {(6, 16, 48, 1)})


def test_full_batches_waste_nothing():
    model = Oracle()
    list(predict_crops(model, random_images([(64, 64)] * 3), CROP, batch_size=6))
    assert len(model.shapes) == 2


def test_full_images_are_predicted_one_at_a_time_padded_to_the_divisor():
    model = Oracle()
    list(predict_full_images(model, random_images([(40, 56), (32, 48)]), divisor=16))
    assert model.shapes == [(1, 48, 64, 1), (1, 32, 48, 1)]


def test_position_dependent_predictions_land_where_their_crop_was():
    (prediction,) = predict_crops(Oracle(x_ramp), random_images([(32, 64)]), CROP)
    ramp = np.linspace(0, 1, 32)
    np.testing.assert_allclose(prediction[..., 0], np.tile(np.concatenate([ramp, ramp]), (32, 1)), atol=1e-6)


def test_position_dependent_predictions_are_averaged_where_crops_overlap():
    (prediction,) = predict_crops(Oracle(x_ramp), random_images([(32, 48)]), CROP, overlap=0.5)
    ramp = np.linspace(0, 1, 32)
    row = np.concatenate([ramp[:16], (ramp[16:] + ramp[:16]) / 2, ramp[16:]])
    np.testing.assert_allclose(prediction[..., 0], np.tile(row, (32, 1)), atol=1e-6)


def test_without_an_ensemble_a_ramp_stays_a_ramp():
    (prediction,) = predict_each(Oracle(x_ramp), random_images([(8, 8)]))
    np.testing.assert_allclose(prediction[..., 0], np.tile(np.linspace(0, 1, 8), (8, 1)), atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8), (8, 12)])
def test_ensemble_of_a_ramp_is_the_mean_over_all_orientations(shape):
    # Mirroring cancels a linear ramp; a squared one leaves half of the squares along x and half of those along y.
    def squared(batch):
        return x_ramp(batch) ** 2

    (prediction,) = predict_each(Oracle(squared), random_images([shape]), ensemble=True)
    y, x = (np.linspace(0, 1, size) ** 2 for size in shape)
    expected = ((y + y[::-1]) / 2)[:, np.newaxis] / 2 + ((x + x[::-1]) / 2)[np.newaxis] / 2
    np.testing.assert_allclose(prediction[..., 0], expected, atol=1e-6)


def test_ensemble_of_crops_equals_the_mean_computed_by_hand():
    def uneven(batch):
        return batch * x_ramp(batch)

    image = random_images([(32, 32)])[0]
    (prediction,) = predict_crops(Oracle(uneven), [image], CROP, ensemble=True)
    scaled = image / np.float32(255)
    turned = [restore(uneven(orient(scaled, number)[np.newaxis])[0], number) for number in range(8)]
    np.testing.assert_allclose(prediction, np.mean(turned, axis=0), atol=1e-6)


def test_blending_leaves_smaller_seams_than_merging():
    images = random_images([(64, 64)])
    (blended,) = predict_blended(Oracle(x_ramp), images, CROP, ensemble=False)
    (merged,) = predict_crops(Oracle(x_ramp), images, CROP)
    assert np.abs(np.diff(merged, axis=1)).max() > 0.9
    assert np.abs(np.diff(blended, axis=1)).max() < 0.2


@every_protocol
@pytest.mark.parametrize("ensemble", [False, True])
def test_images_are_read_as_needed(protocol, ensemble):
    images = CountedImages(random_images([(32, 48)]) * 40)
    predictions = protocol(Oracle(), images, ensemble=ensemble)
    assert images.read == 0
    next(predictions)
    assert 1 <= images.read <= 8
    next(predictions)
    assert images.read <= 9


@every_protocol
def test_images_that_were_predicted_are_let_go(protocol):
    # itertools.tee would keep up to 57 of them.
    read = []

    def images():
        for seed in range(30):
            image = np.full((33, 45, 1), seed, np.uint8)
            read.append(weakref.ref(image))
            yield image

    for _ in protocol(Oracle(), images()):
        assert sum(reference() is not None for reference in read) <= 9


def test_no_images_give_no_predictions():
    assert [list(protocol(Oracle(), [])) for protocol in PROTOCOLS.values()] == [[]] * len(PROTOCOLS)


@every_protocol
@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1), (np.float64, 1)])
def test_images_are_scaled_by_their_dtype(protocol, dtype, white):
    images = random_images([(40, 40)], dtype)
    (prediction,) = protocol(Oracle(), images)
    np.testing.assert_allclose(prediction, images[0] / white, atol=1e-6)


@every_protocol
def test_images_are_scaled_by_a_stated_range(protocol):
    image = random_images([(40, 40)], np.uint16)[0]
    (prediction,) = protocol(Oracle(), [image], intensity_range=(1000, 50_000))
    np.testing.assert_allclose(prediction, np.clip((image - 1000.0) / 49_000, 0, 1), atol=1e-6)


@every_protocol
def test_a_score_is_not_cut_off(protocol):
    image = random_images([(40, 40)])[0]
    (prediction,) = protocol(Oracle(), [image], intensity_range=ZScore(0, 255, 90, 40))
    np.testing.assert_allclose(prediction, (image - 90.0) / 40, atol=1e-5)


def test_a_keras_model_is_accepted():
    import keras

    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    image = random_images([(40, 24)])[0]
    (prediction,) = predict_crops(model, [image], (16, 16), overlap=0.5, ensemble=True)
    np.testing.assert_allclose(prediction, image / np.float32(255), atol=1e-6)


# --- volumes


SUBVOLUME = (8, 16, 16, 1)
VOLUME_PROTOCOLS = {
    "crops": lambda model, volumes, **kw: predict_crops(model, volumes, SUBVOLUME, **kw),
    "crops overlap 0.5": lambda model, volumes, **kw: predict_crops(model, volumes, SUBVOLUME, overlap=0.5, **kw),
    "crops with margins": lambda model, volumes, **kw: predict_crops(
        model, volumes, SUBVOLUME, padding=(2, 4, 4), **kw
    ),
    "crops, median outside": lambda model, volumes, **kw: predict_crops(
        model, volumes, SUBVOLUME, padding=1, padding_mode="median", **kw
    ),
    "blended": lambda model, volumes, **kw: predict_blended(model, volumes, SUBVOLUME, **kw),
    "full": lambda model, volumes, **kw: predict_full_images(model, volumes, divisor=(2, 8, 8), **kw),
}


@pytest.mark.parametrize("protocol", VOLUME_PROTOCOLS.values(), ids=VOLUME_PROTOCOLS)
@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize("sizes", [[(8, 16, 16)], [(11, 20, 33), (3, 17, 16)]], ids=str)
def test_identity_predictor_returns_scaled_volumes_of_any_size(protocol, ensemble, sizes):
    volumes = random_images(sizes)
    predictions = list(protocol(Oracle(), volumes, ensemble=ensemble))
    for volume, prediction in zip(volumes, predictions, strict=True):
        assert prediction.dtype == np.float32
        np.testing.assert_allclose(prediction, volume / np.float32(255), atol=1e-5)


def test_ensemble_of_volumes_averages_sixteen_orientations():
    volume = random_images([(4, 6, 6)])[0]
    seen = []

    def along_z(batch):
        seen.extend(tile.tobytes() for tile in batch)
        ramp = np.linspace(0, 1, batch.shape[1], dtype=np.float32)
        return np.broadcast_to(ramp[:, np.newaxis, np.newaxis, np.newaxis], batch.shape)

    (prediction,) = predict_each(Oracle(along_z), [volume], ensemble=True, batch_size=4)
    assert len(set(seen)) == 16
    np.testing.assert_allclose(prediction, 0.5, atol=1e-6)


def test_margins_of_subvolumes_do_not_show():
    def wrong_at_the_border(batch):
        answer = np.zeros_like(batch)
        answer[:, 1:-1, 2:-2, 2:-2] = 1
        return answer

    volume = random_images([(13, 30, 21)])[0]
    (prediction,) = predict_crops(Oracle(wrong_at_the_border), [volume], SUBVOLUME, padding=(1, 2, 2))
    assert (prediction == 1).all()


def test_volumes_are_predicted_in_batches_of_one_shape():
    oracle = Oracle()
    list(predict_crops(oracle, random_images([(9, 20, 20), (8, 16, 40)]), SUBVOLUME, ensemble=True, batch_size=3))
    assert set(oracle.shapes) == {(3, 8, 16, 16, 1)}


# --- networks that do not take an oblong image turned

UNEQUAL = [(2, 2), (1, 2)]  # y is halved once, x twice


def uneven_network(**options):
    """Return a network that takes 6x8 and 8x8 but not 8x6."""
    keras.utils.set_random_seed(0)
    return nnUNet_2D((None, None, 1), feature_maps=2, max_feature_maps=4, strides=UNEQUAL, **options)


@pytest.mark.parametrize("deep_supervision", [False, True])
def test_an_ensemble_leaves_out_turns_that_the_network_does_not_take(deep_supervision, capsys):
    model, images = uneven_network(deep_supervision=deep_supervision), random_images([(6, 8), (6, 8), (6, 8)])
    found = list(predict_each(model, images, ensemble=True, batch_size=2))
    assert capsys.readouterr().out.count("does not take 6x8 as 8x6") == 1
    views = [(lambda a: a, lambda a: a), *[(lambda a, k=k: np.flip(a, k),) * 2 for k in (0, 1, (0, 1))]]
    for image, prediction in zip(images, found, strict=True):
        answers = [back(next(predict_each(model, [there(image)]))) for there, back in views]
        np.testing.assert_allclose(prediction, np.mean(answers, axis=0), atol=1e-6)


def test_merged_and_blended_ensembles_of_a_network_with_uneven_strides():
    model, images = uneven_network(), random_images([(13, 19)])
    for prediction in (
        *predict_crops(model, images, (6, 8, 1), overlap=0.5, ensemble=True),
        *predict_blended(model, images, (6, 8, 1)),
    ):
        assert prediction.shape == (13, 19, 1) and np.isfinite(prediction).all()


def test_full_images_are_padded_for_all_eight_orientations(capsys):
    model, images = uneven_network(), random_images([(5, 9)])
    (found,) = predict_full_images(model, images, divisor=total_strides(UNEQUAL), ensemble=True)
    (expected,) = predict_full_images(model, images, divisor=4, ensemble=True)
    np.testing.assert_array_equal(found, expected)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("sides", [(None, None), (8, 12)])
def test_an_ensemble_turns_wherever_it_can(sides, capsys):
    image = keras.Input((*sides, 1))
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(image))
    assert next(predict_each(model, random_images([(8, 12)]), ensemble=True)).shape == (8, 12, 1)
    assert ("turns by 90" in capsys.readouterr().out) == (sides == (8, 12))


def test_volumes_keep_their_reversals_of_z_where_they_are_not_turned():
    image = keras.Input((2, 4, 6, 1))
    model = keras.Model(image, keras.layers.Identity()(image))
    volume = random_images([(2, 4, 6)])[0]
    np.testing.assert_allclose(next(predict_each(model, [volume], ensemble=True)), volume / np.float32(255), atol=1e-6)
