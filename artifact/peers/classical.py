"""Classical forecasts of one series at a time, by statsmodels: no training, one fit a window and channel.

Theta (Assimakopoulos and Nikolopoulos 2000) on the series without its season; STL with simple exponential smoothing of
what the season leaves (Cleveland et al. 1990).  A fit takes some 40 ms, so that they are
tested on every `window_stride`-th window.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def _theta(series: np.ndarray, period: int, horizon: int) -> np.ndarray:
    from statsmodels.tsa.forecasting.theta import ThetaModel

    return np.asarray(ThetaModel(series, period=period, method="additive").fit().forecast(horizon))


def _stl(series: np.ndarray, period: int, horizon: int) -> np.ndarray:
    from statsmodels.tsa.forecasting.stl import STLForecast
    from statsmodels.tsa.holtwinters import SimpleExpSmoothing

    options = {"initialization_method": "estimated"}
    return np.asarray(
        STLForecast(series, SimpleExpSmoothing, period=period, model_kwargs=options).fit().forecast(horizon)
    )


CLASSICAL: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {"theta": _theta, "stl": _stl}


@dataclass(frozen=True)
class Classical:
    """Fit every series of a batch of pasts and forecast it.

    A constant past is repeated.  Raises ValueError for an unknown name, or a past of fewer than two periods.
    """

    name: str
    horizon: int
    period: int
    window_stride: int  # it is tested on every so many windows

    def __post_init__(self):
        if self.name not in CLASSICAL:
            raise ValueError(f"unknown method {self.name!r}: expected one of {', '.join(CLASSICAL)}")

    def __call__(self, past: Tensor) -> Tensor:
        if past.shape[1] < 2 * self.period:
            raise ValueError(f"expected a past of at least two periods of {self.period} steps, got {past.shape[1]}")
        series = past.double().numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an optimiser that stops early: the forecast counts, whatever it is
            columns = [[self._one(window[:, c]) for c in range(series.shape[2])] for window in series]
        return torch.from_numpy(np.stack(columns)).to(past.dtype).transpose(1, 2)

    def _one(self, series: np.ndarray) -> np.ndarray:
        if np.ptp(series) == 0:
            return np.full(self.horizon, series[0])
        return CLASSICAL[self.name](series, self.period, self.horizon)
