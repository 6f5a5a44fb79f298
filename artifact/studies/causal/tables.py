"""Tables of the report on `15_causal`: seconds of the layer against attention, and of one step against a cache."""

from __future__ import annotations

from artifact.studies.causal.benchmark import RESONATORS, STEP_TARGETS, TARGETS
from artifact.studies.common.latex import Cells, number


def tables(cells: Cells) -> dict[str, str]:
    speeds = {
        "Ours (ms)": "causal.auto.k{1}.ms.{0}",
        "by FFT": "causal.fft.k{1}.ms.{0}",
        "Attention (ms)": "causal.attention.ms.{0}",
        "Faster": "causal.auto.k{1}.ratio.{0}",
        "Target": lambda n, k: number(TARGETS.get(n), 2),
        "Over bytes": "causal.auto.k{1}.bytes.{0}",
        "Over products": "causal.auto.k{1}.products.{0}",
    }
    steps = {
        "Ours (\\textmu s)": "causal.step.us.{}",
        "Cache (\\textmu s)": "causal.step.attention_us.{}",
        "Faster": "causal.step.ratio.{}",
        "Target": lambda n: number(STEP_TARGETS.get(n), 2),
        "State (MB)": lambda n: number(cells.value("causal.step.state") / 1e3),
        "Cache (MB)": "causal.step.cache.{}",
    }
    lengths = _grouped(cells.lengths(f"causal.auto.k{RESONATORS[0]}.ms."))
    contexts = _grouped(cells.lengths("causal.step.us."))
    return {
        "causal": cells.table({"$n$": lengths, "$k$": {k: str(k) for k in RESONATORS}}, speeds, "@{}rrrrrrrrr@{}"),
        "causal_steps": cells.table({"Context": contexts}, steps, "@{}rrrrrrr@{}"),
    }


def _grouped(lengths: list[int]) -> dict[int, str]:
    """Numbers with a thin space before each three digits."""
    return {n: f"{n:,}".replace(",", r"\,") for n in lengths}
