"""The choice of a forecaster's setting, as `forecasting.choose_closed_form` makes it, with few passes over the windows.

With the level taken off past and future, x and y, a closed form is linear, yhat = T x, T of (horizon, lookback), and

    sum |y - T x|^2 = sum |y|^2 - 2 tr(T sum x y^T) + tr(T (sum x x^T) T^T),

so that one pass over the validation windows serves every setting of a lookback.  In the same way the moments of the
spectra, which the fit needs, follow from those of the samples: one pass over the training windows serves every taper.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import pandas as pd
import torch
from torch import Tensor

from .band import make_band
from .forecasting import BandMoments, ForecastTask, Setting, Windows
from .models import ResonanceTimeSeriesNet
from .spectral import analysis


@dataclass(frozen=True)
class Moments:
    """Second moments of past x and future y, their level off, over windows and channels."""

    past_past: Tensor  # (lookback, lookback) float64, sum x x^T
    future_past: Tensor  # (horizon, lookback), sum y x^T
    future: float  # sum |y|^2
    count: int  # windows x channels x horizon

    @classmethod
    def of(cls, windows: Windows, level_steps: int, *, calm: float = 0.0) -> Moments:
        """Sum over all windows, each (window, channel) weighted by sd^-calm, as `band_moments` does.

        level: the mean of the past's last `level_steps`.
        Cost: windows x channels x lookback (lookback + horizon) multiply-adds.
        """
        lookback, horizon = windows.lookback, windows.horizon
        both = torch.zeros(lookback + horizon, lookback, dtype=torch.float64)
        squares = 0.0
        for past, future in windows.batches(512):
            x = torch.cat([past, future], dim=1).double()
            weight = x[:, :lookback].std(dim=1, keepdim=True).clamp_min(1e-3) ** (-calm / 2)
            level = x[:, lookback - level_steps : lookback].mean(dim=1, keepdim=True)
            x = ((x - level) * weight).movedim(1, 0).flatten(1)
            both += x @ x[:lookback].T
            squares += x[lookback:].square().sum().item()
        return cls(both[:lookback], both[lookback:], squares, len(windows) * windows.series.shape[1] * horizon)

    def mean_squared_error(self, matrix: Tensor) -> float:
        """Return the error of yhat = matrix x, matrix of (horizon, lookback)."""
        matrix = matrix.double()
        cross = (matrix * self.future_past).sum()
        quadratic = ((matrix @ self.past_past) * matrix).sum()
        return float((self.future - 2 * cross + quadratic) / self.count)


@torch.no_grad()
def spectral(model: ResonanceTimeSeriesNet, moments: Moments) -> BandMoments:
    """Return the moments of the model's spectra, as `band_moments` sums them, from those of the samples.

    Cost: (k + bins) lookback (lookback + k) multiply-adds, whatever the windows.
    """
    horizon, bins = model.pred_horizon, model.future.magnitude.shape[0]

    def transform(n: int, k: int) -> Tensor:
        return torch.complex(*analysis(torch.eye(n, dtype=torch.float64)[None], k, grid=n, engine="fft"))[0]

    root = make_band(horizon, bins, horizon).multiplicity(torch.zeros((), dtype=torch.float64)).sqrt()
    past = transform(model.lookback, model.num_frequencies) * model.taper[:, 0].double()
    future = transform(horizon, bins) * root[:, None]
    return BandMoments(
        past @ moments.past_past.to(past.dtype) @ past.mH, future @ moments.future_past.to(past.dtype) @ past.mH
    )


@torch.no_grad()
def linear_map(model: ResonanceTimeSeriesNet) -> Tensor:
    """Return the matrix (horizon, lookback) of a forecaster, from its answers to unit impulses."""
    lookback, channels = model.lookback, model.channels
    impulses = torch.eye(-(-lookback // channels) * channels, lookback).unflatten(0, (-1, channels))
    return model(impulses.transpose(1, 2)).transpose(1, 2).flatten(0, 1)[:lookback].T


def choose_setting(task: ForecastTask, grid: Iterable[tuple]) -> tuple[pd.DataFrame, Setting]:
    """Fit every setting of a grid of (lookback, taper, calm, rank, ridge); return all validation errors, and the best.

    The test rows are not touched.
    """
    settings, period = sorted(Setting(*point) for point in grid), task.series.period
    errors = {}
    for lookback, same in groupby(settings, key=lambda s: s.lookback):
        validation = Moments.of(task.windows("validation", lookback), period)
        for calm, alike in groupby(sorted(same, key=lambda s: s.calm), key=lambda s: s.calm):
            train = Moments.of(task.windows("train", lookback), period, calm=calm)
            for _, of_taper in groupby(alike, key=lambda s: s.taper):
                group = list(of_taper)
                moments = spectral(group[0].model(task), train)
                for setting in group:
                    errors[setting] = validation.mean_squared_error(linear_map(setting.fitted(task, moments)))
    table = pd.DataFrame([{**vars(setting), "validation_mse": errors[setting]} for setting in settings])
    return table, settings[int(table["validation_mse"].argmin())]
