"""Figures of `00_tour`: one for each part of the library."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from artifact.studies.common.plots import GREY, PALETTE, panels
from resonance.forecaster import Forecast


def band(x: Tensor, smooth: Tensor, clean: Tensor) -> Figure:
    """A signal (1, n, 1), what its kept band has of it, and what it was before the noise (n,)."""
    figure, (axes,) = panels(1, 2.0)
    axes.plot(x[0, :, 0], color=GREY, lw=0.7, label="signal")
    axes.plot(clean, color="black", lw=1, ls="--", label="without noise")
    axes.plot(smooth[0, :, 0], color=PALETTE[0], lw=1.5, label="kept band")
    axes.set(xlabel="sample", ylabel="value")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure


def delay(losses: Sequence[float], phases: Tensor, *, delay: int, n: int) -> Figure:
    """Relative error in training, and the learned phase of each frequency beside that of a delay, in turns."""
    figure, (left, right) = panels(2, 2.0)
    left.semilogy(losses, color=PALETTE[0], lw=1)
    left.set(xlabel="step", ylabel="relative squared error")
    frequency = np.arange(len(phases))
    expected = -frequency * delay / n
    right.plot(frequency, (expected + 0.5) % 1 - 0.5, color="black", lw=1, ls="--", label=f"a delay of {delay} samples")
    right.plot(frequency, phases / (2 * torch.pi), "o", ms=3, color=PALETTE[0], label="learned")
    right.set(xlabel="frequency (cycles per sequence)", ylabel="phase (turns)")
    right.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def hologram(fringes: Tensor) -> Figure:
    """The interference pattern of a memory, (dim, aperture)."""
    figure, (axes,) = panels(1, 1.8)
    axes.imshow(fringes, cmap="gray", aspect="auto", interpolation="nearest")
    axes.set(xlabel="pixel", ylabel="channel")
    return figure


def training(losses: Sequence[float]) -> Figure:
    """Loss of each step."""
    figure, (axes,) = panels(1, 1.8)
    axes.plot(losses, color=PALETTE[0], lw=1)
    axes.axhline(np.log(2), color="black", lw=0.8, ls="--")
    axes.annotate("chance", (len(losses), np.log(2)), xytext=(0, -3), textcoords="offset points", ha="right", va="top")
    axes.set(xlabel="step", ylabel="loss (nats)")
    return figure


def forecast(values: np.ndarray, coming: Forecast, shown: int = 200) -> Figure:
    """The last values of a series (steps,), the forecast and its intervals."""
    figure, (axes,) = panels(1, 2.0)
    axes.plot(np.arange(len(values))[-shown:], values[-shown:], color=GREY, lw=0.8, label="measured")
    axes.plot(coming.times, coming.values[:, 0], color=PALETTE[0], lw=1.5, label="forecast")
    band = coming.lower[:, 0], coming.upper[:, 0]
    axes.fill_between(coming.times, *band, color=PALETTE[0], alpha=0.2, lw=0, label=f"intervals of {coming.level:.0%}")
    axes.set(xlabel="hour", ylabel="value")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure
