"""Figures of `18_scaling_out`, drawn from saved results."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from artifact.studies.common.plots import GREY, PALETTE, panels
from artifact.studies.scaling_out.theory import WAYS, reduce_seconds

ATTENTION = {  # by method
    "ring attention": (PALETTE[3], "--"),
    "all-gather attention": (PALETTE[1], "-."),
    "all-to-all attention": (PALETTE[4], ":"),
}
LOOKS = dict(zip(WAYS, ((PALETTE[0], "o", "-"), (PALETTE[1], "s", "--"), (PALETTE[2], "^", "-.")), strict=True))


def wire(measured: pd.DataFrame, attention: pd.DataFrame) -> Figure:
    """Bytes that a rank sends for a layer, forward and backward, against n: measured, and attention's by formula."""
    figure, (axes,) = panels(1, 2.8)
    for method, (colour, line) in ATTENTION.items():
        own = attention[attention["method"] == method].groupby("n")["bytes"].sum()
        axes.plot(own.index, own, color=colour, ls=line, lw=1.2, label=f"{method}, by formula")
    own = measured[(measured["model"] == "LongContextResonanceNet") & (measured["direction"] != "weights")]
    sums = own.groupby("n")[["bytes", "formula"]].sum()
    axes.plot(sums.index, sums["formula"], color=GREY, lw=1.0, label="bands, by formula")
    axes.plot(sums.index, sums["bytes"], "o", color=PALETTE[0], ms=5, label="bands, counted at the interface")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set(xlabel="tokens of the sequence", ylabel="bytes that a rank sends\nfor a layer, both directions")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    return figure


def reduces(table: pd.DataFrame, terms: pd.DataFrame) -> Figure:
    """Seconds of an all-reduce against its bytes: the rounds, and the model with the median terms."""
    figure, (axes,) = panels(1, 2.6)
    a, b = terms["a"].median(), terms["b"].median()
    for (ranks, own), colour, marker in zip(table.groupby("ranks"), PALETTE, "os^D", strict=False):
        sizes = np.geomspace(own["bytes"].min(), own["bytes"].max(), 60)
        axes.plot(
            own["bytes"], 1e3 * own["seconds"], marker, color=colour, ms=3.5, mew=0, alpha=0.6, label=f"{ranks} ranks"
        )
        axes.plot(sizes, 1e3 * np.array([reduce_seconds(size, ranks, a, b) for size in sizes]), color=colour, lw=1.2)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set(xlabel="bytes of an all-reduce", ylabel="ms")
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside right center",
        title="points: rounds\nlines: model",
        title_fontsize=7.5,
    )
    return figure


def ranks(model: pd.DataFrame) -> Figure:
    """Seconds of a step by the model against the number of ranks: compute alone, and whole steps by way of exchange."""
    figure, (axes,) = panels(1, 2.8)
    alone = model[(model["part"] == "compute") & (model["way"] == next(iter(WAYS)))]
    axes.plot(alone["ranks"], alone["seconds"], color=GREY, ls=":", lw=1.4, label="compute alone")
    for way, (colour, marker, line) in LOOKS.items():
        own = model[(model["part"] == "step") & (model["way"] == way)]
        axes.plot(own["ranks"], own["seconds"], marker, ls=line, color=colour, ms=3.5, lw=1.2, label=way)
        axes.fill_between(own["ranks"], own["low"], own["high"], color=colour, alpha=0.15, lw=0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="ranks", ylabel="seconds of a training step (model)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    return figure
