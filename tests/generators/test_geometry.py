"""Tests of the geometry of augmentation."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from generators.geometry import FILL_MODES, Resampling, is_exact, rotation, scale, shear, shift

SCIPY_MODES = {"reflect": "reflect", "nearest": "nearest", "constant": "grid-constant", "wrap": "grid-wrap"}
MATRICES = {
    "rotation": rotation(33),
    "shear": shear(20),
    "zoom out": scale(2.7, 2.7),
    "zoom in": scale(0.4, 0.4),
    "shift": shift(5.3, -7.6),
    "shift out of the image": shift(70, -90),
    "all": shift(3, 8) @ rotation(-100) @ shear(15) @ scale(1.3, 1.3) @ scale(-1, 1),
}
TURNS = [np.diag([x, y, 1.0]) for x, y in itertools.product((1, -1), repeat=2)]
TURNS += [np.array([[0, x, 0], [y, 0, 0], [0, 0, 1.0]]) for x, y in itertools.product((1, -1), repeat=2)]


def warp(image, matrix, corner, shape, **options):
    return Resampling(matrix, corner, shape).apply(image, **options)


def smooth(shape=(40, 52), channels=1):
    """Return a float image without edges, so that interpolation schemes agree closely."""
    noise = np.random.default_rng(0).random((*shape, channels))
    blurred = ndimage.gaussian_filter(noise, (4, 4, 0), mode="reflect")
    return ((blurred - blurred.min()) / np.ptp(blurred)).astype(np.float32)


def unique_values(shape=(6, 6), channels=1):
    return np.arange(np.prod(shape) * channels).reshape(*shape, channels).astype(np.uint16)


def whole(image, matrix, nearest=False, **options):
    return warp(image, matrix, (0, 0), image.shape[:2], nearest=nearest, **options)


def reference(image, matrix, corner, shape, order, fill_mode, cval=0.0):
    """Resample with SciPy: every output pixel asks the matrix where in the source it comes from."""
    centre = (np.array(shape) - 1) / 2
    y, x = np.mgrid[: shape[0], : shape[1]]
    points = np.stack([x - centre[1], y - centre[0], np.ones(shape)]).reshape(3, -1)
    source_x, source_y, _ = matrix @ points
    coordinates = [source_y + centre[0] + corner[0], source_x + centre[1] + corner[1]]
    channels = [
        ndimage.map_coordinates(channel.astype(float), coordinates, order=order, mode=SCIPY_MODES[fill_mode], cval=cval)
        for channel in np.moveaxis(image, -1, 0)
    ]
    return np.stack(channels, axis=-1).reshape(*shape, image.shape[-1])


# --- the matrices


def test_rotation_by_90_degrees_turns_as_rot90():
    image = smooth((31, 31))
    np.testing.assert_allclose(whole(image, rotation(90)), np.rot90(image), atol=1e-3)


@pytest.mark.parametrize("degrees", [-270, 90])
def test_rotation_is_counter_clockwise_as_displayed(degrees):
    image = np.zeros((9, 9, 1), np.float32)
    image[4, 8] = 1  # right of the centre
    assert np.unravel_index(whole(image, rotation(degrees)).argmax(), (9, 9)) == (0, 4)  # above it


@pytest.mark.parametrize(("down", "right"), [(2, 3), (-1, 4), (3, -2), (0, 5)])
def test_shift_moves_the_content_down_and_right(down, right):
    image = unique_values((10, 12)).astype(np.float32)
    moved = whole(image, shift(down, right), fill_mode="constant", cval=-1)
    expected = np.full_like(image, -1)
    y, x = np.mgrid[:10, :12]
    inside = (y - down >= 0) & (y - down < 10) & (x - right >= 0) & (x - right < 12)
    expected[inside] = image[(y - down)[inside], (x - right)[inside]]
    np.testing.assert_allclose(moved, expected, atol=1e-4)


@pytest.mark.parametrize(("factor", "height"), [(2.0, 5.5), (0.5, 22)])
def test_factor_below_one_magnifies(factor, height):
    image = np.zeros((41, 41, 1), np.uint8)
    image[15:26, 15:26] = 1  # 11 pixels high and wide
    found = whole(image, scale(factor, 1), nearest=True, fill_mode="constant")[..., 0]
    assert abs(found.any(axis=1).sum() - height) <= 1
    assert found.any(axis=0).sum() == 11


def test_shear_makes_vertical_lines_lean():
    image = np.zeros((21, 21, 1), np.uint8)
    image[:, 10] = 1
    leaning = whole(image, shear(45), nearest=True, fill_mode="constant")[..., 0]
    assert np.array_equal(leaning, np.fliplr(np.eye(21)))


@pytest.mark.parametrize("matrix", TURNS, ids=str)
def test_mirrors_and_right_angle_turns_are_exact(matrix):
    assert is_exact(matrix)


@pytest.mark.parametrize(
    "matrix", [rotation(1), rotation(45), scale(2, 1), scale(0.5, 0.5), shear(45), shift(1, 0), shift(0, 0.5)], ids=str
)
def test_everything_else_is_not_exact(matrix):
    assert not is_exact(matrix)


# --- resampling


def test_identity_returns_the_image():
    image = unique_values(channels=3)
    assert np.array_equal(whole(image, rotation(0)), image)


@pytest.mark.parametrize("matrix", TURNS, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64, bool])
def test_exact_turns_are_what_the_matrix_says_in_the_dtype_of_the_image(matrix, dtype):
    image = unique_values(channels=2).astype(dtype)
    turned = whole(image, matrix, nearest=True)
    assert turned.dtype == dtype
    assert np.array_equal(turned, whole(image, matrix))
    assert np.array_equal(turned, reference(image, matrix, (0, 0), (6, 6), 0, "nearest"))


def test_exact_turns_are_the_eight_orientations():
    image = unique_values()
    expected = {np.rot90(im, k).tobytes() for im in (image, image[:, ::-1]) for k in range(4)}
    assert {whole(image, matrix, nearest=True).tobytes() for matrix in TURNS} == expected


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
@pytest.mark.parametrize("channels", [1, 3])
def test_linear_resampling_agrees_with_scipy(matrix, fill_mode, channels):
    image = smooth(channels=channels)
    corner, shape = (8, 15), (24, 30)
    found = warp(image, matrix, corner, shape, nearest=False, fill_mode=fill_mode, cval=0.3)
    expected = reference(image, matrix, corner, shape, 1, fill_mode, cval=0.3)
    assert found.shape == (*shape, channels)
    # OpenCV rounds positions to 1/32 pixel; only edges of the wrapped or filled image are steep.
    assert np.abs(found - expected).mean() < 0.003
    assert (np.abs(found - expected) < 0.03).mean() > 0.99


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
def test_nearest_resampling_agrees_with_scipy_and_invents_no_value(matrix, fill_mode):
    mask = (smooth() > 0.5).astype(np.uint8) * 2
    found = warp(mask, matrix, (8, 15), (24, 30), nearest=True, fill_mode=fill_mode)
    expected = reference(mask, matrix, (8, 15), (24, 30), 0, fill_mode)
    assert (found == expected).mean() > 0.98
    assert set(np.unique(found)) <= {0, 2}


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
@pytest.mark.parametrize("shape", [(5, 3), (1, 40), (1, 1)])
@pytest.mark.parametrize("fill_mode", FILL_MODES)
def test_tiny_images_are_continued_as_often_as_needed(matrix, shape, fill_mode):
    image = np.random.default_rng(0).integers(0, 9, (*shape, 1)).astype(np.uint8)
    found = whole(image, matrix, nearest=True, fill_mode=fill_mode)
    expected = reference(image, matrix, (0, 0), shape, 0, fill_mode)
    assert found.shape == image.shape
    # A position half-way between two pixels may be rounded either way.
    assert (found == expected).mean() > 0.7


@pytest.mark.parametrize(
    ("fill_mode", "expected"),
    [("reflect", [2, 1, 0, 0, 1, 2, 3]), ("nearest", [0, 0, 0, 0, 1, 2, 3]), ("constant", [9, 9, 9, 0, 1, 2, 3]),
     ("wrap", [4, 5, 6, 0, 1, 2, 3])],
)  # fmt: skip
@pytest.mark.parametrize("nearest", [True, False])
def test_fill_modes_continue_the_image_as_in_keras(fill_mode, expected, nearest):
    image = np.tile(np.arange(7, dtype=np.uint8), (7, 1))[..., np.newaxis]
    moved = whole(image, shift(0, 3), nearest=nearest, fill_mode=fill_mode, cval=9)
    assert moved[3, :, 0].tolist() == expected


@pytest.mark.parametrize("fill_mode", FILL_MODES)
def test_what_surrounds_the_window_is_used_before_the_fill_mode(fill_mode):
    image = unique_values((20, 20)).astype(np.float32)
    moved = warp(image, shift(2, 3), (8, 8), (6, 6), nearest=False, fill_mode=fill_mode, cval=-1)
    np.testing.assert_allclose(moved, image[6:12, 5:11], atol=1e-3)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int8, np.int16, np.int32, np.int64, np.float64])
@pytest.mark.parametrize("fill_mode", FILL_MODES)
def test_nearest_neighbour_keeps_the_dtype_and_linear_interpolation_gives_float32(dtype, fill_mode):
    image = (smooth() * 100 > 50).astype(dtype)
    found = whole(image, rotation(30), nearest=True, fill_mode=fill_mode)
    assert found.dtype == dtype
    assert np.array_equal(found, whole(image.astype(np.float32), rotation(30), nearest=True, fill_mode=fill_mode))
    assert whole(image, rotation(30), fill_mode=fill_mode).dtype == np.float32


@pytest.mark.parametrize("matrix", [rotation(30), rotation(90)], ids=["30 degrees", "90 degrees"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("nearest", "dtype"), [(True, np.uint8), (True, np.int32), (False, np.float32)])
def test_a_given_target_is_filled(matrix, channels, nearest, dtype):
    image = (smooth((20, 20), channels) * 200).astype(np.uint8 if nearest is False else dtype)
    batch = np.full((3, 20, 20, channels), 7, dtype)
    resampling = Resampling(matrix, (0, 0), (20, 20))
    found = resampling.apply(image, nearest=nearest, out=batch[1])
    assert np.shares_memory(found, batch)
    assert np.array_equal(batch[1], resampling.apply(image, nearest=nearest))
    assert (batch[[0, 2]] == 7).all()


def test_windows_of_very_wide_images_are_resampled():
    image = np.tile(np.arange(40_000, dtype=np.uint16), (8, 1))[..., np.newaxis]
    moved = warp(image, shift(0, 2), (0, 35_000), (8, 8), nearest=False)
    assert moved[0, :, 0].tolist() == list(range(34_998, 35_006))


def test_the_image_is_left_alone():
    image = unique_values()
    before = image.copy()
    whole(image, rotation(20))
    assert np.array_equal(image, before)


# --- displacement


def waves(shape, amplitude=3.0):
    """Return a smooth displacement along x and y."""
    y, x = np.indices(shape, np.float32)
    return amplitude * np.stack([np.sin(y / 5), np.cos(x / 4 + y / 9)])


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("matrix", [np.eye(3), *MATRICES.values()], ids=["identity", *MATRICES])
@pytest.mark.parametrize("channels", [1, 3])
def test_displacement_is_added_to_the_places_in_the_source(matrix, fill_mode, channels):
    image, corner, shape = smooth(channels=channels), (7, 11), (20, 26)
    moved = waves(shape)
    resampling = Resampling(matrix, corner, shape, moved)
    inverse = np.linalg.inv(matrix[:2, :2])
    for nearest, share in ((False, 0.97), (True, 0.97)):
        found = resampling.apply(image, nearest=nearest, fill_mode=fill_mode, cval=0.3)
        # The same as moving the output pixel before the matrix is applied.
        y, x = np.indices(shape) - (np.array(shape)[:, None, None] - 1) / 2
        places = np.einsum("ij,jyx->iyx", matrix[:2, :2], np.stack([x, y]) + np.einsum("ij,jyx->iyx", inverse, moved))
        coordinates = (places + matrix[:2, 2, None, None])[::-1] + (np.array(shape) - 1)[:, None, None] / 2
        coordinates = coordinates + np.array(corner)[:, None, None]
        options = {"order": 0 if nearest else 1, "mode": SCIPY_MODES[fill_mode], "cval": 0.3}
        expected = [ndimage.map_coordinates(channel, coordinates, **options) for channel in np.moveaxis(image, -1, 0)]
        assert (np.abs(found - np.stack(expected, axis=-1)) < 1e-3).mean() > share


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64, bool])
def test_displacement_by_whole_pixels_is_exact(dtype):
    image = (unique_values((12, 14), 2) * 37).astype(dtype)
    moved = np.zeros((2, 6, 7), np.float32)
    moved[0, 3:], moved[1, :, 4:] = -2, 3
    resampling = Resampling(np.diag([-1.0, 1, 1]), (3, 4), (6, 7), moved)
    y, x = np.indices((6, 7))
    expected = image[y + 3 + moved[1].astype(int), 4 + 6 - x + moved[0].astype(int)]
    for nearest in (True, False):
        found = resampling.apply(image, nearest=nearest)
        assert np.array_equal(found, expected)
        assert found.dtype == (dtype if nearest else np.float32)
    batch = np.zeros((2, 6, 7, 2), dtype)
    assert np.shares_memory(resampling.apply(image, nearest=True, out=batch[1]), batch)
    assert np.array_equal(batch[1], expected)
