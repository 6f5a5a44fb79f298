"""The kept band of a grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resonance.band import index_set, make_band, next_power_of_two


def test_an_index_set_without_gaps_is_the_lowest_band():
    assert index_set([0, 1, 2]) == index_set(3) == index_set(torch.arange(3)) == range(3)
    assert index_set([0, 2]) == (0, 2) and make_band(8, [0, 4]).real == [0, 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint64])
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy, list])
def test_an_index_set_is_any_collection_of_whole_numbers(make, dtype):
    assert index_set(make(np.array([0, 7, 24], dtype=dtype))) == (0, 7, 24)
    assert index_set(make(np.arange(3, dtype=dtype))) == index_set(dtype(3)) == range(3)


def test_an_index_set_may_be_a_range_or_come_from_flatnonzero():
    assert index_set(range(0, 9, 4)) == index_set(np.flatnonzero([1, 0, 0, 0, 1, 0, 0, 0, 1])) == (0, 4, 8)
    assert index_set(range(3)) == range(3) and index_set(range(5, 8)) == (5, 6, 7)
    assert index_set(torch.tensor(3)) == index_set(np.array(3)) == range(3)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        *((given, TypeError) for given in (3.0, True, "123", [0, 1.0], [0, True], np.array([0.0, 1.0]), None)),
        *((given, TypeError) for given in (np.array([True, False]), torch.tensor([0.0, 1.0]), np.zeros((2, 2), int))),
        *((given, ValueError) for given in ([], [1, 0], [1, 1], [-1, 2], np.array([], dtype=int), range(3, 0, -1))),
    ],
    ids=repr,
)
def test_other_index_sets_are_refused(given, error):
    with pytest.raises(error, match="whole numbers"):
        index_set(given)


@given(st.integers(1, 10**6))
def test_next_power_of_two(n):
    power = next_power_of_two(n)
    assert power >= n and power < 2 * n and math.log2(power).is_integer()
