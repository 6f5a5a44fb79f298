"""Tables behind the figures of `08_forecasting`: one forecast and the learned spectrum."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from resonance.forecasting import ForecastTask
from resonance.polar import complex_matmul
from resonance.time_series import ResonanceTimeSeriesNet


@torch.no_grad()
def window_forecasts(
    task: ForecastTask, models: dict[str, Callable[[Tensor], Tensor]], *, window: int, lookback: int = 336
) -> pd.DataFrame:
    """One test window, last channel: columns step (1 is the first forecast), truth, and each model's forecast.

    The past is shown over `lookback` steps at most; models may use more of it.
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
    """|U V| of eq:forecast, the gain from each past frequency to each future one; frequencies in cycles per step."""
    re, im = complex_matmul(model.future.pair(), model.past.pair())  # (bins, k)
    table = pd.DataFrame(torch.hypot(re, im).numpy())
    table.index = pd.Index(np.arange(len(table)) / model.pred_horizon, name="future")
    table.columns = pd.Index(np.arange(len(table.columns)) / model.lookback, name="past")
    return table.stack().rename("gain").reset_index()
