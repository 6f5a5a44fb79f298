"""Figures of `12_documents`, each drawn from saved results."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from artifact.studies.common.plots import GREY, PALETTE, mean_curve, panels, plain_ticks, seeds_with_interval

LOOKS = {  # each network's colour, marker and line
    "resonance": (PALETTE[0], "o", "-"),
    "Transformer": (PALETTE[1], "s", "--"),
    "FNet": (PALETTE[2], "^", "-."),
    "bag": (PALETTE[4], "D", ":"),
}


def review_accuracy(scores: pd.DataFrame, baseline: str) -> Figure:
    """Test accuracy of each method by fold; a line at the mean of the baseline."""
    figure, (axes,) = panels(1, 2.3)
    table = scores.assign(percent=100 * scores["accuracy"])
    seeds_with_interval(axes, table, "percent", "family")
    axes.axvline(table.loc[table["family"] == baseline, "percent"].mean(), color=GREY, lw=0.9, ls="--")
    axes.set(xlabel="test accuracy (%), one point a fold", xlim=(table["percent"].min() - 2, 100))
    return figure


def passage_accuracy(scores: pd.DataFrame, baselines: pd.DataFrame) -> Figure:
    """Test accuracy against the length of the passage."""
    figure, (axes,) = panels(1, 2.8)
    table = scores.assign(percent=100 * scores["accuracy"])
    for family, look in LOOKS.items():
        if family in set(table["family"]):
            mean_curve(axes, table[table["family"] == family], "length", "percent", look, label=family)
    for (name, part), marker in zip(baselines.groupby("baseline", sort=False), ("x", "+", "1", "2"), strict=False):
        axes.plot(part["length"], 100 * part["accuracy"], color="k", marker=marker, ls="none", ms=6, label=name)
    _lengths(axes, sorted(table["length"].unique()), "passage (characters)")
    axes.set(ylabel="test accuracy (%)", ylim=(0, 102))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def document_costs(costs: pd.DataFrame) -> Figure:
    """Seconds of a training step on one document, and memory kept for the backward pass, against the length."""
    figure, axes = panels(2, 2.5)
    labels = {"seconds": "seconds a training step", "megabytes": "MB kept for the backward pass"}
    for panel, (column, label) in zip(axes, labels.items(), strict=True):
        for family, (colour, marker, line) in LOOKS.items():
            part = costs[costs["family"] == family]
            panel.plot(part["tokens"], part[column], color=colour, marker=marker, ls=line, lw=1.2, ms=4, label=family)
        panel.set_yscale("log")
        plain_ticks(panel.yaxis)
        _lengths(panel, sorted(costs["tokens"].unique()), "document (tokens)")
        panel.set_ylabel(label)
    axes[1].legend(loc="lower right")
    return figure


def _lengths(axes, lengths: list[int], label: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [f"{n // 1024}K" if n % 1024 == 0 else str(n) for n in lengths])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)
