import numpy as np
import pytest

from utils.data.checks import (
    check_crop_shape,
    check_exclusive,
    check_needs,
    check_same_size,
    check_z_filter_size,
    pooling_factors,
)
from utils.data.image_set import ImageSet
from utils.errors import check_choice, raise_problems
from utils.images.image_files import ImageName


def test_a_crop_that_the_poolings_divide_passes():
    check_crop_shape((256, 240, 1), poolings=4)


def test_a_crop_that_is_not_divisible_names_its_neighbours():
    with pytest.raises(ValueError, match=r"CROP_SHAPE \(250, 250, 1\): 250 is not divisible by 16 .* use 240 or 256"):
        check_crop_shape((250, 250, 1), poolings=4)


@pytest.mark.parametrize("z_down", [0, -2, 3, (0, 1, 2), (1, 2)])
def test_poolings_along_z_halve_or_leave_z_alone(z_down):
    with pytest.raises(ValueError, match="Z_DOWN is .*; wanted 1 or 2 for all 3 poolings, or one of them for each"):
        pooling_factors(3, z_down)


@pytest.mark.parametrize("size", [4, -1])
def test_a_median_without_a_middle_slice_is_refused(size):
    with pytest.raises(ValueError, match=f"Z_FILTER_SIZE is {size}"):
        check_z_filter_size(size)
    with pytest.raises(ValueError, match=f"^LAST_Z_FILTER_SIZE is {size}"):
        check_z_filter_size(size, name="LAST_Z_FILTER_SIZE")
    assert [check_z_filter_size(good) for good in (0, 1, 5)] == [None] * 3


@pytest.mark.parametrize("shape", [(256, 256), (0, 256, 1), (25.6, 256, 1)])
def test_a_crop_that_is_no_shape_is_refused(shape):
    with pytest.raises(ValueError, match="three positive integers"):
        check_crop_shape(shape, poolings=4)


def test_images_of_different_sizes_are_no_volume():
    images = [np.zeros((8, 8, 1)), np.zeros((8, 9, 1))]
    mixed = ImageSet(images, None, [ImageName("a.png"), ImageName("b.png")], ())
    with pytest.raises(ValueError, match=r"b\.png is 8x9 and a\.png 8x8, but a reason\. A remedy"):
        check_same_size(mixed, why="a reason", remedy="A remedy")
    check_same_size(mixed.subset([0, 0]), why="", remedy="")


def test_choices_are_listed_with_the_closest():
    with pytest.raises(ValueError, match=r"LOSS 'bec' is not known; did you mean 'bce'\? Use one of \['bce', 'dice'\]"):
        check_choice("LOSS", "bec", ("bce", "dice"))


def test_problems_are_counted_and_cut():
    with pytest.raises(ValueError) as error:
        raise_problems("train/", [f"p{number}" for number in range(25)])
    assert str(error.value).startswith("25 problems in train/: p0; p1;") and "and 5 more" in str(error.value)
    raise_problems("train/", [])


def test_options_that_exclude_each_other_are_all_said():
    rules = [
        ({"A": 4, "B": 0.5}, "both do it", "set one to 0"),
        ({"A": 4, "C": None}, "never", "nothing"),
        ({"D": (1, 2), "E": True, "F": "x"}, "three of them", "choose"),
    ]
    with pytest.raises(ValueError) as error:
        check_exclusive(rules)
    assert str(error.value) == (
        "2 problems in the variables: A=4 and B=0.5 exclude each other (both do it); set one to 0; "
        "D=(1, 2) and E=True and F='x' exclude each other (three of them); choose."
    )


@pytest.mark.parametrize("off", [None, False, 0, 0.0, (), ""])
def test_options_that_are_off_exclude_nothing(off):
    check_exclusive([({"A": off, "B": 3}, "", ""), ({"A": off, "B": off}, "", "")])
    check_exclusive([])


def test_what_is_compared_is_said_as_it_was_set():
    classes = 5
    with pytest.raises(ValueError, match=r"N_CLASSES=5 and A=1 exclude each other \(why\); do") as error:
        check_exclusive([({f"N_CLASSES={classes}": classes > 1, "A": 1}, "why", "do")])
    assert "True" not in str(error.value)


def test_options_that_do_nothing_alone_are_all_said():
    rules = [
        ({"A": 4, "B": None, "C": (1, 2)}, 0, "D, e.g. 3"),
        ({"E": True}, "on", "F"),
        ({"G='x'": True}, (), "H"),
    ]
    with pytest.raises(ValueError) as error:
        check_needs(rules)
    assert str(error.value) == (
        "3 problems in the variables: A=4 does nothing without D, e.g. 3; C=(1, 2) does nothing without D, e.g. 3; "
        "G='x' does nothing without H."
    )
    check_needs([])
