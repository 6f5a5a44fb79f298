"""The study of state tracking: models, curriculum, extraction, and what the ledger gets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import pandas as pd
import pytest
import torch

from artifact.studies.state_tracking import study
from artifact.studies.state_tracking.groups import task
from artifact.studies.state_tracking.study import MODELS, OURS, PLANE, SPACE, Case, Curriculum, Tracker, measured

SMALL = {"steps": 3, "batch": 4, "words": 4, "tested": (8,)}


@pytest.fixture
def few_words(monkeypatch):
    """Extraction from a hundred words: it refuses an untrained network as well as from two thousand."""
    monkeypatch.setattr(study, "extracted", partial(study.extracted, count=100))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_causal_and_learns(name):
    torch.manual_seed(0)
    model = Tracker(name, 3, 6, 2)
    ids = torch.randint(3, (2, 12))
    changed = ids.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 3
    torch.testing.assert_close(model(ids)[:, :7], model(changed)[:, :7], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(model(ids)[:, 7:], model(changed)[:, 7:])
    row = measured(Case(name, "S3", **SMALL))
    assert row["parameters"] > 0 and 0 <= row["right.8"] <= 1 and not row["accepted"]


def test_unknown_models_are_refused():
    with pytest.raises(ValueError, match="unknown relative 'GRU'"):
        study.mixer("GRU")


def test_words_grow_only_when_labels_are_right():
    batches = Curriculum(Case(PLANE, "parity"))
    assert {next(batches)[0].shape for _ in range(20)} == {(64, study.SHORTEST)}
    lengths = []
    for _ in range(400):
        ids, labels = next(batches)
        batches.loss(torch.nn.functional.one_hot(labels, 2) * 9.0, labels)
        lengths.append(ids.shape[1])
    assert lengths == sorted(lengths) and lengths[-1] == study.LONGEST
    assert max(b - a for a, b in pairwise(lengths)) <= 7


@pytest.mark.parametrize("kind", OURS)
def test_a_network_that_counts_is_read_exactly(kind):
    """The turns of the parity are written in: the extraction is accepted and right, trained readout or not."""
    model = Tracker(kind, 2, 2, 1)
    layer, block = model.blocks[0].mixers[0], model.blocks[0]
    with torch.no_grad():
        tokens = block.norms[0](model.embedding(torch.arange(2)))  # (2, dim)
        half = torch.tensor([[0.0], [0.5]]) if kind == PLANE else torch.tensor([[0.0, 0, 0], [0.5, 0, 0]])
        layer.turn[: half.shape[1]] = torch.linalg.lstsq(tokens, half).solution.T
    case = Case(kind, "parity")
    found = study.extracted(model, case, count=200)
    assert found is not None and len(found.outputs) == 2 and study.exact_at(found, case, 10_000)


def test_an_untrained_network_is_refused_and_restarts_are_counted(few_words):
    row = measured(Case(SPACE, "A5", **SMALL), longest=100, restarts=2)
    assert not row["accepted"] and not row["exact"] and row["trainings"] == 3


def test_rates_are_chosen_on_a_seed_of_their_own_and_measures_named(few_words):
    tries, runs = study.compared(
        ["A5"],
        [PLANE, SPACE, "LSTM"],
        [0.001, 0.01],
        seeds=3,
        peer_seeds=1,
        tuning_steps=2,
        longest=50,
        restarts=1,
        processes=1,
        **SMALL,
    )
    chosen = study.choice(tries)
    assert set(tries["seed"]) == {study.TUNING_SEED} and len(tries) == 6
    assert runs.groupby("model").size().to_dict() == dict.fromkeys([PLANE, SPACE, "LSTM"], 1) | {chosen["model"][0]: 3}
    assert (runs["trainings"] == 1 + (runs["model"] == chosen["model"][0])).all()  # nothing was learned
    keys = [row[0] for row in study.measures(tries, runs)]
    assert len(keys) == len(set(keys)) and {"tracking.a5.plane.exact", "tracking.a5.lstm.right.8"} <= set(keys)
    assert "tracking.a5.lstm.exact" not in keys
    assert chosen["task"].tolist() == ["A5"] and chosen["model"][0] in OURS


def test_of_equal_scores_the_plane_is_chosen():
    tries = pd.DataFrame([{"task": "S3", "model": model, "score": 0.1} for model in (SPACE, PLANE)])
    assert study.choice(tries)["model"].tolist() == [PLANE]


def test_exact_means_every_label():
    own = task("S3")
    outputs = own.outputs.copy()
    outputs[3] = 0
    assert study.exact_at(own, Case(PLANE, "S3"), 1000)
    assert not study.exact_at(replace(own, outputs=outputs), Case(PLANE, "S3"), 1000)


def test_the_forms_of_the_layer_are_one_map():
    forms = study.form_errors(0)
    assert len(forms) == 3 and forms["no turn"].max() < 1e-12 and forms["step"].max() < 1e-10
