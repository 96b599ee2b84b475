"""Tests of the order of files by the numbers in their names, and of gaps in the numbering."""

import random
from pathlib import Path

import pytest

from utils.images.file_order import in_order, numbering_gap


@pytest.mark.parametrize(
    "names",
    [
        ["im_2.tif", "im_10.tif", "im_10_2.tif", "im_10_11.tif", "im_100.tif"],
        ["7.tif", "a.tif", "B.tif", "b2.tif", "b10.tif"],
        ["x9y1.tif", "x9y20.tif", "x10y3.tif"],
        ["z-10.tif", "z-2.tif", "z0.tif", "z1.tif", "z10.tif"],
        ["z_-2.tif", "z_-1.tif"],
        ["-1.tif", "0.tif", "1.tif"],
        ["offset=-3.5um.tif", "offset=-3um.tif", "offset=2um.tif"],
        ["scan 1 slice -3.tif", "scan 1 slice 2.tif", "scan 2 slice -1.tif"],
        ["testing-0001.tif", "testing-0002.tif", "testing-0010.tif"],
        ["a.tif", "a-1.tif", "a-2.tif"],
        ["2020-01-05_1.tif", "2020-01-05_2.tif", "2020-01-06_1.tif"],
        ["s0.25.tif", "s0.5.tif", "s1.0.tif", "s10.0.tif"],
        ["s1.1.tif", "s1.9.tif", "s1.10.tif", "s1.11.tif"],
    ],
    ids=lambda names: names[0],
)
def test_names_are_sorted_by_their_numbers(names):
    for seed in range(3):
        paths = [Path(name) for name in names]
        random.Random(seed).shuffle(paths)
        assert [path.name for path in in_order(paths)] == names


@pytest.mark.parametrize("names", [["10.png", "1²2.png"], ["²", "3"], ["1.tif", "01.tif"]])
def test_any_name_has_a_place(names):
    assert len(in_order(map(Path, names))) == 2


@pytest.mark.parametrize(
    ("numbers", "gap"),
    [
        (["1", "2", "3", "4"], None),
        (["0", "5", "10"], None),
        (["0.5", "1.0", "1.5"], None),
        (["001", "002", "005", "006"], "the numbers in the names have a gap: im_005.tif follows im_002.tif."),
        (["1", "2", "7", "8", "20"], "the numbers in the names have 2 gaps, the first: im_7.tif follows im_2.tif."),
        (["1", "9"], None),
    ],
    ids=str,
)
def test_a_gap_in_the_numbering_is_noted(numbers, gap):
    assert numbering_gap([Path(f"im_{number}.tif") for number in numbers]) == gap


def test_names_of_several_numbers_have_no_gap():
    assert numbering_gap([Path(name) for name in ("a1_1.tif", "a2_2.tif", "a3_7.tif")]) is None
    assert numbering_gap([Path(name) for name in ("a.tif", "b.tif", "d.tif")]) is None
