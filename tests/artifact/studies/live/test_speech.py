"""Spoken digits: outputs against how much of a recording was received, decisions, training."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from artifact.studies.audio.tasks import OFFICIAL, DigitTask
from artifact.studies.live.speech import (
    AT_THE_END,
    HOP,
    KEYS,
    LIVE,
    MODELS,
    NO_MIXING,
    OFFLINE,
    TRANSFORMER,
    accuracy_over_time,
    all_tested,
    comparisons,
    decisions,
    frame_targets,
    outputs,
    share_for,
    threshold_for,
    train_live,
    tune_live,
)
from resonance.polar import count_parameters


def test_accuracy_by_share_and_seconds(toy_outputs):
    table = accuracy_over_time(toy_outputs, [0.25, 0.5, 0.75, 1.0])
    shares, seconds = (table[table["kind"] == kind] for kind in ("share", "seconds"))
    assert shares["accuracy"].tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert seconds["accuracy"].tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert seconds["received"].tolist() == pytest.approx([0.02, 0.04, 0.06, 0.08])


def test_decisions_fall_at_the_threshold_or_at_the_end(toy_outputs):
    right, frames = toy_outputs.decided(0.85)
    assert right.tolist() == [True, True, False] and frames.tolist() == [4, 2, 1]
    right, frames = toy_outputs.decided(0.5)
    assert right.tolist() == [False, True, False] and frames.tolist() == [1, 1, 1]
    table = decisions(toy_outputs, [0.5, 0.85])
    assert table["share"].tolist() == pytest.approx([(0.25 + 0.5 + 1) / 3, 1.0])
    assert threshold_for(toy_outputs, [0.85, 0.5, 0.75]) == 0.75
    assert threshold_for(toy_outputs, [0.5]) == 1.0


def test_the_share_needed_is_where_the_level_is_kept():
    shares = pd.Series([0.2, 0.96, 0.9, 0.95, 0.97], index=[0.2, 0.4, 0.6, 0.8, 1.0])
    assert share_for(shares, 0.95) == 0.8 and share_for(shares, 0.1) == 0.2 and share_for(shares, 0.99) == math.inf


def test_targets_weigh_the_share_received():
    labels, count = torch.tensor([1, 0]), torch.tensor([2, 3])
    targets = frame_targets(labels, count, 4, classes=3, smoothing=0.3)
    weight = torch.tensor([[1 / 2, 1, 0, 0], [1 / 3, 2 / 3, 1, 0]]) * 8 / 3.5
    torch.testing.assert_close(targets.sum(1), weight)
    torch.testing.assert_close(targets[0, :, 1], torch.tensor([0.1, 0.8, 0.1]) * weight[0, 1])
    logits = torch.randn(2, 3, 4)
    each = torch.nn.functional.cross_entropy(
        logits, labels[:, None].expand(2, 4), label_smoothing=0.3, reduction="none"
    )
    expected = (each * weight).sum() / weight.sum()
    torch.testing.assert_close(torch.nn.functional.cross_entropy(logits, targets), expected)
    last = frame_targets(labels, count, 4, classes=3, end_only=True)
    assert (last.sum(1) > 0).nonzero().tolist() == [[0, 1], [1, 2]]


def test_networks_learn_two_tones_and_their_outputs_use_the_samples_so_far(toy_speech):
    train, test = DigitTask(toy_speech()).pair(OFFICIAL)
    for name in (LIVE, TRANSFORMER, OFFLINE):
        model = train_live(name, train, rate=4e-3, steps=25, seed=0)
        found = outputs(model, test, size=7)
        assert found.at_share(1.0).double().mean() > 0.95, name
        for i in (0, 17):  # each output is that of the samples so far
            n, wave = int(test.lengths[i]), test.waves[i : i + 1]
            for t in (1, int(found.count[i]) - 1):
                logits = model(wave[:, : t * HOP]) if name == OFFLINE else model(wave[:, :n])[:, t - 1]
                said = found.probability[i, t - 1].log()
                assert (said[1] - said[0]).item() == pytest.approx((logits[0, 1] - logits[0, 0]).item(), abs=1e-3)


def test_training_is_seeded_and_the_variants_differ(toy_speech):
    train = DigitTask(toy_speech(takes=6)).pair(OFFICIAL)[0]
    once, again = (train_live(LIVE, train, rate=1e-3, steps=2, seed=3) for _ in range(2))
    for a, b in zip(once.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    for variant in (AT_THE_END, NO_MIXING):
        other = train_live(variant, train, rate=1e-3, steps=2, seed=3)
        assert not torch.equal(other.output_projection.weight, once.output_projection.weight), variant
    assert set(KEYS) == set(MODELS) and all(count_parameters(build()) < 120_000 for build in MODELS.values())


def test_rates_are_tried_and_runs_tested_in_processes_as_here(toy_speech):
    task = DigitTask(toy_speech())
    tries = {LIVE: [1e-6, 1e-5], OFFLINE: [4e-3]}
    tuning, best = tune_live(task, tries, 8)
    assert tuning["method"].tolist() == [LIVE, LIVE, OFFLINE] and tuning["score"].between(0, 1).all()
    at_best = 1 - best[LIVE].at_share(1.0).double().mean().item()
    assert at_best == tuning.loc[tuning["method"] == LIVE, "score"].min()
    runs = [(name, 4e-3, 3, seed) for name in (LIVE, NO_MIXING) for seed in range(2)]
    here, apart = (all_tested(runs, task.pair(OFFICIAL), [0.5, 1.0], processes=count) for count in (1, 2))
    for one, other in zip(here[1:], apart[1:], strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert list(here[0]) == [LIVE, NO_MIXING] and here[1].groupby(["method", "seed"], sort=False).ngroups == 4
    for a, b in zip(here[0][LIVE].parameters(), apart[0][LIVE].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_comparisons_are_paired_and_adjusted():
    shares = {LIVE: [0.9, 0.8, 0.7], TRANSFORMER: [0.8, 0.71, 0.6], OFFLINE: [0.95, 0.8, 0.75]}
    curves = pd.DataFrame(
        [
            ("share", received, value, name, seed)
            for name, values in shares.items()
            for seed, value in enumerate(values)
            for received in (0.25, 0.4, 1.0)
        ],
        columns=["kind", "received", "accuracy", "method", "seed"],
    )
    table = comparisons(curves, (0.25, 1.0)).set_index(["method", "received"])
    assert len(table) == 4 and table.loc[(TRANSFORMER, 1.0), "points"] == pytest.approx(29 / 3)
    assert (table["low"] <= table["points"]).all() and (table["p_holm"] >= table["p"]).all()
    assert table.loc[(TRANSFORMER, 0.25), "p_holm"] < 0.05 < table.loc[(OFFLINE, 0.25), "p_holm"]
