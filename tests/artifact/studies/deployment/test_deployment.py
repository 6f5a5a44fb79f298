"""The measurement of the service: samples, quantiles, targets; a short run against a real process."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from artifact.datasets.characters import character_corpus
from artifact.pipeline.freshness import dependencies
from artifact.serving.models import load_models, save_model
from artifact.studies.deployment import figures, tables
from artifact.studies.deployment.service import (
    FIRST,
    FIT,
    FORECAST,
    FRAME,
    KEYS,
    NEXT,
    NO_FAULT,
    against_targets,
    distribution,
    isolation,
    latencies,
    pcm_of,
    refused,
    running,
    stopped,
    summary,
    together,
)
from artifact.studies.deployment.service import run as run_in_thread
from artifact.studies.deployment.training import save_forecaster, save_text
from resonance.forecasting import Series, forecast_task
from resonance.live import LiveAudioNet


@pytest.fixture(scope="module")
def series():
    noise = np.random.default_rng(0).normal(size=(600, 2))
    values = np.sin(np.arange(600)[:, None] * 2 * np.pi / 24 + np.arange(2)) + 0.2 * noise
    return Series("toy", values, ("a", "b"), period=24, step="hour")


@pytest.fixture(scope="module")
def folder(series, tmp_path_factory):
    """Three models as the notebook saves them, the classifier untrained."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    save_model(folder, "classifier", {"labels": list("0123456789"), "rate": 8000}, LiveAudioNet())
    save_text(folder, character_corpus("toy", "abc abd. " * 300), steps=3, rate=0.01, seed=0)
    save_forecaster(folder, forecast_task(series, 6), lookback=48, ridge=10.0, coverage=0.9)
    return folder


def test_a_saved_forecaster_forecasts_and_its_intervals_hold_about_their_share(series, tmp_path):
    found = save_forecaster(tmp_path, forecast_task(series, 6), lookback=48, ridge=10.0, coverage=0.9)
    assert found["mse"] < 0.3
    assert 80 < found["coverage"] < 97
    model = load_models(tmp_path)["forecaster"]
    forecast, lower, upper = model.forecast(series.values)
    expected = np.sin((600 + np.arange(6)[:, None]) * 2 * np.pi / 24 + np.arange(2))
    assert np.abs(forecast - expected).max() < 0.5 and ((lower < expected) & (expected < upper)).all()


def test_a_saved_text_model_has_learned(tmp_path):
    corpus = character_corpus("toy", "abc abd. " * 300)
    few, more = (save_text(tmp_path, corpus, steps=steps, rate=0.01, seed=0)["loss"] for steps in (1, 40))
    assert more < 0.7 * few
    assert load_models(tmp_path)["text"].symbols == " .abcd"


def test_what_is_measured_of_a_real_service(folder, series):
    sounds = pcm_of([np.sin(np.arange(800) * f) for f in (0.1, 0.3, 0.5)], 0.2, 8000)
    assert [len(pcm) for pcm in sounds] == [3200] * 3
    with running(folder) as service:
        samples = latencies(service, [1, 3], series.values[:200, :1], sounds, requests=2, tokens=5)
        apart = isolation(service, sounds, clients=3, tokens=5)
        inputs = refused(service)
        stop = stopped(service, tokens=40)
        assert service.token not in service.log.read_text()
    assert set(samples["fault"]) == {NO_FAULT}
    counts = samples.groupby(["endpoint", "clients"]).size().to_dict()
    each = {FRAME: 10, FORECAST: 2, FIRST: 1, NEXT: 4, FIT: 1}
    assert counts == {(name, clients): clients * n for name, n in each.items() for clients in (1, 3)}
    assert len(apart) == 6 and apart["difference"].max() < 1e-5
    assert inputs["refused"].all() and inputs["alive"].all() and len(inputs) >= 20, inputs
    assert stop["tokens"] == 40 and stop["status"] == 0
    table = summary(samples)
    assert (table["p50"] <= table["p95"]).all() and (table["p95"] <= table["p99"]).all()
    targets = against_targets(table, inputs, apart, stop, 40).set_index("target")["reached"]
    assert targets[["faults", "refused", "isolated", "stopped"]].all() and list(targets.index) == list(tables.TARGETS)
    figures.latency(table, distribution(samples))


def test_a_client_that_fails_is_counted():
    async def one(at):
        if at == 1:
            raise ConnectionError("lost")
        return []

    (sample,) = run_in_thread(together(FIT, 3, one))
    assert sample.endpoint == FIT and "lost" in sample.fault
    found = summary(pd.DataFrame([sample]))
    assert found["faults"].tolist() == [1]


def test_targets_that_are_missed_are_said_so():
    latency = pd.DataFrame([(FRAME, 1, 1.0, 2), (FRAME, 64, 25.0, 0)], columns=["endpoint", "clients", "p99", "faults"])
    inputs = pd.DataFrame({"refused": [True, False], "alive": [True, True]})
    apart = pd.DataFrame({"difference": [0.0, 0.5]})
    found = against_targets(latency, inputs, apart, {"tokens": 9, "status": 0}, 10)
    assert not found["reached"].any()
    assert found["measured"].tolist() == [2, 25.0, 1, 0.5, 1]


def test_a_distribution_is_of_one_endpoint():
    samples = pd.DataFrame([(FRAME, 1, at / 1000, NO_FAULT) for at in range(1001)] + [(FIT, 1, 9.0, NO_FAULT)])
    found = distribution(samples.set_axis(["endpoint", "clients", "seconds", "fault"], axis=1))
    assert found["milliseconds"].tolist() == pytest.approx((1000 * (1 - found["longer"])).tolist())


def test_a_change_of_the_service_makes_its_result_out_of_date():
    modules = {f"artifact.serving.{name}" for name in ("app", "batching", "guard", "models", "server", "__main__")}
    assert modules <= set(dependencies("19_deployment"))


def test_every_endpoint_has_its_row():
    assert set(tables.ENDPOINTS) == set(KEYS.values())
