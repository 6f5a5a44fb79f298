"""Figures of `14_live`: each draws saved results and returns the figure (style: `plots`)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from artifact.studies.common.plots import GREY, PALETTE, panels
from artifact.studies.common.statistics import mean_interval
from artifact.studies.live.serving import LIVE_FORECASTER, RIDGE
from artifact.studies.live.speech import FRAME_MS

MARKERS, LINES = ("o", "s", "^", "D", "v"), ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1)))


def _seeds(axis: Axes, own: pd.DataFrame, x: str, y: str, at: int, *, every: int = 1, **options) -> None:
    """Draw the mean over seeds as a line with marks, and its Student interval as a band."""
    grouped = own.groupby(x)[y]
    place = np.array(sorted(own[x].unique()))
    mean, low, high = np.array([mean_interval(grouped.get_group(value)) for value in place]).T
    style = {"color": PALETTE[at], "ls": LINES[at], "marker": MARKERS[at], "ms": 3.5, "lw": 1.2, "markevery": every}
    axis.plot(place, mean, **(style | options))
    axis.fill_between(place, low, high, color=PALETTE[at], alpha=0.15, lw=0)


def accuracy_against_heard(curves: pd.DataFrame, level: float) -> Figure:
    """Accuracy against the share of each recording (left) and the seconds (right) heard: means over seeds, bands."""
    figure, axes = panels(2, 2.8, sharey=True)
    scaled = curves.assign(accuracy=100 * curves["accuracy"])
    for axis, (kind, scale, label) in zip(
        axes, (("share", 100, "share of the recording heard (%)"), ("seconds", 1, "heard (s)")), strict=True
    ):
        part = scaled[scaled["kind"] == kind].assign(heard=lambda table, by=scale: by * table["heard"])
        for at, (name, own) in enumerate(part.groupby("method", sort=False)):
            _seeds(axis, own, "heard", "accuracy", at, every=2 if kind == "share" else 5, label=name)
        axis.axhline(100 * level, color=GREY, lw=0.7, ls=":")
        axis.set(xlabel=label)
    axes[0].set(ylabel="accuracy (%)", ylim=(0, 101))
    axes[1].set(xlim=(0, 0.8))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def decision_times(decided: pd.DataFrame) -> Figure:
    """Accuracy of decisions against the time they take, as the probability that is asked for rises."""
    figure, (axes,) = panels(1, 2.6)
    for at, (name, own) in enumerate(decided.groupby("method", sort=False)):
        mean = own.groupby("threshold")[["seconds", "accuracy"]].mean()
        style = {"color": PALETTE[at], "ls": LINES[at], "marker": MARKERS[at], "ms": 3.5, "lw": 1.2}
        axes.plot(mean["seconds"], 100 * mean["accuracy"], label=name, **style)
    axes.set(xlabel="mean time until it decides (s)", ylabel="accuracy of decisions (%)")
    axes.legend(loc="lower right")
    return figure


def frame_times(times: pd.DataFrame, growth: pd.DataFrame) -> Figure:
    """Time of a frame: how it is spread over the frames of words (left), and as sound goes on (right)."""
    figure, (left, right) = panels(2, 2.7)
    for at, (name, own) in enumerate(times.groupby("method", sort=False)):
        milliseconds = np.sort(1000 * own["seconds"].to_numpy())
        share = 100 * (1 - np.arange(len(milliseconds)) / len(milliseconds))
        left.plot(milliseconds, share, color=PALETTE[at], ls=LINES[at], lw=1.3, label=name)
    for at, (_, own) in enumerate(growth.groupby("method", sort=False)):
        style = {"color": PALETTE[at], "ls": LINES[at], "marker": MARKERS[at], "ms": 3.5, "lw": 1.2}
        right.plot(own["heard"], 1000 * own["seconds"], **style)
    left.axhline(1, color=GREY, lw=0.6, ls=":")
    left.set(xscale="log", yscale="log", xlabel="time of a frame (ms)", ylabel="frames that take longer (%)")
    right.set(xscale="log", yscale="log", xlabel="sound heard without a pause (s)", ylabel="time of a frame (ms)")
    left.axvline(FRAME_MS, color="k", lw=0.9)
    right.axhline(FRAME_MS, color="k", lw=0.9)
    left.annotate("real time", (FRAME_MS, 100), (-3, -2), textcoords="offset points", ha="right", va="top", rotation=90)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def forecasts_served(scores: pd.DataFrame, after: pd.DataFrame, step: str) -> Figure:
    """Our test error over each peer's (left), and the error of a forecaster that was just switched on (right).

    Left: bars are 95% intervals over blocks of the test's time.  Right: every 12th window, the ridge on the same ones.
    """
    figure, (left, right) = panels(2, 2.4)
    peers = scores[scores["method"] != LIVE_FORECASTER].reset_index(drop=True)
    for place, row in peers.iterrows():
        bar = [[row["ratio"] - row["ratio_low"]], [row["ratio_high"] - row["ratio"]]]
        left.errorbar(
            row["ratio"], place, xerr=bar, fmt=MARKERS[place + 1], color=PALETTE[place + 1], ms=5, capsize=3, lw=1.2
        )
    left.axvline(1, color=GREY, lw=0.8, ls=":")
    left.set(yticks=range(len(peers)), ylim=(-0.6, len(peers) - 0.4), xlabel="our test MSE over the peer's")
    left.set_yticklabels(peers["method"])
    right.plot(after["heard"], after["mse"], "-o", ms=3.5, lw=1.2, color=PALETTE[0], label=LIVE_FORECASTER)
    right.axhline(after["ridge"].iloc[0], color=PALETTE[1], lw=1.2, ls=LINES[1], label=RIDGE)
    right.set(xscale="log", xlabel=f"{step}s heard since it was switched on", ylabel="test MSE, standardised")
    right.legend()
    return figure
