"""Figure of `06_long_context`: draws saved results and returns the figure (style: `plots`)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from artifact.studies.common.plots import PALETTE, panels, plain_ticks


def context(steps: pd.DataFrame) -> Figure:
    """Seconds and peak memory of one training step against context length."""
    figure, (left, right) = panels(2, 2.9)
    ran = steps[(steps["outcome"] == "ran") & (steps["task"] == "train")]
    for (model, group), colour, marker in zip(ran.groupby("model", sort=False), PALETTE, "osD", strict=False):
        left.plot(group["n"], group["seconds"], marker=marker, ms=4, lw=1.1, color=colour, label=model)
        right.plot(group["n"], group["peak"] / 1e9, marker=marker, ms=4, lw=1.1, color=colour, label=model)
    for axes in (left, right):
        axes.set_xlabel("context length $n$ (tokens)")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        plain_ticks(axes.yaxis)
    left.set(ylabel="one training step (s)", title="time")
    right.set(ylabel="peak of the process (GB)", title="memory")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
