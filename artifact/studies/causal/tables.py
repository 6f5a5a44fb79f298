"""Tables of the report on `15_causal`: seconds of the layer against attention, and of one step against a cache."""

from __future__ import annotations

import pandas as pd

from artifact.studies.causal.benchmark import RESONATORS, STEP_TARGETS, TARGETS
from artifact.studies.common.latex import Cells, number, to_latex


def tables(measures: pd.DataFrame) -> dict[str, str]:
    cells = Cells(measures)
    speeds = [
        {
            "$n$": f"{n:,}".replace(",", r"\,"),
            "$k$": str(k),
            "Ours (ms)": cells.number(f"causal.auto.k{k}.ms.{n}"),
            "by FFT": cells.number(f"causal.fft.k{k}.ms.{n}"),
            "Attention (ms)": cells.number(f"causal.attention.ms.{n}"),
            "Faster": cells.number(f"causal.auto.k{k}.ratio.{n}"),
            "Target": number(TARGETS.get(n), 2),
            "Over bytes": cells.number(f"causal.auto.k{k}.bytes.{n}"),
            "Over products": cells.number(f"causal.auto.k{k}.products.{n}"),
        }
        for n in cells.lengths(f"causal.auto.k{RESONATORS[0]}.ms.")
        for k in RESONATORS
    ]
    steps = [
        {
            "Context": f"{n:,}".replace(",", r"\,"),
            "Ours (\\textmu s)": cells.number(f"causal.step.us.{n}"),
            "Cache (\\textmu s)": cells.number(f"causal.step.attention_us.{n}"),
            "Faster": cells.number(f"causal.step.ratio.{n}"),
            "Target": number(STEP_TARGETS.get(n), 2),
            "State (MB)": number(cells.value("causal.step.state") / 1e3),
            "Cache (MB)": cells.number(f"causal.step.cache.{n}"),
        }
        for n in cells.lengths("causal.step.us.")
    ]
    return {
        "causal": to_latex(speeds, "@{}rrrrrrrrr@{}", labels=2),
        "causal_steps": to_latex(steps, "@{}rrrrrrr@{}"),
    }
