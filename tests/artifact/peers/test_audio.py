"""Peers for sound: log-mel features, a Transformer over the same frames."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from artifact.datasets.recordings import recordings
from artifact.peers.audio import (
    ConvAudioNet,
    MelFrames,
    TransformerAudioNet,
    log_mel_features,
    mel_filters,
    without_mean_spectrum,
)


def test_mel_filters_are_triangles_that_sum_to_one_between_peaks():
    filters = mel_filters(12, 256, 8000)
    assert filters.shape == (129, 12) and filters.min() == 0 and filters.max() <= 1
    inner = slice(int(filters[:, 0].argmax()) + 1, int(filters[:, -1].argmax()))
    torch.testing.assert_close(filters[inner].sum(dim=1), torch.ones_like(filters[inner, 0]))
    assert (filters.argmax(dim=0).diff() > 0).all()
    with pytest.raises(ValueError, match="fewer mel bands than 100"):
        mel_filters(100, 64, 8000)


def test_log_mel_features_ignore_loudness_and_padding(toy_speech):
    speech = toy_speech(takes=1)
    plain = log_mel_features(recordings(speech.waves, speech.labels, 4000), 8000, bands=10, steps=5)
    louder = log_mel_features(recordings([3 * w for w in speech.waves], speech.labels, 4000), 8000, bands=10, steps=5)
    assert plain.shape == (6, 50)
    np.testing.assert_allclose(plain, louder, atol=1e-3)


def test_without_its_mean_spectrum_a_recording_has_no_microphone():
    source = np.random.default_rng(0)
    features, microphone = source.standard_normal((4, 30)).astype(np.float32), np.repeat(source.standard_normal(6), 5)
    cleared = without_mean_spectrum(features, 6)
    np.testing.assert_allclose(without_mean_spectrum(features + microphone, 6), cleared, atol=1e-6)
    np.testing.assert_allclose(cleared.reshape(4, 6, 5).mean(axis=2), 0, atol=1e-6)


def test_mel_frames_are_the_filtered_power_of_each_frame():
    frames, wave = MelFrames(256, 128, 10, 8000), torch.randn(2, 1000)
    windows = wave.unfold(1, 256, 128) * torch.hann_window(256)
    power = torch.fft.rfft(windows).abs().square() / 128
    torch.testing.assert_close(frames(wave), ((power + 1e-6) @ mel_filters(10, 256, 8000)).log(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [TransformerAudioNet, partial(ConvAudioNet, rate=8000, bands=20)])
def test_networks_ignore_padding(make):
    torch.manual_seed(0)
    model, lengths = make(10).eval(), torch.tensor([2000, 700])
    waves = torch.randn(2, 3000)
    alone = torch.cat([model(waves[i : i + 1, :n], torch.tensor([n])) for i, n in enumerate(lengths.tolist())])
    torch.testing.assert_close(model(waves, lengths), alone, rtol=1e-4, atol=1e-5)
