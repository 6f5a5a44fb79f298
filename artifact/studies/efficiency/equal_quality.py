"""Cost of one family of models over another at equal quality, from their curves of error against cost.

A family is trained at several sizes.  Its curve gives the cost at which it reaches an error: it runs through the sizes
in order of cost, without those that a cheaper one beats, from the worst error that any of them has.  Where two curves
overlap in error, their costs are compared in logarithms; each seed gives a pair of curves, and the seeds an interval.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from artifact.studies.common.statistics import mean_interval

COSTS = {
    "parameters": "parameters",
    "memory": "peak memory (MB)",
    "training": "training (s)",
    "inference": "inference (ms an item)",
}
GRID = 64  # qualities at which two curves are compared


def curve(costs: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A curve in order of cost: (log cost, error), errors strictly falling.

    A size that a cheaper one beats is left out, but its error is reached at the cheaper one's cost: where that error is
    the worst, the curve begins there.
    Raises ValueError for costs that are not positive, values that are not finite, or none.
    """
    costs, errors = np.asarray(costs, dtype=float), np.asarray(errors, dtype=float)
    if costs.shape != errors.shape or not costs.size:
        raise ValueError(f"expected one error a cost, at least one, got shapes {costs.shape} and {errors.shape}")
    if not (np.isfinite(costs).all() and np.isfinite(errors).all() and (costs > 0).all()):
        raise ValueError("expected finite errors and finite, positive costs")
    order = np.lexsort((errors, costs))
    costs, errors = costs[order], errors[order]
    better = np.diff(np.minimum.accumulate(errors), prepend=np.inf) < 0
    log_costs, falling, worst = np.log(costs[better]), errors[better], errors.max()
    if worst == errors[0]:
        return log_costs, falling
    return np.append(log_costs[0], log_costs), np.append(worst, falling)


def overlap(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> tuple[float, float] | None:
    """The range of errors that both curves reach, (best, worst), or None where they do not overlap."""
    best, worst = max(a[1][-1], b[1][-1]), min(a[1][0], b[1][0])
    return (best, worst) if best < worst else None


def log_factor(theirs: tuple[np.ndarray, np.ndarray], ours: tuple[np.ndarray, np.ndarray]) -> float:
    """Mean of log(cost of theirs / cost of ours) over the errors that both reach (eq:factor); NaN where there is none.

    Between two sizes log cost is linear in the error.
    """
    common = overlap(theirs, ours)
    if common is None:
        return math.nan
    errors = np.linspace(*common, GRID)
    log_costs = [np.interp(errors, error[::-1], log_cost[::-1]) for log_cost, error in (theirs, ours)]
    return float((log_costs[0] - log_costs[1]).mean())


class Factor(NamedTuple):
    """Cost of theirs over ours at equal quality: geometric mean over seeds, 95% interval; NaN without an overlap."""

    factor: float
    low: float
    high: float
    seeds: int  # whose curves overlap


def factor(points: pd.DataFrame, cost: str, *, theirs: str = "Transformer", ours: str = "resonance") -> Factor:
    """The factor of eq:factor between two families; NaN where the curves of fewer than two seeds overlap.

    points: columns family, seed, error, and the cost; one row a size and seed.
    """
    logs = []
    for _, same in points.groupby("seed"):
        pair = (same[same["family"] == family] for family in (theirs, ours))
        logs.append(log_factor(*(curve(group[cost].to_numpy(), group["error"].to_numpy()) for group in pair)))
    logs = [value for value in logs if math.isfinite(value)]
    if len(logs) < 2:
        return Factor(math.nan, math.nan, math.nan, 0)
    return Factor(*(math.exp(value) for value in mean_interval(logs)), seeds=len(logs))


def factors(points: pd.DataFrame) -> pd.DataFrame:
    """The factor of every task and cost: columns task, cost, factor, low, high, seeds."""
    groups = points.groupby("task", sort=False)
    return pd.DataFrame(
        [{"task": task, "cost": cost, **factor(group, cost)._asdict()} for task, group in groups for cost in COSTS]
    )


def judged(table: pd.DataFrame, printed: float) -> tuple[str, str]:
    """Verdict on a printed factor, and its condition, from the rows of one cost in `factors`.

    A task reaches it with a factor at least as large, its interval above 1; misses it with an interval below it; else
    it is undecided, as where curves do not overlap.  holds: every task reaches it.  holds if: some do, which the
    condition names.  false as printed: none does, and some miss it.  not comparable: all are undecided.
    """
    reached = table[(table["factor"] >= printed) & (table["low"] > 1)]
    if len(reached) == len(table):
        return "holds", ""
    if len(reached):
        return "holds if", "the task is " + " or ".join(reached["task"])
    return ("false as printed" if (table["high"] < printed).any() else "not comparable"), ""
