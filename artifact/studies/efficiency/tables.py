"""Tables of the report on `05_efficiency`: speed against the best peers, and cost factors at equal quality."""

from __future__ import annotations

import pandas as pd

from artifact.studies.common.latex import MISSING, Cells, number, to_latex
from artifact.studies.efficiency.benchmark import TARGETS
from artifact.studies.efficiency.equal_quality import COSTS

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
COST_NAMES = {
    "parameters": "Parameters",
    "memory": "Peak memory",
    "training": "Training time",
    "inference": "Inference time",
}
PRINTED = {"parameters": "5.9", "memory": "5.7", "training": "4.5", "inference": "2.1"}


def tables(measures: pd.DataFrame) -> dict[str, str]:
    cells = Cells(measures)
    return {"speed": speed(cells), "equal_quality": equal_quality(cells)}


def speed(cells: Cells) -> str:
    """How many times faster than each peer, with the target, and how many times its two floors ours takes."""
    rows = []
    for pair, (ours, peer) in PAIRS.items():
        floors = f"floor.{pair.split('.')[0]}"
        for n in cells.lengths(f"speed.{pair}."):
            rows.append(
                {
                    "Ours": SHORT[ours],
                    "Against": SHORT.get(peer, peer),
                    "$n$": number(n, 7),
                    "Times faster": cells.number(f"speed.{pair}.{n}"),
                    "Target": number(TARGETS.get((ours, peer), {}).get(n)),
                    "Bytes": cells.number(f"{floors}.bytes.{n}", 2),
                    "Products": cells.number(f"{floors}.products.{n}", 2),
                }
            )
    return to_latex(rows, "@{}llrrrrr@{}", labels=3)


def equal_quality(cells: Cells) -> str:
    """The printed factor of each cost and ours for each task; a long dash where the curves do not overlap."""
    tasks = cells.names("equality.", ".resonance.best")
    rows = []
    for cost in COSTS:
        factors = {task.capitalize(): cells.interval(f"equal.{task}.{cost}", 2) for task in tasks}
        factors = {task: "---" if cell == MISSING else cell for task, cell in factors.items()}
        rows.append({"Cost": COST_NAMES[cost], "Printed": PRINTED[cost]} | factors)
    return to_latex(rows, "@{}ll" + "l" * len(tasks) + "@{}", labels=2)
