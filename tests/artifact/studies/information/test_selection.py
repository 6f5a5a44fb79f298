"""The table of selections: what is kept, where energy misleads."""

from __future__ import annotations

import torch

from artifact.studies.information.selection import selection_table, waves


def test_waves_have_power_at_their_frequencies_alone():
    x = waves(torch.tensor([2, 5]), 32, 3, torch.Generator().manual_seed(0))
    power = torch.fft.rfft(x[..., 0], norm="forward").abs()
    torch.testing.assert_close(power[:, [2, 5]], torch.full((3, 2), 0.5))
    assert power[:, [0, 1, 3, 4, *range(6, 17)]].max() < 1e-6


def test_energy_keeps_the_loud_frequencies_and_learning_the_informative_ones():
    table = selection_table(64, 2, seeds=2, steps=150).groupby("selection")["found"].mean()
    assert table["energy"] == 0 and table["learned"] >= 0.5
