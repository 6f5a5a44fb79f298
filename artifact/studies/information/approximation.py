"""How well k frequencies approximate a signal or a filter: theorem, bound, measured slopes.

    glossary   code        report
               x           n samples of a grid of N = n, orthonormal spectrum X_f, multiplicity c_f
               k           kept frequencies f < k, one side of the spectrum, k < N/2
               s           smoothness: |x|_s^2 = sum_f c_f f^2s |X_f|^2, f in cycles per grid
               transfer    H_f, what a circular filter multiplies frequency f by

Approximation (thm:approximation): the layer with unit weights projects on the band, and

    |x - P_k x| <= k^-s |x|_s,

while every linear map of rank at most 2k - 1 errs on some x by k^-s |x|_s or more: no map of its rank does better.
A jump limits s to 1/2.  The grid is periodic, so the ends of the window are a jump, as are the ends of a zero-padded
sequence: each jump J alone gives an error of |J| / (pi sqrt(2k)), with x scaled to a mean square.
A k-band layer approximates a circular filter within max over f >= k of |H_f|, and no k-band layer is closer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from artifact.studies.common.growth import slope
from artifact.studies.common.statistics import mean_interval
from artifact.studies.information.information import layer_matrix
from resonance.layers import BandMixing


@torch.no_grad()
def filter_layer(transfer: Tensor, k: int) -> BandMixing:
    """The k-band layer nearest to a circular filter, in float64 (thm:approximation): its weights are H_f for f < k."""
    layer = BandMixing(1, k, interference=False, engine="fft").double()
    h = transfer[:k, None].to(torch.complex128)
    layer.weight.set_(h.real, h.imag)
    return layer


def projecting_layer(k: int) -> BandMixing:
    """The layer of k frequencies with unit weights and no interference: the projection P_k."""
    return filter_layer(torch.ones(k), k)


@torch.no_grad()
def projection_error(x: Tensor, k: int) -> Tensor:
    """|x - P_k x| of each signal, (batch,), in root mean square over the n samples; x is (batch, n)."""
    x = x.double()
    return (x - projecting_layer(k)(x[..., None])[..., 0]).square().mean(dim=1).sqrt()


def seminorm(x: Tensor, s: float) -> Tensor:
    """Sobolev seminorm |x|_s = (1/n sum_f c_f f^2s |X_f|^2)^(1/2) of signals (batch, n); s = 0: standard deviation."""
    n = x.shape[1]
    spectrum = torch.fft.rfft(x.double(), dim=1, norm="ortho").abs().square() / n
    f = torch.arange(spectrum.shape[1], dtype=torch.float64)
    c = torch.where((f == 0) | (2 * f == n), 1.0, 2.0)
    return (c[1:] * f[1:] ** (2 * s) * spectrum[:, 1:]).sum(dim=1).sqrt()


def worst_error(matrix: Tensor, s: float) -> float:
    """The largest |x - T x| / |x|_s over signals x of mean zero, by an SVD of the real T (n, n) (thm:approximation)."""
    n = len(matrix)
    spectrum = torch.fft.fft(torch.eye(n, dtype=torch.float64), norm="ortho")
    f = torch.arange(n, dtype=torch.float64)
    f = torch.minimum(f, n - f)
    scale = torch.where(f > 0, f.clamp_min(1) ** -s, 0.0)
    unit_ball = (spectrum.mH * scale) @ spectrum  # signals of mean zero with |x|_s <= 1
    return float(torch.linalg.matrix_norm((torch.eye(n) - matrix.double()) @ unit_ball.real, 2))


# --------------------------------------------------------------------------- signals of known smoothness


def random_signals(n: int, s: float, batch: int, generator: torch.Generator) -> Tensor:
    """Gaussian signals (batch, n) with E|X_f|^2 ~ f^-(2s + 1): error of order k^-s, in every class below s."""
    f = torch.arange(n // 2 + 1, dtype=torch.float64)
    scale = torch.where(f > 0, f.clamp_min(1) ** -(s + 0.5), 0.0)
    parts = torch.randn(2, batch, len(f), dtype=torch.float64, generator=generator)
    return torch.fft.irfft(torch.complex(*parts) * scale, n=n, dim=1) * n


def _bernoulli(m: int) -> Callable[[np.ndarray], np.ndarray]:
    from scipy.special import bernoulli

    numbers = bernoulli(m)
    return np.poly1d([math.comb(m, j) * numbers[j] for j in range(m + 1)])


# Name -> (signal on [0, 1), the slope that theory gives).  The Bernoulli polynomial of degree m, continued
# periodically, jumps in its derivative of order m - 1 and nowhere else.
SHAPES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "jump": (_bernoulli(1), -0.5),
    "kink": (_bernoulli(2), -1.5),
    "second derivative jumps": (_bernoulli(3), -2.5),
    "smooth, ends differ": (np.exp, -0.5),
    "the same, mirrored": (lambda t: np.exp(1 - np.abs(2 * t - 1)), -1.5),
    "smooth and periodic": (lambda t: np.exp(np.cos(2 * np.pi * t)), -math.inf),
    "the same, zero-padded": (lambda t: np.where(t < 0.75, np.exp(np.cos(2 * np.pi * t / 0.75)), 0.0), -0.5),
}


def error_curves(n: int, ks: Iterable[int]) -> pd.DataFrame:
    """The root mean square error of k frequencies on each of `SHAPES`, and the predicted slope."""
    t = (np.arange(n) + 0.5) / n  # no jump coincides with a sample
    rows = [
        (name, k, projection_error(torch.from_numpy(shape(t))[None], k).item(), predicted)
        for name, (shape, predicted) in SHAPES.items()
        for k in ks
    ]
    return pd.DataFrame(rows, columns=["signal", "k", "error", "predicted"])


def random_curves(n: int, ks: Iterable[int], orders: Iterable[float], batch: int, *, seed: int) -> pd.DataFrame:
    """Errors of random signals of each order s, and the bound k^-s' |x|_s' for s' = s - 1/10: a row a draw.

    The seminorm of order s itself grows with the grid's logarithm, so the bound is taken just below it.
    """
    generator = torch.Generator().manual_seed(seed)
    tables = []
    for s in orders:
        x = random_signals(n, s, batch, generator)
        x = x / seminorm(x, 0.0)[:, None]
        norm = seminorm(x, s - 0.1)
        for k in ks:
            columns = {"draw": range(batch), "error": projection_error(x, k), "bound": norm * k ** -(s - 0.1)}
            tables.append(pd.DataFrame({"s": s, "k": k} | columns))
    return pd.concat(tables, ignore_index=True)


def slopes(curves: pd.DataFrame, by: str) -> pd.DataFrame:
    """The slope of log error against log(k - 1/2), the band's edge, of each group `by`, with a 95% interval.

    With a column `draw` the interval is Student's over draws; else that of the fit over k.
    """
    rows = []
    for name, group in curves.groupby(by, sort=False):
        if "draw" in group:
            fits = mean_interval(slope(one["k"] - 0.5, one["error"])[0] for _, one in group.groupby("draw"))
        else:
            fits = slope(group["k"] - 0.5, group["error"])
        rows.append((name, *fits))
    return pd.DataFrame(rows, columns=[by, "slope", "low", "high"])


# --------------------------------------------------------------------------- filters


def filter_matrix(transfer: Tensor) -> Tensor:
    """The circular filter of a real or complex transfer function H_f, f = 0 .. n/2, as a real matrix (n, n)."""
    n = 2 * (len(transfer) - 1)
    spectrum = torch.fft.rfft(torch.eye(n, dtype=torch.float64), dim=0)
    return torch.fft.irfft(transfer[:, None] * spectrum, n=n, dim=0)


def filter_curves(n: int, ks: Iterable[int], orders: Iterable[float]) -> pd.DataFrame:
    """The error, in operator norm, of k-band layers for the filters H_f = (1 + f^2)^(-r/2) e^(i f), and its bound."""
    rows = []
    f = torch.arange(n // 2 + 1, dtype=torch.float64)
    for r in orders:
        transfer = torch.polar((1 + f.square()) ** (-r / 2), f)
        target = filter_matrix(transfer)
        for k in ks:
            error = torch.linalg.matrix_norm(target - layer_matrix(filter_layer(transfer, k), n), 2).item()
            rows.append((r, k, error, transfer[k:-1].abs().max().item()))
    return pd.DataFrame(rows, columns=["r", "k", "error", "bound"])
