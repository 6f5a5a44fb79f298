"""Tables of the report on `04_information`: information kept and lost by a band, and slopes of approximation errors."""

from __future__ import annotations

from artifact.studies.common.latex import Cells, number, with_interval

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
    "jump": "jump & $-1/2$",
    "kink": "kink & $-3/2$",
    "second": "jump in the second derivative & $-5/2$",
    "ends": "smooth, ends differ & $-1/2$",
    "mirrored": "the same, mirrored & $-3/2$",
    "padded": "smooth and periodic, zero-padded & $-1/2$",
    "s05": "random, $s=1/2$ & $-1/2$",
    "s10": "random, $s=1$ & $-1$",
    "s20": "random, $s=2$ & $-2$",
    "s30": "random, $s=3$ & $-3$",
}


def tables(cells: Cells) -> dict[str, str]:
    def bits(key: str) -> str:
        return number(round(cells.value(f"information.lost.{key}"), 9))  # less than this is rounding

    def share(key: str) -> str:
        """The whole band's share of itself is 1, without an interval."""
        row = cells.row(f"information.past.{key}.retained")
        return with_interval(row, 3) if row["ci_low"] < row["ci_high"] else number(row["value"])

    retained = {head: f"information.retained.{{}}.{of}" for of, head in SHARES.items()}
    lost = {"Real rank": "information.rank.{}", "Bits lost": bits}
    past = {
        "$k$": "information.past.{}.k",
        "Bits": "information.past.{}.bits",
        "Share of the whole band's": share,
        "Variance left": "information.past.{}.unexplained",
    }
    return {
        "retained": cells.table({"Signal": SIGNALS}, retained),
        "traps": cells.table({"Map": MAPS}, lost),
        "past": cells.table({"Frequencies kept": SELECTIONS}, past, "@{}lrrlr@{}"),
        "slopes": cells.table({"Signal & Theory": SLOPES}, {"Measured": "approximation.slope.{} [3]"}),
    }
