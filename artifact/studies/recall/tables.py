"""The report's tables of `16_recall` (`tables`)."""

from __future__ import annotations

import pandas as pd

from artifact.pipeline.tables import number, to_latex, with_interval

ARMS = {
    "alone": "Resonance alone",
    "plain": "Recall, plain sum",
    "delta": "Recall, delta rule",
    "attention": "Attention, same shift",
}


def recall_study_tables(by_key: pd.DataFrame) -> dict[str, str]:
    """Return the table of accuracies by task, width and arm, in percent; none before the notebook has run."""
    prefix = "recall16.accuracy."
    keys = [key.removeprefix(prefix) for key in by_key.index if key.startswith(prefix)]
    rows = []
    for key in keys:
        task, dim, arm = key.rsplit(".", 2)
        vocab, length, pairs = task.split(".")

        def value(name: str, own: str = key) -> float:
            return by_key.loc[f"recall16.{name}.{own}", "value"]

        rows.append(
            {
                r"$(V,n,N)$": f"$({vocab},{length},{pairs})$",
                "$d$": dim.removeprefix("d"),
                "Network": ARMS[arm],
                r"Untrained (\%)": number(value("start"), 3),
                r"Trained (\%)": with_interval(by_key.loc[prefix + key], 4),
                "Steps": number(value("steps"), 3),
                "Reals kept": number(value("memory"), 6),
            }
        )
    return {"recall_study": to_latex(pd.DataFrame(rows), "@{}rrlrlrr@{}")} if rows else {}
