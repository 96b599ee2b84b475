"""Tests of what both generators share: every transform in two and three dimensions, through batches."""

import concurrent.futures

import numpy as np
import pytest
from scipy import ndimage

from generators.image_data_generator import ImageDataGenerator
from generators.pair_generator import SWITCHES
from generators.probability_map import ProbabilityMap
from generators.voxel_data_generator import VoxelDataGenerator

GENERATORS = {2: ImageDataGenerator, 3: VoxelDataGenerator}
INTENSITY = {
    "blur_sigma": (0.8, 2), "median_size": (3, 5), "motion_length": (3, 6), "brightness_range": (0.6, 0.9),
    "contrast_range": (0.6, 0.9), "gamma": (1.3, 2), "noise_std": (0.02, 0.1), "dropout": (0.05, 0.1),
    "missing_sections": (0.1, 0.3), "cutblur_size": (0.3, 0.5), "cutnoise_size": (0.3, 0.5), "cutout_size": (0.3, 0.5),
}  # fmt: skip
GEOMETRY = {"elastic_alpha": (1, 2), "misalignment": (2, 5), "cutmix_size": (0.3, 0.5)}
EVERYTHING = INTENSITY | GEOMETRY | {"rotation_range": 180, "horizontal_flip": True, "elastic_sigma": 6}
OPTIONS = {name: {name: value} for name, value in (INTENSITY | GEOMETRY).items()} | {"all": EVERYTHING}
OPTIONS["misalignment_rotation"] = {"misalignment": (2, 5), "misalignment_rotation": 1.0}
DIMENSIONS = pytest.mark.parametrize("n_axes", [2, 3])


def noise(count, n_axes, seed=0, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    shape = (6, 20, 20, 1)[3 - n_axes :]
    images = [rng.integers(20, np.iinfo(dtype).max, shape, dtype, endpoint=True) for _ in range(count)]
    return images, [(image > np.iinfo(dtype).max // 2).astype(np.uint8) for image in images]


def blobs(count, n_axes):
    """Return images that are 255 times their masks: smooth blobs without any symmetry."""
    rng, masks = np.random.default_rng(0), []
    for _ in range(count):
        field = ndimage.gaussian_filter(rng.random((16, 48, 48)[3 - n_axes :]), (2, 5, 5)[3 - n_axes :])
        masks.append((field > np.median(field)).astype(np.uint8)[..., np.newaxis])
    return [255 * mask for mask in masks], masks


def draw(generator, arrays, seed=0, shape=None, **options):
    options = {"limits": (0, 255)} | options
    return generator.random_sample(arrays, shape or arrays[0].shape, np.random.default_rng(seed), **options)


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def epoch_of(batches):
    return [part for index in range(len(batches)) for part in batches[index]]


# --- masks and weights


@DIMENSIONS
@pytest.mark.parametrize("isotropic", [False, True], ids=["anisotropic", "isotropic"])
@pytest.mark.parametrize(
    "options",
    [
        {"elastic_alpha": (1, 2)},
        {"misalignment": (2, 5)},
        {"misalignment": (2, 5), "misalignment_rotation": 1},
        {"cutmix_size": (0.3, 0.5)},
        GEOMETRY | {"rotation_range": 180, "horizontal_flip": True, "zoom_range": 0.2},
    ],
    ids=str,
)
def test_image_mask_and_weights_still_agree_after_any_geometry(n_axes, isotropic, options):
    images, masks = blobs(4, n_axes)
    weights = [mask.astype(np.float32) for mask in masks]
    options = options | ({"isotropic": isotropic} if n_axes == 3 else {})
    flow = {"batch_size": 4, "sample_weight": weights, "crop_shape": (10, 40, 40)[3 - n_axes :]}
    x, y, weight = GENERATORS[n_axes](**options, elastic_sigma=8).flow(images, masks, **flow)[0]
    np.testing.assert_allclose(weight, x, atol=0.01)
    assert ((x > 0.5) == y).mean() > 0.97
    near = (1, *(3,) * n_axes, 1)
    inside = ndimage.grey_erosion(y, near) == ndimage.grey_dilation(y, near)
    assert ((x > 0.5) == y)[inside].mean() > 0.99


@DIMENSIONS
@pytest.mark.parametrize("name", INTENSITY)
def test_what_changes_grey_values_leaves_masks_and_weights_bit_equal(n_axes, name):
    images, masks = noise(4, n_axes)
    flow = {"batch_size": 4, "sample_weight": [mask.astype(np.float32) for mask in masks]}
    plain = GENERATORS[n_axes]().flow(images, masks, **flow)[0]
    x, *others = GENERATORS[n_axes](**{name: INTENSITY[name]}).flow(images, masks, **flow)[0]
    assert same(others, plain[1:])
    assert x.min() >= 0
    assert x.max() <= 1 + 1e-6
    assert all(not np.allclose(a, b, atol=1e-3) for a, b in zip(x, plain[0], strict=True))


@DIMENSIONS
@pytest.mark.parametrize("name", ["misalignment", "cutmix_size", "misalignment_rotation"])
def test_what_moves_pixels_moves_masks_too(n_axes, name):
    images, masks = noise(4, n_axes)
    x, y = GENERATORS[n_axes](**OPTIONS[name]).flow(images, masks, batch_size=4, shuffle=False)[0]
    assert all(not np.array_equal(a, b) for a, b in zip(y, masks, strict=True))
    if name != "misalignment_rotation":  # whole pixels: nothing is interpolated
        found = np.rint(x * 255).astype(np.uint8)
        np.testing.assert_allclose(x * 255, found, atol=1e-3)
        assert np.array_equal(found > 127, y)


@DIMENSIONS
def test_cutout_may_zero_the_mask(n_axes):
    images, masks = noise(4, n_axes)
    masks = [np.ones_like(mask) for mask in masks]
    x, y = GENERATORS[n_axes](cutout_size=(0.3, 0.5), cutout_mask=True).flow(images, masks)[0]
    assert np.array_equal(x == 0, y == 0)
    assert (y == 0).any()


# --- one resampling


def test_a_misaligned_image_shows_its_true_surroundings():
    image = np.arange(60 * 64, dtype=np.uint16).reshape(60, 64, 1)
    generator = ImageDataGenerator(misalignment=(5, 5), fill_mode="constant", cval=-1)
    mask = np.zeros_like(image)
    mask[30, 32] = 1
    options = {"shape": (20, 30), "probability_map": ProbabilityMap(mask, (1, 0))}
    for seed in range(10):
        x, y = draw(generator, [image, image], seed, **options)
        assert np.array_equal(x, y)
        rows, columns = np.divmod(y[..., 0], 64)
        assert np.array_equal(rows, np.arange(20, 40)[:, np.newaxis] + 0 * columns)
        moves = columns - np.arange(17, 47)
        assert set(np.unique(moves)) in ({0, 5}, {0, -5})
        assert (moves == moves[:, :1]).all()


@pytest.mark.parametrize(
    "turn", [{}, {"rotation_range": 180}, {"horizontal_flip": True, "vertical_flip": True}], ids=str
)
def test_rows_move_along_the_rows_of_the_sample_however_it_is_turned(turn):
    y, x = np.indices((300, 300), np.float32)
    image = np.stack([y, x], axis=-1)  # where each pixel is
    generator = ImageDataGenerator(misalignment=(6, 6), **turn)
    for seed in range(10):
        sample, _ = draw(generator, [image, image], seed, shape=(40, 40))
        steps = np.linalg.norm(np.diff(sample, axis=0), axis=-1)
        rows = np.flatnonzero(steps.mean(axis=1) > 2)
        assert len(rows) == 1
        np.testing.assert_allclose(np.delete(steps, rows[0], axis=0), 1, atol=0.1)
        np.testing.assert_allclose(steps[rows[0]], 37**0.5, atol=0.1)  # one down and six along the row


@pytest.mark.parametrize("isotropic", [False, True])
def test_sections_move_in_their_plane_however_the_volume_is_turned(isotropic):
    volume = np.stack(np.indices((24, 60, 60), np.float32), axis=-1)
    generator = VoxelDataGenerator(misalignment=(5, 5), rotation90=True, z_flip=True, isotropic=isotropic)
    mask = np.zeros((24, 60, 60, 1), np.uint8)
    mask[12, 30, 30] = 1
    options = {"shape": (12, 20, 20), "probability_map": ProbabilityMap(mask, (1, 0))}
    for seed in range(8):
        sample, _ = draw(generator, [volume, volume], seed, **options)
        steps = np.diff(sample, axis=0).mean(axis=(1, 2))
        moves = np.linalg.norm(steps, axis=1)
        assert np.count_nonzero(moves > 1.01) in (1, 2)
        assert 4.5 < moves.max() < 6
        np.testing.assert_allclose(np.abs(steps).max(axis=1)[moves < 1.01], 1, atol=1e-4)


def test_elastic_displacement_in_the_plane_has_its_strength_and_is_smooth():
    y, x = np.indices((200, 200), np.float32)
    image = np.stack([y, x], axis=-1)
    generator, found = ImageDataGenerator(elastic_alpha=(3, 3), elastic_sigma=8), []
    for seed in range(10):
        sample, _ = draw(generator, [image, image], seed)
        found.append((sample - image)[10:-10, 10:-10])
    assert np.std(found) == pytest.approx(3, rel=0.1)
    # of white noise blurred by a Gaussian: the standard deviation of its slope is strength / (sqrt(2) sigma)
    assert np.std(np.diff(found, axis=1)) == pytest.approx(3 / (2**0.5 * 8), rel=0.15)


# --- cutmix


@DIMENSIONS
def test_boxes_come_from_another_image(n_axes):
    images = [np.full((6, 20, 20, 1)[3 - n_axes :], 10 * (number + 1), np.uint8) for number in range(4)]
    masks = [np.full_like(image, number) for number, image in enumerate(images)]
    generator, partners = GENERATORS[n_axes](cutmix_size=(0.3, 0.5)), set()
    batches = generator.flow(images, masks, batch_size=4, shuffle=False)
    for _ in range(25):
        x, y = batches[0]
        np.testing.assert_allclose(x * 255, 10 * (y + 1.0), atol=1e-3)
        for number, mask in enumerate(y):
            values, counts = np.unique(mask, return_counts=True)
            assert len(values) == 2
            share = counts[values != number][0] / mask.size
            assert 0.25**n_axes < share < 0.55**n_axes
            partners.add((number, *values[values != number].tolist()))
        batches.on_epoch_end()
    assert partners == {(a, b) for a in range(4) for b in range(4) if a != b}


@DIMENSIONS
def test_the_only_image_is_its_own_partner(n_axes):
    (image,), (mask,) = noise(1, n_axes)
    x, y = GENERATORS[n_axes](cutmix_size=(0.3, 0.5)).flow([image], [mask])[0]
    assert np.array_equal(np.rint(x[0] * 255) > 127, y[0])
    assert not np.array_equal(y[0], mask)
    sample = draw(GENERATORS[n_axes](cutmix_size=(0.3, 0.5)), [image, mask])
    assert np.array_equal(sample[0] > 127, sample[1])
    assert not np.array_equal(sample[1], mask)


def test_a_partner_of_another_dtype_has_the_same_black_and_white():
    images = [
        np.full((10, 10, 1), 255, np.uint8),
        np.full((10, 10, 1), 65_535, np.uint16),
        np.ones((10, 10, 1), np.float32),
    ]
    masks = [np.full((10, 10, 1), number, np.uint8) for number in range(3)]
    x, y = ImageDataGenerator(cutmix_size=(0.3, 0.5)).flow(images, masks, batch_size=3)[0]
    np.testing.assert_allclose(x, 1, atol=1e-6)
    assert all(len(np.unique(mask)) == 2 for mask in y)


def test_partners_follow_the_probability_map_and_may_be_of_any_size():
    images = [np.zeros((size, size, 1), np.uint8) for size in (12, 40, 25)]
    masks = [image.copy() for image in images]
    for mask in masks:
        mask[4, 6] = 1
    flow = {"crop_shape": (9, 9), "batch_size": 3, "probability_map": (1, 0)}
    x, y = ImageDataGenerator(cutmix_size=(1, 1), rotation_range=90).flow(images, masks, **flow)[0]
    assert x.shape == (3, 9, 9, 1)
    assert y[:, 4, 4].all()


def test_a_partner_is_drawn_only_when_it_is_needed():
    (image,), (mask,) = noise(1, 2)
    asked = []

    def partner(rng):
        asked.append(rng)
        return [image, mask], (0, 255), None

    for options, expected in (({}, 0), ({"cutmix_size": (0.2, 0.3)}, 20), (OPTIONS["cutout_size"], 0)):
        asked.clear()
        for seed in range(20):
            draw(ImageDataGenerator(**options), [image, mask], seed, draw_partner=partner)
        assert len(asked) == expected
    asked.clear()
    for seed in range(100):
        draw(ImageDataGenerator(cutmix_size=(0.2, 0.3), probability=0.3), [image, mask], seed, draw_partner=partner)
    assert 15 < len(asked) < 45


# --- probabilities


@DIMENSIONS
@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "all"])
def test_each_transform_happens_with_the_probability_of_all_or_its_own(n_axes, name):
    (image,), (mask,) = noise(1, n_axes)
    switch = "misalignment" if name == "misalignment_rotation" else name
    for probabilities, low, high in (({"probability": 0.3}, 9, 36), ({"probabilities": {switch: 0.7}}, 43, 68)):
        generator = GENERATORS[n_axes](**OPTIONS[name], **probabilities)
        found = [draw(generator, [image, mask], seed) for seed in range(80)]
        assert low < sum(not np.array_equal(sample[0], image) for sample in found) < high
    for probabilities in ({"probability": 0.0}, {"probabilities": {switch: 0}}):
        sample = draw(GENERATORS[n_axes](**OPTIONS[name], **probabilities), [image, mask])
        assert same(sample, [image, mask])


@DIMENSIONS
@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "all"])
def test_one_transform_does_not_change_the_draws_of_another(n_axes, name):
    (image,), (mask,) = noise(1, n_axes)
    added = {"median_size": (1, 1), "noise_std": (1e-9, 1e-9), "rotation_range": 1e-12, "elastic_alpha": (1e-9, 1e-9)}
    added |= {"missing_sections": (1e-9, 1e-9)} if n_axes == 2 else {"misalignment": (0, 0)}
    alone = draw(GENERATORS[n_axes](**OPTIONS[name]), [image, mask], 3)
    both = draw(GENERATORS[n_axes](**added | OPTIONS[name]), [image, mask], 3)
    np.testing.assert_allclose(alone[0], both[0], atol=0.01)
    assert (alone[1] == both[1]).mean() > 0.99


def test_every_switch_is_an_option_and_may_have_its_own_probability():
    for generator in GENERATORS.values():
        assert generator(probabilities=dict.fromkeys(SWITCHES, 0.5)).probability_of == dict.fromkeys(SWITCHES, 0.5)
        assert set(SWITCHES) <= set(vars(generator()))
        assert set(SWITCHES) == {*INTENSITY, *GEOMETRY}


# --- batches


@DIMENSIONS
@pytest.mark.parametrize("name", ["all", "cutmix_size"])
def test_same_seed_gives_the_same_batches_in_any_order_of_asking(n_axes, name):
    images, masks = noise(5, n_axes)
    first, second = (GENERATORS[n_axes](**OPTIONS[name]).flow(images, masks, batch_size=2, seed=4) for _ in range(2))
    backwards = [second[index] for index in reversed(range(3))][::-1]
    assert same(epoch_of(first), [part for batch in backwards for part in batch])
    second.on_epoch_end()
    assert not any(np.array_equal(a, b) for a, b in zip(epoch_of(first)[::2], epoch_of(second)[::2], strict=True))


@DIMENSIONS
def test_any_number_of_threads_gets_the_same_batches(n_axes):
    images, masks = noise(12, n_axes)
    batches = GENERATORS[n_axes](**EVERYTHING).flow(images, masks, batch_size=1)
    alone = [batches[index] for index in range(12)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(batches.__getitem__, range(12)))
    assert all(same(first, second) for first, second in zip(alone, together, strict=True))


@DIMENSIONS
def test_the_given_arrays_and_the_global_random_state_are_left_alone(n_axes):
    images, masks = noise(3, n_axes)
    before = [array.copy() for array in images + masks]
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    epoch_of(GENERATORS[n_axes](**EVERYTHING, cutout_mask=True).flow(images, masks))
    assert np.random.random() == expected
    assert same(before, images + masks)


@DIMENSIONS
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("channels", [2, 3])
def test_channels_are_kept_and_moved_alike(n_axes, name, channels):
    grey, masks = noise(3, n_axes)
    images = [np.repeat(image, channels, axis=-1) for image in grey]
    x, y = GENERATORS[n_axes](**OPTIONS[name]).flow(images, masks, batch_size=3)[0]
    assert x.shape == (3, *images[0].shape)
    assert y.shape == (3, *masks[0].shape)
    if name not in ("all", "noise_std"):  # noise is independent in each channel
        np.testing.assert_allclose(x, np.repeat(x[..., :1], channels, axis=-1), atol=1e-6)


@DIMENSIONS
@pytest.mark.parametrize("name", OPTIONS)
def test_a_stated_range_of_grey_values_is_respected(n_axes, name):
    images, masks = noise(2, n_axes)
    floats = [image.astype(np.float32) * 4 - 300 for image in images]
    options = {"batch_size": 2, "shuffle": False}
    x, _ = GENERATORS[n_axes](**OPTIONS[name]).flow(images, masks, **options)[0]
    scaled, _ = GENERATORS[n_axes](**OPTIONS[name]).flow(floats, masks, intensity_range=(-300, 720), **options)[0]
    if name in ("brightness_range", "all"):  # a factor of the stored values, whose zero is elsewhere
        assert scaled.min() >= 0
        assert scaled.max() <= 1
    else:
        np.testing.assert_allclose(scaled, x, atol=2e-5)


# --- errors


@DIMENSIONS
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"elastic_alpha": 3}, r"elastic_alpha is 3; it must be \(low, high\)"),
        ({"elastic_sigma": 0}, "elastic_sigma is 0; it must be from 1 to 1000"),
        ({"misalignment": 16}, "misalignment is 16; it must be two whole numbers"),
        ({"blur_sigma": (2, 1)}, r"blur_sigma is \(2, 1\)"),
        ({"median_size": (2, 2)}, "median_size is"),
        ({"missing_sections": (0.5, 2)}, "missing_sections is"),
        ({"missing_fill": 255}, r"missing_fill is 255; it must be a number from 0 \(black\)"),
        ({"cutmix_size": (0.5, 2)}, "cutmix_size is"),
        ({"cut_count": 2}, "cut_count is 2; it must be two whole numbers"),
        ({"probabilities": {"cutmix": 0.5}}, "'cutmix' is not known; did you mean 'cutmix_size'"),
        ({"probabilities": {"gamma": 1.5}}, r"probabilities\['gamma'\] is 1.5; it must be from 0 to 1"),
    ],
)
def test_impossible_options_are_refused(n_axes, options, message):
    with pytest.raises(ValueError, match=message):
        GENERATORS[n_axes](**options)


def test_only_volumes_have_neighbours():
    assert VoxelDataGenerator(missing_sections=(0.1, 0.2), missing_fill="neighbour").sections["missing_fill"]
    with pytest.raises(ValueError, match="missing_fill is 'neighbour'"):
        ImageDataGenerator(missing_fill="neighbour")
