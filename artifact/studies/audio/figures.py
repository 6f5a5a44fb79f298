"""Figures of `10_audio`, each drawn from saved results."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from artifact.studies.audio.tasks import AUGMENTED, CONV, NORMALISED, OFFICIAL, REGRESSION, RESONANCE, TRANSFORMER
from artifact.studies.common.plots import GREY, PALETTE, panels, seeds_with_interval

LOOKS = {  # each method's colour, marker and line
    RESONANCE: (PALETTE[0], "o", "-"),
    TRANSFORMER: (PALETTE[1], "s", "--"),
    CONV: (PALETTE[4], "D", (0, (4, 1, 1, 1, 1, 1))),
    REGRESSION: (PALETTE[2], "^", "-."),
    NORMALISED: (PALETTE[3], "v", ":"),
    AUGMENTED[REGRESSION]: (PALETTE[5], "<", (0, (5, 2))),
    AUGMENTED[NORMALISED]: (PALETTE[7], ">", (0, (1, 2))),
}


def accuracy_by_speaker(scores: pd.DataFrame, splits: Sequence[str]) -> Figure:
    """Accuracy of each method by seed, on the official test and each held-out speaker; lines: means over speakers."""
    figure, (axes,) = panels(1, 2.9)
    table = scores.assign(percent=100 * scores["accuracy"])
    looks = {method: look for method, look in LOOKS.items() if method in set(table["method"])}
    seeds_with_interval(axes, table, "percent", "split", group="method", looks=looks, order=splits, vertical=True)
    by_speaker = table[table["split"] != splits[0]].groupby(["method", "split"])["percent"].mean()
    for method, (colour, _, line) in looks.items():
        axes.plot([0.55, len(splits) - 0.5], [by_speaker[method].mean()] * 2, color=colour, lw=1, ls=line)
    axes.axvline(0.5, color=GREY, lw=0.6)
    axes.set(ylabel="accuracy (%)", ylim=(None, 103), xlabel="held-out takes, or held-out speaker")
    axes.set_xticks(range(len(splits)), ["official test", *splits[1:]])
    options = {"ncols": 3, "columnspacing": 1.0, "handletextpad": 0.3}
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", **options)
    return figure


def ablation_accuracies(ablation: pd.DataFrame, reference: str) -> Figure:
    """Accuracy by seed with one part changed, on the official test and on held-out speakers."""
    table = ablation.assign(
        percent=100 * ablation["accuracy"],
        panel=np.where(ablation["split"] == OFFICIAL, "official test", "held-out speakers"),
    )
    parts = dict(list(table.groupby("panel", sort=False)))
    figure, axes = panels(len(parts), 2.5, sharey=True)
    order = [reference, *(name for name in dict.fromkeys(table["method"]) if name != reference)]
    for axis, (title, part) in zip(axes, parts.items(), strict=True):
        seeds_with_interval(axis, part, "percent", "method", order=order)
        axis.axvline(part.loc[part["method"] == reference, "percent"].mean(), color=GREY, lw=0.7, ls=":")
        axis.set(xlabel="accuracy (%)", title=title)
    return figure


def confusion(predictions: pd.DataFrame, method: str) -> Figure:
    """Confusion of a method on all held-out speakers together, and its accuracy by speaker.

    Left: share of each digit's recordings (rows) with each prediction (columns).  Right: by speaker and digit.
    """
    figure, (left, right) = panels(2, 2.8)
    own = predictions[(predictions["method"] == method) & (predictions["split"] != OFFICIAL)]
    shares = pd.crosstab(own["digit"], own["prediction"], normalize="index").reindex(columns=range(10), fill_value=0.0)
    scored = own.assign(correct=own["prediction"] == own["digit"])
    speakers = scored.pivot_table(index="speaker", columns="digit", values="correct")
    _matrix(left, 100 * shares, least=1)
    _matrix(right, 100 * speakers)
    left.set(xlabel="predicted", ylabel="spoken", title="share of each row (%)")
    right.set(xlabel="spoken", ylabel="", title="accuracy (%)")
    return figure


def environment(predictions: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Environmental sounds.  Left: accuracy of each method, a point a fold.  Right: confusion of ours, all folds."""
    figure, (left, right) = panels(2, 3.2, width_ratios=[1, 1.6])
    right_ones = predictions["prediction"] == predictions["label"]
    percent = 100 * right_ones.groupby([predictions["method"], predictions["fold"]]).mean()
    table, order = percent.reset_index(name="percent"), [name for name in LOOKS if name in set(predictions["method"])]
    seeds_with_interval(left, table, "percent", "method", group="method", looks=LOOKS, order=order)
    left.set_yticklabels([textwrap.fill(name, 28, break_on_hyphens=False) for name in order])
    left.set(xlabel="accuracy, fold held out (%)")
    own = predictions[predictions["method"] == RESONANCE]
    shares = pd.crosstab(own["label"], own["prediction"], normalize="index").reindex(columns=range(len(names)))
    _matrix(right, 100 * shares.fillna(0.0).set_axis(list(names), axis=0), least=1)
    right.set_xticks(right.get_xticks(), names, rotation=90)
    right.set(xlabel="predicted", ylabel="", title=f"{RESONANCE}, share of each row (%)")
    return figure


def _matrix(axis: Axes, table: pd.DataFrame, *, least: float = 0.0) -> None:
    """Draw percentages as coloured cells with their numbers, those below `least` without."""
    axis.pcolormesh(table.to_numpy(), cmap="cividis", vmin=0, vmax=100, rasterized=True)
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        if value >= least:
            colour = "white" if value < 55 else "black"
            axis.text(column + 0.5, row + 0.5, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=7)
    axis.set_xticks(np.arange(table.shape[1]) + 0.5, table.columns)
    axis.set_yticks(np.arange(table.shape[0]) + 0.5, table.index)
    axis.invert_yaxis()
