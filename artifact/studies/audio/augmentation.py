"""Random changes of recordings that keep the spoken word: batched, seeded, on the waveform."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from artifact.datasets.recordings import Recordings


@dataclass(frozen=True)
class AudioAugmentation:
    """Random changes of a batch of recordings, drawn for each recording.

        augmentation(waves, lengths, generator) -> (waves, lengths)

    waves (batch, samples) with `lengths` in samples; beyond them the result is 0.  Speed changes pitch, formants and
    duration together, as between speakers; a stretch of time is set to zero; white noise is added; one gain curve on
    the whole spectrum has a slope, as of microphones and rooms, and a masked band.
    With every range at 0 and noise_db = (inf, inf) nothing changes, up to rounding.
    """

    longest: int  # samples, the rest is cut off
    speed: float = 0.2  # largest log of the playback rate, either way
    shift: int = 800  # samples, at most, to the right; half as many to the left
    mask: float = 0.12  # of the recording's duration, at most; of the band likewise
    noise_db: tuple[float, float] = (10.0, 40.0)  # signal-to-noise ratio
    tilt_db: float = 6.0  # gain at Nyquist against the middle of the band, at most

    def __post_init__(self):
        if self.longest < 2 or self.shift < 0 or self.speed < 0 or not 0 <= self.mask < 1 or self.tilt_db < 0:
            raise ValueError(f"expected longest >= 2, ranges >= 0 and mask < 1, got {self}")

    def __call__(self, waves: Tensor, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if waves.ndim != 2 or lengths.shape != waves.shape[:1]:
            raise ValueError(
                f"expected waves (batch, samples) and a length each, got {(*waves.shape,)} and {(*lengths.shape,)}"
            )
        waves, lengths = self.moved(waves, lengths, generator)
        t, count = torch.arange(waves.shape[1])[None], lengths[:, None]
        width = self.mask * uniform(waves, generator) * count
        start = uniform(waves, generator) * (count - width)
        waves = torch.where((t >= start) & (t < start + width), 0.0, waves)
        waves = self.filtered(self.noisy(waves, count, generator), generator)
        return torch.where(t < count, waves, 0.0), lengths

    def moved(self, waves: Tensor, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Change speed and onset, by linear interpolation."""
        speed = torch.exp(self.speed * (2 * uniform(waves, generator) - 1))
        onset = (self.shift * (1.5 * uniform(waves, generator) - 0.5)).floor()
        count = ((lengths[:, None] - 1) / speed + 1 + onset).floor().clamp(2, self.longest).long()
        position = (torch.arange(int(count.max()))[None] - onset) * speed
        inside = (position >= 0) & (position <= lengths[:, None] - 1)
        left = position.floor().clamp(0, waves.shape[1] - 2).long()
        moved = torch.lerp(waves.gather(1, left), waves.gather(1, left + 1), (position - left).clamp(0, 1))
        return torch.where(inside, moved, 0.0), count[:, 0]

    def noisy(self, waves: Tensor, count: Tensor, generator: torch.Generator) -> Tensor:
        """Add white noise at a signal-to-noise ratio drawn uniformly in decibels."""
        low, high = self.noise_db
        if math.isinf(low):
            return waves
        ratio = low + (high - low) * uniform(waves, generator)
        level = (waves.square().sum(dim=1, keepdim=True) / count).sqrt() * 10 ** (-ratio / 20)
        return torch.addcmul(waves, torch.randn(waves.shape, generator=generator), level)

    def filtered(self, waves: Tensor, generator: torch.Generator) -> Tensor:
        """Apply a tilted gain curve with one band attenuated by 30 dB, by one transform of each whole wave."""
        samples = -(-waves.shape[1] // 512) * 512  # a length for which FFTs are fast
        place = torch.linspace(-1, 1, samples // 2 + 1)[None]
        width = 2 * self.mask * uniform(waves, generator)
        start = uniform(waves, generator) * (2 - width) - 1
        decibels = self.tilt_db * (2 * uniform(waves, generator) - 1) * place
        decibels = decibels - 30.0 * ((place >= start) & (place < start + width))
        spectrum = torch.fft.rfft(waves, n=samples) * torch.exp(math.log(10) / 20 * decibels)  # faster than a power
        return torch.fft.irfft(spectrum, n=samples)[:, : waves.shape[1]]

    def copy_of(self, recordings: Recordings, generator: torch.Generator, *, size: int = 64) -> Recordings:
        """A changed copy of every recording, in order; `size` of them are changed at once."""
        parts = torch.arange(len(recordings)).split(size)
        waves, lengths = zip(
            *(self(recordings.waves[part], recordings.lengths[part], generator) for part in parts), strict=True
        )
        padded = torch.cat([F.pad(part, (0, self.longest - part.shape[1])) for part in waves])
        return Recordings(padded, torch.cat(lengths), recordings.labels)


def uniform(waves: Tensor, generator: torch.Generator) -> Tensor:
    """One uniform number in 0 .. 1 for each recording, (batch, 1)."""
    return torch.rand(len(waves), 1, generator=generator)
