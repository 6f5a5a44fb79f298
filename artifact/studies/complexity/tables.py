"""Tables of the report on `03_complexity`: exponents of time in the length, and R^2 of the printed times."""

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
FITS = {
    "correlation": "$af(n)+c$ to the times",
    "origin": "$af(n)$ to the times",
    "relative": "$af(n)$, relative errors",
    "logarithms": r"$\log a+\log f(n)$ to the logarithms",
}
LAWS = {"linear": "n", "nlogn": r"n\log n", "square": "n^2"}


def tables(cells: Cells) -> dict[str, str]:
    laws = {f"${law}$": f"cost.printed.{{}}.{key} (3)" for key, law in LAWS.items()}
    return {
        "growth": cells.table({"Model": LAYERS}, {"Exponent of time in $n$": "cost.{}.slope [3]"}),
        "printed_r2": cells.table({"Fit": FITS}, laws),
    }
