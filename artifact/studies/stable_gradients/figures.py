"""Figures of `01_stable_gradients`: each draws saved results and returns the figure (style: `plots`)."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from artifact.studies.common.plots import GREY, PALETTE, WIDTH, panels, use_style
from artifact.studies.stable_gradients.ablation import OPTIMIZERS, UNTRAINED, VARIANTS
from artifact.studies.stable_gradients.tasks import METRICS

VARIANT_STYLES = (
    ("s", "-", PALETTE[7]),
    ("o", "-", PALETTE[0]),
    ("v", "--", PALETTE[1]),
    ("^", ":", PALETTE[4]),
    ("D", "-.", PALETTE[2]),
)


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
    """Measured gradient over its bound against length: solid the median, dotted the largest."""
    figure, (axes,) = panels(1, 2.6)
    names = {"magnitude": "magnitude", "phase": "phase (over $|w|$)", "total": "sum over frequencies"}
    for (column, label), marker, colour in zip(names.items(), "os^", PALETTE, strict=False):
        grouped = ratios.groupby("n")[column]
        axes.plot(grouped.median(), marker=marker, ms=4, lw=1.2, color=colour, label=label)
        axes.plot(grouped.max(), marker=marker, ms=2.5, lw=1, ls=":", color=colour)
    axes.axhline(1.0, color=GREY, lw=0.9, ls="--")
    axes.annotate("bound", (ratios["n"].min(), 1.0), xytext=(0, 2), textcoords="offset points", color=GREY)
    axes.set_xscale("log", base=2)
    axes.set(xlabel="sequence length $n$ (samples)", ylabel="gradient / bound", ylim=(0, 1.15))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def convergence(flows: pd.DataFrame, factors: pd.DataFrame) -> Figure:
    """Left: loss of the flow for r* = 1 and its bound, by start.  Right: contraction a step against r*, and its law."""
    figure, (left, right) = panels(2, 2.8)
    cases = flows[flows["target"] == 1].groupby("case")
    for (_, group), colour in zip(cases, PALETTE, strict=False):
        label = rf"$\psi_0$ = {group['start'].iloc[0]:g}"
        left.plot(group["time"], group["loss"], color=colour, lw=1.2, label=label)
        left.plot(group["time"], group["bound"], color=colour, lw=1, ls="--")
    left.set(yscale="log", xlabel=r"time $\lambda t$", ylabel=r"$\ell(t)/\ell(0)$", title="flow (dashed: bound)")
    left.legend(loc="lower left")
    groups = factors.groupby("coordinates", sort=False)
    for (name, group), colour, marker in zip(groups, PALETTE, "o+x", strict=False):
        right.plot(group["target"], group["law"], color=colour, lw=1)
        right.plot(group["target"], group["measured"], marker, ms=5, mfc="none", color=colour, label=name)
    right.set(xscale="log", xlabel="magnitude $r^*$ of the weight sought", ylabel="error a step, over the last")
    right.set_title("descent (lines: law)")
    right.legend(loc="center left")
    return figure


def interference(path: pd.DataFrame, phases: pd.DataFrame) -> Figure:
    """Left: loss above the least, a line a start.  Right: phases found, against those of the first start."""
    figure, (left, right) = panels(2, 2.8)
    for _, group in path.groupby("start"):
        left.plot(group["step"], group["excess"].clip(lower=1e-16), color=PALETTE[0], lw=0.8, alpha=0.6)
    left.set(xscale="symlog", yscale="log", xlabel="step", ylabel="loss above the least (share)")
    left.set_title(f"{path['start'].nunique()} starts")
    looks = {"found": ("as found", "o", GREY, 0.25), "relative": ("relative to channel 0", "x", PALETTE[1], 0.8)}
    for column, (label, marker, colour, alpha) in looks.items():
        look = {"ms": 2.5, "color": colour, "alpha": alpha, "mew": 0.6, "label": label}
        right.plot(phases[f"{column}_first"], phases[column], marker, **look)
    ticks = [-np.pi, 0, np.pi]
    right.set_xticks(ticks, [r"$-\pi$", "0", r"$\pi$"])
    right.set_yticks(ticks, [r"$-\pi$", "0", r"$\pi$"])
    right.set(xlabel="phase, first start (rad)", ylabel="phase, other starts (rad)", title="phases found")
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=2, markerscale=2)
    return figure


def depth_growth(profiles: pd.DataFrame) -> Figure:
    """Growth of the gradient from the last layer to the input by arrangement, with the bounds of pre-norm stacks.

    Medians over seeds; bands from the smallest to the largest.
    """
    figure, (axes,) = panels(1, 2.8)
    whole = profiles[profiles["layer"] == 0]
    for (name, group), marker, colour in zip(whole.groupby("arrangement", sort=False), "osD^", PALETTE, strict=False):
        by_depth = group.groupby("depth")["growth"]
        axes.plot(by_depth.median(), marker=marker, ms=4, lw=1.2, color=colour, label=name)
        axes.fill_between(by_depth.min().index, by_depth.min(), by_depth.max(), color=colour, alpha=0.15, lw=0)
    bounds = whole.dropna(subset="log10_upper").groupby("depth")[["log10_upper", "log10_mean"]].median()
    axes.plot(10 ** bounds["log10_upper"], color=GREY, lw=1, ls="--", label="bound, pre-norm")
    axes.plot(10 ** bounds["log10_mean"], color=GREY, lw=1, ls="-.", label="bound over phases, pre-norm")
    axes.plot(bounds.index, np.sqrt(1 + bounds.index), color=GREY, lw=1, ls=":", label=r"$(1+L)^{1/2}$")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sorted(whole["depth"].unique()), sorted(whole["depth"].unique()))
    axes.minorticks_off()
    axes.set(xlabel="depth (layers)", ylabel=r"$\|\partial L/\partial h_0\|\;/\;\|\partial L/\partial h_L\|$")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def length_scaling(scaling: pd.DataFrame) -> Figure:
    """Gradient norms against length at fixed k: a mean loss and a sum loss, noise (solid) and a tone (dashed).

    Medians over seeds; bands between their quartiles.
    """
    figure, axes = panels(2, 3.0)
    labels = {"magnitude": "magnitudes", "phase": "phases", "input": "input"}
    for axis, loss in zip(axes, ("mean", "sum"), strict=True):
        for signal, line in {"noise": "-", "tone": "--"}.items():
            rows = scaling[(scaling["loss"] == loss) & (scaling["signal"] == signal)].groupby("n")
            for (column, label), marker, colour in zip(labels.items(), "os^", PALETTE, strict=False):
                look = {"marker": marker, "ls": line, "ms": 3.5, "lw": 1.1, "color": colour}
                low, middle, high = (rows[column].quantile(q) for q in (0.25, 0.5, 0.75))
                axis.plot(middle, label=f"{label}, {signal}", **look)
                axis.fill_between(low.index, low, high, color=colour, alpha=0.15, lw=0)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set(xlabel="sequence length $n$ (samples)", title=f"{loss} of squared errors")
    axes[0].set_ylabel("norm of the gradient")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def end_bins(bins: pd.DataFrame) -> Figure:
    """Smaller over larger curvature of the loss in the two directions of each weight."""
    figure, (axes,) = panels(1, 2.5)
    names = {False: "without interference", True: "with interference"}
    for (with_it, label), marker, colour in zip(names.items(), "os", PALETTE, strict=False):
        curvature = bins[bins["interference"] == with_it].groupby("frequency")["curvature"].median()
        axes.plot(curvature.clip(lower=1e-17), marker, ms=4.5, color=colour, label=label)
    top = int(bins["frequency"].max())
    axes.set_yscale("log")
    axes.set(ylim=(3e-18, 3), xlabel="frequency (cycles per grid)", ylabel="smaller / larger curvature")
    axes.set_xticks(range(top + 1), ["0\nDC", *map(str, range(1, top)), f"{top}\nNyquist"])
    axes.axhline(2.0**-52, color=GREY, lw=0.9, ls="--")
    axes.annotate("rounding", (top / 2, 2.0**-52), xytext=(0, 3), textcoords="offset points", color=GREY, ha="center")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def tuning(results: pd.DataFrame) -> Figure:
    """Validation score against the rate, a curve a variant; large markers: the rates chosen.

    Rates at which a run diverged are left out.  Dotted: before training.
    """
    use_style()
    figure, axes = plt.subplots(2, len(METRICS), figsize=(WIDTH, 4.3))
    validation = results[results["split"] == "validation"]
    for axis, (optimizer, task) in zip(axes.flat, product(OPTIMIZERS, METRICS), strict=True):
        of_task = validation[validation["task"] == task]
        untrained = of_task.loc[of_task["variant"] == UNTRAINED, "score"].mean()
        cell = of_task[of_task["optimizer"] == optimizer]
        for variant, (marker, line, colour) in zip(VARIANTS, VARIANT_STYLES, strict=True):
            curve = cell[cell["variant"] == variant.name].groupby("rate")["score"].mean()
            curve = curve[np.isfinite(curve)]
            axis.plot(curve, marker=marker, ls=line, ms=2.5, lw=1, color=colour, label=variant.name)
            axis.plot(curve.idxmin(), curve.min(), marker=marker, ms=5, color=colour, ls="")
        axis.axhline(untrained, color=GREY, lw=0.8, ls=":")
        axis.set_xscale("log")
        best = cell["score"].min()
        top = 1.1 * untrained if best < 0.2 * untrained else 1.5 * best
        axis.set_ylim(best - 0.08 * (top - best), top)  # runs that nearly diverged lie above
        axis.set(title=f"{task}, {optimizer}", ylabel=METRICS[task])
    for axis in axes[1]:
        axis.set_xlabel("rate")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def ablation(comparison: pd.DataFrame) -> Figure:
    """Test score of each polar variant minus a baseline's, paired by seed: mean and 95% interval.

    Below zero the variant is better.  Filled markers: Holm-adjusted p below 0.05.
    """
    use_style()
    figure, axes = plt.subplots(2, len(METRICS), figsize=(WIDTH, 4.0))
    for axis, task in zip(axes[0], METRICS, strict=True):
        axis.set_title(task)
    for axis, (baseline, task) in zip(axes.flat, product(comparison["baseline"].unique(), METRICS), strict=True):
        cell = comparison[(comparison["baseline"] == baseline) & (comparison["task"] == task)]
        variants = list(dict.fromkeys(cell["variant"]))
        for optimizer, marker, colour, shift in zip(OPTIMIZERS, "os", PALETTE, (-0.16, 0.16), strict=False):
            rows = cell[cell["optimizer"] == optimizer].set_index("variant").loc[variants]
            for place, row in enumerate(rows.itertuples()):
                reach = [[row.difference - row.low], [row.high - row.difference]]
                look = {"fmt": marker, "ms": 4, "lw": 1.1, "color": colour}
                look |= {"mfc": colour if row.p_holm < 0.05 else "white", "label": None if place else optimizer}
                axis.errorbar(row.difference, place + shift, xerr=reach, **look)
        axis.axvline(0, color=GREY, lw=0.8, ls="--", zorder=0)
        labels = [variant.removeprefix("polar, ") for variant in variants]
        axis.set_yticks(range(len(variants)), labels if axis in axes[:, 0] else [])
        axis.set(ylim=(len(variants) - 0.5, -0.5))
        axis.set_xlabel(f"{METRICS[task]}\nminus that of {baseline}", fontsize=7)
        axis.locator_params(axis="x", nbins=4)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
