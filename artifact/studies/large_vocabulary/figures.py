"""Figures of `07_large_vocabulary`, each drawn from saved results."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from artifact.studies.common.plots import GREY, PALETTE, panels, plain_ticks, seeds_with_interval


def nearest_cosines(nearest: pd.DataFrame, chance: float) -> Figure:
    """Histogram of the cosine of each sampled row with its nearest, among all rows: waves multiplied, waves added."""
    figure, (axes,) = panels(1, 2.5)
    bins = np.linspace(0, 1, 81)
    styles = zip(nearest.groupby("rows", sort=False), PALETTE, ("-", "--"), strict=False)
    for (name, group), colour, line in styles:
        share = {"bins": bins, "weights": np.full(len(group), 100 / len(group)), "color": colour}
        axes.hist(group["cosine"], **share, alpha=0.35)
        axes.hist(group["cosine"], **share, histtype="step", ls=line, label=name)
    axes.axvline(chance, color=GREY, lw=1, ls=":", label="random directions, mean")
    axes.set(xlabel="cosine with the nearest of all other rows", ylabel="share of sampled rows (%)", xlim=(0, 1))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def perplexities(scores: pd.DataFrame, dataset: str) -> Figure:
    """Test perplexity of each embedding by seed, for words and for pairs of words."""
    tasks = dict(list(scores.groupby("task", sort=False)))
    figure, (axes,) = panels(1, 3.4)
    axes.remove()
    rows = [part["embedding"].nunique() for part in tasks.values()]
    grid = figure.subplots(len(tasks), 1, height_ratios=rows, squeeze=False)[:, 0]
    for axis, (task, part) in zip(grid, tasks.items(), strict=True):
        seeds_with_interval(axis, part, "perplexity", "embedding")
        axis.set_title(f"{task}, {dataset}")
        full = part.loc[part["embedding"] == "full table", "perplexity"]
        if len(full):
            axis.axvline(1.05 * full.mean(), color=GREY, lw=0.9, ls="--", label="full table plus 5%")
            axis.legend(loc="best")
    axis.set_xlabel("test perplexity (next word)")
    return figure


def seconds(lookups: pd.DataFrame, heads: pd.DataFrame) -> Figure:
    """Time of a lookup of a batch of ids, and of a training step of each output layer."""
    figure, (left, right) = panels(2, 2.6)
    ids = lookups["ids"].map({"even": "uniform ids", "like words": "ids like words"})
    lookups = lookups.assign(ms=1e3 * lookups["seconds"], case=ids + ",\n" + lookups["pass"])
    sns.barplot(
        lookups, x="ms", y="case", hue="embedding", palette=PALETTE[:2], estimator="median", errorbar=None, ax=left
    )
    for container, hatch in zip(left.containers, ("//", ""), strict=False):
        for bar in container:
            bar.set(hatch=hatch, edgecolor="white", linewidth=0)
    left.set(xlabel="time of a lookup (ms)", ylabel="")
    left.legend(title="", loc="best")
    markers = {"hierarchical": "o", "adaptive softmax": "s", "full softmax": "^"}
    for (name, group), colour in zip(heads.groupby("head", sort=False), PALETTE, strict=False):
        right.plot(group["vocab"], 1e3 * group["seconds"], marker=markers[name], ms=4, lw=1.1, color=colour, label=name)
    right.set(xlabel="vocabulary (ids)", ylabel="time of a training step (ms)", xscale="log", yscale="log")
    sizes = sorted(heads["vocab"].unique())
    right.set_xticks(sizes, [f"{size / 1000:g}k" for size in sizes], minor=False)
    right.xaxis.set_minor_formatter("")
    plain_ticks(right.yaxis)
    right.legend(loc="best")
    return figure
