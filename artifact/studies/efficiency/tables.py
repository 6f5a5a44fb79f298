"""Tables of the report on `05_efficiency`: speed against the best peers, and cost factors at equal quality."""

from __future__ import annotations

from functools import partial

from artifact.studies.common.latex import MISSING, Cells, number
from artifact.studies.efficiency.benchmark import TARGETS

PAIRS = {  # key of the comparison: ours, peer
    "mixing.fft": ("BandMixing", "torch.fft"),
    "mixing.linear": ("BandMixing", "nn.Linear"),
    "layer.fnet": ("ResonanceLayer", "FNet layer"),
    "layer.transformer": ("ResonanceLayer", "Transformer layer"),
    "block.fnet": ("ResonanceLayer + feed-forward", "FNet layer"),
    "block.transformer": ("ResonanceLayer + feed-forward", "Transformer layer"),
}
SHORT = {
    "BandMixing": "mixing",
    "ResonanceLayer": "layer",
    "ResonanceLayer + feed-forward": "layer, feed-forward",
    "FNet layer": "FNet",
    "Transformer layer": "Transformer",
}
COSTS = {  # and the printed factor
    "parameters": "Parameters & 5.9",
    "memory": "Peak memory & 5.7",
    "training": "Training time & 4.5",
    "inference": "Inference time & 2.1",
}


def tables(cells: Cells) -> dict[str, str]:
    """How many times faster than each peer, and how many times its two floors ours takes; factors of each cost."""
    pairs = {
        (pair, n): f"{SHORT[ours]} & {SHORT.get(peer, peer)} & {number(n)}"
        for pair, (ours, peer) in PAIRS.items()
        for n in cells.lengths(f"speed.{pair}.")
    }
    speed = {
        "Times faster": "speed.{0[0]}.{0[1]}",
        "Target": lambda of: number(TARGETS.get(PAIRS[of[0]], {}).get(of[1])),
        "Bytes": lambda of: cells.cell(f"floor.{of[0].split('.')[0]}.bytes.{of[1]} (2)"),
        "Products": lambda of: cells.cell(f"floor.{of[0].split('.')[0]}.products.{of[1]} (2)"),
    }

    def factor(task: str, cost: str) -> str:
        """A long dash where the curves of cost and quality do not overlap."""
        found = cells.cell(f"equal.{task}.{cost} [2]")
        return "---" if found == MISSING else found

    tasks = cells.names("equality.", ".resonance.best")
    factors = {task.capitalize(): partial(factor, task) for task in tasks}
    return {
        "speed": cells.table({"Ours & Against & $n$": pairs}, speed, "@{}llrrrrr@{}"),
        "equal_quality": cells.table({"Cost & Printed": COSTS}, factors, "@{}ll" + "l" * len(tasks) + "@{}"),
    }
