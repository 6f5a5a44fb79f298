"""Runs of language models: windows, losses, rates, counted operations, training, outcomes kept on file."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from artifact.datasets.characters import character_corpus
from artifact.studies.common.growth import FLOPS
from artifact.studies.language import study as language_study
from artifact.studies.language.study import FAMILIES, RESONANCE, TRANSFORMER, Run, loss_on, scheduled, windows
from resonance.language import ResonanceLM

VOCAB = 11


def ids_of(*shape, seed=0):
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def test_windows_are_text_and_its_successor():
    ids, batches = torch.arange(100), windows(torch.arange(100), 8, 5, torch.Generator().manual_seed(0))
    x, y = next(batches)
    assert x.shape == (5, 8) and torch.equal(y, x + 1) and torch.equal(x[:, 1:], x[:, :-1] + 1)
    drawn = {int(row[0]) for _ in range(400) for row in next(batches)[0]}
    assert drawn == set(range(92))  # every place, the last one included
    with pytest.raises(ValueError, match="more than 100 ids"):
        next(windows(ids, 100, 1, torch.Generator()))


def test_the_loss_is_of_every_position_once():
    torch.manual_seed(0)
    model, ids = ResonanceLM(VOCAB, 16, 2, 4).double(), ids_of(1, 201)[0]
    with torch.no_grad():
        rows = ids[:-1].view(20, 10), ids[1:].view(20, 10)
        expected = F.cross_entropy(model(rows[0]).flatten(0, 1), rows[1].flatten()).item()
    assert loss_on(model, ids, 10) == pytest.approx(expected, rel=1e-12)
    assert (
        loss_on(model, ids[:200], 10)
        == pytest.approx(  # the last, broken window is left out
            F.cross_entropy(model(rows[0][:19]).flatten(0, 1), rows[1][:19].flatten()).item(), rel=1e-12
        )
    )
    assert loss_on(model, ids, 10, limit=50) != pytest.approx(expected, rel=1e-6)


def test_the_rate_rises_and_falls_to_a_tenth():
    shares = np.linspace(0, 1, 201)
    rates = np.array([scheduled(share) for share in shares])
    top = int(rates.argmax())
    assert rates[top] == pytest.approx(1) and (np.diff(rates[: top + 1]) > 0).all() and (np.diff(rates[top:]) < 0).all()
    assert rates[-1] == pytest.approx(0.1) and scheduled(3.0) == pytest.approx(0.1)


def test_a_causal_attention_is_counted_at_half_and_its_gradient_at_five_products_of_two():
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 4, 64, 16, requires_grad=True) for _ in range(3))

    def step(causal):
        return lambda: F.scaled_dot_product_attention(query, key, value, is_causal=causal).sum().backward()

    full = 2 * 2 * 4 * 64 * 64 * 32
    assert language_study.operations_of(step(False)) == full + 5 * full // 2
    assert language_study.operations_of(step(True)) == (full + 5 * full // 2) // 2
    linear, x = torch.nn.Linear(8, 16), torch.randn(3, 8)
    assert language_study.operations_of(lambda: linear(x).sum().backward()) == 2 * 2 * 3 * 8 * 16
    assert set(FLOPS) & set(language_study.ATTENTION)


@pytest.fixture
def toy(monkeypatch):
    """A text in which each character says the next but one, small models, no folder of the artifact."""
    text = "".join(np.random.default_rng(0).choice(["abc", "bca", "xyx"], 3000))
    monkeypatch.setattr(language_study, "corpus", lambda *_: character_corpus("toy", text))
    for name, value in {"DIM": 16, "LAYERS": 1, "RESONATORS": 4}.items():
        monkeypatch.setattr(language_study, name, value)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_learns_repeats_and_keeps_to_its_budget(toy, family):
    run = Run(family, 16, 8, 2e-2, tokens=128 * 60, curve=400)
    outcome = language_study.train(run)
    first, last = outcome.curve.iloc[0], outcome.curve.iloc[-1]
    assert (
        last["tokens"] == 128 * 60
        and last["steps"] == 60
        and outcome.loss < 1.0 < math.log(6) < first["training"] + 0.3
    )
    assert (outcome.curve[["seconds", "tokens", "operations", "share"]].diff().dropna() > 0).all(axis=None)
    assert outcome.loss == language_study.train(run).loss
    timed = language_study.train(Run(family, 16, 8, 2e-2, seconds=0.3))
    assert 0.3 <= timed.curve["seconds"].iloc[-1] < 0.6 and timed.curve["share"].iloc[-1] == 1
    assert timed.row["budget"] == "seconds" and outcome.row["budget"] == "tokens"
    model = outcome.model()
    assert loss_on(model, language_study.corpus().parts["report"], 16) == pytest.approx(outcome.loss)


def test_a_choosing_run_never_sees_the_report(toy, monkeypatch):
    seen = []
    monkeypatch.setattr(language_study, "loss_on", lambda model, ids, *_: seen.append(ids) or 0.0)
    parts = language_study.corpus().parts
    for choosing, part in ((True, "choice"), (False, "report")):
        seen.clear()
        language_study.train(Run(RESONANCE, 16, 4, 1e-3, tokens=256, choosing=choosing))
        assert seen and all(torch.equal(ids, parts[part]) for ids in seen)


def test_a_rate_that_breaks_a_run_is_said(toy):
    with pytest.raises(FloatingPointError, match="take a lower rate"):
        language_study.train(Run(TRANSFORMER, 16, 4, float("inf"), tokens=4096))
    with pytest.raises(ValueError, match="either seconds or tokens"):
        Run(RESONANCE, 16, 4, 1e-3)
    with pytest.raises(ValueError, match="unknown family"):
        language_study.train(Run("GPT-5", 16, 4, 1e-3, tokens=64))


def test_a_finished_run_is_read_back_until_the_study_is_forgotten(toy, tmp_path, monkeypatch):
    run, calls = Run(RESONANCE, 16, 4, 1e-3, tokens=128), []
    train = language_study.train
    monkeypatch.setattr(language_study, "train", lambda run: calls.append(run) or train(run))
    language_study._train_and_store(tmp_path, run)
    (first,), (again,) = (language_study.outcomes([run], folder=tmp_path) for _ in range(2))
    assert len(calls) == 1 and again.loss == first.loss and again.row == first.row
    pd.testing.assert_frame_equal(again.curve, first.curve)
    assert all(torch.equal(again.weights[name], first.weights[name]) for name in first.weights)
    monkeypatch.setattr(language_study, "_code", lambda: b"other code")
    assert not language_study._file(tmp_path, run).exists()
    language_study.forget(tmp_path)
    assert not list(tmp_path.iterdir())
