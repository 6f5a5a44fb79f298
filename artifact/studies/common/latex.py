"""Tables of the report in LaTeX: cells from the measures of a run, rows, and the tabular around them.

A study's `tables.py` has one function, `tables(measures) -> {name: LaTeX}`, measures indexed by key.  It names every
table of its study, whatever the run has measured: a cell without a measure is a dash, a row without one is left out, a
table without rows is empty, and the report then says which notebook would fill it.
"""

from __future__ import annotations

import math
import re

import pandas as pd

MISSING = "--"
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{c: "\\" + c for c in "&%$#_{}"},
}


def escape(text: object) -> str:
    """Text that LaTeX prints as it is; "" for a missing value."""
    if text is None or (isinstance(text, float) and math.isnan(text)):
        return ""
    return "".join(_SPECIAL.get(character, character) for character in str(text))


def number(value: float | None, figures: int = 3) -> str:
    """A siunitx number rounded to significant figures, whole numbers in full; a dash for a missing one."""
    if pd.isna(value):
        return MISSING
    if value == int(value) and abs(value) < 1e7:
        return rf"\num{{{int(value)}}}"
    return rf"\num[round-mode=figures,round-precision={figures}]{{{value:.12g}}}"


def with_interval(row: pd.Series, figures: int = 4) -> str:
    """A measure with its interval, "0.358 [0.357, 0.359]", or alone where it has none."""
    text = number(row["value"], figures)
    if pd.isna(row["ci_low"]):
        return text
    return f"{text} [{number(row['ci_low'], figures)}, {number(row['ci_high'], figures)}]"


class Cells:
    """Cells of a table by key of the ledger; a dash where this run has no such measure.

    measures: indexed by key, with the columns value, ci_low and ci_high.
    """

    def __init__(self, measures: pd.DataFrame):
        self.measures = measures.reindex(columns=["value", "ci_low", "ci_high"])

    def row(self, key: str) -> pd.Series:
        """Value and interval of a key, all NaN where it was not measured."""
        return self.measures.loc[key] if key in self.measures.index else pd.Series(math.nan, self.measures.columns)

    def value(self, key: str) -> float:
        return self.row(key)["value"]

    def number(self, key: str, figures: int = 3) -> str:
        return number(self.value(key), figures)

    def interval(self, key: str, figures: int = 4) -> str:
        return with_interval(self.row(key), figures)

    def names(self, prefix: str, suffix: str = "") -> list[str]:
        """What stands between prefix and suffix in the keys measured, in the order of the ledger."""
        found = (re.fullmatch(re.escape(prefix) + "(.+)" + re.escape(suffix), key) for key in self.measures.index)
        return list(dict.fromkeys(match[1] for match in found if match))

    def lengths(self, prefix: str, suffix: str = "") -> list[int]:
        """The whole numbers between prefix and suffix in the keys measured, sorted."""
        return sorted(int(name) for name in self.names(prefix, suffix) if name.isdigit())


def to_latex(rows: list[dict[str, str]], columns: str, labels: int = 1) -> str:
    """A booktabs tabular of rows whose cells are LaTeX; the first `labels` columns name the row and hold no measure.

    Rows without a measure are left out; "" where no row is left.
    """
    measured = [row for row in rows if any(cell not in (MISSING, "") for cell in list(row.values())[labels:])]
    if not measured:
        return ""
    return pd.DataFrame(measured).style.hide(axis="index").to_latex(hrules=True, column_format=columns)
