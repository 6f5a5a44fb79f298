"""Table of the report on `01_stable_gradients`: test scores of every form of the weights under each optimiser."""

from __future__ import annotations

import math
from itertools import product

from artifact.studies.common.latex import MISSING, Cells, to_latex
from artifact.studies.stable_gradients.ablation import CARTESIAN, OPTIMIZERS, VARIANTS
from artifact.studies.stable_gradients.tasks import METRICS


def tables(cells: Cells) -> dict[str, str]:
    """Scores, and their differences from Cartesian weights paired by seed."""
    rows = []
    for task, variant in product(METRICS, VARIANTS):
        weights = variant.name.replace("x5", r"$\times 5$")
        rows.append({"Task & Weights": f"{task if variant is CARTESIAN else ''} & {weights}"})
        for optimizer in OPTIMIZERS:
            key = f"ablation.{task}.{optimizer.lower()}.{variant.key}"
            value, low, high = map(_places, cells.row(f"{key}.minus_{CARTESIAN.key}"))
            difference = value if value == MISSING else f"{value} [{low}, {high}]"
            rows[-1][optimizer] = _places(cells.value(key))
            rows[-1][f"{optimizer} minus Cartesian"] = "" if variant is CARTESIAN else difference
    body = to_latex(rows, "@{}llrlrl@{}")
    for task in list(METRICS)[1:]:
        body = body.replace(f"\n{task} ", f"\n\\addlinespace\n{task} ", 1)
    return {"ablation": body}


def _places(value: float) -> str:
    if math.isnan(value):
        return MISSING
    return rf"\num{{{round(value, 4) + 0.0:.4f}}}"  # + 0.0: no minus before zeros
