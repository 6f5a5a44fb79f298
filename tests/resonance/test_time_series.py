"""The forecaster: its equation, its closed form, and the choice of its setting on validation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from resonance import ResonanceTimeSeriesNet
from resonance.forecasting import Series, Windows, evaluate, forecast_task
from resonance.polar import count_parameters
from resonance.spectral import analysis
from resonance.time_series import (
    BandMoments,
    Moments,
    RidgePath,
    Setting,
    band_moments,
    choose_closed_form,
    fine_tune,
    fit_closed_form,
)


def toy_series(steps=700, channels=2, seed=0, noise=0.1):
    generator = np.random.default_rng(seed)
    t = np.arange(steps)[:, None]
    values = np.sin(2 * np.pi * t / 12 + np.arange(channels)) + noise * generator.standard_normal((steps, channels))
    return Series("toy", values, tuple("abc"[:channels]), period=12, step="step")


def direct_moments(model, windows, *, variance_power):
    """Moments of the spectra by the transform of every window: eq:closed-form as it is written."""
    bins = model.future.magnitude.shape[0]
    past, future = windows.batch(torch.arange(len(windows)))
    past, future = past.double(), future.double()
    weight = past.std(dim=1, keepdim=True).clamp_min(1e-3) ** (-variance_power / 2)  # (windows, 1, channels)
    level = past[:, -model.level_steps :].mean(dim=1, keepdim=True)
    spectra = []
    for part, k, n in (
        ((past - level) * model.down_weighting(past), model.num_frequencies, model.lookback),
        (future - level, bins, model.pred_horizon),
    ):
        spectrum = torch.complex(*analysis(part, k, grid=n, engine="fft")) * weight  # (windows, k, channels)
        spectra.append(spectrum.movedim(1, 0).flatten(1))
    ends = [0, bins - 1] if model.pred_horizon % 2 == 0 else [0]
    root = torch.full((bins, 1), 2.0, dtype=torch.float64).index_fill(0, torch.tensor(ends), 1.0).sqrt()
    x, y = spectra[0], root * spectra[1]
    return BandMoments(x @ x.mH, y @ x.mH)


def test_closed_form_is_the_complex_ridge_at_full_rank():
    torch.manual_seed(0)
    task = forecast_task(toy_series(), 6)
    windows = task.windows("train", 24)
    model = ResonanceTimeSeriesNet(6, 24, 2, rank=4, level_steps=12, taper=0.0)
    moments = band_moments(model, Moments.of(windows, 12))
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
    moments = band_moments(model, Moments.of(task.windows("train", 24), 12))
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
        errors, best = choose_closed_form(task, [(24, 0.5, 1.0, 2, 1.0), (24, 0.5, 1.0, 2, 100.0)])
        fit = fine_tune(task, best, best.moments(task), rate=1e-3, epochs=1, seed=0)
        fits.append((errors, fit.validation_mse, best))
    assert fits[0] == fits[1] and isinstance(best, Setting)


def test_fine_tuning_never_ends_worse_on_validation_than_it_began():
    task = forecast_task(toy_series(), 6)
    setting = Setting(24, 0.5, 1.0, 2, 10.0)
    moments = setting.moments(task)
    start = evaluate(setting.fitted(task, moments), task.windows("validation", 24))[0]
    assert fine_tune(task, setting, moments, rate=0.1, epochs=2, seed=0).validation_mse <= start


def test_a_constant_channel_is_forecast_as_constant():
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


@pytest.mark.parametrize(("horizon", "channels"), [(6, 2), (7, 1), (12, 3)])
def test_the_choice_is_that_of_fitting_and_forecasting_with_every_setting(horizon, channels):
    task = forecast_task(toy_series(500, channels, noise=0.3), horizon)
    grid = list(product([24, 36], [0.0, 0.5], [0.0, 1.0], [1, 3], [1.0, 100.0]))
    errors, chosen = choose_closed_form(task, grid)
    assert list(errors) == sorted(Setting(*point) for point in grid)
    expected = {}
    for setting in errors:
        model = setting.model(task)
        windows = task.windows("train", setting.lookback)
        moments = direct_moments(model, windows, variance_power=setting.variance_power)
        expected[setting] = evaluate(
            fit_closed_form(model, moments, setting.ridge), task.windows("validation", setting.lookback)
        )[0]
    assert chosen == min(expected, key=expected.get)
    assert errors == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def linear_map(model):
    """Matrix T (horizon, lookback) of a forecaster, from its responses to unit impulses."""
    lookback, channels = model.lookback, model.channels
    impulses = torch.eye(-(-lookback // channels) * channels, lookback).unflatten(0, (-1, channels))
    return model(impulses.transpose(1, 2)).transpose(1, 2).flatten(0, 1)[:lookback].T


@pytest.mark.parametrize("channels", [1, 2, 7])
def test_a_forecaster_is_linear(channels):
    torch.manual_seed(0)
    model = ResonanceTimeSeriesNet(10, 25, channels, rank=3, level_steps=5)
    past = torch.randn(4, 25, channels)
    torch.testing.assert_close(linear_map(model) @ past, model(past), rtol=1e-4, atol=1e-5)


def test_error_from_moments_is_the_error():
    torch.manual_seed(0)
    windows = forecast_task(toy_series(), 6).windows("validation", 24)
    matrix = 0.1 * torch.randn(6, 24)
    error = Moments.of(windows, 5).mean_squared_error(matrix)

    def forecast(past):
        level = past[:, -5:].mean(dim=1, keepdim=True)
        return level + matrix @ (past - level)

    assert error == pytest.approx(evaluate(forecast, windows)[0], rel=1e-6)


@pytest.mark.parametrize(("horizon", "lookback"), [(6, 24), (7, 25), (40, 13)])
def test_a_ridge_path_is_the_error_of_each_fit(horizon, lookback):
    task = forecast_task(toy_series(500, noise=0.5), horizon)
    validation = Moments.of(task.windows("validation", lookback), 12)
    model = ResonanceTimeSeriesNet(horizon, lookback, 2, rank=1, level_steps=12, taper=0.5)
    train = band_moments(model, Moments.of(task.windows("train", lookback), 12))
    for ridge in (1e-2, 30.0):
        errors = RidgePath(model, train, validation).errors(ridge)
        assert len(errors) == min(horizon, lookback) // 2 + 1
        for rank in (1, 2, len(errors)):
            model = ResonanceTimeSeriesNet(horizon, lookback, 2, rank=rank, level_steps=12, taper=0.5)
            expected = validation.mean_squared_error(linear_map(fit_closed_form(model, train, ridge)))
            assert errors[rank - 1].item() == pytest.approx(expected, rel=1e-4)


def test_a_stride_takes_every_so_many_windows():
    windows = forecast_task(toy_series(), 6).windows("train", 24)
    pieces = [Windows(windows.series[start : start + 30], 24, 6) for start in range(0, len(windows), 5)]
    expected = [Moments.of(piece, 12, variance_power=1.0) for piece in pieces]
    found = Moments.of(windows, 12, variance_power=1.0, stride=5)
    torch.testing.assert_close(found.past_past, sum(moments.past_past for moments in expected))
    assert found.count == sum(moments.count for moments in expected)


@pytest.mark.parametrize(("horizon", "lookback", "variance_power"), [(6, 24, 0.0), (7, 25, 1.0)])
def test_moments_of_spectra_follow_from_those_of_samples(horizon, lookback, variance_power):
    windows = forecast_task(toy_series(500), horizon).windows("train", lookback)
    model = ResonanceTimeSeriesNet(horizon, lookback, 2, rank=2, level_steps=12, taper=0.5)
    found = band_moments(model, Moments.of(windows, 12, variance_power=variance_power))
    expected = direct_moments(model, windows, variance_power=variance_power)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6 * one.abs().max().item())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: ResonanceTimeSeriesNet(96)(torch.randn(1, 100, 7)), "lookback=720"),
        (lambda: ResonanceTimeSeriesNet(96, num_frequencies=400), "1..361"),
        (lambda: ResonanceTimeSeriesNet(96, rank=50), "1..49: a horizon of 96 steps has 49 frequencies"),
        (lambda: ResonanceTimeSeriesNet(28, rank=16), "1..15: a horizon of 28"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(call, says):
    with pytest.raises(ValueError) as error:
        call()
    assert says in str(error.value)
