"""The models of the family, from the layers: sequence to sequence, and forecasting.

ResonanceNet             projection -> resonance layers -> what the memory recalls, if asked -> projection
ResonanceTimeSeriesNet   the past's kept band -> polar weights and a low-rank interference -> the future's band
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import ResonanceLayer, length_mask
from .memory import HolographicMemory
from .polar import PolarWeight, complex_matmul
from .recollection import Recollection
from .spectral import analysis, check_sequences, synthesis


class ResonanceNet(nn.Module):
    """Sequence to sequence: input projection, `num_layers` resonance layers, LayerNorm, output projection.

    (batch, n, input_dim) -> (batch, n, output_dim); output_dim is input_dim unless given.  Every n that gives a band
    of at least num_frequencies is accepted; `window` fixes the grid, as in `BandMixing`.

    `holographic_memory` holds `holographic_capacity` real patterns of input_dim (0: there is none).  The summary of a
    sequence is the mean of its tokens, s.  With use_memory each summary is a cue: what the memory recalls of it, r (see
    `Recollection`), enters after the layers as one more token would, h + gate * (W_in r) at every position, with a gate
    for each hidden channel that starts at 0.  With store_to_memory each summary is written, as a constant without
    gradient; when the memory is full the oldest patterns give way.  With both, all of a batch is read before any of it
    is written.  Reading compares a summary with stored patterns, never a token with a token; without the two arguments
    the memory is neither read nor changed.
    The memory is state that outlives a call, in the state dict.  `lengths` bound the mean as they bound the layers.
    Under DistributedDataParallel, broadcast_buffers=False lets each process keep a memory of its own, and a network
    trained without use_memory wants holographic_capacity=0, for its gate would wait for a gradient in vain.

    Raises ValueError for a wrong shape, a band too short, a memory asked for where there is none.
    Parameters: num_layers (2 k hidden + 2 k^2 + 2 hidden), 2 hidden, and the two projections; hidden + 2 for reading
    a memory.  No attention between tokens, no product of two tokens, no key-value cache.
    """

    def __init__(
        self,
        input_dim: int,
        num_frequencies: int = 64,
        hidden_dim: int = 256,
        num_layers: int = 4,
        holographic_capacity: int = 1000,
        dropout: float = 0.1,
        *,
        output_dim: int | None = None,
        engine: str = "auto",
        window: int | None = None,
    ):
        super().__init__()
        if num_layers < 1 or input_dim < 1:
            raise ValueError(f"expected num_layers >= 1 and input_dim >= 1, got {num_layers} and {input_dim}")
        if holographic_capacity < 0:
            raise ValueError(f"expected holographic_capacity >= 0 patterns, got {holographic_capacity}")
        self.input_dim, self.holographic_capacity = input_dim, holographic_capacity
        self.input_projection = nn.Linear(input_dim, hidden_dim)
        self.layers = nn.ModuleList(
            ResonanceLayer(hidden_dim, num_frequencies, engine=engine, dropout=dropout, window=window)
            for _ in range(num_layers)
        )
        self.holographic_memory = None
        if holographic_capacity > 0:
            self.holographic_memory = HolographicMemory(input_dim, holographic_capacity)
            self.recollection = Recollection()
            self.memory_gate = nn.Parameter(torch.zeros(hidden_dim))
        self.norm = nn.LayerNorm(hidden_dim)
        self.output_projection = nn.Linear(hidden_dim, output_dim or input_dim)

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        use_memory: bool = False,
        store_to_memory: bool = False,
    ) -> Tensor:
        """Return (batch, n, output_dim) for x of (batch, n, input_dim); `lengths` as in `ResonanceLayer`."""
        if (use_memory or store_to_memory) and self.holographic_memory is None:
            raise ValueError("this model has no memory (holographic_capacity=0): it can neither use nor store")
        check_sequences(x, self.input_dim)
        if lengths is not None:
            x = x.masked_fill(~length_mask(x, lengths), 0.0)
        h = self.input_projection(x)
        for layer in self.layers:
            h = layer(h, lengths)
        if use_memory or store_to_memory:
            summary = self.summary(x, lengths)
        if use_memory:
            h = h + self.recall(summary)[:, None]
        if store_to_memory:
            self.holographic_memory.encode(summary, overwrite="oldest")
        return self.output_projection(self.norm(h))

    def summary(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return what a sequence is stored as, and asked for by: the mean of its tokens, (batch, input_dim).

        Beyond `lengths` x must be 0.
        """
        if lengths is None:
            return x.mean(dim=1)
        return x.sum(dim=1) / torch.as_tensor(lengths, device=x.device, dtype=x.dtype)[:, None]

    def recall(self, cue: Tensor) -> Tensor:
        """Return what the memory adds to every position, gate * (W_in r), (batch, hidden_dim), for cues."""
        recalled = self.recollection(self.holographic_memory, cue)
        return self.memory_gate * F.linear(recalled, self.input_projection.weight)


class ResonanceTimeSeriesNet(nn.Module):
    """Forecast `pred_horizon` steps of every channel from the kept band of its past.

        X = A taper(x - level),    Y = U (V X),    forecast = level + S Y

    with A the analysis of the lookback on a grid of exactly `lookback` samples, S the synthesis on a grid of
    `pred_horizon`, V = (r_v e^{i phi_v}) of (rank, k) and U likewise of (pred_horizon//2+1, rank): an interference
    matrix between past and future frequencies of rank `rank` (by default at most 16), in polar weights, one for all
    channels.  Both grids are exact, not powers of two, so that frequencies keep their physical meaning (cycles per
    hour, say): a daily cycle stands on one bin of a lookback of whole days.
    level: mean of the last `level_steps` samples.  taper: weight (0.1 + lag / 48 steps)^(-power), power = `taper`:
    old samples speak more softly; 0 turns it off.

    x: (batch, lookback, channels) -> (batch, pred_horizon, channels), in the units of x.
    Raises ValueError for a wrong shape.  Parameters: 2 rank (k + pred_horizon//2 + 1), whatever the channels.
    Source: the FITS head (Xu, Zeng, Xu 2024) is the unfactored, untapered relative.
    """

    def __init__(
        self,
        pred_horizon: int = 96,
        lookback: int = 720,
        channels: int = 7,
        *,
        num_frequencies: int | None = None,
        rank: int | None = None,
        level_steps: int = 24,
        taper: float = 0.5,
        engine: str = "auto",
    ):
        super().__init__()
        k = lookback // 2 + 1 if num_frequencies is None else num_frequencies
        bins = pred_horizon // 2 + 1
        rank = min(16, k, bins) if rank is None else rank
        if not 1 <= k <= lookback // 2 + 1:
            raise ValueError(f"num_frequencies={k} is outside 1..{lookback // 2 + 1}, the band of lookback={lookback}")
        if not 1 <= rank <= min(k, bins):
            raise ValueError(f"rank={rank} is outside 1..{min(k, bins)}")
        if not 1 <= level_steps <= lookback:
            raise ValueError(f"level_steps={level_steps} is outside 1..{lookback}")
        self.pred_horizon, self.lookback, self.channels = pred_horizon, lookback, channels
        self.num_frequencies, self.rank, self.level_steps, self.engine = k, rank, level_steps, engine
        self.past = PolarWeight(rank, k, scale=k**-0.5)  # V
        self.future = PolarWeight(bins, rank, scale=rank**-0.5)  # U
        lag = torch.arange(lookback, 0, -1, dtype=torch.float64) - 1
        self.register_buffer("taper", ((0.1 + lag / 48.0) ** -taper).float()[:, None], persistent=False)

    def spectrum(self, x: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return the kept band of the tapered past, (re, im) of (batch, k, channels), and its level."""
        check_sequences(x, self.channels)
        if x.shape[1] != self.lookback:
            raise ValueError(f"expected a past of lookback={self.lookback} steps, got {x.shape[1]}")
        level = x[:, -self.level_steps :].mean(dim=1, keepdim=True)
        past = (x - level) * self.taper.to(x.dtype)
        return analysis(past, self.num_frequencies, grid=self.lookback, engine=self.engine), level

    def forward(self, x: Tensor) -> Tensor:
        """Return the forecast (batch, pred_horizon, channels) from the past x (batch, lookback, channels)."""
        (re, im), level = self.spectrum(x)
        re, im = complex_matmul(self.past.pair(), (re, im))  # (batch, rank, channels)
        re, im = complex_matmul(self.future.pair(), (re, im))  # (batch, pred_horizon // 2 + 1, channels)
        return level + synthesis(re, im, self.pred_horizon, grid=self.pred_horizon, engine=self.engine)
