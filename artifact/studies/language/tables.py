"""The report's tables of `13_language` (`tables`)."""

from __future__ import annotations

import pandas as pd

from artifact.pipeline.tables import lengths_of, number, to_latex, with_interval

FAMILIES = {"resonance": "ResonanceLM", "gpt": "GPT"}


def language_tables(by_key: pd.DataFrame) -> dict[str, str]:
    """Return the tables of losses, of arms and of writing; none before the notebook has run."""
    if "language.control" not in by_key.index:
        return {}
    value, rows = by_key["value"], []
    for budget in ("seconds", "tokens"):
        for context in lengths_of(value, f"language.{budget}.", ".ahead"):
            for key, label in FAMILIES.items():
                prefix = f"language.{budget}.{context}.{key}"
                rows.append(
                    {
                        "Equal": budget if budget == "seconds" else "characters",
                        "Context": number(context),
                        "Model": label,
                        "Nats a character": with_interval(by_key.loc[prefix], 4),
                        "Seconds": number(value[f"{prefix}.seconds"]),
                        "Read ($10^6$)": number(value[f"{prefix}.tokens"]),
                        "Ops ($10^{12}$)": number(value[f"{prefix}.operations"]),
                    }
                )
    names = [key.removeprefix("language.arm.") for key in by_key.index if key.startswith("language.arm.")]
    arms = [
        {
            "Changed": "nothing" if name == "resonance" else name.replace("_", " "),
            "Nats a character": number(value[f"language.arm.{name}"], 4),
        }
        for name in names
    ]
    writing = [
        {"Context": number(context, 6)}
        | {
            f"{label}, {what}": number(value[f"language.writing.{key}.{context}.{unit}"])
            for what, unit in (("ms", "ms"), ("kB", "kilobytes"))
            for key, label in FAMILIES.items()
        }
        for context in lengths_of(value, "language.writing.resonance.", ".ms")
    ]
    return {
        "language": to_latex(pd.DataFrame(rows), "@{}lrllrrr@{}"),
        "language_arms": to_latex(pd.DataFrame(arms), "@{}lr@{}"),
        "language_writing": to_latex(pd.DataFrame(writing), "@{}rrrrr@{}"),
    }
