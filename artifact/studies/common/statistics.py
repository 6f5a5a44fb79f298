"""Intervals over seeds and paired comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np


def mean_interval(values: Iterable[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean and its Student t interval over seeds; NaN bounds for a single value."""
    from scipy import stats

    x = np.asarray(list(values), dtype=float)
    if len(x) < 2:
        return float(x.mean()), math.nan, math.nan
    half = stats.t.ppf(0.5 + confidence / 2, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x))
    return float(x.mean()), float(x.mean() - half), float(x.mean() + half)


def paired_difference(a: Iterable[float], b: Iterable[float]) -> tuple[float, float, float, float]:
    """Mean of a - b over pairs, its 95% Student interval, and the two-sided p of no difference.

    Where all pairs differ by the same amount the interval has zero width; p is then 1 for no difference, else 0.
    """
    from scipy import stats

    difference = np.asarray(list(a), dtype=float) - np.asarray(list(b), dtype=float)
    mean, low, high = mean_interval(difference)
    spread = difference.std(ddof=1) / math.sqrt(len(difference)) if len(difference) > 1 else math.nan
    if spread == 0:
        return mean, low, high, float(mean == 0)
    return mean, low, high, float(2 * stats.t.sf(abs(mean) / spread, len(difference) - 1))
