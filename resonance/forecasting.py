"""The protocol of forecasting benchmarks: splits and scaling of a series, windows, evaluation.

ETTh1 and ETTh2 (Zhou et al. 2021, with the loader error of later work corrected): months of 30 days, 12 to train, 4 to
validate, 4 to test.  Series are scaled by their training rows; validation and test windows may look back across their
border but never forecast before it; every window is evaluated, none dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .series import Series as Series
from .series import load_csv as load_csv  # for users: the file, the task and its errors from one module

if TYPE_CHECKING:
    from .time_series import ResonanceTimeSeriesNet


@dataclass(frozen=True)
class Windows:
    """All windows of one split: `series` (steps, channels), past of `lookback`, future of `horizon`."""

    series: Tensor
    lookback: int
    horizon: int

    def __len__(self) -> int:
        return max(0, len(self.series) - self.lookback - self.horizon + 1)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Past (batch, lookback, channels) and future (batch, horizon, channels) of the windows at `index` (batch,)."""
        steps = index[:, None] + torch.arange(self.lookback + self.horizon)  # (batch, lookback + horizon)
        both = self.series[steps]
        return both[:, : self.lookback], both[:, self.lookback :]

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every window once in batches of `size`: in order, or shuffled by `generator`; the last may be short."""
        order = torch.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator)
        yield from map(self.batch, order.split(size))


@dataclass(frozen=True)
class ForecastTask:
    """A series cut into train, validation and test by `borders`, scaled by the training rows."""

    series: Series
    horizon: int
    borders: tuple[int, int, int]
    mean: np.ndarray  # (channels,), like std by `level_and_scale`
    std: np.ndarray

    def standardised(self, rows: np.ndarray) -> Tensor:
        """(rows - mean) / std in float32, of rows (n, channels)."""
        # Halved, two numbers of any size have a difference that is finite, and to the bit the same quotient.
        return torch.from_numpy((rows / 2 - self.mean / 2) / (self.std / 2)).float()

    def windows(self, split: str, lookback: int) -> Windows:
        """Windows of "train", "validation" or "test", float32, standardised; raises ValueError where there is none."""
        at = ("train", "validation", "test").index(split)
        first = 0 if at == 0 else self.borders[at - 1] - lookback
        rows = self.series.values[max(first, 0) : self.borders[at]]
        windows = Windows(self.standardised(rows), lookback, self.horizon)
        if first < 0 or len(windows) < 1:
            name, sizes = self.series.dataset, f"lookback={lookback} and horizon={self.horizon}"
            raise ValueError(f"{sizes} leave no {split} window in {name} with borders {self.borders}")
        return windows

    @torch.no_grad()
    def forecast(self, model: ResonanceTimeSeriesNet) -> np.ndarray:
        """Forecast the steps after the series' end, (horizon, channels), in the units of the series."""
        past = self.standardised(self.series.values[-model.lookback :])  # (lookback, channels)
        return model(past[None])[0].numpy() * self.std + self.mean


def level_and_scale(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (channels,) of finite rows (n, channels), finite and positive at any size.

    A channel is constant where its range is at most 2^-40 of its largest magnitude, which is rounding.  Its scale is
    that magnitude, at least 1: nothing in it says how large a later change would be.
    Computed in float64 on channels divided by a power of two, so that no square overflows or vanishes.
    """
    rows = np.asarray(rows, np.float64)
    size = abs(rows).max(axis=0)
    exponent = np.frexp(size)[1]
    unit = np.ldexp(rows, -exponent)  # in -1..1, exactly
    mean, std = np.ldexp([unit.mean(axis=0), unit.std(axis=0)], exponent)
    constant = (np.ptp(unit, axis=0) <= 2.0**-40) | (std < np.finfo(np.float64).tiny)
    return mean, np.where(constant, np.maximum(size, 1.0), std)


def forecast_task(series: Series, horizon: int) -> ForecastTask:
    """Split a series, scaled by `level_and_scale`: ETTh1 and ETTh2 by the published borders, any other 60/20/20."""
    steps = len(series.values)
    published = series.dataset in ("ETTh1", "ETTh2") and steps >= 14400
    borders = (8640, 11520, 14400) if published else (steps * 3 // 5, steps * 4 // 5, steps)
    return ForecastTask(series, horizon, borders, *level_and_scale(series.values[: borders[0]]))


@torch.no_grad()
def window_errors(forecast: Callable[[Tensor], Tensor], windows: Windows, size: int = 128) -> np.ndarray:
    """Mean squared and mean absolute error of each window over its steps and channels, (2, windows), float64."""
    errors = [(forecast(past) - future).double().flatten(1) for past, future in windows.batches(size)]
    return torch.cat([torch.stack([e.square().mean(dim=1), e.abs().mean(dim=1)]) for e in errors], dim=1).numpy()


def evaluate(forecast: Callable[[Tensor], Tensor], windows: Windows, size: int = 512) -> tuple[float, float]:
    """MSE and MAE of a forecast over every window, step and channel, in standardised units."""
    return tuple(window_errors(forecast, windows, size).mean(axis=1).tolist())
