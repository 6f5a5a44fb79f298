"""Causal models of signals as they arrive: a sound classifier 20 ms at a time, a forecaster one step at a time.

`forward` is the parallel form, for training: the outputs after every frame or step of whole recordings or series.
`step` takes one frame or step and a state of constant size.  Both are one map, and no output depends on later input.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .audio import RANGE, FrameTokens, SpectrumFrames, check_waves
from .causal import CausalResonance, State
from .causal_mixing import CausalMixing, octave_of
from .engines.chunked import paired_product
from .language import Block, CausalBlocks
from .layers import length_mask
from .settings import WithSettings, placed
from .spectral import check_sequences, check_signal, widened


class LiveFrames(SpectrumFrames):
    """Log power spectrum of the latest `frame` samples, once every `hop` samples, eq:live-frames.

        S[t, f] = log(floor + |sum_s hann[s] x[(t + 1) hop - frame + s] e^{-2 pi i f s / frame}|^2 / (P_t frame / 2))
        P_t = sum_(i <= t) p_i^2 / sum_(i <= t) p_i,    p_i the mean of x^2 over the new samples of frame i

    Before the first sample x is 0.  P_t is the energy-weighted mean power so far, which a quiet onset hardly affects.

    (batch, samples) -> (batch, frames, frame // 2 + 1), samples // hop frames, at least one: a wave shorter than one
    hop is zero-padded to one, and samples after the last whole hop are dropped.  Loudness has no effect, above
    100 dB below full scale.  Computed in float32 at least.
    State: "past" (batch, frame - hop), "power" and "square" (batch,), sums of p and p^2.
    Raises ValueError for a wrong shape, hop or length.  Cost: frame log(frame) a frame.
    """

    def _frames(self, samples):
        return samples // self.hop

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Frames (batch, frames, bins) of waves (batch, samples), taken as zero after each one's length."""
        waves = widened(check_waves(waves, lengths))
        count = self.frame_count(waves.shape[1])
        # Negative padding drops the samples after the last whole hop.
        waves = F.pad(waves, (self.frame - self.hop, count * self.hop - waves.shape[1]))
        new = waves[:, self.frame - self.hop :].unflatten(1, (count, self.hop))  # (batch, frames, hop)
        power = new.square().mean(-1)
        return self._spectrum(waves.unfold(1, self.frame, self.hop), power.cumsum(1), power.square().cumsum(1))

    def initial_state(self, batch: int, *, device=None, dtype: torch.dtype | None = None) -> State:
        """State before the first sample."""
        zeros = partial(torch.zeros, device=device, dtype=torch.promote_types(dtype or torch.float32, torch.float32))
        return {"past": zeros(batch, self.frame - self.hop), "power": zeros(batch), "square": zeros(batch)}

    def step(self, samples: Tensor, state: State) -> tuple[Tensor, State]:
        """Take the next samples (batch, hop): the newest frame (batch, bins) and the next state."""
        check_signal(samples, f"the next samples, (batch, {self.hop})", RANGE)
        if samples.ndim != 2 or samples.shape[1] != self.hop:
            raise ValueError(f"expected the next samples, (batch, {self.hop}), got {tuple(samples.shape)}")
        latest = torch.cat([state["past"], samples.to(state["past"].dtype)], dim=1)  # (batch, frame)
        new = latest[:, -self.hop :].square().mean(1)
        power, square = state["power"] + new, state["square"] + new.square()
        return self._spectrum(latest, power, square), {"past": latest[:, self.hop :], "power": power, "square": square}

    def _spectrum(self, windows: Tensor, power: Tensor, square: Tensor) -> Tensor:
        """Log spectra of windows (..., frame), relative to the loudness of the sums of p and p^2 so far."""
        if windows.shape[0] == 0:  # not every FFT library takes an empty batch
            return windows[..., : self.bins]
        spectrum = torch.view_as_real(torch.fft.rfft(windows * self.window(windows)))  # (..., bins, 2)
        quiet = FrameTokens.quiet
        scale = 1.0 / ((square / power.clamp_min(quiet**2) + quiet) * (self.frame / 2))
        return torch.log(self.floor + spectrum.square().sum(-1) * scale[..., None])


class LiveAudioNet(nn.Module):
    """Classify sound as it arrives: frames, causal blocks, mean so far, linear map; logits after every frame.

        logits_t = V (1 / t sum_(s <= t) LayerNorm(h_s)) + c,    h = blocks(W (S - level) / spread + b)

    With `lengths`, in samples, padding behind a recording has no effect, and its last logits are repeated after its own
    frames.  Each word begins with a fresh state; finding where words begin in a stream is not part of this model.
    Arguments: num_classes; hop and frame in samples (20 ms and 32 ms at 8 kHz); dim, num_layers; num_resonators of each
    layer, their longest time scale `longest` in frames; mixing, a function that returns a causal sublayer in place of
    `CausalResonance`.  Feed-forwards are 2 dim wide.
    Raises ValueError for a wrong shape or length.  Cost: constant a frame.

    >>> model, waves = LiveAudioNet(dim=16, num_layers=1), torch.randn(1, 1600)
    >>> state = model.initial_state(1)
    >>> for new in waves.split(160, dim=1): logits, state = model.step(new, state)
    >>> torch.allclose(logits, model(waves)[:, -1], atol=1e-4)
    True
    """

    level, spread = FrameTokens.level, FrameTokens.spread

    @placed
    def __init__(
        self,
        num_classes: int = 10,
        *,
        hop: int = 160,
        frame: int = 256,
        dim: int = 64,
        num_layers: int = 3,
        num_resonators: int = 12,
        longest: float = 16,
        mixing: Callable[[], nn.Module] | None = None,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if num_classes < 1 or num_layers < 1:
            raise ValueError(f"expected num_classes >= 1 and num_layers >= 1, got {num_classes} and {num_layers}")
        mixing = mixing or partial(CausalResonance, dim, num_resonators, longest=longest)
        self.front_end = LiveFrames(frame, hop)
        self.projection = nn.Linear(self.front_end.bins, dim)
        self.blocks = CausalBlocks(Block(dim, [mixing()], 2 * dim) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        self.output_projection = nn.Linear(dim, num_classes)

    def frame_count(self, samples: int | Tensor) -> int | Tensor:
        """Number of frames, and so of outputs, of so many samples."""
        return self.front_end.frame_count(samples)

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits after every frame, (batch, frames, num_classes), of waves (batch, samples)."""
        h = self._tokens(self.front_end(waves, lengths))  # (batch, frames, dim)
        own = None if lengths is None else self.frame_count(torch.as_tensor(lengths, device=h.device))
        h = self.norm(self.blocks(h, own))
        count = torch.arange(1, h.shape[1] + 1, device=h.device)[None]  # frames so far
        if own is not None:
            h, count = h.masked_fill(~length_mask(h, own), 0.0), count.minimum(own[:, None])
        return self.output_projection((widened(h).cumsum(1) / count[..., None]).to(h.dtype))

    def _tokens(self, spectrum: Tensor) -> Tensor:
        return self.projection(((spectrum - self.level) / self.spread).to(next(self.parameters(), spectrum).dtype))

    def initial_state(self, batch: int, *, device=None, dtype: torch.dtype | None = None) -> State:
        """State before the first sample: real tensors, batch first."""
        weight = self.projection.weight
        options = {"device": device or weight.device, "dtype": dtype or weight.dtype}
        state = self.front_end.initial_state(batch, **options) | self.blocks.initial_state(batch, **options)
        options["dtype"] = torch.promote_types(options["dtype"], torch.float32)  # a half would stop counting at 256
        return state | {"sum": torch.zeros(batch, len(weight), **options), "count": torch.zeros(batch, **options)}

    def step(self, samples: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (batch, num_classes) after the next samples (batch, hop), and the next state."""
        spectrum, after = self.front_end.step(samples, state)
        h, mixed = self.blocks.carried("step", self._tokens(spectrum), state)
        after |= mixed | {"sum": state["sum"] + self.norm(h), "count": state["count"] + 1}
        return self.output_projection((after["sum"] / after["count"][:, None]).to(h.dtype)), after


class OneSignalMixing(CausalMixing):
    """`CausalMixing` of one signal, repeated for every channel: one state of k resonators serves them all."""

    @torch.no_grad()
    def set_poles_(self, time_scales: Tensor, frequencies: Tensor) -> OneSignalMixing:
        """Set the poles to time scales (k,), in steps, and frequencies (k,), in cycles per step; return the mixing."""
        self.octave.copy_(octave_of(time_scales.double()))
        self.spacing.copy_(1.0 / time_scales)
        self.turns.copy_(time_scales * frequencies)
        return self

    def drive(self, signals: Tensor, states: Tensor) -> Tensor:
        """Drive states by one more sample of each signal, (...): the next states (..., k, 2)."""
        states = paired_product(states, self._step_constants(states.dtype)[0])
        states[..., 0] += signals[..., None]
        return states

    def read(self, states: Tensor) -> Tensor:
        """Read the channels, (..., dim), from states (..., k, 2), without the direct gain."""
        return states.flatten(-2) @ self._step_constants(states.dtype)[1].flatten(1).T


class LiveForecaster(WithSettings):
    """Forecast `pred_horizon` steps of every channel after every step, with a state of constant size, eq:live-forecast.

        yhat_(t, h) = level_t + b_h (x_t - level_t) + Re sum_j c_jh e_j (s_tj - level_t g_tj)

    s: resonators of unit energy (`CausalMixing`) driven by the channel; g: the same driven by 1, so that a constant
    added to the series is added to every forecast, from the first step on.  The channels share all weights.
    Arguments: period in steps; scales, the number of time scales of each harmonic, even in octaves from an eighth of a
    period to `longest` periods; harmonics 0 .. harmonics - 1 of the period at each of them: k = scales x harmonics.
    State: "resonators" (batch, channels + 1, k, 2), "recent" (batch, period, channels), "count" (batch,).
    Raises ValueError for a wrong shape, or sizes below 1.  Parameters: 2 k, and (2 k + 1) pred_horizon.
    Cost a step: (4 k + 2 k pred_horizon) (channels + 1) multiply-adds.

    >>> model, x = LiveForecaster(4, channels=2).double(), torch.randn(1, 50, 2).double()
    >>> torch.allclose(model(x + 10), model(x) + 10)
    True
    """

    defines = ("period",)

    @placed
    def __init__(
        self,
        pred_horizon: int = 96,
        channels: int = 7,
        *,
        period: int = 24,
        scales: int = 5,
        longest: float = 32.0,
        harmonics: int = 7,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if min(pred_horizon, channels, period, scales, harmonics) < 1 or not longest >= 0.125:
            found = f"{pred_horizon=}, {channels=}, {period=}, {scales=}, {harmonics=}, {longest=}"
            raise ValueError(f"expected sizes >= 1 and longest >= 1/8 period, got {found}")
        self.pred_horizon, self.channels, self.period = pred_horizon, channels, period
        octaves = torch.linspace(-3.0, math.log2(longest), scales, dtype=torch.float64)
        time_scales = (period * torch.exp2(octaves)).repeat_interleave(harmonics)
        frequencies = torch.arange(harmonics, dtype=torch.float64).repeat(scales) / period
        self.mixing = OneSignalMixing(pred_horizon, scales * harmonics).set_poles_(time_scales, frequencies)

    def level(self, x: Tensor) -> Tensor:
        """Mean of the last `period` steps of x (batch, n, channels) at every step, of fewer at the beginning."""
        total = torch.cat([torch.zeros_like(x[:, :1]), x], dim=1).double().cumsum(1)
        last = torch.arange(1, x.shape[1] + 1, device=x.device)
        first = (last - self.period).clamp_min(0)
        return ((total[:, last] - total[:, first]) / (last - first)[:, None]).to(x.dtype)

    def deviations(self, x: Tensor, mixing: CausalMixing) -> Tensor:
        """A mixing of x (batch, n, channels) less that of its level, (batch, n, mixing.dim, channels)."""
        level, (batch, n, channels) = self.level(x), x.shape
        signals = torch.cat([x, torch.ones_like(x[..., :1])], dim=2).movedim(2, 1).reshape(-1, n, 1)  # a row a channel
        mixed = mixing(signals.expand(-1, -1, mixing.dim)).unflatten(0, (batch, channels + 1)).movedim(1, 3)
        return mixed[..., :channels] - level[:, :, None] * mixed[..., channels:]

    def forward(self, x: Tensor) -> Tensor:
        """Forecasts (batch, n, pred_horizon, channels) after every step of x (batch, n, channels)."""
        check_sequences(x, self.channels)
        return self.level(x)[:, :, None] + self.deviations(x, self.mixing)

    def initial_state(self, batch: int, *, device=None, dtype: torch.dtype | None = None) -> State:
        """State before the first step, in float32 at least."""
        weight = self.mixing.readout
        dtype = torch.promote_types(dtype or weight.dtype, torch.float32)
        zeros = partial(torch.zeros, device=device or weight.device, dtype=dtype)
        resonators = zeros(batch, self.channels + 1, self.mixing.num_resonators, 2)
        return {"resonators": resonators, "recent": zeros(batch, self.period, self.channels), "count": zeros(batch)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The forecast (batch, pred_horizon, channels) after a step x (batch, channels), and the next state."""
        given, x = x.dtype, check_sequences(x, self.channels, ()).to(state["recent"].dtype)
        count = state["count"] + 1
        recent = torch.cat([state["recent"][:, 1:], x[:, None]], dim=1)
        level = recent.sum(1) / count.clamp_max(self.period)[:, None]
        resonators = self.mixing.drive(torch.cat([x, torch.ones_like(x[:, :1])], dim=1), state["resonators"])
        y = self.mixing.read(resonators[:, :-1] - level[..., None, None] * resonators[:, -1:])
        y = y + level[..., None] + (x - level)[..., None] * self.mixing.direct
        return y.transpose(1, 2).to(given), {"resonators": resonators, "recent": recent, "count": count}
