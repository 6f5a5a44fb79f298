"""Intervals that stay where their values can lie, that cover as often as they say, and families of comparisons."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from artifact.studies.common.statistics import (
    family,
    holm,
    mean_interval,
    ratio_interval,
    share_interval,
    wilson_interval,
)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=8))
def test_an_interval_of_percentages_stays_in_its_range(values):
    mean, low, high = share_interval(values, whole=100)
    assert 0 <= low <= mean + 1e-9 and mean - 1e-9 <= high <= 100
    assert mean == pytest.approx(np.mean(values))


def test_far_from_the_ends_it_is_the_student_interval():
    values = 0.5 + 0.002 * np.random.default_rng(0).standard_normal(6)
    np.testing.assert_allclose(share_interval(values), mean_interval(values), atol=1e-6)


def test_near_an_end_it_is_not_symmetric():
    student, (mean, low, high) = mean_interval([99.0, 100.0, 98.0]), share_interval([99.0, 100.0, 98.0], whole=100)
    assert student[2] > 100 > high > mean and high - mean < mean - low


def test_a_share_interval_covers_as_often_as_it_says():
    """Five seeds, each the share right of 200 independent items at 97%: 95 of 100 intervals hold the truth."""
    drawn = np.random.default_rng(0).binomial(200, 0.97, size=(4000, 5)) / 200
    covered = [low <= 0.97 <= high for _, low, high in map(share_interval, drawn)]
    assert 0.93 < np.mean(covered) < 0.97


def test_one_value_has_no_interval_and_a_value_outside_is_refused():
    assert share_interval([0.5])[0] == 0.5 and math.isnan(share_interval([0.5])[1])
    assert share_interval([100.0, 100.0], whole=100) == (100, 100, 100)
    with pytest.raises(ValueError, match="expected proportions in"):
        share_interval([0.5, 1.5])
    with pytest.raises(ValueError, match="expected proportions in"):
        share_interval([0.5, math.nan])


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (3, 5), (990, 1000), (1, 3000)])
def test_wilson_is_that_of_the_textbook(successes, trials):
    share, low, high = wilson_interval(successes, trials)
    np.testing.assert_allclose((low, high), proportion_confint(successes, trials, method="wilson"), atol=1e-12)
    assert 0 <= low <= share <= high <= 1 and low < high


@pytest.mark.parametrize("counts", [(-1, 5), (6, 5), (0, 0)])
def test_counts_that_are_none_are_refused(counts):
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(*counts)


def test_a_ratio_of_seconds_is_the_same_upside_down():
    source = np.random.default_rng(0)
    a, b = source.lognormal(1, 0.1, 7), source.lognormal(0, 0.1, 7)
    ratio, low, high = ratio_interval(a, b)
    np.testing.assert_allclose(ratio_interval(b, a), (1 / ratio, 1 / high, 1 / low))
    assert ratio == pytest.approx(stats.gmean(a / b)) and 0 < low < ratio < high
    shared = source.lognormal(0, 1, 7)  # a slow moment of the machine slows both
    np.testing.assert_allclose(ratio_interval(a * shared, b * shared), (ratio, low, high))


def test_a_ratio_of_nothing_is_refused():
    for pair in (([1, 2], [1]), ([], []), ([1, 0], [1, 1])):
        with pytest.raises(ValueError, match="pairs of positive"):
            ratio_interval(*pair)
    assert ratio_interval([4], [2])[0] == pytest.approx(2) and math.isnan(ratio_interval([4], [2])[1])


@settings(max_examples=20)  # statsmodels collects garbage in every call, for a quarter of a second
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_the_textbook(p):
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-12)
    gaps = [*p[:1], math.nan, *p[1:]]
    np.testing.assert_allclose(np.delete(holm(gaps), 1), holm(p))
    assert math.isnan(holm(gaps)[1])


def test_a_family_counts_those_made_and_those_that_differ_after_holm():
    nan = math.nan
    differences = {"a": (1.0, 0, 2, 0.01), "b": (-1.0, -2, 0, 0.001), "c": (3.0, 0, 6, 0.03), "d": (1.0, nan, nan, nan)}
    adjusted, counts = family(differences)
    assert counts == (3, 2, 1) and adjusted["b"] == pytest.approx(0.003) and math.isnan(adjusted["d"])
    assert family({"a": (1.0, 0, 2, 0.04), "b": (1.0, 0, 2, 0.04)})[1] == (2, 0, 0)
