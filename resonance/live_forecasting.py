"""Forecasting as hours come in: resonators that have heard the series so far, and a forecast after every hour.

    s_t = lambda s_(t-1) + x_t                 k damped resonators a channel: all that is kept of a long past
    yhat_t = level_t + b (x_t - level_t) + Re C (s_t - level_t g_t)

`forward` is the parallel form (`CausalMixing`, each of its channels a step ahead), `step` takes one hour.  The forecast
is linear in the states, so its best readout is a ridge regression, in closed form.  Poles are set, not learned: time
scales even in octaves, each at harmonics of the series' period; validation chooses among such sets.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from .causal_mixing import CausalMixing
from .causal_poles import octave_of, turned
from .forecast_choice import Moments
from .forecasting import ForecastTask
from .spectral import check_sequences

State = dict[str, Tensor]


class OneSignalMixing(CausalMixing):
    """`CausalMixing` whose channels all hear the same signal, so that one state of k resonators serves them all.

    The parallel form is that of `CausalMixing` on the signal repeated; `hear` and `read` are its recurrence, in parts.
    """

    @torch.no_grad()
    def set_poles_(self, time_scales: Tensor, frequencies: Tensor) -> OneSignalMixing:
        """Set the poles to time scales (k,), in steps, and frequencies (k,), in cycles per step; return the mixing."""
        self.octave.copy_(octave_of(time_scales.double()))
        self.spacing.copy_(1.0 / time_scales)
        self.turns.copy_(time_scales * frequencies)
        return self

    def hear(self, signals: Tensor, states: Tensor) -> Tensor:
        """Return the states (..., k, 2) after one more sample of each signal, (...)."""
        states = turned(states, self._step_constants(states.dtype)[0])
        states[..., 0] += signals[..., None]
        return states

    def read(self, states: Tensor) -> Tensor:
        """Return what the channels read from states (..., k, 2), (..., dim); the direct gain stands apart."""
        readout = self._step_constants(states.dtype)[1]
        return states.flatten(-2) @ readout.flatten(1).T


class LiveForecaster(nn.Module):
    """Forecast `pred_horizon` steps of every channel after every step, with a state of constant size.

        yhat_(t, h) = level_t + b_h (x_t - level_t) + Re sum_j c_jh e_j (s_tj - level_t g_tj)

    s: resonators of unit energy (`CausalMixing`) driven by the channel; g: the same driven by 1, so that a constant
    added to the series is added to every forecast, from the first step on.  level: mean of the last `period` steps, of
    fewer at the beginning.  The channels share all weights.
    forward: (batch, n, channels) -> (batch, n, pred_horizon, channels).  step: (batch, channels) -> (batch,
    pred_horizon, channels).
    Arguments: period in steps; scales time scales a harmonic, even in octaves from an eighth of a period to `longest`
    periods; harmonics 0 .. harmonics - 1 of the period at each of them: k = scales x harmonics.
    State: "resonators" (batch, channels + 1, k, 2), "recent" (batch, period, channels), "heard" (batch,).
    Raises ValueError for a wrong shape, or sizes below 1.  Parameters: 2 k, and (2 k + 1) pred_horizon.
    Cost a step: (4 k + 2 k pred_horizon) (channels + 1) multiply-adds.
    """

    def __init__(
        self,
        pred_horizon: int = 96,
        channels: int = 7,
        *,
        period: int = 24,
        scales: int = 5,
        longest: float = 32.0,
        harmonics: int = 7,
    ):
        super().__init__()
        if min(pred_horizon, channels, period, scales, harmonics) < 1 or not longest >= 0.125:
            raise ValueError(
                "expected sizes >= 1 and longest >= 1/8 period, got "
                f"{pred_horizon=}, {channels=}, {period=}, {scales=}, {harmonics=}, {longest=}"
            )
        self.pred_horizon, self.channels, self.period = pred_horizon, channels, period
        octaves = torch.linspace(-3.0, math.log2(longest), scales, dtype=torch.float64)
        time_scales = (period * torch.exp2(octaves)).repeat_interleave(harmonics)
        frequencies = torch.arange(harmonics, dtype=torch.float64).repeat(scales) / period
        self.mixing = OneSignalMixing(pred_horizon, scales * harmonics).set_poles_(time_scales, frequencies)

    def level(self, x: Tensor) -> Tensor:
        """Return the mean of the last `period` steps of x (batch, n, channels), at every step; of fewer at first."""
        total = torch.cat([torch.zeros_like(x[:, :1]), x], dim=1).double().cumsum(1)
        last = torch.arange(1, x.shape[1] + 1, device=x.device)
        first = (last - self.period).clamp_min(0)
        return ((total[:, last] - total[:, first]) / (last - first)[:, None]).to(x.dtype)

    def deviations(self, x: Tensor, mixing: CausalMixing) -> Tensor:
        """Return a mixing of x less that of its level, (batch, n, mixing.dim, channels), for x (batch, n, channels)."""
        level, (batch, n, channels) = self.level(x), x.shape
        signals = torch.cat([x, torch.ones_like(x[..., :1])], dim=2).movedim(2, 1).reshape(-1, n, 1)
        mixed = mixing(signals.expand(-1, -1, mixing.dim)).unflatten(0, (batch, channels + 1)).movedim(1, 3)
        return mixed[..., :channels] - level[:, :, None] * mixed[..., channels:]

    def forward(self, x: Tensor) -> Tensor:
        """Return the forecasts (batch, n, pred_horizon, channels) after every step of x (batch, n, channels)."""
        check_sequences(x, self.channels)
        return self.level(x)[:, :, None] + self.deviations(x, self.mixing)

    def initial_state(self, batch: int, *, device=None, dtype: torch.dtype | None = None) -> State:
        """Return the state before the first step."""
        options = {"device": device or self.mixing.readout.device, "dtype": dtype or self.mixing.readout.dtype}
        return {
            "resonators": torch.zeros(batch, self.channels + 1, self.mixing.num_resonators, 2, **options),
            "recent": torch.zeros(batch, self.period, self.channels, **options),
            "heard": torch.zeros(batch, **options),
        }

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the forecast (batch, pred_horizon, channels) after a step x (batch, channels), and the next state."""
        if x.dim() != 2 or x.shape[1] != self.channels:
            raise ValueError(f"expected one step of shape (batch, {self.channels}), got {tuple(x.shape)}")
        heard = state["heard"] + 1
        recent = torch.cat([state["recent"][:, 1:], x[:, None]], dim=1)
        level = recent.sum(1) / heard.clamp_max(self.period)[:, None]
        resonators = self.mixing.hear(torch.cat([x, torch.ones_like(x[:, :1])], dim=1), state["resonators"])
        y = self.mixing.read(resonators[:, :-1] - level[..., None, None] * resonators[:, -1:])
        y = y + level[..., None] + (x - level)[..., None] * self.mixing.direct
        return y.transpose(1, 2), {"resonators": resonators, "recent": recent, "heard": heard}


# --------------------------------------------------------------------------- the closed form


@dataclass(frozen=True, order=True)
class LiveSetting:
    """One point of the grid that validation chooses from."""

    scales: int
    longest: float  # periods
    harmonics: int
    calm: float  # hours are weighted by sd^-calm of the time before them
    ridge: float

    def model(self, task: ForecastTask) -> LiveForecaster:
        """Return an untrained forecaster of this setting."""
        options = {"scales": self.scales, "longest": self.longest, "harmonics": self.harmonics}
        series = task.series
        return LiveForecaster(task.horizon, len(series.channels), period=series.period, **options)


def heard_rows(task: ForecastTask) -> Tensor:
    """Return all rows of a task, (steps, channels), standardised, float32."""
    return torch.from_numpy((task.series.values[: task.borders[2]] - task.mean) / task.std).float()


def origins(task: ForecastTask, split: str) -> range:
    """Return the last step heard before each forecast of a split: the windows of `ForecastTask.windows`.

    Training begins after two weeks (14 periods), at most a quarter of its rows, when the resonators have settled.
    """
    first, second, third = task.borders
    settled = min(14 * task.series.period, first // 4)
    start, end = {"train": (settled, first), "validation": (first, second), "test": (second, third)}[split]
    return range(start - 1, end - task.horizon)


@torch.no_grad()
def features(model: LiveForecaster, rows: Tensor) -> Tensor:
    """Return what the readout weighs at every step, (n, 2k + 1, channels): states less level, and the newest step."""
    k = model.mixing.num_resonators
    probe = CausalMixing(2 * k, k)
    probe.load_state_dict(model.mixing.state_dict() | {"readout": torch.eye(2 * k), "direct": torch.zeros(2 * k)})
    newest = (rows - model.level(rows[None])[0])[:, None]
    return torch.cat([model.deviations(rows[None], probe)[0], newest], dim=1)


@torch.no_grad()
def live_moments(model: LiveForecaster, task: ForecastTask, split: str, inputs: Tensor, calm: float = 0.0) -> Moments:
    """Return second moments of features (`features` of all rows) and futures, their level off, over a split's steps.

    With calm > 0 each (step, channel) is weighted by sd^-calm, sd the deviation over the 14 periods before.
    Cost: steps x channels x 2k (2k + horizon) multiply-adds.
    """
    rows, size = heard_rows(task), inputs.shape[1]
    at, horizon, levels = origins(task, split), task.horizon, model.level(rows[None])[0]
    gram = torch.zeros(size, size, dtype=torch.float64)
    cross, squares = torch.zeros(horizon, size, dtype=torch.float64), 0.0
    ahead = torch.arange(1, horizon + 1)
    weights = deviation(rows, 14 * model.period) ** -calm
    for index in torch.arange(at.start, at.stop).split(512):
        x = inputs[index].double().movedim(1, 0).flatten(1)
        y = (rows[index[:, None] + ahead] - levels[index][:, None]).double().movedim(1, 0).flatten(1)
        weighted = x * weights[index].flatten()
        gram += weighted @ x.T
        cross += y @ weighted.T
        squares += (y.square() * weights[index].flatten()).sum().item()
    return Moments(gram, cross, squares, len(at) * rows.shape[1] * horizon)


def deviation(rows: Tensor, steps: int) -> Tensor:
    """Return the deviation of rows (n, channels) over the last `steps` of each, float64, at least 1e-3."""
    total = torch.cat([torch.zeros(1, 2, rows.shape[1]).double(), torch.stack([rows, rows.square()], 1).double()])
    total = total.cumsum(0)
    last = torch.arange(1, len(rows) + 1)
    first = (last - steps).clamp_min(0)
    mean, square = ((total[last] - total[first]) / (last - first)[:, None, None]).unbind(1)
    return (square - mean.square()).clamp_min(1e-6).sqrt()


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
    """Return the readout as a matrix of features, (horizon, 2k + 1)."""
    return torch.cat([model.mixing.readout.detach().T, model.mixing.direct.detach()[:, None]], dim=1)


def choose_live(task: ForecastTask, grid: Iterable[tuple]) -> tuple[pd.DataFrame, LiveSetting, LiveForecaster]:
    """Fit every setting of a grid of (scales, longest, harmonics, calm, ridge); return all errors, the best, its model.

    One pass over the series serves every weighting and penalty of a set of poles.  The test rows are not touched.
    """
    rows, models = [], {}
    settings = sorted(LiveSetting(*point) for point in grid)
    for _, same in groupby(settings, key=lambda s: (s.scales, s.longest, s.harmonics)):
        group = list(same)
        model = group[0].model(task)
        inputs = features(model, heard_rows(task)[: task.borders[1]])
        validation = live_moments(model, task, "validation", inputs)
        for calm, alike in groupby(group, key=lambda s: s.calm):
            train = live_moments(model, task, "train", inputs, calm)
            for setting in alike:
                models[setting] = fit_readout_(setting.model(task), train, setting.ridge)
                error = validation.mean_squared_error(readout(models[setting]))
                rows.append({**vars(setting), "validation_mse": error})
    table = pd.DataFrame(rows)
    best = list(models)[int(table["validation_mse"].argmin())]
    return table, best, models[best]


# --------------------------------------------------------------------------- serving


@torch.inference_mode()
def serve(model: LiveForecaster, task: ForecastTask, split: str = "test") -> tuple[np.ndarray, np.ndarray]:
    """Feed the series one step at a time from its beginning; return errors (2, windows) of a split, and seconds a step.

    The errors are each window's mean squared and mean absolute error over steps and channels, standardised.
    """
    rows, at, errors, seconds = heard_rows(task), origins(task, split), [], []
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
    """Return the test error of forecasts by a model switched on so many steps before, for every 12th window."""
    rows, at = heard_rows(task), torch.tensor(origins(task, "test")[::every])
    future = rows[at[:, None] + torch.arange(1, task.horizon + 1)]
    table = []
    for heard in steps:
        state = model.initial_state(len(at))
        for back in range(heard - 1, -1, -1):
            forecast, state = model.step(rows[at - back], state)
        table.append({"heard": heard, "mse": (forecast - future).double().square().mean().item()})
    return pd.DataFrame(table)
