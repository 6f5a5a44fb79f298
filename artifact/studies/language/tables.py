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
    families = {
        key: ("whole model" if key == "resonance" else key.replace("_", " "))
        + ("*" if cells.value(f"language.controlled.inside.{key}") == 0 else "")
        for key in cells.names("language.controlled.rate.")
    }
    under_control = {
        "Equal steps (nats)": "language.controlled.steps.{} [4]",
        "Equal seconds (nats)": "language.controlled.seconds.{} [4]",
        "Read ($10^3$)": "language.controlled.seconds.{}.characters",
        "Rate": "language.controlled.rate.{}",
        "Parameters": "language.controlled.parameters.{} (6)",
    }
    writing = {
        f"{label}, {what}": f"language.writing.{key}.{{}}.{unit}"
        for what, unit in (("ms", "ms"), ("kB", "kilobytes"))
        for key, label in FAMILIES.items()
    }
    return {
        "language": cells.table({"Equal": BUDGETS, "Context": contexts, "Model": FAMILIES}, losses),
        "language_controlled": cells.table({"Model": families}, under_control),
        "language_writing": cells.table({"Context": cells.lengths("language.writing.resonance.", ".ms")}, writing),
    }
