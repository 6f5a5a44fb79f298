"""Cleanup: decoding the patterns of a known codebook from one trace, compared with Shannon's limit.

    glossary   code        report
               n           N bound patterns in the trace, each one of M
               codebook    C_m, m = 0 .. M-1: M phasor vectors of D entries, a pair (re, im) of shape (M, D)
               keys        a_i K_i: phasors times an amplitude, a pair of shape (N, D)
               power       a_i^2, on average 1
               beliefs     b_im, the probability that pattern i is C_m: shape (N, M), rows sum to 1
               snr         power of the trace over that of its noise, an entry

    S = sum_i a_i K_i C_{m_i} + noise,    rate = N log2(M) / D,    capacity = log2(1 + snr) bits an entry

A trace of this kind is a sparse superposition code (Joseph & Barron 2012; Barbier & Krzakala 2017): a section for
each key, of which one column a_i K_i C_m is sent.  A matched filter takes the largest score of each key, with the
crosstalk of all others as noise.  Approximate message passing (Rush, Greig & Venkataramanan 2017) subtracts the
expected crosstalk, with an Onsager correction, and scores again (eq:message-passing):

    Z = S - sum_im a_i K_i C_m b_im + c Z',   c = sum_i a_i^2 (1 - sum_m b_im^2) / tau'^2,   tau^2 = mean |Z|^2
    b_i = softmax_m (2 D / tau^2) (Re <a_i K_i C_m, Z> / D + a_i^2 b_im)

The noise of a score has variance a_i^2 tau^2 / 2D, which `state_evolution` predicts from N, M, D and snr alone.
With equal amplitudes all patterns are decoded at once; with graded ones the strongest first and then the rest, nearer
to capacity (Greig & Venkataramanan 2018).
Cost of one iteration: 8 N M D operations, as four real matrix products.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from artifact.studies.holographic_capacity.holography import Pair, bind, bundle, random_phasors, unbind


def superpose(symbols: Tensor, keys: Pair, codebook: Pair) -> Pair:
    """The trace (D,) of codebook[symbols[i]] under key i, symbols (N,)."""
    return bundle(bind((codebook[0][symbols], codebook[1][symbols]), keys))


def scores(trace: Pair, keys: Pair, codebook: Pair) -> Tensor:
    """Re <a_i K_i C_m, S> / D, shape (N, M): a_i^2 for the pattern stored, plus crosstalk and noise."""
    read = unbind(trace, keys)
    return (read[0] @ codebook[0].mT + read[1] @ codebook[1].mT) / read[0].shape[-1]


def matched_filter(trace: Pair, keys: Pair, codebook: Pair) -> Tensor:
    """The symbol of the largest score for each key, (N,)."""
    return scores(trace, keys, codebook).argmax(dim=1)


def message_passing(trace: Pair, keys: Pair, codebook: Pair, iterations: int = 64, tolerance: float = 1e-4) -> Tensor:
    """The symbols (N,) decoded by approximate message passing (eq:message-passing).

    Stops when the beliefs of a key change by less than `tolerance` on average, at the latest after `iterations`.
    """
    (n, d), m = keys[0].shape, len(codebook[0])
    power = (keys[0].square() + keys[1].square()).mean(dim=1)
    beliefs = torch.full((n, m), 1.0 / m, dtype=trace[0].dtype)
    residual, onsager = tuple(torch.zeros_like(part) for part in trace), 0.0
    for _ in range(iterations):
        believed = bundle(bind((beliefs @ codebook[0], beliefs @ codebook[1]), keys))
        residual = tuple(s - x + onsager * z for s, x, z in zip(trace, believed, residual, strict=True))
        tau2 = (residual[0].square() + residual[1].square()).mean().clamp_min(1e-12)
        updated = torch.softmax((scores(residual, keys, codebook) + power[:, None] * beliefs) * (2 * d / tau2), dim=1)
        onsager = (power * (1 - updated.square().sum(dim=1))).sum() / tau2
        change = (updated - beliefs).abs().sum(dim=1).mean()
        beliefs = updated
        if change < tolerance:
            break
    return beliefs.argmax(dim=1)


# --------------------------------------------------------------------------- theory


def matched_filter_accuracy(n: int, m: int, d: int, snr: float) -> float:
    """Share of symbols that a matched filter decodes: E[Phi(X)^{M-1}], X ~ N(delta, 1), delta^2 = 2D / (N - 1 + N/snr).

    The right score has mean 1, the others 0, all with the same Gaussian noise.
    """
    from scipy import integrate, stats

    delta = math.sqrt(2 * d / (n - 1 + n / snr))
    value, _ = integrate.quad(lambda x: stats.norm.pdf(x - delta) * stats.norm.cdf(x) ** (m - 1), -10, delta + 10)
    return value


DRAWS, MOST_ITERATIONS = 2000, 500  # of state evolution
SLOPE, FLAT = 0.6, 0.7  # of graded powers, chosen by hand on one trace


def state_evolution(power: np.ndarray, m: int, d: int, snr: float) -> float:
    """Share of correct symbols at the fixed point of state evolution, by Monte Carlo over the scores' noise.

    power: a_i^2 of the N patterns, on average 1.  tau^2 = N/snr + sum_i a_i^2 (1 - E b_i): the part not yet decoded
    is noise to the rest.  Exact as N and D grow in proportion.
    """
    from scipy.special import softmax

    n = len(power)
    power = power[np.linspace(0, n - 1, DRAWS).round().astype(int)]
    noise = np.random.default_rng(0).standard_normal((DRAWS, m))
    unexplained = 1.0
    for _ in range(MOST_ITERATIONS):
        gain = np.sqrt(2 * d * power / (n / snr + n * unexplained))
        exponent = gain[:, None] * noise
        exponent[:, 0] += gain**2
        left = (power * (1 - softmax(exponent, axis=1)[:, 0])).mean() / power.mean()
        settled, unexplained = abs(left - unexplained) < 1e-6, left
        if settled:
            break
    return float((exponent.argmax(axis=1) == 0).mean())


# --------------------------------------------------------------------------- measurement


def patterns_at(rate: float, m: int, d: int, snr: float) -> int:
    """N such that N log2(M) bits are `rate` of the capacity D log2(1 + snr) of a trace."""
    return round(rate * d * math.log2(1 + snr) / math.log2(m))


def graded_power(n: int, snr: float) -> np.ndarray:
    """Powers (n,) of mean 1 that fall as (1 + snr)^(-SLOPE i/N) and are constant from i = FLAT N on."""
    power = (1 + snr) ** (-SLOPE * np.minimum(np.arange(n) / n, FLAT))
    return power / power.mean()


POWER = {"equal": lambda n, snr: np.ones(n), "graded": graded_power}
DECODERS = {"message passing": message_passing, "matched filter": matched_filter}


def cleanup_accuracy(rate: float, power: str, *, m: int, d: int, snr: float, seed: int) -> list[dict[str, object]]:
    """Fill one random trace to `rate` of capacity and decode it by both decoders: a row each, with the share right."""
    generator = torch.Generator().manual_seed(seed)
    n = patterns_at(rate, m, d, snr)
    amplitude = torch.from_numpy(POWER[power](n, snr)).float().sqrt()[:, None]
    keys = tuple(amplitude * part for part in random_phasors(n, d, generator))
    codebook = random_phasors(m, d, generator)
    symbols = torch.randint(m, (n,), generator=generator)
    noise = torch.randn(2, d, generator=generator) * math.sqrt(n / snr / 2)
    trace = tuple(part + z for part, z in zip(superpose(symbols, keys, codebook), noise, strict=True))
    return [
        {"rate": rate, "patterns": n, "seed": seed, "power": power, "decoder": name}
        | {"right": (decode(trace, keys, codebook) == symbols).double().mean().item()}
        for name, decode in DECODERS.items()
    ]


def cleanup_curve(rates: list[float], *, m: int, d: int, snr: float, seeds: int, seed: int = 0) -> pd.DataFrame:
    """Share of correct symbols against rate over capacity: a row for each rate, power, decoder and seed."""
    runs = [(rate, power, seed + s) for power in POWER for rate in rates for s in range(seeds)]
    return pd.DataFrame([row for r, p, s in runs for row in cleanup_accuracy(r, p, m=m, d=d, snr=snr, seed=s)])


def cleanup_theory(rates: list[float], *, m: int, d: int, snr: float) -> pd.DataFrame:
    """The prediction of theory for `cleanup_curve`; for the matched filter with equal powers alone."""
    rows = []
    for rate in rates:
        n = patterns_at(rate, m, d, snr)
        for name, power in POWER.items():
            rows.append((rate, name, "message passing", state_evolution(power(n, snr), m, d, snr)))
        rows.append((rate, "equal", "matched filter", matched_filter_accuracy(n, m, d, snr)))
    return pd.DataFrame(rows, columns=["rate", "power", "decoder", "right"])
