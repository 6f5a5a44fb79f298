"""The protocol of forecasting benchmarks: a series from a CSV, its splits and scaling, windows, evaluation.

ETTh1 (Zhou et al. 2021, with the loader error of later work corrected): months of 30 days, 12 to train, 4 to validate,
4 to test.  Series are scaled by their training rows; validation and test windows may look back across their border but
never forecast before it; every window is evaluated, none dropped.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from .time_series import ResonanceTimeSeriesNet


@dataclass(frozen=True)
class Series:
    """A multivariate series: `values` (steps, channels) float64, evenly sampled."""

    dataset: str  # its name in tables and figures
    values: np.ndarray
    channels: tuple[str, ...]
    period: int  # steps of its main cycle
    step: str  # what one step is
    stand_in: bool = False
    times: np.ndarray | None = None  # of the steps, (steps,) datetime64[ns], increasing; see `load_csv` for their clock
    filled: int = 0  # values that were interpolated

    def __post_init__(self) -> None:
        shape, times, bad = np.shape(self.values), self.times, int((~np.isfinite(self.values)).sum())
        if len(shape) != 2 or shape[1] != len(self.channels) or bad:
            raise ValueError(f"expected finite values (steps, {len(self.channels)}), got {shape}, {bad} not finite")
        if times is not None and (times.shape != shape[:1] or (np.diff(times) <= np.timedelta64(0)).any()):
            raise ValueError(f"expected increasing times ({shape[0]},), one a step, got {times.shape}")

    def following(self, horizon: int) -> np.ndarray:
        """Times (horizon,) of the steps after the end, on the calendar of the series; without times, row numbers.

        Raises ValueError for times that keep no calendar, and for a future past the year 2261.
        """
        if self.times is None:
            return len(self.values) + np.arange(horizon)
        numbers, time = calendar(self.times)[:2]
        after = time(numbers[-1] + 1 + np.arange(horizon)).astype("M8[ns]")
        if (after <= self.times[-1]).any():  # int64 overflow
            raise ValueError(f"{horizon} steps after {self.times[-1]} go past the year 2261, the last in nanoseconds")
        return after


# --------------------------------------------------------------------------- calendars


class Calendar(NamedTuple):
    """An even grid of times: each has a whole number, from 0; a number left out is a gap."""

    numbers: np.ndarray  # (times,) int64, increasing
    time: Callable[[np.ndarray], np.ndarray]  # time of a number
    step: str  # "hour", "15-minute step", "business day", "quarter", ...
    period: int  # steps in its natural cycle (hour, day, week or year), 1 where the times do not hold two cycles


DAY = np.timedelta64(1, "D")
HOUR, MINUTE, SECOND = (np.timedelta64(1, unit) for unit in "hms")
UNITS = {"week": 7 * DAY, "day": DAY, "hour": HOUR, "minute": MINUTE, "second": SECOND}


def calendar(times: np.ndarray) -> Calendar:
    """The calendar of increasing times (n,) that leaves the fewest gaps, n >= 2.

    Tried are months (a day of them or their last, their last or first weekday), a constant step (within a tenth:
    jitter, days of 23 and 25 hours), Monday to Friday, and the days of the week that occur in three weeks or more.
    Raises ValueError, naming the times, where none fits.
    """
    times = times.astype("M8[ns]")
    steps, days = np.diff(times), times.astype("M8[D]")
    usual = np.sort(steps)[(len(steps) - 1) // 2]
    found: list[Calendar] = []

    def add(numbers: np.ndarray, time: Callable[[np.ndarray], np.ndarray], cycle: float, names: dict[int, str]) -> None:
        """A calendar of every `count`-th number, with its usual name, if it gives the times."""
        numbers = numbers.astype(np.int64)
        count = int(np.sort(np.diff(numbers))[(len(steps) - 1) // 2])
        if count < 1 or (numbers % count).any() or (time(numbers) != times).any():
            return
        period = round(cycle / count)
        whole = abs(cycle / count - period) < 0.01 * period and 2 * period <= len(times)
        step = names.get(count, f"{count}-{names[1]} step")
        found.append(Calendar(numbers // count, lambda n: time(n * count), step, period if whole else 1))

    clock = times[0] - days[0]
    same_clock = bool((times - days == clock).all())
    if same_clock and usual >= 28 * DAY:
        months = times.astype("M8[M]")
        day = (days - months).max()
        for date in (
            lambda m: (m + 1).astype("M8[D]") - DAY,
            lambda m: np.minimum(m + day, (m + 1).astype("M8[D]") - DAY),
            lambda m: np.busday_offset((m + 1).astype("M8[D]"), -1, roll="forward"),
            lambda m: np.busday_offset(m.astype("M8[D]"), 0, roll="forward"),
        ):
            names = {1: "month", 3: "quarter", 12: "year"}
            add(months - months[0], lambda n, date=date: date(months[0] + n) + clock, 12, names)
    size = usual
    if 2 * (steps == usual).sum() < len(steps):  # jitter: the mean of the steps without a gap
        size = steps[abs(steps - usual) <= usual // 10].mean()
        usual = max(np.rint(size / SECOND) * SECOND, np.timedelta64(1, "ns"))
    gaps = np.rint(steps / size).astype(np.int64)
    if (gaps > 0).all() and (abs(steps - gaps * size) <= size // 10).all():
        numbers = np.concatenate([[0], gaps.cumsum()])

        def fixed(n: np.ndarray) -> np.ndarray:
            last = np.searchsorted(numbers, n, side="right") - 1
            return times[last] + (n - numbers[last]) * size

        unit = next((u for u in UNITS if usual % UNITS[u] == np.timedelta64(0)), "second")
        count = usual / UNITS[unit]
        name = unit if count == 1 else f"{count:.6g}-{unit} step"
        cycles = ((7 * DAY, 365.25 * 24), (DAY, 7 * 24), (MINUTE, 24), (SECOND, 1), (usual, 0))
        hours = next(hours for least, hours in cycles if usual >= least)
        add(numbers, fixed, hours * (HOUR / size), {1: name})
    weekdays = (days.astype(np.int64) + 3) % 7  # Monday is 0
    masks = [np.arange(7) < 5, np.isin(np.arange(7), weekdays)]
    for mask, name in zip(masks, ("business day", "day"), strict=True):
        if same_clock and mask[weekdays].all() and usual >= DAY and (name != "day" or days[-1] - days[0] >= 21 * DAY):
            date = lambda n, mask=mask: np.busday_offset(days[0], n, weekmask=mask) + clock  # noqa: E731
            add(np.busday_count(days[0], days, weekmask=mask), date, mask.sum(), {1: name})
    if not found:
        at = int(np.argmax(abs(steps / usual - np.rint(steps / usual))))
        raise ValueError(
            f"expected evenly spaced times; most follow after {usual.astype('m8[s]')}, but {times[at + 1]} follows "
            f"{times[at]} after {steps[at].astype('m8[s]')}"
        )
    return min(found, key=lambda one: one.numbers[-1])


# --------------------------------------------------------------------------- a CSV


def load_csv(path: str | Path, *, dataset: str, period: int, step: str) -> Series:
    """Read a series from a CSV whose first column is a date and whose others are channels.  Needs pandas.

    Raises ValueError, naming file and column, for a missing header or date column, rows of unequal length, text or
    non-finite numbers in a channel, and an empty table.
    """
    import pandas as pd  # only here: the library does not depend on it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(path, index_col=False)
        if any(re.fullmatch(r"[-+\d.eE]+", str(name)) for name in table.columns):
            raise ValueError("the first row holds numbers, not names")
        pd.to_datetime(table.iloc[:, 0].astype(str), format="mixed")
    except (ValueError, pd.errors.ParserWarning) as error:  # pandas' parser errors are ValueErrors
        expected = "expected a header row, then a date and one number a channel in each row"
        raise ValueError(f"{path}: {expected}; {error}") from None
    table = table.iloc[:, 1:]
    if table.empty:
        raise ValueError(f"{path}: expected a date column, then channels, and at least one row")
    for name, column in table.items():
        if not pd.api.types.is_numeric_dtype(column) or not np.isfinite(column.to_numpy()).all():
            raise ValueError(f"{path}: column {name!r} holds text, gaps or non-finite numbers")
    return Series(dataset, table.to_numpy(np.float64), tuple(map(str, table.columns)), period, step)


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
        for index in order.split(size):
            yield self.batch(index)


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
            raise ValueError(
                f"lookback={lookback} and horizon={self.horizon} leave no {split} window in {self.series.dataset} "
                f"with borders {self.borders}"
            )
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
    """Split a series: by the published borders for ETTh1, 60/20/20 for any other; scale it by `level_and_scale`."""
    steps = len(series.values)
    published = series.dataset == "ETTh1" and steps >= 14400
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
