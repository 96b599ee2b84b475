"""Tests of augmented batches."""

import keras
import numpy as np
import pytest

from generators.geometry import FILL_MODES
from generators.image_data_generator import ImageDataGenerator
from utils.images.intensity import ZScore, to_network_input

EVERYTHING = {
    "rotation_range": 180, "width_shift_range": 0.2, "height_shift_range": 0.1, "shear_range": 20, "zoom_range": 0.3,
    "horizontal_flip": True, "vertical_flip": True, "rotation90": True,
}  # fmt: skip
EXACT = {"horizontal_flip": True, "vertical_flip": True, "rotation90": True}
OPTIONS = {name: {name: value} for name, value in EVERYTHING.items()} | {"all": EVERYTHING}


def disc_mask(size=64, radius=20, centre=(25, 36)):
    """Return a mask without any symmetry: a disc off the centre and a box."""
    y, x = np.ogrid[:size, :size]
    mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
    mask[50:60, 4:24] = True
    return mask.astype(np.uint8)[..., np.newaxis]


def noise(count, shape=(16, 16), dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, np.iinfo(dtype).max, (*shape, 1), dtype, endpoint=True) for _ in range(count)]
    return images, [(image > np.iinfo(dtype).max // 2).astype(np.uint8) for image in images]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def epoch_of(batches):
    return [part for index in range(len(batches)) for part in batches[index]]


@pytest.fixture
def agreeing():
    """Return images that are 255 times their masks."""
    masks = [disc_mask(centre=(20 + 3 * n, 40 - 2 * n)) for n in range(6)]
    return [255 * mask for mask in masks], masks


# --- image, mask and weights go together


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("crop_shape", [None, (48, 48)])
def test_image_mask_and_weight_still_agree_after_any_geometry(agreeing, options, fill_mode, crop_shape):
    images, masks = agreeing
    weights = [mask.astype(np.float32) for mask in masks]
    generator = ImageDataGenerator(**options, fill_mode=fill_mode)
    x, y, weight = generator.flow(images, masks, batch_size=6, crop_shape=crop_shape, sample_weight=weights)[0]
    assert x.shape == y.shape == weight.shape == (6, *(crop_shape or (64, 64)), 1)
    assert (x.dtype, y.dtype, weight.dtype) == (np.float32, np.uint8, np.float32)
    assert set(np.unique(y)) == {0, 1}
    np.testing.assert_allclose(weight, x, atol=0.01)
    if set(options) <= set(EXACT):
        assert np.array_equal(x, y)
    else:
        assert ((x > 0.5) == y).mean() > 0.99


def test_every_sample_has_its_own_geometry(agreeing):
    image, mask = agreeing[0][0], agreeing[1][0]
    _, y = ImageDataGenerator(rotation_range=180).flow([image] * 4, [mask] * 4, batch_size=4)[0]
    assert len({sample.tobytes() for sample in y}) == 4


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_each_option_has_an_effect(options):
    images, masks = noise(8)
    x, y = ImageDataGenerator(**options).flow(images, masks, batch_size=8, shuffle=False)[0]
    assert not np.array_equal(x, np.stack(images) / np.float32(255))
    assert not np.array_equal(y, np.stack(masks))


def test_without_options_pairs_are_only_scaled():
    images, masks = noise(5)
    x, y = ImageDataGenerator().flow(images, masks, batch_size=5, shuffle=False)[0]
    np.testing.assert_allclose(x, np.stack(images) / 255, atol=1e-6)
    assert np.array_equal(y, masks)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_kept(channels):
    x = [np.random.default_rng(0).integers(0, 255, (16, 16, channels), np.uint8)] * 2
    images, masks = ImageDataGenerator(**EVERYTHING).flow(x, noise(2)[1])[0]
    assert images.shape == (2, 16, 16, channels)
    assert masks.shape == (2, 16, 16, 1)


# --- the single options


def test_uint16_stays_exact_under_flips_and_turns():
    image = np.arange(256, dtype=np.uint16).reshape(16, 16, 1) * 257
    generator, rng = ImageDataGenerator(**EXACT), np.random.default_rng(0)
    orientations = set()
    for _ in range(60):
        turned, mask = generator.random_sample([image, image], (16, 16), rng, limits=(0, 255))
        assert np.array_equal(turned, mask)
        orientations.add(mask.tobytes())
    expected = {np.rot90(im, k).tobytes() for im in (image, image[:, ::-1]) for k in range(4)}
    assert orientations == expected


@pytest.mark.parametrize(("option", "mirrored"), [("horizontal_flip", np.s_[:, ::-1]), ("vertical_flip", np.s_[::-1])])
def test_flips_happen_to_about_half_of_the_samples(option, mirrored):
    (image,), (mask,) = noise(1)
    generator, rng = ImageDataGenerator(**{option: True}), np.random.default_rng(0)
    found = [generator.random_sample([image, mask], (16, 16), rng, limits=(0, 255))[0] for _ in range(200)]
    flipped = sum(np.array_equal(f, image[mirrored]) for f in found)
    assert flipped + sum(np.array_equal(f, image) for f in found) == 200
    assert 70 < flipped < 130


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (2.0, 2.0)])
def test_zoom_factor_below_one_magnifies(low, high):
    mask = np.zeros((64, 64, 1), np.uint8)
    mask[24:40, 24:40] = 1
    _, y = ImageDataGenerator(zoom_range=(low, high), fill_mode="constant").flow([mask], [mask])[0]
    assert y.sum() == pytest.approx(mask.sum() / low**2, rel=0.15)


@pytest.mark.parametrize(("option", "axis"), [("width_shift_range", 1), ("height_shift_range", 0)])
def test_shifts_move_along_their_axis_up_to_their_range(option, axis):
    mask = np.zeros((40, 60, 1), np.uint8)
    mask[20, 30] = 1
    generator, rng = ImageDataGenerator(**{option: 0.25}, fill_mode="constant"), np.random.default_rng(0)
    masks = [generator.random_sample([mask, mask], (40, 60), rng, limits=(0, 255))[1][..., 0] for _ in range(200)]
    places = np.array([np.unravel_index(m.argmax(), m.shape) for m in masks]) - (20, 30)
    limit = 0.25 * (40, 60)[axis]
    assert not places[:, 1 - axis].any()
    assert 0.8 * limit < places[:, axis].max() <= limit + 1
    assert -limit - 1 <= places[:, axis].min() < -0.8 * limit


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.3, 35, 85), (1.0, 200, 200)])
@pytest.mark.parametrize("options", [{"rotation_range": 90}, {"brightness_range": (0.5, 0.8)}], ids=str)
def test_probability_is_the_share_of_changed_samples(probability, low, high, options):
    (image,), (mask,) = noise(1)
    generator, rng = ImageDataGenerator(**options, probability=probability), np.random.default_rng(0)
    found = [generator.random_sample([image, mask], (16, 16), rng, limits=(0, 255))[0] for _ in range(200)]
    assert low <= sum(not np.array_equal(f, image) for f in found) <= high


def test_flips_do_not_change_the_angles_that_are_drawn():
    plain, flipping = ImageDataGenerator(rotation_range=180), ImageDataGenerator(rotation_range=180, **EXACT)
    first, second = np.random.default_rng(0), np.random.default_rng(0)
    for _ in range(20):
        (a, _), (b, _) = plain.random_matrix(first, (8, 8)), flipping.random_matrix(second, (8, 8))
        between = np.linalg.inv(a) @ b
        np.testing.assert_allclose(np.abs(between), np.round(np.abs(between)), atol=1e-12)


def test_brightness_changes_images_and_leaves_masks_bit_equal():
    images, masks = noise(8)
    x, y = ImageDataGenerator(brightness_range=(0.5, 0.9)).flow(images, masks, batch_size=8, shuffle=False)[0]
    assert np.array_equal(y, masks)
    ratio = np.array([a.sum() / (b / 255).sum() for a, b in zip(x, images, strict=True)])
    assert (ratio > 0.48).all()
    assert (ratio < 0.91).all()
    assert np.ptp(ratio) > 0.1


@pytest.mark.parametrize(
    ("limits", "values", "expected"),
    [((0, 255), [0, 100, 200], [0, 200, 255]), ((0, 1), [0, 0.25, 0.75], [0, 0.5, 1]),
     ((-300, 300), [-100, 100, 200], [-200, 200, 300])],
)  # fmt: skip
def test_brightness_multiplies_and_clips(limits, values, expected):
    image = np.array(values, np.float32).reshape(1, 3, 1)
    generator = ImageDataGenerator(brightness_range=(2, 2))
    sample, _ = generator.random_sample([image, image], (1, 3), np.random.default_rng(0), limits=limits)
    assert sample.ravel().tolist() == expected


def test_brightness_respects_a_stated_range():
    image = np.linspace(0, 1000, 256, dtype=np.float32).reshape(16, 16, 1)
    flow = ImageDataGenerator(brightness_range=(0.5, 0.5)).flow([image], noise(1)[1], intensity_range=(0, 1000))
    np.testing.assert_allclose(flow[0][0][0], image * 0.5 / 1000, atol=1e-6)


def test_constant_fills_images_with_cval_and_masks_and_weights_with_zero():
    image, mask, weight = (np.ones((16, 16, 1), dtype) for dtype in (np.uint8, np.uint8, np.float32))
    generator = ImageDataGenerator(zoom_range=(4, 4), fill_mode="constant", cval=77)
    x, y, w = generator.random_sample([image, mask, weight], (16, 16), np.random.default_rng(0), limits=(0, 255))
    assert (x[0, 0, 0], y[0, 0, 0], w[0, 0, 0]) == (77, 0, 0)
    assert (x[8, 8, 0], y[8, 8, 0], w[8, 8, 0]) == (1, 1, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_images_are_scaled_by_their_dtype(dtype):
    images, masks = noise(3, dtype=dtype)
    x, _ = ImageDataGenerator().flow(images, masks, shuffle=False)[0]
    np.testing.assert_allclose(x, np.stack(images) / np.iinfo(dtype).max, atol=1e-6)


def test_images_of_different_dtypes_are_each_scaled_by_their_own():
    eight, sixteen = np.full((4, 4, 1), 255, np.uint8), np.full((4, 4, 1), 65_535, np.uint16)
    x, _ = ImageDataGenerator().flow([eight, sixteen], [eight // 255] * 2, shuffle=False)[0]
    np.testing.assert_allclose(x, 1, atol=1e-6)


def test_stated_range_is_used():
    images, masks = noise(3)
    x, _ = ImageDataGenerator().flow(images, masks, shuffle=False, intensity_range=(50, 100))[0]
    np.testing.assert_allclose(x, np.clip((np.stack(images) - 50.0) / 50, 0, 1), atol=1e-6)


# --- crops


def test_random_crops_are_true_windows_of_larger_images():
    image = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50, 1)
    batches = ImageDataGenerator().flow([image] * 64, [image] * 64, batch_size=64, crop_shape=(16, 24, 1))
    x, y = batches[0]
    corners = set()
    for crop, mask in zip(np.rint(x * 65_535).astype(np.uint16), y, strict=True):
        top, left = divmod(int(crop[0, 0, 0]), 50)
        assert np.array_equal(crop, image[top : top + 16, left : left + 24])
        assert np.array_equal(crop, mask)
        corners.add((top, left))
    assert len(corners) > 40
    assert max(top for top, _ in corners) > 18
    assert max(left for _, left in corners) > 20


def test_random_crops_reach_every_corner():
    image = np.arange(9, dtype=np.uint8).reshape(3, 3, 1)
    x, y = ImageDataGenerator().flow([image] * 200, [image] * 200, batch_size=200, crop_shape=(2, 2))[0]
    assert {int(mask[0, 0, 0]) for mask in y} == {0, 1, 3, 4}


def test_crops_of_images_of_different_sizes_padded_where_needed():
    images = [np.full((*shape, 1), 51, np.uint8) for shape in [(10, 40), (40, 10), (16, 16), (5, 5)]]
    x, y = ImageDataGenerator(rotation_range=90).flow(images, images, crop_shape=(16, 16))[0]
    assert x.shape == y.shape == (4, 16, 16, 1)
    np.testing.assert_allclose(x, 0.2, atol=1e-6)


# --- batches


def test_last_batch_may_be_smaller_and_every_image_comes_once():
    images = [np.full((4, 4, 1), number, np.uint8) for number in range(7)]
    batches = ImageDataGenerator().flow(images, images, batch_size=3)
    assert len(batches) == 3
    assert [len(batches[index][0]) for index in range(3)] == [3, 3, 1]
    seen = [int(mask[0, 0, 0]) for index in range(3) for mask in batches[index][1]]
    assert sorted(seen) == list(range(7))
    assert seen != list(range(7))


def test_without_shuffling_the_order_stays():
    images = [np.full((4, 4, 1), number, np.uint8) for number in range(7)]
    batches = ImageDataGenerator().flow(images, images, batch_size=3, shuffle=False)
    batches.on_epoch_end()
    assert [int(mask[0, 0, 0]) for index in range(3) for mask in batches[index][1]] == list(range(7))


def test_arrays_are_accepted_as_well_as_lists():
    images, masks = noise(5)
    generator = ImageDataGenerator(**EVERYTHING)
    assert same(generator.flow(images, masks)[0], generator.flow(np.stack(images), np.stack(masks))[0])


def test_same_seed_gives_the_same_batches_in_any_order_of_asking():
    images, masks = noise(10)
    first, second = (ImageDataGenerator(**EVERYTHING).flow(images, masks, batch_size=3, seed=5) for _ in range(2))
    backwards = [second[index] for index in reversed(range(4))][::-1]
    assert same(epoch_of(first), [part for batch in backwards for part in batch])
    assert same(epoch_of(first), epoch_of(first))


@pytest.mark.parametrize("change", ["seed", "epoch"])
def test_other_seed_or_epoch_gives_other_batches(change):
    images, masks = noise(10)
    first, second = (ImageDataGenerator(**EVERYTHING).flow(images, masks, batch_size=5) for _ in range(2))
    setattr(second, change, 1)
    assert not any(np.array_equal(a, b) for a, b in zip(epoch_of(first), epoch_of(second), strict=True))


def test_one_image_is_never_augmented_twice_in_the_same_way():
    images, masks = noise(1)
    batches = ImageDataGenerator(rotation_range=180).flow(images * 6, masks * 6, batch_size=2, shuffle=False)
    seen = [sample.tobytes() for sample in np.concatenate(epoch_of(batches)[::2])]
    batches.on_epoch_end()
    seen += [sample.tobytes() for sample in np.concatenate(epoch_of(batches)[::2])]
    assert len(set(seen)) == 12


def test_end_of_an_epoch_and_setting_the_epoch_are_the_same():
    images, masks = noise(4)
    first, second = (ImageDataGenerator(**EVERYTHING).flow(images, masks) for _ in range(2))
    first.on_epoch_end()
    second.epoch = 1
    assert same(first[0], second[0])


def test_the_global_random_state_is_neither_used_nor_changed():
    images, masks = noise(4)
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    ImageDataGenerator(**EVERYTHING, brightness_range=(0.5, 2)).flow(images, masks)[0]
    assert np.random.random() == expected


def test_the_given_arrays_are_left_alone():
    images, masks = noise(4)
    before = [array.copy() for array in images + masks]
    epoch_of(ImageDataGenerator(**EVERYTHING, brightness_range=(0.5, 2)).flow(images, masks))
    assert same(before, images + masks)


class Losses(keras.callbacks.Callback):
    """Record the loss after every batch."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(logs["loss"])


def losses_of_training(*, workers=1, seed=0, sample_weight=None, first_epoch=0):
    """Return the losses of three epochs of a model that never changes: they tell the batches and their order."""
    images, masks = noise(11, shape=(8, 8))
    options = EVERYTHING | {"brightness_range": (0.5, 1.5)}
    batches = ImageDataGenerator(**options).flow(
        images, masks, batch_size=2, seed=seed, workers=workers, sample_weight=sample_weight
    )
    batches.epoch = first_epoch
    inputs = keras.Input((8, 8, 1))
    outputs = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid", kernel_initializer="ones")(inputs)
    model = keras.Model(inputs, outputs)
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    recorder = Losses()
    model.fit(batches, epochs=3, initial_epoch=first_epoch, shuffle=False, verbose=0, callbacks=[recorder])
    return recorder.values


@pytest.fixture(scope="module")
def losses():
    """Return the losses of the training that the others are compared with."""
    return losses_of_training()


def test_every_epoch_trains_on_other_batches(losses):
    assert len(losses) == len(set(losses)) == 3 * 6
    assert not np.allclose(losses_of_training(seed=1), losses, rtol=1e-3)


def test_any_number_of_workers_trains_on_the_same_batches(losses):
    np.testing.assert_allclose(losses_of_training(workers=3), losses, rtol=1e-5)


def test_continued_training_gets_the_batches_of_the_uninterrupted_one(losses):
    np.testing.assert_allclose(losses_of_training(first_epoch=1), losses[6:], rtol=1e-5)


def test_pixel_weights_reach_the_loss(losses):
    weights = [np.full((8, 8, 1), 0.5, np.float32)] * 11
    np.testing.assert_allclose(losses_of_training(sample_weight=weights), np.array(losses) / 2, rtol=1e-4)


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (3, 3), (5, 5), (50, 7)])
def test_sample_returns_the_first_pairs_of_the_epoch(count, expected):
    images, masks = noise(7)
    batches = ImageDataGenerator(**EVERYTHING).flow(images, masks, batch_size=2)
    x, y = batches.sample(count)
    assert len(x) == len(y) == expected
    assert np.array_equal(x[:2], batches[0][0][:expected])


# --- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rotation_range": -1}, "rotation_range is -1; it must be from 0 to 360"),
        ({"rotation_range": 361}, "rotation_range is 361"),
        ({"width_shift_range": 1.5}, "width_shift_range is 1.5; it must be from 0 to 1"),
        ({"height_shift_range": -0.1}, "height_shift_range is -0.1"),
        ({"shear_range": 90}, "shear_range is 90; it must be from 0 to 89"),
        ({"probability": 1.1}, "probability is 1.1"),
        ({"rotation_range": float("nan")}, "rotation_range is nan"),
        ({"zoom_range": 1.0}, r"zoom_range is \(0.0, 2.0\); it must be \(low, high\) with 0 < low <= high"),
        ({"zoom_range": (1.2, 0.8)}, r"zoom_range is \(1.2, 0.8\)"),
        ({"zoom_range": (1, 1, 1)}, "zoom_range is"),
        ({"brightness_range": (0, 1)}, r"brightness_range is \(0, 1\)"),
        ({"brightness_range": (2, 1)}, "brightness_range is"),
        ({"fill_mode": "reflct"}, "FILL_MODE 'reflct' is not known; did you mean 'reflect'"),
    ],
)
def test_option_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ImageDataGenerator(**options)


def zeros(*shapes):
    return [np.zeros((*shape, 1), np.uint8) for shape in shapes]


@pytest.mark.parametrize(
    ("x", "y", "flow", "options", "message"),
    [
        (zeros((8, 8), (8, 8)), zeros((8, 8)), {}, {}, r"do not agree: \{'image': 2, 'mask': 1\}"),
        (zeros((8, 8)), zeros((8, 8)), {"sample_weight": []}, {}, r"do not agree: .*'mask': 1, 'weight map': 0"),
        ([], [], {}, {}, "got 0 images"),
        (zeros((8, 8)), zeros((8, 8)), {"batch_size": 0}, {}, "batch size 0"),
        (
            zeros((8, 8), (8, 9)),
            zeros((8, 8), (8, 8)),
            {},
            {},
            r"number 1 do not agree: \{'image': \(8, 9\), 'mask': \(8, 8\)\}",
        ),
        (
            zeros((8, 8), (9, 9)),
            zeros((8, 8), (9, 9)),
            {},
            {},
            r"image 1 is \(9, 9\), the first \(8, 8\).*Give crop_shape",
        ),
        (
            zeros((8, 12)),
            zeros((8, 12)),
            {},
            {"rotation90": True},
            r"rotation90 needs square crops; these are \(8, 12\)",
        ),
        (zeros((8, 8)), zeros((8, 8)), {"crop_shape": (4, 8)}, {"rotation90": True}, "rotation90 needs square crops"),
        (zeros((8, 8)), zeros((8, 8)), {"sample_weight": zeros((8, 9))}, {}, "weight"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(x, y, flow, options, message):
    with pytest.raises(ValueError, match=message):
        ImageDataGenerator(**options).flow(x, y, **flow)


@pytest.mark.parametrize(("probability_map", "low", "high"), [(None, 0, 20), ((0.9, 0.1), 160, 195), ((0, 1), 0, 25)])
def test_the_probability_map_decides_how_many_crops_are_centred_about_foreground(probability_map, low, high):
    mask = np.zeros((60, 70, 1), np.uint8)
    mask[30:34, 40:44] = 1
    flow = {"crop_shape": (9, 9), "samples_per_array": 100, "batch_size": 50, "probability_map": probability_map}
    batches = ImageDataGenerator().flow([mask, mask], [mask, mask], **flow)
    assert len(batches) == 4
    centres = sum(int((batches[index][1][:, 4, 4] > 0).sum()) for index in range(len(batches)))
    assert low <= centres <= high


def test_a_probability_map_that_can_do_nothing_is_refused():
    mask = np.zeros((16, 16, 1), np.uint8)
    with pytest.raises(ValueError, match="every image is as large as a crop"):
        ImageDataGenerator().flow([mask], [mask], crop_shape=(16, 16), probability_map=(0.9, 0.1))
    with pytest.raises(ValueError, match="samples_per_array is 0; it must be at least 1"):
        ImageDataGenerator().flow([mask], [mask], samples_per_array=0)


# --- z-scores


def test_a_network_is_trained_on_the_scores_that_it_predicts_from():
    score, (images, masks) = ZScore(0, 255, 90, 40), noise(3)
    x, _ = ImageDataGenerator().flow(images, masks, shuffle=False, intensity_range=score)[0]
    np.testing.assert_allclose(x, (np.stack(images).astype(float) - 90) / 40, atol=1e-5)
    assert np.array_equal(x, to_network_input(np.stack(images), score))


def test_augmentation_of_scores_stops_at_black_and_white_and_not_at_one_deviation():
    image, score = np.array([[[100], [40]]], np.uint8), ZScore(0, 150, 90, 40)
    flow = ImageDataGenerator(brightness_range=(2, 2)).flow([image], [image], intensity_range=score)
    np.testing.assert_allclose(flow[0][0].ravel(), [(150 - 90) / 40, (80 - 90) / 40], atol=1e-6)
