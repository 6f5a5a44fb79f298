"""Tables of the report on `06_long_context`: seconds and memory of every step that ran, and what was recalled."""

from __future__ import annotations

from artifact.studies.common.latex import Cells, number

STEPS = {
    "resonance.train": "resonance & training",
    "transformer.train": "Transformer & training",
    "resonance.stream": "resonance & streamed inference",
}
COLUMNS = {"Seconds": "seconds", "Peak (GB)": "peak", "Net (GB)": "net"}
VARIANTS = {"bridges": "bridges", "mean": "mean of all chunks"}


PRINTED = {8192: (2100 / 425, 1.8), 32768: (34.5 / 1.2, 2.5)}  # memory and time of the Transformer over ours


def tables(cells: Cells) -> dict[str, str]:
    lengths = sorted({n for step in STEPS for n in cells.lengths(f"context.{step}.", ".seconds")})
    columns = {name: f"context.{{}}.{{}}.{key}" for name, key in COLUMNS.items()}
    counts = sorted({count for count in range(1, 65) if cells.lengths(f"context.recall.bridges.{count}.")})
    spans = sorted({n for count in counts for n in cells.lengths(f"context.recall.bridges.{count}.")})
    recalled = {rf"$n=\num{{{n}}}$": f"context.recall.{{}}.{{}}.{n} [3]" for n in spans}
    ratios = {
        "Memory, printed": lambda n: number(PRINTED[n][0]),
        "net": "context.ratio.{}.net [2]",
        "whole peak": "context.ratio.{}.peak [2]",
        "Time, printed": lambda n: number(PRINTED[n][1]),
        "measured": "context.ratio.{}.seconds [2]",
        "Our parameters": lambda n: cells.cell("context.resonance.parameters (6)"),
        "theirs": lambda n: cells.cell("context.transformer.parameters (7)"),
    }
    return {
        "ratios": cells.table({"$n$": [n for n in PRINTED if n in cells.lengths("context.ratio.", ".net")]}, ratios),
        "context": cells.table({"Model & Step": STEPS, "$n$": lengths}, columns),
        "recalled": cells.table({"Exchange": VARIANTS, "Values": counts}, recalled) if spans else "",
    }
