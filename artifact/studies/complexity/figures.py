"""Figures of `03_complexity`: each draws saved results and returns the figure (style: `plots`)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from artifact.studies.common.growth import LAWS
from artifact.studies.common.plots import PALETTE, WIDTH, panels, use_style
from artifact.studies.complexity.printed import PRINTED_POINTS

LAW_LABELS = {"n": "$n$", "n log n": r"$n\,\log n$", "n^1.5": "$n^{1.5}$", "n^2": "$n^2$"}
PEERS = {"fft": "torch.fft", "dense": "one product"}
MODEL_STYLE = {
    "resonance, fft": ("o", "-"),
    "resonance, dense": ("s", "-"),
    "resonance, k = sqrt(n log n)": ("P", "--"),
    "resonance, k = n / log n": ("X", "--"),
    "resonance, k = n/4": ("D", "--"),
    "Transformer layer": ("^", "-"),
    "resonance, fast": ("v", "-"),
}
LABELS = {
    "resonance, k = sqrt(n log n)": r"resonance, $k = (n\,\log n)^{1/2}$",
    "resonance, k = n / log n": r"resonance, $k = n/\log n$",
    "resonance, k = n/4": "resonance, $k = n/4$",
}


def growth(results: pd.DataFrame) -> Figure:
    """Operations and time of each model against length, log-log."""
    figure, (left, right) = panels(2, 3.0)
    for (name, (marker, line)), colour in zip(MODEL_STYLE.items(), PALETTE, strict=False):
        group = results[results["model"] == name]
        look = {"marker": marker, "ls": line, "ms": 3.5, "lw": 1.1, "color": colour}
        left.plot(group["n"], group["operations"], label=LABELS.get(name, name), **look)
        right.plot(group["n"], 1e3 * group["seconds"], **look)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("sequence length $n$ (samples)")
    left.set(ylabel="operations, forward", title="counted")
    right.set(ylabel="time, forward + backward (ms)", title="measured")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def function_bound(errors: pd.DataFrame, transforms: pd.DataFrame) -> Figure:
    """The residual of a block's waves on p functions with its bound, and the error of whole transforms by precision."""
    figure, (left, right) = panels(2, 3.0)
    for (theta, group), colour, marker in zip(errors.groupby("theta"), PALETTE, "osD^v", strict=False):
        left.plot(group["functions"], group["bound"], lw=1, color=colour)
        label = rf"$\theta$ = {theta:g}"
        left.plot(group["functions"], group["error"], ls="", marker=marker, ms=3.5, color=colour, label=label)
    left.set(
        yscale="log", xlabel="functions a block $p$", ylabel=r"largest residual $\rho$", title="functions: bound (line)"
    )
    for (name, group), colour, marker in zip(transforms.groupby("dtype", sort=False), PALETTE, "osD", strict=False):
        right.plot(group["n"], group["error"], marker=marker, ms=3.5, lw=1.1, color=colour, label=name)
        right.plot(group["n"], group["tolerance"], ls=":", lw=1, color=colour)
    right.set(yscale="log", xlabel="sequence length $n$ (samples)", ylabel=r"largest error / $\Vert x\Vert$")
    right.set(title="whole transform: tolerance (dotted)")
    right.set_xscale("log", base=2)
    for axes in (left, right):
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=4, columnspacing=1.0, handletextpad=0.3)
    return figure


def engine_map(results: pd.DataFrame) -> Figure:
    """How many times faster "auto" is than torch.fft and than one product, forward and backward, over k / n and n."""
    both = results[results["pass"] == "both"]
    ours = both.apply(lambda row: row[row["chosen"]], axis=1)
    table = both.assign(**{peer: both[engine] / ours for engine, peer in PEERS.items()})
    channels = sorted(table["d"].unique())
    use_style()
    figure, rows = plt.subplots(
        len(PEERS), len(channels), figsize=(WIDTH, 4.4), sharex=True, sharey=True, squeeze=False
    )
    for peer, row in zip(PEERS.values(), rows, strict=True):
        for d, axes in zip(channels, row, strict=True):
            ratios = table[table["d"] == d].pivot(index="share", columns="n", values=peer)
            ratios = ratios.reindex(index=sorted(table["share"].unique()), columns=sorted(table["n"].unique()))
            steps = np.log2(ratios.to_numpy(float))
            mesh = axes.pcolormesh(steps, cmap="PuOr", vmin=-3, vmax=3, edgecolors="white", lw=0.5, rasterized=True)
            for (i, j), ratio in np.ndenumerate(ratios.to_numpy(float)):
                if np.isfinite(ratio):
                    ink = "white" if abs(steps[i, j]) > 2 else "black"
                    axes.text(j + 0.5, i + 0.5, f"{ratio:.1f}", ha="center", va="center", fontsize=7, color=ink)
            powers = [f"$2^{{{int(n).bit_length() - 1}}}$" for n in ratios.columns]
            axes.set_xticks(np.arange(len(powers)) + 0.5, powers)
            axes.set_yticks(np.arange(len(ratios)) + 0.5, [f"1/{round(1 / share)}" for share in ratios.index])
            axes.set_title(f"{peer}, $d$ = {d}")
            axes.grid(visible=False)
    figure.supxlabel("sequence length $n$ (samples)", fontsize=9)
    figure.supylabel("kept share of the band $k/n$", fontsize=9)
    bar = figure.colorbar(mesh, ax=rows, ticks=range(-3, 4), shrink=0.7)
    bar.ax.set_yticklabels(["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    bar.set_label("time of the peer over ours")
    return figure


def printed_fit(fits: pd.DataFrame) -> Figure:
    """The five printed timings with every growth law fitted to them: they do not separate the laws."""
    figure, (axes,) = panels(1, 2.6)
    n = np.geomspace(56, 1200, 200)
    for (_, fit), line, colour in zip(fits.iterrows(), ("-", "--", "-.", ":"), PALETTE, strict=False):
        label = f"{LAW_LABELS[fit['law']]}: $R^2$ = {fit['r2']:.4f}"
        time = fit["plain_a"] * LAWS[fit["law"]](n) + fit["plain_c"]
        axes.plot(n, time, ls=line, lw=1.2, color=colour, label=label)
    axes.plot(PRINTED_POINTS["n"], PRINTED_POINTS["time"], "ko", ms=4, label="printed")
    axes.set_xscale("log", base=2)
    axes.set(xlabel="sequence length $n$ (tokens)", ylabel="printed time (ms)", ylim=(0, 330))
    axes.legend(loc="upper left")
    return figure
