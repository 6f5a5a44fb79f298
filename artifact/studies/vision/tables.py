"""Tables of the report on `09_vision`: accuracy of every method, in every variant, and under corruptions and sizes."""

from __future__ import annotations

from artifact.studies.common.latex import MISSING, Cells

METHODS = {
    "resonance": "Resonance",
    "bare": "Resonance, no feed-forward",
    "transformer": "Vision Transformer",
    "fnet": "FNet over patches",
    "logistic": "Logistic regression",
    "logistic_augmented": "Logistic regression, augmented",
}
VARIANTS = {"lowest frequencies": "Lowest frequencies", "mean": "Mean token"}
CORRUPTIONS = {"rotation": "Rotated", "noise": "Noise", "occlusion": "Occluded"}


def tables(cells: Cells) -> dict[str, str]:
    def percent(key: str, columns: tuple[str, ...] = ("value", "ci_low", "ci_high"), digits: int = 2) -> str:
        """A share as a percentage, with its interval where it has one: "99.2 [99.1, 99.3]"."""
        row = cells.row(key)[list(columns)].dropna()
        shown = [rf"\num{{{100 * x:.{digits}f}}}" for x in row] or [MISSING]
        return shown[0] + (f" [{', '.join(shown[1:])}]" if shown[1:] else "")

    accuracies = {
        "Parameters": "vision.{}.parameters (6)",
        "Read-out": "vision.{}.pooled",
        "Rate": "vision.{}.rate",
        "Test accuracy (\\%)": lambda key: percent(f"vision.{key}.accuracy"),
    }
    variants = {
        head: lambda key, of=variant: percent(f"vision.tuned.{key}.{of}", ("value",), 1)
        for variant, head in VARIANTS.items()
    }
    changes = CORRUPTIONS | {f"side.{side}": f"{side} px" for side in cells.lengths("vision.resonance.side.")}
    corrupted = {head: lambda key, of=of: percent(f"vision.{key}.{of}", ("value",), 1) for of, head in changes.items()}
    return {
        "vision": cells.table({"Method": METHODS}, accuracies, "@{}lrrrl@{}"),
        "vision_variants": cells.table({"Method": METHODS}, variants),
        "marred": cells.table({"Method": METHODS}, corrupted, "@{}l" + "@{\\hskip 8pt}r" * len(changes) + "@{}"),
    }
