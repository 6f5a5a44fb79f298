"""The comb of two bands: its filter, its closed form against plain regressions, and what validation chooses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resonance.comb import (
    GRIDS,
    CombForecaster,
    comb_moments,
    echo_moments,
    fit_comb,
    leading,
    level_weights,
)
from resonance.forecasting import Series, Windows, forecast_task
from resonance.polar import count_parameters

P, D, K = 6, 5, 3


def random_comb(echo_steps=None) -> CombForecaster:
    torch.manual_seed(0)
    model = CombForecaster(K * P, D * P, P, echo_steps=echo_steps).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model


def series(rows=900, channels=2, seed=0) -> Series:
    noise = np.random.default_rng(seed).normal(size=(rows, channels))
    at = np.arange(rows)[:, None]
    shape = np.sin(2 * np.pi * at / P) + 0.5 * np.cos(4 * np.pi * at / P) + np.sin(at / 90)
    return Series("made", 3 * shape * [1.0, 5.0][:channels] + 0.3 * noise, ("a", "b")[:channels], P, "step")


def test_two_bands_of_the_transform_within_each_period():
    """eq:comb itself, by an FFT of each period: one matrix for bin 0, another for all others."""
    model, x = random_comb(echo_steps=0), torch.randn(2, D * P, 3, dtype=torch.float64)
    spectra = torch.fft.fft(x.unflatten(1, (D, P)), dim=2)  # (batch, D, P, channels)
    level = level_weights(model.exponent, D).expand(K, D)
    within = torch.outer(model.future, model.past)
    maps = torch.stack([level, *[within] * (P - 1)]).to(spectra.dtype)  # (P, K, D)
    expected = torch.fft.ifft(torch.einsum("qkd,bdqc->bkqc", maps, spectra), dim=2).real.flatten(1, 2)
    torch.testing.assert_close(model(x), expected)


def test_the_echo_corrects_the_first_steps_alone():
    model, x = random_comb(echo_steps=4), torch.randn(2, D * P, 3, dtype=torch.float64)
    bands = model.bands(x)
    surprise = x[:, -P:] - bands[:, :P]
    expected = bands.clone()
    expected[:, :4] += model.lead[:, None] * torch.einsum("p,bpc->bc", model.newest, surprise)[:, None]
    torch.testing.assert_close(model(x), expected)
    assert not torch.equal(model(x)[:, :4], bands[:, :4]) and torch.equal(model(x)[:, 4:], bands[:, 4:])


def test_it_is_linear_equivariant_in_the_level_and_has_few_parameters():
    model, x = random_comb(), torch.randn(1, D * P, 2, dtype=torch.float64)
    torch.testing.assert_close(model(3 * x + 7), 3 * model(x) + 7)
    assert count_parameters(CombForecaster(720, 720, 24)) == 1 + 30 + 30 + 24 + 96 <= 500


@given(st.floats(0.01, 0.49))
@settings(deadline=None, max_examples=30)
def test_the_response_is_the_gain_on_a_wave(frequency):
    """Root mean square over the coming period and the phase of the wave, over that of the wave."""
    model = random_comb(echo_steps=0)
    t = torch.arange(D * P, dtype=torch.float64)[:, None] + torch.arange(64, dtype=torch.float64) / (64 * frequency)
    out = model(torch.cos(2 * torch.pi * frequency * t)[None])[0, :P]
    gain = (2 * out.square().mean()).sqrt().item()
    assert gain == pytest.approx(model.response(torch.tensor([frequency], dtype=torch.float64)).item(), rel=1e-6)


def test_the_moments_give_the_error_of_any_matrix():
    windows = Windows(torch.randn(80, 2), D * P, K * P)
    ((means, within),) = comb_moments(windows, P)
    model = random_comb(echo_steps=0)
    errors = means.errors(level_weights(model.exponent, D).expand(K, D))
    errors = errors + within.errors(torch.outer(model.future, model.past))
    past, future = windows.batch(torch.arange(len(windows)))
    direct = (future.double() - model(past.double())).square().sum(dim=(0, 1))
    torch.testing.assert_close(errors, direct)


def test_windows_are_weighted_by_a_power_of_their_deviation():
    windows = Windows(torch.randn(60, 2) * torch.arange(1, 61)[:, None], D * P, K * P)
    plain, weighted = comb_moments(windows, P, [0.0, 1.5])
    past = windows.batch(torch.arange(len(windows)))[0].double()
    scale = past.std(dim=1, keepdim=True) ** -0.75
    for factor, bands in ((1.0, plain), (scale, weighted)):
        folded = (past * factor).unflatten(1, (D, P))
        mean = folded.mean(2, keepdim=True)
        expected = torch.einsum("bdpc,bepc->cde", folded - mean, folded - mean)
        torch.testing.assert_close(bands[1].past_past, expected)
        torch.testing.assert_close(bands[0].past_past, P * torch.einsum("bdpc,bepc->cde", mean, mean))


def test_the_rank_one_regression_beats_its_neighbours():
    ((_, within),) = comb_moments(Windows(torch.randn(200, 1).cumsum(0), D * P, K * P), P)
    penalty = torch.rand(D, dtype=torch.float64)
    u, v = leading(within, penalty)

    def loss(u, v):
        matrix = torch.outer(u, v)
        return float(within.errors(matrix).sum() + (matrix.square() * penalty).sum())

    least = loss(u, v)
    for _ in range(50):
        assert least <= loss(u + 0.01 * torch.randn(K).double(), v + 0.01 * torch.randn(D).double()) + 1e-9


def test_the_fit_finds_a_comb_and_validation_chooses_from_the_grids():
    task = forecast_task(series(), K * P)
    found = fit_comb(task, D * P)
    windows = task.windows("validation", D * P)
    past, future = windows.batch(torch.arange(len(windows)))
    errors = (future - found.model(past)).detach().square().mean((0, 1))
    assert found.score == pytest.approx(float(errors.log().mean()), abs=1e-4)
    assert found.score < math.log(0.1)  # of what was 1 before
    assert all(getattr(found, name) in grid for name, grid in GRIDS.items())


def test_the_echo_is_kept_where_it_helps():
    """A deviation that lasts a period: the newest period says what the next will miss."""
    rng = np.random.default_rng(0)
    slow = np.convolve(rng.normal(size=3000), np.ones(4) / 4, mode="same")
    values = np.sin(2 * np.pi * np.arange(3000) / P) + 2 * slow
    task = forecast_task(Series("made", values[:, None], ("a",), P, "step"), P)
    found = fit_comb(task, D * P)
    assert found.echo_ridge < float("inf") and found.model.lead.abs().max() > 0
    quiet = fit_comb(forecast_task(series(channels=1), P), D * P)
    assert quiet.score < 0


def test_constant_channels_and_a_period_of_one_are_finite():
    flat = Series("flat", np.ones((200, 1)), ("a",), P, "step")
    assert fit_comb(forecast_task(flat, P), D * P).model(torch.ones(1, D * P, 1)).isfinite().all()
    one = Series("one", np.random.default_rng(0).normal(size=(200, 2)), ("a", "b"), 1, "step")
    assert fit_comb(forecast_task(one, 4), 10).model(torch.ones(1, 10, 2)).shape == (1, 4, 2)


def test_a_horizon_within_a_period_is_cut_from_whole_ones():
    short = fit_comb(forecast_task(series(), P + 2), D * P).model
    x = torch.randn(1, D * P, 2)
    assert short(x).shape == (1, P + 2, 2) and short.bands(x).shape == (1, 2 * P, 2)
    with pytest.raises(ValueError, match="no window of 30 and 84 steps"):
        fit_comb(forecast_task(series(rows=410), 80), D * P)


def test_moments_of_the_echo_follow_the_model():
    windows = Windows(torch.randn(60, 2), D * P, K * P)
    model = random_comb(echo_steps=7)
    band = echo_moments(model, windows)
    past, future = (x.double() for x in windows.batch(torch.arange(len(windows))))
    left = (future - model.bands(past))[:, :7]
    surprise = model.surprise(past, model.bands(past))
    torch.testing.assert_close(band.future_past, torch.einsum("bfc,bpc->cfp", left, surprise))
    torch.testing.assert_close(band.past_past, torch.einsum("bqc,bpc->cqp", surprise, surprise))


@pytest.mark.parametrize("shape", [(P, P, P), (P, D * P + 1, P), (0, D * P, P), (P, D * P, 0)])
def test_sizes_that_are_no_whole_periods_are_refused(shape):
    with pytest.raises(ValueError, match="two whole periods or more"):
        CombForecaster(*shape)


def test_other_pasts_and_echoes_are_refused():
    with pytest.raises(ValueError, match="lookback=30 steps, got 29"):
        CombForecaster(P, D * P, P)(torch.zeros(1, 29, 1))
    with pytest.raises(ValueError, match=r"echo_steps in 0\.\.6, got 7"):
        CombForecaster(P, D * P, P, echo_steps=7)
    other = CombForecaster(P, D * P, P).state_dict()
    with pytest.raises(RuntimeError):
        CombForecaster(P, 2 * D * P, P).load_state_dict(other)
