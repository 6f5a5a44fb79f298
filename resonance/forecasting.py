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
    step: str  # "hour", "15 minutes", "business day", "quarter", ...
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
        step = names.get(count, f"{count} {names[1]}s")
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
        usual = max(size.astype("m8[s]").astype("m8[ns]"), np.timedelta64(1, "ns"))
    gaps = np.rint(steps / size).astype(np.int64)
    if (gaps > 0).all() and (abs(steps - gaps * size) <= size // 10).all():
        numbers = np.concatenate([[0], gaps.cumsum()])

        def fixed(n: np.ndarray) -> np.ndarray:
            last = np.searchsorted(numbers, n, side="right") - 1
            return times[last] + (n - numbers[last]) * size

        unit = next((u for u in UNITS if usual % UNITS[u] == np.timedelta64(0)), "")
        count = usual // UNITS[unit] if unit else 0
        name = f"{usual / UNITS['second']:.6g} seconds" if not unit else unit if count == 1 else f"{count} {unit}s"
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
    mean: np.ndarray
    std: np.ndarray

    def windows(self, split: str, lookback: int) -> Windows:
        """Windows of "train", "validation" or "test", float32, standardised; raises ValueError where there is none."""
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

    @torch.no_grad()
    def forecast(self, model: ResonanceTimeSeriesNet) -> np.ndarray:
        """Forecast the steps after the series' end, (horizon, channels), in the units of the series."""
        past = (self.series.values[-model.lookback :] - self.mean) / self.std  # (lookback, channels)
        return model(torch.from_numpy(past).float()[None])[0].numpy() * self.std + self.mean


def forecast_task(series: Series, horizon: int) -> ForecastTask:
    """Split a series: by the published borders for ETTh1, 60/20/20 for any other.

    A channel that is constant over the training rows is centred and not scaled.
    """
    steps = len(series.values)
    borders = (8640, 11520, 14400) if series.dataset == "ETTh1" else (steps * 3 // 5, steps * 4 // 5, steps)
    train = series.values[: borders[0]]
    std = train.std(axis=0)
    return ForecastTask(series, horizon, borders, train.mean(axis=0), np.where(std > 0, std, 1.0))


@torch.no_grad()
def window_errors(forecast: Callable[[Tensor], Tensor], windows: Windows, size: int = 128) -> np.ndarray:
    """Mean squared and mean absolute error of each window over its steps and channels, (2, windows), float64."""
    errors = [(forecast(past) - future).double().flatten(1) for past, future in windows.batches(size)]
    return torch.cat([torch.stack([e.square().mean(dim=1), e.abs().mean(dim=1)]) for e in errors], dim=1).numpy()


def evaluate(forecast: Callable[[Tensor], Tensor], windows: Windows, size: int = 512) -> tuple[float, float]:
    """MSE and MAE of a forecast over every window, step and channel, in standardised units."""
    return tuple(window_errors(forecast, windows, size).mean(axis=1).tolist())
