"""Sound as frames: the log power of linear frequency bins, frame by frame.  No mel scale.

Sound straight from the waveform, in the frequency domain: no mel scale, no convolution, no attention.

    waveform    (batch, samples), each recording brought to unit power
    frames      the log power of every linear bin (`SpectrumFrames`), or of learned complex weights (`LearnedFrames`)
    tokens      on one fixed scale, projected to dim: one token a frame (`FrameTokens`)
    mixing      resonance layers over the frames, each with a feed-forward beside it; phases start as delays
    read-out    mean over the frames, one linear map

Unit power takes loudness away, and nothing more.  Less its mean spectrum, the usual remedy against microphones, a
steady sound would be nothing at all, and short words lost by it as well.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import BandMixing, ResonanceLayer, length_mask
from .polar import PolarWeight


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


class LearnedFrames(SpectrumFrames):
    """Frames by learned complex weights and their modulus, in place of a fixed transform.

        S[t, b] = log(floor + |sum_s w[b, s] x[t hop + s]|^2)

    (batch, samples) -> (batch, frames, bins).  w, polar weights (bins, frame), start as the windowed transform of
    `SpectrumFrames` at `bins` frequencies evenly spaced from zero to Nyquist: with all frame // 2 + 1 bins the two
    agree at the start, and nothing keeps them so.  Samples short of a frame: as `SpectrumFrames`.
    Raises ValueError as `SpectrumFrames`, and for fewer than two bins.
    Parameters: 2 bins frame.  Cost: 2 bins frame multiply-adds a frame.
    Source: the modulus of learned filters of a waveform, as in LEAF (Zeghidour et al. 2021); there Gabor filters.
    """

    def __init__(self, frame: int = 256, hop: int = 128, bins: int | None = None, floor: float = 1e-6):
        super().__init__(frame, hop, floor)
        self._bins = frame // 2 + 1 if bins is None else bins
        if self._bins < 2:
            raise ValueError(f"expected bins >= 2, got {bins}")
        turns = torch.outer(torch.linspace(0, 0.5, self.bins).double(), torch.arange(frame).double())
        angle, envelope = -2 * math.pi * turns, self.window.double() / math.sqrt(frame / 2)
        self.weight = PolarWeight(self.bins, frame).set_(envelope * angle.cos(), envelope * angle.sin())

    @property
    def bins(self) -> int:
        """The number of learned bins."""
        return self._bins

    def forward(self, waves: Tensor) -> Tensor:
        re, im = (self.cut(waves) @ part.T for part in self.weight.pair())
        return torch.log(self.floor + re.square() + im.square())

    def cut(self, waves: Tensor) -> Tensor:
        """Return the frames of waves (batch, samples) themselves, (batch, frames, frame)."""
        if waves.ndim != 2 or waves.shape[1] < 1:
            raise ValueError(f"expected waves of (batch, samples), samples >= 1, got {tuple(waves.shape)}")
        return F.pad(waves, (0, max(0, self.frame - waves.shape[1]))).unfold(1, self.frame, self.hop)


class FrameTokens(nn.Module):
    """One token a frame: the log spectrum of a recording at unit power, projected.

        token_t = W (S_t - level) / spread + b

    (batch, samples) -> (batch, frames, dim); a recording's loudness has no effect.  With `lengths`, in samples, what
    stands behind a recording reaches no token of it, and tokens beyond its own frames are b.
    Raises ValueError for waves that are not (batch, samples), or lengths outside 1..samples.
    Parameters: (bins + 1) dim, and the front end's.
    """

    quiet = 1e-10  # power below which a recording is not made louder: 100 dB below full scale
    level, spread = -3.0, 3.0  # what log power is about at unit power, so that the projection sees numbers of size 1

    def __init__(self, front_end: SpectrumFrames, dim: int):
        super().__init__()
        self.front_end = front_end
        self.projection = nn.Linear(front_end.bins, dim)

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        scaled = (self.spectrum(waves, lengths) - self.level) / self.spread
        return self.projection(scaled.masked_fill(~self.inside(scaled, lengths), 0.0))

    def spectrum(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the frames (batch, frames, bins) of recordings brought to unit power."""
        if waves.ndim != 2 or waves.shape[1] < 1:
            raise ValueError(f"expected waves of (batch, samples), samples >= 1, got {tuple(waves.shape)}")
        if lengths is None:
            return self.front_end(waves * (waves.square().mean(dim=1, keepdim=True) + self.quiet).rsqrt())
        waves = waves.masked_fill(~length_mask(waves[..., None], lengths)[..., 0], 0.0)
        power = waves.square().sum(dim=1, keepdim=True) / torch.as_tensor(lengths, device=waves.device)[:, None]
        return self.front_end(waves * (power + self.quiet).rsqrt())

    def inside(self, frames: Tensor, lengths: Tensor | None) -> Tensor:
        """Return (batch, frames, 1) booleans, true for the frames within the lengths, in samples."""
        if lengths is None:
            return frames.new_ones(*frames.shape[:2], 1, dtype=torch.bool)
        return length_mask(frames, self.front_end.frame_count(torch.as_tensor(lengths, device=frames.device)))


class FeedForward(nn.Module):
    """x + dropout(W_2 gelu(W_1 LayerNorm(x))), position by position; W_1 widens dim to `width`."""

    def __init__(self, dim: int, width: int, dropout: float = 0.0):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.widen, self.narrow = nn.Linear(dim, width), nn.Linear(width, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.narrow(F.gelu(self.widen(self.norm(x)))))


class ResonanceAudioNet(nn.Module):
    """Classify recordings from their waveform: frames, resonance over the frames, mean, linear map.

    (batch, samples) -> (batch, num_classes) logits.  `lengths`, (batch,), in samples: padding behind a recording has
    no effect, since `window` fixes the grid of the mixing.
    Arguments: num_classes; frame and hop in samples; dim, num_layers and num_frequencies of the resonance layers, with
    a feed-forward of `width` (2 dim) beside each; window, the most frames of a recording, beyond which ValueError;
    front_end, any module of `SpectrumFrames`' kind in its place (frame and hop are then its own); interference as in
    `ResonanceLayer`; delay, in frames, the most by which a channel looks back or ahead at the start (`delays_`).
    The defaults suit 5 s at 44.1 kHz, 429 frames of 23 ms.
    Raises ValueError for waves that are not (batch, samples), lengths outside 1..samples, more frames than the window.
    Parameters: (bins + 1) dim, for each layer 2 k dim + 2 k^2 + 2 dim width + 5 dim + width, 2 dim, (dim + 1) classes.
    Cost: linear in the samples, beside the transform of a frame.
    """

    def __init__(
        self,
        num_classes: int = 50,
        *,
        frame: int = 1024,
        hop: int = 512,
        dim: int = 128,
        num_layers: int = 4,
        num_frequencies: int = 32,
        width: int | None = None,
        window: int = 512,
        dropout: float = 0.1,
        front_end: SpectrumFrames | None = None,
        interference: bool = True,
        delay: float = 4.0,
    ):
        super().__init__()
        if num_classes < 1 or num_layers < 1:
            raise ValueError(f"expected num_classes >= 1 and num_layers >= 1, got {num_classes} and {num_layers}")
        self.dim, self.window = dim, window
        self.embedding = FrameTokens(SpectrumFrames(frame, hop) if front_end is None else front_end, dim)
        options = {"dropout": dropout, "window": window, "interference": interference}
        self.resonance = nn.ModuleList(ResonanceLayer(dim, num_frequencies, **options) for _ in range(num_layers))
        for layer in self.resonance:
            delays_(layer.mixing, delay * (2.0 * torch.rand(dim) - 1.0))
        self.feed_forward = nn.ModuleList(FeedForward(dim, width or 2 * dim, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        self.output_projection = nn.Linear(dim, num_classes)

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits (batch, num_classes) for waves (batch, samples)."""
        return self.output_projection(mean_token(self.tokens(waves, lengths), self.frame_count(lengths)))

    def tokens(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return one token a frame, (batch, frames, dim), mixed over the frames; 0 beyond `frame_count(lengths)`."""
        h, count = self.embedding(waves, lengths), self.frame_count(lengths)
        for resonance, feed_forward in zip(self.resonance, self.feed_forward, strict=True):
            h = feed_forward(resonance(h, count))
        h = self.norm(h)
        return h if count is None else h.masked_fill(~length_mask(h, count), 0.0)

    def frame_count(self, lengths: Tensor | None) -> Tensor | None:
        """Return how many frames recordings of so many samples have; None for None."""
        return None if lengths is None else self.embedding.front_end.frame_count(torch.as_tensor(lengths))


def mean_token(tokens: Tensor, count: Tensor | None = None) -> Tensor:
    """Return the mean (batch, dim) of tokens (batch, frames, dim), 0 beyond the first `count` of each."""
    if count is None:
        return tokens.mean(dim=1)
    return tokens.sum(dim=1) / count.to(tokens)[:, None]


@torch.no_grad()
def delays_(mixing: BandMixing, delay: Tensor) -> BandMixing:
    """Set the phases of a mixing so that channel c comes delay[c] positions later: phi_fc = -2 pi f delay_c / N.

    Where phases are drawn at random a token starts as a mixture of the whole sequence; what a sound is stands in its
    neighbourhood.  delay: (dim,), in positions, of any size and sign.  Raises ValueError for a mixing without a window.
    """
    if mixing.window is None:
        raise ValueError("expected a mixing with a window: a delay in positions needs a fixed grid")
    turns = torch.tensor(list(mixing.frequencies), dtype=torch.float64) / mixing.grid_of(mixing.window)
    mixing.weight.phase.copy_(-2 * math.pi * torch.outer(turns, delay.double()))
    return mixing


@torch.no_grad()
def freeze_phases_(model: nn.Module) -> nn.Module:
    """Set every phase of a model's polar weights to zero and keep it there; return the model."""
    for module in model.modules():
        if isinstance(module, PolarWeight):
            module.phase.zero_().requires_grad_(False)
    return model
