"""The cost of generation: seconds a character, and the bytes of a state or cache."""

from __future__ import annotations

import torch

from artifact.peers.causal import state_after, state_bytes
from artifact.peers.language import RotaryGPT
from artifact.studies.language import writing as language_writing
from artifact.studies.language.study import RESONANCE, TRANSFORMER
from resonance.language import ResonanceLM

VOCAB = 11


def ids_of(*shape, seed=0):
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def test_the_state_does_not_grow():
    model = ResonanceLM(VOCAB, 16, 2, 4, 2)
    sizes = {n: state_bytes(model.extend(ids_of(1, n), model.initial_state(1))[1]) for n in (4, 64)}
    assert sizes[4] == sizes[64]
    state = state_after(RotaryGPT(VOCAB, 16, 2, 4, 65), 64)
    assert state_bytes(state) == 2 * 2 * 65 * 16 * 4 + 2 * 8  # layers, K and V; the two lengths


def test_writing_is_timed_for_both_families():
    table = language_writing.generation_costs([32, 256], VOCAB, rounds=1, min_seconds=0.01)
    kept = table.pivot(index="context", columns="family", values="bytes")
    assert (table["seconds"] > 0).all() and kept.loc[32, RESONANCE] == kept.loc[256, RESONANCE]
    assert kept.loc[256, TRANSFORMER] > 7 * kept.loc[32, TRANSFORMER]
