"""Figures of `11_multimodal`: each draws saved results and returns the figure (style: `plots`)."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from torch import Tensor

from artifact.studies.common.plots import GREY, PALETTE, WIDTH, panels, student_interval, use_style
from resonance.audio import SpectrumFrames

MODELS = {"resonance": "cross-modal resonance", "late": "late fusion", "transformer": "Transformer"}
MARKERS = {"resonance": "o", "late": "s", "transformer": "^"}
RIGHT, WRONG = PALETTE[2], PALETTE[3]


def combination_accuracy(scores: pd.DataFrame) -> Figure:
    """Accuracy of each combination of modalities by one network, clean and with all of them noisy.

    Bars: Student intervals over folds, three of them at least.  One panel a level of noise.
    """
    kept = ["clean", *(f"all, level {level}" for level in (1, 2, 3))]
    figure, axes = panels(len(kept), 2.7, sharey=True, sharex=True)
    bars = student_interval if scores["seed"].nunique() > 2 else None
    order = list(dict.fromkeys(scores["modalities"]))
    for axis, condition in zip(axes, kept, strict=True):
        part = scores[scores["condition"] == condition]
        _points(part, axis, x="accuracy", y="modalities", order=order, errorbar=bars)
        axis.axhline(2.5, color=GREY, lw=0.6)
        axis.axhline(5.5, color=GREY, lw=0.6)
        axis.set(title=condition.replace("all, ", "all noisy, "), xlabel="accuracy (%)", ylabel="", xlim=(0, 102))
        axis.grid(axis="x", lw=0.4)
    _legend(figure, axes[0])
    return figure


def margin_by_condition(margins: pd.DataFrame) -> Figure:
    """What fusing gains over the best modality alone, in points, by condition; the two marks that a rule sets.

    Bars: Student intervals over folds, three of them at least: two would have bars beyond the figure.
    """
    figure, (axes,) = panels(1, 3.6)
    order = list(dict.fromkeys(margins["condition"]))
    bars = student_interval if margins["seed"].nunique() > 2 else None
    _points(margins, axes, x="margin", y="condition", order=order, errorbar=bars)
    first = order.index("all, level 1")
    axes.plot([-0.5, -0.5], [-0.5, first - 0.5], color="k", lw=1, ls="--")
    axes.plot([3, 3], [first - 0.5, len(order) - 0.5], color="k", lw=1, ls="--", label="mark of the rule")
    axes.axvline(0, color=GREY, lw=0.6)
    axes.axhline(first - 0.5, color=GREY, lw=0.6)
    low, high = margins["margin"].min(), margins["margin"].max()
    axes.set(xlabel="all present together, less the best of them alone (points)", ylabel="", xlim=(low - 2, high + 2))
    _legend(figure, axes)
    return figure


def _points(table: pd.DataFrame, axes: Axes, **columns) -> None:
    """Draw the mean of each row of an axis, a marker a model."""
    sns.pointplot(
        table,
        hue="model",
        hue_order=list(MODELS),
        dodge=0.5,
        markers=list(MARKERS.values()),
        palette=PALETTE[:3],
        linestyle="none",
        markersize=4,
        err_kws={"linewidth": 1.0},
        legend=False,
        ax=axes,
        **columns,
    )


def _legend(figure: Figure, axes: Axes) -> None:
    """Put the models, and what the axes have labelled, below the panels."""
    handles = [
        plt.Line2D([], [], marker=MARKERS[name], color=PALETTE[i], ls="none", ms=4, label=label)
        for i, (name, label) in enumerate(MODELS.items())
    ]
    handles += axes.get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def retrieval_precision(retrieval: pd.DataFrame) -> Figure:
    """Mean average precision and recall at 1 of every direction; bars: Student intervals over three folds or more."""
    figure, axes = panels(2, 2.4, sharey=True)
    bars = student_interval if retrieval["seed"].nunique() > 2 else None
    table = retrieval.assign(direction=retrieval["query"] + " to " + retrieval["gallery"])
    for axis, figure_of, label in zip(axes, ("mAP", "R@1"), ("mean average precision", "recall at 1"), strict=True):
        sns.pointplot(
            table,
            x=figure_of,
            y="direction",
            hue="model",
            hue_order=list(MODELS),
            dodge=0.5,
            markers=list(MARKERS.values()),
            palette=PALETTE[:3],
            linestyle="none",
            markersize=4,
            errorbar=bars,
            err_kws={"linewidth": 1.0},
            legend=False,
            ax=axis,
        )
        axis.set(xlabel=label, ylabel="", xlim=(0, 1.02))
        axis.grid(axis="x", lw=0.4)
    _legend(figure, axes[0])
    return figure


def cost_by_tokens(growth: pd.DataFrame) -> Figure:
    """Operations and seconds of one call against the tokens of all modalities, on logarithmic scales."""
    figure, axes = panels(2, 2.4)
    for axis, column in zip(axes, ("operations", "seconds"), strict=True):
        for i, (name, part) in enumerate(growth.groupby("model", sort=False)):
            style = {"marker": MARKERS[name], "color": PALETTE[list(MODELS).index(name)], "ls": ("-", "--")[i % 2]}
            axis.loglog(part["tokens"], part[column], ms=4, label=MODELS[name], **style)
        axis.set(xlabel="tokens of all modalities", ylabel=f"{column} a call")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_minor_formatter(NullFormatter())
    axes[0].legend()
    return figure


# --------------------------------------------------------------------------- what a query brings back


def retrieved(table: pd.DataFrame, inputs: dict[str, Tensor], words: Callable[[Tensor], str]) -> Figure:
    """Draw queries and the best of what each brings back: images, log power of recordings, and texts.

    table: rows of `fusion.brought_back`; inputs: what its numbers stand for; words(ids): a text.  A frame is full where
    the digit is the query's, dashed where it is not.
    """
    use_style()
    directions = list(table.groupby(["query", "gallery"], sort=False))
    columns = 1 + int(table["rank"].max())
    figure, axes = plt.subplots(len(directions), columns, figsize=(WIDTH, 0.8 * len(directions)), squeeze=False)
    for ((query, gallery), part), line in zip(directions, axes, strict=True):
        _draw(line[0], query, inputs[query][part["pair"].iloc[0]], words)
        line[0].set_ylabel(f"{query} to\n{gallery}", rotation=0, ha="right", va="center", fontsize=7.5)
        for axis, (_, row) in zip(line[1:], part.iterrows(), strict=False):
            _draw(axis, gallery, inputs[gallery][row["item"]], words)
            right = row["item_label"] == row["label"]
            for spine in axis.spines.values():
                spine.set(visible=True, color=RIGHT if right else WRONG, lw=1.5, ls="-" if right else (0, (2, 1.5)))
    for place, axis in enumerate(axes[0]):
        axis.set_title(str(place) if place else "query", fontsize=8)
    return figure


def _draw(axis: Axes, modality: str, item: Tensor, words: Callable[[Tensor], str]) -> None:
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(visible=True, color=GREY, lw=0.6)
    if modality == "text":
        text = textwrap.fill(words(item), 12)
        axis.text(0.5, 0.5, text, ha="center", va="center", fontsize=6.5, transform=axis.transAxes)
    elif modality == "audio":
        power = SpectrumFrames(256, 64, floor=1e-6)(item[None])[0].T
        axis.imshow(power, origin="lower", aspect="auto", cmap="magma", vmin=power.quantile(0.3), rasterized=True)
    else:
        axis.imshow(item[0], cmap="gray_r", vmin=0, vmax=1, aspect="equal")
