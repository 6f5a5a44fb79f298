"""Splits, models and training of spoken digits and environmental sounds."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from artifact.datasets.esc50 import load_esc50
from artifact.studies.audio.tasks import (
    ABLATIONS,
    MODELS,
    NO_AUGMENTATION,
    OFFICIAL,
    REGRESSION,
    RESONANCE,
    VALIDATION,
    DigitTask,
    accuracies,
    chosen_settings,
    digit_predictions,
    environment_scores,
    train_digits,
)
from resonance.polar import PolarWeight, count_parameters

# --------------------------------------------------------------------------- models


def test_under_a_hundred_thousand_parameters():
    sizes = {name: count_parameters(build()) for name, build in MODELS.items()}
    assert max(sizes.values()) < 100_000, sizes


def test_phases_fixed_at_zero():
    model = MODELS["phases fixed at zero"]()
    phases = [m.phase for m in model.modules() if isinstance(m, PolarWeight)]
    assert len(phases) == 3 and not any(p.any() or p.requires_grad for p in phases)


def test_without_mixing_a_frame_sees_itself_alone():
    torch.manual_seed(0)
    model = MODELS["no mixing"]().eval()
    waves = torch.randn(1, 2048)
    embedded = model.embedding(waves)
    h = embedded[:, 3:4]
    for resonance, feed_forward in zip(model.resonance, model.feed_forward, strict=True):
        h = feed_forward(resonance(h))
    torch.testing.assert_close(model.tokens(waves)[:, 3:4], model.norm(h), rtol=1e-4, atol=1e-5)


# --------------------------------------------------------------------------- spoken digits


def test_splits_are_disjoint_and_hold_what_they_say(toy_speech):
    task = DigitTask(toy_speech())
    assert task.splits == (OFFICIAL, "a", "b", "c")
    for split in (*task.splits, VALIDATION):
        train, test = task.masks(split)
        assert not (train & test).any() and train.any() and test.any()
    assert set(task.speech.takes[task.masks(OFFICIAL)[1]]) == set(range(5))
    official, validation = task.masks(OFFICIAL), task.masks(VALIDATION)
    assert not (official[1] & (validation[0] | validation[1])).any(), "what is tuned must not see the test"
    assert set(task.speech.speakers[task.masks("b")[1]]) == {1} and 1 not in task.speech.speakers[task.masks("b")[0]]
    with pytest.raises(ValueError, match="unknown split 'd'"):
        task.masks("d")


def test_everything_learns_two_tones(toy_speech):
    task = DigitTask(toy_speech())
    for name, setting in ((RESONANCE, 4e-3), (REGRESSION, 1.0)):
        predictions = digit_predictions(task, name, "c", setting=setting, steps=25, seed=0)
        assert len(predictions) == 24 and set(predictions["speaker"]) == {"c"}
        assert accuracies(predictions)["accuracy"].item() > 0.95, name


def test_training_is_seeded_and_the_variants_differ(toy_speech):
    train = DigitTask(toy_speech(takes=6)).pair(OFFICIAL)[0]
    once, again = (train_digits(RESONANCE, train, rate=1e-3, steps=2, seed=3) for _ in range(2))
    for a, b in zip(once.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    for variant in ABLATIONS:
        other = train_digits(variant, train, rate=1e-3, steps=2, seed=3)
        weights = other.output_projection.weight
        assert not torch.equal(weights, once.output_projection.weight), variant
    assert NO_AUGMENTATION in ABLATIONS and RESONANCE not in ABLATIONS


def test_chosen_settings_take_the_best_and_the_first_of_equals():
    rows = [("a", 1.0, 0.5), ("a", 2.0, 0.9), ("a", 3.0, 0.9), ("b", 7.0, 0.1)]
    table = pd.DataFrame(rows, columns=["method", "setting", "accuracy"])
    assert chosen_settings(table) == {"a": 2.0, "b": 7.0}


# --------------------------------------------------------------------------- environmental sounds


def test_esc50_folds_are_scored_apart(tmp_path, write_esc50):
    scores = environment_scores(load_esc50(write_esc50(tmp_path)), rate=5e-3, strength=1.0, steps=8)
    assert scores["fold"].tolist() == [1, 2, 3, 4, 5]
    assert scores[RESONANCE].mean() > 0.9 and scores[REGRESSION].mean() > 0.9
