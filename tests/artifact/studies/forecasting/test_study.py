"""A study of a task: what may touch the test, the comparison over time, and the tables of its figures."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from artifact.datasets.series import csv_series, shipped_series, spans
from artifact.peers.forecasting import Budget, SeasonalNaive, Thinned
from artifact.studies.forecasting.study import (
    BETTER,
    EVEN,
    METHODS,
    PARTS,
    TRAINED,
    WORSE,
    Job,
    Outcome,
    Search,
    all_studied,
    block_interval,
    block_means,
    comb_values,
    compare,
    comparison_measures,
    feasible,
    outcome,
    over_seeds,
    parts,
    study,
    tuning_measures,
    with_rates_of,
)
from artifact.studies.forecasting.views import past_future_gain, window_forecasts
from resonance.comb import GRIDS, INF, Chosen
from resonance.forecasting import Series, evaluate, forecast_task, window_errors
from resonance.time_series import Setting

SEARCH = Search(
    tapers=[0.0, 0.5],
    variance_powers=[0.0, 1.0],
    ranks=[2, 16],
    ridges=[1.0, 100.0],
    rates={key: [1e-3, 3e-3] for key in (*TRAINED, "resonance")},
    epochs=1,
    budgets=dict.fromkeys(TRAINED, Budget(1, 5, 16)),
    transformer=(8, 1),
    seeds=dict.fromkeys((*TRAINED, "resonance"), range(2)),
    wider=0,
    classical=(40, 40),
)
FIXED = ("comb", "naive", "classical", "ridge", "weighted", "reduced", "closed")  # without a seed


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
    pd.testing.assert_frame_equal(found[0].settings, found[1].settings)


def test_a_study_holds_every_method_and_seed_and_its_test_is_the_plain_error():
    task = forecast_task(toy_series(), 6)
    found = study(task, dict.fromkeys(METHODS, (24, 36)), SEARCH)
    assert list(found.chosen) == list(METHODS)
    assert {key: len(models) for key, models in found.chosen.items()} == {
        **dict.fromkeys(METHODS, 2),
        **dict.fromkeys(FIXED, 1),
    }
    for models in found.chosen.values():
        assert len({(trained.lookback, trained.rate) for trained in models[:1]}) == 1
        assert len({trained.seed for trained in models}) == len(models)
    ranks = found.settings.groupby("method")["rank"].unique()
    assert set(ranks["resonance"]) == {2, 4}, "ranks are cut to the 4 bins of 6 steps"
    assert set(ranks["reduced rank in time"]) == {2, 6}
    result = outcome(found)
    for _, row in result.scores.iterrows():
        key = {name: key for key, name in METHODS.items()}[row["method"]]
        trained = next(one for one in found.chosen[key] if one.seed == row["seed"])
        test = task.windows("test", trained.lookback)
        if key == "classical":
            assert len(test) // trained.model.window_stride >= 20
            test = Thinned(test.series, test.lookback, test.horizon, trained.model.window_stride)
        mse, mae = evaluate(trained.model, test)
        assert row["mse"] == pytest.approx(mse, rel=1e-5) and row["mae"] == pytest.approx(mae, rel=1e-5)
    sizes = result.scores.groupby("method")["parameters"].first()
    assert sizes["seasonal naive"] == 0 and sizes["ridge, closed form"] in (6 * 24, 6 * 36)
    kept = with_rates_of(SEARCH, found, range(3))
    assert {key: list(rates) for key, rates in kept.rates.items()} == {
        key: [found.chosen[key][0].rate] for key in SEARCH.rates
    }
    assert set(kept.seeds.values()) == {range(3)}


def test_a_closed_form_has_the_lowest_error_of_its_grid_and_ours_stays_frozen():
    task = forecast_task(toy_series(), 6)
    found = study(task, dict.fromkeys(METHODS, (24, 36)), replace(SEARCH, wider=1, frozen=True))
    for key in ("ridge", "weighted", "reduced"):
        tries = found.settings[found.settings["method"] == METHODS[key]]
        assert found.chosen[key][0].validation_mse == pytest.approx(tries["score"].min(), rel=1e-4)
        assert tries["ridge"].max() > 100, f"{key} widens"
    ours = found.settings[found.settings["method"] == "resonance"]
    assert found.chosen["closed"][0].validation_mse == pytest.approx(ours["score"].min(), rel=1e-4)
    assert set(ours["ridge"]) == {1.0, 100.0} and set(ours["taper"]) == {0.0, 0.5}, "the recipe as it stood"


def test_seeds_follow_the_best_of_the_first():
    class Fake:
        def __init__(self, lookback, rate, seed):
            self.lookback, self.rate, self.seed = lookback, rate, seed
            self.validation_mse = abs(lookback - 20) + abs(rate - 0.2) + seed

    def choose(score):
        return pd.DataFrame([(a, b, score(a, b)) for a in (10, 20) for b in (0.1, 0.2)])

    best, tried, table = over_seeds(Fake, choose, [5, 6])
    assert [(one.lookback, one.rate, one.seed) for one in best] == [(20, 0.2, 5), (20, 0.2, 6)]
    assert len(tried) == 5 and len(table) == 4


def test_studies_are_the_same_in_this_process_and_spread():
    series = toy_series()
    task = forecast_task(series, 6)
    alone, shared = (study(task, dict.fromkeys(METHODS, (24,)), SEARCH, processes=n) for n in (1, 2))
    pd.testing.assert_frame_equal(alone.tried, shared.tried)
    pd.testing.assert_frame_equal(outcome(alone).scores, outcome(shared).scores)
    jobs = [Job(series, horizon, dict.fromkeys(METHODS, (24,)), SEARCH) for horizon in (6,)]
    for one, other in zip(all_studied(jobs, 1), all_studied(jobs, 2), strict=True):
        pd.testing.assert_frame_equal(one.outcome.scores, other.outcome.scores)
        pd.testing.assert_frame_equal(one.comparisons, other.comparisons)
        pd.testing.assert_frame_equal(one.parts, other.parts)
        assert list(one.parts["part"]) == list(PARTS) and not set(one.comparisons["peer"]) & {METHODS["closed"]}
        assert set(one.tuned.columns) >= {"series", "horizon", "method", "setting", "inside", "bound"}


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
    return compare(Outcome(pd.DataFrame(), {"ridge": theirs, "resonance": ours}, {}), horizon).iloc[0]


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


def test_the_gain_over_the_regression_in_time_is_that_of_the_spectrum_and_that_of_fine_tuning():
    generator = np.random.default_rng(0)
    windows = {key: generator.uniform(1, 2, 200) for key in ("reduced", "closed", "resonance")}
    found = parts(Outcome(pd.DataFrame(), windows, {}), 10).set_index("part")["gap"]
    assert found.sum() == pytest.approx(windows["resonance"].mean() - windows["reduced"].mean())
    assert found["fine_tuning"] == pytest.approx(windows["resonance"].mean() - windows["closed"].mean())


def test_block_interval_of_white_noise_is_the_textbook_one():
    x = np.random.default_rng(0).standard_normal(2000)
    mean, low, high = block_interval(x, 1, draws=1000)
    half = 1.96 * x.std() / np.sqrt(len(x))
    assert mean == pytest.approx(x.mean()) and (high - low) / 2 == pytest.approx(half, rel=0.1)


def test_a_peer_on_some_windows_is_compared_on_those():
    generator = np.random.default_rng(0)
    ours, theirs = generator.uniform(1, 2, 400), generator.uniform(1, 2, 40)
    row = compare(Outcome(pd.DataFrame(), {"classical": theirs, "resonance": ours}, {"classical": 10}), 20).iloc[0]
    assert row["ratio"] == pytest.approx(ours[::10].mean() / theirs.mean())
    assert row["gap"] == pytest.approx(ours[::10].mean() - theirs.mean())
    assert row["gap_low"] < row["gap"] < row["gap_high"]


def test_p_is_of_the_interval_and_is_adjusted_over_the_family():
    theirs = 1.0 + 0.1 * np.random.default_rng(0).standard_normal(400)
    noise = 0.1 * np.random.default_rng(1).standard_normal(400)
    noise -= noise.mean()
    rows = [compared(theirs + noise - shift, theirs) for shift in (0.02, 0.0, 0.2)]
    for row in rows:
        assert (row["p"] < 0.05) == (row["difference"] != EVEN)
        assert (row["gap_high"] < 0) == (row["ratio_high"] < 1)
    assert compared(theirs, theirs)["p"] == 1.0
    measures = {key: value for key, value, _, _ in comparison_measures("x", pd.DataFrame(rows))}
    assert measures["x.better"] == 2 and 1 <= measures["x.better_holm"] <= 2 and measures["x.worse_holm"] == 0


def test_block_means_are_means_of_the_blocks_drawn():
    x = np.random.default_rng(0).standard_normal((2, 31))
    means = block_means(x, 4, draws=50, seed=3)
    starts = np.random.default_rng(3).integers(31, size=(50, 8))
    drawn = (starts[..., None] + np.arange(4)).reshape(50, -1)[:, :31] % 31
    np.testing.assert_allclose(means, np.stack([row[drawn].mean(axis=1) for row in x], axis=1), atol=1e-12)


def test_values_of_a_comb_are_inside_their_grids_or_at_a_bound():
    table = comb_values(Chosen(None, 0.0, 1.5, 3.0, 10.0, INF, -1.0)).set_index("setting")
    assert list(table.index) == list(GRIDS) and (table["lowest"] < table["highest"]).all()
    assert table["inside"].to_dict() == {name: name in ("variance_power", "ridge") for name in GRIDS}
    assert table["bound"].to_dict() == {name: name in ("exponent", "echo_ridge") for name in GRIDS}


def test_tuned_values_are_counted():
    methods = ["DLinear", "DLinear", "resonance"]
    tuned = pd.DataFrame({"method": methods, "inside": [True, False, False], "bound": [False, True, False]})
    measures = {key: value for key, value, _, _ in tuning_measures("f", tuned)}
    assert [measures[f"f.tuned.{count}"] for count in ("all", "inside", "bound", "neither")] == [3, 1, 1, 1]
    assert measures["f.tuned.dlinear.neither"] == 0 and measures["f.tuned.resonance.neither"] == 1


def test_blocks_widen_the_interval_of_a_dependent_series():
    generator = np.random.default_rng(0)
    x = np.repeat(generator.standard_normal(100), 20)  # 100 independent values, each seen 20 times
    width = {block: np.diff(block_interval(x, block, draws=2000)[1:])[0] for block in (1, 20)}
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
