"""Tests of the checks of options."""

import pytest

from generators.options import check_numbers, each_probability, fill_value, number_range, whole_range, zoom_factors

NAMES = ("cutmix_size", "dropout")


@pytest.mark.parametrize("off", [None, 0, 0.0, (0, 0), (0.0, 0.0), [0, 0]])
def test_off_in_all_its_forms(off):
    assert number_range("gamma", off, example=(1, 2)) is None
    assert whole_range("gamma", off, example=(1, 2)) is None


@pytest.mark.parametrize(
    ("value", "options", "expected"),
    [
        ((0.5, 2), {}, (0.5, 2)),
        ([0, 1], {"zero_allowed": True}, (0, 1)),
        ((0.2, 1), {"highest": 1}, (0.2, 1)),
        ((0, 0), {"zero_allowed": True, "required": True}, (0, 0)),
    ],
)
def test_ranges_that_fit_are_returned_as_tuples(value, options, expected):
    assert number_range("gamma", value, example=(1, 2), **options) == expected


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        ((0, 1), {}, r"gamma is \(0, 1\); it must be \(low, high\) with 0 < low <= high, e.g. \(1, 2\)"),
        ((-1, 1), {"zero_allowed": True}, "with 0 <= low <= high, e.g."),
        ((2, 1), {}, r"gamma is \(2, 1\)"),
        ((0.5, 1.1), {"highest": 1}, "with 0 < low <= high <= 1, e.g."),
        ((1, float("inf")), {}, "gamma is"),
        ((1, float("nan")), {}, "gamma is"),
        (3, {}, "gamma is 3;"),
        ((1, 2, 3), {}, "gamma is"),
        ((), {}, "gamma is"),
        (None, {"required": True}, "gamma is None; it must be"),
        (0, {"required": True}, "gamma is 0; it must be"),
    ],
)
def test_ranges_that_do_not_fit_are_refused(value, options, message):
    with pytest.raises(ValueError, match=message):
        number_range("gamma", value, example=(1, 2), **options)


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        (
            (0, 2),
            {},
            r"size is \(0, 2\); it must be two whole numbers \(low, high\) with 1 <= low <= high, e.g. \(3, 5\)",
        ),
        ((1.5, 2), {}, r"size is \(1.5, 2\)"),
        ((3, 2), {}, r"size is \(3, 2\)"),
        (4, {}, "size is 4"),
        (None, {"required": True}, "size is None"),
        ((-1, 2), {"lowest": 0}, "with 0 <= low"),
    ],
)
def test_whole_ranges_that_do_not_fit_are_refused(value, options, message):
    with pytest.raises(ValueError, match=message):
        whole_range("size", value, example=(3, 5), **options)


def test_whole_numbers_may_be_written_as_floats():
    assert whole_range("size", (2.0, 4), example=(3, 5)) == (2, 4)
    assert whole_range("size", (0, 4), example=(3, 5), lowest=0) == (0, 4)


@pytest.mark.parametrize("value", [0, 0.5, 1, "mean"])
def test_fills(value):
    assert fill_value("cutout_fill", value, ("mean",)) == value
    assert fill_value("cutout_fill", None, ("mean",)) == 0


@pytest.mark.parametrize("value", [-0.1, 1.1, 255, "black", (0, 1)])
def test_fills_that_are_refused(value):
    with pytest.raises(ValueError, match=r"cutout_fill is .*from 0 \(black\) to 1 \(white\) or one of \['mean'\]"):
        fill_value("cutout_fill", value, ("mean",))


def test_numbers_out_of_range_are_refused_with_the_range():
    with pytest.raises(ValueError, match=r"cval is -1; it must be from 0 to 255\."):
        check_numbers(cval=(-1, 0, 255))
    with pytest.raises(ValueError, match=r"sigma is -1; it must be at least 0\."):
        check_numbers(sigma=(-1, 0, float("inf")))


def test_each_probability_is_its_own_or_that_of_all():
    assert each_probability(0.5, None, NAMES) == {"cutmix_size": 0.5, "dropout": 0.5}
    assert each_probability(0.5, {"dropout": 0}, NAMES) == {"cutmix_size": 0.5, "dropout": 0}


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ({"cutmx": 0.5}, "'cutmx' is not known; did you mean 'cutmix_size'"),
        ({"dropout": 2}, r"probabilities\['dropout'\] is 2; it must be from 0 to 1"),
        (0.5, r"probabilities is 0.5; it must be a dictionary, e.g. \{'cutmix_size': 0.5\}"),
    ],
)
def test_probabilities_that_are_refused(probabilities, message):
    with pytest.raises(ValueError, match=message):
        each_probability(1.0, probabilities, NAMES)


def test_numbers_and_zoom():
    check_numbers(shear_range=(20, 0, 89))
    with pytest.raises(ValueError, match="shear_range is 90; it must be from 0 to 89"):
        check_numbers(shear_range=(90, 0, 89))
    assert zoom_factors(0.2) == (0.8, 1.2)
    assert zoom_factors(0) == (1, 1)
