"""Tests of the resampling of volumes, against SciPy and NumPy."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from generators.geometry import FILL_MODES, rotation, shear
from generators.voxel_geometry import in_space, right_angle_turn, scale_in_space, shift_in_space, smooth_noise
from generators.voxel_resampling import (
    SlicewiseResampling,
    SpatialResampling,
    TurnedResampling,
    slice_inside,
    volume_resampling,
)

SCIPY_MODES = {"reflect": "reflect", "nearest": "nearest", "constant": "grid-constant", "wrap": "grid-wrap"}
IN_PLANE = {
    "rotation": in_space(rotation(33)),
    "shear": in_space(shear(20)),
    "zoom out": scale_in_space(1, 2.7, 2.7),
    "zoom in": scale_in_space(1, 0.4, 0.4),
    "shift": shift_in_space(2, 5.3, -7.6),
    "shift out of the volume": shift_in_space(-30, 70, -90),
    "all": shift_in_space(-3, 3, 8) @ in_space(rotation(-100) @ shear(15)) @ scale_in_space(-1, 1.3, -1.3),
}
IN_SPACE = {
    "rotation about y": in_space(rotation(25), (0, 2)),
    "rotation about x": in_space(rotation(-70), (1, 2)),
    "zoom": scale_in_space(1.4, 1.4, 1.4),
    "shift": shift_in_space(2.5, 5.3, -7.6),
    "all": shift_in_space(0.4, 3, 8) @ in_space(rotation(50), (0, 2)) @ in_space(shear(15)) @ scale_in_space(-1, 1, 1),
}
CORNER, SHAPE, SOURCE_SHAPE = (3, 8, 5), (6, 10, 12), (12, 24, 22)


def smooth(shape=SOURCE_SHAPE, channels=1):
    """Return a float volume without edges, so that interpolation schemes agree closely."""
    noise = np.random.default_rng(0).random((*shape, channels))
    blurred = ndimage.gaussian_filter(noise, (3, 3, 3, 0), mode="reflect")
    return ((blurred - blurred.min()) / np.ptp(blurred)).astype(np.float32)


def unique_values(shape=(5, 6, 6), channels=1):
    return np.arange(np.prod(shape) * channels).reshape(*shape, channels).astype(np.uint16)


def displacements(count, amplitude=2.0, shape=SHAPE):
    rng = np.random.default_rng(1)
    return [smooth_noise(rng, shape, 3, strength=amplitude) for _ in range(count)]


def resample(volume, matrix, corner=CORNER, shape=SHAPE, *, nearest=False, cval=0.0, **options):
    return volume_resampling(matrix, corner, shape, volume.shape[:3], **options).apply(
        volume, nearest=nearest, cval=cval
    )


def whole(volume, matrix, **options):
    return resample(volume, matrix, (0, 0, 0), volume.shape[:3], **options)


def reference(volume, matrix, corner, shape, *, order, fill_mode="reflect", cval=0.0, displacement=()):
    """Resample with SciPy: every output voxel asks the matrix where in the source it comes from."""
    points = np.indices(shape).reshape(3, -1)[::-1] - (np.array(shape[::-1])[:, None] - 1) / 2  # x, y, z
    source = (matrix @ np.vstack([points, np.ones(points.shape[1])]))[:3]
    for axis, field in enumerate(displacement):
        source[axis] += field.ravel()
    coordinates = source[::-1] + (np.array(shape)[:, None] - 1) / 2 + np.array(corner)[:, None]
    channels = [
        ndimage.map_coordinates(channel.astype(float), coordinates, order=order, mode=SCIPY_MODES[fill_mode], cval=cval)
        for channel in np.moveaxis(volume, -1, 0)
    ]
    return np.stack(channels, axis=-1).reshape(*shape, volume.shape[-1])


# --- against SciPy


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("elastic", [False, True], ids=["rigid", "elastic"])
@pytest.mark.parametrize("matrix", IN_PLANE.values(), ids=IN_PLANE)
@pytest.mark.parametrize("channels", [1, 3])
def test_slice_by_slice_agrees_with_scipy(matrix, elastic, fill_mode, channels):
    volume, displacement = smooth(channels=channels), displacements(2) if elastic else None
    resampling = volume_resampling(matrix, CORNER, SHAPE, SOURCE_SHAPE, displacement=displacement, fill_mode=fill_mode)
    assert isinstance(resampling, SlicewiseResampling)
    found = resampling.apply(volume, nearest=False, cval=0.3)
    options = {"fill_mode": fill_mode, "cval": 0.3, "displacement": displacement or ()}
    expected = reference(volume, matrix, CORNER, SHAPE, order=1, **options)
    assert found.shape == (*SHAPE, channels)
    # OpenCV rounds positions to 1/32 pixel; only edges of the wrapped or filled volume are steep.
    assert np.abs(found - expected).mean() < 0.004
    assert (np.abs(found - expected) < 0.03).mean() > 0.98


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("matrix", IN_PLANE.values(), ids=IN_PLANE)
def test_nearest_slice_by_slice_agrees_with_scipy_and_invents_no_value(matrix, fill_mode):
    mask = (smooth() > 0.5).astype(np.uint8) * 2
    found = resample(mask, matrix, nearest=True, fill_mode=fill_mode, displacement=displacements(2))
    options = {"fill_mode": fill_mode, "displacement": displacements(2)}
    expected = reference(mask, matrix, CORNER, SHAPE, order=0, **options)
    assert (found == expected).mean() > 0.97
    assert set(np.unique(found)) <= {0, 2}


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("elastic", [False, True], ids=["rigid", "elastic"])
@pytest.mark.parametrize("matrix", IN_SPACE.values(), ids=IN_SPACE)
@pytest.mark.parametrize("order", [0, 1], ids=["nearest", "linear"])
def test_resampling_in_space_agrees_with_scipy(matrix, elastic, fill_mode, order):
    for channels, atol in ((1, 1e-4), (3, 1e-4), (2, 0.02)):  # OpenCV rounds positions of two to 1/32 pixel
        volume, displacement = smooth(channels=channels), displacements(3) if elastic else None
        resampling = volume_resampling(
            matrix, CORNER, SHAPE, SOURCE_SHAPE, displacement=displacement, fill_mode=fill_mode
        )
        assert isinstance(resampling, SpatialResampling)
        found = resampling.apply(volume, nearest=order == 0, cval=0.3)
        options = {"fill_mode": fill_mode, "cval": 0.3, "displacement": displacement or ()}
        expected = reference(volume, matrix, CORNER, SHAPE, order=order, **options)
        assert (np.abs(found - expected) < atol).mean() > 0.999


@pytest.mark.parametrize("longest", [24, 60, 300])
@pytest.mark.parametrize("order", [0, 1], ids=["nearest", "linear"])
def test_slices_laid_out_in_several_columns_give_the_same(monkeypatch, longest, order):
    volume, matrix = smooth(), IN_SPACE["all"]
    expected = resample(volume, matrix, nearest=order == 0)
    monkeypatch.setattr("generators.voxel_resampling.LONGEST_SIDE", longest)
    np.testing.assert_allclose(resample(volume, matrix, nearest=order == 0), expected, atol=1e-5)


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("moved", [(40.25, 0, 0), (0.5, -77.5, 0), (-3.75, 5, 133.25)], ids=str)
def test_places_far_outside_are_folded_back_as_by_scipy(fill_mode, moved):
    volume, matrix = smooth(), shift_in_space(*moved)
    for order in (0, 1):
        found = resample(volume, matrix, nearest=order == 0, fill_mode=fill_mode, cval=0.3)
        expected = reference(volume, matrix, CORNER, SHAPE, order=order, fill_mode=fill_mode, cval=0.3)
        assert (np.abs(found - expected) < 1e-4).mean() > 0.99


@pytest.mark.parametrize("shape", [(2, 40, 30), (300, 4, 5)], ids=str)
def test_blocks_of_slices_give_what_single_slices_give(shape, monkeypatch):
    volume = np.random.default_rng(0).random((*shape, 1), np.float32)
    expected = whole(volume, IN_SPACE["all"])
    monkeypatch.setattr("generators.voxel_resampling.PIXELS_AT_ONCE", 1)
    assert np.array_equal(whole(volume, IN_SPACE["all"]), expected)


@pytest.mark.parametrize("displacement", [None, displacements(2)], ids=["rigid", "elastic"])
def test_both_ways_of_resampling_agree_within_the_plane(displacement):
    matrix, options = IN_PLANE["all"], (CORNER, SHAPE, SOURCE_SHAPE)
    in_plane = SlicewiseResampling(matrix, *options, displacement, "reflect")
    still = None if displacement is None else [*displacement, np.zeros(SHAPE, np.float32)]
    in_space_ = SpatialResampling(matrix, *options, still, "reflect")
    found, expected = (way.apply(smooth(), nearest=False) for way in (in_plane, in_space_))
    np.testing.assert_allclose(found, expected, atol=0.02)


# --- mirrors and right-angle turns


def orientations_by_numpy(volume):
    """Return the 48 orientations of a volume."""
    for axes in itertools.permutations(range(3)):
        for mirrored in itertools.product((False, True), repeat=3):
            yield np.flip(volume.transpose(*axes, 3), np.flatnonzero(mirrored))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64, bool])
def test_turns_of_a_cube_are_what_the_matrix_says_in_the_dtype_of_the_volume(dtype):
    volume, found = unique_values((4, 4, 4), 2).astype(dtype), set()
    for number, mirror in itertools.product(range(24), (1, -1)):
        matrix = scale_in_space(1, 1, mirror) @ right_angle_turn(number)
        turned = whole(volume, matrix, nearest=True)
        assert turned.dtype == dtype
        assert np.array_equal(turned, reference(volume, matrix, (0, 0, 0), (4, 4, 4), order=0))
        assert np.array_equal(turned, whole(volume, matrix))
        found.add(turned.tobytes())
    if dtype == np.uint16:
        assert found == {turned.tobytes() for turned in orientations_by_numpy(volume)}


def test_turns_and_mirrors_in_the_plane_are_those_of_numpy():
    volume = unique_values()
    for number in range(4):
        expected = np.rot90(volume, number, axes=(1, 2))
        assert np.array_equal(whole(volume, right_angle_turn(number), nearest=True), expected)
    assert np.array_equal(whole(volume, scale_in_space(-1, 1, 1), nearest=True), volume[::-1])
    assert np.array_equal(whole(volume, scale_in_space(1, -1, 1), nearest=True), volume[:, ::-1])
    assert np.array_equal(whole(volume, scale_in_space(1, 1, -1), nearest=True), volume[:, :, ::-1])
    assert isinstance(volume_resampling(np.eye(4), (0, 0, 0), (5, 6, 6), (5, 6, 6)), TurnedResampling)


def test_a_turned_window_is_turned_about_its_own_centre():
    volume = unique_values(SOURCE_SHAPE)
    found = resample(volume, scale_in_space(-1, -1, 1), nearest=True)
    assert np.array_equal(found, volume[3:9, 8:18, 5:17][::-1, ::-1])


# --- z is left alone


@pytest.mark.parametrize("elastic", [False, True], ids=["rigid", "elastic"])
@pytest.mark.parametrize("matrix", [IN_PLANE[name] for name in ("rotation", "shear", "zoom out", "zoom in")])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_slices_of_one_value_keep_exactly_this_value(matrix, elastic, dtype):
    values = (np.arange(12) * 21 + 0.3).astype(dtype).reshape(12, 1, 1, 1)
    volume = np.broadcast_to(values, (*SOURCE_SHAPE, 1))
    found = resample(volume, matrix, displacement=displacements(2, 4.0) if elastic else None)
    assert np.array_equal(found, np.broadcast_to(values[3:9], (*SHAPE, 1)))


@pytest.mark.parametrize(
    ("fill_mode", "expected"),
    [("reflect", [2, 1, 0, 0, 1, 2, 3]), ("nearest", [0, 0, 0, 0, 1, 2, 3]), ("constant", [9, 9, 9, 0, 1, 2, 3]),
     ("wrap", [4, 5, 6, 0, 1, 2, 3])],
)  # fmt: skip
@pytest.mark.parametrize("nearest", [True, False])
@pytest.mark.parametrize("mirror", [1, -1])
def test_fill_modes_continue_the_slices(fill_mode, expected, nearest, mirror):
    volume = np.broadcast_to(np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1), (7, 4, 4, 1))[::mirror]
    matrix = shift_in_space(3 * mirror, 0, 0)
    moved = whole(volume, matrix, nearest=nearest, fill_mode=fill_mode, cval=9)
    assert moved[::mirror, 1, 2, 0].tolist() == expected


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("length", [1, 2, 5])
def test_slice_inside_agrees_with_scipy(fill_mode, length):
    places = range(-3 * length, 4 * length)
    line = np.arange(length, dtype=float)
    expected = ndimage.map_coordinates(line, [list(places)], order=0, mode=SCIPY_MODES[fill_mode], cval=-1)
    found = [slice_inside(place, length, fill_mode) for place in places]
    assert [-1 if place is None else place for place in found] == expected.tolist()


# --- windows, dtypes, targets


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("moved", [(2, 3, -1), (0.5, 3, -1)], ids=["slice by slice", "in space"])
def test_what_surrounds_the_window_is_used_before_the_fill_mode(fill_mode, moved):
    volume = unique_values(SOURCE_SHAPE).astype(np.float32)
    found = resample(volume, shift_in_space(*moved), fill_mode=fill_mode, cval=-1)
    depth = volume[1:7] if moved[0] == 2 else (volume[2:8] + volume[3:9]) / 2
    np.testing.assert_allclose(found, depth[:, 5:15, 6:18], atol=1e-2)


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("half", [-0.5, 0.5])
@pytest.mark.parametrize("depth", [0, 0.5], ids=["slice by slice", "in space"])
@pytest.mark.parametrize("corner", [(0, 0, 0), (6, 14, 10)], ids=["first corner", "last corner"])
def test_windows_that_just_reach_out_of_the_volume_are_continued(fill_mode, half, depth, corner):
    volume, matrix = smooth(), shift_in_space(depth, half, half)
    found = resample(volume, matrix, corner, fill_mode=fill_mode, cval=0.3)
    expected = reference(volume, matrix, corner, SHAPE, order=1, fill_mode=fill_mode, cval=0.3)
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("matrix", [IN_PLANE["all"], IN_SPACE["all"]], ids=["slice by slice", "in space"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (7, 1, 2)])
@pytest.mark.parametrize("fill_mode", FILL_MODES)
def test_tiny_volumes_are_continued_as_often_as_needed(matrix, shape, fill_mode):
    volume = np.random.default_rng(0).integers(0, 9, (*shape, 1)).astype(np.uint8)
    found = whole(volume, matrix, nearest=True, fill_mode=fill_mode)
    expected = reference(volume, matrix, (0, 0, 0), shape, order=0, fill_mode=fill_mode)
    assert (found == expected).mean() > 0.7  # a position half-way between two voxels may be rounded either way


DTYPES = [bool, np.uint8, np.uint16, ">u2", np.int8, np.int16, np.int32, np.int64, np.float16, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("matrix", [IN_PLANE["all"], IN_SPACE["all"]], ids=["slice by slice", "in space"])
def test_nearest_neighbour_keeps_the_dtype_and_linear_interpolation_gives_float32(dtype, matrix):
    volume = (smooth() * 100 > 50).astype(dtype)
    found = resample(volume, matrix, nearest=True)
    assert found.dtype == dtype
    assert np.array_equal(found, resample(volume.astype(np.float32), matrix, nearest=True))
    linear = resample(volume, matrix)
    assert linear.dtype == np.float32
    np.testing.assert_allclose(linear, resample(volume.astype(np.float32), matrix), atol=1e-6)


@pytest.mark.parametrize("matrix", [np.eye(4), IN_PLANE["all"], IN_SPACE["all"]])
@pytest.mark.parametrize(("nearest", "dtype"), [(True, np.uint8), (True, np.int32), (False, np.float32)])
def test_a_given_target_is_filled(matrix, nearest, dtype):
    volume = (smooth(channels=2) * 200).astype(dtype)
    batch = np.full((3, *SHAPE, 2), 7, dtype)
    resampling = volume_resampling(matrix, CORNER, SHAPE, SOURCE_SHAPE)
    found = resampling.apply(volume, nearest=nearest, out=batch[1])
    assert np.shares_memory(found, batch)
    assert np.array_equal(batch[1], resampling.apply(volume, nearest=nearest))
    assert (batch[[0, 2]] == 7).all()


@pytest.mark.parametrize("matrix", [np.eye(4), IN_PLANE["all"], IN_SPACE["all"]])
def test_views_and_read_only_volumes_give_what_copies_give(matrix):
    large = smooth((24, 24, 44))
    large.flags.writeable = False
    view = large[::-2, :, 1::2]
    assert np.array_equal(resample(view, matrix), resample(view.copy(), matrix))
