"""Tables of the report on `18_scaling_out`: equality, bytes on the wire, a lost rank, the model of time."""

from __future__ import annotations

from artifact.studies.common.latex import MISSING, Cells

GROUPS = {"machine.2": "2 processes", "machine.4": "4 processes", "hosts.4": "4 hosts"}
MODELS = {"net": "ResonanceNet", "long": "LongContextResonanceNet", "causal": "CausalResonance"}
METHODS = {"all": "all-to-all", "gather": "all-gather", "ring": "ring"}
WAYS = {"ring": "ring, weights one by one", "bucket": "ring, weights in one", "halving": "halving, weights in one"}
PARTS = {"Compute (s)": "compute", "Bands (s)": "bands", "Weights (s)": "weights", "Step (s)": "step"}
ENDS = {"SIGKILL": "killed", "SIGSTOP": "stopped"}


def tables(cells: Cells) -> dict[str, str]:
    measured = any(cells.value(f"scaling.equal.{group}.net") >= 0 for group in GROUPS)

    def first(group: str) -> str:
        found = cells.cell(f"scaling.equal.{group}.net (2)")
        return "not measured on this machine" if measured and found == MISSING else found

    equal = {rf"\texttt{{{label}}}": f"scaling.equal.{{}}.{key} (2)" for key, label in MODELS.items()}
    sent = {
        "forward": "scaling.wire.long.{}.forward (4)",
        "backward": "scaling.wire.long.{}.backward (4)",
        "$2kd$": lambda n: cells.cell("scaling.wire.long.formula (4)"),
        "forward, causal": "scaling.wire.mixing.{}.forward (4)",
        "$2kd$ ": lambda n: cells.cell("scaling.wire.mixing.formula (4)"),
    }
    sent |= {label: f"scaling.attention.{key}.{{}}" for key, label in METHODS.items()}
    ends = {
        "Others end after (s)": "scaling.lost.{}.seconds",
        "Timeout (s)": "scaling.lost.{}.timeout",
        "Resumed on": "scaling.lost.{}.resumed_on",
        "Losses differ by": "scaling.lost.{}.difference (2)",
    }
    modelled = {head: f"scaling.model.{{}}.{part} [2]" for head, part in PARTS.items()}
    return {
        "scaling_equality": cells.table({"Ranks": GROUPS}, equal | {next(iter(equal)): first}),
        "scaling_wire": cells.table({"$n$": cells.lengths("scaling.wire.long.", ".forward")}, sent),
        "scaling_lost": cells.table({"The last rank is": ENDS}, ends),
        "scaling_model": cells.table({"All-reduce": WAYS}, modelled),
    }
