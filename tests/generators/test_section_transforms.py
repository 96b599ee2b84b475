"""Tests of misalignment and missing sections."""

import numpy as np
import pytest
from scipy import ndimage

from generators.geometry import FILL_MODES, PartedResampling, Resampling, rotation, scale, shift
from generators.image_data_generator import RIGHT_ANGLE_TURNS
from generators.section_transforms import (
    displaced_by,
    draw_fault,
    grey_of,
    lose_at_random,
    lose_band,
    lose_sections,
    moved_by,
    section_options,
    turn_by_pixels,
)
from generators.voxel_geometry import in_space
from generators.voxel_resampling import volume_resampling

DEFAULTS = {
    "misalignment": None, "misalignment_rotation": 0.0, "missing_sections": None, "missing_fill": 0.0, "n_axes": 3,
}  # fmt: skip


def draw(shape, *, seed, distance=(4, 9), rotation_share=0.0):
    fault = draw_fault(np.random.default_rng(seed), shape, distance=distance, rotation_share=rotation_share)
    return np.broadcast_to(displaced_by(fault, shape), (2, *shape))


# --- misalignment


@pytest.mark.parametrize("matrix", [shift(2, -3), rotation(30), shift(1, 0.5) @ rotation(-110)], ids=["a", "b", "c"])
def test_moved_by_is_what_the_matrix_does_about_the_centre(matrix):
    found = np.broadcast_to(moved_by(matrix, (5, 8)), (2, 5, 8))
    assert found.dtype == np.float32
    for y, x in np.ndindex(5, 8):
        place = np.array([x - 3.5, y - 2, 1])
        np.testing.assert_allclose(found[:, y, x], (matrix @ place - place)[:2], atol=1e-5)


@pytest.mark.parametrize("pixels", [-6, 1, 16])
@pytest.mark.parametrize("shape", [(64, 64), (40, 90)])
def test_turns_move_the_corners_by_so_many_pixels(pixels, shape):
    matrix = turn_by_pixels(pixels, shape)
    corner = np.array([shape[1] / 2, shape[0] / 2, 1])
    assert np.linalg.norm((matrix @ corner - corner)[:2]) == pytest.approx(abs(pixels))
    assert np.sign(matrix[1, 0]) == np.sign(pixels)


def test_turns_by_more_than_the_diagonal_are_turns_by_180_degrees():
    np.testing.assert_allclose(turn_by_pixels(1000, (8, 8)), rotation(180), atol=1e-6)


def test_in_two_dimensions_rows_from_a_random_one_on_move_along_the_row():
    rows, pixels = set(), set()
    for seed in range(400):
        moved = draw((12, 10), seed=seed)
        assert moved.shape == (2, 12, 10)
        assert moved.dtype == np.float32
        assert not moved[1].any()
        (row, *_), moves = np.flatnonzero(moved[0, :, 0]), set(np.unique(moved[0]))
        assert len(moves) == 2
        assert not moved[0, :row].any()
        assert moved[0, row:].all()
        rows.add(int(row))
        pixels |= moves
    assert rows == set(range(1, 12))
    assert pixels == {0, *range(4, 10), *range(-9, -3)}


def test_in_three_dimensions_one_section_or_all_from_one_on_move_in_any_direction():
    slips, firsts, angles, distances = [], {True: set(), False: set()}, [], []
    for seed in range(600):
        moved = draw((6, 8, 8), seed=seed)
        assert moved.shape == (2, 6, 8, 8)
        assert (moved == moved[:, :, :1, :1]).all()
        assert np.array_equal(moved, np.rint(moved))
        step = moved[:, :, 0, 0]
        sections = np.flatnonzero(step.any(axis=0))
        assert np.array_equal(sections, np.arange(sections[0], sections[-1] + 1))
        assert (step[:, sections] == step[:, sections[:1]]).all()
        slip = len(sections) == 1
        assert slip or sections[-1] == 5
        slips.append(slip)
        firsts[slip].add(int(sections[0]))
        angles.append(np.arctan2(*step[:, sections[0]]))
        distances.append(np.linalg.norm(step[:, sections[0]]))
    assert firsts == {True: set(range(6)), False: set(range(1, 5))}
    assert 0.5 < np.mean(slips) < 0.7  # half are slips, and a fifth of the others happens to begin at the last section
    assert np.ptp(np.histogram(angles, bins=4, range=(-np.pi, np.pi))[0]) < 80
    assert 3.2 < min(distances) < 4.8
    assert 8.2 < max(distances) < 9.8


@pytest.mark.parametrize("shape", [(20, 30), (5, 20, 30)])
def test_rotations_have_their_share_and_range(shape):
    turned, reach = 0, []
    for seed in range(200):
        moved = draw(shape, seed=seed, rotation_share=0.3, distance=(2, 5))
        if (moved != np.rint(moved)).any():
            turned += 1
            reach.append(np.linalg.norm(moved, axis=0).max())
    assert 40 < turned < 80
    assert 1.5 < min(reach) <= 2
    assert 4.5 < max(reach) <= 5


@pytest.mark.parametrize("shape", [(1, 5), (1, 6, 6)])
def test_samples_of_one_row_or_section_are_possible(shape):
    for seed in range(20):
        assert draw(shape, seed=seed).shape == (2, *shape)


TURNS = {
    "straight": np.eye(3),
    "flipped": scale(-1, 1),
    "turned": RIGHT_ANGLE_TURNS[1],
    "rotated": shift(0.4, -3) @ rotation(25),
}


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("share", [0, 1], ids=["slip", "rotation"])
@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("n_axes", [2, 3])
def test_what_is_moved_alone_is_what_a_displacement_would_give(n_axes, name, share, fill_mode):
    rng, matrix = np.random.default_rng(0), TURNS[name]
    corner, shape, size = ((1, 2, 3)[-n_axes:], (5, 12, 12)[-n_axes:], (7, 15, 16)[-n_axes:])
    image = ndimage.gaussian_filter(rng.random(size), 1.5)[..., np.newaxis].astype(np.float32)
    mask = (image > image.mean()).astype(np.uint8)
    for seed in range(6):
        fault = draw_fault(np.random.default_rng(seed), shape, distance=(3, 6), rotation_share=share)
        moved = np.tensordot(matrix[:2, :2].astype(np.float32), displaced_by(fault, shape), axes=1)
        if n_axes == 2:
            ways = PartedResampling(matrix, fault, corner, shape), Resampling(matrix, corner, shape, moved)
            options = {"fill_mode": fill_mode}
        else:
            in_all, options = in_space(matrix), {}
            ways = [
                volume_resampling(in_all, corner, shape, size, fill_mode=fill_mode, **how)
                for how in ({"fault": fault}, {"displacement": moved})
            ]
        found, expected = (way.apply(image, nearest=False, **options) for way in ways)
        np.testing.assert_allclose(found, expected, atol=0.02 * np.ptp(image))
        found, expected = (way.apply(mask, nearest=True, **options) for way in ways)
        assert found.dtype == np.uint8 and np.mean(found != expected) < (0.01 if name == "rotated" or share else 1e-9)


def test_slips_of_samples_that_are_not_turned_leave_grey_values_bit_equal():
    image = np.random.default_rng(0).random((9, 14, 2)).astype(np.float32)
    fault = shift(0, 4), np.arange(9) >= 3
    found = PartedResampling(np.eye(3), fault, (0, 0), (9, 14)).apply(image, nearest=False)
    np.testing.assert_array_equal(found[:3], image[:3])
    np.testing.assert_array_equal(found[3:, 4:], image[3:, :-4])


def test_a_distance_of_0_moves_nothing():
    assert not draw((8, 8), seed=0, distance=(0, 0)).any()


# --- missing sections


@pytest.mark.parametrize(
    ("ends", "width", "rows"),
    [(((3, 0), (3, 9)), 1, {3}), (((3, 0), (3, 9)), 3.5, {2, 3, 4}), (((3.5, 9), (3.5, 0)), 2, {3, 4})],
)
def test_a_level_band_has_its_width(ends, width, rows):
    image = np.ones((8, 9, 2), np.float32)
    lose_band(image, ends, width, 5)
    assert set(np.unique(image)) == {1, 5}
    assert set(np.flatnonzero((image == 5).all(axis=(1, 2)))) == rows
    assert set(np.flatnonzero((image == 5).any(axis=(1, 2)))) == rows


def test_an_oblique_band_has_its_width_across():
    image = np.zeros((200, 200, 1), np.float32)
    lose_band(image, ((0, 0), (200, 200)), 20, np.array([7]))
    assert image[100, :, 0].sum() / 7 == pytest.approx(20 * 2**0.5, abs=1.5)
    assert np.array_equal(image, image.swapaxes(0, 1))


@pytest.mark.parametrize(
    ("sections", "expected"), [([0], [1, 1, 2, 3]), ([1, 2], [0, 0, 3, 3]), ([3, 0], [1, 1, 2, 2])]
)
def test_lost_sections_repeat_their_nearest_neighbour(sections, expected):
    volume = np.broadcast_to(np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1), (4, 2, 3, 1)).copy()
    lose_sections(volume, sections, None)
    assert volume[:, 1, 2, 0].tolist() == expected


def test_lost_sections_are_filled_and_the_others_kept():
    volume = np.random.default_rng(0).random((5, 3, 3, 2)).astype(np.float32)
    before = volume.copy()
    lose_sections(volume, np.array([1, 4]), np.array([7, 9]))
    assert (volume[[1, 4]] == (7, 9)).all()
    assert np.array_equal(volume[[0, 2, 3]], before[[0, 2, 3]])


@pytest.mark.parametrize(
    ("depth", "share", "lost"), [(10, 0, 0), (10, 0.01, 1), (10, 0.3, 3), (10, 1, 9), (1, 0.5, 0), (2, 0.9, 1)]
)
def test_the_share_of_lost_sections(depth, share, lost):
    found = set()
    for seed in range(40):
        volume = np.ones((depth, 2, 2, 1), np.float32)
        lose_at_random(volume, share, np.random.default_rng(seed), fill=0, limits=(0, 255))
        black = np.flatnonzero(~volume.any(axis=(1, 2, 3)))
        assert len(black) == lost
        assert volume.sum() == 4 * (depth - lost)
        found |= set(black.tolist())
    if 0 < share < 1 and depth == 10:
        assert found == set(range(10))


@pytest.mark.parametrize("share", [0.05, 0.25])
def test_bands_go_across_the_image_and_cover_at_most_their_share(share):
    shares, across = [], []
    for seed in range(100):
        image = np.ones((60, 80, 1), np.float32)
        lose_at_random(image, share, np.random.default_rng(seed), fill=0, limits=(0, 255))
        black = image[..., 0] == 0
        shares.append(black.mean())
        across.append((black.any(axis=0).all(), black.any(axis=1).all()))
    assert max(shares) <= share * 1.05 + 0.005
    assert np.mean(shares) > 0.8 * share
    assert all(level or upright for level, upright in across)
    assert 20 < sum(level and not upright for level, upright in across)
    assert 20 < sum(upright and not level for level, upright in across)


@pytest.mark.parametrize("shape", [(6, 6, 2), (6, 6, 6, 2)], ids=str)
def test_what_is_lost_is_filled_with_what_is_asked_for(shape):
    image = np.zeros(shape, np.float32)
    image[..., 0], image[..., 1] = 10, 30
    assert grey_of("mean", image, (0, 255)).tolist() == [10, 30]
    assert grey_of(0, image, (-50, 150)) == -50
    assert grey_of(0.25, image, (-50, 150)) == 0
    for fill, expected in ((0, (-50, -50)), (1, (150, 150)), ("mean", (10, 30))):
        found = image.copy()
        lose_at_random(found, 0.5, np.random.default_rng(0), fill=fill, limits=(-50, 150))
        assert (found == expected).all(axis=-1).any()
        assert ((found == expected) | (found == image)).all()


def test_neighbours_stand_in_for_lost_sections():
    volume = np.broadcast_to(np.arange(8, dtype=np.float32).reshape(8, 1, 1, 1), (8, 2, 2, 1)).copy()
    before = volume.copy()
    lose_at_random(volume, 0.25, np.random.default_rng(0), fill="neighbour", limits=(0, 255))
    difference = (volume - before)[:, 0, 0, 0]
    assert np.count_nonzero(difference) == 2
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"misalignment": 16}, "misalignment is 16; it must be two whole numbers"),
        ({"misalignment": (1.5, 3)}, r"misalignment is \(1.5, 3\)"),
        ({"misalignment_rotation": 1.5}, "misalignment_rotation is 1.5; it must be from 0 to 1"),
        (
            {"missing_sections": (0.5, 2)},
            r"missing_sections is \(0.5, 2\); it must be \(low, high\) with 0 <= low <= high <= 1",
        ),
        ({"missing_fill": "neighbor"}, r"missing_fill is 'neighbor'; .* one of \['mean', 'neighbour'\]"),
        ({"missing_fill": "neighbour", "n_axes": 2}, r"one of \['mean'\]"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        section_options(**DEFAULTS | options)


def test_options_that_are_off_are_none():
    options = section_options(**DEFAULTS)
    assert options["misalignment"] is options["missing_sections"] is None
