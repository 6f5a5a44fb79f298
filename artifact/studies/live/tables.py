"""Tables of the report on `14_live`: targets, words recognised frame by frame, costs, forecasts hour by hour."""

from __future__ import annotations

import math

import pandas as pd

from artifact.studies.common.latex import MISSING, Cells, to_latex

METHODS = {
    "resonance": "Causal resonance",
    "transformer": "Causal Transformer",
    "offline": "Offline, run again each time",
    "at_the_end": "Loss at the end only",
    "no_mixing": "No mixing",
}
TARGETS = {
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


def tables(measures: pd.DataFrame) -> dict[str, str]:
    cells = Cells(measures)
    targets = []
    for key, (label, unit, limit) in TARGETS.items():
        measured, reached = cells.number(f"live.mark.{key}"), cells.value(f"live.mark.{key}.reached")
        measured = measured if measured == MISSING else f"{measured} {unit}".strip()
        verdict = MISSING if math.isnan(reached) else "yes" if reached else "no"
        targets.append({"Quantity": label, "Target": limit, "Measured": measured, "Reached": verdict})
    words = [
        {
            "After": label,
            "25\\,\\%": cells.interval(f"live.{key}.share.25", 3),
            "50\\,\\%": cells.interval(f"live.{key}.share.50", 3),
            "all of the word": cells.interval(f"live.{key}.end", 3),
        }
        for key, label in METHODS.items()
    ]
    frames = [
        {
            "A frame of 20 ms": label,
            "Parameters": cells.number(f"live.{key}.parameters", 6),
            "p50 (ms)": cells.number(f"live.{key}.p50"),
            "p99 (ms)": cells.number(f"live.{key}.p99"),
            "$\\times$ real time": cells.number(f"live.{key}.factor_p99"),
            "state, 1\\,s": cells.number(f"live.{key}.kept.1", 6),
            "state, 16\\,s": cells.number(f"live.{key}.kept.16", 6),
        }
        for key, label in METHODS.items()
        if f"live.{key}.p50" in measures.index
    ]
    forecasts = [
        {
            "Forecaster": label,
            "Parameters": cells.number(f"live.forecast.{key}.parameters", 6),
            "State": cells.number(f"live.forecast.{key}.kept", 6),
            "Validation": cells.number(f"live.forecast.{key}.validation_mse", 4),
            "Test MSE": cells.interval(f"live.forecast.{key}.mse", 3),
            "MAE": cells.number(f"live.forecast.{key}.mae"),
            "p50": cells.number(f"live.forecast.{key}.p50"),
            "p99": cells.number(f"live.forecast.{key}.p99"),
        }
        for key, label in FORECASTERS.items()
    ]
    return {
        "live_marks": to_latex(targets, "@{}llll@{}", labels=2),
        "live": to_latex(words, "@{}llll@{}"),
        "live_frames": to_latex(frames, "@{}lrrrrrr@{}"),
        "live_forecasts": to_latex(forecasts, "@{}lrrrlrrr@{}"),
    }
