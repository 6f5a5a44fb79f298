"""A live forecaster in `14_live`: its readout in closed form, its setting by validation, and its service."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from artifact.studies.forecasting.choice import Bounds, widened_grid
from resonance.causal_mixing import CausalMixing
from resonance.forecasting import ForecastTask
from resonance.live import LiveForecaster
from resonance.time_series import Moments


@dataclass(frozen=True, order=True)
class LiveSetting:
    """One point of the grid that validation chooses from."""

    scales: int
    longest: float  # periods
    harmonics: int
    variance_power: float  # steps are weighted by sd^-variance_power of the time before them
    ridge: float

    def model(self, task: ForecastTask) -> LiveForecaster:
        """An untrained forecaster of this setting."""
        options = {"scales": self.scales, "longest": self.longest, "harmonics": self.harmonics}
        series = task.series
        return LiveForecaster(task.horizon, len(series.channels), period=series.period, **options)


def standardised(task: ForecastTask) -> Tensor:
    """All rows of a task, (steps, channels), standardised, float32."""
    return task.standardised(task.series.values[: task.borders[2]])


def origins(task: ForecastTask, split: str) -> range:
    """The last step before each forecast of a split: those of `ForecastTask.windows`.

    Training begins after 14 periods, at most a quarter of its rows, when the resonators have settled.
    """
    first, second, third = task.borders
    settled = min(14 * task.series.period, first // 4)
    start, end = {"train": (settled, first), "validation": (first, second), "test": (second, third)}[split]
    return range(start - 1, end - task.horizon)


@torch.no_grad()
def features(model: LiveForecaster, rows: Tensor) -> Tensor:
    """The inputs of the readout at every step, (n, 2k + 1, channels): states and newest step, less level."""
    k = model.mixing.num_resonators
    probe = CausalMixing(2 * k, k)
    probe.load_state_dict(model.mixing.state_dict() | {"readout": torch.eye(2 * k), "direct": torch.zeros(2 * k)})
    newest = (rows - model.level(rows[None])[0])[:, None]
    return torch.cat([model.deviations(rows[None], probe)[0], newest], dim=1)


@torch.no_grad()
def live_moments(
    model: LiveForecaster, task: ForecastTask, split: str, inputs: Tensor, variance_power: float = 0.0
) -> Moments:
    """Second moments of features (`features` of all rows) and futures, less their level, over a split's steps.

    Each (step, channel) is weighted by sd^-variance_power, sd the deviation over the 14 periods before.
    Cost: steps x channels x 2k (2k + horizon) multiply-adds.
    """
    rows, size = standardised(task), inputs.shape[1]
    at, horizon, levels = origins(task, split), task.horizon, model.level(rows[None])[0]
    gram = torch.zeros(size, size, dtype=torch.float64)
    cross, squares = torch.zeros(horizon, size, dtype=torch.float64), 0.0
    ahead = torch.arange(1, horizon + 1)
    weights = deviation(rows, 14 * model.period) ** -variance_power
    for index in torch.arange(at.start, at.stop).split(512):
        x = inputs[index].double().movedim(1, 0).flatten(1)
        y = (rows[index[:, None] + ahead] - levels[index][:, None]).double().movedim(1, 0).flatten(1)
        weighted = x * weights[index].flatten()
        gram += weighted @ x.T
        cross += y @ weighted.T
        squares += (y.square() * weights[index].flatten()).sum().item()
    return Moments(gram, cross, squares, len(at) * rows.shape[1] * horizon)


def deviation(rows: Tensor, steps: int) -> Tensor:
    """Standard deviation over the last `steps` rows at each of (n, channels), float64, at least 1e-3."""
    windows = pd.DataFrame(rows.double().numpy()).rolling(steps, min_periods=1)
    return torch.from_numpy(windows.std(ddof=0).clip(lower=1e-3).to_numpy(copy=True))


@torch.no_grad()
def fit_readout_(model: LiveForecaster, moments: Moments, ridge: float) -> LiveForecaster:
    """Set the readout to its ridge regression, R = (sum y z^T) (sum z z^T + ridge I)^-1, z the features; return it.

    Raises ValueError for ridge <= 0.
    """
    if not ridge > 0:
        raise ValueError(f"expected ridge > 0, got {ridge}")
    gram = moments.past_past + ridge * torch.eye(len(moments.past_past), dtype=torch.float64)
    solution = torch.linalg.solve(gram, moments.future_past, left=False)
    model.mixing.readout.copy_(solution[:, :-1].T)
    model.mixing.direct.copy_(solution[:, -1])
    return model


def readout(model: LiveForecaster) -> Tensor:
    """The readout as a matrix of features, (horizon, 2k + 1)."""
    return torch.cat([model.mixing.readout.detach().T, model.mixing.direct.detach()[:, None]], dim=1)


def live_bounds(task: ForecastTask) -> Bounds:
    """The ends of each setting: the harmonics of half a period, and time scales as long as the training rows."""
    period = task.series.period
    return {
        "scales": (1, math.inf),
        "longest": (0.125, task.borders[0] / period),
        "harmonics": (1, period // 2 + 1),
        "variance_power": (0.0, math.inf),
        "ridge": (0.0, math.inf),
    }


def choose_live(
    task: ForecastTask, grid: Mapping[str, Sequence[float]], *, wider: int = 0
) -> tuple[pd.DataFrame, LiveSetting, LiveForecaster]:
    """Fit the settings of a grid that widens (`widened_grid`) on the training rows; grid: as fields of `LiveSetting`.

    Returns the validation MSE of each, in column "score", the setting with the lowest, and its model.
    """

    @lru_cache(maxsize=1)  # features are large; `widened_grid` tries all of one shape in a row
    def prepared(*shape: float) -> tuple[LiveForecaster, Tensor, Moments]:
        model = LiveSetting(*shape, 0.0, 1.0).model(task)
        inputs = features(model, standardised(task)[: task.borders[1]])
        return model, inputs, live_moments(model, task, "validation", inputs)

    @cache
    def moments(*shape: float, power: float) -> tuple[Moments, Moments]:
        model, inputs, validation = prepared(*shape)
        return live_moments(model, task, "train", inputs, power), validation

    def fitted(setting: LiveSetting) -> tuple[LiveForecaster, Moments]:
        shape = (setting.scales, setting.longest, setting.harmonics)
        train, validation = moments(*shape, power=setting.variance_power)
        return fit_readout_(setting.model(task), train, setting.ridge), validation

    def score(*point: float) -> float:
        model, validation = fitted(LiveSetting(*point))
        return validation.mean_squared_error(readout(model))

    units = {"scales": 1, "harmonics": 1}
    tries = widened_grid(score, {name: grid[name] for name in live_bounds(task)}, live_bounds(task), units, wider)
    *point, _ = next(tries.nsmallest(1, "score").itertuples(index=False, name=None))
    return tries, LiveSetting(*point), fitted(LiveSetting(*point))[0]


# --------------------------------------------------------------------------- serving


@torch.inference_mode()
def serve(model: LiveForecaster, task: ForecastTask, split: str = "test") -> tuple[np.ndarray, np.ndarray]:
    """Run the series one step at a time from its beginning; return errors (2, windows) of a split, and seconds a step.

    The errors are each window's mean squared and mean absolute error over steps and channels, standardised.
    """
    rows, at, errors, seconds = standardised(task), origins(task, split), [], []
    state = model.initial_state(1)
    for t in range(at.stop):
        started = time.perf_counter()
        forecast, state = model.step(rows[t : t + 1], state)
        seconds.append(time.perf_counter() - started)
        if t >= at.start:
            error = (forecast[0] - rows[t + 1 : t + 1 + task.horizon]).double()
            errors.append((error.square().mean().item(), error.abs().mean().item()))
    return np.array(errors).T, np.array(seconds)


@torch.inference_mode()
def error_after(model: LiveForecaster, task: ForecastTask, steps: Iterable[int], *, every: int = 12) -> pd.DataFrame:
    """Test error of forecasts by a model started so many steps before, for every 12th window."""
    rows, at = standardised(task), torch.tensor(origins(task, "test")[::every])
    future = rows[at[:, None] + torch.arange(1, task.horizon + 1)]
    table = []
    for received in steps:
        state = model.initial_state(len(at))
        for back in range(received - 1, -1, -1):
            forecast, state = model.step(rows[at - back], state)
        table.append({"received": received, "mse": (forecast - future).double().square().mean().item()})
    return pd.DataFrame(table)
