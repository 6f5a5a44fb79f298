"""Tables of the report on `08_forecasting`: methods by horizon and series, the spectrum, tuned values, intervals."""

from __future__ import annotations

import pandas as pd

from artifact.files import PAPER
from artifact.studies.common.latex import MISSING, Cells, escape, to_latex

METHODS = {
    "naive": "Seasonal naive",
    "classical": "Theta or STL",
    "ridge": "Ridge, closed form",
    "weighted": "Ridge, tapered, weighted",
    "reduced": "Reduced rank in time",
    "dlinear": "DLinear",
    "fits": "FITS form",
    "sparse": "SparseTSF",
    "timebase": "TimeBase",
    "transformer": "Patch Transformer",
    "comb": "Comb, closed form",
    "closed": "Resonance, closed form",
    "resonance": "Resonance, fine-tuned",
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
        "Validation": "forecast.{}.validation_mse (4)",
        "Test MSE [over time]": "forecast.{}.block [3]",
        "Ours minus this [over time]": "forecast.gap.{} [2]",
    }
    measured = cells.names("forecast.series.", ".resonance.mse")
    series = {SERIES[name]: f"forecast.series.{name}.{{}}.mse" for name in SERIES if name in measured}
    intervals = {
        "Coverage (\\%) [95\\% interval]": "forecast.intervals.{}.{}.coverage [3]",
        "Width": "forecast.intervals.{}.{}.width",
        "Interval score": "forecast.intervals.{}.{}.score",
    }
    comb = {
        "Comb": "forecast.horizon.{}.comb.mse (4)",
        "Target": "forecast.comb.target.{} (4)",
        "TimeBase": "forecast.horizon.{}.timebase.mse (4)",
        "Ridge": "forecast.horizon.{}.ridge.mse (4)",
        "ETTh2": "forecast.etth2.{}.comb.mse (4)",
        "Minus TimeBase": "forecast.etth2.{}.comb.gap.timebase [2]",
        "Minus ridge": "forecast.etth2.{}.comb.gap.ridge [2]",
    }
    counts = {
        "Tuned": "forecast.tuned.{}.all",
        "Inside the grid": "forecast.tuned.{}.inside",
        "At a bound": "forecast.tuned.{}.bound",
        "Neither": "forecast.tuned.{}.neither",
    }
    return {
        "forecasting": cells.table({"Method": METHODS}, methods),
        "forecasting_horizons": horizons(cells, "horizon", "published_horizons"),
        "forecasting_etth2": horizons(cells, "etth2", "published_etth2"),
        "forecasting_spectrum": spectrum(cells),
        "forecasting_comb": cells.table({"Horizon": cells.lengths("forecast.comb.target.")}, comb),
        "forecasting_series": cells.table({"Method": METHODS}, series),
        "forecasting_tuned": cells.table({"Method": METHODS}, counts),
        "intervals": cells.table({"Intervals": KINDS, "Level (\\%)": (50, 80, 95)}, intervals),
        "published": published(),
    }


def horizons(cells: Cells, place: str, quotations: str) -> str:
    """Test MSE of every method at every horizon, the parameters of ours, and published errors."""
    steps = cells.lengths(f"forecast.{place}.", ".resonance.mse")
    rows = cells.rows({"Method": METHODS}, {f"${h}$": f"forecast.{place}.{h}.{{}}.mse" for h in steps})
    sizes = {f"${h}$": f"forecast.{place}.{h}.{{}}.parameters" for h in steps}
    rows += cells.rows({"Method": {"resonance": "its parameters"}}, sizes)
    quoted = pd.read_csv(PAPER / f"{quotations}.csv").set_index("method")
    for method, line in quoted.iterrows():
        errors = {f"${h}$": _printed(line[str(h)]) if str(h) in line else MISSING for h in steps}
        rows.append({"Method": rf"{method}, published~\cite{{{line['key']}}}"} | errors)
    first = f"{quoted.index[0]}, published"
    body = to_latex(rows, "@{}l" + "r" * len(steps) + "@{}") if steps else ""
    return body.replace(f"\n{first}", f"\n\\addlinespace\n{first}", 1)


def spectrum(cells: Cells) -> str:
    """Test errors of the regression in time, of ours in closed form and fine-tuned, and both differences, by task."""
    tasks = {
        f"{place}.{h}": f"{dataset}, {h} hours"
        for place, dataset in (("horizon", "ETTh1"), ("etth2", "ETTh2"))
        for h in cells.lengths(f"forecast.{place}.", ".spectrum")
    }
    tasks |= {f"series.{name}": text for name, text in SERIES.items()}
    columns = {
        "In time": "forecast.{}.reduced.mse",
        "Spectrum": "forecast.{}.closed.mse",
        "minus in time": "forecast.{}.spectrum [2]",
        "Fine-tuned": "forecast.{}.resonance.mse",
        "minus spectrum": "forecast.{}.fine_tuning [2]",
    }
    return cells.table({"Task": tasks}, columns)


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
    return MISSING if pd.isna(value) else rf"\printednum{{{value:.3f}}}"
