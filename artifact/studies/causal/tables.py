"""The report's tables of `15_causal` (`tables`)."""

from __future__ import annotations

import pandas as pd

from artifact.pipeline.tables import number, to_latex
from artifact.studies.causal.benchmark import MARKS, RESONATORS, STEP_MARKS


def _lengths(by_key: pd.DataFrame, prefix: str) -> list[int]:
    """Return the numbers that end the keys of a prefix, sorted."""
    return sorted(int(key.removeprefix(prefix)) for key in by_key.index if key.startswith(prefix))


def causal_tables(by_key: pd.DataFrame) -> dict[str, str]:
    """Return the tables of speeds and of single steps; none before the notebook has run."""
    if "causal.tokens" not in by_key.index:
        return {}

    def value(key: str, digits: int = 3) -> str:
        return number(by_key["value"].get(key), digits)

    speeds = [
        {
            "$n$": f"{n:,}".replace(",", r"\,"),
            "$k$": k,
            "Ours (ms)": value(f"causal.auto.k{k}.ms.{n}"),
            "by FFT": value(f"causal.fft.k{k}.ms.{n}"),
            "Attention (ms)": value(f"causal.attention.ms.{n}"),
            "Faster": value(f"causal.auto.k{k}.ratio.{n}"),
            "Mark": number(MARKS.get(n), 2),
            "Over bytes": value(f"causal.auto.k{k}.bytes.{n}"),
            "Over products": value(f"causal.auto.k{k}.products.{n}"),
        }
        for n in _lengths(by_key, f"causal.auto.k{RESONATORS[0]}.ms.")
        for k in RESONATORS
    ]
    steps = [
        {
            "Context": f"{n:,}".replace(",", r"\,"),
            "Ours (\\textmu s)": value(f"causal.step.us.{n}"),
            "Cache (\\textmu s)": value(f"causal.step.attention_us.{n}"),
            "Faster": value(f"causal.step.ratio.{n}"),
            "Mark": number(STEP_MARKS.get(n), 2),
            "State (MB)": number(by_key["value"].get("causal.step.state") / 1e3, 3),
            "Cache (MB)": value(f"causal.step.cache.{n}"),
        }
        for n in _lengths(by_key, "causal.step.us.")
    ]
    return {
        "causal": to_latex(pd.DataFrame(speeds), "@{}rrrrrrrrr@{}"),
        "causal_steps": to_latex(pd.DataFrame(steps), "@{}rrrrrrr@{}"),
    }
