"""Figures of `19_deployment`, each drawn from saved results."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from artifact.studies.common.plots import PALETTE, panels
from artifact.studies.deployment.service import FRAME_S, KEYS

LOOKS = tuple(zip(PALETTE, "os^Dv", ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1))), strict=False))


def latency(summary: pd.DataFrame, frames: pd.DataFrame) -> Figure:
    """Latency against clients at once (left), p50 to p99; share of frames of sound that take longer (right)."""
    figure, (left, right) = panels(2, 2.9)
    for endpoint, (colour, marker, line) in zip(KEYS, LOOKS, strict=False):
        own = summary[summary["endpoint"] == endpoint].sort_values("clients")
        left.plot(own["clients"], own["p50"], color=colour, marker=marker, ls=line, ms=3.5, lw=1.2, label=endpoint)
        left.fill_between(own["clients"], own["p50"], own["p99"], color=colour, alpha=0.15, lw=0)
    for (clients, own), (colour, _, line) in zip(frames.groupby("clients"), LOOKS, strict=False):
        name = f"{clients} stream" + "s" * (clients > 1)
        right.plot(own["milliseconds"], 100 * own["longer"], color=colour, ls=line, lw=1.3, label=name)
    counts = sorted(summary["clients"].unique())
    left.set(xscale="log", yscale="log", xlabel="clients at once", ylabel="latency (ms), p50 to p99")
    left.set_xticks(counts, [str(count) for count in counts])
    left.minorticks_off()
    right.set(
        xscale="log", yscale="log", xlabel="latency of a frame of sound (ms)", ylabel="frames that take longer (%)"
    )
    right.axvline(1000 * FRAME_S, color="k", lw=0.9, label="length of a frame")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure
