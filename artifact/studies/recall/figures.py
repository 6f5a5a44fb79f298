"""Figures of `16_recall`: each draws saved results and returns the figure (style: `plots`)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, ScalarFormatter

from artifact.studies.common.plots import GREY, PALETTE, panels
from artifact.studies.common.statistics import mean_interval

LOOKS = {  # of an arm
    "resonance": (PALETTE[7], "v", ":"),
    "resonance, plain sum": (PALETTE[1], "s", "--"),
    "resonance, delta rule": (PALETTE[0], "o", "-"),
    "attention": (PALETTE[2], "^", "-."),
}
SIZES = ((PALETTE[3], "o", "-"), (PALETTE[1], "s", "--"), (PALETTE[0], "^", "-."), (PALETTE[4], "D", ":"))


def capacity(curves: pd.DataFrame, trained: pd.DataFrame) -> Figure:
    """Accuracy against pairs, a panel a rule, a colour a state size: theory, holograms alone, trained networks.

    Lines: theory for random references.  Filled marks: random pairs recorded and read.  Open marks: trained networks,
    the mean over seeds and its interval.
    """
    rules = list(dict.fromkeys(curves["rule"]))
    figure, axes = panels(len(rules), 2.9, sharey=True)
    for panel, rule in zip(axes, rules, strict=True):
        for (size, part), (colour, marker, line) in zip(
            curves[curves["rule"] == rule].groupby("features"), SIZES, strict=False
        ):
            panel.plot(part["pairs"], 100 * part["predicted"], color=colour, ls=line, lw=1.2)
            panel.plot(part["pairs"], 100 * part["measured"], marker, color=colour, ms=3.5)
            own = trained[(trained["rule"] == rule) & (trained["features"] == size)]
            for pairs, values in own.groupby("pairs")["accuracy"]:
                mean, low, high = mean_interval(100 * values)
                panel.plot(pairs, mean, marker, mfc="none", mec=colour, ms=7)
                if np.isfinite(low):
                    panel.plot([pairs, pairs], [max(low, 0), min(high, 100)], color=colour, lw=0.8)
        _pairs_axis(panel, sorted(curves["pairs"].unique()))
        panel.set(title=rule, ylim=(-2, 104))
    axes[0].set_ylabel("pairs recalled right (%)")
    sizes = sorted(curves["features"].unique())
    handles = [
        Line2D([], [], color=colour, marker=marker, ls=line, ms=3.5, label=f"F = {size}")
        for size, (colour, marker, line) in zip(sizes, SIZES, strict=False)
    ]
    handles += [
        Line2D([], [], color=GREY, lw=1.2, label="theory"),
        Line2D([], [], color=GREY, marker="o", ls="none", ms=3.5, label="hologram alone"),
        Line2D([], [], color=GREY, marker="o", ls="none", ms=7, mfc="none", label="trained network"),
    ]
    axes[0].legend(handles=handles, loc="lower left")
    return figure


def _pairs_axis(panel, pairs: list[int]) -> None:
    panel.set_xscale("log", base=2)
    panel.set_xticks(pairs)
    panel.xaxis.set_major_formatter(ScalarFormatter())
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel("pairs in the hologram")


def arm_accuracy(runs: pd.DataFrame, marks: dict[str, float]) -> Figure:
    """Test accuracy of every arm, a panel a task and width: runs, their mean, and where they stood untrained (crosses).

    Dashed: the mark that was set for recall.
    """
    groups = list(runs.groupby(["task", "dim"], sort=False))
    figure, axes = panels(len(groups), 2.2, sharey=True)
    order = list(dict.fromkeys(runs["arm"]))[::-1]
    for panel, ((task, dim), part) in zip(axes, groups, strict=True):
        for place, arm in enumerate(order):
            own, (colour, marker, _) = part[part["arm"] == arm], LOOKS[arm]
            panel.plot(100 * own["start"], np.full(len(own), place), "x", color=GREY, ms=4)
            panel.plot(100 * own["accuracy"], np.full(len(own), place), marker, color=colour, ms=4, alpha=0.7)
            panel.plot(100 * own["accuracy"].mean(), place, "|", color=colour, ms=12, mew=1.6)
        if task in marks:
            panel.axvline(100 * marks[task], color=GREY, lw=0.8, ls="--")
        panel.set(title=f"{task}\nd = {dim}", xlim=(-4, 104), ylim=(-0.6, len(order) - 0.4), xticks=[0, 50, 100])
        panel.set_xlabel("test accuracy (%)")
    axes[0].set(yticks=range(len(order)))
    axes[0].set_yticklabels(order)
    return figure
