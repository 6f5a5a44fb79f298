"""Figures of `01_stable_gradients`: each draws saved results and returns the figure (style: `plots`)."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from .plots import GREY, PALETTE, panels, student_interval


def phase_formula(points: pd.DataFrame) -> Figure:
    """The printed phase formula against the true phase gradient, and against minus the magnitude gradient."""
    figure, (left, right) = panels(2, 2.7)
    for axes, x, label in (
        (left, "phase", r"true $\partial L/\partial\phi$"),
        (right, "minus_magnitude", r"$-\partial L/\partial |w|$"),
    ):
        axes.plot(points[x], points["printed"], "o", ms=3, color=PALETTE[0], alpha=0.7, mew=0)
        limit = 1.05 * points[["phase", "minus_magnitude", "printed"]].abs().to_numpy().max()
        axes.plot([-limit, limit], [-limit, limit], color=GREY, lw=0.8, ls="--", zorder=0)
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit), xlabel=label)
        axes.set_aspect("equal")
        axes.ticklabel_format(style="sci", scilimits=(-2, 2))
    left.set(ylabel="printed phase formula", title="is not the phase gradient")
    right.set(title="is minus the magnitude gradient")
    return figure


def gradient_bounds(ratios: pd.DataFrame) -> Figure:
    """Measured gradient over its bound against length: medians; bands from the 2.5% quantile to the largest."""
    figure, (axes,) = panels(1, 2.6)
    names = {"magnitude": "magnitude", "phase": "phase (over $|w|$)", "total": "sum over frequencies"}
    for (column, label), marker, colour in zip(names.items(), "os^", PALETTE, strict=False):
        grouped = ratios.groupby("n")[column]
        median, low, high = grouped.median(), grouped.quantile(0.025), grouped.max()
        axes.fill_between(median.index, low, high, color=colour, alpha=0.15, lw=0)
        axes.plot(median.index, median, marker=marker, ms=4, lw=1.2, color=colour, label=label)
    axes.axhline(1.0, color=GREY, lw=0.9, ls="--")
    axes.annotate("bound", (ratios["n"].min(), 1.0), xytext=(0, 2), textcoords="offset points", color=GREY)
    axes.set_xscale("log", base=2)
    axes.set(xlabel="sequence length $n$ (samples)", ylabel="gradient / bound", ylim=(0, 1.15))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def depth_growth(profiles: pd.DataFrame) -> Figure:
    """Growth of the gradient from the last layer to the input by arrangement, with the pre-norm bound.

    Medians over seeds; bands from the smallest to the largest.
    """
    figure, (axes,) = panels(1, 2.8)
    whole = profiles[profiles["layer"] == 0]
    for (name, group), marker, colour in zip(whole.groupby("arrangement", sort=False), "osD^", PALETTE, strict=False):
        by_depth = group.groupby("depth")["growth"]
        axes.plot(by_depth.median(), marker=marker, ms=4, lw=1.2, color=colour, label=name)
        axes.fill_between(by_depth.min().index, by_depth.min(), by_depth.max(), color=colour, alpha=0.15, lw=0)
    bound = 10 ** whole.dropna(subset="log10_upper").groupby("depth")["log10_upper"].median()
    axes.plot(bound, color=GREY, lw=1, ls="--", label="upper bound, pre-norm")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sorted(whole["depth"].unique()), sorted(whole["depth"].unique()))
    axes.minorticks_off()
    axes.set(xlabel="depth (layers)", ylabel=r"$\|\partial L/\partial h_0\|\;/\;\|\partial L/\partial h_L\|$")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def identification(results: pd.DataFrame) -> Figure:
    """Share of frequencies missed by each method: mean over seeds with its interval, and every seed."""
    figure, (axes,) = panels(1, 2.9)
    order = list(dict.fromkeys(results["method"]))
    natural = [PALETTE[2] if "natural" in m else PALETTE[7] if "Cartesian" in m else PALETTE[0] for m in order]
    sns.stripplot(
        results,
        x="missed",
        y="method",
        order=order,
        hue="method",
        hue_order=order,
        palette=natural,
        size=3.5,
        alpha=0.6,
        jitter=False,
        legend=False,
        ax=axes,
    )
    sns.pointplot(
        results,
        x="missed",
        y="method",
        order=order,
        errorbar=student_interval,
        color="k",
        markers="|",
        linestyle="none",
        markersize=9,
        err_kws={"linewidth": 1.2},
        ax=axes,
    )
    axes.set(xlabel="share of frequencies missed by more than 10%", ylabel="", xlim=(-0.02, None))
    return figure
