"""Figures of `13_language`, each drawn from saved results."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from artifact.studies.common.plots import (
    GREY,
    PALETTE,
    WIDTH,
    mean_curve,
    panels,
    plain_ticks,
    seeds_with_interval,
    use_style,
)
from artifact.studies.language.study import FAMILIES, RESONANCE

LOOKS = dict(zip(FAMILIES, ((PALETTE[0], "o", "-"), (PALETTE[1], "s", "--")), strict=True))
SCALES = {
    "seconds": ("seconds", 1.0),
    "tokens": ("characters (millions)", 1e-6),
    "operations": ("operations (tera)", 1e-12),
}


def curves(table: pd.DataFrame, target: float) -> Figure:
    """Validation loss against seconds, characters and operations, a row a context: means and intervals over seeds."""
    use_style()
    contexts = sorted(table["context"].unique())
    size = (WIDTH, 0.5 + 2.0 * len(contexts))
    figure, axes = plt.subplots(len(contexts), len(SCALES), figsize=size, squeeze=False, sharey=True)
    for row, context in zip(axes, contexts, strict=True):
        for axis, (column, (label, scale)) in zip(row, SCALES.items(), strict=True):
            for family, look in LOOKS.items():
                own = table[(table["context"] == context) & (table["family"] == family)]
                mean = scale * own.groupby("share")[column].transform("mean")  # over seeds
                mean_curve(axis, own.assign(x=mean), "x", "validation", look, label=family)
            axis.axhline(target, color=GREY, lw=0.8, ls=":")
            axis.set(xlabel=label, xscale="log")
            plain_ticks(axis.xaxis)
        row[0].set_ylabel(f"context {context}\nnats a character")
    axes[0, 0].legend(loc="upper right")
    return figure


def finals(table: pd.DataFrame, target: float) -> Figure:
    """Loss on the report part at equal seconds and at equal tokens, by context: seeds, means and intervals."""
    budgets = list(dict.fromkeys(table["budget"]))
    figure, axes = panels(len(budgets), 2.3, sharey=True)
    for axis, budget in zip(axes, budgets, strict=True):
        own, order = table[table["budget"] == budget], sorted(table["context"].unique())
        seeds_with_interval(axis, own, "loss", "context", group="family", looks=LOOKS, order=order, vertical=True)
        axis.axhline(target, color=GREY, lw=0.8, ls=":")
        axis.set(xlabel="context", title=f"equal {budget}")
    axes[0].set_ylabel("nats a character")
    axes[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def controlled(table: pd.DataFrame) -> Figure:
    """Loss of the variants and the relatives, each at its own rate: at equal steps, and at equal seconds.

    Seeds, means and Student intervals; dotted: the whole model.
    """
    budgets = {"tokens": "equal steps", "seconds": "equal seconds"}
    figure, axes = panels(len(budgets), 0.7 + 0.24 * table["family"].nunique(), sharey=True)
    named = table.assign(name=table["family"].replace(RESONANCE, "whole model"))
    for axis, (budget, title) in zip(axes, budgets.items(), strict=True):
        own = named[named["budget"] == budget]
        seeds_with_interval(axis, own, "loss", "name")
        axis.axvline(own.loc[own["family"] == RESONANCE, "loss"].mean(), color=GREY, lw=0.8, ls=":")
        axis.set(xlabel="nats a character", title=title)
    return figure


def generation(table: pd.DataFrame) -> Figure:
    """Milliseconds of one character, and kilobytes of the state or cache, against the context before it."""
    figure, axes = panels(2, 2.5)
    for axis, column, scale, label in zip(
        axes, ("seconds", "bytes"), (1e3, 1e-3), ("one character (ms)", "state or cache (kB)"), strict=True
    ):
        for family, look in LOOKS.items():
            own = table[table["family"] == family]
            mean_curve(axis, own.assign(y=scale * own[column]), "context", "y", look, label=family, ms=4)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_yscale("log")
        plain_ticks(axis.yaxis)
        axis.set(xlabel="characters before", ylabel=label)
    axes[0].legend(loc="upper left")
    return figure
