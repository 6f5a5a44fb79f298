"""The capacity of a hologram of pairs: how often a reading identifies the right value, in theory and at random.

    glossary   code        report
               pairs       N, recorded one after the other, each once
               features    F, real features of a reference
               channels    d, of a value, over all heads
               values      M, of which a reading selects one: the one of largest inner product
               strength    beta, of every recording

References of random phases are nearly orthogonal: r_i' r_j has mean 0 and variance 1/F.  For V references in F
features the mean squared product is at least (V/F - 1)/(V - 1) (Welch 1974), hardly less.

Plain sum.  A reading is beta (v + crosstalk); N - 1 other pairs give crosstalk of rho = (N - 1)/F of the value's power.
Delta rule.  The newest pair reads exactly at beta = 1; older ones decay as exp(-a/F) (`delta_noise`).
Selection.  The right value's score is o = 1 + z sqrt(rho/d), z normal; those of the M - N values not recorded have
variance (o^2 + rho)/d, and those of other recorded values 1/(F heads) more, by crosstalk.  The share of right readings
is the probability that the first is largest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product

import numpy as np
import pandas as pd
import torch
from scipy.special import log_ndtr
from torch import Tensor

from resonance.recall import HolographicRecall, PlainRecall, waves

RULES = {"plain sum": PlainRecall, "delta rule": HolographicRecall}


def welch_bound(count: int, features: int) -> float:
    """Lower bound on the mean squared product of `count` unit vectors in F real dimensions, over different pairs."""
    return max(0.0, (count / features - 1) / (count - 1))


def delta_noise(pairs: int, features: int, strength: float = 1.0) -> np.ndarray:
    """Crosstalk over signal, rho, in power, of each of N pairs, oldest first, under the delta rule (eq:forgetting).

        g <- g - beta (2 - beta) g / F + beta^2 / F,     s <- s (1 - beta/F),
        E <- E (1 - 2 beta/F + 2 beta^2/(F (F + 2))) + beta^2 g/(F + 2) + beta^2/F,     rho = (E - s^2)/s^2

    g = |S|^2 / F, of the whole hologram: the power that a new reference reads; s, E: signal and power of a reading.
    Exact means for references uniform on the unit sphere.  Those of independent phases have other fourth moments: E is
    an approximation for them, which the tests compare with recordings at F = 4 and 8.
    """
    b, f, g = strength, features, 0.0
    signal, power = np.empty(pairs), np.empty(pairs)
    for t in range(pairs):
        power[:t] = power[:t] * (1 - 2 * b / f + 2 * b * b / (f * (f + 2))) + b * b * (g / (f + 2) + 1 / f)
        signal[:t] *= 1 - b / f
        signal[t], power[t] = b, b * b + (1 - b) ** 2 * g
        g += (b * b - b * (2 - b) * g) / f
    return np.maximum(power / signal**2 - 1.0, 0.0)


def selection_accuracy(noise: np.ndarray, channels: int, values: int, favoured: np.ndarray, variance: float) -> float:
    """The share of readings, of noise rho each, that select the right one of M values in d channels.

    favoured: the number of recorded values in the crosstalk of each reading; variance: what crosstalk adds to that of
    their scores, relative to the signal.  Gauss-Hermite quadrature over the right value's own score.
    """
    z, weights = np.polynomial.hermite_e.hermegauss(64)
    weights = weights / weights.sum()
    own = 1.0 + z[None] * np.sqrt(noise / channels)[:, None]
    spread = np.sqrt((own**2 + noise[:, None]) / channels)  # a reading of power own^2 + rho, as another value scores it
    others = np.maximum(values - 1 - favoured, 0)[:, None] * log_ndtr(own / spread)
    rivals = favoured[:, None] * log_ndtr(own / np.sqrt(spread**2 + variance))
    return float((np.exp(others + rivals) @ weights).mean())


def predicted_accuracy(
    rule: str, pairs: int, *, features: int, channels: int, values: int, heads: int = 1, strength: float = 1.0
) -> float:
    """The share of N pairs read right from holograms under random references, by the theory above."""
    noise, older = np.full(pairs, (pairs - 1) / features), np.full(pairs, pairs - 1)
    if rule == "delta rule":
        noise = delta_noise(pairs, features, strength)
        older = np.arange(pairs)[::-1] if strength == 1.0 else older
    return selection_accuracy(noise, channels, values, older, 1.0 / (features * heads))


def pairs_held(rule: str, level: float, **shape: int) -> int:
    """The most pairs of which a share of `level` is read right, by theory; shape as `predicted_accuracy`."""
    most = 1
    while predicted_accuracy(rule, 2 * most, **shape) >= level:
        most *= 2
    low, high = most, 2 * most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if predicted_accuracy(rule, middle, **shape) >= level else (low, middle)
    return low


def hologram_accuracy(
    rule: str, pairs: int, *, features: int, channels: int, values: int, heads: int = 1, trials: int = 32, seed: int = 0
) -> float:
    """The share of N pairs of random references and values that is read right after recording all in a hologram.

    Values are M unit vectors at random, drawn anew a trial; strength 1; the layer's own recording, in chunks.
    """
    generator = torch.Generator().manual_seed(seed)
    layer = RULES[rule](channels, heads, features=features)
    right = 0.0
    for _ in range(trials):
        phases = 2 * math.pi * torch.rand(1, heads, pairs, features // 2, generator=generator)
        codebook = torch.nn.functional.normalize(torch.randn(values, channels, generator=generator), dim=1)
        index = torch.randperm(values, generator=generator)[:pairs]
        read = read_back(layer, waves(phases), codebook[index])
        right += (read @ codebook.T).argmax(dim=1).eq(index).double().mean().item()
    return right / trials


@torch.no_grad()
def read_back(layer: PlainRecall, references: Tensor, values: Tensor) -> Tensor:
    """Record values (N, d) under references (1, heads, N, F), then read each by its own: (N, d)."""
    parts = values.unflatten(1, (layer.heads, -1)).transpose(0, 1)[None]
    strengths = torch.ones_like(parts[..., :1])
    empty = layer.initial_state(1, dtype=values.dtype)["hologram"]
    _, hologram = layer.recorded(references, references, parts, strengths, empty)
    return (references @ hologram)[0].transpose(0, 1).flatten(1)


def capacity_curves(
    features: Iterable[int], pairs: Iterable[int], *, channels: int, values: int, heads: int = 1, trials: int = 32
) -> pd.DataFrame:
    """Accuracy predicted and measured for every rule, number of features and of pairs; the state in reals."""
    rows = []
    for rule, size, count in product(RULES, features, pairs):
        shape = {"features": size, "channels": channels, "values": values, "heads": heads}
        found = hologram_accuracy(rule, count, trials=trials, seed=count, **shape)
        rows.append((rule, size, count, size * channels, predicted_accuracy(rule, count, **shape), found))
    return pd.DataFrame(rows, columns=["rule", "features", "pairs", "state", "predicted", "measured"])
