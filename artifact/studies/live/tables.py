"""The report's tables of `14_live` (`tables`)."""

from __future__ import annotations

import pandas as pd

from artifact.pipeline.tables import number, to_latex, with_interval

METHODS = {
    "resonance": "Causal resonance",
    "transformer": "Causal Transformer",
    "offline": "Offline, asked again",
    "at_the_end": "Loss at the end only",
    "no_mixing": "No mixing",
}
MARKS = {
    "real_time": ("A frame at p99", "ms", "below 2"),
    "constant": ("A frame, longest sound over 1\\,s", "", "at most 1.5"),
    "near": ("Lost to offline, at the end", "points", "at most 2"),
    "early": ("Heard for 95\\,\\% right", "\\%", "below 100, not after offline"),
    "forecast": ("MSE over the ridge's, upper end", "", "below 1"),
    "update": ("An update of the forecast at p99", "ms", "below 1"),
}
FORECASTERS = {
    "live": "Live resonators",
    "ridge": "Ridge",
    "windowed": "Section~\\ref{sec:forecasting}",
}


def live_tables(by_key: pd.DataFrame) -> dict[str, str]:
    """Return the tables of marks, of words heard live and of forecasts served; none before the notebook has run."""
    if "live.resonance.end" not in by_key.index:
        return {}
    value, words, speed, served = by_key["value"], [], [], []
    for key, label in METHODS.items():
        prefix = f"live.{key}."
        if prefix + "end" in by_key.index:
            cells = {f"{share}\\,\\%": with_interval(by_key.loc[f"{prefix}share.{share}"], 3) for share in (25, 50)}
            whole = with_interval(by_key.loc[prefix + "end"], 3)
            words.append({"Having heard": label, **cells, "all": whole})
        if prefix + "p50" in by_key.index:
            times = {name: number(value[prefix + name], 3) for name in ("p50", "p99", "factor_p99")}
            kept = {f"kept, {s}\\,s": number(value.get(f"{prefix}kept.{s}"), 6) for s in (1, 16)}
            heads = dict(zip(("p50 (ms)", "p99 (ms)", "$\\times$ real time"), times.values(), strict=True))
            speed.append(
                {"A frame of 20 ms": label, "Parameters": number(value[prefix + "parameters"], 6), **heads, **kept}
            )
    for key, label in FORECASTERS.items():
        prefix = f"live.forecast.{key}."
        row = {"Forecaster": label, "Parameters": number(value[prefix + "parameters"], 6)}
        row |= {"Kept": number(value[prefix + "kept"], 6), "Validation": number(value[prefix + "validation_mse"], 4)}
        row |= {"Test MSE": with_interval(by_key.loc[prefix + "mse"], 3), "MAE": number(value[prefix + "mae"], 3)}
        served.append(row | {name: number(value[prefix + name], 3) for name in ("p50", "p99")})
    asked = []
    for key, (label, unit, limit) in MARKS.items():
        measured = f"{number(value.get(f'live.mark.{key}'), 3)} {unit}".strip()
        reached = "yes" if value.get(f"live.mark.{key}.reached") else "no"
        asked.append({"Mark": label, "Asked": limit, "Measured": measured, "Reached": reached})
    return {
        "live_marks": to_latex(pd.DataFrame(asked), "@{}llll@{}"),
        "live": to_latex(pd.DataFrame(words), "@{}llll@{}"),
        "live_frames": to_latex(pd.DataFrame(speed), "@{}lrrrrrr@{}"),
        "live_forecasts": to_latex(pd.DataFrame(served), "@{}lrrrlrrr@{}"),
    }
