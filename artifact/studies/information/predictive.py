"""The information of k frequencies of the past about the future: a curve, and a rule for choosing k (eq:past).

    glossary   code        report
               past        the full band of a window, p real numbers: sqrt(c_f) (Re X_f, Im X_f), so sums are energies
               future      the next `horizon` samples, F
               bits        1/2 log2 det Cov(F) / det Cov(F - B A_S past), for the frequencies S kept

B is a ridge regression fitted on training windows; both covariances are those of the windows held out.  A residual's
Gaussian entropy is an upper bound of h(F | past), so for a Gaussian F the value is a lower bound of I(F; A_S past)
whatever B is, without in-sample bias.  On the training windows themselves it is the estimate by canonical correlations,
-1/2 sum log2(1 - rho^2), which grows with every frequency, informative or not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from artifact.studies.common.statistics import mean_interval
from artifact.studies.common.tuning import widened
from resonance.band import Band, make_band, next_power_of_two
from resonance.forecasting import ForecastTask, Windows
from resonance.spectral import analysis


@dataclass(frozen=True)
class PastFuture:
    """Covariances of past coordinates and future samples of one split, by block of time and channel."""

    frequency: Tensor  # (p,): of each past coordinate, in cycles per grid
    blocks: Tensor  # (blocks, channels, p + horizon, p + horizon): second moments about the split's mean
    share: Tensor  # (blocks,): of all windows

    @property
    def covariance(self) -> Tensor:
        """The covariance over the whole split, (channels, p + horizon, p + horizon)."""
        return torch.einsum("b,bcij->cij", self.share, self.blocks)

    @property
    def count(self) -> int:
        """The number of frequencies, f = 0 .. count - 1."""
        return int(self.frequency.max()) + 1

    def channels(self, which: list[int]) -> PastFuture:
        """The same for some channels only."""
        return PastFuture(self.frequency, self.blocks[:, which], self.share)


def past_future(windows: Windows, blocks: int = 1) -> PastFuture:
    """The covariances of a split's windows in float64, in `blocks` runs of time of nearly equal length.

    Raises ValueError for more blocks than windows.  Cost: windows x channels x (p + horizon)^2 multiply-adds.
    """
    if not 1 <= blocks <= len(windows):
        raise ValueError(f"expected 1 <= blocks <= {len(windows)} windows, got {blocks}")
    band = make_band(windows.lookback, next_power_of_two(windows.lookback) // 2 + 1)
    runs = torch.arange(len(windows)).tensor_split(blocks)
    data = torch.cat([_coordinates(*windows.batch(run), band) for run in runs])  # (windows, p + horizon, channels)
    data = (data - data.mean(dim=0)).movedim(2, 0)  # (channels, windows, p + horizon)
    moments = [data[:, run].mT @ data[:, run] / len(run) for run in runs]
    share = torch.tensor([len(run) / len(windows) for run in runs], dtype=torch.float64)
    return PastFuture(torch.tensor([*band.frequencies, *_inner(band)]), torch.stack(moments), share)


def _inner(band: Band) -> list[int]:
    return [f for f in band.frequencies if f not in band.real]  # the full band: places are frequencies


def _coordinates(past: Tensor, future: Tensor, band: Band) -> Tensor:
    re, im = analysis(past.double(), band.k, engine="fft")
    root = band.multiplicity(re).sqrt()[:, None]
    return torch.cat([re * root, (im * root)[:, _inner(band)], future.double()], dim=1)


# --------------------------------------------------------------------------- bits


def residual_moments(
    train: PastFuture, held: PastFuture, frequencies: Iterable[int], ridge: float
) -> tuple[Tensor, Tensor]:
    """Second moments, (blocks, channels, horizon, horizon), of the future and of F - B A_S past on held-out windows.

    B is fitted on `train`, `ridge` added to the diagonal of the past's covariance.  Raises ValueError for ridge <= 0.
    """
    if not ridge > 0:
        raise ValueError(f"expected ridge > 0, got {ridge}")
    p = len(train.frequency)
    kept = torch.isin(train.frequency, torch.tensor(list(frequencies))).nonzero()[:, 0]
    fitted = train.covariance
    gram = fitted[:, kept[:, None], kept] + ridge * torch.eye(len(kept), dtype=torch.float64)
    # torch 2.13 with several threads is silently wrong in `linalg.solve` of many matrices of more than about 130 rows.
    b = torch.cholesky_solve(fitted[:, kept, p:], torch.linalg.cholesky(gram))  # (channels, |S|, horizon)
    blocks = held.blocks
    cross = blocks[..., p:, kept] @ b
    marginal = blocks[..., p:, p:]
    return marginal, marginal - cross - cross.mT + b.mT @ blocks[..., kept[:, None], kept] @ b


def predicted_bits(train: PastFuture, held: PastFuture, frequencies: Iterable[int], ridge: float) -> Tensor:
    """Bits a window, (blocks, channels), of the kept frequencies about the future on held-out windows (eq:past).

    The mean over blocks, weighted by `held.share`, is 1/2 log2 det Cov(F) / det Cov(F - B A_S past) exactly; a block's
    own figure is its mean Gaussian log score under those two pooled covariances.
    """
    marginal, residual = residual_moments(train, held, frequencies, ridge)
    return _score(residual, held.share) - _score(marginal, held.share)


def unexplained(train: PastFuture, held: PastFuture, frequencies: Iterable[int], ridge: float) -> float:
    """The squared error of the same forecast as a share of the future's variance, the mean over channels."""
    parts = residual_moments(train, held, frequencies, ridge)
    future, error = (torch.einsum("b,bcii->c", held.share, moments) for moments in parts)
    return (error / future).mean().item()


def mean_bits(train: PastFuture, held: PastFuture, frequencies: Iterable[int], ridge: float) -> float:
    """`predicted_bits` of the whole split, a window and channel: the mean over channels."""
    return (held.share @ predicted_bits(train, held, frequencies, ridge)).mean().item()


def _score(second: Tensor, share: Tensor) -> Tensor:
    """Mean log2 score, (blocks, channels), of a Gaussian with the pooled covariance, without constants."""
    pooled = torch.einsum("b,bcij->cij", share, second)
    distance = torch.linalg.solve(pooled, second).diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    return -(torch.logdet(pooled) + distance) / (2 * math.log(2))


# --------------------------------------------------------------------------- which frequencies


def band_energy(train: PastFuture) -> Tensor:
    """The energy (variance) of each frequency in the past, summed over channels, as shares of all: (k,)."""
    variance = train.covariance.diagonal(dim1=1, dim2=2).sum(dim=0)[: len(train.frequency)]
    energy = torch.zeros(train.count, dtype=torch.float64).index_add(0, train.frequency, variance)
    return energy / energy.sum()


def energy_order(train: PastFuture) -> list[int]:
    """All frequencies by their energy in the past, greatest first."""
    return band_energy(train).argsort(descending=True, stable=True).tolist()


def information_order(train: PastFuture, ridge: float, steps: int) -> list[int]:
    """`steps` frequencies, each the one that adds most information about the future to those before it.

    Greedy forward selection on the training covariance; bits are summed over channels, because a layer keeps one set.
    Cost: steps x channels x (p + horizon)^2.
    """
    p = len(train.frequency)
    c = train.covariance.clone()
    c[:, :p, :p] += ridge * torch.eye(p, dtype=torch.float64)
    places = [(train.frequency == f).nonzero()[:, 0] for f in range(train.count)]
    pair = torch.stack([place[[0, -1]] for place in places])  # DC and Nyquist have one coordinate, here twice
    single = pair[:, 0] == pair[:, 1]
    chosen: list[int] = []
    for _ in range(min(steps, train.count)):
        explained = c[:, :p, p:] @ torch.linalg.solve(c[:, p:, p:], c[:, p:, :p])
        before, after = (_small_logdet(m, pair, single) for m in (c[:, :p, :p], c[:, :p, :p] - explained))
        gain = (before - after).sum(dim=0)
        gain[chosen] = -math.inf
        best = int(gain.argmax())
        chosen.append(best)
        at = places[best]
        c = c - c[:, :, at] @ torch.linalg.solve(c[:, at[:, None], at], c[:, at])  # conditioned on it
        c[:, at, at] += 1.0  # its own rows are zero now; keeps the matrices regular
    return chosen


def _small_logdet(c: Tensor, pair: Tensor, single: Tensor) -> Tensor:
    """log det, (channels, frequencies), of each frequency's own 2 x 2 (or 1 x 1) block of c."""
    a, b = pair.unbind(dim=1)
    determinant = c[:, a, a] * c[:, b, b] - c[:, a, b] ** 2
    return torch.where(single, c[:, a, a], determinant).clamp_min(1e-300).log()


def band_table(train: PastFuture, chosen: list[int]) -> pd.DataFrame:
    """Each frequency's share of the past's energy and its place among the chosen (1: first; 0: not chosen)."""
    energy = band_energy(train).tolist()
    place = [chosen.index(f) + 1 if f in chosen else 0 for f in range(len(energy))]
    return pd.DataFrame({"frequency": range(len(energy)), "energy": energy, "place": place})


ORDERS = ("lowest", "most energy", "most information")


def energy_k(train: PastFuture, share: float) -> int:
    """The smallest k whose k lowest frequencies hold `share` of the past's energy: the usual rule, for comparison."""
    return int((band_energy(train).cumsum(0) < share - 1e-12).sum()) + 1


def rank_frequencies(train: PastFuture, *, ridge: float, steps: int) -> dict[str, list[int]]:
    """The three orders in which frequencies may be kept."""
    found = (list(range(train.count)), energy_order(train), information_order(train, ridge, steps))
    return dict(zip(ORDERS, found, strict=True))


# --------------------------------------------------------------------------- the curve and the rule


class Splits(NamedTuple):
    """Train, validation and test covariances of one task."""

    train: PastFuture
    validation: PastFuture
    test: PastFuture

    def channels(self, which: list[int]) -> Splits:
        """The same for some channels only."""
        return Splits(*(part.channels(which) for part in self))


def make_splits(task: ForecastTask, lookback: int, blocks: int) -> Splits:
    """The covariances of a task's three splits; the test in `blocks` blocks of time."""
    parts = [("train", 1), ("validation", 1), ("test", blocks)]
    return Splits(*(past_future(task.windows(name, lookback), count) for name, count in parts))


DRAWS = 2000  # of the bootstrap


class Ridges(NamedTuple):
    """A rising grid of ridges, which gains at most `wider` values while its best is an end (`widened`)."""

    values: Sequence[float]
    wider: int = 0


class Best(NamedTuple):
    """The ridge chosen, its bits a window and channel on validation, and whether it is neither end of its grid."""

    ridge: float
    bits: float
    inside: bool


def best_ridge(splits: Splits, frequencies: list[int], ridges: Ridges) -> Best:
    """The ridge that is best on validation for a set of frequencies."""
    tries = widened(
        lambda ridge: -mean_bits(splits.train, splits.validation, frequencies, ridge), ridges.values, wider=ridges.wider
    )
    at = int(tries["score"].argmin())
    return Best(float(tries["value"][at]), -float(tries["score"][at]), 0 < at < len(tries) - 1)


def survival_curves(splits: Splits, order: dict[str, list[int]], ks: Sequence[int], ridges: Ridges) -> pd.DataFrame:
    """The bits a window and channel of each order and k in each split, the ridge chosen on validation.

    In sample the smallest ridge: the usual estimate by canonical correlations.  An order shorter than k has no row.
    """
    rows = []
    for name, k in product(order, ks):
        if k > len(order[name]):
            continue
        kept = order[name][:k]
        ridge, validation, inside = best_ridge(splits, kept, ridges)
        train = mean_bits(splits.train, splits.train, kept, min(ridges.values))
        test = mean_bits(splits.train, splits.test, kept, ridge)
        rows.append((name, k, ridge, train, validation, test, inside))
    return pd.DataFrame(rows, columns=["order", "k", "ridge", "train", "validation", "test", "inside"])


def choose_k(splits: Splits, frequencies: list[int], whole: list[int], share: float, ridges: Ridges) -> int:
    """The rule's k: the fewest frequencies of an order that reach `share` of the whole band's validation bits.

    By bisection: the curve rises with k except for noise.  The whole order where none reaches it.
    """
    target = share * best_ridge(splits, whole, ridges).bits
    low, high = 0, len(frequencies)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if best_ridge(splits, frequencies[:middle], ridges).bits >= target else (middle, high)
    return high


def retained_share(
    splits: Splits, frequencies: list[int], whole: list[int], ridges: Ridges, *, seed: int
) -> tuple[float, float, float]:
    """Share of the whole band's bits that `frequencies` retain on the test, with a 95% interval.

    The interval is a bootstrap over the test's blocks of time, both values drawn together.
    """
    share = splits.test.share.numpy()
    kept, all_ = (
        share * predicted_bits(splits.train, splits.test, f, best_ridge(splits, f, ridges).ridge).mean(dim=1).numpy()
        for f in (frequencies, whole)
    )
    drawn = np.random.default_rng(seed).integers(len(share), size=(DRAWS, len(share)))
    low, high = np.quantile(kept[drawn].sum(axis=1) / all_[drawn].sum(axis=1), [0.025, 0.975])
    return float(kept.sum() / all_.sum()), float(low), float(high)


def judge(splits: Splits, cases: dict[str, list[int]], whole: list[int], ridges: Ridges, *, seed: int) -> pd.DataFrame:
    """k, bits on the test, the share retained with its interval, and the unexplained share of the variance, by case."""
    rows = []
    for case, kept in cases.items():
        retained = retained_share(splits, kept, whole, ridges, seed=seed)
        ridge = best_ridge(splits, kept, ridges).ridge
        test, left = (f(splits.train, splits.test, kept, ridge) for f in (mean_bits, unexplained))
        rows.append((case, len(kept), test, *retained, left))
    return pd.DataFrame(rows, columns=["case", "k", "test", "retained", "low", "high", "unexplained"])


def other_channels(
    splits: Splits, share: float, ridges: Ridges, *, ridge: float, steps: int
) -> tuple[pd.DataFrame, tuple[float, float, float]]:
    """Choose the frequencies without one channel, then measure that channel's share on the test: rows, and the mean.

    A series of one channel is measured on itself, in later time.  The interval is Student's over channels, which are
    not independent: it shows their spread only.  The share may exceed 1, where fewer frequencies forecast better.
    """
    count = splits.train.blocks.shape[1]
    whole = list(range(splits.train.count))
    rows = []
    for channel in range(count):
        rest = splits.channels([c for c in range(count) if c != channel] or [channel])
        order = information_order(rest.train, ridge, steps)
        k = choose_k(rest, order, whole, share, ridges)
        rows.append((channel, k, retained_share(splits.channels([channel]), order[:k], whole, ridges, seed=channel)[0]))
    table = pd.DataFrame(rows, columns=["channel", "k", "retained"])
    return table, mean_interval(table["retained"])
