"""Tables of the report on `05_efficiency`: speed against the best peers, and cost factors at equal quality."""

from __future__ import annotations

from functools import partial
from math import isnan

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
COSTS = {  # with the printed factor
    "parameters": "Parameters (5.9)",
    "memory": "Memory (5.7)",
    "training": "Training (4.5)",
    "inference": "Inference (2.1)",
}
SIDES = {0: "", 1: r"$\ge$", -1: r"$\le$"}  # of a bound; another number: open


def tables(cells: Cells) -> dict[str, str]:
    """How many times faster than each peer, and how many times its two floors ours takes; factors of each cost."""
    pairs = {
        (pair, n): f"{SHORT[ours]} & {SHORT.get(peer, peer)} & {number(n)}"
        for pair, (ours, peer) in PAIRS.items()
        for n in cells.lengths(f"speed.{pair}.")
    }
    speed = {
        "Kept": "speed.{0[0]}.{0[1]} [3]",
        "As started": "speed.fresh.{0[0]}.{0[1]} [3]",
        "Target": lambda of: number(TARGETS.get(PAIRS[of[0]], {}).get(of[1])),
        "Bytes": lambda of: cells.cell(f"floor.{of[0].split('.')[0]}.bytes.{of[1]} (2)"),
        "Products": lambda of: cells.cell(f"floor.{of[0].split('.')[0]}.products.{of[1]} (2)"),
    }

    def factor(cost: str, task: str) -> str:
        found, side = cells.cell(f"equal.{task}.{cost} [2]"), cells.value(f"equal.{task}.{cost}.side")
        return found if found == MISSING else SIDES.get(0 if isnan(side) else int(side), "?") + found

    tasks = {task: task.capitalize() for task in cells.names("equality.", ".resonance.best")}
    factors = {head: partial(factor, cost) for cost, head in COSTS.items()}
    return {
        "speed": cells.table({"Ours & Against & $n$": pairs}, speed, "@{}llrllrrr@{}"),
        "equal_quality": cells.table({"Task": tasks}, factors, "@{}lllll@{}"),
    }
