"""What to expect of codebook symbols in one trace: state evolution, rates, and the limits of noise and precision.

    glossary   code         report
               load         N/D, positions for each entry of the trace
               gain         g: a right score is N(g^2, g^2), a wrong one N(0, g^2), before the softmax
               unexplained  U_M(g) = 1 - E b of the right symbol

State evolution predicts message passing as N and D grow in proportion, with or without a band of blocks
(eq:codebook-evolution); u_c starts at 1 - 1/M:

    phi_r = (N/D) (1/snr + (R/w) (1/C) sum_{c reaches r} u_c),    g_c^2 = (1/w) sum_{r of c} 1/phi_r,    u_c = U_M(g_c)

It holds for message passing of section codes (Barbier et al. 2015; Rush, Greig & Venkataramanan 2017), and without
noise its fixed points are those of keys with orthogonal rows as well.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import optimize, special

from artifact.studies.codebooks.decoders import gathered_precision, softmax, spread_power
from artifact.studies.codebooks.keys import Array

DRAWS, GAINS = 4000, np.linspace(0, 12, 121)  # of the table of U_M
LEAST = 1e-9  # of phi


def information(right: float, m: int) -> float:
    """log2 M + a log2 a + (1-a) log2((1-a)/(M-1)), the bits of a symbol read at accuracy a (eq:codebook-rate).

    Zero at a = 1/M, log2 M at a = 1 (Frady et al. 2018; Kleyko et al. 2023).
    """
    wrong = 1 - right
    return math.log2(m) + (special.xlogy(right, right) + special.xlogy(wrong, wrong / (m - 1))) / math.log(2)


@lru_cache
def _unexplained_table(m: int) -> Array:
    noise = np.random.default_rng(0).standard_normal((DRAWS, m))
    right = np.eye(m)[0]
    return np.array([1 - softmax(g * noise + g**2 * right)[:, 0].mean() for g in GAINS])


def unexplained(gain: Array, m: int) -> Array:
    """U_M(g): the belief that the right symbol lacks on average, by Monte Carlo; 0 beyond the table's end."""
    return np.interp(gain, GAINS, _unexplained_table(m), right=0)


def symbol_accuracy(gain: Array, m: int) -> Array:
    """E[Phi(X)^(M-1)], X ~ N(g, 1): the share of positions whose right score is the largest."""
    t = np.linspace(-8, 8, 801)
    density = np.exp(-np.square(t) / 2)
    return (special.ndtr(np.asarray(gain)[..., None] + t) ** (m - 1)) @ (density / density.sum())


def matched_accuracy(load: float, m: int, snr: float = math.inf) -> float:
    """Share of symbols that a matched filter reads: all other positions are noise."""
    return float(symbol_accuracy(np.array((load * (1 + 1 / snr)) ** -0.5), m))


def state_evolution(
    load: float, m: int, *, snr: float = math.inf, blocks: int = 1, width: int = 1, iterations: int = 3000
) -> float:
    """Share of symbols that message passing reads, at the fixed point of state evolution (eq:codebook-evolution)."""
    u = np.full(blocks, 1 - 1 / m)
    for _ in range(iterations):
        phi = load / snr + spread_power(load / blocks * u, width)
        gain = np.sqrt(gathered_precision(1 / np.maximum(phi, LEAST), width))
        before, u = u, unexplained(gain, m)
        if np.abs(u - before).max() < 1e-7:
            break
    return float(symbol_accuracy(gain, m).mean())


def threshold(m: int, *, blocks: int = 1, width: int = 1) -> float:
    """The largest rate, N log2(M) / D bits an entry, that state evolution reads without noise; to 0.005."""
    low, high = 0.2, 8.0
    while high - low > 0.005:
        rate = (low + high) / 2
        right = state_evolution(rate / math.log2(m), m, blocks=blocks, width=width)
        low, high = (rate, high) if right > 0.999 else (low, rate)
    return low


def shannon_rate(snr: float) -> float:
    """(1/2) log2(1 + snr), Shannon's limit of a real entry in Gaussian noise, in bits."""
    return math.log2(1 + snr) / 2


# --------------------------------------------------------------------------- precision


def integer_trace_bits(n: int) -> float:
    """Entropy of an entry of the integer trace of n bipolar vectors, a binomial variable, in bits."""
    k = np.arange(n + 1)
    log = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1) - n * math.log(2)
    return float(-(np.exp(log) * log).sum() / math.log(2))


def quantised(x: Array, bits: int, step: float) -> Array:
    """x rounded to the nearest of 2^bits levels, odd multiples of step/2."""
    most = 2 ** (bits - 1) - 0.5
    return step * np.clip(np.floor(x / step) + 0.5, -most, most)


@lru_cache
def quantiser(bits: int) -> tuple[float, float]:
    """(step, mean squared error) of the uniform quantiser of 2^bits levels that is best for a standard Gaussian.

    Source: Max, IRE Trans. Inf. Theory 6 (1960).  Raises ValueError for less than one bit.
    """
    if bits < 1:
        raise ValueError(f"expected at least one bit, got {bits}")
    x = np.linspace(-8, 8, 64001)
    density = np.exp(-np.square(x) / 2)
    density /= density.sum()

    def error(step: float) -> float:
        return float(density @ np.square(x - quantised(x, bits, step)))

    best = optimize.minimize_scalar(error, bounds=(2.0**-bits, 8 * 2.0**-bits), method="bounded")
    return float(best.x), float(best.fun)
