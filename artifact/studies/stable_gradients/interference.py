"""Convergence of a layer with interference: its loss as rank-one factorisations, and descent from many starts.

    glossary   code        report
               m_g, w_g    column g of M times the roots of c_f, row g of the weights
               T_g         regression of the target's spectrum on input frequency g, weighted alike: (k, d)

thm:interference   with spectra uncorrelated across frequencies the loss is a constant + sum_g |m_g w_g^T - T_g|^2: no
                   spurious minima, the least value a constant + sum_g sum_{i>=2} sigma_i(T_g)^2, (M, W) defined up to
                   (M D^-1, D W)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from resonance.layers import BandMixing
from resonance.spectral import analysis, synthesis


@dataclass(frozen=True)
class Regression:
    """One layer on the inner frequencies 1 .. k of n samples, with inputs, targets and a squared loss, in float64."""

    x: Tensor  # (batch, n, d)
    target: Tensor  # (batch, n, d)
    k: int

    def layer(self) -> BandMixing:
        """A fresh layer of d channels and frequencies 1 .. k."""
        return BandMixing(self.x.shape[2], frequencies=range(1, self.k + 1), engine="dense").double()

    def loss(self, output: Tensor) -> Tensor:
        """The squared error, summed over positions and channels, mean over the batch."""
        return (output - self.target).square().sum() / len(self.x)

    def spectra(self) -> tuple[Tensor, Tensor]:
        """Spectra of inputs and targets on the band, (batch, k, d) complex each."""
        return tuple(torch.complex(*analysis(s, range(1, self.k + 1), engine="dense")) for s in (self.x, self.target))


def uncorrelated_regression(k: int, dim: int, n: int, *, seed: int) -> Regression:
    """Draw a `Regression` whose inputs are uncorrelated across frequencies, exactly, in its batch of 2k samples.

    In each channel the columns of the batch's spectra are orthogonal, of powers between 1/2 and 2; targets are white
    noise.  Raises ValueError unless all k frequencies are inner ones, k < n/2, n a power of two.
    """
    if not 0 < k < n / 2 or n & (n - 1):
        raise ValueError(f"expected 0 < k < n/2 and n a power of two, got k={k} and n={n}")
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(dim, 2 * k, k, 2, generator=generator, dtype=torch.float64)
    columns = torch.linalg.qr(torch.view_as_complex(draw))[0].permute(1, 2, 0)  # (2k, k, d)
    powers = 2.0 ** (2 * torch.rand(k, dim, generator=generator, dtype=torch.float64) - 1)
    spectrum = columns * (2 * k * powers).sqrt()
    x = synthesis(spectrum.real, spectrum.imag, n, frequencies=range(1, k + 1), engine="dense")
    return Regression(x, torch.randn(x.shape, generator=generator, dtype=torch.float64), k)


def factorisation(task: Regression) -> tuple[Tensor, float, Tensor]:
    """(T, constant, powers) of the loss, constant + sum_g |m_g w_g^T - T_g|^2 (eq:rank-one, thm:interference).

    T is (k, k, d), T_g = T[g] with frequencies of the output in its rows; powers, (k, d), weight w_g.
    """
    source, goal = task.spectra()
    powers = source.abs().square().mean(dim=0)  # (k, d)
    cross = torch.einsum("bfc,bgc->gfc", goal, source.conj()) / len(source)  # (k, k, d)
    matrices = math.sqrt(2) * cross / powers.sqrt()[:, None]  # c_f = 2 at every inner frequency
    total = task.target.square().sum().item() / len(source)
    return matrices, total - matrices.abs().square().sum().item(), powers


def least_loss(task: Regression) -> float:
    """The least loss of any M and W: a constant + sum_g sum_{i>=2} sigma_i(T_g)^2 (thm:interference)."""
    matrices, constant, _ = factorisation(task)
    return constant + torch.linalg.svdvals(matrices)[:, 1:].square().sum().item()


def losses_of(task: Regression, parameters: dict[str, Tensor]) -> Tensor:
    """The loss of layers with these parameters, each of shape (starts, ...) under the names of a layer: (starts,).

    Computed in the band, where the squared error of a signal is that of its spectrum and of what lies outside.
    """
    source, goal = task.spectra()
    w = torch.polar(torch.ones_like(parameters["weight.phase"]), parameters["weight.phase"])
    w = parameters["weight.magnitude"] * w  # (starts, k, d)
    matrix = torch.complex(parameters["interference.re"], parameters["interference.im"])  # (starts, k, k)
    error = torch.einsum("sfg,sbgc->sbfc", matrix, w[:, None] * source) - goal
    outside = task.target.square().sum() - 2 * goal.abs().square().sum()
    return (2 * error.abs().square().sum(dim=(1, 2, 3)) + outside) / len(source)


def descend(
    task: Regression, *, starts: int, steps: int, rate: float, seed: int
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Plain descent on magnitudes, phases and interference of a layer, from random starts (thm:interference).

    M starts as complex Gaussians of variance 1/k, the weights as a layer draws them.  Returns the excess of the loss
    over the least, as a share of the same difference for no output: columns start, step, excess, at 60 steps spaced by
    ratios; and the parameters at the end.
    """
    torch.manual_seed(seed)
    weights = [task.layer().weight for _ in range(starts)]
    parameters = {f"weight.{name}": torch.stack([getattr(w, name) for w in weights]) for name in ("magnitude", "phase")}
    for part in ("re", "im"):
        parameters[f"interference.{part}"] = torch.randn(starts, task.k, task.k).double() / math.sqrt(2 * task.k)
    parameters = {name: p.detach().requires_grad_(True) for name, p in parameters.items()}
    optimizer, rows = torch.optim.SGD(parameters.values(), lr=rate), []
    least, silent = least_loss(task), task.target.square().sum().item() / len(task.x)
    wanted = {0, *(round(steps ** (i / 59)) for i in range(60))}
    for step in range(steps + 1):
        losses = losses_of(task, parameters)
        if step in wanted:
            excess = ((losses - least) / (silent - least)).detach()
            rows.append(pd.DataFrame({"start": range(starts), "step": step, "excess": excess}))
        optimizer.zero_grad()
        losses.sum().backward()  # starts share nothing
        optimizer.step()
    return pd.concat(rows, ignore_index=True), {name: p.detach() for name, p in parameters.items()}


def phases_found(parameters: dict[str, Tensor]) -> pd.DataFrame:
    """Phases of the weights after `descend`, of each start beside those of the first, as found and up to the gauge.

    (M, W) -> (M D^-1, D W) turns all channels of a frequency by one angle (thm:interference): `relative` is the angle
    to the first channel, which it leaves alone.  Rows: a weight of a start; channel 0 is left out.
    """
    r, phi = parameters["weight.magnitude"], parameters["weight.phase"]
    angles = torch.atan2(r * phi.sin(), r * phi.cos())  # (starts, k, d)
    relative = angles[..., 1:] - angles[..., :1]
    columns = {}
    for name, value in {"found": angles[..., 1:], "relative": torch.atan2(relative.sin(), relative.cos())}.items():
        columns |= {name: value[1:].flatten(), f"{name}_first": value[:1].expand_as(value[1:]).flatten()}
    return pd.DataFrame({name: value.numpy() for name, value in columns.items()})
