"""Cost of one family of models over another at equal quality, from their curves of error against cost.

A family is trained at several sizes.  Its curve gives the cost at which it reaches an error: it runs through the sizes
in order of cost, without those that a cheaper one beats, from the worst error that any of them has.  Where two curves
overlap in error, their costs are compared in logarithms; each seed gives a pair of curves, and the seeds an interval.

No seed is left out.  Where the curves of a seed share no error, one family is better at all its sizes, and the factor
has a bound: to be as good as our worst size, theirs needs more than the size with which it reaches its best error, ours
no more than its cheapest.  The ratio of these two costs counts for that seed as "at least"; where theirs is better
everywhere, the cost of its cheapest size over that of our best counts as "at most".  The mean over seeds is then a
bound of the same side, or open where both sides occur.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from artifact.studies.common.statistics import holm, paired_difference

COSTS = {
    "parameters": "parameters",
    "memory": "peak memory (MB)",
    "training": "training (s)",
    "inference": "inference (ms an item)",
}
GRID = 64  # qualities at which two curves are compared
OURS, TRAINED = "resonance", "Transformer"  # the claims are about a trained Transformer
EXACT, AT_LEAST, AT_MOST, OPEN = "exact", "at least", "at most", "open"  # what a mean over seeds is, or bounds
Curve = tuple[np.ndarray, np.ndarray]


def curve(costs: np.ndarray, errors: np.ndarray) -> Curve:
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


def overlap(a: Curve, b: Curve) -> tuple[float, float] | None:
    """The range of errors that both curves reach, (best, worst), or None where they share no error."""
    best, worst = max(a[1][-1], b[1][-1]), min(a[1][0], b[1][0])
    return (best, worst) if best <= worst else None


def log_factor(theirs: Curve, ours: Curve) -> tuple[float, str]:
    """Mean of log(cost of theirs / cost of ours) over the errors that both reach (eq:factor), and what it bounds.

    Between two sizes log cost is linear in the error.  Curves that share no error give the bound of the module's text:
    (value, "at least") where ours is better at all sizes, (value, "at most") where theirs is.
    """
    common = overlap(theirs, ours)
    if common is None:
        better = ours[1][0] < theirs[1][-1]
        return (theirs[0][-1] - ours[0][0], AT_LEAST) if better else (theirs[0][0] - ours[0][-1], AT_MOST)
    errors = np.linspace(*common, GRID)
    log_costs = [np.interp(errors, error[::-1], log_cost[::-1]) for log_cost, error in (theirs, ours)]
    return float((log_costs[0] - log_costs[1]).mean()), EXACT


class Factor(NamedTuple):
    """Cost of theirs over ours at equal quality: geometric mean over seeds, 95% interval, what it bounds, p of 1."""

    factor: float
    low: float
    high: float
    bound: str
    overlapping: int  # seeds whose curves share errors
    seeds: int
    p: float


def factor(points: pd.DataFrame, cost: str, *, theirs: str = TRAINED, ours: str = OURS) -> Factor:
    """The factor of eq:factor between two families, over all seeds.

    points: columns family, seed, error, and the cost; one row a size and seed.
    """
    found = []
    for _, same in points.groupby("seed"):
        pair = (same[same["family"] == family] for family in (theirs, ours))
        found.append(log_factor(*(curve(group[cost].to_numpy(), group["error"].to_numpy()) for group in pair)))
    logs, sides = zip(*found, strict=True)
    mean, low, high, p = paired_difference(logs, np.zeros(len(logs)))
    bounds = set(sides) - {EXACT}
    bound = OPEN if len(bounds) > 1 else next(iter(bounds), EXACT)
    return Factor(*(math.exp(value) for value in (mean, low, high)), bound, sides.count(EXACT), len(logs), p)


def factors(points: pd.DataFrame) -> pd.DataFrame:
    """The factor of every task and cost: columns task, peer, cost, those of `Factor`, and p adjusted by `holm`.

    The peer is the family of the task that is not ours.
    """
    rows = []
    for task, group in points.groupby("task", sort=False):
        (peer,) = set(group["family"]) - {OURS}
        rows += [{"task": task, "peer": peer, "cost": c, **factor(group, c, theirs=peer)._asdict()} for c in COSTS]
    table = pd.DataFrame(rows)
    return table.assign(adjusted=holm(table["p"]))


def reached(table: pd.DataFrame, printed: float) -> pd.Series:
    """Whether each row is at least the printed factor and differs from 1: adjusted p below 0.05, and no upper bound."""
    return table["bound"].isin([EXACT, AT_LEAST]) & (table["factor"] >= printed) & (table["adjusted"] < 0.05)


def missed(table: pd.DataFrame, printed: float) -> pd.Series:
    """Whether the interval of each row lies below the printed factor, and it is no lower bound."""
    return table["bound"].isin([EXACT, AT_MOST]) & (table["high"] < printed)


def judged(table: pd.DataFrame, printed: float) -> tuple[str, str, str]:
    """Verdict on a printed factor, its condition, and the verdict word for word, from the rows of one cost.

    holds: every task reaches the factor.  holds if: some do, which the condition names.  false as printed: none does,
    and some miss it.  not comparable: none does, and every task leaves it open.  Word for word there is no condition on
    the task: one that misses it makes the claim false.
    """
    reach, miss = reached(table, printed), missed(table, printed)
    literal = "false as printed" if miss.any() else "holds" if reach.all() else "not comparable"
    if reach.all():
        return "holds", "", "holds"
    if reach.any():
        return "holds if", "the task is " + " or ".join(table.loc[reach, "task"]), literal
    return ("false as printed" if miss.any() else "not comparable"), "", literal
