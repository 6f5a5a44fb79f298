"""Figures of `11_multimodal`, each drawn from saved results."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from artifact.studies.common.plots import GREY, PALETTE, WIDTH, panels, plain_ticks, seeds_with_interval, use_style
from resonance.audio import SpectrumFrames

MODELS = {"resonance": "cross-modal resonance", "late": "late fusion", "transformer": "Transformer"}
LOOKS = {  # each model's colour, marker and line
    MODELS["resonance"]: (PALETTE[0], "o", "-"),
    MODELS["late"]: (PALETTE[1], "s", "-."),
    MODELS["transformer"]: (PALETTE[2], "^", "--"),
}
CORRECT, WRONG = PALETTE[2], PALETTE[3]


def _by_model(
    axes: Axes, table: pd.DataFrame, value: str, level: str, *, order: Iterable[str] | None = None, **options
) -> None:
    """Draw the models side by side in each row of the axis, by seed."""
    named = table.assign(model=table["model"].map(MODELS))
    seeds_with_interval(axes, named, value, level, group="model", looks=LOOKS, order=order, **options)
    axes.grid(axis="x", lw=0.4)


def _legend(figure: Figure, axes: Axes) -> None:
    """Put the labels of the axes below the panels."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles))


def combination_accuracy(scores: pd.DataFrame) -> Figure:
    """Accuracy of each combination of modalities by one network, a panel for each level of noise on all of them."""
    kept = ["clean", *(f"all, level {level}" for level in (1, 2, 3))]
    figure, axes = panels(len(kept), 2.7, sharey=True, sharex=True)
    order = list(dict.fromkeys(scores["modalities"]))
    for axis, condition in zip(axes, kept, strict=True):
        _by_model(axis, scores[scores["condition"] == condition], "accuracy", "modalities", order=order, whole=100)
        for edge in (2.5, 5.5):  # between one, two and three modalities
            axis.axhline(edge, color=GREY, lw=0.6)
        axis.set(title=condition.replace("all, ", "all noisy, "), xlabel="accuracy (%)", xlim=(0, 104))
    _legend(figure, axes[0])
    return figure


def margin_by_condition(margins: pd.DataFrame) -> Figure:
    """Accuracy of all modalities minus that of the best alone, in points, by condition; the thresholds of the rule."""
    figure, (axes,) = panels(1, 3.6)
    order = list(dict.fromkeys(margins["condition"]))
    _by_model(axes, margins, "margin", "condition", order=order)
    first = order.index("all, level 1")
    axes.plot([-0.5, -0.5], [-0.5, first - 0.5], color="k", lw=1, ls="--")
    axes.plot([3, 3], [first - 0.5, len(order) - 0.5], color="k", lw=1, ls="--", label="threshold of the rule")
    axes.axvline(0, color=GREY, lw=0.6)
    axes.axhline(first - 0.5, color=GREY, lw=0.6)
    low, high = margins["margin"].min(), margins["margin"].max()
    axes.set(xlabel="all modalities present minus the best of them alone (points)", xlim=(min(low, 0) - 1, high + 2))
    _legend(figure, axes)
    return figure


def retrieval_precision(retrieval: pd.DataFrame) -> Figure:
    """Mean average precision, and recall at 1, of every direction."""
    figure, axes = panels(2, 2.4, sharey=True)
    table = retrieval.assign(direction=retrieval["query"] + " to " + retrieval["gallery"])
    for axis, (score, label) in zip(axes, (("mAP", "mean average precision"), ("R@1", "recall at 1")), strict=True):
        _by_model(axis, table, score, "direction", whole=1)
        axis.set(xlabel=label, xlim=(0, 1.04))
    _legend(figure, axes[0])
    return figure


def cost_by_tokens(growth: pd.DataFrame) -> Figure:
    """Operations and seconds of one call against the tokens of all modalities, on logarithmic scales."""
    figure, axes = panels(2, 2.4)
    for axis, column in zip(axes, ("operations", "seconds"), strict=True):
        for name, part in growth.groupby("model", sort=False):
            colour, marker, line = LOOKS[MODELS[name]]
            axis.loglog(part["tokens"], part[column], ms=4, label=MODELS[name], color=colour, marker=marker, ls=line)
        axis.set(xlabel="tokens of all modalities", ylabel=f"{column} a call")
        plain_ticks(axis.xaxis)
    plain_ticks(axes[1].yaxis)
    axes[0].legend()
    return figure


def retrieved(table: pd.DataFrame, inputs: dict[str, Tensor], words: Callable[[Tensor], str]) -> Figure:
    """Draw queries and their best matches, framed solid where the digit is the query's, dashed where it is not.

    table: rows of `fusion.best_matches`; inputs: the tensors that its numbers index; words(ids): a text.
    """
    use_style()
    directions = list(table.groupby(["query", "gallery"], sort=False))
    columns = 1 + int(table["rank"].max())
    figure, axes = plt.subplots(len(directions), columns, figsize=(WIDTH, 0.8 * len(directions)), squeeze=False)
    for ((query, gallery), part), line in zip(directions, axes, strict=True):
        _draw(line[0], query, inputs[query][part["pair"].iloc[0]], words, {"color": GREY, "lw": 0.6})
        line[0].set_ylabel(f"{query} to\n{gallery}", rotation=0, ha="right", va="center", fontsize=7.5)
        for axis, row in zip(line[1:], part.itertuples(), strict=False):
            correct = row.item_label == row.label
            frame = {"color": CORRECT, "ls": "-"} if correct else {"color": WRONG, "ls": (0, (2, 1.5))}
            _draw(axis, gallery, inputs[gallery][row.item], words, frame | {"lw": 1.5})
    for place, axis in enumerate(axes[0]):
        axis.set_title(str(place) if place else "query", fontsize=8)
    return figure


def _draw(axis: Axes, modality: str, item: Tensor, words: Callable[[Tensor], str], frame: dict) -> None:
    """Draw an image, the log power of a recording or a text."""
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(visible=True, **frame)
    if modality == "text":
        text = textwrap.fill(words(item), 12)
        axis.text(0.5, 0.5, text, ha="center", va="center", fontsize=7, transform=axis.transAxes)
    elif modality == "audio":
        power = SpectrumFrames(256, 64, floor=1e-6)(item[None])[0].T
        axis.imshow(power, origin="lower", aspect="auto", cmap="magma", vmin=power.quantile(0.3), rasterized=True)
    else:
        axis.imshow(item[0], cmap="gray_r", vmin=0, vmax=1, aspect="equal")
