"""Forecasts of one's own series: settings chosen on validation, compared with two baselines, refitted on every row.

Three methods, each one map for all channels of the last rows to the next `horizon`:

    resonance        the mean of up to three closed forms (eq:closed-form) of different lookbacks
    ridge            future - level = matrix (past - level), a ridge regression without structure
    seasonal repeat  the last period again
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, gcd, nan
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .forecasting import ForecastTask, Series, level_and_scale
from .time_series import Moments, RidgePath, Setting, band_moments

LONGEST = 1024  # steps of a lookback: the closed form costs its cube
MOST = 2**13  # windows x channels of one fit: adjacent windows are nearly identical
MOST_ERRORS = 2**22  # values that methods are compared and intervals set on
PROGRESS = logging.getLogger(__name__)  # what `fit` is doing, at level INFO
RIDGES = tuple(10.0**e for e in range(-9, 8))  # over the mean square of the past
TAPER, VARIANCE_POWER = 0.5, 1.0  # as in 08_forecasting: fixed: short series should not select many settings


class HeldBack(NamedTuple):
    """Errors on the held-back rows, in units of each channel's deviation over the rows before."""

    mse: float
    mae: float


@dataclass(frozen=True)
class Forecast:
    """Steps after the end of a series, in its units; str() tabulates `held_back` and the notes."""

    times: np.ndarray  # (horizon,), of the steps; row numbers where the series has no times
    channels: tuple[str, ...]
    values: np.ndarray  # (horizon, channels), as lower and upper
    lower: np.ndarray
    upper: np.ndarray
    level: float  # stated coverage of lower..upper
    coverage: float  # share of held-back values in intervals set on the rows before; nan where these were too few
    method: str  # the one returned, of the lowest MSE in `held_back`
    held_back: dict[str, HeldBack]  # by method
    notes: tuple[str, ...]  # why this method, and what limits the forecast

    def __str__(self) -> str:
        lines = [f"{name:<16}{error.mse:>9.4f}{error.mae:>9.4f}" for name, error in self.held_back.items()]
        return "\n".join([f"{'held-back rows':<16}{'MSE':>9}{'MAE':>9}", *lines, *self.notes])


class Forecaster:
    """Fit a series of any length and period, and forecast the `horizon` steps after its end.

    Of n rows the last max(n // 5, horizon) are held back, and as many before them validate.  Validation chooses the
    rank, the ridge (over 16 decades) and the lookback, 1, 2, 4, ... periods until the best is inside; notes say where
    the rows or the decades end that.  The choice is refitted on all rows before the held-back ones and compared there
    with the seasonal repeat and the ridge, chosen alike.  The best of the three is refitted on all rows.

    Intervals: for every step ahead and channel, the quantile of |error| on validation and held-back windows (split
    conformal, Lei et al. 2018).  Those of validation alone are measured on the held-back rows; where they hold less of
    a channel than stated, its final ones are widened by the factor that would have held it.

    period: steps of the main cycle, 1 for none; required for an array, of a Series its own unless given.
    coverage: the share of values that the intervals should hold, inside (0, 1).
    Raises ValueError for a horizon below 1, and in `fit` for fewer rows than a period and a horizon.
    Cost: that of `Moments.of` and lookback^3, a few times for each lookback up to 1,024 steps.

    >>> day = np.sin(2 * np.pi * np.arange(624) / 24)
    >>> coming = Forecaster(24, period=24).fit(day[:600]).predict()
    >>> bool(abs(coming.values[:, 0] - day[600:]).max() < 0.01)
    True
    """

    def __init__(self, horizon: int, *, period: int | None = None, coverage: float = 0.9):
        horizon, period = operator.index(horizon), period if period is None else operator.index(period)
        if horizon < 1 or not 0 < coverage < 1 or (period is not None and period < 1):
            raise ValueError(f"expected horizon >= 1, period >= 1, coverage in (0, 1); got {horizon, period, coverage}")
        self.horizon, self.period, self.coverage = horizon, period, coverage
        self._forecast: Forecast | None = None

    def predict(self) -> Forecast:
        """Forecast of the steps after the rows of `fit`.  Raises RuntimeError before it."""
        if self._forecast is None:
            raise RuntimeError("expected fit(series) before predict()")
        return self._forecast

    def fit(self, series: Series | np.ndarray) -> Forecaster:
        """Choose, compare and refit on a Series, or on values (steps,) or (steps, channels), evenly sampled."""
        # Whatever the default device is; models start from random weights, which a closed form replaces.
        with torch.no_grad(), torch.device("cpu"), torch.random.fork_rng(devices=[]):
            self._forecast = self._fit(series)
        return self

    def _fit(self, series: Series | np.ndarray) -> Forecast:
        if not isinstance(series, Series):
            if self.period is None:
                raise ValueError("expected period=, the steps of the main cycle (1 for none), with an array")
            if np.asarray(getattr(series, "index", 0)).dtype.kind == "M":
                raise TypeError("expected dates in Series(..., times=), got a pandas object indexed by them")
            values = series if np.ndim(series) == 2 else np.ma.asarray(series)[..., None]
            series = Series("series", values, tuple(map(str, range(np.shape(values)[-1]))), self.period, "step")
        series = replace(series, period=self.period or series.period)
        times = series.following(self.horizon)  # refuses missing rows
        rows, period, horizon = len(series.values), series.period, self.horizon
        if rows < period + horizon:
            needed = f"{period + horizon} rows, for a period of {period} and a horizon of {horizon}"
            raise ValueError(f"{series.dataset}: expected at least {needed}; got {rows}")
        hold = min(max(rows // 5, horizon), rows - period)

        def task(held: int) -> ForecastTask:
            """Train on all but the last `held` stretches, validate on the first of them."""
            end = rows - held * hold
            scale = level_and_scale(series.values[: max(end, 1)])
            return ForecastTask(series, horizon, (end, end + hold, rows), *scale)

        validating, comparing, whole = task(2), task(1), task(0)
        methods, notes = _choose(validating)
        PROGRESS.info("comparing %s on %d held-back rows", ", ".join(methods), hold)
        errors = {name: _errors(method(comparing), comparing) for name, method in methods.items()}
        held_back = {name: HeldBack(float(np.square(e).mean()), float(abs(e).mean())) for name, e in errors.items()}
        best = min(held_back, key=lambda name: held_back[name].mse)
        why = "lowest error" if best == "resonance" else "resonance did not beat it" if len(errors) > 1 else "alone"
        figures = ", ".join(f"{name} {error.mse:.4g}" for name, error in held_back.items())
        notes.insert(0, f"Returned: {best} ({why}). MSE on {len(errors[best])} held-back windows: {figures}.")

        held, before = abs(errors[best]) * (comparing.std / whole.std), None
        if validating.borders[0] >= period:
            before = abs(_errors(methods[best](validating), validating)) * (validating.std / whole.std)
        half, measured, widened = _half_widths(before, held, self.coverage)
        said = f"set on the rows before, they held {measured:.1%} of the held-back values; widened up to {widened:.2f}x"
        said = said if before is not None else "set on the held-back rows, too few rows to measure them"
        notes.append(f"Intervals of {self.coverage:.0%}: {said}.")
        if series.filled:
            notes.append(f"{series.filled} values of the series were interpolated.")
        PROGRESS.info("fitting %s to all %d rows", best, rows)
        lookback, forecast = methods[best](whole)
        values = forecast(whole.standardised(series.values[rows - lookback :])[None])[0].double().numpy()
        values, half = values * whole.std + whole.mean, half * whole.std
        shown = (times, series.channels, values, values - half, values + half)
        return Forecast(*shown, self.coverage, measured, best, held_back, tuple(notes))


class Fitted(NamedTuple):
    """A map of a past (batch, lookback, channels) to (batch, horizon, channels)."""

    lookback: int
    forecast: Callable[[Tensor], Tensor]


Method = Callable[[ForecastTask], Fitted]  # fits on the training rows of a task


def _repeat(task: ForecastTask) -> Fitted:
    index = torch.arange(task.horizon) % task.series.period
    return Fitted(task.series.period, lambda past: past[:, index])


def _ridge_matrix(moments: Moments, penalty: float) -> Tensor:
    gram = moments.past_past + penalty * torch.eye(len(moments.past_past), dtype=torch.float64)
    return torch.linalg.solve(gram, moments.future_past, left=False)  # (horizon, lookback)


def _ridge(task: ForecastTask, lookback: int, penalty: float) -> Fitted:
    matrix = _ridge_matrix(_moments(task, "train", lookback), penalty).float()

    def forecast(past: Tensor) -> Tensor:
        level = past[:, -task.series.period :].mean(dim=1, keepdim=True)
        return level + matrix @ (past - level)

    return Fitted(lookback, forecast)


def _resonance(task: ForecastTask, settings: list[Setting]) -> Fitted:
    moments = [band_moments(s.model(task), _moments(task, "train", s.lookback, VARIANCE_POWER)) for s in settings]
    models = [s.fitted(task, each) for s, each in zip(settings, moments, strict=True)]
    longest = max(s.lookback for s in settings)
    return Fitted(longest, lambda past: sum(m(past[:, longest - m.lookback :]) for m in models) / len(models))


def _stride(windows: int, period: int, most: int) -> int:
    """Take every so many windows, about `most`, at every phase of the period."""
    stride = ceil(windows / max(most, 1))
    while gcd(stride, period) > 1:
        stride += 1
    return stride


def _moments(task: ForecastTask, split: str, lookback: int, power: float = 0.0) -> Moments:
    windows, period = task.windows(split, lookback), task.series.period
    stride = _stride(len(windows), period, MOST // len(task.series.channels))
    return Moments.of(windows, period, variance_power=power, stride=stride)


@torch.no_grad()
def _errors(fitted: Fitted, task: ForecastTask) -> np.ndarray:
    """Errors y - yhat on the validation windows of a task, (windows, horizon, channels)."""
    windows = task.windows("validation", fitted.lookback)
    stride = _stride(len(windows), task.series.period, MOST_ERRORS // (task.horizon * len(task.series.channels)))
    batches = (windows.batch(index) for index in torch.arange(0, len(windows), stride).split(128))
    return torch.cat([future - fitted.forecast(past) for past, future in batches]).double().numpy()


def _lowest(measure: Callable[[float], tuple], size: float) -> tuple:
    """Lowest (error, ...) of measure(ridge), from the middle of RIDGES both ways until it rises."""
    middle = len(RIDGES) // 2
    best = first = measure(RIDGES[middle] * size)
    for way in (RIDGES[middle + 1 :], RIDGES[middle - 1 :: -1]):
        last = first
        for ridge in way:
            now = measure(ridge * size)
            if now[0] >= last[0]:
                break
            last, best = now, min(best, now)
    return best


def _choose(task: ForecastTask) -> tuple[dict[str, Method], list[str]]:
    """Methods that the rows allow, with the settings of lowest validation error; notes on what limits them."""
    rows, horizon, period = task.borders[0], task.horizon, task.series.period
    unit = period * ceil(4 / period)  # steps
    if rows - horizon - unit < 3 or unit > LONGEST:
        few = f"{max(rows, 0)} rows to train on, period {period} and horizon {horizon}"
        return {"seasonal repeat": _repeat}, [f"Another method needs more rows or a shorter period than {few}."]
    longest = max(unit, min(LONGEST, (rows - horizon) // 3))
    lookbacks = [unit << at for at in range(12) if unit << at <= longest]
    sizes: dict[int, tuple[float, float]] = {}  # what RIDGES are multiples of, by lookback: resonance, ridge
    found: list[tuple] = []  # validation error, setting; of every lookback
    ridges: list[tuple] = []  # validation error, lookback, penalty
    for lookback in lookbacks:
        if len(found) >= 4 and min(found) not in found[-2:]:
            break
        validation, samples = (_moments(task, split, lookback) for split in ("validation", "train"))
        setting = Setting(lookback, TAPER, VARIANCE_POWER, 1, 1.0)
        model, weighted = setting.model(task), _moments(task, "train", lookback, VARIANCE_POWER)
        path = RidgePath(model, band_moments(model, weighted), validation)

        def closed_form(ridge: float, path=path, setting=setting) -> tuple:
            error, rank = path.errors(ridge).min(dim=0)
            return float(error), replace(setting, rank=int(rank) + 1, ridge=ridge)

        def penalised(penalty: float, samples=samples, validation=validation, lookback=lookback) -> tuple:
            return validation.mean_squared_error(_ridge_matrix(samples, penalty)), lookback, penalty

        sizes[lookback] = max(path.size, 1e-9), max(float(samples.past_past.diagonal().mean()), 1e-9)
        found.append(_lowest(closed_form, sizes[lookback][0]))
        ridges.append(_lowest(penalised, sizes[lookback][1]))
        both = found[-1][0], ridges[-1][0]
        PROGRESS.info("lookback of %d steps: validation MSE %.4g (resonance), %.4g (ridge)", lookback, *both)

    best = [setting for _, setting in sorted(found)[:3]]
    errors = [_errors(_resonance(task, [setting]), task) for setting in best]
    means = [float(np.square(np.mean(errors[:count], axis=0)).mean()) for count in range(1, len(best) + 1)]
    notes = []
    if best[0].lookback == lookbacks[-1]:
        notes.append(f"The best lookback, {lookbacks[-1]} steps, is the longest tried with {rows} rows to train on.")
    _, lookback, penalty = min(ridges)
    used = (("resonance", best[0].ridge, sizes[best[0].lookback][0]), ("ridge", penalty, sizes[lookback][1]))
    for name, chosen, size in used:
        if chosen in (RIDGES[0] * size, RIDGES[-1] * size):  # exact: made by the same product
            notes.append(f"The best ridge of {name}, {chosen / size:.0e} of the mean square, is an end of those tried.")
    resonance = partial(_resonance, settings=best[: 1 + int(np.argmin(means))])
    ridge = partial(_ridge, lookback=lookback, penalty=penalty)
    return {"resonance": resonance, "ridge": ridge, "seasonal repeat": _repeat}, notes


def _half_widths(before: np.ndarray | None, held: np.ndarray, level: float) -> tuple[np.ndarray, float, float]:
    """Half widths (horizon, channels) from |errors| (windows, horizon, channels); coverage measured; widening."""

    def quantile(errors: np.ndarray) -> np.ndarray:
        at = min(ceil((len(errors) + 1) * level), len(errors)) - 1
        return np.partition(errors, at, axis=0)[at]

    if before is None:
        return quantile(held), nan, 1.0
    alone = quantile(before) + 1e-6  # rounding of a constant channel is no miss
    ratio = np.where(alone > 2e-6, held / alone, 1.0)
    widened = np.maximum(np.quantile(ratio, level, axis=(0, 1), method="higher"), 1.0)  # (channels,)
    return quantile(np.concatenate([before, held])) * widened, float((held <= alone).mean()), float(widened.max())
