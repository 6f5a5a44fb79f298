"""Table of the report on `06_long_context`: seconds and peak memory of every step that ran."""

from __future__ import annotations

from artifact.studies.common.latex import Cells

STEPS = {
    "resonance.train": "resonance & training",
    "transformer.train": "Transformer & training",
    "resonance.stream": "resonance & streamed inference",
}


def tables(cells: Cells) -> dict[str, str]:
    lengths = sorted({n for step in STEPS for n in cells.lengths(f"context.{step}.", ".seconds")})
    columns = {"Seconds": "context.{}.{}.seconds", "Peak (GB)": "context.{}.{}.peak"}
    return {"context": cells.table({"Model & Step": STEPS, "$n$": lengths}, columns)}
