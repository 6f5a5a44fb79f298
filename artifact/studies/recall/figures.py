"""Figures of `16_recall`, each drawn from saved results."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from artifact.studies.common.plots import GREY, PALETTE, panels, seeds_with_interval
from artifact.studies.common.statistics import share_interval

LOOKS = {  # by kind of network
    "resonance": (PALETTE[7], "v", ":"),
    "resonance, plain sum": (PALETTE[1], "s", "--"),
    "resonance, delta rule": (PALETTE[0], "o", "-"),
    "attention": (PALETTE[2], "^", "-."),
}
RELATIVES = {
    "Mamba-2": (PALETTE[3], "P", (0, (3, 1, 1, 1))),
    "GLA": (PALETTE[4], "X", (0, (5, 1))),
    "gated DeltaNet": (PALETTE[5], "D", "-."),
    "S4D": ("k", "<", ""),
    "LRU": (PALETTE[9], ">", ""),
}
SIZES = ((PALETTE[3], "o", "-"), (PALETTE[1], "s", "--"), (PALETTE[0], "^", "-."), (PALETTE[4], "D", ":"))


def capacity(curves: pd.DataFrame, trained: pd.DataFrame) -> Figure:
    """Accuracy against pairs, a panel a rule, a colour a state size: theory, holograms alone, trained networks.

    Lines: theory for random references.  Filled markers: random pairs recorded and read.  Open markers: trained
    networks, the mean over seeds and its interval.
    """
    rules = list(dict.fromkeys(curves["rule"]))
    looks = dict(zip(sorted(curves["features"].unique()), SIZES, strict=False))
    figure, axes = panels(len(rules), 3.1, sharey=True)
    for panel, rule in zip(axes, rules, strict=True):
        for size, (colour, marker, line) in looks.items():
            part = curves[(curves["rule"] == rule) & (curves["features"] == size)]
            panel.plot(part["pairs"], 100 * part["predicted"], color=colour, ls=line, lw=1.2)
            panel.plot(part["pairs"], 100 * part["measured"], marker, color=colour, ms=3.5)
            own = trained[(trained["rule"] == rule) & (trained["features"] == size)]
            for pairs, values in own.groupby("pairs")["accuracy"]:
                mean, low, high = share_interval(100 * values, 100)
                panel.plot(pairs, mean, marker, mfc="none", mec=colour, ms=7)
                panel.plot([pairs, pairs], [low, high], color=colour, lw=0.8)
        panel.set_xscale("log", base=2)
        panel.set_xticks(sorted(curves["pairs"].unique()))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("")
        panel.set(title=rule, ylim=(-2, 104), xlabel="pairs in the hologram")
    axes[0].set_ylabel("pairs recalled correctly (%)")
    lines = [(f"$F$ = {size}", {"color": c, "marker": m, "ls": ls, "ms": 3.5}) for size, (c, m, ls) in looks.items()]
    lines += [
        ("theory", {"color": GREY, "lw": 1.2}),
        ("hologram alone", {"color": GREY, "marker": "o", "ls": "none", "ms": 3.5}),
        ("trained network", {"color": GREY, "marker": "o", "ls": "none", "ms": 7, "mfc": "none"}),
    ]
    handles = [Line2D([], [], label=label, **style) for label, style in lines]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def accuracy(runs: pd.DataFrame, targets: dict[str, float]) -> Figure:
    """Test accuracy of every kind of network, a panel a task and width: seeds, mean, interval; crosses: untrained.

    Dashed: the target that was set for recall.
    """
    groups = list(runs.groupby(["task", "dim"], sort=False))
    figure, axes = panels(len(groups), 2.2, sharey=True)
    kinds = list(dict.fromkeys(runs["kind"]))
    for panel, ((task, dim), part) in zip(axes, groups, strict=True):
        part = part.assign(percent=100 * part["accuracy"])
        panel.plot(100 * part["start"], part["kind"].map(kinds.index), "x", color=GREY, ms=4)
        seeds_with_interval(panel, part, "percent", "kind", group="kind", looks=LOOKS, order=kinds)
        if task in targets:
            panel.axvline(100 * targets[task], color=GREY, lw=0.8, ls="--")
        panel.set(title=f"{task}\nd = {dim}", xlim=(-4, 104), xticks=[0, 50, 100], xlabel="test accuracy (%)")
    return figure


def by_state(runs: pd.DataFrame) -> Figure:
    """Test accuracy against the reals of state of the whole network: seeds, mean and interval, a look a kind."""
    figure, (axes,) = panels(1, 3.0)
    for kind, (colour, marker, line) in (LOOKS | RELATIVES).items():
        own = runs[runs["kind"] == kind]
        if own.empty:
            continue
        axes.plot(own["state"], 100 * own["accuracy"], marker, color=colour, ms=3, alpha=0.4, mew=0)
        points = [(state, *share_interval(100 * values, 100)) for state, values in own.groupby("state")["accuracy"]]
        state, mean, low, high = zip(*points, strict=True)
        axes.plot(state, mean, color=colour, marker=marker, ls=line, ms=5, lw=1.2, label=kind)
        axes.vlines(state, low, high, color=colour, lw=1.0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="state of the network (reals)", ylabel="queries answered correctly (%)", ylim=(-3, 103))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
