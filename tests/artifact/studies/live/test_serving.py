"""The cost of serving, scores of forecasts, thresholds reached, figures and tables."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from artifact.studies.audio.tasks import OFFICIAL, DigitTask
from artifact.studies.common.latex import Cells
from artifact.studies.live import figures as plots_live
from artifact.studies.live.forecasting import choose_live, serve
from artifact.studies.live.serving import (
    LIVE_FORECASTER,
    RIDGE,
    WINDOWED,
    against_targets,
    context_seconds,
    forecast_scores,
    frame_seconds,
    parallel_gap,
    real_time,
    window_peers,
)
from artifact.studies.live.speech import LIVE, MODELS, OFFLINE, TRANSFORMER, accuracy_over_time, decisions
from artifact.studies.live.tables import FORECASTERS, METHODS, TARGETS, tables
from resonance.forecasting import evaluate

PEERS = {
    "ridge": {"lookback": [24], "ridge": [1.0, 10.0]},
    "resonance": {"lookback": [24], "taper": [0.5], "variance_power": [1.0], "rank": [3], "ridge": [1.0]},
}


def served_scores(task):
    grid = {"scales": [2], "longest": [4.0], "harmonics": [3], "variance_power": [0.0], "ridge": [1.0]}
    tries, _, model = choose_live(task, grid)
    return model, forecast_scores(task, model, tries["score"].min(), serve(model, task), window_peers(task, PEERS)[0])


def test_forecasts_are_scored_on_the_same_windows(task):
    scores = served_scores(task)[1]
    assert scores["method"].tolist() == [LIVE_FORECASTER, RIDGE, WINDOWED] and scores["ratio"].iloc[0] == 1
    assert scores["kept"].tolist() == [3 * 6 * 2 + 12 * 2 + 1, 48, 48] and scores["parameters"].iloc[1] == 24 * 6
    assert (scores["p50"] <= scores["p99"]).all() and (scores["mse_low"] <= scores["mse"]).all()
    assert scores["ratio"].iloc[1] == pytest.approx(scores["mse"].iloc[0] / scores["mse"].iloc[1])


def test_window_peers_are_the_best_of_grids_that_widen(task):
    peers, tuned = window_peers(task, PEERS | {"ridge": {"lookback": [24, 36], "ridge": [1e4, 1e5]}}, wider=2)
    for peer in peers.values():
        error = evaluate(peer.model, task.windows("validation", peer.lookback))[0]
        assert peer.validation_mse == pytest.approx(error, rel=1e-4)
    rows = tuned.set_index(["method", "setting"])
    assert rows.loc[(RIDGE, "ridge"), "value"] < 1e4 and set(rows.index) == {(RIDGE, "lookback"), (RIDGE, "ridge")}


def test_times_are_counted_a_frame_each(toy_speech, toy_outputs, task):
    test = DigitTask(toy_speech(takes=6)).pair(OFFICIAL)[1]
    models = {name: MODELS[name]() for name in (LIVE, TRANSFORMER, OFFLINE)}
    times = frame_seconds(models, test, 2)
    counts = times.groupby("method")["frame"].agg(["count", "max"])
    assert counts["count"].nunique() == 1 and (times["seconds"] > 0).all()
    speed = real_time(times)
    assert (speed["p50"] <= speed["p99"]).all() and (speed["p99"] <= speed["most"]).all()
    np.testing.assert_allclose(speed["factor_p50"] * speed["p50"], 20.0)
    growth = context_seconds([0.1, 0.4])
    kept = growth.pivot_table(index="received", columns="method", values="kept")
    assert kept[LIVE].nunique() == 1 and kept.loc[0.4, TRANSFORMER] > 3 * kept.loc[0.1, TRANSFORMER]
    forecaster, scores = served_scores(task)
    curves = pd.concat(
        accuracy_over_time(toy_outputs, [0.25, 0.5, 1.0]).assign(method=name, seed=seed)
        for name in models
        for seed in (0, 1)
    )
    table = against_targets(curves, speed.set_index("method"), growth, scores, 0.5).set_index("target")
    assert table.loc["near", "measured"] == 0 and table.loc["near", "reached"] and not table.loc["early", "reached"]
    assert table.loc["real_time", "reached"] == (speed["p99"].iloc[0] < 2)
    gaps = parallel_gap(models[LIVE], test, forecaster, task)
    assert 0 <= max(gaps.values()) < 1e-3
    decided = pd.concat(decisions(toy_outputs, [0.5, 0.9]).assign(method=name, seed=0) for name in models)
    after = pd.DataFrame({"received": [1, 10], "mse": [2.0, 1.0], "ridge": 1.5})
    drawn = plots_live.accuracy_over_time(curves, 0.5).axes[0]
    assert [line.get_label() for line in drawn.lines[:3]] == list(models)
    assert len(plots_live.decision_times(decided).axes[0].lines) == 3
    assert [axes.get_xscale() for axes in plots_live.frame_times(times, growth).axes] == ["log", "log"]
    ratios = plots_live.forecasts_served(scores, after, "hour").axes[0]
    assert [label.get_text() for label in ratios.get_yticklabels()] == [RIDGE, WINDOWED]


def test_tables_have_a_row_a_method():
    values = {f"live.{key}.{of}": 75.25 for key in METHODS for of in ("end", "share.25", "share.50", "share.75")}
    values |= {
        f"live.{key}.{of}": 1.5 for key in ("resonance", "offline") for of in ("p50", "p99", "factor_p99", "parameters")
    }
    values |= {
        f"live.forecast.{key}.{of}": 0.375
        for key in FORECASTERS
        for of in ("parameters", "kept", "validation_mse", "mse", "mae", "p50", "p99")
    }
    values |= {f"live.target.{key}.reached": 0 for key in TARGETS}
    by_key = pd.DataFrame({"value": values, "ci_low": math.nan, "ci_high": math.nan})
    found = tables(Cells(by_key))
    assert set(found) == {"live_targets", "live", "live_frames", "live_forecasts"}
    assert found["live_targets"].count("no ") == len(TARGETS) == 6 and "--" in found["live_targets"]
    assert found["live"].count("75.25") == 3 * len(METHODS) and found["live_frames"].count("\\\\") == 3
    assert not any(tables(Cells(by_key.iloc[:0])).values())
