"""Figures of `11_multimodal`: each draws saved results and returns the figure (style: `plots`)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .plots import GREY, PALETTE, WIDTH, panels, student_interval, use_style

MODELS = {"resonance": "cross-modal resonance", "late": "late fusion", "transformer": "Transformer"}
MARKERS = {"resonance": "o", "late": "s", "transformer": "^"}
RIGHT, WRONG = PALETTE[2], PALETTE[3]


def combination_accuracy(scores: pd.DataFrame) -> Figure:
    """Accuracy of each combination of modalities by one network, clean and with all of them noisy.

    Bars: Student intervals over folds.  One panel a level of noise.
    """
    kept = ["clean", *(f"all, level {level}" for level in (1, 2, 3))]
    figure, axes = panels(len(kept), 2.7, sharey=True, sharex=True)
    order = list(dict.fromkeys(scores["modalities"]))
    for axis, condition in zip(axes, kept, strict=True):
        part = scores[scores["condition"] == condition]
        sns.pointplot(
            part,
            x="accuracy",
            y="modalities",
            hue="model",
            order=order,
            hue_order=list(MODELS),
            dodge=0.5,
            markers=list(MARKERS.values()),
            palette=PALETTE[:3],
            linestyle="none",
            markersize=4,
            errorbar=student_interval,
            err_kws={"linewidth": 1.0},
            legend=False,
            ax=axis,
        )
        axis.axhline(2.5, color=GREY, lw=0.6)
        axis.axhline(5.5, color=GREY, lw=0.6)
        axis.set(title=condition.replace("all, ", "all noisy, "), xlabel="accuracy (%)", ylabel="")
        axis.grid(axis="x", lw=0.4)
    _legend(figure, axes[0])
    return figure


def margin_by_condition(margins: pd.DataFrame) -> Figure:
    """What fusing gains over the best modality alone, in points, by condition; the two marks that a rule sets.

    Bars: Student intervals over folds.
    """
    figure, (axes,) = panels(1, 3.6)
    order = list(dict.fromkeys(margins["condition"]))
    sns.pointplot(
        margins,
        x="margin",
        y="condition",
        hue="model",
        order=order,
        hue_order=list(MODELS),
        dodge=0.5,
        markers=list(MARKERS.values()),
        palette=PALETTE[:3],
        linestyle="none",
        markersize=4,
        errorbar=student_interval,
        err_kws={"linewidth": 1.0},
        legend=False,
        ax=axes,
    )
    first = order.index("all, level 1")
    axes.plot([-0.5, -0.5], [-0.5, first - 0.5], color="k", lw=1, ls="--")
    axes.plot([3, 3], [first - 0.5, len(order) - 0.5], color="k", lw=1, ls="--", label="mark of the rule")
    axes.axvline(0, color=GREY, lw=0.6)
    axes.axhline(first - 0.5, color=GREY, lw=0.6)
    axes.set(xlabel="all present together, less the best of them alone (points)", ylabel="")
    _legend(figure, axes)
    return figure


def _legend(figure: Figure, axes: Axes) -> None:
    """Put the models, and what the axes have labelled, below the panels."""
    handles = [
        plt.Line2D([], [], marker=MARKERS[name], color=PALETTE[i], ls="none", ms=4, label=label)
        for i, (name, label) in enumerate(MODELS.items())
    ]
    handles += axes.get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def retrieval_precision(retrieval: pd.DataFrame) -> Figure:
    """Mean average precision and recall at 1 of every direction; bars: Student intervals over folds."""
    figure, axes = panels(2, 2.4, sharey=True)
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
            errorbar=student_interval,
            err_kws={"linewidth": 1.0},
            legend=False,
            ax=axis,
        )
        axis.set(xlabel=label, ylabel="")
        axis.grid(axis="x", lw=0.4)
    _legend(figure, axes[0])
    return figure


def cost_by_tokens(growth: pd.DataFrame) -> Figure:
    """Operations and seconds of one call against the tokens of all modalities, on logarithmic scales."""
    figure, axes = panels(2, 2.4)
    for axis, column, label in zip(axes, ("operations", "seconds"), ("operations", "seconds"), strict=True):
        for i, (name, part) in enumerate(growth.groupby("model", sort=False)):
            style = {"marker": MARKERS[name], "color": PALETTE[list(MODELS).index(name)], "ls": ("-", "--")[i % 2]}
            axis.loglog(part["tokens"], part[column], ms=4, label=MODELS[name], **style)
        axis.set(xlabel="tokens of all modalities", ylabel=f"{label} a call")
    axes[0].legend()
    return figure


# --------------------------------------------------------------------------- what a query brings back


def retrieved(rows: list[dict], modalities: tuple[str, ...], frames) -> Figure:
    """Draw queries and the best of what each brings back.

    rows: dicts of "query" and "gallery" (modalities), "item" and "label" of the query, "items", "labels", and
    "texts" of what came; an item is an image, a wave or a text.  A frame is full where the digit is the query's, dashed
    where it is not.  `frames` turns a wave into log power, (1, frames, bins).
    """
    use_style()
    columns = 1 + max(len(row["items"]) for row in rows)
    figure, axes = plt.subplots(len(rows), columns, figsize=(WIDTH, 0.82 * len(rows)), squeeze=False)
    for row, line in zip(rows, axes, strict=True):
        _draw(line[0], row["query"], row["item"], frames)
        line[0].set_ylabel(f"{row['query']} to\n{row['gallery']}", rotation=0, ha="right", va="center", fontsize=7)
        for axis, item, label in zip(line[1:], row["items"], row["labels"], strict=False):
            _draw(axis, row["gallery"], item, frames)
            right = label == row["label"]
            for spine in axis.spines.values():
                spine.set(visible=True, color=RIGHT if right else WRONG, lw=1.4, ls="-" if right else (0, (2, 1.5)))
    axes[0, 0].set_title("query", fontsize=8)
    for place, axis in enumerate(axes[0, 1:], 1):
        axis.set_title(f"{place}", fontsize=8)
    return figure


def _draw(axis: Axes, modality: str, item, frames) -> None:
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(visible=True, color=GREY, lw=0.6)
    if modality == "text":
        words = item.split()
        half = (len(words) + 1) // 2
        lines = [words] if len(words) < 3 else [words[:half], words[half:]]
        text = "\n".join(" ".join(line) for line in lines)
        axis.text(0.5, 0.5, text, ha="center", va="center", fontsize=6, transform=axis.transAxes)
    elif modality == "audio":
        power = frames(item[None])[0].numpy().T
        low = np.quantile(power, 0.05)
        axis.imshow(power, origin="lower", aspect="auto", cmap="magma", vmin=low)
    else:
        axis.imshow(item[0].numpy(), cmap="gray_r", vmin=0, vmax=1, aspect="equal")
