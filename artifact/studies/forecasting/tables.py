"""Tables of the report on `08_forecasting`: each method at horizon 96, at every horizon, on every series; intervals."""

from __future__ import annotations

import pandas as pd

from artifact.files import PAPER
from artifact.studies.common.latex import Cells, escape, number, to_latex

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
KINDS = {"split": "split conformal", "corrected": "corrected online"}


def tables(measures: pd.DataFrame) -> dict[str, str]:
    cells = Cells(measures)
    return {
        "forecasting": methods(cells),
        "forecasting_horizons": horizons(cells),
        "forecasting_series": series(cells),
        "intervals": intervals(cells),
        "published": published(),
    }


def methods(cells: Cells) -> str:
    """Every method at horizon 96."""
    rows = [
        {
            "Method": label,
            "Parameters": cells.number(f"forecast.{key}.parameters"),
            "Validation MSE": cells.number(f"forecast.{key}.validation_mse", 4),
            "Test MSE [95\\% interval]": cells.interval(f"forecast.{key}.mse"),
            "Test MAE": cells.number(f"forecast.{key}.mae", 4),
        }
        for key, label in METHODS.items()
    ]
    return to_latex(rows, "@{}lrrlr@{}")


def horizons(cells: Cells) -> str:
    """Test MSE of every method at every horizon, the parameters of ours, and published errors."""
    steps = cells.lengths("forecast.horizon.", ".resonance.mse")
    rows = [
        {"Method": label} | {f"${h}$": cells.number(f"forecast.horizon.{h}.{key}.mse") for h in steps}
        for key, label in METHODS.items()
    ]
    sizes = {f"${h}$": cells.number(f"forecast.horizon.{h}.resonance.parameters") for h in steps}
    rows.append({"Method": "its parameters"} | sizes)
    quoted = pd.read_csv(PAPER / "published_horizons.csv").set_index("method")
    for method, line in quoted.iterrows():
        errors = {f"${h}$": rf"\printednum{{{line[str(h)]:.3f}}}" if str(h) in line else "--" for h in steps}
        rows.append({"Method": rf"{method}, published~\cite{{{line['key']}}}"} | errors)
    first = f"{quoted.index[0]}, published"
    body = to_latex(rows, "@{}l" + "r" * len(steps) + "@{}")
    return body.replace(f"\n{first}", f"\n\\addlinespace\n{first}", 1)


def series(cells: Cells) -> str:
    """Test MSE of every method on every other series of the run."""
    measured = cells.names("forecast.series.", ".resonance.mse")
    rows = [
        {"Method": label}
        | {SERIES[name]: cells.number(f"forecast.series.{name}.{key}.mse") for name in SERIES if name in measured}
        for key, label in METHODS.items()
    ]
    return to_latex(rows, "@{}l" + "r" * len(measured) + "@{}")


def intervals(cells: Cells) -> str:
    """Coverage, mean width and interval score of each level, calibrated once and corrected online."""
    rows = [
        {
            "Intervals": label,
            "Level (\\%)": number(level),
            "Coverage (\\%) [95\\% interval]": cells.interval(f"forecast.intervals.{kind}.{level}.coverage", 3),
            "Width": cells.number(f"forecast.intervals.{kind}.{level}.width"),
            "Interval score": cells.number(f"forecast.intervals.{kind}.{level}.score"),
        }
        for kind, label in KINDS.items()
        for level in (50, 80, 95)
    ]
    return to_latex(rows, "@{}lrlrr@{}", labels=2)


def published() -> str:
    """Published errors on ETTh1 at horizon 96, with the source of each."""
    rows = [
        {
            "Method": rf"{row['method']}~\cite{{{row['key']}}}",
            "MSE": rf"\printednum{{{row['mse']:.3f}}}",
            "MAE": rf"\printednum{{{row['mae']:.3f}}}",
            "Read from": escape(row["read_from"]),
        }
        for _, row in pd.read_csv(PAPER / "published.csv").iterrows()
    ]
    return to_latex(rows, "@{}lrrl@{}")
