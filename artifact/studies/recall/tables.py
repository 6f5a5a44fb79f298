"""Table of the report on `16_recall`: accuracy by task, width and network, in percent."""

from __future__ import annotations

from artifact.studies.common.latex import Cells

NETWORKS = {
    "alone": "Resonance alone",
    "plain": "Recall, plain sum",
    "delta": "Recall, delta rule",
    "attention": "Attention, same shift",
}


def tables(cells: Cells) -> dict[str, str]:
    labels = {}
    for key in cells.names("recall16.accuracy."):
        *task, dim, network = key.split(".")
        labels[key] = f"$({','.join(task)})$ & {dim.removeprefix('d')} & {NETWORKS[network]}"
    columns = {
        r"Untrained (\%)": "recall16.start.{}",
        r"Trained (\%)": "recall16.accuracy.{} [4]",
        "Steps": "recall16.steps.{}",
        "State (reals)": "recall16.memory.{} (6)",
    }
    return {"recall_study": cells.table({"$(V,n,N)$ & $d$ & Network": labels}, columns, "@{}rrlrlrr@{}")}
