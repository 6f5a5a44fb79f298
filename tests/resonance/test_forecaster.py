"""The forecaster of one's own series: what it returns, what it may see, and what it says where it cannot do better."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from resonance import Forecaster
from resonance.forecaster import MOST, RIDGES, _choose, _half_widths, _lowest, _moments, _stride
from resonance.forecasting import ForecastTask, Series, level_and_scale


def wave(steps, period=12, channels=1, noise=0.3, seed=0):
    t, generator = np.arange(steps)[:, None], np.random.default_rng(seed)
    clean = 50.0 + 10.0 * np.sin(2 * np.pi * t / period + np.arange(channels))
    return clean + 10.0 * noise * generator.standard_normal((steps, channels)), clean


@pytest.mark.parametrize(("steps", "period", "horizon", "channels"), [(603, 12, 13, 2), (720, 7, 28, 1)])
def test_a_noisy_cycle_is_forecast_better_than_by_repeating_it(steps, period, horizon, channels):
    values, clean = wave(steps + horizon, period, channels)
    found = Forecaster(horizon, period=period).fit(values[:steps]).predict()
    shape = (horizon, channels)
    assert found.values.shape == found.lower.shape == found.upper.shape == shape
    np.testing.assert_array_equal(found.times, steps + np.arange(horizon))
    assert found.held_back["resonance"].mse < 0.7 * found.held_back["seasonal repeat"].mse
    assert abs(found.values - clean[steps:]).mean() < 2.0  # noise of deviation 3
    assert found.method == min(found.held_back, key=lambda name: found.held_back[name].mse)
    assert f"Returned: {found.method}" in str(found) and all(name in str(found) for name in found.held_back)
    inside = (found.lower <= values[steps:]) & (values[steps:] <= found.upper)
    assert inside.mean() > 0.7 and 0.7 < found.coverage <= 1


def test_where_the_repeat_is_exact_it_is_returned_and_said():
    pattern = np.random.default_rng(0).normal(size=12)
    found = Forecaster(20, period=12).fit(np.tile(pattern, 30)).predict()
    np.testing.assert_allclose(found.values[:, 0], np.resize(pattern, 20), atol=1e-5)
    walk = np.random.default_rng(1).normal(size=(600, 1)).cumsum(0)
    found = Forecaster(20, period=1).fit(walk).predict()
    errors = {name: error.mse for name, error in found.held_back.items()}
    assert found.held_back[found.method].mse <= 1.0001 * errors["seasonal repeat"]
    assert ("resonance did not beat it" in str(found)) == (found.method != "resonance")


def test_the_held_back_rows_choose_no_setting_and_every_row_reaches_the_forecast():
    values, _ = wave(500)
    changed = values.copy()
    changed[400:] = np.random.default_rng(9).normal(size=(100, 1))

    def chosen(values):
        series = Series("toy", values, ("a",), 12, "step")
        task = ForecastTask(series, 6, (300, 400, 500), *level_and_scale(values[:300]))
        methods, notes = _choose(task)
        lookback, forecast = methods["resonance"](task)
        return lookback, forecast(torch.ones(1, lookback, 1).cumsum(1)).detach(), notes

    for one, other in zip(chosen(values), chosen(changed), strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    first, second = (Forecaster(6, period=12).fit(v).predict() for v in (values, changed))
    assert abs(first.values - second.values).min() > 1


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_units_are_those_of_the_series_whatever_their_size(scale):
    values, _ = wave(300, channels=2)
    values /= 100.0  # below 1, so that no value overflows
    expected = Forecaster(7, period=12).fit(values).predict()
    found = Forecaster(7, period=12).fit(values * scale).predict()
    for name in ("values", "lower", "upper"):
        np.testing.assert_allclose(getattr(found, name) / scale, getattr(expected, name), rtol=1e-3)


def test_a_constant_channel_stays_constant_with_no_width():
    values = np.concatenate([wave(300)[0], np.full((300, 1), 3.0)], axis=1)
    found = Forecaster(7, period=12).fit(values).predict()
    np.testing.assert_allclose(found.values[:, 1], 3.0, atol=1e-4)
    assert (found.upper - found.lower)[:, 1].max() < 1e-4 < (found.upper - found.lower)[:, 0].min()
    alone = Forecaster(7, period=12).fit(values[:, 1]).predict()
    np.testing.assert_allclose(alone.values, 3.0)


def test_times_period_and_filled_values_are_those_of_the_series():
    times = np.arange("2024-01-31", "2025-02-04", dtype="M8[D]").astype("M8[ns]")
    values, _ = wave(len(times), 7)
    series = Series("shop", values, ("sales",), 7, "day", times=times, filled=3)
    found = Forecaster(28).fit(series).predict()
    np.testing.assert_array_equal(found.times, times[-1] + np.arange(1, 29).astype("m8[D]"))
    assert found.channels == ("sales",) and "3 values" in str(found)


@pytest.mark.parametrize(("steps", "period", "horizon"), [(36, 24, 12), (60, 24, 24), (100, 24, 60), (80, 70, 3)])
def test_a_short_series_gets_the_seasonal_repeat_and_a_sentence(steps, period, horizon):
    values, _ = wave(steps, period)
    found = Forecaster(horizon, period=period).fit(values).predict()
    assert found.method == "seasonal repeat" and list(found.held_back) == ["seasonal repeat"]
    assert f"period {period} and horizon {horizon}" in str(found)
    np.testing.assert_allclose(found.values[:, 0], np.resize(values[-period:, 0], horizon), rtol=1e-5)
    assert np.isfinite([found.lower, found.upper]).all()


@pytest.mark.parametrize(("steps", "period", "horizon"), [(100, 24, 24), (50, 1, 3), (64, 7, 7)])
def test_a_short_series_that_leaves_windows_is_fitted(steps, period, horizon):
    found = Forecaster(horizon, period=period).fit(wave(steps, 12)[0]).predict()
    assert len(found.held_back) == 3 and np.isfinite(found.values).all()


def test_intervals_hold_their_level_of_exchangeable_errors_and_widen_where_the_measured_ones_do_not():
    generator = np.random.default_rng(0)
    before, held, new = abs(generator.standard_normal((3, 400, 5, 2)))
    half, measured, widened = _half_widths(before, held, 0.8)
    assert abs((new <= half).mean() - 0.8) < 0.03 and abs(measured - 0.8) < 0.03 and widened < 1.1
    half, measured, widened = _half_widths(before, 2 * held, 0.8)
    assert measured < 0.6 and 1.8 < widened < 2.2 and (2 * new <= half).mean() > 0.8
    one, nan, _ = _half_widths(None, held[:1], 0.8)
    np.testing.assert_array_equal(one, held[0])
    assert np.isnan(nan)


@pytest.mark.parametrize("at", [0, 3, len(RIDGES) // 2, len(RIDGES) - 1])
def test_the_ridges_widen_until_the_best_is_inside(at):
    assert _lowest(lambda ridge: (abs(np.log(ridge / 2.0 / RIDGES[at])), ridge), 2.0)[1] == 2.0 * RIDGES[at]


@pytest.mark.parametrize("period", [1, 7, 24])
def test_windows_left_out_are_of_every_phase(period):
    stride = _stride(10 * MOST, period, MOST)
    assert stride >= 10 and len({stride * at % period for at in range(period)}) == period
    series = Series("toy", wave(MOST // 2 + 99)[0].repeat(4, axis=1), tuple("abcd"), 24, "step")
    task = ForecastTask(series, 5, (len(series.values),) * 3, *level_and_scale(series.values))
    assert _moments(task, "train", 24).count <= 1.1 * 5 * MOST


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: Forecaster(0), ValueError, "horizon >= 1"),
        (lambda: Forecaster(5, coverage=1.0), ValueError, r"coverage in \(0, 1\)"),
        (lambda: Forecaster(5, period=0), ValueError, "period >= 1"),
        (lambda: Forecaster(5).predict(), RuntimeError, "fit"),
        (lambda: Forecaster(5).fit(np.zeros(100)), ValueError, "period="),
        (lambda: Forecaster(96, period=24).fit(np.zeros(100)), ValueError, "at least 120 rows.*24.*96; got 100"),
        (lambda: Forecaster(5, period=2).fit([1.0, np.nan] * 50), ValueError, "finite"),
    ],
)
def test_what_cannot_be_forecast_is_refused_with_what_was_expected(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_a_fit_leaves_torchs_random_numbers_alone():
    values, _ = wave(300)
    torch.manual_seed(3)
    expected = torch.rand(2)
    found = []
    for seed in (3, 4):
        torch.manual_seed(seed)
        found.append(Forecaster(6, period=12).fit(values).predict().values)
        assert torch.equal(torch.rand(2), expected) == (seed == 3)
    np.testing.assert_array_equal(*found)


def test_a_ridge_at_the_end_of_its_grid_is_noted():
    """A recurrence without noise wants no ridge at all."""
    exact = np.sin(2 * np.pi * np.arange(400) / 12)
    said = [note for note in Forecaster(6, period=12).fit(exact).predict().notes if "end of those tried" in note]
    assert said and all("1e-09 of the mean square" in note for note in said)
    noisy = Forecaster(6, period=12).fit(wave(600)[0]).predict().notes
    assert not any("end of those tried" in note for note in noisy)


def test_the_defaults_of_torch_change_no_forecast():
    values, _ = wave(150)
    plain = Forecaster(5, period=12).fit(values).predict().values
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        np.testing.assert_array_equal(Forecaster(5, period=12).fit(values).predict().values, plain)
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


def test_dates_are_not_lost():
    days = pd.date_range("2020-01-01", periods=60)
    for frame in (pd.Series(wave(60)[0][:, 0], days[::-1]), pd.DataFrame(wave(60)[0], days)):
        with pytest.raises(TypeError, match="times="):
            Forecaster(5, period=7).fit(frame)
    plain = Forecaster(5, period=7).fit(wave(60)[0]).predict().values
    np.testing.assert_array_equal(Forecaster(5, period=7).fit(pd.DataFrame(wave(60)[0])).predict().values, plain)
    gap = Series("gap", wave(59)[0], ("a",), 7, "day", times=np.delete(days, 30))
    with pytest.raises(ValueError, match="missing after 2020-01-30"):
        Forecaster(5).fit(gap)
