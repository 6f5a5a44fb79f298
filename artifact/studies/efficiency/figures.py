"""Figures of `05_efficiency`: each draws saved results and returns the figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from artifact.studies.common.plots import GREY, PALETTE, WIDTH, interval_of, panels, plain_ticks, use_style
from artifact.studies.efficiency.equal_quality import AT_LEAST, AT_MOST, COSTS, OPEN


def speed(mixing: pd.DataFrame, layers: pd.DataFrame) -> Figure:
    """Speed over that of each peer against length, in both settings of a process; bars: the targets."""
    figure, axes = panels(2, 3.2)
    axes[0].plot([], [], "o:", ms=4, lw=1.1, color=GREY, mfc="white", label="hollow: process as a user starts it")
    for axis, table, title in zip(axes, (mixing, layers), ("mixing alone", "whole layers"), strict=True):
        cases = table.groupby(["model", "peer"], sort=False)
        for ((model, peer), group), colour, marker in zip(cases, PALETTE, "osD^v<", strict=False):
            ours = "against" if model == "BandMixing" else model.replace("ResonanceLayer", "layer") + ":"
            looks = {"marker": marker, "ms": 4, "lw": 1.1, "color": colour, "capsize": 2, "elinewidth": 0.8}
            for setting, rows in group.groupby("setting"):
                kept = setting == "kept"
                reach = rows["ratio"] - rows["low"], rows["high"] - rows["ratio"]
                style = {"ls": "-", "label": f"{ours} {peer}"} if kept else {"ls": ":", "mfc": "white"}
                axis.errorbar(rows["n"], rows["ratio"], np.clip(reach, 0.0, None), **looks, **style)
            axis.plot(group["n"], group["target"], ls="", marker="_", ms=11, mew=1.4, color=colour)
        axis.axhline(1, color=GREY, lw=0.8)
        axis.set(xlabel="sequence length $n$ (samples)", title=title)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.margins(x=0.12, y=0.1)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25))
    axes[0].set_ylabel("times faster (bar: target)")
    return figure


LOOKS = {"resonance": (PALETTE[0], "o", "-"), "Transformer": (PALETTE[1], "^", "--"), "ridge": (PALETTE[2], "s", ":")}


def curves(points: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """Error against each cost, a row a task, a marker a size: mean and interval over seeds; lower left is better.

    labels: the error's name, by task.
    """
    use_style()
    tasks = list(points["task"].unique())
    size = (WIDTH, 0.5 + 1.5 * len(tasks))
    figure, axes = plt.subplots(len(tasks), len(COSTS), figsize=size, squeeze=False, sharey="row")
    for row, task in zip(axes, tasks, strict=True):
        for panel, (cost, label) in zip(row, COSTS.items(), strict=True):
            for family, (colour, marker, line) in LOOKS.items():
                sizes = points[(points["task"] == task) & (points["family"] == family)].groupby("size")
                if not len(sizes):
                    continue
                whole = 1 if labels[task] == "test error" else None  # a share of images
                bars = np.array([interval_of(errors, "error", whole) for _, errors in sizes["error"]]).T
                means = sizes[cost].mean()
                reach = np.nan_to_num(np.abs(bars[1:] - bars[0]))
                panel.errorbar(means, bars[0], reach, marker=marker, ls=line, ms=3.5, lw=1, color=colour, capsize=2,
                               elinewidth=0.8, label=family)  # fmt: skip
            panel.set_xscale("log")
            plain_ticks(panel.xaxis)
            panel.set_xlabel(label if panel in axes[-1] else "")
        row[0].set_ylabel(f"{task}:\n" + labels[task].replace(" (", "\n("))
    drawn = {
        name: handle for axis in axes[:, 0] for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(drawn.values(), drawn.keys(), loc="outside upper center", ncols=len(drawn))
    return figure


def factors(table: pd.DataFrame, printed: dict[str, float]) -> Figure:
    """Factor at equal quality of each cost and task (eq:factor), with its interval; black bars: the printed factors.

    A triangle above a factor: at least; below: at most.  A cross over it: open, the seeds bound it on both sides.
    """
    figure, (axes,) = panels(1, 2.3)
    places, tasks = np.arange(len(COSTS)), table["task"].nunique()
    for i, ((task, rows), marker) in enumerate(zip(table.groupby("task", sort=False), "osD*P", strict=False)):
        rows, x = rows.set_index("cost").loc[list(COSTS)], places + 0.17 * (i - (tasks - 1) / 2)
        reach = np.clip([rows["factor"] - rows["low"], rows["high"] - rows["factor"]], 0.0, None)
        label = task if rows["peer"].iloc[0] == "Transformer" else f"{task} (against {rows['peer'].iloc[0]})"
        axes.errorbar(x, rows["factor"], reach, marker=marker, ms=4, ls="", capsize=2, color=PALETTE[i], label=label)
        for bound, sign, away in ((AT_LEAST, "^", 1.45), (AT_MOST, "v", 1 / 1.45), (OPEN, "x", 1.0)):
            here, colour = (rows["bound"] == bound).to_numpy(), "black" if bound == OPEN else PALETTE[i]
            end = rows["high" if away > 1 else "low" if away < 1 else "factor"][here]
            axes.plot(x[here], away * end, sign, ms=4, color=colour)
    axes.hlines([printed[cost] for cost in COSTS], places - 0.4, places + 0.4, color="black", lw=1.4, label="printed")
    axes.axhline(1, color="0.6", lw=0.8, ls=":")
    for sign, label in (("^", "at least"), ("v", "at most"), ("x", "open")):
        axes.plot([], [], sign, ls="", ms=4, color="0.3", label=label)
    axes.set(yscale="log", ylabel="peer over resonance\nat equal quality", xticks=places)
    axes.set_xticklabels(["parameters", "peak memory", "training time", "inference time"])
    plain_ticks(axes.yaxis)
    figure.legend(loc="outside right center")
    return figure
