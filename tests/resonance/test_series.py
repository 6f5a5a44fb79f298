"""A series: its checks, the calendar of its dates, and what a CSV may look like."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resonance.forecasting import load_csv
from resonance.series import Series, calendar

# --------------------------------------------------------------------------- calendars

FREQUENCIES = {  # of pandas: name of a step, period
    "10ms": ("0.01-second step", 1),
    "s": ("second", 1),
    "5min": ("5-minute step", 288),
    "15min": ("15-minute step", 96),
    "h": ("hour", 24),
    "7h": ("7-hour step", 1),
    "D": ("day", 7),
    "2D": ("2-day step", 1),
    "B": ("business day", 5),
    "W": ("week", 52),
    "SME": (None, None),
    "MS": ("month", 12),
    "ME": ("month", 12),
    "BME": ("month", 12),
    "BMS": ("month", 12),
    "QS": ("quarter", 4),
    "QE-NOV": ("quarter", 4),
    "YE-JUN": ("year", 1),
}


@pytest.mark.parametrize("freq", FREQUENCIES)
@pytest.mark.parametrize("start", ["1969-10-30 00:00", "2019-12-31 06:30"])
def test_what_follows_is_what_pandas_continues(freq, start):
    dates = pd.date_range(start, periods=700 if freq == "5min" else 230, freq=freq).as_unit("ns").to_numpy()
    if freq == "SME":  # the 15th and the last: no even step
        with pytest.raises(ValueError, match="uneven"):
            calendar(dates)
        return
    known = dates[:-30]
    found = calendar(known)
    assert (found.step, found.period) == FREQUENCIES[freq] and (np.diff(found.numbers) == 1).all()
    series = Series("dated", np.zeros((len(known), 1)), ("a",), found.period, found.step, times=known)
    np.testing.assert_array_equal(series.following(30), dates[-30:])


@pytest.mark.parametrize("freq", ["15min", "h", "D", "B", "W", "MS", "ME", "BME", "QE"])
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_row_left_out_is_a_gap_and_its_time_is_known(freq, data):
    dates = pd.date_range("2020-02-29", periods=60, freq=freq).as_unit("ns").to_numpy()
    left_out = data.draw(st.sets(st.integers(1, 58), max_size=8))
    kept = np.setdiff1d(np.arange(60), list(left_out))
    found = calendar(dates[kept])
    np.testing.assert_array_equal(found.numbers, kept)
    np.testing.assert_array_equal(found.after(dates[0], 59), dates[1:])


def test_days_of_a_week_without_some():
    days = np.datetime64("2020-01-01") + np.arange(70)
    weekday = (days.astype(int) + 3) % 7
    for kept in ({0, 1, 2, 3, 4, 5}, {0, 3}, {5, 6}):
        some = days[np.isin(weekday, list(kept))]
        found = calendar(some[:-4])
        assert found.period == len(kept) and (np.diff(found.numbers) == 1).all()
        np.testing.assert_array_equal(found.after(some[-5], 4), some[-4:])


def test_a_clock_that_jitters_keeps_its_step():
    jitter = np.random.default_rng(0).integers(0, 20, 400).astype("m8[s]")
    times = np.datetime64("2020-01-01", "ns") + np.arange(400) * np.timedelta64(300, "s") + jitter
    found = calendar(np.delete(times, np.r_[50:180]))
    assert (found.step, found.period) == ("5-minute step", 1)  # a day is more than there is
    np.testing.assert_array_equal(found.numbers, np.r_[:50, 180:400])
    after = found.after(times[-1], 10) - np.datetime64("2020-01-01", "ns")
    assert (abs(after / np.timedelta64(300, "s") - np.arange(400, 410)) < 0.1).all()


def test_without_times_the_rows_are_counted():
    np.testing.assert_array_equal(Series("plain", np.zeros((70, 1)), ("a",), 1, "step").following(3), [70, 71, 72])


def test_no_time_is_counted_past_the_range_of_nanoseconds():
    times = pd.date_range("2200-01-01", periods=60, freq="YS").as_unit("ns").to_numpy()
    series = Series("far", np.zeros((60, 1)), ("a",), 1, "year", times=times)
    assert series.following(2)[-1] == np.datetime64("2261-01-01")
    with pytest.raises(ValueError, match="Out of bounds"):
        series.following(5)


@pytest.mark.parametrize(
    ("values", "times"),
    [
        (np.zeros((4, 2)), None),
        (np.zeros(4), None),
        (np.array([[0.0], [np.nan]]), None),
        (np.zeros((2, 1)), np.array(["2020-01-02", "2020-01-01"], "M8[ns]")),
        (np.zeros((2, 1)), np.array(["2020-01-01"], "M8[ns]")),
        (np.zeros((3, 1)), np.array(["2020-01-01", "NaT", "2020-01-03"], "M8[ns]")),
        (np.ma.masked_less([[0.0], [1.0]], 0.5), None),
        (np.zeros(()), None),
    ],
)
def test_a_series_is_checked(values, times):
    with pytest.raises(ValueError, match="expected"):
        Series("bad", values, ("a",), 1, "step", times=times)


@pytest.mark.parametrize("kind", [np.int16, np.float16, torch.tensor, pd.DataFrame, list])
def test_values_and_times_of_any_kind_are_float64_and_nanoseconds(kind):
    days = pd.date_range("2020-01-01", periods=3, freq="D")
    for times in (days, list(days), days.to_numpy().astype("M8[D]")):
        values = [[1], [2], [4]]
        values = np.array(values, kind) if kind in (np.int16, np.float16) else kind(values)
        series = Series("any", values, ("a",), 1, "day", times=times)
        assert series.values.dtype == np.float64 and series.times.dtype == np.dtype("M8[ns]")
        np.testing.assert_array_equal(series.values, [[1.0], [2.0], [4.0]])
        assert series.following(1) == np.datetime64("2020-01-04")


def test_no_channels_and_complex_values_are_refused():
    with pytest.raises(ValueError, match=r"steps, channels.*\(4, 0\)"):
        Series("none", np.zeros((4, 0)), (), 1, "step")
    with pytest.raises(TypeError, match="complex"):
        Series("complex", np.zeros((4, 1), complex), ("a",), 1, "step")


def test_nothing_follows_times_with_rows_missing():
    days = np.delete(pd.date_range("2020-01-01", periods=30).to_numpy(), 7)
    with pytest.raises(ValueError, match="missing after 2020-01-07"):
        Series("gap", np.zeros((29, 1)), ("a",), 7, "day", times=days).following(2)


# --------------------------------------------------------------------------- a CSV

DAYS = pd.date_range("2020-01-25", periods=30)


def read(folder, text, **options):
    path = folder / "mine.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_csv(path, **options)


def table(dates, name="date"):
    return f"{name},a\n" + "".join(f"{date},{i}.5\n" for i, date in enumerate(dates))


WRITTEN = {form: DAYS.strftime(form) for form in ("%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d %H:%M")}
WRITTEN |= {form: DAYS.strftime(form) for form in ("%Y%m%d", "%d %b %Y", "%m-%d-%Y %I:%M %p", "%Y-%m-%dT%H:%M:%SZ")}
WRITTEN["offset"] = DAYS.strftime("%Y-%m-%d %H:%M+01:00")
WRITTEN["seconds since 1970"] = WRITTEN["milliseconds"] = (DAYS - pd.Timestamp(0)) // pd.Timedelta(seconds=1)
WRITTEN["milliseconds"] = WRITTEN["milliseconds"] * 1000
WRITTEN["nanoseconds"] = WRITTEN["milliseconds"] * 10**6
WRITTEN["days of a spreadsheet"] = (DAYS - pd.Timestamp("1899-12-30")).days


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("order", ["oldest first", "newest first", "shuffled"])
def test_dates_of_any_form_and_order_give_one_series(tmp_path, form, order):
    rows = np.arange(30)
    rows = {"newest first": rows[::-1], "shuffled": np.random.default_rng(0).permutation(rows)}.get(order, rows)
    text = "date,a\n" + "".join(f"{WRITTEN[form][i]},{i}.5\n" for i in rows)
    series = read(tmp_path, text)
    np.testing.assert_array_equal(series.times, DAYS.to_numpy())
    assert series.times.dtype == np.dtype("M8[ns]") and series.values.dtype == np.float64
    np.testing.assert_array_equal(series.values[:, 0], np.arange(30) + 0.5)
    assert (series.dataset, series.channels, series.step, series.period, series.filled) == ("mine", ("a",), "day", 7, 0)
    np.testing.assert_array_equal(series.following(2), np.array(["2020-02-24", "2020-02-25"], "M8[ns]"))


def test_numbers_past_the_range_of_integers(tmp_path):
    series = read(tmp_path, "date,a,b\n2020-01-01,18446744073709551616,9223372036854775808\n2020-01-02,1,1\n")
    np.testing.assert_array_equal(series.values[0], [2.0**64, 2.0**63])


def test_what_is_given_is_kept(tmp_path):
    series = read(tmp_path, table(DAYS.date), dataset="sales", period=14, step="night")
    assert (series.dataset, series.period, series.step) == ("sales", 14, "night")


OTHER_DATES = {
    "years": (table(range(1990, 1999), "Year"), "year"),
    "months": (table([202001, 202002, 202003], "month"), "month"),
    "months in text": (table(["2020-01", "2020-02", "2020-03"]), "month"),
    "names of months": (table(["Jan 2020", "Feb 2020", "Mar 2020"]), "month"),
    "quarters": (table(["2019Q3", "2019Q4", "2020Q1"]), "quarter"),
    "hours of a spreadsheet": (table([f"{43831 + i / 24:.6f}" for i in range(9)], "Date"), "hour"),
    "a column of its own for the clock": ("Date;Time;a\n" + "01/02/2020;18.00.00;1\n01/02/2020;19.00.00;2\n", "hour"),
    "all one day": (table([f"01/02/2020 {hour}:00" for hour in range(9)]).replace("01/02", "02/02"), "hour"),
    "numbers of rows": (",date,a\n0,2020-01-01,1\n1,2020-01-02,2\n", "day"),
    "a date without a name": (",a\n2020-01-01,1\n2020-01-02,2\n", "day"),
    "dates not first": ("a,date,b\n1,2020-01-01,1\n1,2020-01-02,2\n", "day"),
}


@pytest.mark.parametrize(("text", "step"), OTHER_DATES.values(), ids=OTHER_DATES)
def test_other_columns_of_dates(tmp_path, text, step):
    options = {"dayfirst": True} if text.startswith("Date;") else {}
    series = read(tmp_path, text, **options)
    assert series.step == step and set(series.channels) <= {"a", "b"}


@pytest.mark.parametrize(("dayfirst", "step"), [(True, "day"), (False, "month")])
def test_days_that_may_be_months_are_not_guessed(tmp_path, dayfirst, step):
    text = table(f"{day:02}/02/2020" for day in range(1, 11))
    with pytest.raises(ValueError, match="is ambiguous: pass dayfirst="):
        read(tmp_path, text)
    assert read(tmp_path, text, dayfirst=dayfirst).step == step
    with pytest.raises(ValueError, match=r"row 2.*no such month"):
        read(tmp_path, table(DAYS.strftime("%m/%d/%Y")), dayfirst=True)


def zoned(freq, start):
    return pd.date_range(start, periods=72, freq=freq, tz="Europe/Berlin")


@pytest.mark.parametrize("start", ["2020-03-27", "2020-10-23"])  # the clocks change in both
def test_a_change_of_clocks(tmp_path, start):
    hours, days = zoned("h", start), zoned("D", start)
    series = read(tmp_path, table(time.isoformat() for time in hours))
    np.testing.assert_array_equal(series.times, hours.tz_convert("UTC").tz_localize(None).to_numpy())
    assert (series.step, series.period) == ("hour", 24)
    series = read(tmp_path, table(time.isoformat() for time in days))
    np.testing.assert_array_equal(series.times, days.tz_localize(None).to_numpy())
    assert series.step == "day" and series.following(1)[0] == np.datetime64((days[-1] + pd.DateOffset(days=1)).date())
    with pytest.raises(ValueError, match="fill=" if "03" in start else "offsets from UTC"):
        read(tmp_path, table(hours.strftime("%Y-%m-%d %H:%M")))


HEADER_AND_ROWS = "date{0}T (°C){0}E{0}0\n01.02.2020{0}{1}{0}3{0}1\n02.02.2020{0}{2}{0}4{0}1\n03.02.2020{0}0{0}5{0}1\n"


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
@pytest.mark.parametrize("numbers", [("1.5", "1000.25"), ("1,5", "1000,25"), ("1,5", "1.000,25"), ("1,5", "1 000,25")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separators_decimal_marks_and_encodings_are_found(tmp_path, sep, numbers, encoding):
    quoted = [f'"{number}"' if sep in number else number for number in numbers]
    text = HEADER_AND_ROWS.format(sep, *quoted)
    for written in (text, text.replace("\n", "\r\n"), text + "\n" + 3 * sep + "\n", text.replace("\n", sep + "\n")):
        series = read(tmp_path, written.encode(encoding))
        assert series.channels == ("T (°C)", "E", "0") and len(series.times) == 3
        np.testing.assert_array_equal(series.values, [[1.5, 3, 1], [1000.25, 4, 1], [0, 5, 1]])


def test_thousands_with_a_decimal_point_leave_no_doubt(tmp_path):
    series = read(tmp_path, 'date,a\n2020-01-01,"1,234"\n2020-01-02,"12,345,678.5"\n2020-01-03,-7\n')
    np.testing.assert_array_equal(series.values[:, 0], [1234, 12345678.5, -7])


def test_the_row_numbers_of_two_writings_are_no_channel(tmp_path):
    rows = [f"{i},{day.date()},{i}.5\n" for i, day in enumerate(DAYS)]
    assert read(tmp_path, "Unnamed: 0,date,a\n" + "".join(rows)).channels == ("a",)


def test_what_a_file_does_not_show_is_given(tmp_path):
    text = HEADER_AND_ROWS.format(";", "1,234", "4,500")
    with pytest.raises(ValueError, match=r"1,234.*decimal="):
        read(tmp_path, text)
    assert read(tmp_path, text, decimal=",").values[0, 0] == 1.234
    assert read(tmp_path, text, decimal=".").values[0, 0] == 1234
    with pytest.raises(ValueError, match=r"no comma, semicolon, tab or \| in the header, sep="):
        read(tmp_path, text.replace(";", " "))
    with pytest.raises(ValueError, match=r"separated by ';', sep="):
        read(tmp_path, text.partition("\n")[0])
    spaced = "date a\n2020-01-01 1\n2020-01-02 2\n"
    assert read(tmp_path, spaced, sep=r"\s+").channels == ("a",)
    with pytest.warns(UserWarning, match=r"cp1252.*encoding="):
        assert read(tmp_path, HEADER_AND_ROWS.format(";", 1, 2).encode("latin-1")).channels[0] == "T (°C)"
    with pytest.raises(ValueError, match=r"utf-8; encoding="):
        read(tmp_path, text.encode("latin-1"), encoding="utf-8")
    with pytest.raises(ValueError, match="utf-16-le"):
        read(tmp_path, text.encode("utf-16-le"))
    assert read(tmp_path, text.encode("utf-16-le"), decimal=",", encoding="utf-16-le").values[0, 0] == 1.234


def panel(*keys, distinct=True):
    rows = [(day.date(), *key, f"{i}.5" if distinct else "1") for key in keys for i, day in enumerate(DAYS)]
    return "date,store,item,a\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)


REFUSED = {  # what is named: row, column, and what to do
    "several series": (panel((1, 1), (2, 1), (3, 1)), r"row 32 .* of row 2.*\['store'\].*select"),
    "several by two columns": (panel(*[(s, i) for s in "xy" for i in "pq"]), r"row 32 .*\['store', 'item'\]"),
    "a date twice": (table(["2020-01-01", "2020-01-02", "2020-01-02"]), r"row 4 repeats .* of row 3.*keep one"),
    "a gap": (table([*DAYS[:10].date, *DAYS[15:].date]), r"no 'a' at 2020-02-04.*row 12.*5 values.*fill="),
    "uneven": (table(["2020-01-01", "2020-01-02", "2020-01-03 07:00", "2020-01-04"]), r"uneven dates: 2020-01-03 07"),
    "no date": (table(["2020-01-01", "", "2020-01-03"]), r"row 3, column 'date'"),
    "no last date": (table(["2020-01-01", "2020-01-02", ""]), r"row 4, column 'date'"),
    "a total": (table(["2020-01-01", "2020-01-02", "Total"]), r"row 4, column 'date': Total"),
    "two forms": (table(["2020-01-01", "2020-01-02", "03/01/2020"]), r"row 4.*03/01/2020"),
    "two orders": (table(["13/01/2020", "01/14/2020"]), "no such month"),
    "an offset once": (table(["2020-01-01 00:00+01:00", "2020-01-02 00:00"]), r"row 3.*offset"),
    "years of two digits": (table(["01/02/20", "02/02/20"]), r"four digits \(not two\)"),
    "hour 24": (table(["2020-01-01 23:00", "2020-01-01 24:00"]), r"row 3.*is no date"),
    "no dates": (table(range(1500, 1704, 7), "sales"), r"no dates.*sales.*date="),
    "seconds from 0": (table(range(9), "time"), r"row 2, column 'time': 0 is no date"),
    "year 1500": (table(["1500-01-01", "1500-01-02"]), "1500"),
    "first row": ("2020-01-01,1\n2020-01-02,2\n2020-01-03,3\n", r"'2020-01-01'.*header"),
    "one row": (table(["2020-01-01"]), "1 rows"),
    "one name twice": ("date,a,a\n2020-01-01,1,2\n2020-01-02,1,2\n", "different names"),
    "text": ("date,a\n2020-01-01,1\n2020-01-02,?\n", r"row 3, column 'a': \? is no number"),
    "infinite": ("date,a\n2020-01-01,1\n2020-01-02,1e999\n", r"row 3, column 'a': inf"),
    "both marks": ("date;a;b\n2020-01-01;1,5;1.5\n2020-01-02;2,5;2.5\n", r"row 2, column 'b': 1\.5.*decimal="),
    "no value": ("date,a\n2020-01-01,1\n2020-01-02,\n2020-01-03,1\n", r"no 'a' at 2020-01-02.*row 3.*1 values.*fill="),
}


@pytest.mark.parametrize(("text", "named"), REFUSED.values(), ids=REFUSED)
def test_refusals_name_the_place_and_what_to_do(tmp_path, text, named):
    with pytest.raises(ValueError, match=r"mine\.csv: .*" + named):
        read(tmp_path, text)


@pytest.mark.parametrize("freq", ["h", "B", "ME"])
def test_gaps_are_filled_and_counted(tmp_path, freq):
    dates = pd.date_range("2020-02-28", periods=12, freq=freq)
    rows = [f"{date},{i},{'' if i == 7 else 2 * i}\n" for i, date in enumerate(dates) if i not in (3, 4, 9)]
    series = read(tmp_path, "date,a,b\n" + "".join(rows), fill="linear")
    np.testing.assert_array_equal(series.times, dates.to_numpy())
    np.testing.assert_allclose(series.values, np.arange(12)[:, None] * [1, 2], rtol=1e-15)
    assert series.filled == 2 * 3 + 1


@pytest.mark.parametrize("channel", [(1, 2, ""), ("", 2, 3), ("", "", "")])
def test_nothing_is_filled_beyond_what_is_known(tmp_path, channel):
    rows = "".join(f"{day.date()},{value},1\n" for day, value in zip(DAYS, channel, strict=False))
    with pytest.raises(ValueError, match=r"no 'a' at .*delete it"):
        read(tmp_path, "date,a,b\n" + rows, fill="linear")
    with pytest.raises(ValueError, match=r"row 5.*missing"):
        read(
            tmp_path,
            table(["2020-01-01 00:00", "2020-01-01 00:01", "2020-01-01 00:02", "2060-01-01 00:00"]),
            fill="linear",
        )
    with pytest.raises(ValueError, match="fill="):
        read(tmp_path, table(DAYS.date), fill="cubic")


def test_a_gap_longer_than_the_series_is_not_filled(tmp_path):
    far = ["2020-01-01 00:00", "2020-01-01 00:01", "2020-01-01 00:02", "2060-01-01 00:00"]
    with pytest.raises(ValueError, match=r"row 5.*missing"):
        read(tmp_path, table(far), fill="linear")
    with pytest.raises(ValueError, match="fill="):
        read(tmp_path, table(DAYS.date), fill="cubic")


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=20),
    st.sampled_from(["h", "D", "B", "W", "MS", "QE"]),
)
@settings(max_examples=25, deadline=None)
def test_a_series_written_by_pandas_is_read_back(tmp_path_factory, values, freq):
    dates = pd.date_range("2019-12-31", periods=len(values), freq=freq)
    path = tmp_path_factory.mktemp("back") / "x.csv"
    pd.DataFrame({"a": values}, index=dates).to_csv(path)
    series = load_csv(path)
    np.testing.assert_array_equal(series.times, dates.to_numpy())
    np.testing.assert_allclose(
        series.values[:, 0], values, rtol=1e-14
    )  # the default parser of pandas rounds a last digit
