"""Tables of the report on `08_forecasting`: each method at horizon 96, at every horizon, on every series; intervals."""

from __future__ import annotations

import pandas as pd

from artifact.files import PAPER
from artifact.studies.common.latex import MISSING, Cells, escape, to_latex

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


def tables(cells: Cells) -> dict[str, str]:
    methods = {
        "Parameters": "forecast.{}.parameters",
        "Validation MSE": "forecast.{}.validation_mse (4)",
        "Test MSE [95\\% interval]": "forecast.{}.mse [4]",
        "Test MAE": "forecast.{}.mae (4)",
    }
    measured = cells.names("forecast.series.", ".resonance.mse")
    series = {SERIES[name]: f"forecast.series.{name}.{{}}.mse" for name in SERIES if name in measured}
    intervals = {
        "Coverage (\\%) [95\\% interval]": "forecast.intervals.{}.{}.coverage [3]",
        "Width": "forecast.intervals.{}.{}.width",
        "Interval score": "forecast.intervals.{}.{}.score",
    }
    return {
        "forecasting": cells.table({"Method": METHODS}, methods),
        "forecasting_horizons": horizons(cells),
        "forecasting_series": cells.table({"Method": METHODS}, series),
        "intervals": cells.table({"Intervals": KINDS, "Level (\\%)": (50, 80, 95)}, intervals),
        "published": published(),
    }


def horizons(cells: Cells) -> str:
    """Test MSE of every method at every horizon, the parameters of ours, and published errors."""
    steps = cells.lengths("forecast.horizon.", ".resonance.mse")
    rows = cells.rows({"Method": METHODS}, {f"${h}$": f"forecast.horizon.{h}.{{}}.mse" for h in steps})
    sizes = {f"${h}$": f"forecast.horizon.{h}.{{}}.parameters" for h in steps}
    rows += cells.rows({"Method": {"resonance": "its parameters"}}, sizes)
    quoted = pd.read_csv(PAPER / "published_horizons.csv").set_index("method")
    for method, line in quoted.iterrows():
        errors = {f"${h}$": _printed(line[str(h)]) if str(h) in line else MISSING for h in steps}
        rows.append({"Method": rf"{method}, published~\cite{{{line['key']}}}"} | errors)
    first = f"{quoted.index[0]}, published"
    body = to_latex(rows, "@{}l" + "r" * len(steps) + "@{}")
    return body.replace(f"\n{first}", f"\n\\addlinespace\n{first}", 1)


def published() -> str:
    """Published errors on ETTh1 at horizon 96, with the source of each."""
    rows = [
        {
            "Method": rf"{row['method']}~\cite{{{row['key']}}}",
            "MSE": _printed(row["mse"]),
            "MAE": _printed(row["mae"]),
            "Read from": escape(row["read_from"]),
        }
        for _, row in pd.read_csv(PAPER / "published.csv").iterrows()
    ]
    return to_latex(rows, "@{}lrrl@{}")


def _printed(value: float) -> str:
    return rf"\printednum{{{value:.3f}}}"
