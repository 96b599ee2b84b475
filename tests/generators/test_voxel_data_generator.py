"""Tests of augmented batches of volumes."""

import collections

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from generators.geometry import FILL_MODES
from generators.voxel_data_generator import VoxelDataGenerator

EXACT = {"horizontal_flip": True, "vertical_flip": True, "z_flip": True, "rotation90": True}
RESAMPLING = {
    "rotation_range": 180, "width_shift_range": 0.2, "height_shift_range": 0.3, "depth_shift_range": 0.3,
    "shear_range": 20, "zoom_range": 0.3, "elastic_alpha": (1, 2), "elastic_sigma": 6,
}  # fmt: skip
INTENSITY = {
    "blur_sigma": (0.5, 2), "brightness_range": (0.6, 0.9), "contrast_range": (0.6, 0.9), "gamma": (1.2, 2),
    "noise_std": (0.02, 0.1),
}  # fmt: skip
GEOMETRY = EXACT | RESAMPLING
EVERYTHING = GEOMETRY | INTENSITY
OPTIONS = {name: {name: value} for name, value in GEOMETRY.items() if name != "elastic_sigma"} | {"all": GEOMETRY}
CUBE = (16, 16, 16)


def noise(count, shape=(8, 12, 12), dtype=np.uint8, channels=1):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, np.iinfo(dtype).max, (*shape, channels), dtype, endpoint=True) for _ in range(count)]
    return images, [(image[..., :1] > np.iinfo(dtype).max // 2).astype(np.uint8) for image in images]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def epoch_of(batches):
    return [part for index in range(len(batches)) for part in batches[index]]


def draw(generator, arrays, shape=None, seed=0, **options):
    options = {"limits": (0, 255)} | options
    return generator.random_sample(arrays, shape or arrays[0].shape, np.random.default_rng(seed), **options)


@pytest.fixture
def agreeing():
    """Return volumes that are 255 times their masks: smooth blobs without any symmetry."""
    rng, masks = np.random.default_rng(0), []
    for _ in range(4):
        field = ndimage.gaussian_filter(rng.random((24, 24, 24)), 3.5, mode="reflect")
        masks.append((field > np.median(field)).astype(np.uint8)[..., np.newaxis])
    return [255 * mask for mask in masks], masks


# --- volume, mask and weights go together


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("isotropic", [False, True], ids=["anisotropic", "isotropic"])
def test_volume_mask_and_weight_still_agree_after_any_geometry(agreeing, options, fill_mode, isotropic):
    images, masks = agreeing
    weights = [mask.astype(np.float32) for mask in masks]
    generator = VoxelDataGenerator(**options, fill_mode=fill_mode, isotropic=isotropic)
    x, y, weight = generator.flow(images, masks, batch_size=4, crop_shape=CUBE, sample_weight=weights)[0]
    assert x.shape == y.shape == weight.shape == (4, *CUBE, 1)
    assert (x.dtype, y.dtype, weight.dtype) == (np.float32, np.uint8, np.float32)
    assert set(np.unique(y)) == {0, 1}
    np.testing.assert_allclose(weight, x, atol=0.01)
    if set(options) <= set(EXACT):
        assert np.array_equal(x, y)
    else:  # where linear interpolation crosses one half, the nearest voxel changes: but for the corners of the blobs
        assert ((x > 0.5) == y).mean() > 0.97
        inside = ndimage.grey_erosion(y, (1, 3, 3, 3, 1)) == ndimage.grey_dilation(y, (1, 3, 3, 3, 1))
        assert ((x > 0.5) == y)[inside].mean() > 0.999


def test_every_sample_has_its_own_geometry(agreeing):
    image, mask = agreeing[0][0], agreeing[1][0]
    _, y = VoxelDataGenerator(rotation_range=180).flow([image] * 4, [mask] * 4, batch_size=4)[0]
    assert len({sample.tobytes() for sample in y}) == 4


@pytest.mark.parametrize("isotropic", [False, True], ids=["anisotropic", "isotropic"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_each_geometric_option_has_an_effect(options, isotropic):
    images, masks = noise(8)
    generator = VoxelDataGenerator(**options, isotropic=isotropic)
    x, y = generator.flow(images, masks, batch_size=8, shuffle=False)[0]
    assert not np.array_equal(x, np.stack(images) / np.float32(255))
    assert not np.array_equal(y, masks)


@pytest.mark.parametrize("name", INTENSITY)
def test_each_intensity_option_changes_volumes_and_leaves_masks_bit_equal(name):
    images, masks = noise(4)
    plain = VoxelDataGenerator().flow(images, masks, batch_size=4)[0]
    x, y = VoxelDataGenerator(**{name: INTENSITY[name]}).flow(images, masks, batch_size=4)[0]
    assert np.array_equal(y, plain[1])
    assert x.min() >= 0
    assert x.max() <= 1
    assert all(not np.allclose(a, b, atol=1e-3) for a, b in zip(x, plain[0], strict=True))


def test_without_options_or_at_probability_0_pairs_are_only_scaled():
    images, masks = noise(5)
    for options in ({}, RESAMPLING | INTENSITY | {"probability": 0}, dict.fromkeys(INTENSITY, 0)):
        x, y = VoxelDataGenerator(**options).flow(images, masks, batch_size=5, shuffle=False)[0]
        np.testing.assert_allclose(x, np.stack(images) / 255, atol=1e-6)
        assert np.array_equal(y, masks)


@pytest.mark.parametrize("isotropic", [False, True], ids=["anisotropic", "isotropic"])
@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_kept_and_treated_alike(channels, isotropic):
    grey, masks = noise(2)
    x = [np.repeat(image, channels, axis=-1) for image in grey]
    images, y = VoxelDataGenerator(**GEOMETRY, isotropic=isotropic).flow(x, masks, batch_size=2)[0]
    assert images.shape == (2, 8, 12, 12, channels)
    assert y.shape == (2, 8, 12, 12, 1)
    np.testing.assert_allclose(images, np.repeat(images[..., :1], channels, axis=-1), atol=1e-6)


# --- the single options


@pytest.mark.parametrize(
    ("option", "mirrored"),
    [("z_flip", np.s_[::-1]), ("vertical_flip", np.s_[:, ::-1]), ("horizontal_flip", np.s_[:, :, ::-1])],
)
def test_flips_happen_to_about_half_of_the_samples(option, mirrored):
    (image,), (mask,) = noise(1, (3, 4, 5))
    generator = VoxelDataGenerator(**{option: True})
    found = [draw(generator, [image, mask], seed=seed)[0] for seed in range(200)]
    flipped = sum(np.array_equal(f, image[mirrored]) for f in found)
    assert flipped + sum(np.array_equal(f, image) for f in found) == 200
    assert 70 < flipped < 130


@pytest.mark.parametrize(
    ("options", "shape", "count"),
    [
        ({"rotation90": True}, (4, 4, 4), 4),
        (EXACT, (4, 4, 4), 16),
        ({"rotation90": True, "isotropic": True}, (3, 4, 4), 4),
        ({"rotation90": True, "isotropic": True}, (4, 4, 4), 24),
        (EXACT | {"isotropic": True}, (4, 4, 4), 48),
    ],
)
def test_right_angle_turns_reach_every_orientation_equally_often(options, shape, count):
    image = np.arange(np.prod(shape), dtype=np.uint16).reshape(*shape, 1) * 257
    generator, n_draws = VoxelDataGenerator(**options), 60 * count
    found = collections.Counter()
    for seed in range(n_draws):
        turned, mask = draw(generator, [image, image], seed=seed)
        assert np.array_equal(turned, mask)
        found[mask.tobytes()] += 1
    assert len(found) == count
    assert min(found.values()) > 25
    assert max(found.values()) < 110


@pytest.mark.parametrize(("option", "axis"), [("depth", 0), ("height", 1), ("width", 2)])
@pytest.mark.parametrize("isotropic", [False, True], ids=["anisotropic", "isotropic"])
def test_shifts_move_along_their_axis_up_to_their_range(option, axis, isotropic):
    shape = (12, 16, 20)
    mask = np.zeros((*shape, 1), np.uint8)
    mask[6, 8, 10] = 1
    generator = VoxelDataGenerator(**{f"{option}_shift_range": 0.25}, fill_mode="constant", isotropic=isotropic)
    masks = [draw(generator, [mask, mask], seed=seed)[1][..., 0] for seed in range(100)]
    places = np.array([np.unravel_index(m.argmax(), shape) for m in masks]) - (6, 8, 10)
    limit = 0.25 * shape[axis]
    assert not np.delete(places, axis, axis=1).any()
    assert 0.6 * limit < places[:, axis].max() <= limit + 1
    assert -limit - 1 <= places[:, axis].min() < -0.6 * limit


@pytest.mark.parametrize("isotropic", [False, True], ids=["anisotropic", "isotropic"])
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_zoom_factor_below_one_magnifies_along_z_only_with_isotropic_voxels(factor, isotropic):
    mask = np.zeros((24, 24, 24, 1), np.uint8)
    mask[9:15, 9:15, 9:15] = 1
    generator = VoxelDataGenerator(zoom_range=(factor, factor), fill_mode="constant", isotropic=isotropic)
    found = draw(generator, [mask, mask])[1][..., 0]
    extent = [int(found.any(axis=tuple({0, 1, 2} - {axis})).sum()) for axis in range(3)]
    assert extent == [6 / factor if isotropic else 6, 6 / factor, 6 / factor]


def drawn_geometries(monkeypatch, generator, count):
    """Return the matrix and the displacement of some samples, without resampling them."""
    seen = []

    def record(matrix, corner, shape, sizes, *, displacement, fault, fill_mode):
        seen.append((matrix, displacement))
        raise StopIteration

    monkeypatch.setattr("generators.voxel_data_generator.volume_resampling", record)
    for seed in range(count):
        with pytest.raises(StopIteration):
            draw(generator, noise(1, CUBE)[0] * 2, seed=seed)
    return seen


@pytest.mark.parametrize("isotropic", [False, True], ids=["anisotropic", "isotropic"])
def test_rotation_is_about_z_and_with_isotropic_voxels_about_y_and_x_too(monkeypatch, isotropic):
    generator = VoxelDataGenerator(rotation_range=30, isotropic=isotropic)
    turns = [matrix[:3, :3] for matrix, _ in drawn_geometries(monkeypatch, generator, 50)]
    angles = np.abs(Rotation.from_matrix(turns).as_euler("XYZ", degrees=True))  # about x, y, z
    assert angles.max() <= 30 + 1e-6
    assert (angles.max(axis=0) > 25).tolist() == [isotropic, isotropic, True]


@pytest.mark.parametrize("isotropic", [False, True], ids=["anisotropic", "isotropic"])
def test_elastic_displaces_by_its_strength_and_as_smoothly_along_z(monkeypatch, isotropic):
    generator = VoxelDataGenerator(elastic_alpha=(3, 3), elastic_sigma=2, isotropic=isotropic)
    displacements = np.array([found for _, found in drawn_geometries(monkeypatch, generator, 20)])
    assert displacements.shape == (20, 3 if isotropic else 2, *CUBE)
    np.testing.assert_allclose(displacements.std(axis=(0, 2, 3, 4)), 3, rtol=0.1)
    steps = [np.diff(displacements, axis=axis).std() for axis in (2, 3, 4)]
    np.testing.assert_allclose(steps, steps[0], rtol=0.1)


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.3, 35, 85), (1.0, 200, 200)])
@pytest.mark.parametrize("options", [{"rotation_range": 90}, {"elastic_alpha": (1, 2)}, {"gamma": (2, 3)}], ids=str)
def test_probability_is_the_share_of_changed_samples(probability, low, high, options):
    (image,), (mask,) = noise(1, (2, 6, 6))
    generator = VoxelDataGenerator(**options, probability=probability)
    found = [draw(generator, [image, mask], seed=seed)[0] for seed in range(200)]
    assert low <= sum(not np.array_equal(f, image) for f in found) <= high


@pytest.mark.parametrize("added", [EXACT, {"shear_range": 5}, {"elastic_alpha": (1, 2)}, INTENSITY], ids=str)
def test_one_option_does_not_change_the_draws_of_another(added, monkeypatch):
    alone, both = (
        VoxelDataGenerator(height_shift_range=0.3, depth_shift_range=0.3, **options) for options in ({}, added)
    )
    for (first, _), (second, _) in zip(*(drawn_geometries(monkeypatch, g, 5) for g in (alone, both)), strict=True):
        assert first[:3, 3].any()
        assert np.array_equal(first[:3, 3], second[:3, 3])


def test_constant_fills_volumes_with_cval_and_masks_and_weights_with_zero():
    arrays = [np.ones((*CUBE, 1), dtype) for dtype in (np.uint8, np.uint8, np.float32)]
    for isotropic in (False, True):
        generator = VoxelDataGenerator(zoom_range=(4, 4), fill_mode="constant", cval=77, isotropic=isotropic)
        sample = draw(generator, arrays)
        assert [array[8, 0, 0, 0] for array in sample] == [77, 0, 0]
        assert [array[8, 8, 8, 0] for array in sample] == [1, 1, 1]


# --- slices stay slices unless voxels are isotropic


def one_value_per_slice(depth, size=12):
    values = np.arange(depth, dtype=np.uint8).reshape(depth, 1, 1, 1) * np.uint8(10)
    return np.broadcast_to(values, (depth, size, size, 1))


@pytest.mark.parametrize("depth_shift_range", [0, 0.4])
def test_without_isotropic_voxels_every_slice_comes_from_one_slice(depth_shift_range):
    volume = one_value_per_slice(8)
    generator = VoxelDataGenerator(**GEOMETRY | {"depth_shift_range": depth_shift_range, "zoom_range": 0.6})
    orders = set()
    for seed in range(30):
        sample = draw(generator, [volume, volume], seed=seed)[0]
        assert np.array_equal(sample, np.broadcast_to(sample[:, :1, :1], sample.shape))
        assert set(np.unique(sample)) <= set(np.unique(volume))
        orders.add(tuple(sample[:, 0, 0, 0].astype(int).tolist()))
    straight = tuple(range(0, 80, 10))
    assert {straight, straight[::-1]} <= orders
    assert (len(orders) == 2) == (depth_shift_range == 0)


@pytest.mark.parametrize(
    "options",
    [{"rotation_range": 40}, {"zoom_range": (0.7, 0.8)}, {"elastic_alpha": (1, 2)}, {"depth_shift_range": 0.4}],
    ids=str,
)
def test_isotropic_voxels_mix_slices(options):
    sample = draw(VoxelDataGenerator(**options, isotropic=True), [one_value_per_slice(12)] * 2)[0]
    assert not set(np.unique(sample)) <= set(range(0, 120, 10))


# --- dtypes and grey values


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_volumes_are_scaled_by_their_dtype(dtype):
    images, masks = noise(3, dtype=dtype)
    x, _ = VoxelDataGenerator().flow(images, masks, batch_size=3, shuffle=False)[0]
    np.testing.assert_allclose(x, np.stack(images) / np.iinfo(dtype).max, atol=1e-6)


def test_volumes_of_different_dtypes_are_each_scaled_by_their_own():
    whites = {np.uint8: 255, np.uint16: 65_535, np.float16: 1, np.float64: 1}
    volumes = [np.full((4, 8, 8, 1), white, dtype) for dtype, white in whites.items()]
    masks = [np.ones((4, 8, 8, 1), np.int32)] * 4
    for isotropic in (False, True):
        generator = VoxelDataGenerator(**RESAMPLING, isotropic=isotropic)
        x, y = generator.flow(volumes, masks, batch_size=4, shuffle=False)[0]
        np.testing.assert_allclose(x, 1, atol=1e-6)
        assert y.dtype == np.int32


def test_a_stated_range_is_used_for_scaling_and_by_the_intensity_transforms():
    images, masks = noise(3)
    options = {"batch_size": 3, "shuffle": False, "intensity_range": (50, 100)}
    x, _ = VoxelDataGenerator().flow(images, masks, **options)[0]
    expected = np.clip((np.stack(images) - 50.0) / 50, 0, 1)
    np.testing.assert_allclose(x, expected, atol=1e-6)
    x, _ = VoxelDataGenerator(gamma=(2, 2)).flow(images, masks, **options)[0]
    np.testing.assert_allclose(x, expected**2, atol=1e-5)


# --- subvolumes


def places(shape=(10, 12, 14)):
    """Return a volume whose every voxel says where it is."""
    return np.arange(np.prod(shape), dtype=np.uint16).reshape(*shape, 1)


@pytest.mark.parametrize("crop_shape", [(4, 6, 5), (4, 6, 5, 1)])
def test_random_subvolumes_are_true_windows_of_larger_volumes(crop_shape):
    volume = places()
    batches = VoxelDataGenerator().flow([volume] * 2, [volume] * 2, crop_shape=crop_shape, samples_per_array=100)
    corners = set()
    for index in range(len(batches)):
        x, y = batches[index]
        corner = tuple(map(int, np.unravel_index(y[0, 0, 0, 0, 0], volume.shape[:3])))
        window = tuple(slice(start, start + size) for start, size in zip(corner, (4, 6, 5), strict=True))
        assert np.array_equal(y[0], volume[window])
        assert np.array_equal(np.rint(x[0] * 65_535), volume[window])
        corners.add(corner)
    assert len(batches) == 200
    assert len(corners) > 120
    assert np.max(list(corners), axis=0).tolist() == [6, 6, 9]
    assert np.min(list(corners), axis=0).tolist() == [0, 0, 0]


@pytest.mark.parametrize("isotropic", [False, True], ids=["anisotropic", "isotropic"])
def test_what_surrounds_a_subvolume_is_used_before_the_fill_mode(isotropic):
    volume = np.full((20, 20, 20, 1), 100, np.uint8)
    mask = np.zeros_like(volume)
    mask[10, 10, 10] = 1  # the subvolume is centred about it
    options = {"rotation_range": 45, "zoom_range": (1.0, 1.5), "depth_shift_range": 0.2, "elastic_alpha": (0.5, 1)}
    generator = VoxelDataGenerator(**options, fill_mode="constant", cval=0, isotropic=isotropic)
    batches = generator.flow([volume], [mask], crop_shape=(6, 6, 6), samples_per_array=20, probability_map=(1, 0))
    for index in range(20):
        np.testing.assert_allclose(batches[index][0], 100 / 255, rtol=1e-5)


def test_volumes_of_different_sizes_are_padded_where_needed():
    volumes = [np.full((*shape, 1), 51, np.uint8) for shape in [(4, 10, 20), (20, 4, 10), (8, 8, 8), (2, 3, 1)]]
    flow = {"crop_shape": (8, 8, 8), "batch_size": 4, "probability_map": (0.9, 0.1)}
    x, y = VoxelDataGenerator(rotation_range=90).flow(volumes, volumes, **flow)[0]
    assert x.shape == y.shape == (4, 8, 8, 8, 1)
    np.testing.assert_allclose(x, 0.2, atol=1e-6)


@pytest.mark.parametrize(("probability_map", "low", "high"), [(None, 0, 12), ((0.9, 0.1), 160, 195), ((0, 1), 0, 25)])
def test_the_probability_map_decides_how_many_subvolumes_are_centred_about_foreground(probability_map, low, high):
    mask = np.zeros((16, 16, 16, 1), np.uint8)
    mask[5:7, 8:11, 6:9] = 1
    flow = {"crop_shape": (5, 5, 5), "samples_per_array": 200, "batch_size": 200, "probability_map": probability_map}
    _, y = VoxelDataGenerator().flow([mask], [mask], **flow)[0]
    assert low <= int(y[:, 2, 2, 2, 0].sum()) <= high


def test_the_probability_map_acts_inside_each_volume():
    masks = [np.zeros((8, 8, 8, 1), np.uint8) for _ in range(3)]
    masks[1][2, 2, 2] = 1
    flow = {"crop_shape": (3, 3, 3), "samples_per_array": 20, "batch_size": 60, "shuffle": False}
    volumes = [mask + np.uint8(number) for number, mask in enumerate([0 * mask for mask in masks])]
    x, y = VoxelDataGenerator().flow(volumes, masks, probability_map=(1, 0), **flow)[0]
    numbers = np.rint(x[:, 0, 0, 0, 0] * 255).astype(int)
    assert np.array_equal(numbers, np.tile([0, 1, 2], 20))
    assert np.array_equal(y[:, 1, 1, 1, 0], numbers == 1)


def test_views_of_a_large_volume_are_used_and_not_copied():
    large = np.zeros((40, 40, 40, 1), np.uint8)
    blocks = [large[z : z + 20, 5:25, ::2] for z in (0, 20)]
    batches = VoxelDataGenerator(**GEOMETRY).flow(blocks, blocks, crop_shape=(8, 8, 8))
    assert all(np.shares_memory(array, large) for arrays in batches._parts for array in arrays)
    assert batches[0][0].shape == (1, 8, 8, 8, 1)


# --- batches


def test_every_volume_comes_as_often_as_stated_in_a_new_order_each_epoch():
    volumes = [np.full((2, 4, 4, 1), number, np.uint8) for number in range(5)]
    batches = VoxelDataGenerator().flow(volumes, volumes, batch_size=4, samples_per_array=3)
    orders = []
    for _ in range(2):
        assert [len(batches[index][0]) for index in range(len(batches))] == [4, 4, 4, 3]
        orders.append([int(mask[0, 0, 0, 0]) for index in range(4) for mask in batches[index][1]])
        batches.on_epoch_end()
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted([*range(5)] * 3)


def test_arrays_are_accepted_as_well_as_lists():
    images, masks = noise(3)
    generator = VoxelDataGenerator(**EVERYTHING)
    assert same(generator.flow(images, masks)[0], generator.flow(np.stack(images), np.stack(masks))[0])


@pytest.mark.parametrize("isotropic", [False, True], ids=["anisotropic", "isotropic"])
def test_same_seed_gives_the_same_batches_in_any_order_of_asking(isotropic):
    images, masks = noise(5)
    flow = {"batch_size": 2, "seed": 5, "crop_shape": (6, 8, 8), "samples_per_array": 2, "probability_map": (2, 1)}
    generators = [VoxelDataGenerator(**EVERYTHING, isotropic=isotropic) for _ in range(2)]
    first, second = (generator.flow(images, masks, **flow) for generator in generators)
    backwards = [second[index] for index in reversed(range(5))][::-1]
    assert same(epoch_of(first), [part for batch in backwards for part in batch])
    assert same(epoch_of(first), epoch_of(first))


@pytest.mark.parametrize("change", ["seed", "epoch"])
def test_other_seed_or_epoch_gives_other_batches(change):
    images, masks = noise(4)
    first, second = (VoxelDataGenerator(**EVERYTHING).flow(images, masks, batch_size=2) for _ in range(2))
    setattr(second, change, 1)
    assert not any(np.array_equal(a, b) for a, b in zip(epoch_of(first), epoch_of(second), strict=True))


def test_end_of_an_epoch_and_setting_the_epoch_are_the_same():
    images, masks = noise(3)
    first, second = (VoxelDataGenerator(**EVERYTHING).flow(images, masks) for _ in range(2))
    first.on_epoch_end()
    second.epoch = 1
    assert same(first[0], second[0])


def losses_of_training(workers):
    """Return the losses of two epochs of a model that never changes: they tell the batches and their order."""
    import keras

    images, masks = noise(5, (4, 8, 8))
    weights = [mask + np.float32(0.5) for mask in masks]
    batches = VoxelDataGenerator(**EVERYTHING).flow(images, masks, batch_size=2, workers=workers, sample_weight=weights)
    inputs = keras.Input((4, 8, 8, 1))
    outputs = keras.layers.Conv3D(1, 1, activation="sigmoid", kernel_initializer="ones")(inputs)
    model, losses = keras.Model(inputs, outputs), []
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    recorder = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: losses.append(logs["loss"]))
    model.fit(batches, epochs=2, shuffle=False, verbose=0, callbacks=[recorder])
    return losses


def test_any_number_of_workers_trains_on_the_same_batches():
    losses = losses_of_training(workers=1)
    assert len(losses) == len(set(losses)) == 6
    np.testing.assert_allclose(losses_of_training(workers=3), losses, rtol=1e-5)


def test_the_given_arrays_and_the_global_random_state_are_left_alone():
    images, masks = noise(3)
    before = [array.copy() for array in images + masks]
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    epoch_of(VoxelDataGenerator(**EVERYTHING).flow(images, masks))
    assert np.random.random() == expected
    assert same(before, images + masks)


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (3, 3), (50, 5)])
def test_sample_returns_the_first_pairs_of_the_epoch(count, expected):
    images, masks = noise(5)
    batches = VoxelDataGenerator(**EVERYTHING).flow(images, masks, batch_size=2)
    x, y = batches.sample(count)
    assert len(x) == len(y) == expected
    assert np.array_equal(x[:2], batches[0][0][:expected])


# --- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rotation_range": -1}, "rotation_range is -1; it must be from 0 to 360"),
        ({"rotation_range": float("nan")}, "rotation_range is nan"),
        ({"width_shift_range": 1.5}, "width_shift_range is 1.5; it must be from 0 to 1"),
        ({"height_shift_range": -0.1}, "height_shift_range is -0.1"),
        ({"depth_shift_range": 2}, "depth_shift_range is 2; it must be from 0 to 1"),
        ({"shear_range": 90}, "shear_range is 90; it must be from 0 to 89"),
        ({"elastic_sigma": 0}, "elastic_sigma is 0; it must be from 1 to 1000"),
        ({"probability": 1.1}, "probability is 1.1"),
        ({"zoom_range": 1.0}, r"zoom_range is \(0.0, 2.0\); it must be \(low, high\) with 0 < low <= high"),
        ({"zoom_range": (1.2, 0.8)}, r"zoom_range is \(1.2, 0.8\)"),
        ({"elastic_alpha": 3}, r"elastic_alpha is 3; it must be \(low, high\) with 0 <= low <= high, e.g. \(1, 3\)"),
        ({"elastic_alpha": (-1, 3)}, "elastic_alpha is"),
        ({"blur_sigma": (2, 1)}, r"blur_sigma is \(2, 1\); it must be \(low, high\) with 0 <= low <= high"),
        ({"blur_sigma": (1,)}, r"blur_sigma is \(1,\)"),
        ({"brightness_range": (0, 1)}, r"brightness_range is \(0, 1\); it must be \(low, high\) with 0 < low"),
        ({"contrast_range": (0, 1)}, "contrast_range is"),
        ({"gamma": [-1, 1]}, r"gamma is \(-1, 1\)"),
        ({"gamma": (1, float("nan"))}, "gamma is"),
        ({"noise_std": (1, 2, 3)}, "noise_std is"),
        ({"noise_std": ()}, "noise_std is"),
        ({"fill_mode": "reflct"}, "FILL_MODE 'reflct' is not known; did you mean 'reflect'"),
    ],
)
def test_option_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        VoxelDataGenerator(**options)


def zeros(*shapes):
    return [np.zeros((*shape, 1), np.uint8) for shape in shapes]


ONE, TWO = zeros((4, 8, 8)), zeros((4, 8, 8), (4, 8, 8))


@pytest.mark.parametrize(
    ("x", "y", "flow", "options", "message"),
    [
        (TWO, ONE, {}, {}, r"do not agree: \{'volume': 2, 'mask': 1\}"),
        (ONE, ONE, {"sample_weight": []}, {}, r"do not agree: .*'mask': 1, 'weight map': 0"),
        ([], [], {}, {}, "got 0 volumes"),
        (ONE, ONE, {"batch_size": 0}, {}, "batch size 0"),
        (ONE, ONE, {"samples_per_array": 0}, {}, "samples_per_array is 0; it must be at least 1"),
        (zeros((4, 8, 9)), ONE, {}, {}, r"sizes \(z, y, x\) of number 0 do not agree: \{'volume': \(4, 8, 9\), 'mask'"),
        (ONE, ONE, {"sample_weight": zeros((4, 8, 9))}, {}, "do not agree.*'weight map'"),
        (zeros((8, 8)), zeros((8, 8)), {}, {}, r"volume 0 has the shape \(8, 8, 1\); wanted \(z, y, x, channels\)"),
        (ONE, [ONE[0][..., 0]], {}, {}, r"mask 0 has the shape \(4, 8, 8\)"),
        (ONE, ONE, {"crop_shape": (8, 8)}, {}, r"crop_shape is \(8, 8\); wanted positive sizes \(z, y, x\)"),
        (ONE, ONE, {"crop_shape": (0, 8, 8)}, {}, r"crop_shape is \(0, 8, 8\)"),
        (
            zeros((4, 8, 8), (5, 8, 8)),
            zeros((4, 8, 8), (5, 8, 8)),
            {},
            {},
            r"volume 1 is \(5, 8, 8\), the first \(4, 8, 8\) \(z, y, x\). Give crop_shape=\(z, y, x\) for volumes",
        ),
        (
            zeros((8, 8, 12)),
            zeros((8, 8, 12)),
            {},
            {"rotation90": True},
            r"rotation90 needs square crops; these are \(8, 8, 12\) \(z, y, x\). Turn it off or change the crop",
        ),
        (ONE, ONE, {"crop_shape": (4, 4, 8)}, {"rotation90": True}, "rotation90 needs square crops"),
        (ONE, ONE, {"probability_map": (-1, 1)}, {}, r"probability_map is \(-1, 1\); it must be"),
        (ONE, ONE, {"probability_map": (0, 0)}, {}, r"probability_map is \(0, 0\)"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(x, y, flow, options, message):
    with pytest.raises(ValueError, match=message):
        VoxelDataGenerator(**options).flow(x, y, **flow)


def test_a_range_that_ends_at_zero_is_off():
    volume = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 1), np.uint8)
    generator = VoxelDataGenerator(elastic_alpha=(0.0, 0.0), blur_sigma=(0, 0), noise_std=(0, 0))
    image, _ = generator.flow([volume], [volume])[0]
    np.testing.assert_allclose(image[0], volume / np.float32(255), atol=1e-6)
    assert generator.elastic_alpha is None
