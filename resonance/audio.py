"""Sound classified from its waveform in the frequency domain: no mel scale, no convolution, no attention.

Recordings have unit power, which removes loudness alone: subtracting the mean spectrum would also remove steady sounds.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .engines.tables import BUILDERS, constants
from .layers import BandMixing, FeedForward, ResonanceLayer, length_mask
from .settings import WithSettings, placed
from .spectral import check_signal, widened

RANGE = "divide by their range, as int16 / 32768 or (uint8 - 128.0) / 128"


def check_waves(waves: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Check recordings (batch, samples) and set what lies beyond their `lengths`, in samples, to zero.

    Raises TypeError for integers, ValueError for another shape, (samples, channels) among them, or bad lengths.
    """
    check_signal(waves, "waves of (batch, samples)", RANGE)
    if waves.ndim != 2 or waves.shape[1] < 1:
        raise ValueError(f"expected waves of (batch, samples), samples >= 1, got {tuple(waves.shape)}")
    if waves.shape[1] <= 8 and waves.shape[0] >= 32:
        got = f"got {tuple(waves.shape)}, as if (samples, channels)"
        raise ValueError(f"expected waves of (batch, samples), {got}: transpose them, waves.T")
    return waves if lengths is None else waves.masked_fill(~length_mask(waves[..., None], lengths)[..., 0], 0.0)


BUILDERS["hann"] = lambda key, dtype: [np.hanning(key[0] + (key[0] > 1))[: key[0]]]  # periodic


class SpectrumFrames(WithSettings):
    """Log power spectrum of the overlapping frames of a waveform, at linear frequencies (eq:tokens).

        S[t, f] = log(floor + |sum_s hann[s] x[t hop + s] e^{-2 pi i f s / frame}|^2 / (frame / 2))

    (batch, samples) -> (batch, frames, bins), bins = frame // 2 + 1; bin f is at f rate / frame Hz.  A wave shorter
    than one frame is zero-padded to one; samples after the last whole frame are dropped.
    Raises as `check_waves`, and ValueError for hop outside 1..frame.  Cost: frames x frame log(frame).

    >>> tone = torch.sin(2 * torch.pi * 1000 * torch.arange(8000) / 8000)  # 1 kHz at 8 kHz
    >>> SpectrumFrames(256, 128)(tone[None]).mean(dim=1).argmax().item() * 8000 / 256
    1000.0
    """

    defines = ("frame", "hop", "floor")

    def __init__(self, frame: int = 256, hop: int = 128, floor: float = 1e-6):
        super().__init__()
        if not 1 <= hop <= frame:
            raise ValueError(f"expected 1 <= hop <= frame, got hop={hop}, frame={frame}")
        self.frame, self.hop, self.floor, self.bins = frame, hop, floor, frame // 2 + 1

    def window(self, like: Tensor) -> Tensor:
        """The Hann window of a frame, (frame,), in the dtype and on the device of `like`."""
        return constants("hann", (self.frame,), like)[0]

    def frame_count(self, samples: int | Tensor) -> int | Tensor:
        """Number of whole frames in so many samples, at least one."""
        if isinstance(samples, Tensor):
            return self._frames(samples.long()).clamp_min(1)  # unsigned dtypes have few operations
        return max(1, self._frames(samples))

    def _frames(self, samples):
        return (samples - self.frame) // self.hop + 1

    def cut(self, waves: Tensor) -> Tensor:
        """Cut waves (batch, samples) into frames (batch, frames, frame), not yet windowed."""
        short = self.frame - check_waves(waves).shape[1]
        return F.pad(waves, (0, max(0, short))).unfold(1, self.frame, self.hop)

    def forward(self, waves: Tensor) -> Tensor:
        frames = widened(self.cut(waves))
        frames = frames * self.window(frames)
        if frames.shape[0] == 0:  # MKL has no FFT of an empty batch
            return frames[..., : self.bins]
        spectra = torch.fft.rfft(frames)  # (batch, frames, bins)
        power = spectra.real.square() + spectra.imag.square()
        return torch.log(self.floor + power / (self.frame / 2))


class FrameTokens(nn.Module):
    """One token a frame (eq:tokens): the log spectrum of a recording at unit power, standardised and projected.

        token_t = W (S_t - level) / spread + b

    (batch, samples) -> (batch, frames, dim), independent of a recording's loudness.  With `lengths`, in samples, the
    padding behind a recording reaches none of its tokens, and tokens beyond its own frames are b.  Errors: as
    `check_waves`.  Parameters: (bins + 1) dim, and the front end's.
    """

    quiet = 1e-10  # power added before the division: recordings 100 dB below full scale are not made louder
    level, spread = -3.0, 3.0  # typical mean and spread of log power at unit power: the projection sees size 1

    def __init__(self, front_end: SpectrumFrames, dim: int):
        super().__init__()
        self.front_end = front_end
        self.projection = nn.Linear(front_end.bins, dim)

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        scaled = (self.spectrum(waves, lengths) - self.level) / self.spread  # (batch, frames, bins)
        if (count := self.frame_count(lengths)) is not None:
            scaled = scaled.masked_fill(~length_mask(scaled, count), 0.0)
        return self.projection(scaled.to(next(self.parameters(), scaled).dtype))

    def frame_count(self, lengths: Tensor | None) -> Tensor | None:
        """Number of frames of recordings of so many samples; None for None."""
        return None if lengths is None else self.front_end.frame_count(torch.as_tensor(lengths))

    def spectrum(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Frames (batch, frames, bins) of recordings scaled to unit power."""
        waves = widened(check_waves(waves, lengths))  # `quiet` is 0 in float16
        samples = waves.shape[1] if lengths is None else torch.as_tensor(lengths, device=waves.device).long()[:, None]
        power = waves.square().sum(dim=1, keepdim=True) / samples
        return self.front_end(waves * (power + self.quiet).rsqrt())


class ResonanceAudioNet(nn.Module):
    """Classify recordings from their waveform: frames, resonance over the frames, mean, linear map.

    (batch, samples) -> (batch, num_classes) logits.  `lengths`, (batch,), in samples: padding behind a recording has
    no effect, since `window` fixes the grid of the mixing.
    Arguments: frame and hop in samples; dim, num_layers and num_frequencies of the resonance layers, each followed by a
    feed-forward 2 dim wide; window, the most frames of a recording; front_end, in place of `SpectrumFrames` (frame and
    hop are then its own).  Each channel starts as a shift by up to 4 frames either way (`delays_`).  The defaults suit
    5 s at 44.1 kHz, 429 frames of 23 ms.
    Raises as `check_waves`, and ValueError for more frames than the window.
    Parameters: (bins + 1) dim, for each layer 2 k dim + 2 k^2 + 4 dim^2 + 7 dim, 2 dim, (dim + 1) classes.
    Cost: linear in the samples, beside the transform of a frame.

    >>> model = ResonanceAudioNet(3, dim=16, num_layers=1).eval()
    >>> torch.allclose(model(0.1 * (waves := torch.randn(2, 8000))), model(waves), atol=1e-4)  # at any loudness
    True
    """

    longest_delay = 4.0  # frames

    @placed
    def __init__(
        self,
        num_classes: int = 50,
        *,
        frame: int = 1024,
        hop: int = 512,
        dim: int = 128,
        num_layers: int = 4,
        num_frequencies: int = 32,
        window: int = 512,
        dropout: float = 0.1,
        front_end: SpectrumFrames | None = None,
        interference: bool = True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if num_classes < 1 or num_layers < 1:
            raise ValueError(f"expected num_classes >= 1 and num_layers >= 1, got {num_classes} and {num_layers}")
        self.embedding = FrameTokens(SpectrumFrames(frame, hop) if front_end is None else front_end, dim)
        options = {"dropout": dropout, "window": window, "interference": interference}
        self.resonance = nn.ModuleList(ResonanceLayer(dim, num_frequencies, **options) for _ in range(num_layers))
        for layer in self.resonance:
            delays_(layer.mixing, self.longest_delay * (2.0 * torch.rand(dim) - 1.0))
        self.feed_forward = nn.ModuleList(FeedForward(dim, 2 * dim, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        self.output_projection = nn.Linear(dim, num_classes)

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.output_projection(mean_token(self.tokens(waves, lengths), self.frame_count(lengths)))

    def tokens(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """One token a frame, (batch, frames, dim), mixed over the frames; 0 beyond `frame_count(lengths)`."""
        h, count = self.embedding(waves, lengths), self.frame_count(lengths)
        for resonance, feed_forward in zip(self.resonance, self.feed_forward, strict=True):
            h = feed_forward(resonance(h, count))
        h = self.norm(h)
        return h if count is None else h.masked_fill(~length_mask(h, count), 0.0)

    def frame_count(self, lengths: Tensor | None) -> Tensor | None:
        """Number of frames of recordings of so many samples; None for None."""
        return self.embedding.frame_count(lengths)


def mean_token(tokens: Tensor, count: Tensor | None = None) -> Tensor:
    """Mean (batch, dim) of tokens (batch, frames, dim) that are 0 beyond the first `count` of each."""
    return tokens.mean(dim=1) if count is None else tokens.sum(dim=1) / count.to(tokens)[:, None]


@torch.no_grad()
def delays_(mixing: BandMixing, delay: Tensor) -> BandMixing:
    """Set the phases of a mixing so that channel c comes delay[c] positions later: phi_fc = -2 pi f delay_c / N.

    With random phases a token starts as a mixture of the whole sequence; with these it starts as its neighbourhood.
    delay: (dim,), in positions, of any size and sign.  Raises ValueError for a mixing without a window.
    """
    if mixing.window is None:
        raise ValueError("expected a mixing with a window: a delay in positions needs a fixed grid")
    turns = torch.tensor(list(mixing.frequencies), dtype=torch.float64) / mixing.band_of(mixing.window).grid
    mixing.weight.phase.copy_(-2 * math.pi * torch.outer(turns, delay.double()))
    return mixing
