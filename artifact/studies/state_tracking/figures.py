"""The figure of `17_state_tracking`, drawn from saved results."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from artifact.studies.common.plots import PALETTE, WIDTH, mean_curve, plt, use_style

LOOKS = {  # by model
    "turns in a plane": (PALETTE[0], "o", "-"),
    "turns in space": (PALETTE[1], "s", "-"),
    "fixed poles": (PALETTE[7], "v", ":"),
    "Mamba-2": (PALETTE[3], "P", "-."),
    "gated DeltaNet [-1, 1]": (PALETTE[4], "D", "--"),
    "LSTM": (PALETTE[2], "X", "--"),
    "Transformer": (PALETTE[5], "^", "-."),
}


def lengths(runs: pd.DataFrame, longest: int) -> Figure:
    """Labels right against the length of words, a panel a task: means over seeds and intervals; grey: training."""
    use_style()
    tasks, columns = list(dict.fromkeys(runs["task"])), [name for name in runs if name.startswith("right.")]
    long = runs.melt(["task", "model", "seed"], columns, "length", "right")
    long = long.assign(length=long["length"].str.removeprefix("right.").astype(int), percent=100 * long["right"])
    rows = -(-len(tasks) // 3)
    figure, axes = plt.subplots(
        rows, min(3, len(tasks)), figsize=(WIDTH, 0.6 + 1.7 * rows), sharex=True, sharey=True, squeeze=False
    )
    for panel, name in zip(axes.flat, tasks, strict=False):
        panel.axvspan(0.8 * long["length"].min(), longest, color="0.93", lw=0)
        for model, look in LOOKS.items():
            own = long[(long["task"] == name) & (long["model"] == model)]
            if len(own):
                mean_curve(panel, own, "length", "percent", look, label=model)
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter("{x:g}")
        panel.set(title=name, ylim=(-3, 103))
    for panel in list(axes.flat)[len(tasks) :]:
        panel.set_visible(False)
    for column in axes.T:  # its lowest panel that is there
        panel = [panel for panel in column if panel.get_visible()][-1]
        panel.set_xlabel("tokens in a word")
        panel.tick_params(labelbottom=True)
    for panel in axes[:, 0]:
        panel.set_ylabel("labels right (%)")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    return figure
