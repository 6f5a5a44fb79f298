"""Table of the report on `06_long_context`: seconds and peak memory of every step that ran."""

from __future__ import annotations

import pandas as pd

from artifact.studies.common.latex import Cells, number, to_latex

STEPS = {
    "resonance.train": ("resonance", "training"),
    "transformer.train": ("Transformer", "training"),
    "resonance.stream": ("resonance", "streamed inference"),
}


def tables(measures: pd.DataFrame) -> dict[str, str]:
    cells = Cells(measures)
    rows = [
        {
            "Model": model,
            "Step": step,
            "$n$": number(n, 7),
            "Seconds": cells.number(f"context.{key}.{n}.seconds"),
            "Peak (GB)": cells.number(f"context.{key}.{n}.peak"),
        }
        for key, (model, step) in STEPS.items()
        for n in cells.lengths(f"context.{key}.", ".seconds")
    ]
    return {"context": to_latex(rows, "@{}llrrr@{}", labels=3)}
