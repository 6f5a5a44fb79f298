"""Gradients of polar weights: the printed formulas, the corrected ones (thm:polar), and bounds (thm:bounds, thm:depth).

    glossary   code    report
               g       dL/da + i dL/db, PyTorch's gradient of w = a + i b
               W       dL/dw, the Wirtinger derivative: conj(g) / 2
               u       w / |w|
               c       multiplicity of a kept frequency (1 at DC and Nyquist, else 2)
               G       analysis of dL/dy, propagated back through the interference matrix

thm:polar     dL/d|w| = Re(g conj(u)), dL/dphi = Im(g conj(w))
thm:bounds    g_k = c_k sum_b conj(X_bk) G_bk, hence |g_k| <= c_k |X_k| |G_k| (norms over the batch) and
              sum_k |g_k| <= |x|_F |dL/dy|_F for the layer without interference
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from resonance.band import make_band, next_power_of_two
from resonance.layers import BandMixing, ResonanceLayer
from resonance.spectral import analysis, synthesis

# What "dL/dw" may mean in the printed formulas, as a function of PyTorch's gradient g.
CONVENTIONS = {
    "PyTorch gradient g": lambda g: g,
    "conjugate gradient conj(g)": lambda g: g.conj(),
    "Wirtinger derivative conj(g)/2": lambda g: g.conj() / 2,
}


def polar_gradients(g: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """(dL/d|w|, dL/dphi) = (Re(g conj(u)), Im(g conj(w))) from complex g and w of one shape (thm:polar)."""
    return (g * (w / w.abs()).conj()).real, (g * w.conj()).imag


def printed_gradients(derivative: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """The formulas of the source: (Re(D w/|w|), Im(D (-i w)/|w|)) with D its "dL/dw"."""
    u = w / w.abs()
    return (derivative * u).real, (derivative * (-1j * u)).imag


@dataclass
class GradientProblem:
    """A mixing layer, an input and a loss, in float64, with all gradients that a check of the formulas needs."""

    mixing: BandMixing
    x: Tensor  # (batch, n, dim)
    cotangent: Tensor  # dL/dy, (batch, n, dim)
    w: Tensor  # (k, dim) complex
    g: Tensor  # (k, dim) complex, by autograd in Cartesian coordinates
    magnitude_gradient: Tensor  # by autograd in polar coordinates
    phase_gradient: Tensor


def gradient_problem(
    n: int, k: int, dim: int, *, batch: int = 4, seed: int, interference: bool = True, scale: float = 1.0
) -> GradientProblem:
    """Draw a layer with random weights and a random smooth loss, times `scale`; differentiate it both ways.

    The polar gradients come from the layer itself, g from a complex leaf tensor in an independent computation of the
    same map.
    """
    torch.manual_seed(seed)
    mixing = BandMixing(dim, k, engine="fft", interference=interference).double()
    with torch.no_grad():
        mixing.weight.magnitude.copy_(torch.rand_like(mixing.weight.magnitude) * 1.9 + 0.1)
        mixing.weight.phase.copy_((2 * torch.rand_like(mixing.weight.phase) - 1) * torch.pi)
    x = torch.randn(batch, n, dim, dtype=torch.float64)
    target = torch.randn_like(x)
    y = mixing(x).detach().requires_grad_(True)
    cotangent = torch.autograd.grad(_loss(y, target, scale), y)[0]
    _loss(mixing(x), target, scale).backward()
    re, im = mixing.weight.pair()
    w = torch.complex(re, im).detach().requires_grad_(True)
    spectrum = torch.complex(*analysis(x, k, engine="fft")) * w
    if mixing.interference is not None:
        spectrum = torch.complex(mixing.interference.re, mixing.interference.im).detach() @ spectrum
    other = synthesis(spectrum.real, spectrum.imag, n, grid=next_power_of_two(n), engine="fft")
    g = torch.autograd.grad(_loss(other, target, scale), w)[0]
    weight = mixing.weight
    return GradientProblem(mixing, x, cotangent, w.detach(), g, weight.magnitude.grad, weight.phase.grad)


def _loss(y: Tensor, target: Tensor, scale: float) -> Tensor:
    return scale * (torch.tanh(y) - target).square().mean()


def relative_error(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|, norms over all entries."""
    return ((a - b).norm() / b.norm()).item()


def check_formulas(problems: list[GradientProblem]) -> pd.DataFrame:
    """Compare printed and corrected formulas with autograd: the largest relative error over the problems."""
    rows = []
    for problem in problems:
        true = (problem.magnitude_gradient, problem.phase_gradient)
        corrected = polar_gradients(problem.g, problem.w)
        rows.append(_errors("corrected", corrected, true))
        for name, derivative in CONVENTIONS.items():
            rows.append(_errors(f"printed, {name}", printed_gradients(derivative(problem.g), problem.w), true))
    table = pd.DataFrame(rows)
    return table.groupby("formula", sort=False).max().reset_index()


def _errors(name: str, formula: tuple[Tensor, Tensor], true: tuple[Tensor, Tensor]) -> dict[str, object]:
    return {
        "formula": name,
        "magnitude_error": relative_error(formula[0], true[0]),
        "phase_error": relative_error(formula[1], true[1]),
        "phase_plus_magnitude": relative_error(-formula[1], true[0]),
    }


def bound_ratios(problem: GradientProblem) -> pd.DataFrame:
    """Each gradient over its bound in thm:bounds (at most 1): columns frequency, g, magnitude, phase, total.

    `total` is sum_k |g_k| over |X|_C |C^-1 M^H C G|_C, norms weighted by c, M = I for a layer without interference.
    In the report: thm:bounds.
    """
    k, dim = problem.w.shape
    band = make_band(problem.x.shape[1], k)
    c = band.multiplicity(problem.x)[:, None]
    spectrum = torch.complex(*analysis(problem.x, k, engine="fft"))
    back = torch.complex(*analysis(problem.cotangent, k, engine="fft"))
    mixing = problem.mixing
    if mixing.interference is not None:
        matrix = torch.complex(mixing.interference.re, mixing.interference.im).detach()
        back = matrix.mH @ (c * back) / c
    bound = c * spectrum.norm(dim=0) * back.norm(dim=0)
    whole = (c * spectrum.abs().square()).sum().sqrt() * (c * back.abs().square()).sum().sqrt()
    r = problem.w.abs()
    return pd.DataFrame(
        {
            "frequency": np.repeat(np.arange(k), dim),
            "g": (problem.g.abs() / bound).flatten(),
            "magnitude": (problem.magnitude_gradient.abs() / bound).flatten(),
            "phase": (problem.phase_gradient.abs() / (r * bound)).flatten(),
            "total": (problem.g.abs().sum() / whole).item(),
        }
    )


# --------------------------------------------------------------------------- depth


class PostNormLayer(ResonanceLayer):
    """The source's own order: LayerNorm(x + BandMixing(x))."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.mixing(x))


class UnnormedLayer(ResonanceLayer):
    """Residual, no LayerNorm: x + BandMixing(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mixing(x)


class BareLayer(ResonanceLayer):
    """No residual, no LayerNorm: BandMixing(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return self.mixing(x)


ARRANGEMENTS: dict[str, type[ResonanceLayer]] = {
    "pre-norm": ResonanceLayer,
    "post-norm, as printed": PostNormLayer,
    "residual, no norm": UnnormedLayer,
    "no residual": BareLayer,
}


def depth_profile(
    arrangement: str,
    depth: int,
    *,
    seed: int,
    n: int = 128,
    dim: int = 32,
    k: int = 32,
    batch: int = 4,
    magnitude: float = 1.0,
) -> pd.DataFrame:
    """For each layer of a fresh stack, |dL/dh_l| / |dL/dh_L|, and its bounds in thm:depth for pre-norm stacks.

    `magnitude` scales the weights, which start at 1.  Columns layer (0 is the input), growth, log10_upper,
    log10_lower; the bounds are NaN for other arrangements.
    In the report: thm:depth.
    """
    torch.manual_seed(seed)
    layers = [ARRANGEMENTS[arrangement](dim, k).double() for _ in range(depth)]
    with torch.no_grad():
        for layer in layers:
            layer.mixing.weight.magnitude.mul_(magnitude)
    h = torch.randn(batch, n, dim, dtype=torch.float64, requires_grad=True)
    states = [h]
    for layer in layers:
        states.append(layer(states[-1]))
    gradients = torch.autograd.grad(states[-1], states, torch.randn_like(h))
    norms = np.array([g.norm().item() for g in gradients])
    factors = np.array([branch_gain(a, b) for a, b in zip(layers, states, strict=False)])
    upper = np.append(np.cumsum(np.log10(1 + factors)[::-1])[::-1], 0.0)
    with np.errstate(divide="ignore"):
        lower = np.append(np.cumsum(np.log10(np.maximum(1 - factors, 0))[::-1])[::-1], 0.0)
    bounded = arrangement == "pre-norm"
    return pd.DataFrame(
        {
            "arrangement": arrangement,
            "depth": depth,
            "seed": seed,
            "layer": np.arange(depth + 1),
            "growth": norms / norms[-1],
            "log10_upper": upper if bounded else np.nan,
            "log10_lower": np.maximum(lower, -999.0) if bounded else np.nan,
        }
    )


@torch.no_grad()
def branch_gain(layer: ResonanceLayer, h: Tensor) -> float:
    """a gamma / s, a bound on the gain of a pre-norm branch at h (thm:depth).

    a = |C^1/2 M C^-1/2|_2 max|w| bounds the mixing (C = diag(c): the k x k matrix acts on one side of the spectrum,
    where inner frequencies count twice), gamma the largest LayerNorm gain, s the smallest sqrt(var + eps).
    """
    root = make_band(h.shape[1], layer.mixing.num_frequencies).multiplicity(h).sqrt()
    m = layer.mixing.interference
    matrix = torch.complex(m.re, m.im) * (root[:, None] / root)
    a = torch.linalg.matrix_norm(matrix, 2).item() * layer.mixing.weight.magnitude.abs().max().item()
    s = (h.var(dim=-1, unbiased=False) + layer.norm.eps).sqrt().min().item()
    return a * layer.norm.weight.abs().max().item() / s
