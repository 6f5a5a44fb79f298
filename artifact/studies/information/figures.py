"""Figures of `04_information`: each draws saved results and returns the figure (style: `plots`)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from artifact.studies.common.plots import GREY, PALETTE, mean_bars, panels

MARKERS = "osD^vP<"
LINES = ("-", "--", "-.", ":", "-", "--", "-.")


def retained(table: pd.DataFrame, snr_db: float, signal: str) -> Figure:
    """Share of the information that the band retains: claimed (a line at 1) and true; by signal, and by noise."""
    figure, axes = panels(2, 3.1, sharey=True)
    for axis, column, cases in (
        (axes[0], "signal", table[table["snr_db"] == snr_db]),
        (axes[1], "snr_db", table[table["signal"] == signal]),
    ):
        axis.axhline(1, color="k", lw=1.6, label="claimed")
        groups = cases.groupby(column, sort=False)
        for (name, group), colour, marker, line in zip(groups, PALETTE, MARKERS, LINES, strict=False):
            look = {"marker": marker, "ls": line, "ms": 4, "lw": 1.1, "color": colour}
            label = name if column == "signal" else f"{name:g} dB"
            axis.plot(group["share"], group["retained"], label=label, **look)
        axis.set_xscale("log", base=2)
        ticks = sorted(cases["share"].unique())
        axis.set_xticks(ticks, ["1" if t == 1 else f"1/{round(1 / t)}" for t in ticks])
        axis.set(xlabel="share of the spectrum kept, both sides", ylim=(0, 1.08))
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    axes[0].set(ylabel="$I(X;\\,T(Y))\\;/\\;I(X;\\,Y)$", title=f"each signal at {snr_db:g} dB")
    axes[1].set_title(f"{signal}, by signal-to-noise ratio")
    return figure


def choice(table: pd.DataFrame) -> Figure:
    """Bits transmitted by layers of chosen frequencies against their rank, and the most of any map of that rank."""
    figure, (axes,) = panels(1, 2.6)
    axes.plot(table.groupby("rank")["most"].first(), color="k", lw=1.2, label="most, of any map")
    groups = table.groupby("choice", sort=False)
    for (name, group), colour, marker, line in zip(groups, PALETTE, MARKERS, LINES, strict=False):
        axes.plot(
            group["rank"], group["bits"], marker=marker, ms=4, mfc="none", ls=line, lw=0.8, color=colour, label=name
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="real rank of the map", ylabel="bits about the signal")
    axes.legend(loc="upper left")
    return figure


def selected_bits(gaussian: pd.DataFrame, series: pd.DataFrame) -> Figure:
    """Bits kept by k frequencies: every seed and the mean; a Gaussian signal with the most of any k, and a series."""
    figure, axes = panels(2, 3.2)
    axes[0].plot(gaussian.groupby("k")["most"].first(), color="k", lw=1.2, label="most, of any $k$")
    for panel, table in zip(axes, (gaussian, series), strict=True):
        groups = table.groupby("selection", sort=False)
        for (name, group), colour, marker, line in zip(groups, PALETTE, MARKERS, LINES, strict=False):
            panel.plot(group["k"], group["bits"], marker, ms=2.5, mfc="none", color=colour, alpha=0.5)
            panel.plot(group.groupby("k")["bits"].mean(), marker=marker, ms=4, ls=line, lw=1, color=colour, label=name)
        panel.set_xscale("log", base=2)
        panel.set_xticks(sorted(table["k"].unique()))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.set_xlabel("frequencies kept $k$")
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    axes[0].set(ylabel="bits about the signal", title="a Gaussian signal in noise")
    axes[1].set(ylabel="bits about the next day, test", title="the series")
    return figure


def estimator(bias: pd.DataFrame, itself: pd.DataFrame) -> Figure:
    """A nearest-neighbour estimate against the closed form: one scalar channel; three maps of a short signal."""
    figure, (left, right) = panels(2, 2.8)
    left.plot(bias.groupby("snr_db")["exact"].first(), color="k", lw=1.2, label="closed form")
    mean_bars(left, bias, "snr_db", "estimate", marker="o", color=PALETTE[0], label="estimate", capsize=2)
    left.set(xlabel="signal-to-noise ratio (dB)", ylabel="information (bits)", title="one scalar")
    maps = itself.groupby("map", sort=False)
    for (name, group), colour, marker, line in zip(maps, PALETTE, MARKERS, LINES, strict=False):
        look = {"marker": marker, "mfc": "none", "color": colour, "label": name}
        right.plot(group.groupby("snr_db")["exact"].first(), ls=line, lw=1.1, color=colour)
        mean_bars(right, group, "snr_db", "estimate", capsize=2, **look)
    right.set(xlabel="signal-to-noise ratio (dB)", title="four samples, by map (lines: closed form)")
    for axes in (left, right):
        axes.legend(loc="upper left")
    return figure


def survival(
    curves: pd.DataFrame, chosen: pd.DataFrame, band: pd.DataFrame, cycles: float, unit: str, dataset: str
) -> Figure:
    """Bits about the next day against k for three choices of frequencies; the chosen ones on the energy of the past.

    `cycles` turns cycles per grid into cycles per `unit`, the series' main period.
    """
    figure, (left, right) = panels(2, 3.2)
    lowest = curves[curves["order"] == "lowest"]
    left.plot(lowest["k"], lowest["train"], ls=":", lw=1, color=GREY, label="lowest, in sample")
    orders = curves.groupby("order", sort=False)
    for (name, group), colour, marker, line in zip(orders, PALETTE, MARKERS, LINES, strict=False):
        left.plot(group["k"], group["test"], marker=marker, ls=line, ms=3.5, lw=1.1, color=colour, label=name)
    for (_, row), colour in zip(chosen.iterrows(), PALETTE, strict=False):
        left.plot(row["k"], row["test"], marker="*", ms=11, mec="k", mew=0.6, ls="", color=colour)
    left.set_xscale("log", base=2)
    left.xaxis.set_major_formatter("{x:g}")
    left.set(xlabel="frequencies kept $k$", ylabel="bits a window and channel", ylim=(0, None))
    left.set_title(f"{dataset}: test (star: the rule's $k$)")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    right.vlines(band["frequency"] * cycles, band["energy"].min() / 2, band["energy"], color=GREY, lw=0.8)
    kept = band[band["place"] > 0]
    right.plot(kept["frequency"] * cycles, kept["energy"], "D", ms=3.5, color=PALETTE[2], label="kept by information")
    right.set(yscale="log", xlabel=f"frequency (cycles per {unit})", ylabel="share of the past's energy")
    right.set_title("what is kept")
    right.legend(loc="upper right")
    return figure


def approximation(shapes: pd.DataFrame, draws: pd.DataFrame) -> Figure:
    """Error of k frequencies against k: known shapes with the slope of theory, random signals under their bound."""
    figure, (left, right) = panels(2, 3.4, sharey=True)
    shapes = shapes[shapes["error"] > 1e-14]
    for (name, group), colour, marker in zip(shapes.groupby("signal", sort=False), PALETTE, MARKERS, strict=False):
        left.plot(group["k"], group["error"], ls="", marker=marker, ms=3.5, color=colour, label=name)
        if np.isfinite(group["predicted"].iloc[0]):
            last = group.iloc[-1]
            line = last["error"] * ((group["k"] - 0.5) / (last["k"] - 0.5)) ** last["predicted"]
            left.plot(group["k"], line, lw=0.9, color=colour)
    for (s, group), colour, marker, line in zip(draws.groupby("s"), PALETTE, MARKERS, LINES, strict=False):
        errors = group.groupby("k")["error"].agg(["mean", "min", "max"])
        right.plot(errors["mean"], marker=marker, ms=3.5, ls="", color=colour, label=f"$s$ = {s:g}")
        right.fill_between(errors.index, errors["min"], errors["max"], color=colour, alpha=0.25, lw=0)
        right.plot(group.groupby("k")["bound"].mean(), ls=line, lw=0.9, color=colour)
    for axis in (left, right):
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xlabel("frequencies kept $k$")
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    left.set(ylabel="error (root mean square)", title="shapes (lines: slope of theory)")
    right.set_title("random signals (lines: bound)")
    return figure
