"""The forecasting protocol: splits, scaling, windows, evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.datasets.registry import available
from artifact.datasets.series import load_co2, load_etth1
from artifact.peers.forecasting import SeasonalNaive
from resonance.forecasting import Series, evaluate, forecast_task, level_and_scale

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
