"""Figures of `14_live`, each drawn from saved results."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from artifact.studies.common.plots import GREY, PALETTE, mean_curve, panels
from artifact.studies.live.serving import LIVE_FORECASTER, RIDGE
from artifact.studies.live.speech import FRAME_MS

LOOKS = tuple(zip(PALETTE, "os^Dv", ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1))), strict=False))


def accuracy_over_time(curves: pd.DataFrame, target: float) -> Figure:
    """Accuracy against the share (left) and the seconds (right) received of each recording: means over seeds, bands."""
    figure, axes = panels(2, 2.8, sharey=True)
    for axis, kind, scale, every in zip(axes, ("share", "seconds"), (100, 1), (2, 5), strict=True):
        part = curves[curves["kind"] == kind]
        part = part.assign(accuracy=100 * part["accuracy"], received=scale * part["received"])
        for (name, own), look in zip(part.groupby("method", sort=False), LOOKS, strict=False):
            mean_curve(axis, own, "received", "accuracy", look, whole=100, label=name, markevery=every)
        axis.axhline(100 * target, color=GREY, lw=0.7, ls=":")
    axes[0].set(xlabel="share of the recording received (%)", ylabel="accuracy (%)", ylim=(0, 101))
    axes[1].set(xlabel="received (s)", xlim=(0, 0.8))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def decision_times(decided: pd.DataFrame) -> Figure:
    """Accuracy of decisions against their mean time, as the probability required for a decision rises."""
    figure, (axes,) = panels(1, 2.6)
    for (name, own), look in zip(decided.groupby("method", sort=False), LOOKS, strict=False):
        mean = own.groupby("threshold")[["seconds", "accuracy"]].mean()
        mean_curve(axes, mean.assign(accuracy=100 * mean["accuracy"]), "seconds", "accuracy", look, label=name)
    axes.set(xlabel="mean time until the decision (s)", ylabel="accuracy of decisions (%)")
    axes.legend(loc="best")
    return figure


def frame_times(times: pd.DataFrame, growth: pd.DataFrame) -> Figure:
    """Time of a frame: its distribution over the frames of words (left), and as a sound goes on (right)."""
    figure, (left, right) = panels(2, 2.7)
    for (name, own), (colour, _, line) in zip(times.groupby("method", sort=False), LOOKS, strict=False):
        milliseconds = np.sort(1000 * own["seconds"].to_numpy())
        share = 100 * (1 - np.arange(len(milliseconds)) / len(milliseconds))
        left.plot(milliseconds, share, color=colour, ls=line, lw=1.3, label=name)
    for (_, own), look in zip(growth.groupby("method", sort=False), LOOKS, strict=False):
        mean_curve(right, own.assign(milliseconds=1000 * own["seconds"]), "received", "milliseconds", look)
    left.axhline(1, color=GREY, lw=0.6, ls=":")
    left.set(xscale="log", yscale="log", xlabel="time of a frame (ms)", ylabel="frames that take longer (%)")
    right.set(xscale="log", yscale="log", xlabel="length of a sound without a pause (s)", ylabel="time of a frame (ms)")
    left.axvline(FRAME_MS, color="k", lw=0.9)
    right.axhline(FRAME_MS, color="k", lw=0.9)
    note = {"textcoords": "offset points", "va": "top"}
    left.annotate("real time", (FRAME_MS, 100), (-3, -2), ha="right", rotation=90, **note)
    right.annotate("real time", (growth["received"].min(), FRAME_MS), (0, -3), **note)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def forecasts_served(scores: pd.DataFrame, after: pd.DataFrame, step: str) -> Figure:
    """Our test error over each peer's (left), and the error of a forecaster after its first steps (right).

    Left: bars are 95% intervals over blocks of the test's time.  Right: every 12th window, the ridge on the same ones.
    """
    figure, (left, right) = panels(2, 2.4)
    peers = scores[scores["method"] != LIVE_FORECASTER].reset_index(drop=True)
    for (place, row), (colour, marker, _) in zip(peers.iterrows(), LOOKS[1:], strict=False):
        bar = [[row["ratio"] - row["ratio_low"]], [row["ratio_high"] - row["ratio"]]]
        left.errorbar(row["ratio"], place, xerr=bar, fmt=marker, color=colour, ms=5, capsize=3, lw=1.2)
    left.axvline(1, color=GREY, lw=0.8, ls=":")
    left.set(yticks=range(len(peers)), ylim=(-0.6, len(peers) - 0.4), xlabel="our test MSE over the peer's")
    left.set_yticklabels(peers["method"])
    mean_curve(right, after, "received", "mse", LOOKS[0], label=LIVE_FORECASTER)
    right.axhline(after["ridge"].iloc[0], color=PALETTE[1], lw=1.2, ls="--", label=RIDGE)
    right.set_ylim(bottom=0)
    right.set(xscale="log", xlabel=f"{step}s received since the start", ylabel="test MSE, standardised")
    right.legend()
    return figure
