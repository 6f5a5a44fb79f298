"""Prediction intervals from the errors of a forecast on validation, and their coverage.

Split conformal prediction (Papadopoulos et al. 2002; Lei et al. 2018), for every step ahead h and channel separately:

    s = sd(past)^power,    lower, upper = yhat + s q(alpha / 2), yhat + s q(1 - alpha / 2)

q the quantiles of (y - yhat) / s over the validation windows, one rank further out for the finite sample.  Coverage of
1 - alpha is guaranteed for exchangeable windows, which those of a series are not: it is measured, and

    alpha(t+1) = alpha(t) + step (alpha - missed(t - h))

(Gibbs and Candes 2021, delayed until the value at h is known) corrects the level online.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from resonance.forecasting import Windows


class Residuals(NamedTuple):
    """Errors of a forecast on the windows of a split, in order of time, with each window's scale before a power."""

    error: np.ndarray  # y - yhat, (windows, horizon, channels)
    deviation: np.ndarray  # of the past over time, (windows, 1, channels)


@torch.no_grad()
def residuals(forecast: Callable[[Tensor], Tensor], windows: Windows) -> Residuals:
    """Errors of a forecast on every window of a split."""
    errors, deviations = [], []
    for past, future in windows.batches(512):
        errors.append((future - forecast(past)).numpy())
        deviations.append(past.std(dim=1, keepdim=True).clamp_min(1e-3).numpy())
    return Residuals(np.concatenate(errors), np.concatenate(deviations))


class Calibration:
    """Sorted errors over deviation^power of one calibration window or more, (windows, horizon, channels)."""

    def __init__(self, seen: Residuals, power: float):
        if len(seen.error) < 1:
            raise ValueError("expected at least one window to calibrate on, got none")
        self.sorted, self.power = np.sort(seen.error / seen.deviation**power, axis=0), power

    def bounds(self, alpha: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds of the scaled error, (horizon, channels), at level 1 - alpha.

        alpha: a number or (horizon, channels); where it is too small for n windows, the extreme errors.
        """
        n = len(self.sorted)
        rank = np.floor((n + 1) * np.asarray(alpha) / 2 + 1e-9).astype(int)  # 1 - 0.8 is a little under 0.2
        rank = np.broadcast_to(np.clip(rank, 1, (n + 1) // 2), self.sorted.shape[1:])[None]
        lower = np.take_along_axis(self.sorted, rank - 1, axis=0)[0]
        return lower, np.take_along_axis(self.sorted, n - rank, axis=0)[0]


@dataclass(frozen=True)
class Intervals:
    """Bounds of the error around a forecast on the windows of a split, each (windows, horizon, channels).

    Raises ValueError for a level outside (0, 1).
    """

    lower: np.ndarray
    upper: np.ndarray
    error: np.ndarray
    level: float

    def __post_init__(self):
        if not 0 < self.level < 1:
            raise ValueError(f"expected a level between 0 and 1, got {self.level}")

    @property
    def held(self) -> np.ndarray:
        """Whether each value lay inside."""
        return (self.lower <= self.error) & (self.error <= self.upper)

    @property
    def width(self) -> np.ndarray:
        return self.upper - self.lower

    @property
    def score(self) -> np.ndarray:
        """Interval score, width + (2 / alpha) distance outside; lower is better (Gneiting, Raftery 2007)."""
        outside = np.maximum(self.lower - self.error, 0.0) + np.maximum(self.error - self.upper, 0.0)
        return self.width + 2.0 / (1.0 - self.level) * outside


def intervals(calibration: Calibration, new: Residuals, level: float) -> Intervals:
    """Intervals of a level, the same for every window up to its scale."""
    scale = new.deviation**calibration.power
    lower, upper = calibration.bounds(1.0 - level)
    return Intervals(lower * scale, upper * scale, new.error, level)


def adaptive_intervals(calibration: Calibration, new: Residuals, level: float, *, step: float = 0.005) -> Intervals:
    """Intervals whose level is corrected online, for every step ahead and channel.

    Window t is corrected by window t - h at step ahead h, the last value known when t is forecast.  The feedback is
    delayed by h windows: keep step * horizon below about 1, or the level oscillates.  0.005 as published.
    Cost: windows x horizon x channels.
    """
    windows, horizon, channels = new.error.shape
    alpha, ahead = np.full((horizon, channels), 1.0 - level), np.arange(1, horizon + 1)
    lower, upper = np.empty_like(new.error), np.empty_like(new.error)
    scale = new.deviation**calibration.power
    for t in range(windows):
        known = ahead[ahead <= t]  # the value of step h of window t - h is known
        if len(known):
            at = (t - known, known - 1)
            missed = (new.error[at] < lower[at]) | (new.error[at] > upper[at])
            alpha[known - 1] = np.clip(alpha[known - 1] + step * ((1.0 - level) - missed), 0.0, 1.0)
        low, high = calibration.bounds(alpha)
        lower[t], upper[t] = low * scale[t], high * scale[t]
    return Intervals(lower, upper, new.error, level)


def choose_power(seen: Residuals, levels: Sequence[float], powers: Sequence[float] = (0.0, 0.5, 1.0)) -> float:
    """Choose the power of the scale with the lowest interval score, mean over levels.

    Calibrated on the first half of the windows, scored on the second.  Raises ValueError for fewer than two windows.
    """
    half = len(seen.error) // 2
    first, second = (Residuals(*(part[at] for part in seen)) for at in (slice(half), slice(half, None)))

    def score(power: float) -> float:
        calibration = Calibration(first, power)
        return float(np.mean([intervals(calibration, second, level).score.mean() for level in levels]))

    return min(powers, key=score)


def coverage(method: str, found: Intervals) -> pd.DataFrame:
    """By step ahead, over windows and channels: method, level, step, coverage, width, score."""
    columns = {"coverage": found.held, "width": found.width, "score": found.score}
    means = {name: values.mean(axis=(0, 2), dtype=np.float64) for name, values in columns.items()}
    steps = np.arange(1, found.error.shape[1] + 1)
    return pd.DataFrame({"method": method, "level": found.level, "step": steps, **means})
