"""Figures of `08_forecasting`: each draws saved results and returns the figure (style: `plots`)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from .plots import GREY, PALETTE, panels, student_interval


def forecast_errors(scores: pd.DataFrame, published: pd.DataFrame, dataset: str) -> Figure:
    """Test MSE of each trained method, seeds as points and their interval as bars, beside published figures.

    The seasonal repeat is left to the table: far worse, it would squeeze the rest together.
    """
    scores = scores[scores["method"] != "seasonal naive"]
    figure, (axes,) = panels(1, 2.6)
    order = list(dict.fromkeys(scores["method"]))
    sns.stripplot(scores, x="mse", y="method", order=order, color=PALETTE[0], size=4, alpha=0.6, jitter=False, ax=axes)
    sns.pointplot(
        scores,
        x="mse",
        y="method",
        order=order,
        errorbar=student_interval,
        color="k",
        markers="|",
        linestyle="none",
        markersize=10,
        err_kws={"linewidth": 1.3},
        ax=axes,
    )
    for (_, row), line in zip(published.iterrows(), ("-", "--", "-.", ":"), strict=False):
        axes.axvline(row["mse"], color=GREY, lw=0.9, ls=line, label=f"{row['method']}, published")
    axes.set(xlabel=f"test mean squared error, {dataset}, standardised units", ylabel="")
    if len(published):
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def forecast_example(example: pd.DataFrame, step: str) -> Figure:
    """One test window: the past, what came, and what each method said."""
    figure, (axes,) = panels(1, 2.4)
    past = example[example["step"] <= 0]
    future = example[example["step"] > 0]
    axes.plot(past["step"], past["truth"], color=GREY, lw=1)
    axes.plot(future["step"], future["truth"], color="k", lw=1.2, label="measured")
    for name, line, colour in (("resonance", "-", PALETTE[0]), ("ridge", "--", PALETTE[1])):
        axes.plot(future["step"], future[name], ls=line, lw=1.2, color=colour, label=name)
    axes.axvline(0, color=GREY, lw=0.8, ls=":")
    axes.set(xlabel=f"{step}s from the forecast's start", ylabel="standardised value")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def learned_spectrum(gain: pd.DataFrame, step: str) -> Figure:
    """How strongly each past frequency speaks to each future frequency: |U V| in decibels below its largest entry."""
    figure, (axes,) = panels(1, 2.9)
    table = gain.pivot(index="future", columns="past", values="gain")
    decibel = 20 * np.log10(table / table.to_numpy().max())
    mesh = axes.pcolormesh(
        table.columns, table.index, decibel, cmap="viridis", vmin=-50, vmax=0, shading="nearest", rasterized=True
    )
    axes.set(xlabel=f"past frequency (cycles per {step})", ylabel=f"future frequency (cycles per {step})")
    figure.colorbar(mesh, label="gain (dB)")
    return figure
