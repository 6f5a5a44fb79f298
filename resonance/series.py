"""A multivariate series, the calendar of its dates, and reading it from a CSV."""

from __future__ import annotations

import codecs
import re
import warnings
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:  # imported where dates or a file need it: the library does not depend on it
    import pandas as pd


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
        if np.iscomplexobj(self.values):
            raise TypeError("expected real values, got complex ones")
        values = np.ma.filled(np.ma.asarray(self.values, np.float64), np.nan)  # what a mask hides is missing
        times = None if self.times is None else np.asarray(self.times).astype("M8[ns]")
        shape, bad = values.shape, int((~np.isfinite(values)).sum())
        if len(shape) != 2 or not shape[1] == len(self.channels) >= 1 or bad or self.period < 1:
            wanted = f"expected finite values (steps, {len(self.channels) or 'channels'}) and period >= 1"
            raise ValueError(f"{wanted}, got {shape} with {bad} not finite and period={self.period}")
        if times is not None and (times.shape != shape[:1] or not (np.diff(times) > np.timedelta64(0)).all()):
            raise ValueError(f"expected increasing times ({shape[0]},), one a step, got {times.shape}")
        vars(self).update(values=values, times=times)

    def following(self, horizon: int) -> np.ndarray:
        """Times (horizon,) of the steps after the end, on the series' own `calendar`; row numbers without times.

        Raises ValueError for uneven times, for missing rows, and for a future past the year 2261.
        """
        if self.times is None:
            return len(self.values) + np.arange(horizon)
        found = calendar(self.times)
        if (gaps := np.diff(found.numbers) > 1).any():
            raise ValueError(f"rows are missing after {self.times[gaps.argmax()]}: expected one row every {found.step}")
        return found.after(self.times[-1], horizon)


DAY, HOUR, MINUTE, SECOND = (np.timedelta64(seconds, "s") for seconds in (86400, 3600, 60, 1))


class Calendar(NamedTuple):
    """An even grid on which times lie."""

    numbers: np.ndarray  # of the times, (times,) int64, from 0; a number left out is a gap
    offset: pd.Timedelta | pd.DateOffset  # from one number to the next
    step: str  # "hour", "15-minute step", "business day", "quarter", ...
    period: int  # steps of the natural cycle (hour, day, week or year); 1 where the times do not hold two

    def after(self, time: np.datetime64, count: int) -> np.ndarray:
        """The `count` times after one, datetime64[ns]."""
        import pandas as pd

        return pd.date_range(time, periods=count + 1, freq=self.offset, unit="ns")[1:].to_numpy()


def calendar(times: np.ndarray) -> Calendar:
    """The grid of increasing times (n,), n >= 2, that leaves the fewest gaps.  Needs pandas.

    Tried are a constant step (within a tenth and two hours: jitter, days of 23 and 25 hours), Monday to Friday, the
    days of the week that occur in three weeks or more, and of months a day, the last, the first or last weekday.
    Raises ValueError, naming a time, where none fits.
    """
    import pandas as pd
    from pandas.tseries import offsets

    index, steps = pd.DatetimeIndex(times), np.diff(times)
    middle = (len(steps) - 1) // 2
    usual = size = np.sort(steps)[middle]

    def on(offset: pd.DateOffset) -> np.ndarray:
        return pd.date_range(times[0], times[-1], freq=offset).get_indexer(index)

    if usual >= 28 * DAY:
        months = round(usual / DAY / 30.44)
        naming = {3: (1, "quarter"), 12: (1, "year")}.get(months, (months, "month"))
        kinds = (offsets.MonthEnd, offsets.MonthBegin, offsets.BusinessMonthEnd, offsets.BusinessMonthBegin)
        days = [*(kind(months) for kind in kinds), pd.DateOffset(months=months)]
        grids = [(on(day), day, *naming, 12 / months) for day in days]
    else:
        if 2 * (steps == usual).sum() < len(steps):  # jitter: the mean of the steps without a gap
            size = steps[abs(steps - usual) <= usual // 10].mean()
            usual = np.rint(size / SECOND) * SECOND or size
        gaps = np.rint(steps / size).astype(np.int64)
        gaps[abs(steps - gaps * size) > min(size // 10, 2 * HOUR)] = -1  # between two numbers
        units = {"week": 7 * DAY, "day": DAY, "hour": HOUR, "minute": MINUTE, "second": SECOND}
        unit = next((name for name in units if usual % units[name] == 0 * DAY), "second")
        cycle = 8766 * HOUR if usual >= 7 * DAY else 7 * DAY if usual >= DAY else DAY if usual >= MINUTE else HOUR
        grids = [(np.r_[0, gaps.cumsum()], pd.Timedelta(size), usual / units[unit], unit, cycle / size)]
        for week, unit in ((set(range(5)), "business day"), (set(index.day_of_week), "day")):
            if usual >= DAY and (unit != "day" or times[-1] - times[0] >= 21 * DAY):
                day = offsets.CustomBusinessDay(weekmask="".join("01"[day in week] for day in range(7)))
                grids.append((on(day), day, 1, unit, len(week)))
    fitting = [g for g in grids if g[0][0] == 0 and (gaps := np.diff(g[0])).min() > 0 and np.sort(gaps)[middle] == 1]
    if not fitting:
        at = int(np.argmax(abs(steps / usual - np.rint(steps / usual))))
        raise ValueError(f"uneven dates: {index[at + 1]} follows {index[at]}, most follow after {usual / HOUR:g} h")
    numbers, offset, count, unit, cycle = min(fitting, key=lambda grid: grid[0][-1])
    whole = abs(cycle - round(cycle)) < 0.01 * cycle and 2 * round(cycle) <= len(times)
    name = unit if count == 1 else f"{count:.6g}-{unit} step"
    return Calendar(numbers, offset, name, round(cycle) if whole else 1)


YEAR_LAST = r"(\d{1,2})[-/.](\d{1,2})[-/.]\d{4}(?!\d).*"
DATES = (r"\d{4}[-/.].*", YEAR_LAST, r".*(?<!\d)\d{4}(?!\d).*|\d{8}[T ]\d.*")
QUARTER = r"^(\d{4})-?Q([1-4])$", lambda match: f"{match[1]}-{3 * int(match[2]) - 2:02}"
OFFSET = r"(:\d\d(?:\.\d+)?)\s*(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)$"
DIGITS = {4: "%Y", 6: "%Y%m", 8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}  # of a number written as a date
DIGITS |= {5: "D", 9: "s", 10: "s", 13: "ms", 16: "us", 19: "ns"}  # counted since 1970, D since 1900 in spreadsheets
DATE_NAMES = {"date", "datetime", "time", "timestamp", "ds", "year", "month", "epoch", "unix"}


def _refuse(bad: pd.Series, column: pd.Series, problem: str) -> None:
    """Raise ValueError for the first row where `bad`."""
    if bad.any():
        row = bad.idxmax()
        raise ValueError(f"row {row}, column {column.name!r}: {column[row]} {problem} ({bad.sum()} such)")


def _times(column: pd.Series, dayfirst: bool | None) -> pd.Series:
    """Times of a column of dates, in text or numbers."""
    import pandas as pd

    _refuse(column.isna(), column, "stands for a date: write one, or delete the row")
    if pd.api.types.is_numeric_dtype(column):
        whole = column.astype(np.int64).astype(str)
        how = DIGITS.get(len(whole.iloc[0]), "")
        _refuse((whole.str.len() != len(whole.iloc[0])) | (not how), column, "is no date")
        if "%" in how:
            times = pd.to_datetime(whole, format=how, errors="coerce")
            _refuse(times.isna() | (column % 1 != 0), column, "is no date")
            return times
        times = pd.to_datetime(column, unit=how, origin="1899-12-30" if how == "D" else "unix")
        return times.dt.round("s" if how == "D" else "us")
    text = column.astype(str).str.strip().str.replace(*QUARTER, regex=True)
    form = next((form for form in DATES if re.fullmatch(form, text.iloc[0])), DATES[-1])
    _refuse(~text.str.fullmatch(form), column, "is not a date like the first, its year in four digits (not in two)")
    if form == YEAR_LAST:
        first, second = (part.astype(int) for _, part in text.str.extract(form).items())
        either = max(first.max(), second.max()) <= 12 and (first != second).any() and "." not in text.iloc[0][:3]
        if dayfirst is None and either:
            raise ValueError(f"{column.name!r}: {text.iloc[0]!r} is ambiguous: pass dayfirst=True or dayfirst=False")
        dayfirst = bool(second.max() <= 12) if dayfirst is None else dayfirst
        _refuse((second if dayfirst else first) > 12, column, f"has no such month, with dayfirst={dayfirst}")
    parse = partial(pd.to_datetime, format="mixed", dayfirst=form == YEAR_LAST and dayfirst, utc=True, errors="coerce")
    times, offset = parse(text), text.str.extract(OFFSET)[0].notna()
    _refuse(times.isna(), column, "is no date")
    _refuse(offset != offset.iloc[0], column, f"and {text.iloc[0]}: only one has an offset from UTC")
    if times.sort_values().diff().median() >= pd.Timedelta(hours=23):  # days are those of the clock on the wall
        times = parse(text.str.replace(OFFSET, r"\1", regex=True))
    return times.dt.tz_localize(None)


def _text(path: str | Path, encoding: str | None) -> str:
    """Text of a file, compressed or not: by its byte order mark, else UTF-8, else Windows' Western European."""
    from pandas.io.common import get_handle

    with get_handle(path, "rb", compression="infer", is_text=False) as opened:
        raw = opened.handle.read()
    utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0" in raw and not (utf16 or encoding):
        raise ValueError('it has bytes of zero, as UTF-16 without a byte order mark; try encoding="utf-16-le"')
    try:
        text = raw.decode(encoding or ("utf-16" if utf16 else "utf-8"))
    except UnicodeDecodeError as error:
        if encoding:
            raise ValueError(f"byte {error.start} is not {encoding}; encoding= names another") from None
        warnings.warn(f"{path}: byte {error.start} is not UTF-8, read as cp1252; encoding= names another", stacklevel=3)
        text = raw.decode("cp1252", "replace")
    return text.lstrip("\ufeff\r\n")


def _table(text: str, sep: str | None, decimal: str) -> pd.DataFrame:
    """Columns by name, numbers where all fields are; the index is the row in the file, the header being row 1."""
    import pandas as pd

    if declared := re.match(r"sep=(.)\r?\n", text):  # a spreadsheet's own first line
        sep, text = sep or declared[1], text[declared.end() :]
    first, _, rest = text.partition("\n")
    head, row = (re.sub(r'"[^"]*"', "", line).rstrip("\r") for line in (first, rest.partition("\n")[0]))
    given, sep = sep, sep or max(";\t|,", key=head.count)
    fields = f"fields separated by {sep!r}" if given or sep in head else "no comma, semicolon, tab or | in the header"
    if row.endswith(sep) and row.count(sep) == head.count(sep) + 1:
        text = first.rstrip("\r") + sep + "\n" + rest  # rows that end in a separator: an empty column
    read = partial(pd.read_csv, sep=sep, index_col=False, skip_blank_lines=False, skipinitialspace=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            names = read(StringIO(text), header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0].str.strip()
            table = read(StringIO(text), decimal=decimal, low_memory=False)
    except (ValueError, pd.errors.ParserWarning) as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"{error} ({fields}, sep= names another)") from None
    keep = (names != "").to_numpy() | table.notna().any().to_numpy()
    if names[0] in ("", "Unnamed: 0") and table.dtypes.iloc[0] == np.int64 and (table.iloc[:, 0].diff()[1:] == 1).all():
        keep[0] = False  # the row numbers that pandas writes
    table.columns, table.index = names.rename(None), table.index + 2
    table = table.loc[:, keep].dropna(how="all")
    if len(table.columns) < 2 or len(table) < 2 or table.columns.has_duplicates:
        got = f"{len(table)} rows of {list(names)} ({fields}, sep= names another)"
        raise ValueError(f"expected a header of different names, then 2 rows or more of a date and numbers, got {got}")
    return table


def _date_column(table: pd.DataFrame) -> str:
    """Name of the first column of dates in text, else of the first of numbers that is named as one."""
    import pandas as pd

    numbers = table.select_dtypes(["number", "bool"]).columns
    for name, column in table.drop(columns=numbers).items():
        value = re.sub(*QUARTER, str(next(iter(column.dropna()), "")).strip())
        dated = any(re.fullmatch(form, value) for form in DATES)
        if dated and pd.notna(pd.to_datetime([value], errors="coerce", format="mixed")[0]):
            if any(re.fullmatch(form, name) for form in DATES[:2]):
                raise ValueError(f"the first row holds values, {name!r}; put a header with names above it")
            return name
    named = [name for name in numbers if set(re.split(r"[^a-z]+", name.lower())) & DATE_NAMES]
    if not named:
        raise ValueError(f"no dates, with years of four digits (not two), in {list(table.columns)}; date= names one")
    return named[0]


def _number(column: pd.Series, decimal: str | None) -> np.ndarray:
    """Float64 of a column, NaN where empty; text is read if it is numbers with thousands apart."""
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(column):
        point, text = decimal or ".", column.astype(str).str.strip()
        group = {".": ",", ",": "."}.get(decimal or "", "") + " \u00a0\u202f"
        form = rf"(?=.*\d)[-+]?(?:\d*|\d{{1,3}}(?:[{group}]\d{{3}})+)(?:[{point}]\d*)?(?:[eE][-+]?\d+)?"
        bad = column.notna() & ~text.str.fullmatch(form)
        _refuse(bad, column, "is no number; decimal= names the decimal mark, a column of text is to be deleted")
        text = text.str.replace(rf"[{group}]", "", regex=True).str.replace(point, ".")
        column = pd.to_numeric(text.where(column.notna()))
    _refuse(np.isinf(column.astype(np.float64)), column, "is not finite")
    return column.to_numpy(np.float64)


def _refuse_repeats(times: pd.Series, table: pd.DataFrame) -> None:
    """Raise ValueError for a date that comes twice, naming the columns with which each comes once, if there are any."""
    twice = times.duplicated()
    if not twice.any():
        return
    distinct, most = table.nunique(), min(2 * times.value_counts().max(), times.nunique() - 1)
    few = distinct[(distinct > 1) & (distinct <= most)].sort_values().index[:8]
    advice = "keep one; an hour that comes twice as clocks go back needs offsets from UTC"
    for keys in (*combinations(few, 1), *combinations(few, 2)):
        if not table[[*keys]].assign(**{"": times}).duplicated().any():
            advice = f"once for each of {[*keys]}: select one series, or make each a column"
            break
    row = twice.idxmax()
    raise ValueError(f"row {row} repeats the date {times[row]} of row {times.eq(times[row]).idxmax()}, {advice}")


def load_csv(
    path: str | Path,
    *,
    dataset: str | None = None,
    period: int | None = None,
    step: str | None = None,
    date: str | None = None,
    dayfirst: bool | None = None,
    sep: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    fill: str | None = None,
) -> Series:
    """Read a series from a CSV of a header, a column of dates, and channels: the other columns.  Needs pandas.

    Rows are sorted by date.  Unless given: `dataset` is the file's stem, `step` and `period` those of its `calendar`,
    `date` the first column of dates, and separator, decimal mark and encoding what the file shows.
    Times are as written, without offsets from UTC; in UTC where offsets are given and a step is less than a day.
    fill: None refuses gaps, missing rows and missing values; "linear" interpolates them, and `Series.filled` counts.
    Raises ValueError that names file, row (the header is row 1) or column, and what to do: for repeated dates, with
    the column that identifies the series; uneven or ambiguous dates, as 01/02/2023; text and non-finite numbers.
    """
    try:
        if fill not in (None, "linear"):
            raise ValueError(f'expected fill=None or "linear", got {fill!r}')
        text = _text(path, encoding)
        table = _table(text, sep, decimal or ".")
        at = date or _date_column(table)
        if at not in table.columns:
            raise ValueError(f"no column {at!r} among {list(table.columns)}")
        texts = table[:200].drop(columns=at).select_dtypes(exclude=["number", "bool"]).astype(str)
        fields = texts.stack().astype(str).str.strip()
        commas = fields[fields.str.fullmatch(r"[-+]?[\d. ]*,\d+")]
        decimal = decimal or ("." if fields.str.fullmatch(r"[-+]?\d{1,3}(,\d{3})+\.\d*").any() else None)
        if decimal is None and len(commas):
            if not commas.str.fullmatch(r".*(?:\d{4}|[. ]\d{3}|\b0|\D),\d+|.*,(?:\d\d?|\d{4,})").any():
                raise ValueError(f'{commas.iloc[0]!r} has decimals or thousands: decimal="," or decimal="." says which')
            table = _table(text, sep, decimal := ",")
        clock = [name for name in texts if texts[name].str.fullmatch(r"\d\d?([:.]\d\d){1,2}").all()]
        dates = table.pop(at)
        if len(clock) == 1 and not dates.astype(str).str.contains(":").any():
            dates = dates.astype(str).str.cat(table.pop(clock[0]).str.replace(".", ":"), sep=" ")
        times = _times(dates, dayfirst).dt.as_unit("ns").sort_values(kind="stable")
        table = table.loc[times.index]
        _refuse_repeats(times, table)
        values = np.stack([_number(column, decimal) for _, column in table.items()], axis=1)
        found, moments = calendar(times.to_numpy()), times.to_numpy()
        numbers, steps = found.numbers, np.diff(found.numbers)
        if numbers[-1] >= 2 * len(times):
            raise ValueError(f"row {times.index[steps.argmax() + 1]}: more rows are missing before it than are present")
        between = [found.after(moments[at], steps[at] - 1) for at in np.flatnonzero(steps > 1)]
        moments = np.sort(np.concatenate([moments, *between]))
        full = np.full((len(moments), values.shape[1]), np.nan)
        full[numbers] = values
        ends = (holes := np.isnan(full))[[0, -1]].any()
        if holes.any() and (fill is None or ends):
            at, channel = np.argwhere(holes[[0, -1]])[0] * [-1, 1] if ends else np.argwhere(holes)[0]
            row = times.index[np.searchsorted(numbers, at % len(full))]
            advice = "a row at an end cannot be interpolated: delete it" if ends else 'fill="linear" interpolates'
            where = f"no {table.columns[channel]!r} at {moments[at].astype('M8[s]')}, in row {row} or before it"
            raise ValueError(f"{where}, {holes.sum()} values missing in all; {advice}")
        every, missing = np.arange(len(full)), int(holes.sum())
        for channel, hole in zip(full.T, holes.T, strict=True):
            channel[hole] = np.interp(every[hole], every[~hole], channel[~hole])
        name, period = dataset or Path(path).stem, found.period if period is None else period
        return Series(name, full, tuple(table.columns), period, step or found.step, times=moments, filled=missing)
    except ValueError as error:  # also those of pandas, as of dates out of range
        raise ValueError(f"{path}: {error}") from None
