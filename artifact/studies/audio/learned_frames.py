"""The front end of an ablation: filters of the waveform that are learned, in place of a fixed transform."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resonance.audio import SpectrumFrames
from resonance.polar import PolarWeight


class LearnedFrames(SpectrumFrames):
    """Log power of learned complex filters of each frame, in place of a fixed transform.

        S[t, b] = log(floor + |sum_s w[b, s] x[t hop + s]|^2)

    (batch, samples) -> (batch, frames, bins).  w, polar weights (bins, frame), start as the windowed transform of
    `SpectrumFrames` at `bins` frequencies evenly spaced from zero to Nyquist.  Short waves, errors: as there, and
    ValueError for fewer than two bins.  Parameters, multiply-adds a frame: 2 bins frame.
    Source: the modulus of learned filters of a waveform, as in LEAF (Zeghidour et al. 2021); there Gabor filters.
    """

    def __init__(self, frame: int = 256, hop: int = 128, bins: int | None = None, floor: float = 1e-6):
        super().__init__(frame, hop, floor)
        self.bins = self.bins if bins is None else bins
        if self.bins < 2:
            raise ValueError(f"expected bins >= 2, got {bins}")
        turns = torch.outer(torch.linspace(0, 0.5, self.bins).double(), torch.arange(frame).double())
        angle, envelope = -2 * math.pi * turns, self.window(turns) / math.sqrt(frame / 2)
        self.weight = PolarWeight(self.bins, frame).set_(envelope * angle.cos(), envelope * angle.sin())

    def forward(self, waves: Tensor) -> Tensor:
        frames = self.cut(waves)
        re, im = (frames @ part.T.to(frames.dtype) for part in self.weight.pair())  # (batch, frames, bins)
        return torch.log(self.floor + re.square() + im.square())
