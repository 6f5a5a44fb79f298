"""Tables of the report on `04_information`: information kept and lost by a band, and slopes of approximation errors."""

from __future__ import annotations

import pandas as pd

from artifact.studies.common.latex import Cells, number, to_latex, with_interval

SIGNALS = {"ar1": "AR(1), $0{.}9$", "one_over_f": "$1/f$", "white": "white", "band": "band $\\abs f<n/8$"}
SHARES = {"1": "$1$", "2": "$1/2$", "4": "$1/4$", "8": "$1/8$", "16": "$1/16$"}  # n/k: k/n
MAPS = {
    "generic": "whole band, random weights",
    "half_band": "$k=n/2$ counted on both sides",
    "one_sided": "$k=n/2$ counted on one side",
    "residual": "residual block, $k=n/2$ on both sides",
    "zero_weight": "one zero weight",
    "half_rank": "interference of half rank, random",
    "dc_swap": "unitary interference, DC swapped with $f=5$",
    "small_weight": "one weight of $1/1000$",
    "generic_rounded": "whole band, output rounded to bfloat16",
    "small_weight_rounded": "one weight of $1/1000$, output rounded",
}
SELECTIONS = {
    "lowest": "lowest, by the rule",
    "energy": "most energy, by the rule",
    "information": "most information, by the rule",
    "lowest_same_k": "lowest, as many",
    "energy_same_k": "most energy, as many",
    "energy_rule": "lowest that hold 95\\% of the energy",
    "whole": "whole band",
}
SLOPES = {
    "jump": ("jump", "$-1/2$"),
    "kink": ("kink", "$-3/2$"),
    "second": ("jump in the second derivative", "$-5/2$"),
    "ends": ("smooth, ends differ", "$-1/2$"),
    "mirrored": ("the same, mirrored", "$-3/2$"),
    "padded": ("smooth and periodic, zero-padded", "$-1/2$"),
    "s05": ("random, $s=1/2$", "$-1/2$"),
    "s10": ("random, $s=1$", "$-1$"),
    "s20": ("random, $s=2$", "$-2$"),
    "s30": ("random, $s=3$", "$-3$"),
}


def tables(measures: pd.DataFrame) -> dict[str, str]:
    cells = Cells(measures)
    retained = [
        {"Signal": label}
        | {head: cells.number(f"information.retained.{key}.{share}") for share, head in SHARES.items()}
        for key, label in SIGNALS.items()
    ]
    lost = [
        {
            "Map": label,
            "Real rank": cells.number(f"information.rank.{key}"),
            "Bits lost": number(round(cells.value(f"information.lost.{key}"), 9)),  # less than this is rounding
        }
        for key, label in MAPS.items()
    ]
    past = [
        {
            "Frequencies kept": label,
            "$k$": cells.number(f"information.past.{key}.k"),
            "Bits": cells.number(f"information.past.{key}.bits"),
            "Share of the whole band's": _share(cells.row(f"information.past.{key}.retained")),
            "Variance left": cells.number(f"information.past.{key}.unexplained"),
        }
        for key, label in SELECTIONS.items()
    ]
    slopes = [
        {"Signal": label, "Theory": theory, "Measured": cells.interval(f"approximation.slope.{key}", 3)}
        for key, (label, theory) in SLOPES.items()
    ]
    return {
        "retained": to_latex(retained, "@{}lrrrrr@{}"),
        "traps": to_latex(lost, "@{}lrr@{}"),
        "past": to_latex(past, "@{}lrrlr@{}"),
        "slopes": to_latex(slopes, "@{}lll@{}", labels=2),
    }


def _share(row: pd.Series) -> str:
    """The whole band's share of itself is 1, without an interval."""
    return with_interval(row, 3) if row["ci_low"] < row["ci_high"] else number(row["value"])
