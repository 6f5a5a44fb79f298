"""Figures of `10_audio`: each draws saved results and returns the figure (style: `plots`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from artifact.studies.audio.tasks import OFFICIAL
from artifact.studies.common.plots import GREY, PALETTE, panels

MARKERS, LINES = ("o", "s", "^", "v"), ("-", "--", "-.", ":")


def accuracy_by_speaker(scores: pd.DataFrame, splits: Sequence[str]) -> Figure:
    """Accuracy of each method on the official test and on each speaker it has never heard.

    Small marks are seeds, large ones their mean; the lines are the means over the speakers.
    """
    figure, (axes,) = panels(1, 2.7)
    places = {split: place + 0.6 * (place > 0) for place, split in enumerate(splits)}  # a gap after the official test
    for at, (method, own) in enumerate(scores.groupby("method", sort=False)):
        colour, marker = PALETTE[at], MARKERS[at]
        x = own["split"].map(places) + 0.18 * (at - 1.5)
        axes.plot(x, 100 * own["accuracy"], marker, ms=2.5, color=colour, alpha=0.6)
        means = own.groupby("split")["accuracy"].mean()
        place = np.array([places[split] for split in means.index]) + 0.18 * (at - 1.5)
        axes.plot(place, 100 * means, marker, ms=5.5, color=colour, label=method)
        over = 100 * means.drop(splits[0]).mean()
        axes.plot([places[splits[1]] - 0.4, places[splits[-1]] + 0.4], [over, over], color=colour, lw=1, ls=LINES[at])
    axes.axvline(0.8, color=GREY, lw=0.6)
    axes.set(ylabel="accuracy (%)", ylim=(None, 101), xticks=list(places.values()))
    axes.set_xticklabels(["official test", *splits[1:]])
    axes.set_xlabel("tested on the takes held out; or on a speaker held out")
    axes.xaxis.set_label_coords(0.5, -0.15)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    return figure


def ablation_accuracies(ablation: pd.DataFrame, reference: str) -> Figure:
    """Accuracy with one part changed, on the official test and on speakers held out: every run and the mean."""
    parts = dict(list(ablation.groupby(np.where(ablation["split"] == OFFICIAL, "official test", "speakers held out"))))
    figure, axes = panels(len(parts), 2.5, sharey=True)
    order = [reference, *(name for name in dict.fromkeys(ablation["method"]) if name != reference)]
    for axis, (title, part) in zip(axes, parts.items(), strict=True):
        for place, name in enumerate(reversed(order)):
            values = 100 * part.loc[part["method"] == name, "accuracy"]
            colour = PALETTE[0] if name == reference else PALETTE[1]
            axis.plot(values, np.full(len(values), place), "o", ms=3, color=colour, alpha=0.6)
            axis.plot(values.mean(), place, "|", ms=13, mew=2, color=colour)
        axis.axvline(100 * part.loc[part["method"] == reference, "accuracy"].mean(), color=GREY, lw=0.7, ls=":")
        axis.set(xlabel="accuracy (%)", title=title)
    axes[0].set(yticks=range(len(order)))
    axes[0].set_yticklabels(reversed(order))
    return figure


def confusion(answers: pd.DataFrame, method: str) -> Figure:
    """What a method answers to speakers it has never heard, all together, and how well by speaker.

    Left: share of each digit's recordings (rows) that get each answer (columns).  Right: accuracy by speaker and digit.
    """
    figure, (left, right) = panels(2, 2.8)
    own = answers[(answers["method"] == method) & (answers["split"] != OFFICIAL)]
    shares = pd.crosstab(own["digit"], own["said"], normalize="index").reindex(columns=range(10), fill_value=0.0)
    right_ones = own.assign(right=own["said"] == own["digit"])
    speakers = right_ones.pivot_table(index="speaker", columns="digit", values="right")
    for axis, table, label, least in ((left, shares, "share of answers (%)", 1), (right, speakers, "accuracy (%)", 0)):
        mesh = axis.pcolormesh(100 * table.to_numpy(), cmap="cividis", vmin=0, vmax=100, rasterized=True)
        for (row, column), value in np.ndenumerate(100 * table.to_numpy()):
            if value >= least:
                colour = "white" if value < 55 else "black"
                axis.text(column + 0.5, row + 0.5, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=5.5)
        axis.set(xticks=np.arange(table.shape[1]) + 0.5, yticks=np.arange(table.shape[0]) + 0.5)
        axis.set_xticklabels(table.columns)
        axis.set_yticklabels(table.index)
        axis.invert_yaxis()
        figure.colorbar(mesh, ax=axis, label=label)
    left.set(xlabel="answered", ylabel="spoken")
    right.set(xlabel="spoken", ylabel="")
    return figure
