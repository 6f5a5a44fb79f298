"""Figures of `09_vision`: each draws saved results and returns the figure (style: `plots`)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from artifact.studies.common.plots import PALETTE, WIDTH, panels, student_interval, use_style
from artifact.studies.common.statistics import mean_interval

# Each method's colour, marker and line, the same in every figure.
STYLES = {
    "resonance, long": (PALETTE[0], "*", "-"),
    "resonance": (PALETTE[9], "o", "-"),
    "resonance, no feed-forward": (PALETTE[4], "s", "--"),
    "vision Transformer": (PALETTE[1], "^", "-."),
    "FNet": (PALETTE[2], "D", ":"),
    "logistic regression": (PALETTE[7], "v", "--"),
}
AXES = {
    "rotation": "angle (degrees)",
    "noise": "standard deviation (grey 0 to 1)",
    "occlusion": "covered share of a side",
}


def accuracies(scores: pd.DataFrame, dataset: str) -> Figure:
    """Test error of each method, seeds as points, their mean and its interval as bars; logarithmic."""
    figure, (axes,) = panels(1, 2.3)
    table = scores.assign(error=100 * (1 - scores["accuracy"]))
    order = [name for name in STYLES if name in set(table["method"])]
    sns.stripplot(table, x="error", y="method", order=order, color=PALETTE[0], size=4, alpha=0.6, jitter=False, ax=axes)
    style = {"color": "k", "markers": "|", "linestyle": "none", "markersize": 10, "err_kws": {"linewidth": 1.3}}
    sns.pointplot(table, x="error", y="method", order=order, errorbar=student_interval, ax=axes, **style)
    axes.set_xscale("log")
    ticks = [t for t in (0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50) if table["error"].min() / 1.5 < t]
    ticks = [t for t in ticks if t < 1.5 * table["error"].max()]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set(xlabel=f"test error, {dataset} (%)", ylabel="")
    return figure


def _curves(axes: Axes, table: pd.DataFrame, column: str) -> None:
    """Draw mean accuracy against a column, a line a method, with the band of its seeds' Student interval."""
    for name, (colour, marker, line) in STYLES.items():
        rows = table[table["method"] == name]
        if rows.empty:
            continue
        curve = rows.groupby(column)["accuracy"].agg(mean_interval).apply(pd.Series).mul(100)
        axes.plot(curve[0], color=colour, marker=marker, ms=3.5, lw=1.1, ls=line, label=name)
        axes.fill_between(curve.index, curve[1].clip(lower=0), curve[2].clip(upper=100), color=colour, alpha=0.15, lw=0)


def robustness(table: pd.DataFrame) -> Figure:
    """Accuracy against each kind of corruption; bands: Student intervals over seeds."""
    kinds = list(dict.fromkeys(table["kind"]))
    figure, axes = panels(len(kinds), 2.9, sharey=True)
    for axis, kind in zip(axes, kinds, strict=True):
        _curves(axis, table[table["kind"] == kind], "level")
        axis.set(title=kind, xlabel=AXES[kind])
    axes[0].set(ylabel="test accuracy (%)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def size_freedom(table: pd.DataFrame, side: int) -> Figure:
    """Accuracy at other sizes than that of training (dotted line): as they come, and brought back to it first."""
    figure, axes = panels(2, 2.9, sharey=True)
    for axis, way in zip(axes, ("as it comes", "brought back"), strict=True):
        _curves(axis, table[table["way"] == way], "side")
        axis.axvline(side, color="k", lw=0.8, ls=":")
        axis.set(xlabel="side of the image (pixels)", title=way)
    axes[0].set(ylabel="test accuracy (%)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def learned_spectra(gains: pd.DataFrame, kernels: pd.DataFrame) -> Figure:
    """Above: the weights' root mean square magnitude by frequency, a panel a block.  Below: filters of the first block.

    A filter is what a channel's weights, without interference, make of a point in the middle of the image.
    """
    use_style()
    blocks, channels = gains["block"].unique(), kernels["channel"].unique()
    figure = plt.figure(figsize=(WIDTH, 2.9))
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    axes = upper.subplots(1, len(blocks), sharey=True, squeeze=False)[0]
    low, high = gains["gain"].min(), gains["gain"].max()
    for axis, block in zip(axes, blocks, strict=True):
        plane = gains[gains["block"] == block].pivot(index="fy", columns="fx", values="gain")
        image = axis.pcolormesh(
            plane.columns, plane.index, plane, cmap="viridis", vmin=low, vmax=high, shading="nearest"
        )
        image.set_rasterized(True)
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
    """The images got wrong, surest first: label and what was said; images (count, side, side), the table's."""
    use_style()
    rows = max(1, -(-len(table) // columns))
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, 0.85 * rows + 0.1), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (_, row), image in zip(axes.flat, table.iterrows(), images, strict=False):
        axis.imshow(image, cmap="gray_r", interpolation="nearest")
        axis.set_title(f"{row['label']:.0f} read {row['prediction']:.0f}", fontsize=7, pad=2)
    return figure
