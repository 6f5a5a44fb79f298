"""Selections: the mask, its gradient, and the plain layer that a selection freezes to."""

from __future__ import annotations

import pytest
import torch

from resonance import BandMixing, EnergySelection, LearnedSelection, SelectiveMixing


@pytest.mark.parametrize("k", [1, 5, 12])
def test_a_learned_selection_keeps_k_and_freezes_to_the_same_map(k):
    torch.manual_seed(0)
    mixing = SelectiveMixing(4, LearnedSelection(12, k), 12).double()
    x = torch.randn(2, 40, 4, dtype=torch.float64)
    plain = mixing.frozen()
    assert type(plain) is BandMixing and plain.num_frequencies == k
    torch.testing.assert_close(plain(x), mixing(x), rtol=1e-10, atol=1e-10)


def test_energy_selection_finds_the_strong_frequencies():
    torch.manual_seed(0)
    t = torch.arange(64, dtype=torch.float64)
    x = (torch.cos(2 * torch.pi * 3 * t / 64) + 2 * torch.sin(2 * torch.pi * 11 * t / 64))[None, :, None]
    x = (x + 0.01 * torch.randn(1, 64, 1)).expand(2, 64, 3)
    mixing = SelectiveMixing(3, EnergySelection(20, 2), 20).double()
    plain = mixing.frozen(x)
    assert plain.frequencies == (3, 11)
    torch.testing.assert_close(plain(x), mixing(x), rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match="chooses by the batch"):
        mixing.frozen()


def test_learned_selection_learns_which_frequency_matters():
    torch.manual_seed(0)
    mixing = SelectiveMixing(1, LearnedSelection(10, 1), 10, interference=False)
    with torch.no_grad():  # a plain band-pass with one place too few: only the choice is left to learn
        mixing.weight.magnitude.fill_(1.0)
        mixing.weight.phase.zero_()
        mixing.selection.score[2] = 0.1
    t = torch.arange(64.0)
    target = torch.cos(2 * torch.pi * 7 * t / 64)[None, :, None]
    optimizer = torch.optim.Adam([mixing.selection.score], lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        (mixing(target + 0.1 * torch.randn(4, 64, 1)) - target).square().mean().backward()
        optimizer.step()
    assert mixing.frozen().frequencies == (7,)


def test_every_candidate_gets_a_gradient():
    torch.manual_seed(0)
    selection = LearnedSelection(8, 3, temperature=1.0)
    mixing = SelectiveMixing(2, selection, 8)
    mixing(torch.randn(1, 30, 2)).square().sum().backward()
    assert (selection.score.grad != 0).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: LearnedSelection(4, 5), "keep 1 .. 4"),
        (lambda: EnergySelection(4, 0), "keep 1 .. 4"),
        (lambda: LearnedSelection(4, 2, temperature=0.0), "temperature > 0"),
        (lambda: SelectiveMixing(2, LearnedSelection(4, 2), 5)(torch.randn(1, 9, 2)), "selection of 5"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(call, says):
    with pytest.raises(ValueError, match=says):
        call()
