"""A study of a task: what may touch the test, the comparison over time, and the tables of its figures."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from artifact.datasets.series import csv_series, shipped_series, spans
from artifact.peers.forecasting import Budget, SeasonalNaive
from artifact.studies.forecasting.study import (
    BETTER,
    EVEN,
    METHODS,
    WORSE,
    Outcome,
    Search,
    block_interval,
    compare,
    feasible,
    outcome,
    over_seeds,
    study,
    with_rates_of,
)
from artifact.studies.forecasting.views import past_future_gain, window_forecasts
from resonance.forecasting import Series, evaluate, forecast_task, window_errors
from resonance.time_series import Setting

SEARCH = Search(
    tapers=[0.0, 0.5],
    variance_powers=[0.0, 1.0],
    ranks=[2, 16],
    ridges=[1.0, 100.0],
    rates={key: [1e-3, 3e-3] for key in ("resonance", "dlinear", "fits", "transformer")},
    epochs=1,
    budgets=dict.fromkeys(("dlinear", "fits", "transformer"), Budget(1, 5, 16)),
    transformer=(8, 1),
    seeds=range(2),
)


def toy_series(steps=500, channels=2, seed=0):
    generator = np.random.default_rng(seed)
    t = np.arange(steps)[:, None]
    values = np.sin(2 * np.pi * t / 12 + np.arange(channels)) + 0.3 * generator.standard_normal((steps, channels))
    return Series("toy", values, tuple("abc"[:channels]), period=12, step="step")


# --------------------------------------------------------------------------- a study


def test_no_test_row_reaches_a_study():
    series = toy_series()
    changed = series.values.copy()
    changed[400:] = 1e6
    found = []
    for values in (series.values, changed):
        task = forecast_task(Series("toy", values, series.channels, 12, "step"), 6)
        found.append(study(task, dict.fromkeys(METHODS, (24,)), SEARCH))
    pd.testing.assert_frame_equal(found[0].tried, found[1].tried)
    pd.testing.assert_frame_equal(found[0].closed_form, found[1].closed_form)


def test_a_study_holds_every_method_and_seed_and_its_test_is_the_plain_error():
    task = forecast_task(toy_series(), 6)
    found = study(task, dict.fromkeys(METHODS, (24, 36)), SEARCH)
    assert list(found.chosen) == list(METHODS)
    assert {key: len(models) for key, models in found.chosen.items()} == {
        **dict.fromkeys(METHODS, 2),
        **{"naive": 1, "ridge": 1},
    }
    for models in found.chosen.values():
        assert len({(trained.lookback, trained.rate) for trained in models[:1]}) == 1
        assert len({trained.seed for trained in models}) == len(models)
    assert set(found.closed_form["rank"]) == {2, 4}, "ranks are cut to the 4 bins of 6 steps"
    result = outcome(found)
    for _, row in result.scores.iterrows():
        key = {name: key for key, name in METHODS.items()}[row["method"]]
        trained = next(one for one in found.chosen[key] if one.seed == row["seed"])
        mse, mae = evaluate(trained.model, task.windows("test", trained.lookback))
        assert row["mse"] == pytest.approx(mse, rel=1e-5) and row["mae"] == pytest.approx(mae, rel=1e-5)
    sizes = result.scores.groupby("method")["parameters"].first()
    assert sizes["seasonal naive"] == 0 and sizes["ridge, closed form"] in (6 * 24, 6 * 36)
    kept = with_rates_of(SEARCH, found)
    assert {key: list(rates) for key, rates in kept.rates.items()} == {
        key: [found.chosen[key][0].rate] for key in SEARCH.rates
    }


def test_seeds_follow_the_best_of_the_first():
    class Fake:
        def __init__(self, lookback, rate, seed):
            self.lookback, self.rate, self.seed = lookback, rate, seed
            self.validation_mse = abs(lookback - 20) + abs(rate - 0.2) + seed

    best, tried = over_seeds(lambda lookback, *, rate, seed: Fake(lookback, rate, seed), [10, 20], [0.1, 0.2], [5, 6])
    assert [(one.lookback, one.rate, one.seed) for one in best] == [(20, 0.2, 5), (20, 0.2, 6)]
    assert len(tried) == 5


def test_window_errors_are_means_over_steps_and_channels():
    windows = forecast_task(toy_series(), 6).windows("test", 24)
    naive = SeasonalNaive(6, 12)
    past, future = windows.batch(torch.arange(len(windows)))
    error = (naive(past) - future).double()
    squared, absolute = window_errors(naive, windows)
    np.testing.assert_allclose(squared, error.square().mean(dim=(1, 2)).numpy(), rtol=1e-6)
    np.testing.assert_allclose(absolute, error.abs().mean(dim=(1, 2)).numpy(), rtol=1e-6)


# --------------------------------------------------------------------------- the comparison


def compared(ours, theirs, horizon=5):
    return compare(Outcome(pd.DataFrame(), {"ridge": theirs, "resonance": ours}), horizon).iloc[0]


def test_the_difference_follows_the_interval():
    theirs = 1.0 + 0.1 * np.random.default_rng(0).standard_normal(400)
    noise = 0.1 * np.random.default_rng(1).standard_normal(400)
    assert compared(theirs, theirs)["difference"] == EVEN
    assert compared(theirs + noise - noise.mean(), theirs)["difference"] == EVEN
    assert compared(theirs + noise - 0.2, theirs)["difference"] == BETTER
    worse = compared(theirs + noise + 0.2, theirs)
    assert worse["difference"] == WORSE and not worse["not_worse"]
    barely = compared(theirs + 0.01, theirs)
    assert barely["difference"] == WORSE and barely["not_worse"], "1% above a peer is within the tolerance"


def test_block_interval_of_white_noise_is_the_textbook_one():
    x = np.random.default_rng(0).standard_normal(2000)
    mean, low, high = block_interval(x, 1, draws=1000)
    half = 1.96 * x.std() / np.sqrt(len(x))
    assert mean == pytest.approx(x.mean()) and (high - low) / 2 == pytest.approx(half, rel=0.1)


def test_blocks_widen_the_interval_of_a_dependent_series():
    generator = np.random.default_rng(0)
    x = np.repeat(generator.standard_normal(100), 20)  # 100 independent values, each seen 20 times
    width = {block: np.diff(block_interval(x, block)[1:])[0] for block in (1, 20)}
    assert width[20] > 3 * width[1]
    assert np.ptp(block_interval(np.full(7, 3.0), 50)) < 1e-12
    assert np.ptp(block_interval(x[:60], 60)) > 0.1, "a block of everything would be sure of itself"
    with pytest.raises(ValueError, match="block of at least 1"):
        block_interval(x, 0)


# --------------------------------------------------------------------------- series


def test_spans_leave_windows_in_every_split_of_every_shipped_series():
    for series in shipped_series():
        horizon, lookbacks = spans(series)
        assert horizon == series.period and all(lookback % series.period == 0 for lookback in lookbacks)
        assert np.isfinite(series.values).all() and not series.stand_in
        for split, lookback in product(("train", "validation", "test"), lookbacks):
            assert len(forecast_task(series, horizon).windows(split, lookback)) > 0


def test_spans_refuse_a_series_too_short():
    assert spans(toy_series(steps=120)) == (12, (12, 24))
    with pytest.raises(ValueError, match="at least 120 rows"):
        spans(toy_series(steps=119))


def test_feasible_is_what_gives_windows():
    series = toy_series(steps=300)
    assert feasible(series, [12, 60, 61, 200], 48) == [12, 60]
    for split in ("train", "validation", "test"):
        assert len(forecast_task(series, 60).windows(split, 48)) > 0


def test_any_csv_goes_the_same_way(tmp_path):
    series = toy_series()
    dates = pd.date_range("2020-01-01", periods=len(series.values), freq="h")
    table = pd.DataFrame({"date": dates, "a": series.values[:, 0], "b": series.values[:, 1]})
    table.to_csv(tmp_path / "mine.csv", index=False)
    (own,) = csv_series(str(tmp_path / "mine.csv"), 12, "hour")
    assert (own.dataset, own.channels, csv_series("", 12, "hour")) == ("mine", ("a", "b"), [])
    horizon, back = spans(own)
    result = outcome(study(forecast_task(own, horizon), dict.fromkeys(METHODS, back[:1]), SEARCH))
    mse = result.scores.groupby("method")["mse"].mean()
    assert mse["resonance"] < mse["seasonal naive"]


def test_tables_for_the_figures():
    task = forecast_task(toy_series(), 6)
    model = Setting(24, 0.5, 1.0, 2, 10.0).model(task)
    example = window_forecasts(task, {"resonance": model}, window=3, lookback=24)
    assert example["step"].iloc[-1] == 6 and example["resonance"].notna().sum() == 6
    assert len(past_future_gain(model)) == 4 * 13
