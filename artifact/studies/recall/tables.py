"""Table of the report on `16_recall`: accuracy by task, width and network, in percent."""

from __future__ import annotations

import pandas as pd

from artifact.studies.common.latex import Cells, to_latex

NETWORKS = {
    "alone": "Resonance alone",
    "plain": "Recall, plain sum",
    "delta": "Recall, delta rule",
    "attention": "Attention, same shift",
}


def tables(measures: pd.DataFrame) -> dict[str, str]:
    cells, rows = Cells(measures), []
    for key in cells.names("recall16.accuracy."):
        task, dim, network = key.rsplit(".", 2)
        vocab, length, pairs = task.split(".")
        rows.append(
            {
                r"$(V,n,N)$": f"$({vocab},{length},{pairs})$",
                "$d$": dim.removeprefix("d"),
                "Network": NETWORKS[network],
                r"Untrained (\%)": cells.number(f"recall16.start.{key}"),
                r"Trained (\%)": cells.interval(f"recall16.accuracy.{key}"),
                "Steps": cells.number(f"recall16.steps.{key}"),
                "State (reals)": cells.number(f"recall16.memory.{key}", 6),
            }
        )
    return {"recall_study": to_latex(rows, "@{}rrlrlrr@{}", labels=3)}
