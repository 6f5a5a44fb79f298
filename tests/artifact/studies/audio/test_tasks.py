"""Splits, models and training of spoken digits and environmental sounds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from artifact.datasets.esc50 import load_esc50
from artifact.studies.audio import tasks
from artifact.studies.audio.tasks import (
    AUGMENTED,
    CONV,
    MODELS,
    NO_AUGMENTATION,
    NORMALISED,
    OFFICIAL,
    REGRESSION,
    RESONANCE,
    TRANSFORMER,
    VALIDATION,
    DigitTask,
    accuracies,
    digit_predictions,
    environment_models,
    environment_predictions,
    fold_accuracies,
    train_digits,
    tune,
    validation_error,
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
    for name, setting in ((RESONANCE, 4e-3), (REGRESSION, 1.0), (AUGMENTED[REGRESSION], 1.0)):
        predictions = digit_predictions(task, name, "c", setting=setting, steps=25, seed=0)
        assert len(predictions) == 24 and set(predictions["speaker"]) == {"c"}
        assert accuracies(predictions)["accuracy"].item() > 0.95, name


def test_training_is_seeded_and_the_variants_differ(toy_speech):
    train = DigitTask(toy_speech(takes=6)).pair(OFFICIAL)[0]
    once, again = (train_digits(RESONANCE, train, rate=1e-3, steps=2, seed=3) for _ in range(2))
    for a, b in zip(once.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    for variant in (*list(MODELS)[3:], NO_AUGMENTATION):
        other = train_digits(variant, train, rate=1e-3, steps=2, seed=3)
        weights = other.output_projection.weight
        assert not torch.equal(weights, once.output_projection.weight), variant


def test_an_augmented_regression_trains_on_copies_of_its_own_recordings_and_is_tested_on_none(toy_speech):
    task = DigitTask(toy_speech())
    plain, augmented = task.log_mel[REGRESSION], task.log_mel[AUGMENTED[REGRESSION]]
    assert plain.shape == (1, *augmented.shape[1:]) and len(augmented) == 1 + tasks.COPIES
    np.testing.assert_array_equal(plain[0], augmented[0])
    assert not np.isclose(augmented[1], augmented[0]).all(axis=1).any()
    inside, held = task.masks("c")
    spoiled = augmented.copy()
    spoiled[1:, held] = np.nan  # a copy of a test recording is read nowhere
    first, second = (
        tasks.regression_predictions(x, task.speech.labels, inside, held, 1.0) for x in (augmented, spoiled)
    )
    np.testing.assert_array_equal(first, second)


# --------------------------------------------------------------------------- environmental sounds


def test_folds_are_predicted_by_models_of_the_other_four(tmp_path, write_esc50):
    sounds = load_esc50(write_esc50(tmp_path))
    settings = {RESONANCE: 5e-3, REGRESSION: 1.0, NORMALISED: 1.0, AUGMENTED[NORMALISED]: 1.0}
    predictions = environment_predictions(sounds, settings, steps=16)
    assert [len(rows) for _, rows in predictions.groupby("method")] == [len(sounds.waves)] * 4
    for fold, rows in predictions.groupby("fold"):
        for _, own in rows.groupby("method"):
            assert own["label"].tolist() == sounds.labels[sounds.folds == fold].tolist()
    scores = fold_accuracies(predictions)
    assert list(scores.columns) == list(settings) and scores.index.tolist() == [1, 2, 3, 4, 5]
    assert scores[RESONANCE].mean() > 0.9 and scores[REGRESSION].mean() > 0.9
    # A fold's own labels reach no model that is tested on it.
    labels = sounds.labels.copy()
    labels[sounds.folds == 2] = 1
    other = environment_predictions(replace(sounds, labels=labels), {REGRESSION: 1.0}, steps=1)
    same = predictions[(predictions["method"] == REGRESSION) & (predictions["fold"] == 2)]
    assert other.loc[other["fold"] == 2, "prediction"].tolist() == same["prediction"].tolist()


def test_the_networks_of_sounds_are_those_of_the_digits(write_esc50, tmp_path):
    sounds = load_esc50(write_esc50(tmp_path))
    models = {name: make() for name, make in environment_models(replace(sounds, rate=11025)).items()}
    assert list(models) == [RESONANCE, TRANSFORMER, CONV]
    for model in models.values():
        assert (model.embedding.front_end.frame, model.embedding.front_end.hop) == (1024, 512)
        assert model(torch.randn(2, 5 * 11025), torch.tensor([5 * 11025, 20000])).shape == (2, 3)
        assert 40_000 < count_parameters(model) < 120_000


# --------------------------------------------------------------------------- tuning


def test_every_method_is_tuned_on_the_validation_takes_alone(toy_speech):
    task = DigitTask(toy_speech())
    table = tune(task, {RESONANCE: [1e-3, 2e-3], REGRESSION: [0.1, 1.0]}, 2, wider=1)
    assert set(table.columns) == {"method", "value", "score"} and table["score"].between(0, 1).all()
    spoiled = toy_speech()
    for i in np.flatnonzero(task.masks(OFFICIAL)[1]):
        spoiled.waves[i][:] = 0.0
    for name in (RESONANCE, REGRESSION):
        clean, other = (validation_error(1e-3, each, name, 2) for each in (task, DigitTask(spoiled)))
        assert clean == other, name


def test_a_training_that_diverges_is_worse_than_every_other(toy_speech, monkeypatch):
    def diverged(*args, **options):
        raise FloatingPointError("10 steps in a row were skipped")

    monkeypatch.setattr(tasks, "digit_predictions", diverged)
    assert validation_error(1.0, DigitTask(toy_speech()), RESONANCE, 2) == math.inf
