"""Forecasting as the field does it: borders, scaling, windows, evaluation, and the closed-form start.

Protocol for ETTh1 (Zhou et al. 2021, with the loader error of later work corrected): months of 30 days, 12 to train,
4 to validate, 4 to test; the scaler sees training rows only; validation and test windows may look back across their
border but never forecast before it; every window is evaluated, none dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .data import Series
from .models import ResonanceTimeSeriesNet
from .spectral import Band, analysis

ETT_HOURLY_BORDERS = (8640, 11520, 14400)


@dataclass(frozen=True)
class Windows:
    """All windows of one split: `series` (steps, channels), past of `lookback`, future of `horizon`."""

    series: Tensor
    lookback: int
    horizon: int

    def __len__(self) -> int:
        return len(self.series) - self.lookback - self.horizon + 1

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return past (batch, lookback, channels) and future (batch, horizon, channels) of the windows named."""
        steps = index[:, None] + torch.arange(self.lookback + self.horizon)
        both = self.series[steps]
        return both[:, : self.lookback], both[:, self.lookback :]

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every window once in batches of `size`: in order, or shuffled by `generator`; the last may be short."""
        order = torch.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator)
        for index in order.split(size):
            yield self.batch(index)


@dataclass(frozen=True)
class ForecastTask:
    """A series cut into train, validation and test by `borders`, scaled by the training rows."""

    series: Series
    horizon: int
    borders: tuple[int, int, int]
    mean: np.ndarray
    std: np.ndarray

    def windows(self, split: str, lookback: int) -> Windows:
        """Return the windows of "train", "validation" or "test" (float32, standardised)."""
        at = ("train", "validation", "test").index(split)
        first = 0 if at == 0 else self.borders[at - 1] - lookback
        rows = self.series.values[max(first, 0) : self.borders[at]]
        windows = Windows(torch.from_numpy((rows - self.mean) / self.std).float(), lookback, self.horizon)
        if first < 0 or len(windows) < 1:
            raise ValueError(
                f"lookback={lookback} and horizon={self.horizon} leave no {split} window in {self.series.dataset} "
                f"with borders {self.borders}"
            )
        return windows


def forecast_task(series: Series, horizon: int) -> ForecastTask:
    """Return the task on a series: the published borders for ETTh1, 60/20/20 for any other series."""
    steps = len(series.values)
    borders = ETT_HOURLY_BORDERS if series.dataset == "ETTh1" else (steps * 3 // 5, steps * 4 // 5, steps)
    train = series.values[: borders[0]]
    return ForecastTask(series, horizon, borders, train.mean(axis=0), train.std(axis=0))


@torch.no_grad()
def evaluate(forecast: Callable[[Tensor], Tensor], windows: Windows, size: int = 512) -> tuple[float, float]:
    """Return (MSE, MAE) over every window, step and channel, in standardised units; sums in float64."""
    squared = absolute = 0.0
    count = 0
    for past, future in windows.batches(size):
        error = (forecast(past) - future).double()
        squared += error.square().sum().item()
        absolute += error.abs().sum().item()
        count += error.numel()
    return squared / count, absolute / count


@dataclass(frozen=True)
class BandMoments:
    """Second moments of past and future spectra over the training windows: all that a closed form needs."""

    past_past: Tensor  # (k, k) complex128, sum of X X^H
    future_past: Tensor  # (bins, k) complex128, sum of Y X^H


@torch.no_grad()
def band_moments(model: ResonanceTimeSeriesNet, windows: Windows, *, calm: float = 0.5) -> BandMoments:
    """Accumulate the spectra's moments, each (window, channel) weighted by sd^-calm, sd the past's deviation.

    Calm windows count more, because a restless one adds noise in proportion to its variance.  The future's bins are
    scaled by sqrt(c) so that a sum over bins is a sum over samples (Parseval).
    Cost: windows x channels x (k^2 + k horizon / 2) complex multiply-adds.
    """
    bins, k = model.future.magnitude.shape[0], model.num_frequencies
    root = Band(model.pred_horizon, bins, model.pred_horizon).multiplicity(torch.zeros((), dtype=torch.float64)).sqrt()
    past_past = torch.zeros(k, k, dtype=torch.complex128)
    future_past = torch.zeros(bins, k, dtype=torch.complex128)
    for past, future in windows.batches(512):
        weight = past.double().std(dim=1, keepdim=True).clamp_min(1e-3) ** (-calm / 2)  # (batch, 1, channels)
        (re, im), level = model.spectrum(past.double())
        x = torch.complex(re, im).mul(weight).movedim(1, 0).flatten(1)  # (k, batch channels)
        y = torch.complex(*analysis((future - level).double(), bins, grid=model.pred_horizon, engine="fft"))
        y = y.mul(weight * root[:, None]).movedim(1, 0).flatten(1)
        past_past += x @ x.mH
        future_past += y @ x.mH
    return BandMoments(past_past, future_past)


@torch.no_grad()
def fit_closed_form(model: ResonanceTimeSeriesNet, moments: BandMoments, ridge: float) -> ResonanceTimeSeriesNet:
    """Set the model to the reduced-rank complex ridge regression of the future's band on the past's; return it.

        B = (sum Y X^H) (sum X X^H + ridge I)^-1,    U V = P P^H B,

    P the `rank` leading eigenvectors of B (sum Y X^H)^H: the best approximation of that rank in the metric of the
    ridge loss (Izenman 1975).  The factors are then split into magnitude and phase.
    Raises ValueError for ridge <= 0.  Cost: k^3.
    """
    if not ridge > 0:
        raise ValueError(f"expected ridge > 0, got {ridge}")
    k, bins = model.num_frequencies, model.future.magnitude.shape[0]
    gram = moments.past_past + ridge * torch.eye(k, dtype=torch.complex128)
    full = torch.linalg.solve(gram, moments.future_past, left=False)  # (bins, k)
    fitted = full @ moments.future_past.mH
    basis = torch.linalg.eigh((fitted + fitted.mH) / 2).eigenvectors[:, -model.rank :]  # (bins, rank)
    root = Band(model.pred_horizon, bins, model.pred_horizon).multiplicity(torch.zeros((), dtype=torch.float64)).sqrt()
    future, past = basis / root[:, None], basis.mH @ full
    scale = (past.abs().square().mean() / future.abs().square().mean()) ** 0.25  # one scale for both factors
    future, past = future * scale, past / scale
    model.future.set_(future.real.float(), future.imag.float())
    model.past.set_(past.real.float(), past.imag.float())
    return model
