"""Conformal intervals: ranks, coverage where it is promised, correction where it is not, and no look ahead."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.studies.forecasting.quantiles import (
    Calibration,
    Residuals,
    adaptive_intervals,
    choose_power,
    coverage,
    intervals,
    residuals,
)
from resonance.forecasting import Series, forecast_task


def noise(windows, horizon=3, channels=2, scale=1.0, seed=0):
    error = scale * np.random.default_rng(seed).standard_normal((windows, horizon, channels))
    return Residuals(error, np.ones((windows, 1, channels)))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 60), level=st.floats(0.05, 0.99))
def test_bounds_are_the_order_statistics(n, level):
    seen = noise(n, seed=n)
    lower, upper = Calibration(seen, 0.0).bounds(1 - level)
    rank = max(1, min(int(np.floor((n + 1) * (1 - level) / 2 + 1e-9)), (n + 1) // 2))
    ordered = np.sort(seen.error, axis=0)
    np.testing.assert_array_equal(lower, ordered[rank - 1])
    np.testing.assert_array_equal(upper, ordered[n - rank])
    assert (lower <= upper).all()


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_exchangeable_windows_are_covered_as_promised(level):
    """Mean over 300 calibrations of 39 windows: at least the level, at most 2 / (n + 1) more."""
    held = [
        intervals(Calibration(noise(39, seed=2 * s), 0.0), noise(50, seed=2 * s + 1), level).held.mean()
        for s in range(300)
    ]
    error = 3 * np.std(held) / np.sqrt(len(held))
    assert level - error <= np.mean(held) <= level + 2 / 40 + error


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99))
def test_higher_levels_contain_lower_ones(seed):
    calibration, new = Calibration(noise(80, seed=seed), 0.0), noise(5, seed=seed + 100)
    narrow, wide = intervals(calibration, new, 0.5), intervals(calibration, new, 0.9)
    assert (wide.lower <= narrow.lower).all() and (wide.upper >= narrow.upper).all()


def test_scale_follows_the_window():
    seen = Residuals(np.ones((10, 2, 1)), np.full((10, 1, 1), 2.0))
    new = Residuals(np.zeros((1, 2, 1)), np.full((1, 1, 1), 6.0))
    for power, expected in ((0.0, 1.0), (0.5, 3.0**0.5), (1.0, 3.0)):
        np.testing.assert_allclose(intervals(Calibration(seen, power), new, 0.5).upper, expected)


def test_interval_score_by_hand():
    calibration = Calibration(Residuals(np.linspace(-1, 1, 99)[:, None, None], np.ones((99, 1, 1))), 0.0)
    lower, upper = calibration.bounds(0.2)
    new = Residuals(np.array([0.0, upper.item() + 0.3, lower.item() - 0.5])[:, None, None], np.ones((3, 1, 1)))
    found = intervals(calibration, new, 0.8)
    width = (upper - lower).item()
    np.testing.assert_allclose(found.score.ravel(), [width, width + 10 * 0.3, width + 10 * 0.5])
    assert found.held.ravel().tolist() == [True, False, False]


def test_the_right_width_has_the_best_score():
    """The interval score is proper: of all levels, the one it is scored at has the lowest."""
    calibration, new = Calibration(noise(4000), 0.0), noise(4000, seed=1)
    scores = {}
    for nominal in (0.5, 0.8, 0.95):
        found = intervals(calibration, new, nominal)
        outside = np.maximum(found.lower - new.error, 0) + np.maximum(new.error - found.upper, 0)
        scores[nominal] = (found.width + 2 / 0.2 * outside).mean()
    assert min(scores, key=scores.get) == 0.8


@pytest.mark.parametrize("scale", [0.4, 1.7])
def test_correction_restores_the_level_after_a_shift(scale):
    calibration, new = Calibration(noise(500), 0.0), noise(6000, scale=scale, seed=1)
    fixed, adaptive = (make(calibration, new, 0.8).held.mean() for make in (intervals, adaptive_intervals))
    assert abs(fixed - 0.8) > 0.1 and abs(adaptive - 0.8) < 0.02


def test_correction_uses_nothing_that_is_not_yet_known():
    """Window t may see value t' = origin + h of earlier windows up to its own origin, and no later one."""
    calibration, new = Calibration(noise(50), 0.0), noise(40, seed=1)
    t = 20
    changed = new.error.copy()
    for window in range(40):
        for step in range(1, 4):
            if window + step > t:  # not seen when window t is forecast
                changed[window, step - 1] = 99.0
    first, second = (
        adaptive_intervals(calibration, Residuals(error, new.deviation), 0.8, step=0.05)
        for error in (new.error, changed)
    )
    np.testing.assert_array_equal(first.upper[: t + 1], second.upper[: t + 1])
    assert (first.upper[t + 1] != second.upper[t + 1]).any()


def test_power_is_chosen_by_what_the_errors_do():
    generator = np.random.default_rng(0)
    deviation = np.exp(generator.standard_normal((600, 1, 1)))
    plain = generator.standard_normal((600, 2, 1))
    assert choose_power(Residuals(plain, deviation), [0.5, 0.8]) == 0.0
    assert choose_power(Residuals(plain * deviation, deviation), [0.5, 0.8]) == 1.0


def test_residuals_come_from_the_windows_in_order():
    values = np.random.default_rng(0).standard_normal((300, 2))
    task = forecast_task(Series("toy", values, ("a", "b"), 12, "step"), 6)
    windows = task.windows("validation", 24)
    found = residuals(lambda past: past[:, :6], windows)
    past, future = windows.batch(torch.arange(len(windows)))
    np.testing.assert_allclose(found.error, (future - past[:, :6]).numpy())
    np.testing.assert_allclose(found.deviation, past.std(dim=1, keepdim=True).numpy(), rtol=1e-6)


def test_coverage_table():
    found = intervals(Calibration(noise(50), 0.0), noise(30, seed=1), 0.8)
    table = coverage("fixed", found)
    assert table["step"].tolist() == [1, 2, 3] and table["coverage"].mean() == pytest.approx(found.held.mean())


def test_bad_input_is_named():
    calibration = Calibration(noise(5), 0.0)
    for make in (intervals, adaptive_intervals):
        with pytest.raises(ValueError, match=r"between 0 and 1, got 95"):
            make(calibration, noise(5), 95)
    with pytest.raises(ValueError, match="at least one window"):
        Calibration(noise(0), 0.0)
