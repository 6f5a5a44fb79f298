"""Figures of `08_forecasting`: each draws saved results and returns the figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from artifact.studies.common.plots import GREY, PALETTE, panels, seeds_with_interval
from resonance.comb import CombForecaster, level_weights

LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 4)))


def forecast_errors(scores: pd.DataFrame, published: pd.DataFrame, dataset: str) -> Figure:
    """Test MSE of each method with the interval over its seeds; lines: published errors.

    Methods over a quarter worse than the best are only in the table.
    """
    means = scores.groupby("method")["mse"].transform("mean")
    scores = scores[means <= 1.25 * means.min()]
    figure, (axes,) = panels(1, 2.6)
    seeds_with_interval(axes, scores, "mse", "method")
    for (_, row), line in zip(published.iterrows(), LINES, strict=False):
        axes.axvline(row["mse"], color=GREY, lw=0.9, ls=line, label=f"{row['method']}, published")
    axes.set(xlabel=f"test mean squared error, {dataset}, standardised units", ylabel="")
    if len(published):
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def forecast_example(example: pd.DataFrame, step: str) -> Figure:
    """One test window: past, future, the forecast of each method, and the interval of ours where there is one."""
    figure, (axes,) = panels(1, 2.4)
    past = example[example["step"] <= 0]
    future = example[example["step"] > 0]
    axes.plot(past["step"], past["truth"], color=GREY, lw=1)
    axes.plot(future["step"], future["truth"], color="k", lw=1.2, label="measured")
    if "lower" in future:
        axes.fill_between(
            future["step"], future["lower"], future["upper"], color=PALETTE[0], alpha=0.18, lw=0, label="80% interval"
        )
    for name, line, colour in (("resonance", "-", PALETTE[0]), ("ridge", "--", PALETTE[1])):
        axes.plot(future["step"], future[name], ls=line, lw=1.2, color=colour, label=name)
    axes.axvline(0, color=GREY, lw=0.8, ls=":")
    axes.set(xlabel=f"{step}s from the forecast's start", ylabel="standardised value")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def comb_response(model: CombForecaster, step: str) -> Figure:
    """Gain of the comb's forecast of the coming period against frequency, in cycles per period, and its weights."""
    figure, (left, right) = panels(2, 2.2, width_ratios=[2, 1])
    cycles = torch.linspace(0, 4, 2001, dtype=torch.float64)
    gain = model.double().response(cycles / model.period)
    left.plot(cycles, gain.detach(), color=PALETTE[0], lw=0.8)
    left.set(xlabel=f"frequency (cycles per {model.period} {step}s)", ylabel="gain")
    lag = range(len(model.past), 0, -1)
    weights = level_weights(model.exponent, len(model.past)).detach()
    right.plot(lag, weights, "o-", ms=2, lw=0.8, color=PALETTE[1], label="means")
    right.plot(lag, (model.future[0] * model.past).detach(), "s-", ms=2, lw=0.8, color=PALETTE[0], label="within")
    right.set(xlabel="lag (periods)", ylabel="weight", xscale="log")
    right.legend(loc="upper right")
    return figure


def learned_spectrum(gain: pd.DataFrame, step: str) -> Figure:
    """Gain |U V| from each past frequency to each future frequency, in decibels below its largest entry."""
    figure, (axes,) = panels(1, 2.9)
    table = gain.pivot(index="future", columns="past", values="gain")
    decibel = 20 * np.log10(table / table.to_numpy().max())
    mesh = axes.pcolormesh(
        table.columns, table.index, decibel, cmap="viridis", vmin=-50, vmax=0, shading="nearest", rasterized=True
    )
    axes.set(xlabel=f"past frequency (cycles per {step})", ylabel=f"future frequency (cycles per {step})")
    figure.colorbar(mesh, label="gain (dB)")
    return figure


def peer_ratios(comparisons: pd.DataFrame, tolerance: float = 0.02) -> Figure:
    """Test error of the forecaster over each peer's, a panel a task; bars: 95% interval over blocks of the test's time.

    Left of 1 the forecaster is better; the grey band is the tolerance.  Forecasts without training are in the table.
    """
    comparisons = comparisons[~comparisons["peer"].isin(["seasonal naive", "Theta or STL"])]
    tasks, peers = (list(dict.fromkeys(comparisons[column])) for column in ("task", "peer"))
    figure, row = panels(len(tasks), 1.9, sharey=True)
    looks = {"better": ("<", PALETTE[2]), "no difference seen": ("o", GREY), "worse": (">", PALETTE[3])}
    for axes, task in zip(row, tasks, strict=True):
        axes.axvspan(1, 1 + tolerance, color="0.9", lw=0)
        axes.axvline(1, color=GREY, lw=0.8)
        for _, line in comparisons[comparisons["task"] == task].iterrows():
            (marker, colour), y = looks[line["difference"]], peers.index(line["peer"])
            axes.plot([line["ratio_low"], line["ratio_high"]], [y, y], color=colour, lw=1.4)
            axes.plot(line["ratio"], y, marker=marker, color=colour, ms=5)
        axes.set_title(task, fontsize=8)
        axes.set(ylim=(len(peers) - 0.5, -0.5), yticks=range(len(peers)), yticklabels=peers)
        axes.locator_params(axis="x", nbins=3 if len(tasks) > 2 else 6)
    figure.supxlabel("test error of the resonance forecaster / the peer's", fontsize=8)
    return figure


def left_for_the_spectrum(left: pd.DataFrame) -> Figure:
    """Test error in closed form over that of the same regression in time, by task; bars: 95% over blocks of time."""
    figure, (axes,) = panels(1, 2.4)
    axes.axvline(1, color=GREY, lw=0.8)
    looks = {"better": ("<", PALETTE[2]), "no difference seen": ("o", GREY), "worse": (">", PALETTE[3])}
    for y, (_, row) in enumerate(left.iterrows()):
        marker, colour = looks[row["difference"]]
        axes.plot([row["ratio_low"], row["ratio_high"]], [y, y], color=colour, lw=1.4)
        axes.plot(row["ratio"], y, marker=marker, color=colour, ms=5)
    axes.set(yticks=range(len(left)), yticklabels=left["task"], ylim=(len(left) - 0.5, -0.5))
    axes.set(xlabel="test error with the spectrum / the same regression in time", ylabel="")
    return figure


def interval_coverage(coverage: pd.DataFrame, step: str) -> Figure:
    """Coverage of the intervals by step ahead; grey lines: their nominal levels."""
    figure, (axes,) = panels(1, 2.6)
    for level in coverage["level"].unique():
        axes.axhline(100 * level, color=GREY, lw=0.8, ls=":")
    for index, (method, line) in enumerate(zip(coverage["method"].unique(), ("-", "--"), strict=False)):
        for level, part in coverage[coverage["method"] == method].groupby("level"):
            label = method if level == coverage["level"].max() else None
            axes.plot(part["step"], 100 * part["coverage"], ls=line, color=PALETTE[index], lw=1.3, label=label)
    axes.set(
        xlabel=f"{step}s ahead", ylabel="coverage on the test (%)", ylim=(min(30, 80 * coverage["coverage"].min()), 100)
    )
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
