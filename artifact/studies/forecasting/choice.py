"""Choosing on validation: grids of several settings that widen until the best value of each is inside.

A grid widens as `tuning.widened` does, by its own ratio, or by its own step where it holds zero.  Some settings have
ends of their own, where a best value is not "inside" but at a stated bound: the longest lookback, no taper, no weight
of variance, rank 1, and the full rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import product

import pandas as pd
import torch

from artifact.peers.forecasting import Ridge
from artifact.peers.reduced_rank import ReducedRankPath
from artifact.studies.common.tuning import best_values, widened
from resonance.forecasting import ForecastTask
from resonance.time_series import BandMoments, Moments, RidgePath, Setting, band_moments

Bounds = Mapping[str, tuple[float, float]]


def bounds(task: ForecastTask, longest: int, rank: int) -> Bounds:
    """The ends of each setting for a task: a lookback from two periods to `longest` steps, a rank from 1 to `rank`."""
    endless = float("inf")
    return {
        "lookback": (2 * task.series.period, longest),
        "taper": (0.0, endless),
        "variance_power": (0.0, endless),
        "rank": (1, rank),
        "ridge": (0.0, endless),
        "rate": (0.0, endless),
    }


def beyond(values: Sequence[float], best: float, ends: tuple[float, float], unit: float = 0.0) -> float | None:
    """The next value of a rising grid past `best`, a whole number of units, within the ends; None where best is inside.

    A grid of one value is a setting that is not tuned, and does not grow.
    """
    if len(values) < 2 or values[0] < best < values[-1] or best in ends:
        return None
    neighbour = values[1] if best == values[0] else values[-2]
    further = 2 * best - neighbour if min(best, neighbour) == 0 or 0 in values else best * best / neighbour
    further = round(further / unit) * unit if unit else float(f"{further:.6g}")
    further = min(max(further, ends[0]), ends[1])
    return None if further in values else further


def widened_grid(
    score: Callable[..., float],
    grid: Mapping[str, Sequence[float]],
    ends: Bounds,
    units: Mapping[str, float],
    wider: int,
) -> pd.DataFrame:
    """Scores of every point of a grid, a column a setting and `score`, lower is better.

    Each setting whose best value is an end grows there, at most `wider` times each.  A new value is tried with the best
    of the others, and after every growth each value of every setting with the best of the others, until nothing moves.
    """
    axes = {name: sorted(values) for name, values in grid.items()}
    left, scores = dict.fromkeys(axes, wider), {}

    def best() -> tuple:
        return min(scores, key=scores.get)

    def add(points: Iterable[tuple]) -> None:
        scores.update({point: score(*point) for point in points if point not in scores})

    add(product(*axes.values()))
    while True:
        found = best()
        for name, value in zip(axes, found, strict=True):
            further = beyond(axes[name], value, ends[name], units.get(name, 0.0))
            if further is not None and left[name]:
                axes[name], left[name] = sorted([*axes[name], further]), left[name] - 1
        before = len(scores)
        add((*found[:i], value, *found[i + 1 :]) for i, values in enumerate(axes.values()) for value in values)
        if len(scores) == before:
            return pd.DataFrame([(*point, error) for point, error in scores.items()], columns=[*axes, "score"])


def best_point(tries: pd.DataFrame) -> tuple:
    """The settings of the lowest score, in the order of their columns."""
    best = tries.loc[tries["score"].idxmin()].drop("score")
    return tuple(int(best[name]) if name in ("lookback", "rank") else float(best[name]) for name in best.index)


def tuned_values(tries: pd.DataFrame, ends: Bounds) -> pd.DataFrame:
    """Of each setting that was tried at two values or more: setting, value, lowest, highest, inside, bound.

    bound: the value is an end of the setting itself, not only of its grid.
    """
    rows = []
    for name in tries.columns.drop("score"):
        if tries[name].nunique() > 1:
            row = best_values(tries.assign(setting=name), ["setting"], value=name).rename(columns={name: "value"})
            rows.append(row.assign(bound=row["value"].isin(ends[name])))
    columns = ["setting", "value", "lowest", "highest", "inside", "bound"]
    return pd.concat(rows)[columns] if rows else pd.DataFrame(columns=columns)


def trained_grid(
    score: Callable[[int, float], float],
    lookbacks: Sequence[int],
    rates: Sequence[float],
    ends: Bounds,
    *,
    unit: int,
    wider: int,
) -> pd.DataFrame:
    """Tries of a method that is trained at each: the rate at the first lookback, then the lookback at the best rate.

    Columns: lookback, rate, score.  Trained once at each pair.
    """
    tries: dict[tuple[int, float], float] = {}

    def at(lookback: int, rate: float) -> float:
        if (lookback, rate) not in tries:
            tries[lookback, rate] = score(lookback, rate)
        return tries[lookback, rate]

    if len(rates) > 1:
        widened(lambda rate: at(lookbacks[0], rate), rates, wider=wider)
    else:
        at(lookbacks[0], rates[0])
    _, rate = min(tries, key=tries.get)
    widened_grid(lambda lookback: at(lookback, rate), {"lookback": lookbacks}, ends, {"lookback": unit}, wider)
    return pd.DataFrame([(*pair, error) for pair, error in tries.items()], columns=["lookback", "rate", "score"])


CLOSED_FORMS = {  # key of `study.METHODS`: its settings
    "ridge": ("lookback", "ridge"),
    "weighted": ("lookback", "taper", "variance_power", "ridge"),
    "reduced": ("lookback", "taper", "variance_power", "rank", "ridge"),
    "resonance": ("lookback", "taper", "variance_power", "rank", "ridge"),
}


class ClosedForms:
    """Validation errors and models of every linear forecaster of a task, from second moments summed once.

    Each is named as in `study.METHODS`; its settings come in the order of `CLOSED_FORMS`.
    """

    def __init__(self, task: ForecastTask):
        self.task = task
        self.samples, self.spectral, self.temporal = (cache(f) for f in (self._samples, self._spectral, self._temporal))
        self._spectral_errors = cache(lambda *point, ridge: self.spectral(*point).errors(ridge).tolist())
        self._temporal_errors = cache(lambda *point, ridge: self.temporal(*point).errors(ridge).tolist())

    def _samples(self, split: str, lookback: int, level_steps: int, power: float) -> Moments:
        return Moments.of(self.task.windows(split, lookback), level_steps, variance_power=power)

    def moments(self, setting: Setting) -> BandMoments:
        """Moments of the spectra of a setting of the forecaster."""
        period = self.task.series.period
        samples = self.samples("train", setting.lookback, period, setting.variance_power)
        return band_moments(setting.model(self.task), samples)

    def _spectral(self, lookback: int, taper: float, power: float) -> RidgePath:
        setting = Setting(lookback, taper, power, 1, 1.0)
        validation = self.samples("validation", lookback, self.task.series.period, 0.0)
        return RidgePath(setting.model(self.task), self.moments(setting), validation)

    def _temporal(self, lookback: int, level_steps: int, taper: float, power: float) -> ReducedRankPath:
        weights = Setting(lookback, taper, power, 1, 1.0).model(self.task)
        weights = weights.down_weighting(torch.empty(0, dtype=torch.float64))[:, 0]
        train = self.samples("train", lookback, level_steps, power)
        return ReducedRankPath.of(train, self.samples("validation", lookback, level_steps, 0.0), weights, level_steps)

    def score(self, key: str) -> Callable[..., float]:
        """The validation error of a method as a function of its settings."""
        period = self.task.series.period

        def at_rank(errors: list[float], rank: int) -> float:
            return errors[rank - 1] if rank <= len(errors) else float("inf")  # a short lookback has fewer

        def resonance(lookback: int, taper: float, power: float, rank: int, ridge: float) -> float:
            return at_rank(self._spectral_errors(lookback, taper, power, ridge=ridge), rank)

        def reduced(lookback: int, taper: float, power: float, rank: int, ridge: float) -> float:
            return at_rank(self._temporal_errors(lookback, period, taper, power, ridge=ridge), rank)

        def weighted(lookback: int, taper: float, power: float, ridge: float) -> float:
            return self._temporal_errors(lookback, period, taper, power, ridge=ridge)[-1]

        def plain(lookback: int, ridge: float) -> float:
            return self._temporal_errors(lookback, lookback, 0.0, 0.0, ridge=ridge)[-1]

        return {"resonance": resonance, "reduced": reduced, "weighted": weighted, "ridge": plain}[key]

    def model(self, key: str, point: tuple) -> Ridge:
        """The fitted peer of a method at a point of its grid."""
        named, period = dict(zip(CLOSED_FORMS[key], point, strict=True)), self.task.series.period
        level = named["lookback"] if key == "ridge" else period
        path = self.temporal(named["lookback"], level, named.get("taper", 0.0), named.get("variance_power", 0.0))
        return path.model(named.get("rank", self.task.horizon), named["ridge"])
