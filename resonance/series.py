"""Series of other periods than a day, carried by statsmodels, and how far a forecaster looks back and ahead on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from .data import Series, load_co2, load_csv


def carried_series() -> list[Series]:
    """Return four seasonal series that statsmodels carries: weekly, monthly, monthly and yearly, one channel each.

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
    """Return the series of a CSV (see `load_csv`) in a list, or no series for no path."""
    return [load_csv(path, dataset=Path(path).stem, period=period, step=step)] if path else []


def spans(series: Series) -> tuple[int, tuple[int, int]]:
    """Return a horizon and two lookbacks in whole periods: one period ahead; back at most 30, and half as many.

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
