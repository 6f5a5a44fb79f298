"""Tables of the report on `13_language`: losses at equal budgets, variants of the model, and the cost of generation."""

from __future__ import annotations

from artifact.studies.common.latex import Cells

FAMILIES = {"resonance": "ResonanceLM", "gpt": "GPT"}
BUDGETS = {"seconds": "seconds", "tokens": "characters"}


def tables(cells: Cells) -> dict[str, str]:
    contexts = sorted({n for budget in BUDGETS for n in cells.lengths(f"language.{budget}.", ".ahead")})
    losses = {
        "Nats a character": "language.{}.{}.{} [4]",
        "Seconds": "language.{}.{}.{}.seconds",
        "Read ($10^6$)": "language.{}.{}.{}.tokens",
        "Ops ($10^{12}$)": "language.{}.{}.{}.operations",
    }
    variants = {name: name.replace("_", " ") for name in cells.names("language.arm.")} | {"resonance": "nothing"}
    writing = {
        f"{label}, {what}": f"language.writing.{key}.{{}}.{unit}"
        for what, unit in (("ms", "ms"), ("kB", "kilobytes"))
        for key, label in FAMILIES.items()
    }
    return {
        "language": cells.table({"Equal": BUDGETS, "Context": contexts, "Model": FAMILIES}, losses),
        "language_arms": cells.table({"Changed": variants}, {"Nats a character": "language.arm.{} (4)"}),
        "language_writing": cells.table({"Context": cells.lengths("language.writing.resonance.", ".ms")}, writing),
    }
