"""Tables of `09_vision` for the report: every cell is LaTeX, every number of ours a measure."""

from __future__ import annotations

import re

import pandas as pd

METHODS = {
    "long": "Resonance, long run",
    "resonance": "Resonance",
    "bare": "Resonance, no feed-forward",
    "transformer": "Vision Transformer",
    "fnet": "FNet over patches",
    "logistic": "Logistic regression",
}
MARRED = {"rotation": "Turned", "noise": "Noise", "occlusion": "Covered"}


def percent(row: pd.Series, digits: int = 2) -> str:
    """Return a share as a percentage with its interval: "99.2 [99.1, 99.3]", or alone where it has none."""
    value, low, high = (f"{100 * row[name]:.{digits}f}" for name in ("value", "ci_low", "ci_high"))
    return rf"\num{{{value}}}" if pd.isna(row["ci_low"]) else rf"\num{{{value}}} [\num{{{low}}}, \num{{{high}}}]"


def vision_tables(by_key: pd.DataFrame) -> dict[str, str]:
    """Return the tables of measures, by key, that the notebook recorded; none where it has not run."""
    if "vision.long.accuracy" not in by_key.index:
        return {}
    from artifact.pipeline.tables import number, to_latex

    scores = [
        {
            "Method": label,
            "Parameters": number(by_key.loc[f"vision.{key}.parameters", "value"], 6),
            "Images seen": number(by_key.loc[f"vision.{key}.images", "value"], 7),
            "Test accuracy (\\%)": percent(by_key.loc[f"vision.{key}.accuracy"]),
        }
        for key, label in METHODS.items()
    ]
    found = (re.fullmatch(r"vision\.long\.side\.(\d+)", key) for key in by_key.index)
    sides = sorted(int(match[1]) for match in found if match)

    def cell(key: str) -> str:
        return (
            percent(by_key.loc[key, ["value"]].reindex(["value", "ci_low", "ci_high"]), 1)
            if key in by_key.index
            else "--"
        )

    marred = [
        {"Method": label}
        | {head: cell(f"vision.{key}.{kind}") for kind, head in MARRED.items()}
        | {f"{side} px": cell(f"vision.{key}.side.{side}") for side in sides}
        for key, label in METHODS.items()
    ]
    columns = "@{}l" + "r" * (len(MARRED) + len(sides)) + "@{}"
    return {"vision": to_latex(pd.DataFrame(scores), "@{}lrrl@{}"), "marred": to_latex(pd.DataFrame(marred), columns)}
