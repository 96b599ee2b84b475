"""Tests of the measurements on boxes, discs, spheres and ellipsoids."""

import csv
import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from utils.files import write_csv
from utils.metrics.measurements import measure_instances


def measured(mask, size):
    [row] = measure_instances(np.asarray(mask)[..., np.newaxis].astype(np.uint8), voxel_size_nm=size)
    return row


def grid(extent_nm, size):
    """Return the coordinates of voxel centres, off the voxel grid, and far enough for radii up to half the extent."""
    axes = [np.arange(-extent_nm / 2 - s, extent_nm / 2 + 1.5 * s, s) + 0.3 * s for s in size]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def box_of(shape, margin=2):
    return np.pad(np.ones(shape), margin)


@pytest.mark.parametrize("size", [(5, 5, 5), (40, 6, 5)])
def test_boxes(size):
    sides = np.array([4, 10, 30]) * size
    row = measured(box_of((4, 10, 30)), size)
    assert row["label"] == 1 and row["voxels"] == 1200
    assert row["volume_nm3"] == pytest.approx(sides.prod())
    assert row["length_nm"] == pytest.approx(np.linalg.norm(sides))
    by_length = np.sort(sides)
    assert row["elongation"] == pytest.approx(by_length[2] / by_length[1])
    assert [row[f"centroid_{axis}_nm"] for axis in "zyx"] == pytest.approx(
        [3.5 * size[0], 6.5 * size[1], 16.5 * size[2]]
    )
    assert not row["touches_border"]


@pytest.mark.parametrize("radius", [40, 100, 250])
def test_discs(radius):
    mask = (grid(2 * radius, (5, 5)) ** 2).sum(axis=-1) <= radius**2
    row = measured(mask, 5)
    assert row["area_nm2"] == pytest.approx(np.pi * radius**2, rel=0.03)
    assert row["perimeter_nm"] == pytest.approx(2 * np.pi * radius, rel=0.02)
    assert row["length_nm"] == pytest.approx(2 * radius, abs=8)
    assert row["elongation"] == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("size, tolerance", [((5, 5), 0.01), ((10, 5), 0.04)])
def test_perimeters_of_ellipses_at_every_angle(size, tolerance):
    a, b = 300, 150
    t = np.linspace(0, 2 * np.pi, 2001)
    perimeter = np.hypot(np.diff(a * np.cos(t)), np.diff(b * np.sin(t))).sum()
    for angle in np.linspace(0, np.pi, 7):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        row = measured((((grid(2 * a, size) @ turn) / (a, b)) ** 2).sum(axis=-1) <= 1, size)
        assert row["perimeter_nm"] == pytest.approx(perimeter, rel=tolerance)
        assert row["elongation"] == pytest.approx(2, rel=0.02)
        assert row["length_nm"] == pytest.approx(2 * a, abs=15)


@pytest.mark.parametrize("size, tolerance", [((5, 5, 5), 0.01), ((30, 6, 6), 0.05)])
def test_spheres(size, tolerance):
    mask = (grid(240, size) ** 2).sum(axis=-1) <= 120**2
    row = measured(mask, size)
    assert row["volume_nm3"] == pytest.approx(4 / 3 * np.pi * 120**3, rel=0.03)
    assert row["surface_nm2"] == pytest.approx(4 * np.pi * 120**2, rel=tolerance)
    assert row["elongation"] == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("size, tolerance", [((5, 5, 5), 0.01), ((25, 5, 5), 0.08)])
def test_rods_at_random_orientations(size, tolerance):
    a, b = 210, 70
    eccentricity = np.sqrt(1 - (b / a) ** 2)
    surface = 2 * np.pi * b**2 * (1 + a / (b * eccentricity) * np.arcsin(eccentricity))
    for turn in Rotation.random(3, rng=np.random.default_rng(0)).as_matrix():
        row = measured((((grid(2 * a, size) @ turn) / (a, b, b)) ** 2).sum(axis=-1) <= 1, size)
        assert row["volume_nm3"] == pytest.approx(4 / 3 * np.pi * a * b * b, rel=0.02)
        assert row["surface_nm2"] == pytest.approx(surface, rel=tolerance)
        assert row["length_nm"] == pytest.approx(2 * a, abs=2 * max(size))
        assert row["elongation"] == pytest.approx(3, rel=0.04)


@pytest.mark.parametrize("shape", [(7, 9), (40, 50), (5, 6, 7), (12, 20, 18)])
@pytest.mark.parametrize("seed", range(3))
def test_length_equals_the_largest_of_all_distances(shape, seed):
    mask = np.random.default_rng(seed).random(shape) < (0.3 if seed else 0.9)
    size = (30, 5, 4)[-len(shape) :]
    places = np.argwhere(mask)
    places = places[np.linalg.norm((places - places.mean(axis=0)) * size, axis=1).argsort()[-150:]]
    corners = np.concatenate([(places + shift) * size for shift in itertools.product((-0.5, 0.5), repeat=len(shape))])
    expected = np.sqrt(max(((corners - corner) ** 2).sum(axis=1).max() for corner in corners))
    assert measured(mask, size)["length_nm"] == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1), (1, 300), (300, 1, 1), (1, 30, 40), (1, 20, 1), (120, 120, 1)])
def test_flat_and_thin_objects(shape):
    size = np.array((30, 6, 5)[-len(shape) :], float)
    row = measured(box_of(shape), size)
    sides = np.sort(shape * size)
    assert row["length_nm"] == pytest.approx(np.linalg.norm(sides))
    assert row["elongation"] == pytest.approx(sides[-1] / sides[-2])


def test_a_diagonal_line_has_its_length():
    row = measured(np.eye(300), 5)
    assert row["length_nm"] == pytest.approx(np.hypot(1500, 1500)) and row["elongation"] > 100


def test_rows_borders_and_the_table(tmp_path):
    labels = np.zeros((10, 12, 14, 1), np.uint16)
    labels[3:5, 3:6, 3:7], labels[8:10, 5:8, 5:8], labels[2, 2, 2] = 300, 7, 9
    labels[5:7, 3:6, 3:7] = 301  # touches 300
    rows = measure_instances(labels, voxel_size_nm=(50, 5, 5))
    assert [row["label"] for row in rows] == [7, 9, 300, 301]
    assert [row["touches_border"] for row in rows] == [True, False, False, False]
    assert rows[2]["volume_nm3"] == rows[3]["volume_nm3"] == 24 * 1250
    assert rows[3]["centroid_z_nm"] - rows[2]["centroid_z_nm"] == 100
    write_csv(tmp_path / "instances.csv", rows)
    with (tmp_path / "instances.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(line["surface_nm2"]) for line in table] == [row["surface_nm2"] for row in rows]
    assert measure_instances(0 * labels, voxel_size_nm=5) == []


def test_outlines_do_not_depend_on_neighbours_or_place():
    labels = np.zeros((12, 20, 24, 1), np.uint8)
    labels[4:9, 5:10, 5:12] = 1
    alone = measure_instances(labels, voxel_size_nm=5)[0]
    labels[4:9, 5:10, 12:20] = 2
    assert measure_instances(labels, voxel_size_nm=5)[0] == alone
    cut = measure_instances(labels[4:9, 5:10, 5:12], voxel_size_nm=5)[0]
    assert cut["surface_nm2"] == alone["surface_nm2"] and cut["touches_border"]


def test_mistakes_are_said():
    labels = np.ones((4, 5, 1), np.uint8)
    with pytest.raises(ValueError, match="wanted positive nanometres"):
        measure_instances(labels, voxel_size_nm=-5)
    with pytest.raises(ValueError, match="3 values for 2 axes"):
        measure_instances(labels, voxel_size_nm=(5, 5, 5))
    with pytest.raises(ValueError, match="the labels have the dtype float64"):
        measure_instances(labels / 2, voxel_size_nm=5)
