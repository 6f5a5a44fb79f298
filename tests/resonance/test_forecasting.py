"""The forecasting protocol: splits, scaling, windows, evaluation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.datasets.registry import available
from artifact.datasets.series import load_co2, load_etth1
from artifact.peers.forecasting import SeasonalNaive
from resonance.forecasting import Series, calendar, evaluate, forecast_task, level_and_scale

needs_etth1 = pytest.mark.skipif(not available("ETTh1"), reason="ETTh1 is not available")


def toy_series(steps=700, channels=2, seed=0):
    generator = np.random.default_rng(seed)
    t = np.arange(steps)[:, None]
    values = np.sin(2 * np.pi * t / 12 + np.arange(channels)) + 0.1 * generator.standard_normal((steps, channels))
    return Series("toy", values, tuple("ab"[:channels]), period=12, step="step")


@needs_etth1
def test_etth1_protocol():
    series = load_etth1()
    assert series.values.shape == (17420, 7)
    task = forecast_task(series, 96)
    assert task.borders == (8640, 11520, 14400)
    for lookback in (336, 720):
        assert len(task.windows("test", lookback)) == 2785
        assert len(task.windows("validation", lookback)) == 2785
        assert len(task.windows("train", lookback)) == 8640 - lookback - 96 + 1
    np.testing.assert_array_equal(task.mean, series.values[:8640].mean(axis=0))


@needs_etth1
def test_published_row_counts_every_window_once():
    windows = forecast_task(load_etth1(), 96).windows("test", 336)
    assert sum(len(past) for past, _ in windows.batches(512)) == 2785


def test_no_test_row_reaches_the_scaler():
    series = toy_series()
    changed = series.values.copy()
    changed[420:] += 1000.0  # validation and test rows
    a, b = forecast_task(series, 12), forecast_task(Series("toy", changed, series.channels, 12, "step"), 12)
    np.testing.assert_array_equal(a.mean, b.mean)
    np.testing.assert_array_equal(a.std, b.std)


def test_windows_look_back_across_the_border_and_never_forecast_before_it():
    series = toy_series()
    task = forecast_task(series, 12)
    scaled = torch.from_numpy((series.values - task.mean) / task.std).float()
    windows = task.windows("test", 48)
    past, future = windows.batch(torch.tensor([0, len(windows) - 1]))
    torch.testing.assert_close(past[0], scaled[560 - 48 : 560])
    torch.testing.assert_close(future[0], scaled[560:572])
    torch.testing.assert_close(future[1], scaled[-12:])


def test_no_window_is_a_clear_error():
    with pytest.raises(ValueError, match=r"lookback=690.*no train window"):
        forecast_task(toy_series(), 12).windows("train", 690)


def test_evaluate_is_the_plain_mean():
    task = forecast_task(toy_series(), 12)
    windows = task.windows("test", 48)
    naive = SeasonalNaive(12, 12)
    past, future = windows.batch(torch.arange(len(windows)))
    error = (naive(past) - future).double()
    mse, mae = evaluate(naive, windows, size=7)
    assert mse == pytest.approx(error.square().mean().item())
    assert mae == pytest.approx(error.abs().mean().item())


def test_any_series_gets_a_task():
    task = forecast_task(load_co2(), 96)
    assert len(task.windows("train", 720)) > 0 and len(task.windows("test", 720)) > 0


# --------------------------------------------------------------------------- scales


@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-300, 1e-160, 1.0, 14.62, 1e9, 1e160, 1e300, 1.7e308])
def test_scales_are_finite_and_follow_the_size_of_a_channel(size):
    rows = size * np.stack([np.linspace(-1, 1, 90), np.ones(90), np.r_[np.ones(89), 1 + 2e-15]], axis=1)
    mean, std = level_and_scale(rows)
    assert np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()
    np.testing.assert_allclose(mean, size * np.array([0, 1, 1]), rtol=1e-12, atol=1e-12 * size)
    np.testing.assert_allclose(std[1:], max(size, 1))
    if size > 1e-307:  # below, what is left of a deviation is rounding
        np.testing.assert_allclose(std[0], size * np.linspace(-1, 1, 90).std(), rtol=1e-12)
    task = forecast_task(Series("sizes", rows, ("ramp", "flat", "rounded"), 1, "step"), 6)
    for split in ("train", "test"):
        assert task.windows(split, 12).series.abs().max() < 5


@given(st.integers(2, 40), st.integers(-60, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_scales_are_those_of_numpy_to_the_bit(n, exponent, seed):
    rows = np.random.default_rng(seed).standard_normal((n, 3)) * 10.0**exponent
    mean, std = level_and_scale(rows)
    np.testing.assert_array_equal(mean, rows.mean(axis=0))
    np.testing.assert_array_equal(std, rows.std(axis=0))
    task = forecast_task(Series("noise", np.tile(rows, (9, 1)), ("a", "b", "c"), 1, "step"), 1)
    direct = torch.from_numpy((rows - task.mean) / task.std).float()
    assert torch.equal(task.standardised(rows), direct)


def test_a_change_after_a_constant_stretch_is_measured_by_its_level():
    values = np.full((100, 1), 14.62)
    values[85:] += 1
    test = forecast_task(Series("set point", values, ("a",), 1, "step"), 5).windows("test", 10)
    assert test.series.max().item() == pytest.approx(1 / 14.62)


# --------------------------------------------------------------------------- calendars

FREQUENCIES = {  # of pandas: name of a step, period
    "10ms": ("0.01-second step", 1),
    "s": ("second", 1),
    "5min": ("5-minute step", 288),
    "15min": ("15-minute step", 96),
    "h": ("hour", 24),
    "7h": ("7-hour step", 1),
    "D": ("day", 7),
    "2D": ("2-day step", 1),
    "B": ("business day", 5),
    "W": ("week", 52),
    "SME": (None, None),
    "MS": ("month", 12),
    "ME": ("month", 12),
    "BME": ("month", 12),
    "BMS": ("month", 12),
    "QS": ("quarter", 4),
    "QE-NOV": ("quarter", 4),
    "YE-JUN": ("year", 1),
}


@pytest.mark.parametrize("freq", FREQUENCIES)
@pytest.mark.parametrize("start", ["1969-10-30 00:00", "2019-12-31 06:30"])
def test_what_follows_is_what_pandas_continues(freq, start):
    dates = pd.date_range(start, periods=700 if freq == "5min" else 230, freq=freq).as_unit("ns").to_numpy()
    if freq == "SME":  # the 15th and the last: no even step
        with pytest.raises(ValueError, match="evenly spaced"):
            calendar(dates)
        return
    known = dates[:-30]
    found = calendar(known)
    assert (found.step, found.period) == FREQUENCIES[freq] and (np.diff(found.numbers) == 1).all()
    series = Series("dated", np.zeros((len(known), 1)), ("a",), found.period, found.step, times=known)
    np.testing.assert_array_equal(series.following(30), dates[-30:])


@pytest.mark.parametrize("freq", ["15min", "h", "D", "B", "W", "MS", "ME", "BME", "QE"])
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_row_left_out_is_a_gap_and_its_time_is_known(freq, data):
    dates = pd.date_range("2020-02-29", periods=60, freq=freq).as_unit("ns").to_numpy()
    left_out = data.draw(st.sets(st.integers(1, 58), max_size=8))
    kept = np.setdiff1d(np.arange(60), list(left_out))
    found = calendar(dates[kept])
    np.testing.assert_array_equal(found.numbers, kept)
    np.testing.assert_array_equal(found.time(np.arange(63)[:60]), dates)


def test_days_of_a_week_without_some():
    days = np.datetime64("2020-01-01") + np.arange(70)
    weekday = (days.astype(int) + 3) % 7
    for kept in ({0, 1, 2, 3, 4, 5}, {0, 3}, {5, 6}):
        some = days[np.isin(weekday, list(kept))]
        found = calendar(some[:-4])
        assert found.period == len(kept) and (np.diff(found.numbers) == 1).all()
        np.testing.assert_array_equal(found.time(found.numbers[-1] + 1 + np.arange(4)), some[-4:])


def test_a_clock_that_jitters_keeps_its_step():
    jitter = np.random.default_rng(0).integers(0, 20, 400).astype("m8[s]")
    times = np.datetime64("2020-01-01", "ns") + np.arange(400) * np.timedelta64(300, "s") + jitter
    found = calendar(np.delete(times, np.r_[50:180]))
    assert (found.step, found.period) == ("5-minute step", 1)
    np.testing.assert_array_equal(found.numbers, np.r_[:50, 180:400])
    after = found.time(np.arange(400, 410)) - np.datetime64("2020-01-01", "ns")
    assert (abs(after / np.timedelta64(300, "s") - np.arange(400, 410)) < 0.1).all()


def test_without_times_the_rows_are_counted():
    np.testing.assert_array_equal(toy_series(70).following(3), [70, 71, 72])


def test_no_time_is_counted_past_the_range_of_nanoseconds():
    times = pd.date_range("2200-01-01", periods=60, freq="YS").as_unit("ns").to_numpy()
    series = Series("far", np.zeros((60, 1)), ("a",), 1, "year", times=times)
    assert series.following(2)[-1] == np.datetime64("2261-01-01")
    with pytest.raises(ValueError, match="2261"):
        series.following(5)


@pytest.mark.parametrize(
    ("values", "times"),
    [
        (np.zeros((4, 2)), None),
        (np.zeros(4), None),
        (np.array([[0.0], [np.nan]]), None),
        (np.zeros((2, 1)), np.array(["2020-01-02", "2020-01-01"], "M8[ns]")),
        (np.zeros((2, 1)), np.array(["2020-01-01"], "M8[ns]")),
    ],
)
def test_a_series_is_checked(values, times):
    with pytest.raises(ValueError, match="expected"):
        Series("bad", values, ("a",), 1, "step", times=times)
