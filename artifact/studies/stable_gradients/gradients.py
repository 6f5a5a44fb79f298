"""Gradients of polar weights: the printed formulas, the corrected ones (thm:polar), and bounds (thm:bounds, thm:depth).

    glossary   code    report
               g       dL/da + i dL/db, PyTorch's gradient of w = a + i b
               W       dL/dw, the Wirtinger derivative: conj(g) / 2
               u       e^(i phi), w = r u; the magnitude r may be negative, and then u = -w / |w|
               c       multiplicity of a kept frequency (1 at DC and Nyquist, else 2)
               G       analysis of dL/dy, propagated back through the interference matrix

thm:polar     dL/dr = Re(g conj(u)), dL/dphi = Im(g conj(w))
thm:depth-start  over random phases the growth with depth is bounded by the root of a product of 1 + (a gamma/s)^2
thm:bounds    g_k = c_k sum_b conj(X_bk) G_bk, hence |g_k| <= c_k |X_k| |G_k| (norms over the batch) and
              sum_k |g_k| <= |x|_F |dL/dy|_F for the layer without interference
eq:lipschitz  |g_k| <= sqrt(c_k) kappa |X_k| |dL/dy|_F, and |dL/dy|_F <= Lambda for a loss of that Lipschitz constant
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from artifact.studies.stable_gradients.scaling import mixing_norm
from resonance.band import make_band, next_power_of_two
from resonance.layers import BandMixing, ResonanceLayer
from resonance.spectral import analysis, synthesis

# What "dL/dw" may mean in the printed formulas, as a function of PyTorch's gradient g: the readings that were tried.
CONVENTIONS = {
    "PyTorch gradient g": lambda g: g,
    "conjugate gradient conj(g)": lambda g: g.conj(),
    "Wirtinger derivative conj(g)/2": lambda g: g.conj() / 2,
    "its conjugate g/2": lambda g: g / 2,
}


def polar_gradients(g: Tensor, w: Tensor, phase: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(dL/dr, dL/dphi) = (Re(g conj(u)), Im(g conj(w))), u = e^(i phi), from complex g and w = r u (thm:polar).

    Without a phase u = w / |w|, which is e^(i phi) only where r > 0.
    """
    u = w / w.abs() if phase is None else torch.polar(torch.ones_like(phase), phase)
    return (g * u.conj()).real, (g * w.conj()).imag


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
    n: int,
    k: int,
    dim: int,
    *,
    batch: int = 4,
    seed: int,
    interference: bool = True,
    scale: float = 1.0,
    negative: bool = False,
) -> GradientProblem:
    """Draw a layer with random weights and a random smooth loss, times `scale`; differentiate it both ways.

    Magnitudes lie in 0.1 .. 2; `negative` turns the sign of those of the even frequencies.

    The polar gradients come from the layer itself, g from a complex leaf tensor in an independent computation of the
    same map.
    """
    torch.manual_seed(seed)
    mixing = BandMixing(dim, k, engine="fft", interference=interference).double()
    weight = mixing.weight
    with torch.no_grad():
        weight.magnitude.copy_(torch.rand_like(weight.magnitude) * 1.9 + 0.1)
        weight.phase.copy_((2 * torch.rand_like(weight.phase) - 1) * torch.pi)
        if negative:
            weight.magnitude[::2].neg_()
    x = torch.randn(batch, n, dim, dtype=torch.float64)
    target = torch.randn_like(x)

    def loss(y: Tensor) -> Tensor:
        return scale * (torch.tanh(y) - target).square().mean()

    y = mixing(x)
    cotangent, dr, dphi = torch.autograd.grad(loss(y), [y, weight.magnitude, weight.phase])
    w = torch.complex(*weight.pair()).detach().requires_grad_(True)
    spectrum = torch.complex(*analysis(x, k, engine="fft")) * w
    if mixing.interference is not None:
        spectrum = torch.complex(mixing.interference.re, mixing.interference.im).detach() @ spectrum
    other = synthesis(spectrum.real, spectrum.imag, n, grid=next_power_of_two(n), engine="fft")
    g = torch.autograd.grad(loss(other), w)[0]
    return GradientProblem(mixing, x, cotangent, w.detach(), g, dr, dphi)


def relative_error(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|, norms over all entries."""
    return ((a - b).norm() / b.norm()).item()


def check_formulas(problems: list[GradientProblem]) -> pd.DataFrame:
    """Compare printed and corrected formulas with autograd: the largest relative error over the problems.

    phase_least: the smallest error of the phase formula on one of them.
    """
    rows = []
    for problem in problems:
        formulas = {"corrected": polar_gradients(problem.g, problem.w)}
        for name, derivative in CONVENTIONS.items():
            formulas[f"printed, {name}"] = printed_gradients(derivative(problem.g), problem.w)
        dr, dphi = problem.magnitude_gradient, problem.phase_gradient
        for name, (magnitude, phase) in formulas.items():
            pairs = (magnitude, dr), (phase, dphi), (-phase, dr)
            rows.append((name, *(relative_error(*pair) for pair in pairs)))
    columns = ["formula", "magnitude_error", "phase_error", "phase_plus_magnitude"]
    errors = pd.DataFrame(rows, columns=columns).groupby("formula", sort=False)
    return errors.max().assign(phase_least=errors["phase_error"].min()).reset_index()


def bound_ratios(problem: GradientProblem) -> pd.DataFrame:
    """Each gradient over its bound (at most 1, thm:bounds): a row a weight.

    `total` is sum_k |g_k| over |X|_C |C^-1 M^H C G|_C, norms weighted by c, M = I for a layer without interference.
    """
    k, dim = problem.w.shape
    c = make_band(problem.x.shape[1], k).multiplicity(problem.x)[:, None]
    spectrum, back = (torch.complex(*analysis(x, k, engine="fft")) for x in (problem.x, problem.cotangent))
    interference = problem.mixing.interference
    if interference is not None:
        back = torch.complex(interference.re, interference.im).detach().mH @ (c * back) / c
    bound = c * spectrum.norm(dim=0) * back.norm(dim=0)
    whole = (c * spectrum.abs().square()).sum().sqrt() * (c * back.abs().square()).sum().sqrt()
    return pd.DataFrame(
        {
            "frequency": np.repeat(np.arange(k), dim),
            "g": (problem.g.abs() / bound).flatten(),
            "magnitude": (problem.magnitude_gradient.abs() / bound).flatten(),
            "phase": (problem.phase_gradient.abs() / (problem.w.abs() * bound)).flatten(),
            "total": (problem.g.abs().sum() / whole).item(),
        }
    )


def lipschitz_ratios(problem: GradientProblem) -> Tensor:
    """|g_k| over sqrt(c_k) kappa |X_k| |dL/dy|, (k, dim), at most 1 (eq:lipschitz): the tightest Lipschitz constant.

    kappa = |C^1/2 M C^-1/2|_2.  A loss that is Lipschitz in y with constant Lambda has |dL/dy| <= Lambda.
    """
    k = len(problem.w)
    c = make_band(problem.x.shape[1], k).multiplicity(problem.x)[:, None]
    spectrum = torch.complex(*analysis(problem.x, k, engine="fft"))
    kappa = mixing_norm(problem.mixing, problem.x)
    return problem.g.abs() / (c.sqrt() * kappa * spectrum.norm(dim=0) * problem.cotangent.norm())


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
    squared_error: bool = False,
) -> pd.DataFrame:
    """For each layer of a fresh stack, |dL/dh_l| / |dL/dh_L|, and its bounds for pre-norm stacks, else NaN (thm:depth).

    dL/dh_L is Gaussian noise, or with `squared_error` that of a squared error from Gaussian targets.  `magnitude`
    scales the weights, which start at 1.  Layer 0 is the input.  log10_mean: the bound over random phases, of the root
    of the mean of growth^2 prod (1 + gain^2)^-1 <= 1 (thm:depth-start).
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
    noise = torch.randn_like(h)
    gradients = torch.autograd.grad(states[-1], states, states[-1].detach() - noise if squared_error else noise)
    norms = np.array([g.norm().item() for g in gradients])
    about = {"arrangement": arrangement, "depth": depth, "seed": seed, "layer": np.arange(depth + 1)}
    bounds = dict.fromkeys(("log10_upper", "log10_mean", "log10_lower"), np.nan)
    table = pd.DataFrame(about | {"growth": norms / norms[-1]} | bounds)
    if arrangement == "pre-norm":
        gains = np.array([branch_gain(layer, state) for layer, state in zip(layers, states, strict=False)])
        for column, factors in zip(bounds, (1 + gains, np.hypot(1, gains), np.maximum(1 - gains, 0)), strict=True):
            with np.errstate(divide="ignore"):
                sums = np.cumsum(np.log10(factors)[::-1])[::-1]
            table[column] = np.maximum(np.append(sums, 0.0), -999.0)
    return table


@torch.no_grad()
def branch_gain(layer: ResonanceLayer, h: Tensor) -> float:
    """a gamma / s, a bound on the gain of a pre-norm branch at h (thm:depth, thm:depth-start).

    a = |C^1/2 M C^-1/2|_2 max|w| bounds the mixing (C = diag(c): the k x k matrix acts on one side of the spectrum,
    where inner frequencies count twice), gamma the largest LayerNorm gain, s the smallest sqrt(var + eps).
    """
    a = mixing_norm(layer.mixing, h) * layer.mixing.weight.magnitude.abs().max().item()
    s = (h.var(dim=-1, unbiased=False) + layer.norm.eps).sqrt().min().item()
    return a * layer.norm.weight.abs().max().item() / s
