"""One style for every figure, and one function a figure: each draws saved results and returns the figure.

Colours are seaborn's colour-blind palette, told apart by marker or line style as well.  Bars are Student intervals
over seeds, at 95%; what a band is stands in the docstring of its figure.
"""

from __future__ import annotations

import os
import textwrap

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from .complexity import LAWS, PRINTED_POINTS
from .statistics import mean_interval

WIDTH = 6.3  # inches: the report's text width
PALETTE = sns.color_palette("colorblind")
GREY = "0.45"
VERDICT_COLOURS = {
    "holds": PALETTE[2],
    "holds if": PALETTE[8],
    "false as printed": PALETTE[3],
    "not comparable": PALETTE[7],
    "not measured": (0.94, 0.94, 0.94),
}


def use_style() -> None:
    """Set the style of every figure; the same data then give the same bytes."""
    # Matplotlib stamps PDF files with the date unless told a fixed one.
    os.environ.setdefault("SOURCE_DATE_EPOCH", "0")
    sns.set_theme(context="paper", style="ticks", palette="colorblind")
    mpl.rcParams.update(
        {
            "font.size": 8,
            "axes.titlesize": 9,
            "axes.labelsize": 8,
            "xtick.labelsize": 7.5,
            "ytick.labelsize": 7.5,
            "legend.fontsize": 7.5,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "pdf.fonttype": 42,
            "svg.hashsalt": "resonance",
            "savefig.dpi": 200,
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
        }
    )


def panels(columns: int, height: float = 2.5, **options) -> tuple[Figure, np.ndarray]:
    """Return a figure of one row of panels over the text width."""
    use_style()
    figure, axes = plt.subplots(1, columns, figsize=(WIDTH, height), squeeze=False, **options)
    return figure, axes[0]


def student_interval(values: pd.Series) -> tuple[float, float]:
    """Return the interval that bars show, for seaborn's `errorbar`."""
    return mean_interval(values)[1:]


# --------------------------------------------------------------------------- 01: gradients


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


# --------------------------------------------------------------------------- 03: complexity

LAW_LABELS = {"n": "$n$", "n log n": r"$n\,\log n$", "n^1.5": "$n^{1.5}$", "n^2": "$n^2$"}
MODEL_STYLE = {
    "resonance, fft": ("o", "-"),
    "resonance, dense": ("s", "-"),
    "resonance, k = n/4": ("D", "--"),
    "Transformer layer": ("^", "-"),
    "resonance, fast": ("v", "-"),
}


def growth(results: pd.DataFrame) -> Figure:
    """Operations and time of each model against length, log-log."""
    figure, (left, right) = panels(2, 3.0)
    for (name, (marker, line)), colour in zip(MODEL_STYLE.items(), PALETTE, strict=False):
        group = results[results["model"] == name]
        left.plot(group["n"], group["operations"], marker=marker, ls=line, ms=3.5, lw=1.1, color=colour, label=name)
        right.plot(group["n"], 1e3 * group["seconds"], marker=marker, ls=line, ms=3.5, lw=1.1, color=colour)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("sequence length $n$ (samples)")
    left.set(ylabel="operations, forward", title="counted")
    right.set(ylabel="time, forward + backward (ms)", title="measured")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def interpolation_bound(errors: pd.DataFrame, transforms: pd.DataFrame) -> Figure:
    """Measured error of Chebyshev interpolation under its bound, and of the whole transform in each precision."""
    figure, (left, right) = panels(2, 2.9)
    for (theta, group), colour, marker in zip(errors.groupby("theta"), PALETTE, "osD^v", strict=False):
        left.plot(group["points"], group["bound"], lw=1, color=colour)
        label = rf"$\theta$ = {theta:g}"
        left.plot(group["points"], group["error"], ls="", marker=marker, ms=3.5, color=colour, label=label)
    left.set(yscale="log", xlabel="points a block $p$", ylabel="largest error", title="interpolation: bound (line)")
    left.legend(loc="upper right")
    for (name, group), colour, marker in zip(transforms.groupby("dtype", sort=False), PALETTE, "osD", strict=False):
        right.plot(group["n"], group["error"], marker=marker, ms=3.5, lw=1.1, color=colour, label=name)
        right.plot(group["n"], group["tolerance"], ls=":", lw=1, color=colour)
    right.set(yscale="log", xlabel="sequence length $n$ (samples)", ylabel=r"largest error / $\Vert x\Vert$")
    right.set(title="whole transform: tolerance (dotted)")
    right.set_xscale("log", base=2)
    right.legend(loc="center right")
    return figure


def printed_fit(fits: pd.DataFrame) -> Figure:
    """The five printed timings with every growth law fitted to them: none is told apart."""
    figure, (axes,) = panels(1, 2.6)
    n = np.geomspace(56, 1200, 200)
    for (_, fit), line, colour in zip(fits.iterrows(), ("-", "--", "-.", ":"), PALETTE, strict=False):
        axes.plot(
            n,
            fit["plain_a"] * LAWS[fit["law"]](n) + fit["plain_c"],
            ls=line,
            lw=1.2,
            color=colour,
            label=f"{LAW_LABELS[fit['law']]}: $R^2$ = {fit['r2']:.4f}",
        )
    axes.plot(PRINTED_POINTS["n"], PRINTED_POINTS["time"], "ko", ms=4, label="printed")
    axes.set_xscale("log", base=2)
    axes.set(xlabel="sequence length $n$ (tokens)", ylabel="printed time (ms)", ylim=(0, 330))
    axes.legend(loc="upper left")
    return figure


# --------------------------------------------------------------------------- 05 and 06: speed and length


def speed(mixing: pd.DataFrame, layers: pd.DataFrame) -> Figure:
    """How many times faster than each peer, against length; the aim set beforehand as a bar."""
    figure, axes = panels(2, 2.9)
    for axis, table, title in zip(axes, (mixing, layers), ("mixing alone", "whole layers"), strict=True):
        cases = table.groupby(["model", "peer"], sort=False)
        for ((model, peer), group), colour, marker in zip(cases, PALETTE, "osD^v<", strict=False):
            label = (
                f"against {peer}" if model == "BandMixing" else f"{model.replace('ResonanceLayer', 'layer')}: {peer}"
            )
            axis.plot(group["n"], group["ratio"], marker=marker, ms=4, lw=1.1, color=colour, label=label)
            axis.plot(group["n"], group["aim"], ls="", marker="_", ms=11, mew=1.4, color=colour)
        axis.axhline(1, color=GREY, lw=0.8)
        axis.set(xlabel="sequence length $n$ (samples)", title=title)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.margins(x=0.12, y=0.1)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), fontsize=6.5)
    axes[0].set_ylabel("times faster (bar: aim)")
    return figure


def context(steps: pd.DataFrame) -> Figure:
    """Seconds and peak memory of one training step against context length."""
    figure, (left, right) = panels(2, 2.8)
    ran = steps[(steps["outcome"] == "ran") & (steps["task"] == "train")]
    for (model, group), colour, marker in zip(ran.groupby("model", sort=False), PALETTE, "osD", strict=False):
        left.plot(group["n"], group["seconds"], marker=marker, ms=4, lw=1.1, color=colour, label=model)
        right.plot(group["n"], group["peak"] / 1e9, marker=marker, ms=4, lw=1.1, color=colour, label=model)
    for axes in (left, right):
        axes.set_xlabel("context length $n$ (tokens)")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter("{x:g}")
    left.set(ylabel="one training step (s)", title="time")
    right.set(ylabel="peak of the process (GB)", title="memory")
    left.legend(loc="upper left")
    return figure


# --------------------------------------------------------------------------- 08: forecasting


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


# --------------------------------------------------------------------------- 99: scoreboard


def scoreboard(claims: pd.DataFrame) -> Figure:
    """The verdict of every claim: one row a claim, one colour and one word a verdict."""
    use_style()
    figure, axes = plt.subplots(figsize=(WIDTH, 0.2 * len(claims) + 0.3))
    kinds = list(VERDICT_COLOURS)
    codes = claims["verdict"].map(kinds.index).to_numpy()[:, None]
    axes.imshow(
        codes,
        cmap=ListedColormap(list(VERDICT_COLOURS.values())),
        vmin=-0.5,
        vmax=len(kinds) - 0.5,
        aspect="auto",
        extent=(0, 1, len(claims) - 0.5, -0.5),
    )
    for row, (_, claim) in enumerate(claims.iterrows()):
        axes.text(-0.02, row, claim["id"], ha="right", va="center", family="monospace", fontsize=7.5)
        axes.text(
            0.5,
            row,
            claim["verdict"],
            ha="center",
            va="center",
            fontsize=7.5,
            color="0.4" if claim["verdict"] == "not measured" else "k",
        )
        axes.text(
            1.03, row, textwrap.shorten(claim["printed"], 78, placeholder=" ..."), ha="left", va="center", fontsize=7
        )
    axes.hlines(np.arange(len(claims) + 1) - 0.5, 0, 1, color="white", lw=1.5)
    axes.set(xlim=(-0.9, 5.1))
    axes.axis("off")
    return figure
