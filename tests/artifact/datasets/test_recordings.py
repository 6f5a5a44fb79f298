"""Recordings padded into batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from artifact.datasets.recordings import loudest, recordings
from resonance import ResonanceAudioNet


def small(**options):
    return ResonanceAudioNet(4, frame=64, hop=32, dim=16, num_layers=2, num_frequencies=5, window=32, **options).eval()


def test_recordings_are_cut_to_their_loudest_stretch():
    wave = np.zeros(100, np.float32)
    wave[60:80] = 1.0
    assert loudest(wave, 20).tolist() == [1.0] * 20 and loudest(wave, 200) is wave
    both = recordings([wave, wave[:50]], np.array([1, 0]), 60)
    assert both.lengths.tolist() == [60, 50] and both.waves.shape == (2, 60)
    with pytest.raises(ValueError, match="empty"):
        recordings([np.zeros(0, np.float32)], np.array([0]), 10)


def test_an_epoch_shows_every_recording_once_with_like_lengths():
    source = np.random.default_rng(0)
    waves = [np.full(n, i, np.float32) for i, n in enumerate(source.integers(10, 400, 103))]
    everything = recordings(waves, np.arange(103), 500)
    stream = everything.batches(16, torch.Generator().manual_seed(0))
    epoch = [next(stream) for _ in range(6)]
    labels = torch.cat([batch[2] for batch in epoch])
    assert sorted(labels.tolist()) == list(range(103))
    for batch_waves, lengths, names in epoch:
        assert batch_waves.shape[1] == lengths.max() and 16 <= len(names) <= 18
        assert (batch_waves[torch.arange(len(names)), lengths - 1] == names).all()
    second = torch.cat([next(stream)[2] for _ in range(6)])
    assert sorted(second.tolist()) == list(range(103)) and second.tolist() != labels.tolist()


def test_logits_keep_the_order():
    torch.manual_seed(0)
    source = np.random.default_rng(0)
    waves = [source.standard_normal(n).astype(np.float32) for n in source.integers(64, 900, 9)]
    model, everything = small(), recordings(waves, np.zeros(9, int), 1000)
    alone = torch.cat([model(torch.from_numpy(w)[None]) for w in waves])
    torch.testing.assert_close(everything.logits(model, size=4), alone, rtol=1e-4, atol=1e-5)
