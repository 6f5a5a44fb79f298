"""Table of the report on `03_complexity`: the exponent of each layer's time in the length."""

from __future__ import annotations

import pandas as pd

from artifact.studies.common.latex import Cells, to_latex

LAYERS = {
    "fft": "Resonance layer, FFT",
    "dense": "Resonance layer, one matrix product a transform",
    "fast": "Resonance layer, linear-time engine",
    "proportional": "Resonance layer, $k = n/4$",
    "transformer": "Transformer layer",
}


def tables(measures: pd.DataFrame) -> dict[str, str]:
    cells = Cells(measures)
    rows = [
        {"Model": label, "Exponent of time in $n$": cells.interval(f"cost.{key}.slope", 3)}
        for key, label in LAYERS.items()
    ]
    return {"growth": to_latex(rows, "@{}ll@{}")}
