"""Tuning: the validation scores of a grid that widens until its best value is inside, the same for ours and peers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import pandas as pd


def widened(score: Callable[[float], float], grid: Sequence[float], *, wider: int = 0) -> pd.DataFrame:
    """Scores of every value tried, lower is better: columns value, score, in order of the value.

    `grid` rises.  While the best value is an end of the grid the grid grows there by its own ratio, at most `wider`
    times in all; an infinite or NaN score, that of a diverged training, is worse than every other.
    One value is a grid that does not widen: nothing is tuned.
    Raises ValueError for a grid that does not rise, is not positive, or has one value and is to widen.
    """
    grid = [float(value) for value in grid]
    if len(grid) < 1 + (wider > 0) or grid[0] <= 0 or any(a >= b for a, b in pairwise(grid)):
        raise ValueError(f"expected a rising grid of positive values, of two at least if it is to widen, got {grid}")
    scores = {value: _finite_or_worst(score(value)) for value in grid}
    for _ in range(wider):
        values = sorted(scores)
        best = min(values, key=scores.get)
        if best not in (values[0], values[-1]) or math.isinf(scores[best]):
            break
        neighbour = values[1] if best == values[0] else values[-2]
        beyond = float(f"{best * best / neighbour:.6g}")
        scores[beyond] = _finite_or_worst(score(beyond))
    return pd.DataFrame(sorted(scores.items()), columns=["value", "score"])


def _finite_or_worst(score: float) -> float:
    return score if math.isfinite(score) else math.inf


def tried(measure: Callable[[float], dict], grid: Sequence[float], *, wider: int = 0) -> list[dict]:
    """Rows of `measure` for every value of a grid that widens, in order of the value.

    The row of a value has its "score", lower is better, which `widened` goes by and makes infinite where it is NaN.
    """
    rows: dict[float, dict] = {}

    def score(value: float) -> float:
        rows[value] = measure(value)
        return rows[value]["score"]

    found = widened(score, grid, wider=wider)
    return [rows[value] | {"score": score} for value, score in zip(found["value"], found["score"], strict=True)]


def best_values(tries: pd.DataFrame, by: Sequence[str], *, value: str = "value", score: str = "score") -> pd.DataFrame:
    """For each group of tries the value with the lowest score, the ends of its grid, and whether it lies inside.

    Columns: those of `by`, then value, score, lowest, highest, inside.  Of equal scores the smallest value counts.
    """
    ordered = tries.sort_values([score, value], kind="stable")
    groups = ordered.groupby(list(by), sort=False)
    best = groups.first().reset_index()[[*by, value, score]]
    ends = groups[value].agg(["min", "max"]).reset_index()
    best = best.merge(ends, on=list(by)).rename(columns={"min": "lowest", "max": "highest"})
    return best.assign(inside=(best["lowest"] < best[value]) & (best[value] < best["highest"]))
