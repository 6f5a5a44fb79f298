"""Tables of the report on `13_language`: losses at equal budgets, variants of the model, and the cost of generation."""

from __future__ import annotations

import pandas as pd

from artifact.studies.common.latex import Cells, number, to_latex

FAMILIES = {"resonance": "ResonanceLM", "gpt": "GPT"}
BUDGETS = {"seconds": "seconds", "tokens": "characters"}


def tables(measures: pd.DataFrame) -> dict[str, str]:
    cells = Cells(measures)
    losses = [
        {
            "Equal": unit,
            "Context": number(context),
            "Model": label,
            "Nats a character": cells.interval(f"language.{budget}.{context}.{key}"),
            "Seconds": cells.number(f"language.{budget}.{context}.{key}.seconds"),
            "Read ($10^6$)": cells.number(f"language.{budget}.{context}.{key}.tokens"),
            "Ops ($10^{12}$)": cells.number(f"language.{budget}.{context}.{key}.operations"),
        }
        for budget, unit in BUDGETS.items()
        for context in cells.lengths(f"language.{budget}.", ".ahead")
        for key, label in FAMILIES.items()
    ]
    variants = [
        {
            "Changed": "nothing" if name == "resonance" else name.replace("_", " "),
            "Nats a character": cells.number(f"language.arm.{name}", 4),
        }
        for name in cells.names("language.arm.")
    ]
    writing = [
        {"Context": number(context, 6)}
        | {
            f"{label}, {what}": cells.number(f"language.writing.{key}.{context}.{unit}")
            for what, unit in (("ms", "ms"), ("kB", "kilobytes"))
            for key, label in FAMILIES.items()
        }
        for context in cells.lengths("language.writing.resonance.", ".ms")
    ]
    return {
        "language": to_latex(losses, "@{}lrllrrr@{}", labels=3),
        "language_arms": to_latex(variants, "@{}lr@{}"),
        "language_writing": to_latex(writing, "@{}rrrrr@{}"),
    }
