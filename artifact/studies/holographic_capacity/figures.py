"""Figures of `02_holographic_capacity`: each draws saved results and returns the figure (style: `plots`)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from artifact.studies.common.plots import (
    GREY,
    PALETTE,
    WIDTH,
    mean_bars,
    panels,
    plain_ticks,
    seeds_with_interval,
    use_style,
)
from artifact.studies.holographic_capacity.capacity import PRINTED


def illumination(points: pd.DataFrame) -> Figure:
    """The reading H R of one pattern, as printed, and that from a carrier, against the pattern; one point an entry."""
    figure, (left, right) = panels(2, 2.7)
    for axes, column, colour in ((left, "printed", PALETTE[3]), (right, "carrier", PALETTE[2])):
        axes.plot(points["pattern"], points[column], "o", ms=3, color=colour, alpha=0.6, mew=0)
        limit = 1.1 * points["pattern"].abs().max()
        axes.plot([-limit, limit], [-limit, limit], color=GREY, lw=0.9, ls="--", label="exact")
        axes.legend(loc="upper left")
        axes.set(xlabel=r"pattern, $\mathrm{Re}\,P$")
    left.set(ylabel="reading", title=r"printed: $HR$, pixel by pixel")
    right.set(title=r"a carrier: $\frac{1}{D}\sum_x H\,e^{2\pi i f x/D}$")
    return figure


def printed_table(schemes: pd.DataFrame, quantised: pd.DataFrame) -> Figure:
    """Relative error against stored bits for each number of the patterns; no scheme can be left of the line."""
    figure, (axes,) = panels(1, 3.1)
    x = np.geomspace(0.01, 400, 400)
    bound = 2.0 ** -np.minimum(x, 60)
    axes.fill_between(x, 1e-8, bound, color=PALETTE[3], alpha=0.12, lw=0)
    axes.plot(x, bound, color=PALETTE[3], lw=1.2)
    axes.text(0.055, 1.5e-5, "impossible\n(rate-distortion)", color=PALETTE[3], ha="center")
    printed = PRINTED["bits"] / (PRINTED["n"] * PRINTED["dim"])
    axes.plot(printed, PRINTED["error"], "X", ms=8, color="k", ls="", label="printed, all three rows")
    bits = quantised["bits"] * quantised["dim"] / (2 * quantised["n"])
    axes.plot(bits, quantised["error"], "-s", ms=3.5, lw=1, color=PALETTE[0], label="intensity, 2 to 12 bits a pixel")
    single = schemes[schemes["dtype"] == "float32"].groupby("scheme", sort=False)
    for (scheme, group), colour, marker in zip(single, PALETTE, "ov^D*PsX", strict=False):
        look = {"marker": marker, "color": colour, "mfc": "none" if scheme.startswith("intensity") else colour}
        axes.plot(32 * group["reals"] / group["numbers"], group["error"], ls="", ms=5, label=scheme, **look)
    axes.set(xscale="log", yscale="log", xlim=(0.01, 400), ylim=(1e-7, 100))
    axes.set(xlabel="bits stored for each real number of the patterns", ylabel="relative error")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="32-bit reals unless stated", title_fontsize=7.5)
    return figure


def limit(loads: pd.DataFrame) -> Figure:
    """Error against load, patterns over (D-1)/2, at several noise levels; lines are theory, twins overlap past 1."""
    figure, (axes,) = panels(1, 2.8)
    for (snr, group), colour, marker in zip(loads.groupby("snr", sort=False), PALETTE, "osD^", strict=False):
        label = "no noise" if np.isinf(snr) else f"SNR $10^{{{np.log10(snr):g}}}$"
        theory = group.groupby("load")["theory"].mean()
        axes.plot(theory.where(theory > 0), color=colour, lw=1)
        mean_bars(axes, group, "load", "error", marker=marker, color=colour, label=label)
    axes.axvline(1, color=GREY, lw=0.9, ls="--")
    note = {"textcoords": "offset points", "color": GREY}
    axes.annotate("exact limit $N = D/2-1$", (1, 3e-8), xytext=(-4, 0), ha="right", **note)
    axes.annotate("twins overlap", (1, 3e-8), xytext=(4, 0), **note)
    axes.set(yscale="log", xlabel="load: complex patterns over $D/2 - 1$", ylabel="relative error")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def noise(noises: pd.DataFrame, quantised: pd.DataFrame) -> Figure:
    """Error against noise and against bits a pixel; lines are the laws."""
    figure, (left, right) = panels(2, 2.8)
    loads = noises.assign(load=noises["load"].round(1))
    largest = loads["dim"].max()
    for (load, cases), colour in zip(loads.groupby("load"), PALETTE, strict=False):
        for dim, group in cases.groupby("dim"):
            left.plot(group.groupby("snr")["theory"].mean(), color=colour, lw=1)
            look = {"marker": "s", "ms": 7, "mfc": "none"}
            if dim == largest:
                look = {"marker": "o", "ms": 3.5, "label": f"load {load:g}"}
            mean_bars(left, group, "snr", "error", color=colour, **look)
    title = f"$D$ = {largest}" + "".join(f", square: {d}" for d in sorted(loads["dim"].unique())[:-1])
    left.legend(loc="lower left", title=title, title_fontsize=7.5)
    left.set(xscale="log", yscale="log", xlabel="SNR of the fringes", ylabel="relative error")
    left.set(title=r"noise: $(2N/D\,\mathrm{SNR})^{1/2}$ (lines)")
    right.plot(quantised.groupby("bits")["law"].mean(), color=PALETTE[0], lw=1)
    mean_bars(right, quantised, "bits", "error", marker="s", color=PALETTE[0])
    right.axhspan(PRINTED["error"].min(), PRINTED["error"].max(), color=GREY, alpha=0.3, lw=0)
    right.annotate("printed errors", (right.get_xlim()[1], 0.042), ha="right", va="center", fontsize=7)
    right.set(yscale="log", xlabel="bits a pixel", title=r"rounding: step$\,/\,(12D)^{1/2}$ (line)")
    return figure


def references(table: pd.DataFrame) -> Figure:
    """Error over the bound of every reference against load: measured (points), that of the best reading (lines)."""
    figure, (axes,) = panels(1, 2.6)
    for (kind, group), colour, marker in zip(table.groupby("references", sort=False), PALETTE, "osD^", strict=False):
        axes.plot(group["load"], group["expected"] / group["bound"], color=colour, lw=1)
        axes.plot(group["load"], group["error"] / group["bound"], marker, ms=4, mfc="none", color=colour, label=kind)
    axes.axhline(1, color=GREY, lw=0.9, ls="--")
    axes.set(xlabel="load: patterns over $(D-1)/2$", ylabel="error over the bound", yscale="log")
    plain_ticks(axes.yaxis)
    axes.legend(loc="upper left")
    return figure


def capacity(information: pd.DataFrame, noises: pd.DataFrame) -> Figure:
    """Left: bits against D at SNR 1, printed and true.  Right: share of Shannon's capacity against load."""
    figure, (left, right) = panels(2, 2.9)
    full = information[information["snr"] == information["snr"].min()]
    d = np.geomspace(full["dim"].min(), PRINTED["dim"].max(), 50)
    snr = full["snr"].iloc[0]
    left.plot(d, d**2 / 2 * np.log2(1 + snr), color=PALETTE[2], lw=1.1, label=r"$\frac{D^2}{2}\log_2(1+\mathrm{SNR})$")
    mean_bars(left, full, "dim", "shared", marker="o", color=PALETTE[0], label="measured")
    left.plot(d, d * np.log2(1 + snr), color=GREY, lw=1, ls=":", label=r"$A = D$, $\lambda = 1$")
    left.plot(PRINTED["dim"], PRINTED["bits"], "X", ms=7, color="k", label="printed table")
    left.plot(d, d**2 / 64, color="k", lw=0.9, ls="--", label=r"$D^2/64$: $\lambda = 8$")
    left.set(xlabel="dimension $D$", ylabel="bits", title=f"what $D\\times D$ pixels hold, SNR {snr:g}", yscale="log")
    left.set_xscale("log", base=2)
    left.legend(loc="upper left")
    one = noises[noises["dim"] == noises["dim"].max()]
    one = one.assign(share=one["shared"] / one["capacity"])
    x = np.linspace(0.02, 1, 100)
    for (snr, group), colour, marker in zip(one.groupby("snr"), PALETTE, "osD^v", strict=False):
        right.plot(x, x * np.log2(1 + snr / x) / np.log2(1 + snr), color=colour, lw=1)
        mean_bars(right, group, "load", "share", marker=marker, color=colour, label=f"SNR {snr:g}")
    right.axhline(1, color=GREY, lw=0.9, ls="--")
    right.set(xlabel="load: patterns over $D/2-1$", ylabel="share of capacity", title="reached by linear readout")
    right.set(ylim=(0, 1.08), xlim=(0, 1.05))
    right.yaxis.set_major_formatter(PercentFormatter(1))
    right.legend(loc="lower right")
    return figure


def cleanup(curve: pd.DataFrame, theory: pd.DataFrame) -> Figure:
    """Share of correct symbols against rate over capacity: mean and interval over seeds, lines theory."""
    figure, (axes,) = panels(1, 2.8)
    styles = {
        ("matched filter", "equal"): ("s", PALETTE[7], "matched filter"),
        ("message passing", "equal"): ("o", PALETTE[0], "message passing"),
        ("message passing", "graded"): ("D", PALETTE[2], "message passing,\ngraded amplitudes"),
    }
    for case, (marker, colour, label) in styles.items():
        mine, expected = (table.groupby(["decoder", "power"]).get_group(case) for table in (curve, theory))
        axes.plot(expected["rate"], expected["right"], color=colour, lw=1)
        mean_bars(axes, mine, "rate", "right", whole=1, marker=marker, color=colour, label=label)
    axes.axvline(1, color=GREY, lw=0.9, ls="--")
    axes.annotate("Shannon", (1, 0.97), xytext=(4, 0), textcoords="offset points", color=GREY)
    axes.set(xlabel="rate over the capacity of the trace", ylabel="share of symbols correct", ylim=(0, 1.05))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def album(pixels: pd.DataFrame, errors: pd.DataFrame) -> Figure:
    """One picture of hundreds in each reading, with the relative error over all pictures."""
    use_style()
    columns = -(-len(pixels.columns) // 2)
    size = round(len(pixels) ** 0.5)
    figure, axes = plt.subplots(2, columns, figsize=(WIDTH, 3.1))
    for axis in axes.flat:
        axis.axis("off")
    for axis, (_, row) in zip(axes.flat, errors.iterrows(), strict=False):
        axis.imshow(pixels[row["panel"]].to_numpy().reshape(size, size), cmap="gray", vmin=0, vmax=255)
        digits, _, power = f"{row['error']:.1e}".partition("e")
        error = rf"${digits} \times 10^{{{int(power)}}}$" if int(power) < -2 else f"{row['error']:.2g}"
        error = f"error {error}" if row["error"] > 0 else "the original"
        axis.set_title(f"{row['panel']}\n{error}", fontsize=7)
    return figure


def facts(answers: pd.DataFrame) -> Figure:
    """Share of correct answers under each condition: every seed, and the mean with its interval."""
    figure, (axes,) = panels(1, 2.2)
    reading = ("with memory", "reloaded")
    looks = {name: (PALETTE[0 if name in reading else 7], "o") for name in dict.fromkeys(answers["condition"])}
    seeds_with_interval(axes, answers, "accuracy", "condition", group="condition", looks=looks, whole=1)
    axes.axvline(answers["chance"].iloc[0], color=GREY, lw=0.9, ls="--")
    axes.annotate("chance", (answers["chance"].iloc[0], -0.45), xytext=(4, 0), textcoords="offset points", color=GREY)
    axes.set(xlabel="share of answers correct", xlim=(-0.02, 1.05))
    return figure
