"""Gradients of a mixing layer against the sequence's length, and at the ends of the band, DC and Nyquist.

Length (prop:length): for a mean squared error with residual e and k fixed,

    sum |g| <= 2 kappa rms(x) rms(e),    kappa = |C^1/2 M C^-1/2|_2,

whatever n; the gradient of noise is far below it and falls as 1/n, that of a tone on a kept frequency is constant.  A
sum loss multiplies every gradient by the number of outputs: that of a tone then grows as n.

Ends (prop:ends): at DC and Nyquist X and G of a real signal are real, so g is real.  The output depends on
Re w = r cos phi alone: the curvature along Im w is zero, and (dL/dr, dL/dphi) is parallel to (cos phi, -r sin phi).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor
from torch.func import functional_call, hessian

from resonance.band import make_band, next_power_of_two
from resonance.layers import BandMixing

GRADIENTS = ("magnitude", "phase", "input")


def mixing_norm(mixing: BandMixing, x: Tensor) -> float:
    """kappa = |C^1/2 M C^-1/2|_2 of a layer for sequences like x (prop:length): 1 without interference."""
    if mixing.interference is None:
        return 1.0
    root = make_band(x.shape[1], mixing.num_frequencies).multiplicity(x).sqrt()
    matrix = torch.complex(mixing.interference.re, mixing.interference.im).detach() * (root[:, None] / root)
    return torch.linalg.matrix_norm(matrix, 2).item()


def length_scaling(
    lengths: Iterable[int], *, seeds: int, seed: int = 0, k: int = 16, dim: int = 2, batch: int = 4
) -> pd.DataFrame:
    """Norms of a fresh layer's gradients at each length, under a mean and a sum of squared errors (prop:length).

    The signal is noise, or a tone: cosines of frequency k // 2 and unit power.  The target is the signal plus noise of
    unit power, so that neither magnitudes nor phases are at an optimum.  of_bound: sum |g| over its bound.
    """
    rows = []
    for n in lengths:
        for index in range(seeds):
            torch.manual_seed(1000 * seed + index)
            mixing = BandMixing(dim, k, engine="fft").double()
            noise, other = torch.randn(2, batch, n, dim, dtype=torch.float64)
            angle = 2 * math.pi * (torch.arange(n, dtype=torch.float64) * (k // 2) / next_power_of_two(n))
            tone = math.sqrt(2) * torch.cos(angle[:, None] + 2 * math.pi * torch.rand(batch, 1, dim).double())
            for signal, x in {"noise": noise, "tone": tone}.items():
                row = {"signal": signal, "n": n, "seed": index}
                rows += [row | {"loss": loss} | norms for loss, norms in _norms(mixing, x, x + other).items()]
    return pd.DataFrame(rows)


def _norms(mixing: BandMixing, x: Tensor, target: Tensor) -> dict[str, dict[str, float]]:
    leaf, weight = x.clone().requires_grad_(True), mixing.weight
    error = mixing(leaf) - target
    dr, dphi, dx = torch.autograd.grad(error.square().mean(), [weight.magnitude, weight.phase, leaf])
    total = torch.hypot(dr, dphi / weight.magnitude).sum().item()
    bound = 2 * mixing_norm(mixing, x) * math.sqrt(x.square().mean().item() * error.square().mean().item())
    norms = dict(zip(GRADIENTS, (g.norm().item() for g in (dr, dphi, dx)), strict=True))
    summed = {name: value * x.numel() for name, value in norms.items()}
    return {"mean": norms | {"of_bound": total / bound}, "sum": summed | {"of_bound": total / bound}}


def length_exponents(scaling: pd.DataFrame) -> pd.DataFrame:
    """The exponent of n in each gradient's norm, by least squares over log-log medians: a row each."""
    rows = []
    for (signal, loss), group in scaling.groupby(["signal", "loss"], sort=False):
        medians = group.groupby("n")[list(GRADIENTS)].median()
        for name in GRADIENTS:
            rows.append((signal, loss, name, stats.linregress(np.log(medians.index), np.log(medians[name])).slope))
    return pd.DataFrame(rows, columns=["signal", "loss", "gradient", "exponent"])


# --------------------------------------------------------------------------- DC and Nyquist


def end_bins(n: int, *, seed: int, batch: int = 4) -> pd.DataFrame:
    """The effect of each weight's imaginary part on a smooth loss, with interference and without (prop:ends).

    imaginary: |Im g| / |g|, also the part of (dL/dr, dL/dphi / r) across (cos phi, -sin phi).
    curvature: smaller over larger eigenvalue (in size) of the loss's Hessian in (Re w, Im w).
    """
    k = next_power_of_two(n) // 2 + 1  # the whole band
    tables = []
    for interference in (False, True):
        torch.manual_seed(seed)
        mixing = BandMixing(1, k, engine="fft", interference=interference).double().requires_grad_(False)
        x, target = torch.randn(2, batch, n, 1, dtype=torch.float64)
        w = torch.stack(mixing.weight.pair()).detach()[..., 0]  # (2, k)

        def loss(w, mixing=mixing, x=x, target=target):
            polar = {"magnitude": torch.hypot(w[0], w[1]), "phase": torch.atan2(w[1], w[0])}
            polar = {f"weight.{name}": value[:, None] for name, value in polar.items()}
            return (torch.tanh(functional_call(mixing, polar, (x,))) - target).square().mean()

        g = torch.func.grad(loss)(w)
        blocks = torch.stack([hessian(loss)(w)[:, f, :, f] for f in range(k)])
        curvature = torch.linalg.eigvalsh(blocks).abs().sort(dim=1).values
        columns = {"imaginary": g[1].abs() / g.norm(dim=0), "curvature": curvature[:, 0] / curvature[:, 1]}
        tables.append(pd.DataFrame(columns | {"frequency": range(k), "interference": interference}))
    return pd.concat(tables, ignore_index=True)
