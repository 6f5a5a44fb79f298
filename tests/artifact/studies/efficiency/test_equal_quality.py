"""Factors at equal quality: closed forms, no overlap, and the errors of bad input."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.studies.efficiency.equal_quality import COSTS, curve, factor, factors, judged, log_factor, overlap


def family(name, shift, seeds=3, noise=0.0, sizes=(1, 2, 4, 8)):
    """error = 1 - log2(cost / shift) / 10: a family that pays `shift` times more for the same quality."""
    rng = np.random.default_rng(len(name))
    return [
        {"task": "t", "family": name, "seed": seed, "error": 1 - math.log2(size) / 10 + noise * rng.normal()}
        | dict.fromkeys(COSTS, shift * size)
        for seed in range(seeds)
        for size in sizes
    ]


@given(st.floats(0.05, 20.0))
@settings(deadline=None)
def test_a_shifted_curve_costs_its_shift(shift):
    found = factor(pd.DataFrame(family("Transformer", shift) + family("resonance", 1.0)), "memory")
    assert found.factor == pytest.approx(shift) and found.low == pytest.approx(found.high) and found.seeds == 3


def test_the_order_of_rows_does_not_matter_but_the_sides_do():
    points = pd.DataFrame(family("Transformer", 3.0) + family("resonance", 1.0))
    mixed = points.sample(frac=1, random_state=0)
    assert factor(mixed, "training").factor == pytest.approx(3.0)
    swapped = factor(mixed, "training", theirs="resonance", ours="Transformer")
    assert swapped.factor == pytest.approx(1 / 3.0)


def test_a_size_that_is_no_better_than_a_cheaper_one_costs_what_that_one_costs():
    log_cost, error = curve(np.array([1, 2, 3, 4]), np.array([0.5, 0.6, 0.4, 0.4]))
    np.testing.assert_allclose(np.exp(log_cost), [1, 1, 3])
    np.testing.assert_allclose(error, [0.6, 0.5, 0.4])
    log_cost, error = curve(np.array([1, 2, 3]), np.array([0.5, 0.45, 0.4]))
    np.testing.assert_allclose(np.exp(log_cost), [1, 2, 3])
    np.testing.assert_allclose(error, [0.5, 0.45, 0.4])


def test_a_family_whose_best_is_its_cheapest_still_has_a_curve():
    ours = curve(np.array([2.0, 2.1]), np.array([0.3, 0.6]))
    theirs = curve(np.array([8.0, 16.0]), np.array([0.5, 0.4]))
    assert overlap(theirs, ours) == (0.4, 0.5)
    assert log_factor(theirs, ours) == pytest.approx(math.log(8**0.5 * 16**0.5 / 2.0))


def test_curves_apart_have_no_factor():
    better = family("resonance", 1.0)
    worse = [{**row, "error": row["error"] + 1} for row in family("Transformer", 1.0)]
    table = factors(pd.DataFrame(better + worse))
    assert table["factor"].isna().all() and (table["seeds"] == 0).all() and list(table["cost"]) == list(COSTS)
    assert judged(table[table["cost"] == "memory"], 5.9) == ("not comparable", "")
    a, b = curve(np.array([1.0]), np.array([0.5])), curve(np.array([1.0, 2.0]), np.array([0.6, 0.4]))
    assert overlap(a, b) is None and math.isnan(log_factor(a, b))  # one size is a point, not a curve


def test_seeds_give_an_interval_around_the_truth():
    points = pd.DataFrame(family("Transformer", 2.0, 20, 0.01) + family("resonance", 1.0, 20, 0.01))
    found = factor(points, "parameters")
    assert found.low < 2.0 < found.high and found.high / found.low < 1.5


REACHED, MISSED, OPEN, APART = (7, 6.5, 8), (2, 1, 3), (4, 2, 9), (math.nan,) * 3


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ((REACHED, REACHED), "holds"),
        ((MISSED, REACHED), "holds if"),
        ((APART, REACHED), "holds if"),
        ((OPEN, MISSED), "false as printed"),
        ((APART, MISSED), "false as printed"),
        ((OPEN, APART), "not comparable"),
        (((7, 0.9, 90), OPEN), "not comparable"),  # so wide an interval reaches nothing
    ],
)
def test_verdicts_follow_from_the_intervals(tasks, expected):
    rows = [{"task": f"task {i}", "factor": f, "low": low, "high": high} for i, (f, low, high) in enumerate(tasks)]
    verdict, condition = judged(pd.DataFrame(rows), 5.9)
    assert verdict == expected and (condition == "the task is task 1") == (expected == "holds if")


@pytest.mark.parametrize(
    ("costs", "errors"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [math.nan]), ([math.inf], [1.0])]
)
def test_bad_points_are_refused(costs, errors):
    with pytest.raises(ValueError, match="expected"):
        curve(np.array(costs), np.array(errors))
