"""Intervals over seeds, of proportions and of ratios; paired comparisons, and many of them at once."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

import numpy as np

Name = TypeVar("Name", bound=Hashable)


def mean_interval(values: Iterable[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean and its Student t interval over seeds; NaN bounds for a single value."""
    from scipy import special

    x = np.asarray(list(values), dtype=float)
    if len(x) < 2:
        return float(x.mean()), math.nan, math.nan
    half = special.stdtrit(len(x) - 1, 0.5 + confidence / 2) * x.std(ddof=1) / math.sqrt(len(x))
    return float(x.mean()), float(x.mean() - half), float(x.mean() + half)


def paired_difference(a: Iterable[float], b: Iterable[float]) -> tuple[float, float, float, float]:
    """Mean of a - b over pairs, its 95% Student interval, and the two-sided p of no difference.

    Where all pairs differ by the same amount the interval has zero width; p is then 1 for no difference, else 0.
    """
    from scipy import special

    difference = np.asarray(list(a), dtype=float) - np.asarray(list(b), dtype=float)
    mean, low, high = mean_interval(difference)
    spread = difference.std(ddof=1) / math.sqrt(len(difference)) if len(difference) > 1 else math.nan
    if spread == 0:
        return mean, low, high, float(mean == 0)
    return mean, low, high, float(2 * special.stdtr(len(difference) - 1, -abs(mean) / spread))


def share_interval(values: Iterable[float], whole: float = 1.0, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of proportions over seeds and an interval that stays in [0, whole]; NaN bounds for a single value.

    whole: 1 for shares, 100 for percentages.  The Student interval of the mean m is formed for logit(m), its standard
    error by the delta method, s / (m (1 - m)), and transformed back.  Where all values are equal it has zero width.
    Raises ValueError for a value outside [0, whole].
    """
    x = np.asarray(list(values), dtype=float) / whole
    if not ((x >= 0) & (x <= 1)).all():
        raise ValueError(f"expected proportions in [0, {whole:g}], got {x.min() * whole:g} to {x.max() * whole:g}")
    mean, low, high = mean_interval(x, confidence)
    if math.isnan(low) or not 0 < mean < 1:
        return whole * mean, whole * max(low, 0), whole * min(high, 1)
    half = (high - mean) / (mean * (1 - mean))
    centre = math.log(mean / (1 - mean))
    return tuple(float(whole * y) for y in (mean, *(_logistic(centre + side * half) for side in (-1, 1))))


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float, float]:
    """Share of successes among independent trials and its Wilson score interval, which stays in [0, 1].

    Raises ValueError unless 0 <= successes <= trials and trials >= 1.  Source: Wilson, J. Am. Stat. Assoc. 22 (1927).
    """
    from scipy import special

    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"expected 0 <= successes <= trials and a trial, got {successes} of {trials}")
    share, z = successes / trials, special.ndtri(0.5 + confidence / 2)
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return share, float(max(0.0, centre - half)), float(min(1.0, centre + half))


def ratio_interval(
    numerators: Iterable[float], denominators: Iterable[float], confidence: float = 0.95
) -> tuple[float, float, float]:
    """Geometric mean of the ratios of pairs, of seconds say, and the Student interval of its logarithm.

    A pair is one repetition in which both were measured, in turn; NaN bounds for a single one.  Raises ValueError for
    values that are not positive, and for lists of different lengths.
    """
    a, b = (np.asarray(list(values), dtype=float) for values in (numerators, denominators))
    if len(a) != len(b) or not len(a) or not ((a > 0).all() and (b > 0).all()):
        raise ValueError(f"expected pairs of positive values, got {len(a)} and {len(b)}: {a.tolist()}, {b.tolist()}")
    return tuple(math.exp(x) for x in mean_interval(np.log(a / b), confidence))


def holm(p: Iterable[float]) -> np.ndarray:
    """Adjusted p-values of a family of tests: rejecting those below 0.05 keeps the chance of any error below 0.05.

    NaN, a comparison that was not made, stays NaN and does not count.  Source: Holm, Scand. J. Stat. 6 (1979).
    """
    p = np.asarray(list(p), dtype=float)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    adjusted = p.copy()
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def family(
    differences: Mapping[Name, tuple[float, float, float, float]],
) -> tuple[dict[Name, float], tuple[int, int, int]]:
    """Holm's p of every difference of a family, each as `paired_difference` gives it; and three counts.

    The counts: how many were compared, lie above zero, and lie below it, these two with an adjusted p below 0.05.
    """
    adjusted = dict(zip(differences, holm(p for *_, p in differences.values()), strict=True))
    differ = [differences[name][0] for name, p in adjusted.items() if p < 0.05]
    made = sum(not math.isnan(p) for p in adjusted.values())
    return adjusted, (made, sum(mean > 0 for mean in differ), sum(mean < 0 for mean in differ))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
