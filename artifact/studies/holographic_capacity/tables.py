"""Table of the report on `02_holographic_capacity`: the error of every storage scheme at the printed dimensions."""

from __future__ import annotations

import pandas as pd

from artifact.studies.common.latex import Cells, number, to_latex
from artifact.studies.holographic_capacity.capacity import PRINTED, SCHEMES


def tables(measures: pd.DataFrame) -> dict[str, str]:
    cells, dims = Cells(measures), PRINTED["dim"].tolist()
    heads = [rf"${dim},\;{n}$" for dim, n in zip(dims, PRINTED["n"], strict=True)]

    def row(name: str, errors: list[str], reals: str = "--") -> dict[str, str]:
        named = {"Scheme, at $D,\\;N$": name} | dict(zip(heads, errors, strict=True))
        return named | {f"Reals$/D^2$, $D={dims[-1]}$": reals}

    printed = [row("Printed", [rf"\printednum{{{error}}}" for error in PRINTED["error"]])]
    for name, key in (("Least error in the printed bits", "best"), ("Least error in one complex64 trace", "trace")):
        printed.append(row(name, [cells.number(f"capacity.printed.{dim}.{key}") for dim in dims]))
    schemes = [
        row(
            name[0].upper() + name[1:],
            [cells.number(f"capacity.{key}.{dim}.error", 2) for dim in dims],
            number(cells.value(f"capacity.{key}.{dims[-1]}.reals") / dims[-1] ** 2, 2),
        )
        for name, key in SCHEMES.items()
    ]
    columns = "@{}lrrrr@{}"
    return {"capacity": to_latex(printed + schemes, columns) if to_latex(schemes, columns) else ""}
