"""Table of the report on `02_holographic_capacity`: the error of every storage scheme at the printed dimensions."""

from __future__ import annotations

from artifact.studies.common.latex import MISSING, Cells, number, to_latex
from artifact.studies.holographic_capacity.capacity import PRINTED, SCHEMES


def tables(cells: Cells) -> dict[str, str]:
    heads = {dim: rf"${dim},\;{n}$" for dim, n in zip(PRINTED["dim"], PRINTED["n"], strict=True)}
    first, last, widest = "Scheme, at $D,\\;N$", f"Reals$/D^2$, $D={max(heads)}$", max(heads)
    printed = {head: rf"\printednum{{{error}}}" for head, error in zip(heads.values(), PRINTED["error"], strict=True)}
    least = cells.rows(
        {first: {"best": "Least error in the printed bits", "trace": "Least error in one complex64 trace"}},
        {head: f"capacity.printed.{dim}.{{}}" for dim, head in heads.items()} | {last: lambda key: MISSING},
    )
    schemes = cells.rows(
        {first: {key: name[0].upper() + name[1:] for name, key in SCHEMES.items()}},
        {head: f"capacity.{{}}.{dim}.error (2)" for dim, head in heads.items()}
        | {last: lambda key: number(cells.value(f"capacity.{key}.{widest}.reals") / widest**2, 2)},
    )
    columns = "@{}lrrrr@{}"
    rows = [{first: "Printed", **printed, last: MISSING}, *least, *schemes]
    return {"capacity": to_latex(rows, columns) if to_latex(schemes, columns) else ""}
