"""System identification: learn a known spectral filter from its input and output, in several coordinates.

The target is y = S diag(w*) A x with w* drawn at random; a bin is missed when |w - w*| > 0.1 |w*| after training.
DC is left out: the imaginary part of its weight never reaches the output and could not be identified.
Each method's rate is tuned on validation systems; the test systems are other draws, seen once.
Optimisers here act elementwise and the loss is a sum over channels, so that a channel is an independent run: all
systems of all seeds train side by side as channels of one tensor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from .gradients import CartesianWeight
from .polar import PolarWeight, complex_product, natural_polar_gradients_
from .spectral import analysis
from .statistics import mean_interval


@dataclass(frozen=True)
class Method:
    """Coordinates, optimiser and how the phase's rate follows the magnitude's."""

    name: str
    polar: bool
    optimizer: type[torch.optim.Optimizer]
    phase_ratio: float = 1.0  # rate of phases over rate of magnitudes
    natural: bool = False


PRINTED_RATIO = 5e-5 / 1e-4
SGD, ADAM = torch.optim.SGD, torch.optim.Adam
METHODS = (
    Method("Cartesian, SGD", False, SGD),
    Method("polar, one rate, SGD", True, SGD),
    Method("polar, printed ratio, SGD", True, SGD, PRINTED_RATIO),
    Method("polar, phase rate x5, SGD", True, SGD, 5.0),
    Method("natural polar, SGD", True, SGD, natural=True),
    Method("Cartesian, Adam", False, ADAM),
    Method("polar, one rate, Adam", True, ADAM),
    Method("polar, printed ratio, Adam", True, ADAM, PRINTED_RATIO),
    Method("polar, phase rate x5, Adam", True, ADAM, 5.0),
)


@dataclass(frozen=True)
class Systems:
    """Unknown filters w* of the k frequencies above DC for `seeds` x `per_seed` channels, and the input's generator."""

    target: tuple[Tensor, Tensor]  # (k, channels) each
    seeds: int
    k: int
    n: int
    seed: int


def draw_systems(seed: int, *, seeds: int, per_seed: int = 8, k: int = 32, n: int = 128) -> Systems:
    """Draw filters with magnitudes log-uniform in 0.05 .. 2 and uniform phases; one generator state a seed."""
    parts = []
    for index in range(seeds):
        generator = torch.Generator().manual_seed(1000 * seed + index)
        log_r = torch.empty(k, per_seed).uniform_(math.log(0.05), math.log(2.0), generator=generator)
        phi = torch.empty(k, per_seed).uniform_(-math.pi, math.pi, generator=generator)
        parts.append((log_r.exp() * phi.cos(), log_r.exp() * phi.sin()))
    re, im = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    return Systems((re, im), seeds, k, n, seed)


def identify(method: Method, systems: Systems, rate: float, *, steps: int, batch: int = 8) -> list[float]:
    """Train and return, for each seed, the share of bins missed (1.0 where training diverged)."""
    torch.manual_seed(systems.seed)
    channels = systems.target[0].shape[1]
    weight = (PolarWeight if method.polar else CartesianWeight)(systems.k, channels)
    if method.polar:
        groups = [
            {"params": [weight.magnitude], "lr": rate},
            {"params": [weight.phase], "lr": rate * method.phase_ratio},
        ]
    else:
        groups = [{"params": weight.parameters(), "lr": rate}]
    optimizer = method.optimizer(groups, lr=rate)
    for _ in range(steps):
        spectrum = [part[:, 1:] for part in analysis(torch.randn(batch, systems.n, channels), systems.k + 1)]
        w, target = weight.pair(), systems.target
        error = complex_product((w[0] - target[0], w[1] - target[1]), spectrum)
        loss = 2.0 * (error[0].square() + error[1].square()).sum() / batch  # Parseval: the output's squared error
        optimizer.zero_grad()
        loss.backward()
        if method.natural:
            natural_polar_gradients_(weight)
        optimizer.step()
    return _missed(weight, systems)


@torch.no_grad()
def _missed(weight: PolarWeight | CartesianWeight, systems: Systems) -> list[float]:
    (re, im), (re_true, im_true) = weight.pair(), systems.target
    near = torch.hypot(re - re_true, im - im_true) <= 0.1 * torch.hypot(re_true, im_true)
    return (1.0 - near.float().reshape(systems.k, systems.seeds, -1).mean(dim=(0, 2))).tolist()


def compare_methods(
    *, rates: tuple[float, ...], steps: int, seeds: int, seed: int = 0, methods: tuple[Method, ...] = METHODS
) -> pd.DataFrame:
    """Tune each method's rate on validation systems, then run it on test systems: a row for each method and seed."""
    validation, test = draw_systems(2 * seed, seeds=seeds), draw_systems(2 * seed + 1, seeds=seeds)
    rows = []
    for method in methods:
        scores = {rate: sum(identify(method, validation, rate, steps=steps)) / seeds for rate in rates}
        best = min(scores, key=scores.__getitem__)
        for index, missed in enumerate(identify(method, test, best, steps=steps)):
            rows.append(
                {"method": method.name, "rate": best, "seed": index, "missed": missed, "validation": scores[best]}
            )
    return pd.DataFrame(rows)


def paired_difference(results: pd.DataFrame, a: str, b: str) -> tuple[float, float, float]:
    """Return the mean over seeds of missed(a) - missed(b), with its 95% Student interval."""
    wide = results.pivot(index="seed", columns="method", values="missed")
    return mean_interval(wide[a] - wide[b])
