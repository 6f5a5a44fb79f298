"""Tables of the report in LaTeX: cells from the measures of a run, rows, and the tabular around them.

A study's `tables.py` has one function, `tables(cells) -> {name: LaTeX}`.  It names every table of its study, whatever
the run has measured: a cell without a measure is a dash, a row without one is left out, a table without rows is empty,
and the report then says which notebook would fill it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import product

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
    """A measure with its interval, "0.358 [0.357, 0.359]", or alone where it has none, or one of no width.

    All end at the second digit of the interval's shorter side, or earlier, after `figures` digits of its larger end.
    Values below 1e-4 or from 1e7 have their own `figures`.
    Where both ends are more than three decades away, as in a ratio of two noisy repetitions, they are bounds.
    """
    value, low, high = row["value"], row["ci_low"], row["ci_high"]
    text = number(value, figures)
    if pd.isna(low) or low == value == high:  # repetitions that agree throughout say nothing of the spread
        return text
    if 0 <= 1000 * low < value and high > 1000 * value:
        return f"{text} [${{<}}$\\,{number(value / 1000, 1)}, ${{>}}$\\,{number(value * 1000, 1)}]"
    sides = [side for side in (value - low, high - value) if side > 0]
    ends = max(abs(low), abs(high))
    if not sides or not 1e-4 <= ends < 1e7:
        return f"{text} [{number(low, figures)}, {number(high, figures)}]"
    places = min(1 - math.floor(math.log10(min(sides))), figures - 1 - math.floor(math.log10(ends)))
    value, low, high = (rf"\num{{{round(x, places) + 0.0:.{max(places, 0)}f}}}" for x in (value, low, high))  # no -0
    return f"{value} [{low}, {high}]"


Labels = Mapping[str, Mapping[Hashable, str] | Iterable[int]]
Column = str | Callable[..., str]


class Cells:
    """Cells of tables by key of the ledger; a dash where this run has no such measure.

    measures: indexed by key, with the columns value, ci_low and ci_high.

    A table has a row for each combination of its labels, {head: {key: text}}, or {head: numbers}, each its own text.
    Its columns, {head: column}, are keys of measures, with the keys of the row in place of {}, and the significant
    figures, three if not given: "audio.{}.parameters (6)", or with the interval "audio.{}.official [3]".  A column may
    also be a function that makes the cell from the keys of the row.  Texts and heads are LaTeX: "A & B" is two columns.
    """

    def __init__(self, measures: pd.DataFrame):
        self.measures = measures.reindex(columns=["value", "ci_low", "ci_high"])

    def row(self, key: str) -> pd.Series:
        """Value and interval of a key, all NaN where it was not measured."""
        return self.measures.loc[key] if key in self.measures.index else pd.Series(math.nan, self.measures.columns)

    def value(self, key: str) -> float:
        return self.row(key)["value"]

    def cell(self, column: Column, *keys: Hashable) -> str:
        """The cell of a column in the row of some keys."""
        if callable(column):
            return column(*keys)
        key, bracket, figures = re.fullmatch(r"(.+?)(?: ([(\[])(\d)[)\]])?", column).groups(default="3")
        form = with_interval if bracket == "[" else lambda row, figures: number(row["value"], figures)
        return form(self.row(key.format(*keys)), int(figures))  # a name in a key may hold spaces

    def rows(self, labels: Labels, columns: Mapping[str, Column]) -> list[dict[str, str]]:
        """The rows of a table, each its cells by head."""
        labels = {head: of if isinstance(of, Mapping) else {n: number(n) for n in of} for head, of in labels.items()}
        return [
            {head: labels[head][key] for head, key in zip(labels, keys, strict=True)}
            | {head: self.cell(column, *keys) for head, column in columns.items()}
            for keys in product(*labels.values())
        ]

    def table(self, labels: Labels, columns: Mapping[str, Column], alignment: str = "") -> str:
        """A table in LaTeX; by default texts and intervals are aligned left, numbers right."""
        if not alignment:
            sides = [("l" if isinstance(of, Mapping) else "r") * (1 + head.count(" & ")) for head, of in labels.items()]
            sides += ["l" if str(column).endswith("]") else "r" for column in columns.values()]
            alignment = f"@{{}}{''.join(sides)}@{{}}"
        return to_latex(self.rows(labels, columns), alignment, len(labels))

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
