"""One study of a forecasting task: every method chosen on validation, tested once, compared over the test's time.

study      choose and train every method; the test rows are not touched
outcome    the error of the chosen models on every window of the test
compare    the forecaster against each peer, with an interval over blocks of time
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from artifact.peers.forecasting import (
    Budget,
    Ridge,
    SeasonalNaive,
    Trained,
    ridge_path,
    train_dlinear,
    train_fits,
    train_patch_transformer,
)
from artifact.studies.common.statistics import mean_interval
from resonance.forecasting import ForecastTask, Series, evaluate, forecast_task, window_errors
from resonance.polar import count_parameters
from resonance.time_series import choose_closed_form, fine_tune

METHODS = {  # key in the ledger: name in tables and figures
    "naive": "seasonal naive",
    "ridge": "ridge, closed form",
    "dlinear": "DLinear",
    "fits": "FITS form",
    "transformer": "patch Transformer",
    "resonance": "resonance",
}
BETTER, EVEN, WORSE = "better", "no difference seen", "worse"  # significant differences of two test errors


@dataclass(frozen=True)
class Search:
    """The values that validation chooses from, the same on every series; lookbacks are separate."""

    tapers: Sequence[float]
    variance_powers: Sequence[float]
    ranks: Sequence[int]  # at most the bins of the horizon
    ridges: Sequence[float]  # the forecaster's and the ridge's
    rates: dict[str, Sequence[float]]  # by key of METHODS, of those that are trained
    epochs: int  # of fine-tuning
    budgets: dict[str, Budget]  # of the peers that are trained
    transformer: tuple[int, int]  # dim, depth
    seeds: Sequence[int]


@dataclass(frozen=True)
class Study:
    """What validation chose for a task: the models of all seeds of each method, and everything that was tried."""

    task: ForecastTask
    chosen: dict[str, list[Trained]]  # by key of METHODS
    tried: pd.DataFrame  # method, lookback, rate, seed, epoch, validation_mse
    closed_form: pd.DataFrame  # the grid of settings, with validation_mse


def over_seeds(
    train: Callable[..., Trained], lookbacks: Sequence[int], rates: Sequence[float], seeds: Sequence[int]
) -> tuple[list[Trained], list[Trained]]:
    """Train at every lookback and rate with the first seed, then at the best on validation with the others.

    train(lookback, rate=, seed=) returns one model.  Returns the models of all seeds, and everything that was tried.
    """
    tried = [train(lookback, rate=rate, seed=seeds[0]) for lookback, rate in product(lookbacks, rates)]
    best = min(tried, key=lambda trained: trained.validation_mse)
    more = [train(best.lookback, rate=best.rate, seed=seed) for seed in seeds[1:]]
    return [best, *more], [*tried, *more]


def study(task: ForecastTask, lookbacks: dict[str, Sequence[int]], search: Search) -> Study:
    """Choose every method on validation and train it with every seed; `lookbacks` has those of each method.

    The resonance forecaster: all settings of the grid in closed form, then the rate of its fine-tuning.  The ridge: its
    lookback and penalty.  The rest: lookback and rate by the first seed.
    """
    train, validation = (partial(task.windows, split) for split in ("train", "validation"))
    period, seeds, budgets = task.series.period, search.seeds, search.budgets
    ranks = sorted({min(rank, task.horizon // 2 + 1) for rank in search.ranks})
    grid = product(lookbacks["resonance"], search.tapers, search.variance_powers, ranks, search.ridges)
    errors, setting = choose_closed_form(task, grid)
    closed_form = pd.DataFrame([vars(point) | {"validation_mse": error} for point, error in errors.items()])
    moments = setting.moments(task)

    def resonance(lookback: int, *, rate: float, seed: int) -> Trained:
        fit = fine_tune(task, setting, moments, rate=rate, epochs=search.epochs, seed=seed)
        return Trained(fit.model, lookback, rate, seed, fit.epoch, fit.validation_mse)

    def peer(key: str, train_peer: Callable[..., Trained], **options) -> Callable[..., Trained]:
        def trained(lookback: int, **choice) -> Trained:
            return train_peer(train(lookback), validation(lookback), budgets[key], **options, **choice)

        return trained

    def fixed(model: Callable[[Tensor], Tensor], lookback: int, rate: float = np.nan) -> Trained:
        return Trained(model, lookback, rate, seeds[0], 0, evaluate(model, validation(lookback))[0])

    ridges = [
        fixed(model, lookback, penalty)
        for lookback in lookbacks["ridge"]
        for penalty, model in ridge_path(train(lookback), search.ridges)
    ]
    naive = fixed(SeasonalNaive(task.horizon, period), lookbacks["naive"][0])
    best_ridge = min(ridges, key=lambda trained: trained.validation_mse)
    results = {"naive": ([naive], [naive]), "ridge": ([best_ridge], ridges)}
    dim, depth = search.transformer
    methods = {
        "dlinear": peer("dlinear", train_dlinear),
        "fits": peer("fits", train_fits, period=period),
        "transformer": peer("transformer", train_patch_transformer, dim=dim, depth=depth),
        "resonance": resonance,
    }
    spans = lookbacks | {"resonance": [setting.lookback]}
    results |= {key: over_seeds(method, spans[key], search.rates[key], seeds) for key, method in methods.items()}
    tried = [{"method": METHODS[key], **vars(one)} for key, (_, models) in results.items() for one in models]
    chosen = {key: best for key, (best, _) in results.items()}
    return Study(task, chosen, pd.DataFrame(tried).drop(columns="model"), closed_form)


def feasible(series: Series, horizons: Sequence[int], lookback: int) -> list[int]:
    """The horizons that leave a window of `lookback` in every split of a series."""
    borders = {horizon: forecast_task(series, horizon).borders for horizon in horizons}
    return [h for h, (a, b, c) in borders.items() if a >= lookback + h and min(b - a, c - b) >= h]


def with_rates_of(search: Search, study: Study) -> Search:
    """The same search with only the rates that a study chose, one a method."""
    return replace(search, rates={key: [study.chosen[key][0].rate] for key in search.rates})


def parameters(model: object) -> int:
    """Number of real parameters of a forecaster."""
    if isinstance(model, torch.nn.Module):
        return count_parameters(model)
    return model.matrix.numel() if isinstance(model, Ridge) else 0


# --------------------------------------------------------------------------- the test


@dataclass(frozen=True)
class Outcome:
    """The test of a study: `scores`, a row a method and seed, and the squared error of each window, seeds averaged."""

    scores: pd.DataFrame  # method, seed, lookback, parameters, validation_mse, mse, mae
    windows: dict[str, np.ndarray]  # by key of METHODS, (windows,)


def outcome(study: Study) -> Outcome:
    """Errors of a study's chosen models on the windows of its test."""
    rows, windows = [], {}
    for key, seeds in study.chosen.items():
        errors = [window_errors(trained.model, study.task.windows("test", trained.lookback)) for trained in seeds]
        windows[key] = np.mean([squared for squared, _ in errors], axis=0)
        for trained, (squared, absolute) in zip(seeds, errors, strict=True):
            row = {"method": METHODS[key], "seed": trained.seed, "lookback": trained.lookback}
            row |= {"parameters": parameters(trained.model), "validation_mse": trained.validation_mse}
            rows.append(row | {"mse": squared.mean(), "mae": absolute.mean()})
    return Outcome(pd.DataFrame(rows), windows)


def block_means(values: np.ndarray, block: int, *, draws: int = 2000, seed: int = 0) -> np.ndarray:
    """Bootstrap means (draws, rows) of dependent series (rows, n), by circular blocks (Politis, Romano 1992).

    n values a draw, in blocks of `block` neighbours that start anywhere; the same blocks for every row.  A block is at
    most a third of the values: one that held them all would give the same mean in every draw.
    Raises ValueError for block < 1 or no value.
    """
    n = values.shape[1]
    if block < 1 or n < 1:
        raise ValueError(f"expected a block of at least 1 and at least one value, got {block} and {n}")
    block = max(1, min(block, n // 3))
    starts = np.random.default_rng(seed).integers(n, size=(draws, -(-n // block)))
    drawn = (starts[..., None] + np.arange(block)).reshape(draws, -1)[:, :n] % n
    return np.stack([row[drawn].mean(axis=1) for row in values], axis=1)


def block_interval(
    values: np.ndarray, block: int, *, confidence: float = 0.95, **options
) -> tuple[float, float, float]:
    """Mean of a dependent series (n,) and its interval by `block_means`."""
    means = block_means(values[None], block, **options)
    return float(values.mean()), *np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2]).tolist()


def compare(result: Outcome, horizon: int, *, tolerance: float = 0.02) -> pd.DataFrame:
    """The forecaster against each peer: the ratio of test errors, its 95% interval, and the difference.

    The interval is over time, in blocks of a horizon, because neighbouring windows share their future.
    difference: "better" or "worse" where the whole interval lies on that side of 1.  not_worse: at most `tolerance`
    above the peer, or not "worse".
    """
    peers, rows = dict(result.windows), []
    ours = peers.pop("resonance")
    for key, theirs in peers.items():
        ratio, drawn = ours.mean() / theirs.mean(), block_means(np.stack([ours, theirs]), horizon)
        low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
        difference = BETTER if high < 1 else WORSE if low > 1 else EVEN
        not_worse = bool(ratio <= 1 + tolerance or difference != WORSE)
        rows.append((METHODS[key], ratio, low, high, difference, not_worse))
    return pd.DataFrame(rows, columns=["peer", "ratio", "ratio_low", "ratio_high", "difference", "not_worse"])


# --------------------------------------------------------------------------- what the ledger keeps

Measure = tuple[str, float, str, tuple[float, float]]  # key, value, unit, interval
KEYS = {name: key for key, name in METHODS.items()}


def score_measures(prefix: str, scores: pd.DataFrame, figures: Sequence[str] = ("mse",)) -> Iterator[Measure]:
    """Yield <prefix>.<method>.<figure>, means over seeds with Student intervals, and <prefix>.<method>.parameters."""
    for method, rows in scores.groupby("method", sort=False):
        for figure in figures:
            mean, *interval = mean_interval(rows[figure])
            yield f"{prefix}.{KEYS[method]}.{figure}", mean, "standardised", tuple(interval)
        yield f"{prefix}.{KEYS[method]}.parameters", int(rows["parameters"].iloc[0]), "", (np.nan, np.nan)


def comparison_measures(prefix: str, comparisons: pd.DataFrame) -> Iterator[Measure]:
    """Yield the number of comparisons, how many end not worse, better, worse, below 1, and the highest ratio."""
    difference = comparisons["difference"]
    counts = {
        "comparisons": len(comparisons),
        "not_worse": comparisons["not_worse"].sum(),
        "better": (difference == BETTER).sum(),
        "worse": (difference == WORSE).sum(),
        "lower_error": (comparisons["ratio"] < 1).sum(),
    }
    yield from ((f"{prefix}.{name}", int(count), "", (np.nan, np.nan)) for name, count in counts.items())
    worst = comparisons.loc[comparisons["ratio"].idxmax()]
    yield f"{prefix}.highest_ratio", worst["ratio"], "", (worst["ratio_low"], worst["ratio_high"])
