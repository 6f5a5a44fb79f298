"""Figures of `12_documents`: each draws saved results and returns the figure (style: `plots`)."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from artifact.studies.common.plots import GREY, PALETTE, panels, student_interval

LOOKS = {
    "resonance": (PALETTE[0], "o", "-"),
    "Transformer": (PALETTE[1], "s", "--"),
    "FNet": (PALETTE[2], "^", "-."),
    "bag": (PALETTE[4], "D", ":"),
}


def review_accuracy(scores: pd.DataFrame, bar: str) -> Figure:
    """Test accuracy of each method on every fold, the mean and its interval over folds; a line at the bar's mean."""
    figure, (axes,) = panels(1, 2.3)
    order = list(dict.fromkeys(scores["family"]))
    points = scores.assign(percent=100 * scores["accuracy"])
    sns.stripplot(
        points, x="percent", y="family", order=order, color=PALETTE[0], size=4, alpha=0.5, jitter=0.12, ax=axes
    )
    sns.pointplot(
        points,
        x="percent",
        y="family",
        order=order,
        errorbar=student_interval,
        color="k",
        markers="|",
        linestyle="none",
        markersize=11,
        err_kws={"linewidth": 1.3},
        ax=axes,
    )
    axes.axvline(points.loc[points["family"] == bar, "percent"].mean(), color=GREY, lw=0.9, ls="--")
    lowest = points["percent"].min()
    axes.set(xlabel="test accuracy (%), one point a fold", ylabel="", xlim=(lowest - 2, 100))
    return figure


def passage_accuracy(scores: pd.DataFrame, bars: pd.DataFrame) -> Figure:
    """Test accuracy against the length of the passage; bands: Student intervals over seeds, cut at 100%."""
    figure, (axes,) = panels(1, 2.8)
    table = scores.assign(percent=100 * scores["accuracy"])
    for family, (colour, marker, line) in LOOKS.items():
        part = table[table["family"] == family].groupby("length")["percent"]
        if len(part):
            mean = part.mean()
            band = pd.DataFrame([student_interval(values) for _, values in part], index=mean.index).clip(upper=100)
            axes.plot(mean.index, mean, color=colour, marker=marker, ls=line, lw=1.2, ms=4, label=family)
            axes.fill_between(mean.index, band[0], band[1], color=colour, alpha=0.15, lw=0)
    for (name, part), marker in zip(bars.groupby("bar", sort=False), ("x", "+", "1", "2"), strict=False):
        axes.plot(part["length"], 100 * part["accuracy"], color="k", marker=marker, ls="none", ms=6, label=name)
    _lengths(axes, sorted(table["length"].unique()), "passage (characters)")
    axes.set(ylabel="test accuracy (%)", ylim=(0, 102))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def document_costs(costs: pd.DataFrame) -> Figure:
    """Seconds of a training step on one document, and what it keeps for the backward pass, against the length."""
    figure, axes = panels(2, 2.5)
    for panel, column, label in zip(
        axes, ("seconds", "megabytes"), ("seconds a training step", "MB kept for the backward pass"), strict=True
    ):
        for family, (colour, marker, line) in LOOKS.items():
            part = costs[costs["family"] == family]
            panel.plot(part["tokens"], part[column], color=colour, marker=marker, ls=line, lw=1.2, ms=4, label=family)
        panel.set_yscale("log")
        panel.yaxis.set_minor_formatter(NullFormatter())
        _lengths(panel, sorted(costs["tokens"].unique()), "document (tokens)")
        panel.set_ylabel(label)
    axes[1].legend(loc="lower right")
    return figure


def _lengths(axes, lengths: list[int], label: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [f"{n // 1024}K" if n % 1024 == 0 else str(n) for n in lengths])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)
