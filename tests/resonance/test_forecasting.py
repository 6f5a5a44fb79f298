"""The forecasting protocol and the closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from artifact.datasets.registry import available
from artifact.datasets.series import load_co2, load_etth1
from artifact.peers.forecasting import DLinear, Ridge, SeasonalNaive, fit_dlinear
from artifact.studies.forecasting.views import past_future_gain, window_forecasts
from resonance import ResonanceTimeSeriesNet
from resonance.forecasting import Series, evaluate, forecast_task
from resonance.polar import count_parameters
from resonance.time_series import Setting, band_moments, choose_closed_form, fine_tune, fit_closed_form

needs_etth1 = pytest.mark.skipif(not available("ETTh1"), reason="ETTh1 is not to be had here")


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


def test_seasonal_naive_repeats_the_last_period():
    past = torch.arange(24.0).reshape(1, 24, 1)
    assert SeasonalNaive(7, 5)(past).flatten().tolist() == [19, 20, 21, 22, 23, 19, 20]


def test_ridge_is_the_augmented_least_squares():
    task = forecast_task(toy_series(), 6)
    windows = task.windows("train", 24)
    past, future = windows.batch(torch.arange(len(windows)))
    level = past.mean(dim=1, keepdim=True)
    x = (past - level).movedim(1, 0).flatten(1).T.double()
    y = (future - level).movedim(1, 0).flatten(1).T.double()
    x = torch.cat([x, 3.0**0.5 * torch.eye(24, dtype=torch.float64)])
    y = torch.cat([y, torch.zeros(24, 6, dtype=torch.float64)])
    expected = torch.linalg.lstsq(x, y).solution.T
    torch.testing.assert_close(Ridge(windows, 3.0).matrix.double(), expected, rtol=1e-5, atol=1e-6)


def test_closed_form_is_the_complex_ridge_at_full_rank():
    torch.manual_seed(0)
    task = forecast_task(toy_series(), 6)
    windows = task.windows("train", 24)
    model = ResonanceTimeSeriesNet(6, 24, 2, rank=4, level_steps=12, taper=0.0)
    moments = band_moments(model, windows, calm=0.0)
    fit_closed_form(model, moments, ridge=2.0)
    gram = moments.past_past + 2.0 * torch.eye(13, dtype=torch.complex128)
    expected = moments.future_past @ torch.linalg.inv(gram)
    u, v = (torch.complex(*w.pair()) for w in (model.future, model.past))
    root = torch.tensor([1, 2, 2, 1], dtype=torch.float64).sqrt()
    torch.testing.assert_close(root[:, None] * (u @ v).to(torch.complex128), expected, rtol=1e-4, atol=1e-4)


def test_closed_form_is_optimal_among_perturbations():
    """No nearby factors of the same rank have a lower ridge loss."""
    torch.manual_seed(0)
    task = forecast_task(toy_series(), 6)
    model = ResonanceTimeSeriesNet(6, 24, 2, rank=2, level_steps=12, taper=0.0)
    moments = band_moments(model, task.windows("train", 24), calm=0.0)
    fit_closed_form(model, moments, ridge=5.0)
    root = torch.tensor([1, 2, 2, 1], dtype=torch.float64).sqrt()[:, None]

    def loss(u, v):
        b = root * (u @ v)
        quadratic = (b @ moments.past_past @ b.mH).diagonal().sum().real + 5.0 * b.abs().square().sum()
        return quadratic - 2 * (b @ moments.future_past.mH).diagonal().sum().real

    u, v = (torch.complex(*w.pair()).to(torch.complex128) for w in (model.future, model.past))
    start = loss(u, v)
    for _ in range(50):
        du, dv = (1e-3 * torch.randn_like(w) for w in (u, v))
        assert loss(u + du, v + dv) > start


def test_forecast_is_equivariant_to_level_and_linear():
    torch.manual_seed(0)
    model = ResonanceTimeSeriesNet(6, 24, 2, rank=2, level_steps=12).double()
    x = torch.randn(3, 24, 2, dtype=torch.float64)
    torch.testing.assert_close(model(x + 5.0), model(x) + 5.0)
    torch.testing.assert_close(model(2.0 * x), 2.0 * model(x))


def test_parameter_count_is_printed_formula():
    assert count_parameters(ResonanceTimeSeriesNet(96, 720, 7, rank=16)) == 2 * 16 * (361 + 49) < 30000


def test_choosing_and_tuning_touch_no_test_row():
    series = toy_series()
    changed = series.values.copy()
    changed[560:] = 1e6
    fits = []
    for values in (series.values, changed):
        task = forecast_task(Series("toy", values, series.channels, 12, "step"), 6)
        table, best = choose_closed_form(task, [(24, 0.5, 1.0, 2, 1.0), (24, 0.5, 1.0, 2, 100.0)])
        fit = fine_tune(task, best, best.moments(task), rate=1e-3, epochs=1, seed=0)
        fits.append((table, fit.validation_mse, best))
    assert fits[0][0].equals(fits[1][0]) and fits[0][1:] == fits[1][1:]
    assert isinstance(fits[0][2], Setting)


def test_fine_tuning_never_ends_worse_on_validation_than_it_began():
    task = forecast_task(toy_series(), 6)
    setting = Setting(24, 0.5, 1.0, 2, 10.0)
    moments = setting.moments(task)
    start = evaluate(setting.fitted(task, moments), task.windows("validation", 24))[0]
    assert fine_tune(task, setting, moments, rate=0.1, epochs=2, seed=0).validation_mse <= start


def test_dlinear_learns_the_toy():
    task = forecast_task(toy_series(), 6)
    train, validation = task.windows("train", 24), task.windows("validation", 24)
    model, rate, mse = fit_dlinear(train, validation, rate=1e-2, epochs=3, seed=0)
    assert isinstance(model, DLinear) and rate == 1e-2
    assert mse < 0.5 * evaluate(lambda past: past[:, -1:].expand(-1, 6, -1), validation)[0]


def test_tables_for_the_figures():
    task = forecast_task(toy_series(), 6)
    model = Setting(24, 0.5, 1.0, 2, 10.0).model(task)
    example = window_forecasts(task, {"resonance": model}, window=3, lookback=24)
    assert example["step"].iloc[-1] == 6 and example["resonance"].notna().sum() == 6
    assert len(past_future_gain(model)) == 4 * 13


def test_a_constant_channel_is_no_obstacle():
    values = toy_series().values.copy()
    values[:, 1] = 3.0
    task = forecast_task(Series("toy", values, ("a", "b"), 12, "step"), 6)
    _, best = choose_closed_form(task, [(24, 0.5, 1.0, 2, 1.0)])
    model = best.fitted(task, best.moments(task))
    past, _ = task.windows("test", 24).batch(torch.tensor([0]))
    torch.testing.assert_close(model(past)[..., 1], torch.zeros(1, 6), atol=1e-5, rtol=0)


def test_a_forecast_comes_in_the_units_of_the_series():
    series = toy_series(steps=708)
    series = Series("toy", 50.0 + 10.0 * series.values, series.channels, 12, "step")
    task = forecast_task(Series("toy", series.values[:696], series.channels, 12, "step"), 12)
    _, best = choose_closed_form(task, [(48, 0.0, 0.0, 4, 1.0)])
    forecast = task.forecast(best.fitted(task, best.moments(task)))
    assert forecast.shape == (12, 2)
    assert np.abs(forecast - series.values[696:]).mean() < 2.0  # noise of sd 1 on a wave of amplitude 10


def test_any_series_gets_a_task():
    task = forecast_task(load_co2(), 96)
    assert len(task.windows("train", 720)) > 0 and len(task.windows("test", 720)) > 0
