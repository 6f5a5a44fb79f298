"""Selections of frequencies: what is kept where energy misleads, and bits beside the most that any choice keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from artifact.studies.information import figures
from artifact.studies.information.information import frequency_bits, two_lines
from artifact.studies.information.predictive import Ridges, make_splits, rank_frequencies
from artifact.studies.information.selection import (
    gaussian_batches,
    gaussian_bits,
    selected_measures,
    selection_table,
    series_bits,
    waves,
    window_batches,
)
from resonance.forecasting import Series, forecast_task


def test_waves_have_power_at_their_frequencies_alone():
    x = waves(torch.tensor([2, 5]), 32, 3, torch.Generator().manual_seed(0))
    power = torch.fft.rfft(x[..., 0], norm="forward").abs()
    torch.testing.assert_close(power[:, [2, 5]], torch.full((3, 2), 0.5))
    assert power[:, [0, 1, 3, 4, *range(6, 17)]].max() < 1e-6


def test_energy_keeps_the_loud_frequencies_and_learning_the_informative_ones():
    table = selection_table(64, 2, seeds=2, steps=150).groupby("selection")["found"].mean()
    assert table["energy"] == 0 and table["learned"] >= 0.5


def test_batches_have_the_spectra_that_they_are_said_to_have():
    generator = torch.Generator().manual_seed(0)
    signal, noise = two_lines(32)
    x, target = next(gaussian_batches(32, whiten=False, generator=generator, size=20000))
    torch.testing.assert_close(target[..., 0].T.cov().double(), signal, atol=0.1, rtol=0.05)
    torch.testing.assert_close((x - target)[..., 0].T.cov().double(), noise, atol=0.1, rtol=0.05)
    _, flat = next(gaussian_batches(32, whiten=True, generator=generator, size=20000))
    torch.testing.assert_close(flat[..., 0].T.cov(), torch.eye(32), atol=0.05, rtol=0.05)


def test_no_selection_keeps_more_than_the_most_and_all_of_it_is_kept_by_all():
    table = gaussian_bits(16, [2, 9], seeds=1, steps=5)
    assert (table["bits"] <= table["most"] + 1e-9).all() and set(table["k"]) == {2, 9}
    assert table.loc[table["k"] == 9, "bits"].to_numpy() == pytest.approx(
        frequency_bits(*two_lines(16))[1].sum().item()
    )


def test_a_trained_selection_comes_near_the_best_choice():
    table = gaussian_bits(32, [6], seeds=2, steps=200)
    share = table.assign(share=table["bits"] / table["most"]).groupby("selection")["share"].mean()
    assert share["learned, flat spectrum"] > share["lowest"] and share["learned, flat spectrum"] > 0.7


def test_the_past_of_a_series_and_what_its_figure_and_ledger_hold():
    at = np.arange(600)
    values = np.stack([np.sin(at / 4), np.cos(at / 9)], 1) + 0.2 * np.random.default_rng(0).normal(size=(600, 2))
    task = forecast_task(Series("made", values, ("a", "b"), 25, "step"), 4)
    splits, windows = make_splits(task, 32, 2), task.windows("train", 32)
    past, future = next(window_batches(windows, torch.Generator().manual_seed(0), size=3))
    assert past.shape == (6, 32, 1) and future.shape == (6, 4) and past.mean(dim=1).abs().max() < 1e-5
    order = rank_frequencies(splits.train, ridge=0.001, steps=8)
    table = series_bits(splits, windows, order, [2], Ridges([0.01, 0.1]), seeds=2, steps=20)
    assert (
        table["selection"].value_counts().to_dict()["learned, the forecast"] == 2 and np.isfinite(table["bits"]).all()
    )
    gaussian = gaussian_bits(16, [2], seeds=1, steps=2)
    assert len(figures.selected_bits(gaussian, table).axes) == 2
    keys = {row[0] for row in selected_measures(gaussian, table)}
    assert {"information.selected.gaussian.flat.2", "information.selected.series.greedy.2"} <= keys
