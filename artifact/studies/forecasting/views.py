"""Forecasting as the field does it: borders, scaling, windows, evaluation, and the closed-form start.

Protocol for ETTh1 (Zhou et al. 2021, with the loader error of later work corrected): months of 30 days, 12 to train,
4 to validate, 4 to test; the scaler sees training rows only; validation and test windows may look back across their
border but never forecast before it; every window is evaluated, none dropped.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from artifact.files import ROOT
from resonance.forecasting import ForecastTask
from resonance.polar import complex_matmul
from resonance.time_series import ResonanceTimeSeriesNet

# --------------------------------------------------------------------------- looking at a forecast


@torch.no_grad()
def window_forecasts(
    task: ForecastTask, models: dict[str, Callable[[Tensor], Tensor]], *, window: int, lookback: int = 336
) -> pd.DataFrame:
    """Return one test window, last channel: columns step (1 is the first forecast), truth, and each model's forecast.

    `models` may look back further than the `lookback` that is shown.
    """
    longest = max([lookback, *(getattr(model, "lookback", lookback) for model in models.values())])
    past, future = task.windows("test", longest).batch(torch.tensor([window]))
    shown = min(lookback, 7 * task.series.period)
    truth = torch.cat([past[0, -shown:, -1], future[0, :, -1]]).numpy()
    table = pd.DataFrame({"step": np.arange(-shown + 1, task.horizon + 1), "truth": truth})
    for name, model in models.items():
        forecast = model(past[:, -getattr(model, "lookback", lookback) :])[0, :, -1].numpy()
        table[name] = np.concatenate([np.full(shown, np.nan), forecast])
    return table


@torch.no_grad()
def past_future_gain(model: ResonanceTimeSeriesNet) -> pd.DataFrame:
    """Return |U V|, the gain from each past frequency to each future one; frequencies in cycles per step."""
    re, im = complex_matmul(model.future.pair(), model.past.pair())
    gain = torch.hypot(re, im).numpy()
    future, past = np.meshgrid(np.arange(gain.shape[0]), np.arange(gain.shape[1]), indexing="ij")
    columns = {"future": future / model.pred_horizon, "past": past / model.lookback, "gain": gain}
    return pd.DataFrame({name: values.ravel() for name, values in columns.items()})


def published_errors() -> pd.DataFrame:
    """Return the published errors on ETTh1 at horizon 96, as `paper/published.csv` quotes them."""
    return pd.read_csv(ROOT / "paper" / "published.csv")
