"""Table of the report on `03_complexity`: the exponent of each layer's time in the length."""

from __future__ import annotations

from artifact.studies.common.latex import Cells

LAYERS = {
    "fft": "Resonance layer, FFT, $k$ fixed",
    "sharp": r"Resonance layer, FFT, $k=\sqrt{n\log_2n}$",
    "beside": r"Resonance layer, FFT, $k=n/\log_2n$",
    "proportional": "Resonance layer, FFT, $k=n/4$",
    "dense": "Resonance layer, one matrix product a transform",
    "fast": "Resonance layer, linear-time engine",
    "transformer": "Transformer layer",
}


def tables(cells: Cells) -> dict[str, str]:
    return {"growth": cells.table({"Model": LAYERS}, {"Exponent of time in $n$": "cost.{}.slope [3]"})}
