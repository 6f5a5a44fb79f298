"""Patches, frames, and the training that every classifier shares."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from artifact.studies.common.classification import accuracy, predict, shuffled, train_classifier, tuned
from resonance import PatchEmbedding, ResonanceLayer, SpectrumFrames

# --------------------------------------------------------------------------- patches


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_patches_are_a_convolution_with_stride_of_their_size(channels, size, rows, columns):
    embed = PatchEmbedding(channels, size, 7)
    images = torch.randn(2, channels, rows * size, columns * size)
    kernel = embed.projection.weight.reshape(7, channels, size, size)
    expected = torch.nn.functional.conv2d(images, kernel, embed.projection.bias, stride=size).movedim(1, -1)
    torch.testing.assert_close(embed(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 1, 28), (2, 3, 28, 28), (2, 1, 30, 28), (2, 1, 28, 0)])
def test_patches_of_a_wrong_shape_are_named(shape):
    with pytest.raises(ValueError, match=r"multiples of patch_size=4, got \(2"):
        PatchEmbedding(1, 4, 8)(torch.zeros(shape))


# --------------------------------------------------------------------------- frames


@given(st.integers(1, 700), st.sampled_from([(64, 32), (64, 64), (50, 20), (33, 1)]))
@settings(max_examples=30, deadline=None)
def test_frames_are_counted_before_they_are_made(samples, sizes):
    frames = SpectrumFrames(*sizes)
    spectrum = frames(torch.randn(1, samples))
    assert spectrum.shape == (1, frames.frame_count(samples), frames.bins)
    assert frames.frame_count(torch.tensor([samples])).tolist() == [spectrum.shape[1]]


def test_a_frame_is_the_windowed_transform_of_numpy():
    frames, wave = SpectrumFrames(50, 20), torch.randn(1, 130)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(50) / 50)
    for t in range(frames.frame_count(130)):
        power = np.abs(np.fft.rfft(wave[0, 20 * t : 20 * t + 50].numpy() * window)) ** 2 / 25
        np.testing.assert_allclose(frames(wave)[0, t].numpy(), np.log(1e-6 + power), rtol=1e-3, atol=1e-3)


def test_a_tone_stands_on_its_bin():
    wave = torch.sin(2 * math.pi * 1000 / 8000 * torch.arange(2000))[None]
    assert (SpectrumFrames(256, 128)(wave).argmax(-1) == 32).all()  # 32 x 8000 / 256 = 1000 Hz


@pytest.mark.parametrize("call", [lambda: SpectrumFrames(10, 11), lambda: SpectrumFrames(10, 0)])
def test_a_hop_beyond_the_frame_is_refused(call):
    with pytest.raises(ValueError, match="hop <= frame"):
        call()


@pytest.mark.parametrize("shape", [(3,), (2, 0), (1, 2, 3)])
def test_waves_of_a_wrong_shape_are_named(shape):
    with pytest.raises(ValueError, match=r"\(batch, samples\)"):
        SpectrumFrames()(torch.zeros(shape))


# --------------------------------------------------------------------------- training


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.out = ResonanceLayer(4, 3), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.layer(x).mean(1))


def problem(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 8, 4, generator=generator)
    return x, (x.mean(1)[:, 0] > 0).long()


def batches(x, y, seed=0):
    return ((x[i], y[i]) for i in shuffled(len(x), 16, torch.Generator().manual_seed(seed)))


def test_training_learns_and_repeats_itself():
    x, y = problem()
    scores, weights = [], []
    for _ in range(2):
        torch.manual_seed(0)
        model = Small()
        assert train_classifier(model, batches(x, y), 300, rate=3e-2) > 0
        scores.append(accuracy(predict(model, x, size=10), y))
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert scores[0] == scores[1] > 0.8 and torch.equal(*weights)


def test_prediction_does_not_depend_on_how_it_is_cut():
    x, _ = problem()
    model = Small()
    torch.testing.assert_close(predict(model, x, size=7), model.eval()(x), rtol=1e-5, atol=1e-6)


def test_a_stream_that_ends_is_named():
    x, y = problem()
    with pytest.raises(ValueError, match="expected 3 batches, got 2"):
        train_classifier(Small(), iter([(x, y)] * 2), 3, rate=1e-3)
    with pytest.raises(ValueError, match="steps >= 1"):
        train_classifier(Small(), iter([]), 0, rate=1e-3)


def test_shuffled_gives_every_index_once_an_epoch():
    stream = shuffled(10, 4, torch.Generator().manual_seed(0))
    first, second = (torch.cat([next(stream) for _ in range(3)]) for _ in range(2))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10)) and not torch.equal(first, second)
    with pytest.raises(ValueError, match="count >= 1"):
        next(shuffled(0, 4, torch.Generator()))


def test_the_best_rate_is_that_of_the_highest_score():
    table, best = tuned(lambda rate: -abs(rate - 0.01), [0.001, 0.01, 0.1])
    assert best == 0.01 and table["validation"].max() == 0
