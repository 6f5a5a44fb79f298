"""The choice of a forecaster's setting, as `forecasting.choose_closed_form` makes it, without a forecast a setting.

A closed form is linear in the past, yhat = T x with T of (horizon, lookback), so that its squared error follows from
second moments of the windows:

    sum |y - T x|^2 = sum |y|^2 - 2 tr(T sum x y^T) + tr(T (sum x x^T) T^T).

One pass over the validation windows serves every taper, weighting, rank and penalty of a lookback.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import pandas as pd
import torch
from torch import Tensor

from .forecasting import ForecastTask, Setting, Windows
from .models import ResonanceTimeSeriesNet


@dataclass(frozen=True)
class Moments:
    """Second moments of past and future over windows and channels: all that a linear forecaster's error needs."""

    past_past: Tensor  # (lookback, lookback) float64, sum x x^T
    future_past: Tensor  # (horizon, lookback), sum y x^T
    future: float  # sum |y|^2
    count: int  # windows x channels x horizon

    @classmethod
    def of(cls, windows: Windows) -> Moments:
        """Sum over all windows.  Cost: windows x channels x lookback (lookback + horizon) multiply-adds."""
        lookback, horizon = windows.lookback, windows.horizon
        both = torch.zeros(lookback + horizon, lookback, dtype=torch.float64)
        squares = 0.0
        for past, future in windows.batches(512):
            x = torch.cat([past, future], dim=1).double().movedim(1, 0).flatten(1)
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
def linear_map(model: ResonanceTimeSeriesNet) -> Tensor:
    """Return the matrix (horizon, lookback) of a forecaster, from its answers to unit impulses."""
    lookback, channels = model.lookback, model.channels
    impulses = torch.eye(-(-lookback // channels) * channels, lookback).unflatten(0, (-1, channels))
    return model(impulses.transpose(1, 2)).transpose(1, 2).flatten(0, 1)[:lookback].T


def choose_setting(task: ForecastTask, grid: Iterable[tuple]) -> tuple[pd.DataFrame, Setting]:
    """Fit every setting of a grid of (lookback, taper, calm, rank, ridge); return all validation errors, and the best.

    The test rows are not touched.
    """
    rows = []
    settings = sorted(Setting(*point) for point in grid)
    for lookback, same in groupby(settings, key=lambda s: s.lookback):
        validation = Moments.of(task.windows("validation", lookback))
        for _, alike in groupby(same, key=lambda s: (s.taper, s.calm)):
            group = list(alike)
            train = group[0].moments(task)
            for setting in group:
                error = validation.mean_squared_error(linear_map(setting.fitted(task, train)))
                rows.append({**vars(setting), "validation_mse": error})
    table = pd.DataFrame(rows)
    return table, settings[int(table["validation_mse"].argmin())]
