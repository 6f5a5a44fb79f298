"""Time series: ETTh1 and ETTh2, and the shorter seasonal series that statsmodels ships with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from artifact.datasets.files import Source, fetch, stand_in
from resonance.forecasting import Series, load_csv

ETTH1 = Source(
    name="ETTh1.csv",
    url="https://raw.githubusercontent.com/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/"
    "ETT-small/ETTh1.csv",
    sha256="f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
    licence="CC BY-ND 4.0",
)

ETTH2 = replace(
    ETTH1,
    name="ETTh2.csv",
    url=ETTH1.url.replace("ETTh1", "ETTh2"),
    sha256="a3dc2c597b9218c7ce1cd55eb77b283fd459a1d09d753063f944967dd6b9218b",
)


def load_etth1(*, allow_stand_in: bool = False) -> Series:
    """ETTh1: 17,420 hours of 7 channels of an electricity transformer; else, if allowed, the CO2 series.

    Raises DataUnavailableError, or CorruptDataError when the file found is not the published one.
    Source: Zhou et al., Informer, AAAI 2021; CC BY-ND 4.0, so it is fetched and never redistributed.
    """
    return _etth(ETTH1, "ETTh1", allow_stand_in)


def load_etth2(*, allow_stand_in: bool = False) -> Series:
    """ETTh2: as ETTh1, of a second transformer; same hours, channels, licence, errors and stand-in."""
    return _etth(ETTH2, "ETTh2", allow_stand_in)


def _etth(source: Source, name: str, allow_stand_in: bool) -> Series:
    path = fetch(source)
    if path is None:
        return stand_in(name, load_co2, allowed=allow_stand_in)
    return load_csv(path, dataset=name, period=24, step="hour")


def load_co2() -> Series:
    """The stand-in for ETTh1 and ETTh2: 2,284 weeks of atmospheric CO2 at Mauna Loa, shipped with statsmodels.

    Gaps (59 weeks) are filled linearly.  Source: Keeling and Whorf, 2004; public domain.
    """
    from statsmodels.datasets import co2

    values = co2.load_pandas().data["co2"].interpolate().to_numpy(np.float64)[:, None]
    return Series("CO2 at Mauna Loa (stand-in)", values, ("co2",), period=52, step="week", stand_in=True)


def shipped_series() -> list[Series]:
    """Four seasonal series shipped with statsmodels: weekly, monthly, monthly and yearly, one channel each.

    CO2 at Mauna Loa (Keeling and Whorf 2004; gaps filled linearly), the temperature of the sea off Peru (NOAA, 1950 to
    2010), new orders of electrical equipment in the euro area (Eurostat, 1995 to 2016, not adjusted for the season),
    and sunspots (SIDC, 1700 to 2008): public domain, or free to use with its source named.
    """
    from statsmodels.datasets import elec_equip, elnino, sunspots

    def one(name: str, values: object, channel: str, period: int, step: str) -> Series:
        return Series(name, np.asarray(values, np.float64).reshape(-1, 1), (channel,), period, step)

    return [
        replace(load_co2(), dataset="CO2 at Mauna Loa", stand_in=False),
        one("El Nino", elnino.load_pandas().data.drop(columns="YEAR"), "temperature", 12, "month"),
        one("electrical equipment", elec_equip.load_pandas().data.iloc[:, 0], "orders", 12, "month"),
        one("sunspots", sunspots.load_pandas().data["SUNACTIVITY"], "sunspots", 11, "year"),
    ]


def csv_series(path: str, period: int, step: str) -> list[Series]:
    """The series of a CSV (`load_csv`) in a list, or an empty list for an empty path."""
    return [load_csv(path, dataset=Path(path).stem, period=period, step=step)] if path else []


def spans(series: Series) -> tuple[int, tuple[int, int]]:
    """A horizon and two lookbacks in rows, whole periods each: one period ahead; at most 30 back, and half as many.

    The longer lookback is at most a third of the training rows (60% of all), so that windows to train on remain.
    Raises ValueError for a series shorter than that of two periods.
    """
    train = len(series.values) * 3 // 5
    periods = min(30, train // 3 // series.period)
    if periods < 2:
        raise ValueError(
            f"{series.dataset}: expected at least {10 * series.period} rows (period {series.period}), "
            f"got {len(series.values)}"
        )
    return series.period, (periods // 2 * series.period, periods * series.period)
