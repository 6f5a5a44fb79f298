"""Figures of `20_codebooks`, drawn from saved results."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from artifact.studies.common.plots import GREY, PALETTE, mean_bars, mean_curve, panels

LOOKS = {  # by scheme
    "matched filter": (PALETTE[7], "v", ":"),
    "explaining away": (PALETTE[3], "P", "-."),
    "soft feedback": (PALETTE[4], "D", "--"),
    "LASSO": (PALETTE[2], "X", "--"),
    "resonator network": (PALETTE[5], "^", ":"),
    "message passing": (PALETTE[0], "o", "-"),
    "Fourier keys": (PALETTE[1], "s", "-"),
    "coupled Fourier keys": (PALETTE[9], "*", "-"),
}


def curves(rows: pd.DataFrame, theory: pd.DataFrame, printed: dict[int, float]) -> Figure:
    """Bits an entry read against the symbols stored, a panel a codebook; thin: theory; dashed: printed."""
    sizes = sorted(set(rows["m"]))
    figure, axes = panels(len(sizes), 3.0, sharey=True)
    for panel, m in zip(axes, sizes, strict=True):
        own = rows[rows["m"] == m]
        line = own.groupby("symbols")["offered"].mean()
        panel.plot(line.index, line, color="0.8", lw=4, solid_capstyle="round", label="all right", zorder=0)
        for scheme, look in LOOKS.items():
            group = own[own["scheme"] == scheme]
            if len(group):
                mean_curve(panel, group, "symbols", "rate", look, label=scheme)
            law = theory[(theory["m"] == m) & (theory["scheme"] == scheme)].sort_values("symbols")
            panel.plot(law["symbols"], law["rate"], color="k", lw=0.8, ls=look[2])
        if m in printed:
            panel.axhline(printed[m], color=GREY, lw=0.9, ls=(0, (5, 3)))
        panel.set(title=f"$M$ = {m}", xlabel="symbols stored", ylim=(0, 1.1 * rows["rate"].max()))
    axes[0].set_ylabel("bits read for each entry")
    handles, names = axes[-1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    return figure


def limits(rows: pd.DataFrame) -> Figure:
    """The largest mean rate read in noise, against SNR, and at few bits an entry; the line is the limit."""
    figure, (left, right) = panels(2, 2.7, sharey=True)
    for panel, x, own in (
        (left, "decibels", rows[rows["bits"] == 0].assign(decibels=lambda t: 10 * np.log10(t["snr"]))),
        (right, "bits", rows[rows["bits"] > 0]),
    ):
        for scheme, group in own.groupby("scheme", sort=False):
            colour, marker, line = LOOKS[scheme]
            best = _best_loads(group, x)
            mean_bars(panel, best, x, "rate", color=colour, marker=marker, ls=line, label=scheme)
        if len(own):
            limit = own.groupby(x)["limit"].first()
            panel.plot(limit.index, limit, color="k", lw=1.2, label="limit")
    most = 1.25 * rows["rate"].max()
    left.set(xlabel="signal-to-noise ratio (dB)", ylabel="bits read for each entry", ylim=(0, most))
    right.set(xlabel="bits stored for each entry")
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    return figure


def _best_loads(rows: pd.DataFrame, x: str) -> pd.DataFrame:
    """Of every x the rows of the load with the largest mean rate."""
    means = rows.groupby([x, "offered"])["rate"].mean()
    keep = set(means.groupby(level=0).idxmax())
    return rows[[pair in keep for pair in zip(rows[x], rows["offered"], strict=True)]]


def larger(rows: pd.DataFrame, thresholds: pd.DataFrame) -> Figure:
    """Rate read against rate offered, a panel a dimension; lines: the thresholds of state evolution."""
    dims = list(dict.fromkeys(rows["dim"]))
    figure, axes = panels(len(dims), 2.6, sharey=True, sharex=True)
    for panel, dim in zip(axes, dims, strict=True):
        own = rows[rows["dim"] == dim]
        ends = np.array([own["offered"].min(), own["offered"].max()])
        panel.plot(ends, ends, color="0.8", lw=4, zorder=0)
        for scheme, group in own.groupby("scheme", sort=False):
            mean_curve(panel, group, "offered", "rate", LOOKS[scheme], label=scheme)
            at = thresholds[(thresholds["dim"] == dim) & (thresholds["scheme"] == scheme)]["threshold"]
            for value in at:
                panel.axvline(value, color=LOOKS[scheme][0], lw=0.9, ls="--")
        panel.set(title=f"$D$ = {dim:,}", xlabel="bits offered for each entry")
    axes[0].set_ylabel("bits read for each entry")
    axes[0].legend(loc="lower left")
    return figure
