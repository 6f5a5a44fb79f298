"""Figures of `13_language`: each draws saved results and returns the figure (style: `plots`)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from artifact.studies.common.plots import GREY, PALETTE, WIDTH, panels, use_style
from artifact.studies.common.statistics import mean_interval
from artifact.studies.language.study import FAMILIES, RESONANCE

COLOURS = dict(zip(FAMILIES, (PALETTE[0], PALETTE[1]), strict=True))
MARKERS = dict(zip(FAMILIES, ("o", "s"), strict=True))
LINES = dict(zip(FAMILIES, ("-", "--"), strict=True))
SCALES = {
    "seconds": ("seconds", 1.0),
    "tokens": ("characters (millions)", 1e-6),
    "operations": ("operations (tera)", 1e-12),
}


def curves(table: pd.DataFrame, aim: float) -> Figure:
    """Validation loss against seconds, characters and operations, a row a context: means, bands over all seeds."""
    use_style()
    contexts = sorted(table["context"].unique())
    size = (WIDTH, 0.5 + 2.0 * len(contexts))
    figure, axes = plt.subplots(len(contexts), len(SCALES), figsize=size, squeeze=False, sharey=True)
    for row, context in zip(axes, contexts, strict=True):
        for axis, (column, (label, scale)) in zip(row, SCALES.items(), strict=True):
            for family in FAMILIES:
                own = table[(table["context"] == context) & (table["family"] == family)].groupby("mark")
                x, loss = scale * own[column].mean(), own["validation"]
                style = {"color": COLOURS[family], "ls": LINES[family], "marker": MARKERS[family], "ms": 3, "lw": 1.2}
                axis.plot(x, loss.mean(), label=family, **style)
                axis.fill_between(x, loss.min(), loss.max(), color=COLOURS[family], alpha=0.25, lw=0)
            axis.axhline(aim, color=GREY, lw=0.8, ls=":")
            axis.set_xlabel(label)
            axis.set_xscale("log")
        row[0].set_ylabel(f"context {context}\nnats a character")
    axes[0, 0].legend(loc="upper right")
    return figure


def finals(table: pd.DataFrame, aim: float) -> Figure:
    """Loss on the report part at equal seconds and at equal tokens, by context: seeds, means and intervals."""
    budgets = list(dict.fromkeys(table["budget"]))
    figure, axes = panels(len(budgets), 2.3, sharey=True)
    contexts = sorted(table["context"].unique())
    for axis, budget in zip(axes, budgets, strict=True):
        for offset, family in zip((-0.12, 0.12), FAMILIES, strict=True):
            for place, context in enumerate(contexts):
                chosen = (table["budget"] == budget) & (table["family"] == family) & (table["context"] == context)
                losses, at = table.loc[chosen, "loss"], place + offset
                axis.plot(np.full(len(losses), at), losses, MARKERS[family], ms=3, color=COLOURS[family], alpha=0.5)
                mean, low, high = mean_interval(losses)
                error = None if np.isnan(low) else [[mean - low], [high - mean]]
                label = family if place == 0 else None
                axis.errorbar(
                    at + 0.05, mean, error, fmt=MARKERS[family], ms=5, color=COLOURS[family], capsize=2, label=label
                )
        axis.axhline(aim, color=GREY, lw=0.8, ls=":")
        axis.set(
            xticks=range(len(contexts)), xlim=(-0.5, len(contexts) - 0.5), xlabel="context", title=f"equal {budget}"
        )
        axis.set_xticklabels(contexts)
    axes[0].set_ylabel("nats a character")
    axes[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def ablations(table: pd.DataFrame) -> Figure:
    """Loss with one part changed, one seed a mark, the same seconds for all; the line is the whole model."""
    figure, (axis,) = panels(1, 0.6 + 0.24 * table["family"].nunique())
    order = list(dict.fromkeys(table["family"]))
    for place, name in enumerate(reversed(order)):
        losses, colour = table.loc[table["family"] == name, "loss"], COLOURS.get(name, PALETTE[1])
        axis.plot(losses, np.full(len(losses), place), MARKERS.get(name, "s"), ms=4, color=colour)
    axis.axvline(table.loc[table["family"] == RESONANCE, "loss"].mean(), color=GREY, lw=0.8, ls=":")
    axis.set(xlabel="nats a character", yticks=range(len(order)), ylim=(-0.6, len(order) - 0.4))
    axis.set_yticklabels("whole model" if name == RESONANCE else name for name in reversed(order))
    return figure


def generation(table: pd.DataFrame) -> Figure:
    """Milliseconds of one character, and kilobytes kept for it, against the context that came before."""
    figure, axes = panels(2, 2.5)
    for axis, column, scale, label in zip(
        axes, ("seconds", "bytes"), (1e3, 1e-3), ("one character (ms)", "state or cache (kB)"), strict=True
    ):
        for family in FAMILIES:
            own = table[table["family"] == family]
            style = {"color": COLOURS[family], "ls": LINES[family], "marker": MARKERS[family], "ms": 4, "lw": 1.2}
            axis.plot(own["context"], scale * own[column], label=family, **style)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        for ticks in (axis.xaxis, axis.yaxis):
            ticks.set_major_formatter("{x:g}")
        axis.set(xlabel="characters before", ylabel=label)
    axes[0].legend(loc="upper left")
    return figure
