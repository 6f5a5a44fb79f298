"""Tables of the report on `09_vision`: accuracy of every method, and under corruptions and changes of size."""

from __future__ import annotations

import math

import pandas as pd

from artifact.studies.common.latex import MISSING, Cells, to_latex

METHODS = {
    "long": "Resonance, long run",
    "resonance": "Resonance",
    "bare": "Resonance, no feed-forward",
    "transformer": "Vision Transformer",
    "fnet": "FNet over patches",
    "logistic": "Logistic regression",
}
CORRUPTIONS = {"rotation": "Rotated", "noise": "Noise", "occlusion": "Occluded"}


def tables(measures: pd.DataFrame) -> dict[str, str]:
    cells = Cells(measures)
    accuracies = [
        {
            "Method": label,
            "Parameters": cells.number(f"vision.{key}.parameters", 6),
            "Images seen": cells.number(f"vision.{key}.images", 7),
            "Test accuracy (\\%)": _percent(cells.row(f"vision.{key}.accuracy")),
        }
        for key, label in METHODS.items()
    ]
    columns = CORRUPTIONS | {f"side.{side}": f"{side} px" for side in cells.lengths("vision.long.side.")}
    corrupted = [
        {"Method": label}
        | {head: _percent(cells.row(f"vision.{key}.{of}")[["value"]], 1) for of, head in columns.items()}
        for key, label in METHODS.items()
    ]
    return {
        "vision": to_latex(accuracies, "@{}lrrl@{}"),
        "marred": to_latex(corrupted, "@{}l" + "@{\\hskip 8pt}r" * len(columns) + "@{}"),
    }


def _percent(row: pd.Series, digits: int = 2) -> str:
    """A share as a percentage, with its interval where the row has one: "99.2 [99.1, 99.3]"."""
    shown = [rf"\num{{{100 * x:.{digits}f}}}" for x in row if not math.isnan(x)] or [MISSING]
    return shown[0] + (f" [{', '.join(shown[1:])}]" if shown[1:] else "")
