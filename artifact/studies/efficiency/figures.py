"""Figures of `05_efficiency`: each draws saved results and returns the figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from artifact.studies.common.plots import GREY, PALETTE, WIDTH, panels, use_style
from artifact.studies.common.statistics import mean_interval
from artifact.studies.efficiency.equal_quality import COSTS


def speed(mixing: pd.DataFrame, layers: pd.DataFrame) -> Figure:
    """Speed over that of each peer against length; bars: the targets."""
    figure, axes = panels(2, 2.9)
    for axis, table, title in zip(axes, (mixing, layers), ("mixing alone", "whole layers"), strict=True):
        cases = table.groupby(["model", "peer"], sort=False)
        for ((model, peer), group), colour, marker in zip(cases, PALETTE, "osD^v<", strict=False):
            ours = "against" if model == "BandMixing" else model.replace("ResonanceLayer", "layer") + ":"
            axis.plot(group["n"], group["ratio"], marker=marker, ms=4, lw=1.1, color=colour, label=f"{ours} {peer}")
            axis.plot(group["n"], group["target"], ls="", marker="_", ms=11, mew=1.4, color=colour)
        axis.axhline(1, color=GREY, lw=0.8)
        axis.set(xlabel="sequence length $n$ (samples)", title=title)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.margins(x=0.12, y=0.1)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), fontsize=6.5)
    axes[0].set_ylabel("times faster (bar: target)")
    return figure


LOOKS = {"resonance": (PALETTE[0], "o", "-"), "Transformer": (PALETTE[1], "^", "--")}


def _plain(axis: Axis) -> None:
    """Label a logarithmic axis by plain numbers, at 1 and 3 of each decade; a short one at a few round numbers."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 3), numticks=12) if high > 5 * low else MaxNLocator(4))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"))


def curves(points: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """Error against each cost, a row a task, a marker a size: mean and interval over seeds; lower left is better.

    labels: the error's name, by task.
    """
    use_style()
    tasks = list(points["task"].unique())
    size = (WIDTH, 0.5 + 1.75 * len(tasks))
    figure, axes = plt.subplots(len(tasks), len(COSTS), figsize=size, squeeze=False, sharey="row")
    for row, task in zip(axes, tasks, strict=True):
        for panel, (cost, label) in zip(row, COSTS.items(), strict=True):
            for family, (colour, marker, line) in LOOKS.items():
                sizes = points[(points["task"] == task) & (points["family"] == family)].groupby("size")
                means, bars = sizes[cost].mean(), np.array([mean_interval(errors) for _, errors in sizes["error"]]).T
                reach = np.nan_to_num(np.abs(bars[1:] - bars[0]))
                panel.errorbar(means, bars[0], reach, marker=marker, ls=line, ms=3.5, lw=1, color=colour, capsize=2,
                               elinewidth=0.8, label=family)  # fmt: skip
            panel.set_xscale("log")
            _plain(panel.xaxis)
            panel.tick_params(axis="x", labelsize=6.5)
            panel.set_xlabel(label if panel in axes[-1] else "")
        row[0].set_ylabel(f"{task}:\n{labels[task]}")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def factors(table: pd.DataFrame, printed: dict[str, float]) -> Figure:
    """Factor at equal quality of each cost and task (eq:factor), with its interval; black bars: the printed factors."""
    figure, (axes,) = panels(1, 2.3)
    places, tasks = np.arange(len(COSTS)), table["task"].nunique()
    for i, ((task, rows), marker) in enumerate(zip(table.groupby("task", sort=False), "os^D", strict=False)):
        rows, x = rows.set_index("cost").loc[list(COSTS)], places + 0.22 * (i - (tasks - 1) / 2)
        reach = np.clip([rows["factor"] - rows["low"], rows["high"] - rows["factor"]], 0.0, None)
        axes.errorbar(x, rows["factor"], reach, marker=marker, ms=4, ls="", capsize=2, color=PALETTE[i], label=task)
        apart = x[rows["factor"].isna()]
        axes.plot(apart, 0.03 + 0 * apart, "x", ms=4, color=PALETTE[i], transform=axes.get_xaxis_transform())
    axes.hlines([printed[cost] for cost in COSTS], places - 0.4, places + 0.4, color="black", lw=1.4, label="printed")
    axes.axhline(1, color="0.6", lw=0.8, ls=":")
    axes.plot([], [], "x", ms=4, color="0.3", label="no overlap")
    axes.set(yscale="log", ylabel="Transformer over resonance\nat equal quality", xticks=places)
    axes.set_xticklabels(["parameters", "peak memory", "training time", "inference time"])
    _plain(axes.yaxis)
    figure.legend(loc="outside right center")
    return figure
