"""Codebook symbols in one trace: every decoder on the same traces, in noise, at few bits an entry, and its time.

A scheme is a decoder with the keys that it reads: five decoders read permuted codebooks, ours in addition Fourier
keys, plain or in a band of blocks, and a resonator network the products that it needs.  A row is one trace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from artifact.studies.codebooks import theory
from artifact.studies.codebooks.decoders import DECODERS, resonator
from artifact.studies.codebooks.keys import Array, FourierKeys, PermutedKeys, one_hot
from artifact.studies.common.processes import spread
from artifact.studies.common.statistics import mean_interval
from artifact.studies.common.timing import alternated
from artifact.studies.common.tuning import best_values, tried

OURS, FOURIER, COUPLED = "message passing", "Fourier keys", "coupled Fourier keys"
MATCHED, LASSO, RESONATOR = "matched filter", "LASSO", "resonator network"
SCHEMES = (*DECODERS, RESONATOR, FOURIER, COUPLED)
SLOW = ("explaining away", "soft feedback", LASSO, RESONATOR)  # have fewer traces
SHORT = ("matched", "explaining", "soft", "lasso", "passing", "resonator", "fourier", "coupled")
KEYS = dict(zip(SCHEMES, SHORT, strict=True))  # of the ledger
TUNING_SEED = 900_000  # of traces that no result has
MOST = 1.9  # bits an entry tried in noise: about the threshold without noise


@dataclass(frozen=True)
class Case:
    """One trace and who decodes it: `rate` bits an entry are asked for, without noise and unrounded if nothing is said.

    penalty: of the LASSO.  snr: of white noise.  bits: stored for each entry, 0 for all.  blocks, width: of the band.
    """

    scheme: str
    m: int
    rate: float
    dim: int
    seed: int
    penalty: float = 0.0
    snr: float = math.inf
    bits: int = 0
    blocks: int = 1
    width: int = 1

    @property
    def symbols(self) -> int:
        """N, a multiple of the blocks, such that N log2(M) bits are about `rate` bits an entry."""
        return self.blocks * max(1, round(self.rate * self.dim / math.log2(self.m) / self.blocks))


def received(trace: Array, n: int, rng: np.random.Generator, *, snr: float, bits: int) -> tuple[Array, float]:
    """The trace with white noise at `snr`, then in `bits` bits an entry (0: as it is); and its error's variance."""
    noise = n / snr
    trace = trace + np.float32(math.sqrt(noise)) * rng.standard_normal(trace.shape, dtype=np.float32)
    if bits:
        power = n + noise
        step, error = theory.quantiser(bits)
        trace = theory.quantised(trace, bits, step * math.sqrt(power)).astype(np.float32) / np.float32(1 - error)
        noise += power * error / (1 - error)  # a level is the mean of what it stands for: (1 - error) times the entry
    return trace, noise


def prepared(case: Case) -> tuple[Array, Callable[[], Array]]:
    """(symbols, function that decodes them) of one random trace, the same one for all decoders of the same keys."""
    n, m, dim = case.symbols, case.m, case.dim
    rng, search = (np.random.default_rng([case.seed, m, n, part]) for part in (0, 1))
    symbols = rng.integers(m, size=n)
    channel = {"snr": case.snr, "bits": case.bits}
    if case.scheme == RESONATOR:
        positions, codebook = (rng.choice(np.float32([-1, 1]), (k, dim)) for k in (n, m))
        trace, _ = received((positions * codebook[symbols]).sum(axis=0), n, rng, **channel)
        return symbols, lambda: resonator(trace, positions, codebook, search)
    if case.scheme in DECODERS:
        keys, decode = PermutedKeys(n, m, dim, rng), DECODERS[case.scheme]
    else:
        keys, decode = FourierKeys(n, m, dim, rng, blocks=case.blocks, width=case.width), DECODERS[OURS]
    trace, noise = received(keys.apply(one_hot(symbols, m)), n, rng, **channel)
    return symbols, lambda: decode(trace, keys, noise, search, case.penalty)


def read(case: Case) -> dict[str, object]:
    """Decode one random trace: a row with the share right, and the rates offered and read (eq:codebook-rate)."""
    symbols, decode = prepared(case)
    right, n = float((decode() == symbols).mean()), len(symbols)
    offered, rate = (n * bits / case.dim for bits in (math.log2(case.m), theory.information(right, case.m)))
    return asdict(case) | {"asked": case.rate, "symbols": n, "offered": offered, "right": right, "rate": rate}


def read_all(cases: Iterable[Case], processes: int = 1) -> pd.DataFrame:
    """The rows of `read`."""
    return pd.DataFrame(spread(read, [(case,) for case in cases], processes=processes))


def tuned(
    sizes: Sequence[int], penalties: Sequence[float], dim: int, *, rate: float, traces: int, wider: int
) -> pd.DataFrame:
    """Symbols that the LASSO reads wrongly, for every penalty of a grid that widens, on traces that no result has."""
    rows = []
    for m in sizes:

        def wrong(penalty: float, m: int = m) -> dict:
            reads = read_all(Case(LASSO, m, rate, dim, TUNING_SEED + k, penalty) for k in range(traces))
            return {"m": m, "penalty": penalty, "score": 1 - reads["right"].mean()}

        rows += tried(wrong, penalties, wider=wider)
    return pd.DataFrame(rows)


def chosen(tries: pd.DataFrame) -> dict[int, float]:
    """The best penalty of each size."""
    best = best_values(tries, ["m"], value="penalty")
    return dict(zip(best["m"], best["penalty"], strict=True))


def curves(
    penalties: dict[int, float],
    rates: Sequence[float],
    dim: int,
    *,
    schemes: Sequence[str],
    band: tuple[int, int],
    traces: int,
    slow_traces: int,
    seed: int,
    processes: int,
) -> pd.DataFrame:
    """Every scheme at every size, of which `penalties` has the LASSO's, and rate: a row a trace.

    band: (blocks, width) of the coupled keys.  Those in `SLOW` have fewer traces, the first.
    """
    cases = [
        Case(scheme, m, rate, dim, seed + k, penalty, math.inf, 0, *(band if scheme == COUPLED else (1, 1)))
        for m, penalty in penalties.items()
        for scheme in schemes
        for rate in rates
        for k in range(slow_traces if scheme in SLOW else traces)
    ]
    return read_all(cases, processes)


def limited(
    m: int,
    shares: Sequence[float],
    dim: int,
    *,
    decibels: Sequence[float],
    bits: Sequence[int],
    traces: int,
    seed: int,
    processes: int,
) -> pd.DataFrame:
    """Message passing with both kinds of keys, and a matched filter, in noise and at few bits an entry: a row a trace.

    Rates are shares of the column `limit`, or of `MOST` where that is less: Shannon's limit, or what a Gaussian shares
    at least with its quantised value, (1/2) log2 of one over its mean squared error.
    """
    channels = [(10 ** (level / 10), 0) for level in decibels] + [(math.inf, b) for b in bits]
    limit = {c: theory.shannon_rate(1 / theory.quantiser(c[1])[1] - 1 if c[1] else c[0]) for c in channels}
    cases = [
        Case(scheme, m, rate, dim, seed + k, 0.0, *channel)
        for channel in channels
        for scheme in (MATCHED, OURS, FOURIER)
        for rate in (share * min(limit[channel], MOST) for share in shares)
        for k in range(traces)
    ]
    rows = read_all(cases, processes)
    return rows.assign(limit=[limit[channel] for channel in zip(rows["snr"], rows["bits"], strict=True)])


def larger(
    m: int, rates: Sequence[float], bands: Iterable[tuple[int, int, int]], *, traces: int, seed: int, processes: int
) -> pd.DataFrame:
    """Fourier keys, plain and in a band, for every (dim, blocks, width): a row a trace."""
    cases = [
        Case(scheme, m, rate, dim, seed + k, blocks=blocks, width=width)
        for dim, *band in bands
        for scheme, (blocks, width) in ((FOURIER, (1, 1)), (COUPLED, band))
        for rate in rates
        for k in range(traces)
    ]
    return read_all(cases, processes)


def seconds(
    m: int, rates: Sequence[float], dim: int, schemes: Sequence[str], penalty: float, *, seed: int, rounds: int
) -> pd.DataFrame:
    """Seconds of the decoding of one trace, alternated between the schemes: a row for each scheme and rate."""
    rows = []
    for rate in rates:
        steps = {name: prepared(Case(name, m, rate, dim, seed, penalty))[1] for name in schemes if name != COUPLED}
        taken = alternated(steps, rounds=rounds, min_seconds=0.02)
        rows += [{"scheme": name, "asked": rate, "seconds": taken[name]} for name in taken]
    return pd.DataFrame(rows)


# --------------------------------------------------------------------------- results


def expected(rows: pd.DataFrame) -> pd.DataFrame:
    """State evolution's rate for message passing, and theory's for the matched filter, at every load of the rows."""
    cases = rows[rows["scheme"] == OURS][["m", "dim", "symbols"]].drop_duplicates()
    found = []
    for m, dim, n in cases.itertuples(index=False):
        for scheme, right in (
            (OURS, theory.state_evolution(n / dim, m)),
            (MATCHED, theory.matched_accuracy(n / dim, m)),
        ):
            found.append((scheme, m, dim, n, n * theory.information(right, m) / dim))
    return pd.DataFrame(found, columns=["scheme", "m", "dim", "symbols", "rate"])


def summary(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """For each group: the largest mean rate read over its loads, with its interval; the largest read without error.

    exact: the largest rate offered at which, and below which, every trace was read without error; 0 where none was.
    traces: how many at each load; share: their Clopper-Pearson lower bound, 0.025^(1/traces), with 97.5% confidence.
    """
    found = []
    for key, group in rows.groupby(list(by), sort=False):
        loads = dict(list(group.groupby("offered")))
        mean, low, high = max((mean_interval(own["rate"]) for own in loads.values()), key=lambda interval: interval[0])
        exact = 0.0
        for offered, own in loads.items():
            if not (own["right"] == 1).all():
                break
            exact = offered
        traces = min(len(own) for own in loads.values())
        found.append((*key, mean, low, high, exact, traces, 0.025 ** (1 / traces)))
    return pd.DataFrame(found, columns=[*by, "best", "low", "high", "exact", "traces", "share"])
