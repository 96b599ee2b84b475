"""Tests of the random numbers of the parts of a sample."""

import numpy as np
import pytest

from generators.pair_generator import SWITCHES
from generators.streams import PARTS, Streams


def test_parts_are_independent_and_the_same_each_time():
    streams = Streams(np.random.default_rng(0))
    first, again = ([streams[part].random(1000) for part in PARTS] for _ in range(2))
    assert np.array_equal(first, again)
    np.testing.assert_allclose(np.corrcoef(first), np.eye(len(PARTS)), atol=0.12)


def test_other_samples_have_other_numbers():
    rng = np.random.default_rng(0)
    found = {Streams(rng)["intensity"].random() for _ in range(100) if rng.random() < 2}
    assert len(found) == 100


def test_numbers_of_the_generator_are_left_alone():
    rng, other = np.random.default_rng(0), np.random.default_rng(0)
    Streams(rng)["intensity"].random()
    assert rng.random() == other.random()


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.3, 35, 85), (1.0, 200, 200)])
def test_a_transform_happens_with_its_probability_if_it_is_on(probability, low, high):
    rng, probabilities = np.random.default_rng(0), {"cutmix_size": probability}
    streams = [Streams(rng) for _ in range(200) if rng.random() < 2]
    found = [stream.if_happens("cutmix_size", {"cutmix_size": (0.2, 0.4)}, probabilities) for stream in streams]
    assert low <= sum(part is not None for part in found) <= high
    assert not any(stream.if_happens("cutmix_size", {"cutmix_size": None}, probabilities) for stream in streams)


def test_all_parts_but_the_group_are_options():
    assert set(PARTS) - {"intensity"} <= set(SWITCHES)
