"""Tests of the widening grid and of the check that a tuned value lies inside it."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact.studies.common.tuning import best_values, tried, widened


@given(st.floats(-9, 9), st.integers(2, 5))
def test_a_grid_widens_until_the_minimum_is_inside(minimum, count):
    grid = [2.0**i for i in range(count)]
    tries = widened(lambda value: (math.log2(value) - minimum) ** 2, grid, wider=40)
    best = best_values(tries.assign(model="ours"), ["model"]).iloc[0]
    assert best["inside"]
    assert abs(math.log2(best["value"]) - minimum) <= 0.5 + 1e-6
    assert tries["value"].is_monotonic_increasing


def test_a_grid_stays_as_it_is_when_its_best_is_inside_or_it_may_not_grow():
    assert widened(lambda v: abs(v - 2), [1, 2, 4], wider=9)["value"].tolist() == [1, 2, 4]
    assert widened(lambda v: v, [1, 2, 4])["value"].tolist() == [1, 2, 4]
    assert widened(lambda v: v, [1, 2, 4], wider=2)["value"].tolist() == [0.25, 0.5, 1, 2, 4]


def test_a_diverged_training_is_never_the_best():
    tries = widened(lambda v: math.nan if v > 2 else -v, [1, 2], wider=5)
    assert tries["value"].tolist() == [1, 2, 4]
    assert best_values(tries.assign(m=0), ["m"])[["value", "inside"]].values.tolist() == [[2, True]]


def test_an_end_of_the_grid_is_not_inside():
    tries = pd.DataFrame({"m": list("aabbb"), "value": [1, 2, 1, 2, 3], "score": [1, 0, 3, 1, 2]})
    assert best_values(tries, ["m"])["inside"].tolist() == [False, True]


@pytest.mark.parametrize("grid", [[], [1.0], [2.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
def test_a_grid_that_cannot_widen_is_refused(grid):
    with pytest.raises(ValueError, match="rising grid of positive values, of two at least"):
        widened(lambda v: v, grid, wider=1)


def test_one_value_alone_is_tried_and_does_not_lie_inside():
    tries = widened(lambda v: v, [3.0]).assign(model="ours")
    assert tries["value"].tolist() == [3] and not best_values(tries, ["model"])["inside"].any()


def test_rows_of_what_was_tried_have_the_score_that_widens_the_grid():
    rows = tried(lambda v: {"rate": v, "score": (v - 4) ** 2 if v < 8 else math.nan}, [1, 2], wider=3)
    assert rows == [{"rate": v, "score": (v - 4) ** 2} for v in (1, 2, 4)] + [{"rate": 8, "score": math.inf}]
