"""The kept band of a grid."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from resonance.band import index_set, make_band, next_power_of_two


def test_an_index_set_without_gaps_is_the_lowest_band():
    assert index_set([0, 1, 2]) == index_set(3) == index_set(torch.arange(3)) == range(3)
    assert index_set([0, 2]) == (0, 2) and make_band(8, [0, 4]).real == [0, 1]


@given(st.integers(1, 10**6))
def test_next_power_of_two(n):
    power = next_power_of_two(n)
    assert power >= n and power < 2 * n and math.log2(power).is_integer()
