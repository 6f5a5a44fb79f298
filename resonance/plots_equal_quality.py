"""Figures of `05_efficiency` at equal quality: each draws saved results (style: `plots`)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from .equal_quality import COSTS
from .plots import PALETTE, WIDTH, panels, student_interval, use_style

STYLE = {"resonance": ("o", "-", PALETTE[0]), "Transformer": ("^", "--", PALETTE[1])}


def curves(points: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """Error against each cost, a row a task, a marker a size: the mean over seeds, with its interval.

    Nearer to the lower left is better.  labels: what the error of a task is.
    """
    use_style()
    tasks = list(points["task"].unique())
    figure, axes = plt.subplots(
        len(tasks), len(COSTS), figsize=(WIDTH, 0.5 + 1.75 * len(tasks)), squeeze=False, sharey="row"
    )
    for row, task in zip(axes, tasks, strict=True):
        for panel, (cost, label) in zip(row, COSTS.items(), strict=True):
            for family, (marker, line, colour) in STYLE.items():
                group = points[(points["task"] == task) & (points["family"] == family)]
                means = group.groupby("size").agg({cost: "mean", "error": "mean"})
                bars = np.array([student_interval(e) for _, e in group.groupby("size")["error"]]).T
                reach = np.nan_to_num(np.abs(bars - means["error"].to_numpy()))
                panel.errorbar(means[cost], means["error"], reach, marker=marker, ls=line, ms=3.5, lw=1, color=colour,
                               capsize=2, elinewidth=0.8, label=family)  # fmt: skip
            panel.set_xscale("log")
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.set_xlabel(label if panel in axes[-1] else "")
        row[0].set_ylabel(f"{task}:\n{labels[task]}")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def factors(table: pd.DataFrame, printed: dict[str, float]) -> Figure:
    """The factor at equal quality for each cost and task with its interval; a bar marks the printed one."""
    figure, (axes,) = panels(1, 2.3)
    tasks = list(table["task"].unique())
    for at, cost in enumerate(COSTS):
        axes.plot([at - 0.4, at + 0.4], [printed[cost]] * 2, color="black", lw=1.4, label="printed" if not at else None)
        rows = table[table["cost"] == cost].set_index("task")
        for i, (task, marker) in enumerate(zip(tasks, "os^D", strict=False)):
            x, row = at + 0.22 * (i - (len(tasks) - 1) / 2), rows.loc[task]
            label = task if not at else None
            if np.isnan(row["factor"]):
                axes.text(x, 0.02, "no\noverlap", transform=axes.get_xaxis_transform(), ha="center", fontsize=5.5)
                continue
            reach = [[max(0.0, row["factor"] - row["low"])], [max(0.0, row["high"] - row["factor"])]]
            axes.errorbar(x, row["factor"], reach, marker=marker, ms=4, ls="", capsize=2, color=PALETTE[i], label=label)
    axes.axhline(1, color="0.6", lw=0.8, ls=":")
    axes.set(yscale="log", ylabel="Transformer over resonance\nat equal quality", xticks=range(len(COSTS)))
    axes.set_xticklabels(["parameters", "peak memory", "training time", "inference time"])
    figure.legend(loc="outside right center")
    return figure
