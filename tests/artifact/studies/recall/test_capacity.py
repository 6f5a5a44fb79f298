"""The capacity of holograms: theory against recording at random."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from artifact.studies.recall.capacity import (
    RULES,
    delta_noise,
    hologram_accuracy,
    pairs_held,
    predicted_accuracy,
    selection_accuracy,
)
from resonance.recall import HolographicRecall, waves


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("features", "pairs"), [(16, 8), (16, 48), (64, 96)])
def test_theory_says_what_recording_measures(rule, features, pairs):
    shape = {"features": features, "channels": 64, "values": 256, "heads": 2}
    predicted = predicted_accuracy(rule, pairs, **shape)
    found = hologram_accuracy(rule, pairs, trials=40, seed=1, **shape)
    assert found == pytest.approx(predicted, abs=0.06)


def test_delta_noise_is_what_recording_leaves():
    """The power of the error of every pair, oldest first, against the recursion, at two strengths."""
    features, pairs, trials = 32, 40, 300
    generator = torch.Generator().manual_seed(0)
    for strength in (1.0, 0.5):
        layer = HolographicRecall(64, 1, features=features).double()
        references = waves(2 * math.pi * torch.rand(trials, 1, pairs, 16, generator=generator, dtype=torch.float64))
        values = torch.randn(trials, 1, pairs, 64, generator=generator, dtype=torch.float64)
        strengths = torch.full((trials, 1, pairs, 1), strength, dtype=torch.float64)
        empty = layer.initial_state(trials)["hologram"]
        _, hologram = layer.recorded(references, references, values, strengths, empty)
        read = references @ hologram
        signal = (read * values).sum(-1).mean(0) / values.square().sum(-1).mean(0)
        power = read.square().sum(-1).mean(0) / values.square().sum(-1).mean(0)
        found = (power / signal**2 - 1)[0].numpy()
        expected = delta_noise(pairs, features, strength)
        np.testing.assert_allclose(found[:-4], expected[:-4], rtol=0.25)
        assert strength < 1 or found[-1] < 1e-12


def test_selection_without_noise_is_sure_and_in_noise_alone_a_guess():
    none = np.zeros(1)
    assert selection_accuracy(np.array([0.0]), 512, 16, none, 0.0) == pytest.approx(1.0, abs=1e-9)
    assert selection_accuracy(np.array([1e9]), 512, 16, none, 0.0) == pytest.approx(1 / 16, rel=1e-2)


def test_pairs_held_is_where_the_theory_crosses_the_level():
    shape = {"features": 32, "channels": 64, "values": 256}
    for rule in RULES:
        held = pairs_held(rule, 0.95, **shape)
        assert predicted_accuracy(rule, held, **shape) >= 0.95 > predicted_accuracy(rule, held + 1, **shape)
    assert pairs_held("plain sum", 0.95, **shape) > pairs_held("delta rule", 0.95, **shape)
