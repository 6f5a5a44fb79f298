"""Table of the report on `20_codebooks`: bits an entry that every scheme reads, and the time of a decoding."""

from __future__ import annotations

from artifact.studies.common.latex import Cells

SCHEMES = {
    "matched": "Matched filter",
    "explaining": "Explaining away, sweeps",
    "soft": "Soft feedback, restarts",
    "lasso": "LASSO, cancellation, sweeps",
    "resonator": "Resonator network, explaining away",
    "passing": "Message passing, restarts",
    "fourier": "\\quad with Fourier keys",
    "coupled": "\\quad with coupled Fourier keys",
}
SIZES = (5, 15, 100)


def tables(cells: Cells) -> dict[str, str]:
    columns = {f"$r_{{{m}}}$": f"codebooks.{m}.{{}}.best (3)" for m in SIZES}
    columns |= {f"$e_{{{m}}}$": f"codebooks.{m}.{{}}.exact (3)" for m in SIZES}
    columns |= {"ms": "codebooks.{}.ms (2)"}
    return {"codebooks": cells.table({"Scheme": SCHEMES}, columns)}
