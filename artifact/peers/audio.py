"""Peers for sound: log-mel features with logistic regression or convolutions, a Transformer over the same frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.datasets.recordings import Recordings
from artifact.peers.transformer import sinusoidal_positions, transformer_layer
from resonance.audio import FrameTokens, SpectrumFrames, mean_token
from resonance.layers import length_mask


class TransformerAudioNet(nn.Module):
    """Classify recordings by a Transformer over the frames of `ResonanceAudioNet`: the same tokens and read-out.

    (batch, samples), lengths in samples -> (batch, num_classes).  Sinusoidal positions, pre-norm layers with fused
    attention, masked to a recording's own frames.  Cost a layer: 2 n^2 d + 12 n d^2 multiply-adds for n frames.
    """

    def __init__(self, num_classes: int, *, frame: int = 256, hop: int = 128, dim: int = 48, num_layers: int = 3):
        super().__init__()
        self.embedding = FrameTokens(SpectrumFrames(frame, hop), dim)
        self.layers = nn.ModuleList(transformer_layer(dim) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        self.output_projection = nn.Linear(dim, num_classes)

    def forward(self, waves: Tensor, lengths: Tensor) -> Tensor:
        h = self.embedding(waves, lengths)
        h = h + sinusoidal_positions(h.shape[1], h.shape[2], like=h)
        count = self.embedding.frame_count(lengths)
        inside = length_mask(h, count)
        for layer in self.layers:
            h = layer(h, src_key_padding_mask=~inside[..., 0])
        return self.output_projection(mean_token(self.norm(h).masked_fill(~inside, 0.0), count))


def mel_filters(bands: int, frame: int, rate: int) -> Tensor:
    """Triangular filters, evenly spaced on the mel scale from zero to Nyquist: (frame // 2 + 1, bands), each of peak 1.

    mel = 2595 log10(1 + Hz / 700) (O'Shaughnessy 1987); each filter extends to its neighbours' peaks.
    Raises ValueError for more bands than the bins resolve (a filter without a bin).
    """
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2, dtype=torch.float64) / 2595) - 1)
    hertz = torch.linspace(0, rate / 2, frame // 2 + 1, dtype=torch.float64)[:, None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp_min(0.0)
    if not bool((filters.sum(dim=0) > 0).all()):
        raise ValueError(f"expected fewer mel bands than {bands} for {frame // 2 + 1} bins at {rate} Hz")
    return filters.float()


class MelFrames(SpectrumFrames):
    """Log-mel energies of each frame: (batch, samples) -> (batch, frames, bands); the filters of `mel_filters`."""

    def __init__(self, frame: int, hop: int, bands: int, rate: int):
        super().__init__(frame, hop)
        self.bins = bands
        self.register_buffer("filters", mel_filters(bands, frame, rate), persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        return (super().forward(waves).exp() @ self.filters).log()


class ConvAudioNet(nn.Module):
    """Classify recordings by a small convolutional network on their log-mel spectrogram.

    (batch, samples), lengths in samples -> (batch, num_classes).  The spectrogram, at unit power and standardised as
    the tokens of `ResonanceAudioNet`, goes through blocks of a 3 x 3 convolution, batch norm, ReLU, and a maximum over
    2 x 2 cells, each of as many `channels`; then the mean over bands and over a recording's own frames, dropout, and a
    linear map.  Cost a block: 9 multiply-adds for each cell, channel in and channel out.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        rate: int,
        frame: int = 256,
        hop: int = 128,
        bands: int = 40,
        channels: Sequence[int] = (16, 32, 48, 64),
        dropout: float = 0.2,
    ):
        super().__init__()
        self.embedding = FrameTokens(MelFrames(frame, hop, bands, rate), bands)
        self.embedding.projection = nn.Identity()  # the standardised energies themselves
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
            for before, after in pairwise((1, *channels))
        )
        self.dropout = nn.Dropout(dropout)
        self.output_projection = nn.Linear(channels[-1], num_classes)

    def forward(self, waves: Tensor, lengths: Tensor) -> Tensor:
        h = self.embedding(waves, lengths)[:, None]  # (batch, 1, frames, bands)
        count = self.embedding.frame_count(lengths)
        for block in self.blocks:
            h = block(h)
            h = h.masked_fill(~length_mask(h[:, 0], count)[:, None], 0.0)  # what lies behind a recording stays 0
            h, count = F.max_pool2d(h, 2, ceil_mode=True), (count + 1) // 2
        return self.output_projection(self.dropout(mean_token(h.mean(dim=3).transpose(1, 2), count)))


@torch.no_grad()
def log_mel_features(recordings: Recordings, rate: int, *, bands: int = 32, steps: int = 16) -> np.ndarray:
    """Log-mel energies of each recording, resampled to `steps` frames: (count, bands steps), float32.

    Frames of 256 samples every 64, unit power, minus the recording's mean over frames and bands.
    """
    front_end, filters = SpectrumFrames(256, 64), mel_filters(bands, 256, rate)
    rows = []
    for wave, length in zip(recordings.waves, recordings.lengths.tolist(), strict=True):
        own = wave[None, :length]
        spectrum = front_end(own * (own.square().mean() + FrameTokens.quiet).rsqrt())
        mel = (spectrum.exp() @ filters).log()
        mel = mel - mel.mean()
        stretched = F.interpolate(mel.transpose(1, 2), steps, mode="linear", align_corners=True)
        rows.append(stretched.flatten().numpy())
    return np.stack(rows)


def without_mean_spectrum(features: np.ndarray, bands: int = 32) -> np.ndarray:
    """Subtract each band's mean over the recording from log-mel features: the usual remedy against microphones."""
    by_band = features.reshape(len(features), bands, -1)
    return (by_band - by_band.mean(axis=2, keepdims=True)).reshape(features.shape)


def logistic_regression(features: np.ndarray, labels: np.ndarray, strength: float) -> Pipeline:
    """Fit scikit-learn's multinomial logistic regression on standardised features; strength is its C."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500)).fit(features, labels)
