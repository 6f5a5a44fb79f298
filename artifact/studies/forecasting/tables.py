"""Tables of the forecasting section: every method at every horizon, on every series, and the intervals."""

from __future__ import annotations

import re

import pandas as pd

from artifact.files import PAPER
from artifact.pipeline.tables import number, to_latex, with_interval

METHODS = {
    "naive": "Seasonal naive",
    "ridge": "Ridge, closed form",
    "dlinear": "DLinear",
    "fits": "FITS form",
    "transformer": "Patch Transformer",
    "resonance": "ResonanceTimeSeriesNet",
}
SERIES = {
    "co2_at_mauna_loa": "CO$_2$",
    "el_nino": "El Ni\\~no",
    "electrical_equipment": "Equipment",
    "sunspots": "Sunspots",
}
KINDS = {"split": "split conformal", "corrected": "corrected as it goes"}


def forecasting_tables(by_key: pd.DataFrame) -> dict[str, str]:
    """Return the tables that the measures of a run of `08_forecasting` suffice for, by name."""
    if "forecast.fits.mse" not in by_key.index:
        return {}
    tables = {"forecasting": methods_table(by_key), "intervals": intervals_table(by_key)}
    tables["forecasting_horizons"] = horizons_table(by_key)
    tables["forecasting_series"] = series_table(by_key)
    return tables


def methods_table(by_key: pd.DataFrame) -> str:
    """Every method at horizon 96."""
    value = by_key["value"]
    rows = [
        {
            "Method": label,
            "Parameters": number(value[f"forecast.{key}.parameters"]),
            "Validation MSE": number(value[f"forecast.{key}.validation_mse"], 4),
            "Test MSE [95\\% interval]": with_interval(by_key.loc[f"forecast.{key}.mse"]),
            "Test MAE": number(value[f"forecast.{key}.mae"], 4),
        }
        for key, label in METHODS.items()
    ]
    return to_latex(pd.DataFrame(rows), "@{}lrrlr@{}")


def horizons_table(by_key: pd.DataFrame) -> str:
    """Every method's test MSE at every horizon, then parameters of ours, then published errors."""
    value = by_key["value"]
    found = (re.fullmatch(r"forecast\.horizon\.(\d+)\.resonance\.mse", key) for key in by_key.index)
    horizons = sorted(int(match[1]) for match in found if match)
    rows = [
        {"Method": label} | {f"${h}$": number(value[f"forecast.horizon.{h}.{key}.mse"], 3) for h in horizons}
        for key, label in METHODS.items()
    ]
    sizes = {f"${h}$": number(value[f"forecast.horizon.{h}.resonance.parameters"]) for h in horizons}
    rows.append({"Method": "its parameters"} | sizes)
    published = pd.read_csv(PAPER / "published_horizons.csv").set_index("method")
    for method, line in published.iterrows():
        quoted = {f"${h}$": rf"\printednum{{{line[str(h)]:.3f}}}" if str(h) in line else "--" for h in horizons}
        rows.append({"Method": rf"{method}, published~\cite{{{line['key']}}}"} | quoted)
    body = to_latex(pd.DataFrame(rows), "@{}l" + "r" * len(horizons) + "@{}")
    first = f"{published.index[0]}, published"
    return body.replace(f"\n{first}", f"\n\\addlinespace\n{first}", 1)


def series_table(by_key: pd.DataFrame) -> str:
    """Every method's test MSE on every other series of the run."""
    names = {key: name for key, name in SERIES.items() if f"forecast.series.{key}.resonance.mse" in by_key.index}
    rows = [
        {"Method": label}
        | {name: number(by_key.loc[f"forecast.series.{key}.{method}.mse", "value"], 3) for key, name in names.items()}
        for method, label in METHODS.items()
    ]
    return to_latex(pd.DataFrame(rows), "@{}l" + "r" * len(names) + "@{}")


def intervals_table(by_key: pd.DataFrame) -> str:
    """Coverage, mean width and interval score of each level, as calibrated and as corrected on the way."""
    rows = []
    for kind, label in KINDS.items():
        for level in (50, 80, 95):
            cell = f"forecast.intervals.{kind}.{level}"
            rows.append(
                {"Intervals": label, "Level (\\%)": number(level)}
                | {"Coverage (\\%) [95\\% interval]": with_interval(by_key.loc[f"{cell}.coverage"], 3)}
                | {"Width": number(by_key.loc[f"{cell}.width", "value"])}
                | {"Interval score": number(by_key.loc[f"{cell}.score", "value"])}
            )
    return to_latex(pd.DataFrame(rows), "@{}lrlrr@{}")
