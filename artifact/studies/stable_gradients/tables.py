"""Tables of the report on `01_stable_gradients`: readings of the printed formulas; test scores of the ablation."""

from __future__ import annotations

import math
from itertools import product

from artifact.studies.common.latex import MISSING, Cells, number, to_latex
from artifact.studies.stable_gradients.ablation import CARTESIAN, OPTIMIZERS, VARIANTS
from artifact.studies.stable_gradients.tasks import METRICS

READINGS = {"g": "g", "conj": r"\conj g", "wirtinger": r"W=\conj g/2", "half": "g/2"}


def tables(cells: Cells) -> dict[str, str]:
    """Errors under each reading; scores, and their differences from Cartesian weights paired by seed.

    A dagger marks a score whose rate was chosen at an end of the rates tried.
    """
    parts = {"magnitude": "Magnitude, worst", "phase": "Phase, worst", "phase_least": "Phase, best"}
    readings = []
    for key, symbol in READINGS.items():
        errors = {head: number(cells.value(f"gradients.reading.{key}.{part}"), 2) for part, head in parts.items()}
        readings.append({"$dL/dw$ read as": f"${symbol}$"} | errors)
    rows = []
    for task, variant in product(METRICS, VARIANTS):
        weights = variant.name.replace("x5", r"$\times 5$")
        rows.append({"Task & Weights": f"{task if variant is CARTESIAN else ''} & {weights}"})
        for optimizer in OPTIMIZERS:
            key = f"ablation.{task}.{optimizer.lower()}.{variant.key}"
            value, low, high = map(_places, cells.row(f"{key}.minus_{CARTESIAN.key}"))
            difference = value if value == MISSING else f"{value} [{low}, {high}]"
            edge = r"\rlap{$^\dagger$}" if cells.value(f"{key}.inside") == 0 else ""
            rows[-1][optimizer] = _places(cells.value(key)) + edge
            rows[-1][f"{optimizer} minus Cartesian"] = "" if variant is CARTESIAN else difference
    body = to_latex(rows, "@{}llrlrl@{}")
    for task in list(METRICS)[1:]:
        body = body.replace(f"\n{task} ", f"\n\\addlinespace\n{task} ", 1)
    return {"ablation": body, "readings": to_latex(readings, "@{}lrrr@{}")}


def _places(value: float) -> str:
    if math.isnan(value):
        return MISSING
    return rf"\num{{{round(value, 4) + 0.0:.4f}}}"  # + 0.0: no minus before zeros
