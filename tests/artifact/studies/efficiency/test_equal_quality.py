"""Factors at equal quality: closed forms, bounds where curves share no error, and the errors of bad input."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.studies.efficiency.equal_quality import (
    AT_LEAST,
    AT_MOST,
    COSTS,
    EXACT,
    OPEN,
    curve,
    factor,
    factors,
    judged,
    log_factor,
    overlap,
)


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
    assert found.factor == pytest.approx(shift) and found.low == pytest.approx(found.high)
    assert (found.bound, found.overlapping, found.seeds) == (EXACT, 3, 3)


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
    assert log_factor(theirs, ours) == (pytest.approx(math.log(8**0.5 * 16**0.5 / 2.0)), EXACT)


def test_one_size_is_compared_at_its_own_quality():
    point, line = curve(np.array([1.0]), np.array([0.5])), curve(np.array([2.0, 8.0]), np.array([0.6, 0.4]))
    assert overlap(point, line) == (0.5, 0.5) and log_factor(line, point) == (pytest.approx(math.log(4)), EXACT)


def test_curves_apart_bound_the_factor():
    """Ours from 1 to 8 and better at every size: for the quality of our size 1, theirs needs more than its size 24."""
    better = family("resonance", 1.0)
    worse = [{**row, "error": row["error"] + 1} for row in family("Transformer", 3.0)]
    table = factors(pd.DataFrame(better + worse))
    assert list(table["cost"]) == list(COSTS) and set(table["bound"]) == {AT_LEAST} and (table["seeds"] == 3).all()
    assert table["factor"].to_list() == pytest.approx([24.0] * 4) and (table["overlapping"] == 0).all()
    assert judged(table[table["cost"] == "memory"], 24.0)[0] == "holds"
    other = factor(pd.DataFrame(better + worse), "memory", theirs="resonance", ours="Transformer")
    assert other.bound == AT_MOST and other.factor == pytest.approx(1 / 24)


@given(st.floats(0.1, 10.0), st.floats(0.0, 3.0))
@settings(deadline=None)
def test_a_bound_is_never_beyond_the_truth(shift, apart):
    """Theirs and ours have one law, log cost linear in the error; the bound of sizes apart is below the true factor."""
    sizes = np.array([1.0, 2.0, 4.0, 8.0])

    def error(cost):  # of ours; theirs pays `shift` times more
        return 1 - np.log2(cost) / 10

    ours, theirs = sizes * 2.0 ** (3.5 + apart), sizes * shift
    value, bound = log_factor(curve(theirs, error(theirs / shift)), curve(ours, error(ours)))
    assert bound == AT_LEAST and value <= math.log(shift) + 1e-9


def test_no_seed_is_left_out():
    points = pd.DataFrame(family("Transformer", 2.0) + family("resonance", 1.0))
    theirs = points["family"] == "Transformer"
    points.loc[theirs & (points["seed"] == 2), "error"] += 1
    found = factor(points, "memory")
    assert (found.bound, found.overlapping, found.seeds) == (AT_LEAST, 2, 3)
    assert found.factor == pytest.approx((2.0 * 2.0 * 16.0) ** (1 / 3))
    points.loc[theirs & (points["seed"] == 1), "error"] -= 1
    assert factor(points, "memory").bound == OPEN


def test_seeds_give_an_interval_around_the_truth():
    points = pd.DataFrame(family("Transformer", 2.0, 20, 0.01) + family("resonance", 1.0, 20, 0.01))
    found = factor(points, "parameters")
    assert found.low < 2.0 < found.high and found.high / found.low < 1.5


REACHED, MISSED, UNSURE = (7, 6.5, 8, EXACT, 0.001), (2, 1, 3, EXACT, 0.2), (4, 2, 9, EXACT, 0.01)
ABOVE, BELOW, BOTH = (7, 6.5, 8, AT_LEAST, 0.001), (2, 1, 3, AT_MOST, 0.2), (7, 6.5, 8, OPEN, 0.001)


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ((REACHED, REACHED), "holds"),
        ((REACHED, ABOVE), "holds"),
        ((MISSED, REACHED), "holds if"),
        ((BOTH, ABOVE), "holds if"),
        ((UNSURE, MISSED), "false as printed"),
        ((BOTH, BELOW), "false as printed"),
        ((UNSURE, BOTH), "not comparable"),
        (((2, 1, 3, AT_LEAST, 0.2), UNSURE), "not comparable"),  # a lower bound below the printed factor says nothing
        (((7, 6.5, 8, AT_MOST, 0.001), UNSURE), "not comparable"),  # nor an upper bound above it
        (((7, 0.9, 90, EXACT, 0.2), UNSURE), "not comparable"),  # so wide an interval reaches nothing
    ],
)
def test_verdicts_follow_from_the_intervals(tasks, expected):
    columns = ["factor", "low", "high", "bound", "adjusted"]
    table = pd.DataFrame(tasks, columns=columns).assign(task=[f"task {i}" for i in range(len(tasks))])
    verdict, condition, literal = judged(table, 5.9)
    assert verdict == expected and (condition == "the task is task 1") == (expected == "holds if")
    assert (literal == "false as printed") == any(task in (MISSED, BELOW) for task in tasks)


def test_the_family_of_comparisons_is_adjusted():
    points = pd.DataFrame(family("Transformer", 2.0, 5, 0.02) + family("resonance", 1.0, 5, 0.02))
    two = pd.concat([points, points.assign(task="again", memory=points["memory"] ** 1.1)])
    table = factors(two)
    assert set(table["peer"]) == {"Transformer"} and len(table) == 8
    assert (table["adjusted"] >= table["p"]).all() and table["adjusted"].max() > table["p"].max() / 2


@pytest.mark.parametrize(
    ("costs", "errors"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [math.nan]), ([math.inf], [1.0])]
)
def test_bad_points_are_refused(costs, errors):
    with pytest.raises(ValueError, match="expected"):
        curve(np.array(costs), np.array(errors))


def test_a_table_of_factors_is_judged_alike_after_it_was_saved(tmp_path):
    table = factors(pd.DataFrame(family("Transformer", 7.0) + family("resonance", 1.0)))
    table.to_csv(tmp_path / "factors.csv", index=False)
    for rows in (table, pd.read_csv(tmp_path / "factors.csv")):
        assert judged(rows[rows["cost"] == "memory"], 5.9) == ("holds", "", "holds")
