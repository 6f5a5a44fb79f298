"""Sound as frames: the log power of linear frequency bins, frame by frame.  No mel scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SpectrumFrames(nn.Module):
    """Cut a waveform into overlapping frames and return the log power of each one's spectrum.

        S[t, f] = log(floor + |sum_s hann[s] x[t hop + s] e^{-2 pi i f s / frame}|^2 / (frame / 2))

    (batch, samples) -> (batch, frames, frame // 2 + 1); bin f stands at f rate / frame Hz, the bins are linear.
    A wave shorter than one frame is padded by zeros to one; what is left after the last whole frame is dropped.
    Raises ValueError for a wave that is not (batch, samples), or empty.
    Cost: frames x frame log(frame).
    """

    def __init__(self, frame: int = 256, hop: int = 128, floor: float = 1e-6):
        super().__init__()
        if not 1 <= hop <= frame:
            raise ValueError(f"expected 1 <= hop <= frame, got hop={hop}, frame={frame}")
        self.frame, self.hop, self.floor = frame, hop, floor
        self.register_buffer("window", torch.hann_window(frame), persistent=False)

    @property
    def bins(self) -> int:
        """The number of frequency bins."""
        return self.frame // 2 + 1

    def frame_count(self, samples: int | Tensor) -> int | Tensor:
        """Return how many whole frames so many samples hold, at least one."""
        count = (samples - self.frame) // self.hop + 1
        return count.clamp_min(1) if isinstance(count, Tensor) else max(1, count)

    def forward(self, waves: Tensor) -> Tensor:
        if waves.ndim != 2 or waves.shape[1] < 1:
            raise ValueError(f"expected waves of (batch, samples), samples >= 1, got {tuple(waves.shape)}")
        if (short := self.frame - waves.shape[1]) > 0:
            waves = torch.nn.functional.pad(waves, (0, short))
        spectra = torch.fft.rfft(waves.float().unfold(1, self.frame, self.hop) * self.window)
        power = spectra.real.square() + spectra.imag.square()
        return torch.log(self.floor + power / (self.frame / 2))
