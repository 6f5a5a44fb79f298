"""Figures of `09_vision`, each drawn from saved results."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from artifact.studies.common.plots import PALETTE, WIDTH, mean_curve, panels, seeds_with_interval, use_style

LOOKS = {  # each method's colour, marker and line
    "resonance": (PALETTE[0], "o", "-"),
    "resonance, no feed-forward": (PALETTE[4], "s", "--"),
    "vision Transformer": (PALETTE[1], "^", "-."),
    "FNet": (PALETTE[2], "D", ":"),
    "logistic regression": (PALETTE[7], "v", "--"),
    "logistic regression, augmented": (PALETTE[5], "<", ":"),
}
AXES = {
    "rotation": "angle (degrees)",
    "noise": "standard deviation (grey 0 to 1)",
    "occlusion": "occluded share of a side",
}


def accuracies(scores: pd.DataFrame, dataset: str) -> Figure:
    """Test error of each method by seed, on a logarithmic axis."""
    figure, (axes,) = panels(1, 2.3)
    table = scores.assign(error=100 * (1 - scores["accuracy"]))
    order = [name for name in LOOKS if name in set(table["method"])]
    seeds_with_interval(axes, table, "error", "method", order=order)
    low, high = table["error"].min() / 1.5, 1.5 * table["error"].max()
    ticks = [t for t in (0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50) if low < t < high]
    axes.set(xscale="log", xlabel=f"test error, {dataset} (%)")
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    return figure


def _curves(table: pd.DataFrame, panel: str, x: str) -> tuple[Figure, dict[str, Axes]]:
    """Draw accuracy against a column, a panel for each value of another, a line for each method; one legend below."""
    names = list(dict.fromkeys(table[panel]))
    figure, axes = panels(len(names), 2.9, sharey=True)
    percent = table.assign(percent=100 * table["accuracy"])
    for name, axis in zip(names, axes, strict=True):
        for method, look in LOOKS.items():
            own = percent[(table[panel] == name) & (table["method"] == method)]
            if len(own):
                mean_curve(axis, own, x, "percent", look, label=method)
        axis.set_title(name)
    axes[0].set_ylim(top=min(102, axes[0].get_ylim()[1]))
    axes[0].set_ylabel("test accuracy (%)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure, dict(zip(names, axes, strict=True))


def robustness(table: pd.DataFrame) -> Figure:
    """Accuracy against the level of each kind of corruption."""
    figure, axes = _curves(table, "kind", "level")
    for kind, axis in axes.items():
        axis.set_xlabel(AXES[kind])
    return figure


def size_freedom(table: pd.DataFrame, side: int) -> Figure:
    """Accuracy against the size of the image, as it is and resampled to the training size (dotted line) first."""
    figure, axes = _curves(table, "way", "side")
    for axis in axes.values():
        axis.axvline(side, color="k", lw=0.8, ls=":", zorder=1)
        axis.set_xticks(sorted(table["side"].unique()))
        axis.set_xlabel("side of the image (pixels)")
    return figure


def learned_spectra(gains: pd.DataFrame, kernels: pd.DataFrame) -> Figure:
    """Above: root mean square magnitude of the weights by frequency, a panel a block.  Below: first-block filters.

    A filter is the response of a channel's weights, without interference, to a point in the middle of the image.
    """
    use_style()
    blocks, channels = gains["block"].unique(), kernels["channel"].unique()
    figure = plt.figure(figsize=(WIDTH, 3.2))
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    axes = upper.subplots(1, len(blocks), sharey=True, squeeze=False)[0]
    low, high = gains["gain"].min(), gains["gain"].max()
    for axis, block in zip(axes, blocks, strict=True):
        plane = gains[gains["block"] == block].pivot(index="fy", columns="fx", values="gain")
        colours = {"cmap": "viridis", "vmin": low, "vmax": high, "rasterized": True}
        image = axis.pcolormesh(plane.columns, plane.index, plane, shading="nearest", **colours)
        axis.set(title=f"block {block}", xlabel="$f_x$ (cycles/image)", aspect="equal")
        axis.set(xticks=plane.columns[::2], yticks=plane.index[::2])
    axes[0].set_ylabel("$f_y$ (cycles/image)")
    upper.colorbar(image, ax=list(axes), label="magnitude", shrink=0.8)
    for axis, channel in zip(lower.subplots(1, len(channels), squeeze=False)[0], channels, strict=True):
        plane = kernels[kernels["channel"] == channel].pivot(index="y", columns="x", values="value")
        top = np.abs(plane.to_numpy()).max()
        axis.imshow(plane, cmap="RdBu_r", vmin=-top, vmax=top, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
    return figure


def errors(table: pd.DataFrame, images: np.ndarray, columns: int = 10) -> Figure:
    """Misclassified images in order of confidence, with label and prediction; images (count, side, side)."""
    use_style()
    rows = max(1, -(-len(table) // columns))
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, 0.85 * rows + 0.1), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, row, image in zip(axes.flat, table.itertuples(), images, strict=False):
        axis.imshow(image, cmap="gray_r", interpolation="nearest")
        axis.set_title(f"{row.label} as {row.prediction}", fontsize=7, pad=2)
    return figure
