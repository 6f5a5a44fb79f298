"""Figures of `15_causal`, each drawn from saved results."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from artifact.studies.causal.relatives import MODELS
from artifact.studies.common.plots import GREY, PALETTE, mean_curve, panels, plain_ticks, seeds_with_interval


def filters(poles: pd.DataFrame, gains: pd.DataFrame, period: int, step: str) -> Figure:
    """A layer as a filter, before and after training: its poles on the disc, its gain against frequency.

    The left panel shows the part of the upper half disc that has poles (a pole and its conjugate are one resonator of a
    real signal); dotted lines are the frequencies of the series' period and of half of it.
    """
    figure, (disc, axes) = panels(2, 2.5)
    circle = np.linspace(0, np.pi, 200)
    disc.plot(np.cos(circle), np.sin(circle), color=GREY, lw=0.8)
    disc.axhline(0, color=GREY, lw=0.5)
    looks = {
        "at the start": {"marker": "o", "facecolors": "none", "edgecolors": GREY, "linewidths": 0.9},
        "trained": {"marker": "D", "color": PALETTE[0], "linewidths": 0},
    }
    lines = {"at the start": {"color": GREY, "ls": "--"}, "trained": {"color": PALETTE[0], "ls": "-"}}
    for name, look in looks.items():
        own = poles[poles["layer"] == name]
        disc.scatter(own["re"], own["im"].abs(), s=22, label=name, zorder=3, **look)
        own = gains[gains["layer"] == name]
        axes.plot(own["frequency"], own["gain"], lw=1.2, label=name, **lines[name])
    for share, text in ((1, period), (2, f"{period / 2:g}")):
        angle = 2 * np.pi * share / period
        disc.plot([0, 1.07 * np.cos(angle)], [0, 1.07 * np.sin(angle)], color=GREY, lw=0.8, ls=":")
        disc.annotate(f"{text} {step}s", 1.1 * np.array([np.cos(angle), np.sin(angle)]), fontsize=7, va="center")
        axes.axvline(share / period, color=GREY, lw=0.8, ls=":")
    disc.set(aspect="equal", xlim=(min(0.0, poles["re"].min()) - 0.1, 1.6), ylim=(-0.06, 1.06), xticks=(0.0, 0.5, 1.0))
    disc.set(xlabel=r"$\mathrm{Re}\,\lambda$", ylabel=r"$|\mathrm{Im}\,\lambda|$", title="poles")
    axes.set(xscale="log", yscale="log", title="gain")
    axes.set(xlabel=f"frequency (cycles per {step})", ylabel="gain, RMS over channels")
    plain_ticks(axes.yaxis)
    axes.legend(loc="center left")
    return figure


LOOKS = tuple(zip(PALETTE, "osD^v", ("-", "--", ":", "-.", "-"), strict=False))


def speed(table: pd.DataFrame) -> Figure:
    """Seconds of the whole sublayer, forward and backward, against length; and how many times faster than attention."""
    figure, (left, right) = panels(2, 2.7)
    cases = {
        f"$k$ = {k}" + (", by FFT" if engine == "fft" else ""): part
        for (engine, k), part in table.groupby(["engine", "k"])
        if engine == "auto" or k == table["k"].min()
    }
    peer = table.drop_duplicates("n").dropna(subset="peer_seconds")
    cases["attention"] = peer.assign(seconds=peer["peer_seconds"])
    for (name, part), look in zip(cases.items(), LOOKS, strict=False):
        mean_curve(left, part.assign(milliseconds=1e3 * part["seconds"]), "n", "milliseconds", look, label=name)
        if name != "attention":
            mean_curve(right, part, "n", "ratio", look)
    targets = table.dropna(subset="target").drop_duplicates("n")
    right.plot(targets["n"], targets["target"], ls="", marker="_", ms=13, mew=1.6, color="k", label="target")
    right.axhline(1, color=GREY, lw=0.8)
    left.set(ylabel="forward and backward (ms)", title="time", yscale="log")
    right.set(ylabel="times faster than attention", title="ratio")
    right.set_yscale("log", base=2)
    right.yaxis.set_major_formatter("{x:g}")
    for axes in (left, right):
        axes.set_xlabel("sequence length $n$ (tokens)")
        axes.set_xscale("log", base=2)
        axes.margins(x=0.08)
        axes.legend(loc="upper left")
    return figure


RELATIVES = dict(
    zip(
        MODELS,
        zip(PALETTE[:6] + PALETTE[7:8], "osD^vP<", ("-", "--", ":", "-.", "-", "--", ":"), strict=True),
        strict=True,
    )
)


def relatives(timed: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Milliseconds of a sublayer against length, a line style for each; test accuracy on pixels, by task."""
    figure, (left, right) = panels(2, 3.0)
    for model, look in RELATIVES.items():
        own = timed[timed["model"] == model]
        mean_curve(left, own.assign(ms=1e3 * own["seconds"]), "n", "ms", look, label=model)
    left.set(xlabel="sequence length $n$ (tokens)", ylabel="forward and backward (ms)", title="sublayer", yscale="log")
    left.set_xscale("log", base=2)
    plain_ticks(left.yaxis)
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 3, "columnspacing": 1.0}
    left.legend(**below)
    percent = runs.assign(percent=100 * runs["accuracy"])
    looks = {"sequential": (PALETTE[0], "o", ""), "permuted": (PALETTE[1], "s", "")}
    seeds_with_interval(right, percent, "percent", "model", group="task", looks=looks, order=list(RELATIVES))
    right.axvline(10, color=GREY, lw=0.8, ls=":")  # chance
    right.set(xlabel="test accuracy (%)", title="images, pixel by pixel")
    right.legend(**below)
    return figure


def steps(table: pd.DataFrame) -> Figure:
    """One token after a context: microseconds, and bytes of the state or cache, against the length of the context."""
    figure, (left, right) = panels(2, 2.4)
    ours, peer = ("seconds", "state_bytes"), ("peer_seconds", "cache_bytes")
    sides = {"resonance, its state": ours, "attention, its cache": peer}
    for (name, (seconds, size)), look in zip(sides.items(), (LOOKS[0], LOOKS[3]), strict=True):
        scaled = table.assign(microseconds=1e6 * table[seconds], megabytes=table[size] / 1e6)
        mean_curve(left, scaled, "context", "microseconds", look, label=name)
        mean_curve(right, scaled, "context", "megabytes", look)
    left.set(ylabel=r"one token (µs)", title="time")
    right.set(ylabel="state of a sequence (MB)", title="memory")
    for axes in (left, right):
        axes.set_xlabel("context (tokens)")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.margins(x=0.08, y=0.15)
    plain_ticks(left.yaxis)
    left.legend(loc="upper left")
    return figure
