"""One study of a forecasting task: every method chosen on validation, tested once, compared over the test's time.

study      choose and train every method; the test rows are not touched
outcome    the error of the chosen models on every window of the test
compare    the forecaster against each peer, with an interval over blocks of time
parts      what the spectrum and what fine-tuning change, with the same intervals
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from artifact.peers.classical import CLASSICAL, Classical
from artifact.peers.forecasting import (
    Budget,
    Ridge,
    SeasonalNaive,
    Thinned,
    Trained,
    train_dlinear,
    train_fits,
    train_patch_transformer,
)
from artifact.peers.periodic import train_sparse, train_timebase
from artifact.studies.common.processes import spread
from artifact.studies.common.statistics import holm, mean_interval
from artifact.studies.forecasting.choice import (
    CLOSED_FORMS,
    Bounds,
    ClosedForms,
    best_point,
    bounds,
    trained_grid,
    tuned_values,
    widened_grid,
)
from resonance.comb import GRIDS, INF, NONE, Chosen, fit_comb
from resonance.forecasting import ForecastTask, Series, Windows, evaluate, forecast_task, window_errors
from resonance.polar import count_parameters
from resonance.time_series import BandMoments, Setting, fine_tune

METHODS = {  # key in the ledger: name in tables and figures
    "naive": "seasonal naive",
    "classical": "Theta or STL",
    "ridge": "ridge, closed form",
    "weighted": "ridge, tapered and weighted",
    "reduced": "reduced rank in time",
    "dlinear": "DLinear",
    "fits": "FITS form",
    "sparse": "SparseTSF",
    "timebase": "TimeBase",
    "transformer": "patch Transformer",
    "comb": "comb, closed form",
    "closed": "resonance, closed form",
    "resonance": "resonance",
}
OURS = ("comb", "closed", "resonance")
PARTS = {"spectrum": ("closed", "reduced"), "fine_tuning": ("resonance", "closed")}  # each the first minus the second
TRAINED = {  # peers that are trained: what trains them
    "dlinear": train_dlinear,
    "fits": train_fits,
    "sparse": train_sparse,
    "timebase": train_timebase,
    "transformer": train_patch_transformer,
}
COMB_TARGETS = {96: 0.3484, 192: 0.3773, 336: 0.3966, 720: 0.4087, "etth2.96": 0.270}  # ETTh1, a prototype's; ETTh2
BETTER, EVEN, WORSE = "better", "no difference seen", "worse"  # significant differences of two test errors


@dataclass(frozen=True)
class Search:
    """The values that validation chooses from, the same on every series; lookbacks are separate."""

    tapers: Sequence[float]  # like what follows: of every closed form that has such a setting
    variance_powers: Sequence[float]
    ranks: Sequence[int]  # at most the bins of the horizon
    ridges: Sequence[float]
    rates: dict[str, Sequence[float]]  # by key of METHODS, of those that are trained
    epochs: int  # of fine-tuning
    budgets: dict[str, Budget]  # of the peers that are trained
    transformer: tuple[int, int]  # dim, depth
    seeds: dict[str, Sequence[int]]  # by key of METHODS, of those that are trained
    wider: int  # how often a grid may widen
    classical: tuple[int, int]  # every so many windows of validation, of the test
    frozen: bool = False  # the forecaster's own grids do not widen

    def wider_of(self, key: str) -> int:
        """How often the grids of a method may widen."""
        return 0 if self.frozen and key == "resonance" else self.wider


@dataclass(frozen=True)
class Study:
    """What validation chose for a task: the models of all seeds of each method, and everything that was tried."""

    task: ForecastTask
    chosen: dict[str, list[Trained]]  # by key of METHODS
    tried: pd.DataFrame  # method, lookback, rate, seed, epoch, validation_mse: the trained
    settings: pd.DataFrame  # method, lookback, taper, variance_power, rank, ridge, score: the closed forms
    tuned: pd.DataFrame  # method, setting, value, lowest, highest, inside, bound


def study(task: ForecastTask, lookbacks: dict[str, Sequence[int]], search: Search, *, processes: int = 1) -> Study:
    """Choose every method on validation and train it with every seed; `lookbacks` has those of each method.

    Closed forms: every setting of a grid.  The forecaster: its closed form, then the rate of its fine-tuning.  The
    trained: rate and lookback by the first seed, `processes` methods at a time.  The classical: the name and the
    lookback, on some windows.
    """
    ends = {key: bounds(task, longest_of(lookbacks), rank_limit(task, key)) for key in METHODS}
    naive = SeasonalNaive(task.horizon, task.series.period)
    chosen = {
        "naive": [_fixed(task, naive, lookbacks["naive"][0])],
        "classical": [best_classical(task, lookbacks["classical"], search.classical)],
    }
    forms, settings = ClosedForms(task), {}
    for key in CLOSED_FORMS:
        units = {"lookback": task.series.period, "rank": 1}
        grid = _closed_grid(task, key, lookbacks[key], search)
        settings[key] = widened_grid(forms.score(key), grid, ends[key], units, search.wider_of(key))
        if key != "resonance":
            point = best_point(settings[key])
            chosen[key] = [_fixed(task, forms.model(key, point), point[0], ridge=point[-1])]
    chosen["comb"], combs = best_comb(task, lookbacks["resonance"])
    setting = Setting(*best_point(settings["resonance"]))
    moments = forms.moments(setting)
    chosen["closed"] = [_fixed(task, setting.fitted(task, moments), setting.lookback, ridge=setting.ridge)]
    jobs = [(task, search, key, lookbacks[key], ends[key]) for key in reversed(TRAINED)]  # about the longest first
    jobs.append((task, search, "resonance", [setting.lookback], ends["resonance"], setting, moments))
    trained = dict(zip((job[2] for job in jobs), spread(_trained, jobs, processes=processes), strict=True))
    tried, rates = [], {}
    for key in (*TRAINED, "resonance"):
        chosen[key], every, rates[key] = trained[key]
        tried += [{"method": METHODS[key], **vars(one)} for one in every]
    tables = [(key, table) for part in (settings, rates) for key, table in part.items()]
    return Study(
        task,
        {key: chosen[key] for key in METHODS},
        pd.DataFrame(tried).drop(columns="model"),
        pd.concat(table.assign(method=METHODS[key]) for key, table in settings.items()),
        pd.concat([combs, *(tuned_values(table, ends[key]).assign(method=METHODS[key]) for key, table in tables)]),
    )


def longest_of(lookbacks: dict[str, Sequence[int]]) -> int:
    """The longest lookback of any method, which bounds all."""
    return max(max(values) for values in lookbacks.values())


def rank_limit(task: ForecastTask, key: str) -> int:
    """The highest rank of a method: the bins of the horizon for the forecaster, else the horizon."""
    return task.horizon // 2 + 1 if key in OURS else task.horizon


def _fixed(task: ForecastTask, model: Callable[[Tensor], Tensor], lookback: int, *, ridge: float = np.nan) -> Trained:
    return Trained(model, lookback, ridge, 0, 0, evaluate(model, task.windows("validation", lookback))[0])


def best_comb(task: ForecastTask, lookbacks: Sequence[int]) -> tuple[list[Trained], pd.DataFrame]:
    """The comb at the longest lookback of two whole periods or more, and its tuned values.

    At no other lookback: the penalty that grows with the lag takes the place of a shorter one.
    """
    period = task.series.period
    lookback = max(steps for steps in lookbacks if steps >= 2 * period) // period * period
    found = fit_comb(task, lookback)
    return [_fixed(task, found.model, lookback)], comb_values(found).assign(method=METHODS["comb"])


def comb_values(found: Chosen) -> pd.DataFrame:
    """The settings of a fitted comb as `tuned_values` has them; none lies beyond what `bound` marks."""
    ends, rows = {"exponent": (0.0,), "variance_power": (0.0,), "growth": (0.0,), "echo_ridge": (NONE, INF)}, []
    for name, grid in GRIDS.items():
        value, inside = getattr(found, name), grid[0] < getattr(found, name) < grid[-1]
        rows.append((name, value, grid[0], grid[-1], inside, value in ends.get(name, ())))
    return pd.DataFrame(rows, columns=["setting", "value", "lowest", "highest", "inside", "bound"])


def best_classical(task: ForecastTask, lookbacks: Sequence[int], strides: tuple[int, int]) -> Trained:
    """The classical method and lookback of the lowest validation error, on every strides[0]-th window.

    Lookbacks of fewer than two periods are left out; of a short series at least 20 windows count, or all.
    """
    tried, period = [], task.series.period
    for name, lookback in product(CLASSICAL, [steps for steps in lookbacks if steps >= 2 * period]):
        validation, test = (task.windows(split, lookback) for split in ("validation", "test"))
        stride = min(strides[1], max(1, len(test) // 20))
        model = Classical(name, task.horizon, period, stride)
        error = evaluate(model, thinned(validation, min(strides[0], max(1, len(validation) // 20))))[0]
        tried.append(Trained(model, lookback, np.nan, 0, 0, error))
    return min(tried, key=lambda trained: trained.validation_mse)


def _closed_grid(task: ForecastTask, key: str, lookbacks: Sequence[int], search: Search) -> dict[str, Sequence[float]]:
    values = {
        "lookback": lookbacks,
        "taper": search.tapers,
        "variance_power": search.variance_powers,
        "rank": sorted({min(rank, rank_limit(task, key)) for rank in search.ranks}),
        "ridge": search.ridges,
    }
    return {name: values[name] for name in CLOSED_FORMS[key]}


def _train_peer(task: ForecastTask, search: Search, key: str, lookback: int, rate: float, seed: int) -> Trained:
    options = {"period": task.series.period}
    if key == "transformer":
        options = dict(zip(("dim", "depth"), search.transformer, strict=True))
    elif key == "dlinear":
        options = {}
    windows = (task.windows(split, lookback) for split in ("train", "validation"))
    return TRAINED[key](*windows, search.budgets[key], rate=rate, seed=seed, **options)


def _fine_tuned(
    task: ForecastTask, search: Search, setting: Setting, moments: BandMoments, lookback: int, rate: float, seed: int
) -> Trained:
    fit = fine_tune(task, setting, moments, rate=rate, epochs=search.epochs, seed=seed)
    return Trained(fit.model, lookback, rate, seed, fit.epoch, fit.validation_mse)


def _trained(task: ForecastTask, search: Search, key: str, lookbacks: Sequence[int], ends: Bounds, *start):
    """What `over_seeds` returns for a method; start: the setting and moments of the one that is fine-tuned."""
    train = partial(_fine_tuned, task, search, *start) if start else partial(_train_peer, task, search, key)
    choose = partial(
        trained_grid,
        lookbacks=lookbacks,
        rates=search.rates[key],
        ends=ends,
        unit=task.series.period,
        wider=search.wider_of(key),
    )
    return over_seeds(train, choose, search.seeds[key])


def over_seeds(
    train: Callable[[int, float, int], Trained], choose: Callable[..., pd.DataFrame], seeds: Sequence[int]
) -> tuple[list[Trained], list[Trained], pd.DataFrame]:
    """Choose lookback and rate with the first seed, then train the other seeds there.

    train(lookback, rate, seed) returns one model; choose(score) the table of what was tried, score(lookback, rate) an
    error.  Returns the models of all seeds, every model trained, and that table.
    """
    tried: list[Trained] = []

    def score(lookback: int, rate: float) -> float:
        tried.append(train(lookback, rate, seeds[0]))
        return tried[-1].validation_mse

    table = choose(score)
    best = min(tried, key=lambda trained: trained.validation_mse)
    more = [train(best.lookback, best.rate, seed) for seed in seeds[1:]]
    return [best, *more], [*tried, *more], table


def feasible(series: Series, horizons: Sequence[int], lookback: int) -> list[int]:
    """The horizons that leave a window of `lookback` in every split of a series."""
    borders = {horizon: forecast_task(series, horizon).borders for horizon in horizons}
    return [h for h, (a, b, c) in borders.items() if a >= lookback + h and min(b - a, c - b) >= h]


def with_rates_of(search: Search, study: Study, seeds: Sequence[int]) -> Search:
    """The same search with only the rates that a study chose, one a method, and the same seeds for every method."""
    rates = {key: [study.chosen[key][0].rate] for key in search.rates}
    return replace(search, rates=rates, seeds=dict.fromkeys(search.seeds, seeds))


def with_lookbacks_of(lookbacks: dict[str, Sequence[int]], study: Study) -> dict[str, Sequence[int]]:
    """The same lookbacks, of the peers that are trained only the one that a study chose."""
    return lookbacks | {key: [study.chosen[key][0].lookback] for key in TRAINED}


def parameters(model: object) -> int:
    """Number of real parameters of a forecaster."""
    if isinstance(model, torch.nn.Module):
        return count_parameters(model)
    return model.parameters if isinstance(model, Ridge) else 0


# --------------------------------------------------------------------------- the test


@dataclass(frozen=True)
class Outcome:
    """The test of a study: `scores`, a row a method and seed, and the squared error of each window, seeds averaged."""

    scores: pd.DataFrame  # method, seed, lookback, parameters, validation_mse, mse, mae
    windows: dict[str, np.ndarray]  # by key of METHODS, (windows,); of a classical method every `strides`-th
    strides: dict[str, int]  # where it is not 1


def outcome(study: Study) -> Outcome:
    """Errors of a study's chosen models on the windows of its test."""
    rows, windows, strides = [], {}, {}
    for key, seeds in study.chosen.items():
        stride = getattr(seeds[0].model, "window_stride", 1)
        if stride > 1:
            strides[key] = stride
        test = thinned(study.task.windows("test", seeds[0].lookback), stride)
        errors = [window_errors(trained.model, test) for trained in seeds]
        windows[key] = np.mean([squared for squared, _ in errors], axis=0)
        for trained, (squared, absolute) in zip(seeds, errors, strict=True):
            row = {"method": METHODS[key], "seed": trained.seed, "lookback": trained.lookback}
            row |= {"parameters": parameters(trained.model), "validation_mse": trained.validation_mse}
            rows.append(row | {"mse": squared.mean(), "mae": absolute.mean()})
    return Outcome(pd.DataFrame(rows), windows, strides)


def thinned(windows: Windows, stride: int) -> Windows:
    """Every `stride`-th window."""
    return Thinned(windows.series, windows.lookback, windows.horizon, stride) if stride > 1 else windows


class Job(NamedTuple):
    """A study of a series at a horizon, its test, and what to keep of it."""

    series: Series
    horizon: int
    lookbacks: dict[str, Sequence[int]]
    search: Search


class Studied(NamedTuple):
    """What is kept of a job: its test, comparisons of the forecaster and of the comb, parts, tuned values.

    Each table has `series` and `horizon`.
    """

    outcome: Outcome
    comparisons: pd.DataFrame
    comb: pd.DataFrame
    parts: pd.DataFrame
    tuned: pd.DataFrame


def studied(found: Study) -> Studied:
    """Test a study, once, and compare."""
    result, labels = outcome(found), {"series": found.task.series.dataset, "horizon": found.task.horizon}
    horizon = found.task.horizon
    compared = (compare(result, horizon, ours=ours) for ours in ("resonance", "comb"))
    tables = (result.scores, *compared, parts(result, horizon), found.tuned)
    scores, *rest = (table.assign(**labels) for table in tables)
    return Studied(replace(result, scores=scores), *rest)


def _run(*job) -> Studied:
    job = Job(*job)
    return studied(study(forecast_task(job.series, job.horizon), job.lookbacks, job.search))


def all_studied(jobs: Iterable[Job], processes: int) -> list[Studied]:
    """The studies of all jobs, in order, in this process or spread over several of one thread each."""
    return spread(_run, jobs, processes=processes)


def block_means(values: np.ndarray, block: int, *, draws: int = 20000, seed: int = 0) -> np.ndarray:
    """Bootstrap means (draws, rows) of dependent series (rows, n), by circular blocks (Politis, Romano 1992).

    n values a draw, in blocks of `block` neighbours that start anywhere, the last cut to fit; the same blocks for every
    row.  A block is at most a third of the values: one that held them all would give the same mean in every draw.
    Raises ValueError for block < 1 or no value.  Cost: draws x blocks, by cumulative sums.
    """
    n = values.shape[1]
    if block < 1 or n < 1:
        raise ValueError(f"expected a block of at least 1 and at least one value, got {block} and {n}")
    block = max(1, min(block, n // 3))
    lengths = np.diff([*range(0, n, block), n])
    starts = np.random.default_rng(seed).integers(n, size=(draws, len(lengths)))
    centre = values.mean(axis=1, keepdims=True, dtype=np.float64)  # of sums of deviations nothing cancels
    turns = np.concatenate([values, values[:, :block]], axis=1) - centre
    sums = np.concatenate([np.zeros((len(values), 1)), turns.cumsum(axis=1)], axis=1)
    return np.stack(
        [c + (row[starts + lengths] - row[starts]).sum(axis=1) / n for c, row in zip(centre[:, 0], sums, strict=True)],
        axis=1,
    )


def block_interval(
    values: np.ndarray, block: int, *, confidence: float = 0.95, **options
) -> tuple[float, float, float]:
    """Mean of a dependent series (n,) and its interval by `block_means`."""
    means = block_means(values[None], block, **options)
    return float(values.mean()), *np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2]).tolist()


def compare(result: Outcome, horizon: int, *, ours: str = "resonance", tolerance: float = 0.02) -> pd.DataFrame:
    """One of ours against each peer: what `_against` gives, and not_worse.

    not_worse: at most `tolerance` above the peer, or not "worse".
    """
    rows = [{"peer": METHODS[key]} | _against(result, ours, key, horizon) for key in result.windows if key not in OURS]
    for row in rows:
        row["not_worse"] = bool(row["ratio"] <= 1 + tolerance or row["difference"] != WORSE)
    return pd.DataFrame(rows)


def parts(result: Outcome, horizon: int) -> pd.DataFrame:
    """What each of PARTS changes: a row of what `_against` gives."""
    return pd.DataFrame({"part": part} | _against(result, *pair, horizon) for part, pair in PARTS.items())


def _against(result: Outcome, ours: str, theirs: str, horizon: int) -> dict[str, object]:
    """One method against another: ratio and difference of test errors, 95% intervals, p, and the outcome.

    The intervals are over time, in blocks of a horizon, because neighbouring windows share their future; both methods
    on the same windows.  p: two-sided, of a ratio of 1, by the share of draws on the other side of it.
    difference: "better" or "worse" where the whole interval lies on that side of 1.
    """
    stride = result.strides.get(theirs, 1)
    pair = np.stack([result.windows[ours][::stride], result.windows[theirs]])
    (own, other), drawn = pair.mean(axis=1), block_means(pair, -(-horizon // stride))
    ratios, gaps = drawn[:, 0] / drawn[:, 1], drawn[:, 0] - drawn[:, 1]
    (low, high), gap = np.quantile(ratios, [0.025, 0.975]), np.quantile(gaps, [0.025, 0.975])
    beyond = min((ratios <= 1).sum(), (ratios >= 1).sum()) + 1
    row = {"ratio": own / other, "ratio_low": low, "ratio_high": high}
    row |= {"gap": own - other, "gap_low": gap[0], "gap_high": gap[1]}
    row["p"] = min(1.0, 2 * beyond / (len(ratios) + 1))
    return row | {"difference": BETTER if high < 1 else WORSE if low > 1 else EVEN}


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
    """Yield the number of comparisons, how many end not worse, better, worse, below 1, and the highest ratio.

    better_holm, worse_holm: those whose p, adjusted over all of them (Holm 1979), is below 0.05.
    """
    difference, significant = comparisons["difference"], np.asarray(holm(comparisons["p"])) < 0.05
    counts = {
        "comparisons": len(comparisons),
        "not_worse": comparisons["not_worse"].sum(),
        "better": (difference == BETTER).sum(),
        "worse": (difference == WORSE).sum(),
        "better_holm": (significant & (comparisons["ratio"] < 1)).sum(),
        "worse_holm": (significant & (comparisons["ratio"] > 1)).sum(),
        "lower_error": (comparisons["ratio"] < 1).sum(),
    }
    yield from ((f"{prefix}.{name}", int(count), "", (np.nan, np.nan)) for name, count in counts.items())
    worst = comparisons.loc[comparisons["ratio"].idxmax()]
    yield f"{prefix}.highest_ratio", worst["ratio"], "", (worst["ratio_low"], worst["ratio_high"])


def block_measures(prefix: str, result: Studied, horizon: int) -> Iterator[Measure]:
    """Yield <prefix>.<method>.block, the test error and its interval over blocks of time, and the gaps to the others.

    <prefix>.gap.<method>: the forecaster's error minus that of a peer or of its closed form, with the paired interval.
    """
    for key, errors in result.outcome.windows.items():
        mean, *interval = block_interval(errors, -(-horizon // result.outcome.strides.get(key, 1)))
        yield f"{prefix}.{key}.block", mean, "standardised", tuple(interval)
    for row in result.comparisons.itertuples():
        yield f"{prefix}.gap.{KEYS[row.peer]}", row.gap, "standardised", (row.gap_low, row.gap_high)
    tuned = result.parts.set_index("part").loc["fine_tuning"]
    yield f"{prefix}.gap.closed", tuned["gap"], "standardised", (tuned["gap_low"], tuned["gap_high"])


def tuning_measures(prefix: str, tuned: pd.DataFrame) -> Iterator[Measure]:
    """Yield how many values were tuned, how many lie inside their grid, at a bound of the setting, or at neither.

    <prefix>.tuned.<count> of all methods, <prefix>.tuned.<method>.<count> of each.
    """
    groups = [("", tuned), *((f"{KEYS[method]}.", rows) for method, rows in tuned.groupby("method", sort=False))]
    for name, rows in groups:
        inside, bound = rows["inside"].astype(bool), rows["bound"].astype(bool)
        counts = {"all": len(rows), "inside": inside.sum(), "bound": bound.sum(), "neither": (~inside & ~bound).sum()}
        yield from ((f"{prefix}.tuned.{name}{count}", int(n), "", (np.nan, np.nan)) for count, n in counts.items())
