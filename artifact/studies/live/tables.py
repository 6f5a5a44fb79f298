"""Tables of the report on `14_live`: targets, words recognised frame by frame, costs, forecasts hour by hour."""

from __future__ import annotations

from artifact.studies.common.latex import MISSING, Cells

METHODS = {
    "resonance": "Causal resonance",
    "transformer": "Causal Transformer",
    "offline": "Offline, run again each time",
    "at_the_end": "Loss at the end only",
    "no_mixing": "No mixing",
}
TARGETS = {  # quantity, unit, target
    "real_time": ("A frame at p99", "ms", "below 2"),
    "constant": ("A frame, longest sound over 1\\,s", "", "at most 1.5"),
    "near": ("Lost to offline, at the end", "points", "at most 2"),
    "early": ("Share of the word needed for 95\\,\\% correct", "\\%", "below 100, not after offline"),
    "forecast": ("MSE over the ridge's, upper end", "", "below 1"),
    "update": ("An update of the forecast at p99", "ms", "below 1"),
}
FORECASTERS = {
    "live": "Live resonators",
    "ridge": "Ridge",
    "windowed": "Section~\\ref{sec:forecasting}",
}


def tables(cells: Cells) -> dict[str, str]:
    def measured(key: str) -> str:
        value = cells.cell(f"live.target.{key}")
        return value if value == MISSING else f"{value} {TARGETS[key][1]}".strip()

    def reached(key: str) -> str:
        return {0: "no", 1: "yes"}.get(cells.value(f"live.target.{key}.reached"), MISSING)

    targets = {key: f"{quantity} & {limit}" for key, (quantity, _, limit) in TARGETS.items()}
    words = {
        "25\\,\\%": "live.{}.share.25 [3]",
        "50\\,\\%": "live.{}.share.50 [3]",
        "all of the word": "live.{}.end [3]",
    }
    timed = {key: label for key, label in METHODS.items() if f"live.{key}.p50" in cells.measures.index}
    frames = {
        "Parameters": "live.{}.parameters (6)",
        "p50 (ms)": "live.{}.p50",
        "p99 (ms)": "live.{}.p99",
        "$\\times$ real time": "live.{}.factor_p99",
        "state, 1\\,s": "live.{}.kept.1 (6)",
        "state, 16\\,s": "live.{}.kept.16 (6)",
    }
    forecasts = {
        "Parameters": "live.forecast.{}.parameters (6)",
        "State": "live.forecast.{}.kept (6)",
        "Validation": "live.forecast.{}.validation_mse (4)",
        "Test MSE": "live.forecast.{}.mse [3]",
        "MAE": "live.forecast.{}.mae",
        "p50": "live.forecast.{}.p50",
        "p99": "live.forecast.{}.p99",
    }
    return {
        "live_targets": cells.table(
            {"Quantity & Target": targets}, {"Measured": measured, "Reached": reached}, "@{}llll@{}"
        ),
        "live": cells.table({"After": METHODS}, words),
        "live_frames": cells.table({"A frame of 20 ms": timed}, frames),
        "live_forecasts": cells.table({"Forecaster": FORECASTERS}, forecasts),
    }
