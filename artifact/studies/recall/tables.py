"""Tables of the report on `16_recall`: accuracy by task, width and network, and by size of the state, in percent."""

from __future__ import annotations

from artifact.studies.common.latex import Cells

NETWORKS = {
    "alone": "Resonance alone",
    "plain": "Recall, plain sum",
    "delta": "Recall, delta rule",
    "attention": "Attention, same shift",
}
RELATIVES = {"mamba2": "Mamba-2", "gla": "GLA", "gdn": "Gated DeltaNet", "s4d": "S4D", "lru": "LRU"}


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
    return {
        "recall_study": cells.table({"$(V,n,N)$ & $d$ & Network": labels}, columns, "@{}rrlrlrr@{}"),
        "recall_state": by_state(cells),
    }


def by_state(cells: Cells) -> str:
    """Accuracy by network, a column a number of features; a star where the rate is not inside its grid."""
    sizes = sorted({int(name.rpartition(".f")[2]) for name in cells.names("recall16.state.accuracy.")})
    star = {key: "" if cells.value(f"recall16.state.inside.{key}") else "*" for key in NETWORKS | RELATIVES}
    names = {key: name + star[key] for key, name in (NETWORKS | RELATIVES).items()}
    columns = {f"$F={size}$": f"recall16.state.accuracy.{{}}.f{size} [3]" for size in sizes}
    columns |= {"Rate": "recall16.state.rate.{}"}
    return cells.table({"Network": names}, columns, f"@{{}}l{'l' * len(sizes)}r@{{}}")
