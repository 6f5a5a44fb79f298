"""The report's table of factors at equal quality (`tables`)."""

from __future__ import annotations

import pandas as pd

from artifact.pipeline.tables import to_latex, with_interval
from artifact.studies.efficiency.equal_quality import COSTS

NAMES = {
    "parameters": "Parameters",
    "memory": "Peak memory",
    "training": "Training time",
    "inference": "Inference time",
}
PRINTED = {"parameters": "5.9", "memory": "5.7", "training": "4.5", "inference": "2.1"}


def equal_quality_tables(by_key: pd.DataFrame) -> dict[str, str]:
    """Return the table: a row a cost, the printed factor, and one column a task; a dash where curves do not overlap."""
    tasks = list(
        dict.fromkeys(key.split(".")[1] for key in by_key.index if key.startswith("equality.") and "best" in key)
    )
    if not tasks:
        return {}
    rows = []
    for cost in COSTS:
        row = {"Cost": NAMES[cost], "Printed": PRINTED[cost]}
        for task in tasks:
            key = f"equal.{task}.{cost}"
            row[task.capitalize()] = with_interval(by_key.loc[key], 2) if key in by_key.index else "---"
        rows.append(row)
    return {"equal_quality": to_latex(pd.DataFrame(rows), "ll" + "l" * len(tasks))}
