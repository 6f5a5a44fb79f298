"""Classical forecasts by statsmodels: a season continued, units kept, errors named."""

from __future__ import annotations

import pytest
import torch

from artifact.peers.classical import CLASSICAL, Classical


def season(steps, channels=2):
    t = torch.arange(steps, dtype=torch.float64)[:, None]
    return (5 + torch.arange(1, channels + 1) * torch.sin(2 * torch.pi * t / 12 + torch.arange(channels)))[None]


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_season_is_continued_whatever_its_units(name):
    model, whole = Classical(name, 10, 12, 1), season(82)
    forecast = model(whole[:, :72])
    torch.testing.assert_close(forecast, whole[:, 72:], rtol=0, atol=0.1)
    torch.testing.assert_close(model(100 * whole[:, :72] + 7), 100 * forecast + 7, rtol=1e-2, atol=1)


def test_a_constant_is_repeated():
    assert (Classical("theta", 5, 12, 1)(torch.full((2, 30, 1), 4.0)) == 4.0).all()


def test_what_was_expected_is_named():
    with pytest.raises(ValueError, match="expected one of theta, stl"):
        Classical("arima", 5, 12, 1)
    with pytest.raises(ValueError, match="two periods of 12 steps, got 23"):
        Classical("stl", 5, 12, 1)(torch.zeros(1, 23, 1))
