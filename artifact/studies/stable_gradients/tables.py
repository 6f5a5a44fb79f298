"""Table of the report on `01_stable_gradients`: test scores of every form of the weights under each optimiser."""

from __future__ import annotations

import math

import pandas as pd

from artifact.studies.common.latex import MISSING, Cells, to_latex
from artifact.studies.stable_gradients.ablation import CARTESIAN, OPTIMIZERS, VARIANTS
from artifact.studies.stable_gradients.tasks import METRICS


def tables(measures: pd.DataFrame) -> dict[str, str]:
    """Scores, and their differences from Cartesian weights paired by seed."""
    cells, rows = Cells(measures), []
    for task in METRICS:
        for variant in VARIANTS:
            row = {"Task": task if variant is CARTESIAN else "", "Weights": variant.name.replace("x5", r"$\times 5$")}
            for optimizer in OPTIMIZERS:
                key = f"ablation.{task}.{optimizer.lower()}.{variant.key}"
                difference = cells.row(f"{key}.minus_{CARTESIAN.key}")
                row[optimizer] = _places(cells.value(key))
                row[f"{optimizer} minus Cartesian"] = MISSING if variant is not CARTESIAN else ""
                if not math.isnan(difference["value"]):
                    value, low, high = (_places(difference[name]) for name in ("value", "ci_low", "ci_high"))
                    row[f"{optimizer} minus Cartesian"] = f"{value} [{low}, {high}]"
            rows.append(row)
    body = to_latex(rows, "@{}llrlrl@{}", labels=2)
    for task in list(METRICS)[1:]:
        body = body.replace(f"\n{task} ", f"\n\\addlinespace\n{task} ", 1)
    return {"ablation": body}


def _places(value: float) -> str:
    if math.isnan(value):
        return MISSING
    return rf"\num{{{round(value, 4) + 0.0:.4f}}}"  # + 0.0: no minus before zeros
