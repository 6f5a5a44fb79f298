"""What 15 compares with the relatives: the same block, states of equal size, one task, a search for each."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from artifact.datasets.images import load_digits
from artifact.studies.causal import figures
from artifact.studies.causal import relatives as study
from artifact.studies.causal.relatives import ATTENTION, KEYS, MODELS, OURS, TASKS, Case
from artifact.studies.causal.tables import tables
from artifact.studies.common.latex import Cells
from artifact.studies.common.tuning import best_values

SMALL = {"steps": 3, "batch": 4, "dim": 8, "layers": 1, "tested": 30}


@pytest.fixture(autouse=True)
def digits(monkeypatch):
    monkeypatch.setattr(study, "load_mnist", lambda allow_stand_in: load_digits())
    study.sequences.cache_clear()
    yield
    study.sequences.cache_clear()


def test_states_are_as_large_as_ours_where_they_can_be():
    found = {name: study.state_reals(study.mixer(name, 16, 8), 5) for name in MODELS}
    assert found == dict.fromkeys(MODELS, 128) | {"LRU": 32, ATTENTION: 160}


def test_permuted_pixels_are_the_same_pixels_in_one_other_order():
    (x, y), (permuted, same) = (study.part_of(Case(OURS, task), "test") for task in TASKS)
    assert torch.equal(y, same) and not torch.equal(x, permuted)
    torch.testing.assert_close(x.sort(1).values, permuted.sort(1).values)
    again = study.part_of(Case(ATTENTION, "permuted", seed=3), "test")[0]
    assert torch.equal(permuted, again)
    with pytest.raises(ValueError, match="unknown task 'x': expected one of sequential, permuted"):
        study.part_of(Case(OURS, "x"), "test")


def test_validation_images_are_not_trained_on_and_no_test_image_chooses():
    parts = study.sequences()[1]
    sizes = {name: len(y) for name, (_, y) in parts.items()}
    assert sizes["train"] + sizes["validation"] == 1297 and sizes["test"] == 500
    last = torch.from_numpy(load_digits().train[1][-sizes["validation"] :])
    assert torch.equal(parts["validation"][1], last)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_reads_pixels_and_a_run_is_seeded(name):
    once, again = (study.measured(Case(name, "sequential", 0.01, **SMALL)) for _ in range(2))
    assert once["accuracy"] == again["accuracy"] and 0 <= once["accuracy"] <= 1
    model = study.PixelClassifier(name, 8, 1)
    x = torch.randn(2, 20)
    assert model(x).shape == (2, 10)
    assert not torch.allclose(model(x), model(x.flip(1)), atol=1e-6), "the order of the pixels counts"


def test_ours_learns_the_task():
    row = study.measured(Case(OURS, "sequential", 0.02, steps=60, batch=32, dim=16, layers=1, tested=300))
    assert row["accuracy"] > 0.18  # chance is 0.1, with a deviation of 0.017


def test_each_model_and_task_has_its_own_search_and_seeds():
    tries, runs = study.compared([0.01, 0.02], 2, 2, wider=1, processes=1, models=[OURS, "LRU"], **SMALL)
    assert tries.groupby(["model", "task"])["rate"].count().between(2, 3).all() and tries["choosing"].all()
    assert set(tries["seed"]) == {study.TUNING_SEED} and set(tries["steps"]) == {2}
    assert runs.groupby(["model", "task"])["seed"].apply(list).tolist() == [[0, 1]] * 4
    best = best_values(tries, study.BY, value="rate").set_index(["model", "task"])["rate"]
    assert all(row.rate == best[row.model, row.task] for row in runs.itertuples())


def toy():
    rows = [
        (n, m, 64, 100, at, (1 + i) * n * (1 + 0.01 * at))
        for n in (8, 16)
        for i, m in enumerate(MODELS)
        for at in range(3)
    ]
    timed = pd.DataFrame(rows, columns=["n", "model", "state", "parameters", "round", "seconds"])
    rows = [
        (m, t, s, 0.5 + 0.05 * i + 0.01 * (s * i % 3)) for i, m in enumerate(MODELS) for t in TASKS for s in range(3)
    ]
    runs = pd.DataFrame(rows, columns=["model", "task", "seed", "accuracy"])
    rows = [(m, t, r, abs(r - 2) if m != "GLA" else r) for m in MODELS for t in TASKS for r in (1.0, 2.0, 3.0)]
    return timed, pd.DataFrame(rows, columns=["model", "task", "rate", "score"]), runs


def test_measures_are_ratios_and_differences_from_ours():
    timed, tries, runs = toy()
    found = {key: (value, *interval) for key, value, _, interval in study.measures(timed, tries, runs)}
    ratio, low, high = found["causal.relatives.s4d.ratio.16"]
    assert ratio == pytest.approx(2) and low == pytest.approx(2) and high == pytest.approx(2)
    assert "causal.relatives.ours.ratio.8" not in found
    value, low, high = found["causal.relatives.attention.permuted"]
    assert 0 <= low < value < high <= 100
    assert found["causal.relatives.gdn.sequential.ahead"][0] == pytest.approx(25 + 100 * 0.01 * np.mean([0, 2, 1]))
    assert found["causal.relatives.gdn.sequential.p"][0] <= 1
    assert found["causal.relatives.sequential.compared"][0] == 6
    assert found["causal.relatives.sequential.better"][0] == 6 and found["causal.relatives.sequential.worse"][0] == 0
    assert found["causal.tuned.inside"][0] == 12 and found["causal.tuned.all"][0] == 14


def test_tables_and_figure_show_every_model():
    timed, tries, runs = toy()
    timed["seconds"] *= 1 + 0.01 * (timed.index % 5)  # rounds that differ: an interval of no width is not printed
    found = {key: (value, *interval) for key, value, _, interval in study.measures(timed, tries, runs)}
    made = tables(Cells(pd.DataFrame.from_dict(found, orient="index", columns=["value", "ci_low", "ci_high"])))
    table = made["causal_relatives"]
    assert all(name in table for name in ("Ours", "Attention", "Mamba-2", "gated DeltaNet")) and table.count("*") == 2
    assert made["causal_relatives_ratio"].count(" [") == 2 * (len(KEYS) - 1)
    left, right = figures.relatives(timed, runs).axes
    assert [text.get_text() for text in left.get_legend().get_texts()] == list(MODELS)
    assert [text.get_text() for text in right.get_yticklabels()] == list(MODELS)
    nothing = pd.DataFrame({"value": [math.nan], "ci_low": math.nan, "ci_high": math.nan}, index=["x"])
    assert not any(tables(Cells(nothing)).values())


def test_speeds_have_a_row_a_round_and_no_attention_beyond_its_longest(monkeypatch):
    monkeypatch.setattr(study, "LONGEST_ATTENTION", 16)
    monkeypatch.setattr(study, "WIDTH", 8)
    table = study.speeds([16, 32], 2)
    assert table.groupby(["n", "model"]).size().eq(2).all() and (table["seconds"] > 0).all()
    assert set(table.loc[table["n"] == 32, "model"]) == set(MODELS) - {ATTENTION}
