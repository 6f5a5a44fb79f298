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


@pytest.mark.parametrize("phases", [True, False], ids=["phases", "sphere"])
@pytest.mark.parametrize(("features", "trials"), [(4, 8000), (8, 6000)])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_delta_noise_is_what_recording_leaves(features, trials, strength, phases):
    """Signal and crosstalk of every pair, oldest first, against the recursion: few features tell its orders apart."""
    pairs, channels = 2 * features, 8
    generator = torch.Generator().manual_seed(features)
    layer = HolographicRecall(channels, 1, features=features).double()
    shape = (trials, 1, pairs, features)
    references = torch.nn.functional.normalize(torch.randn(shape, generator=generator, dtype=torch.float64), dim=-1)
    if phases:
        angles = torch.rand(trials, 1, pairs, features // 2, generator=generator, dtype=torch.float64)
        references = waves(2 * math.pi * angles)
    values = torch.randn(trials, 1, pairs, channels, generator=generator, dtype=torch.float64)
    strengths = torch.full((trials, 1, pairs, 1), strength, dtype=torch.float64)
    empty = layer.initial_state(trials)["hologram"]
    _, hologram = layer.recorded(references, references, values, strengths, empty)
    read = references @ hologram
    signal = strength * (1 - strength / features) ** torch.arange(pairs - 1, -1, -1, dtype=torch.float64)
    norm = values.square().sum(-1).mean(0)
    torch.testing.assert_close((read * values).sum(-1).mean(0)[0] / norm[0], signal, rtol=0, atol=0.03)
    power = (read.square().sum(-1).mean(0) / norm)[0].numpy()
    expected = (delta_noise(pairs, features, strength) + 1) * signal.numpy() ** 2
    np.testing.assert_allclose(power, expected, rtol=0.05)
    assert power.mean() == pytest.approx(expected.mean(), rel=0.015)
    assert strength < 1 or delta_noise(pairs, features)[-1] == 0


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
