"""The resonance layer: mixing along the sequence by k kept frequencies, without attention.

    BandMixing        S M W A x      A analysis, W polar weights, M interference, S synthesis (eq:layer)
    ResonanceLayer    x + dropout(BandMixing(LayerNorm(x)))
    FeedForward       x + dropout(W_2 gelu(W_1 LayerNorm(x)))

LayerNorm comes first, so that the residual path carries the gradient through any depth (thm:depth); the source puts it
after the residual sum.  `01_stable_gradients` measures both.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .band import Band, index_set, make_band, next_power_of_two
from .polar import Interference, PolarWeight, mixed, weighted
from .spectral import check_engine, check_lengths, check_sequences, packed_analysis, packed_synthesis


class BandMixing(nn.Module):
    """Mix a sequence through its k lowest frequencies: analysis, polar weights, interference, synthesis (eq:layer).

        y = S M W A x,    W = diag(r_fc e^{i phi_fc}) for frequency f and channel c,    M complex k x k

    x: (batch, n, dim) -> (batch, n, dim), linear in x.  The grid is the next power of two >= n, so the frequency of a
    weight changes with n; `window` fixes the grid at the next power of two >= window, and the same filter then applies
    to every n <= window, whatever the padding.

    Arguments: dim, channels; num_frequencies, k, for the k lowest, or `frequencies`, a sorted set in cycles per grid;
    engine, how the transforms are computed (the map is the same); interference=False leaves M out (the map is then
    diagonal in frequency).
    Raises ValueError for a wrong shape, for a frequency above the band of the grid, for n above the window.
    Parameters: 2 k dim, and 2 k^2 for M.  Cost: two band transforms and 4 k^2 dim multiply-adds.  The backward pass
    needs the band, 2 k dim numbers a sample, and nothing of length n.
    """

    def __init__(
        self,
        dim: int,
        num_frequencies: int | None = None,
        *,
        frequencies: Iterable[int] | None = None,
        engine: str = "auto",
        interference: bool = True,
        window: int | None = None,
    ):
        super().__init__()
        if (num_frequencies is None) == (frequencies is None):
            raise ValueError("expected either num_frequencies or frequencies, got both or neither")
        self.frequencies = index_set(num_frequencies if frequencies is None else frequencies)
        self.dim, self.num_frequencies, self.window = dim, len(self.frequencies), window
        if dim < 1 or self.num_frequencies < 1:
            raise ValueError(f"expected dim >= 1 and num_frequencies >= 1, got {dim} and {num_frequencies}")
        if window is not None:
            self.band_of(window)  # raises ValueError when the band does not fit
        self.engine = check_engine(engine)
        self.weight = PolarWeight(self.num_frequencies, dim)
        self.interference = Interference(self.num_frequencies) if interference else None

    def forward(self, x: Tensor) -> Tensor:
        # A spectrum is one real tensor here: the real parts of the k frequencies, then the imaginary parts.
        spectrum = self.mix(self.encode(x))  # (batch, 2k, dim)
        return self.decode(spectrum, x.shape[1])  # (batch, n, dim)

    def band_of(self, n: int) -> Band:
        """The kept band of a sequence of n samples; raises ValueError when n or the band does not fit."""
        if self.window is not None and n > self.window:
            raise ValueError(f"sequence of n={n} samples is longer than window={self.window}")
        return make_band(n, self.frequencies, next_power_of_two(self.window or n))

    def encode(self, x: Tensor) -> Tensor:
        """A x, the kept band (batch, 2k, dim) of x (batch, n, dim)."""
        return packed_analysis(x, self.band_of(check_sequences(x, self.dim).shape[1]), self.engine)

    def decode(self, spectrum: Tensor, n: int) -> Tensor:
        """S applied to a band (batch, 2k, dim): (batch, n, dim)."""
        return packed_synthesis(spectrum, self.band_of(n), self.engine)

    def mix(self, spectrum: Tensor) -> Tensor:
        """M W applied to a band (batch, 2k, dim)."""
        if self.interference is None:
            return weighted(spectrum, *self.weight.pair())
        return mixed(spectrum, self.weight.pair(), self.interference.pair())

    def extra_repr(self) -> str:
        kept = self.num_frequencies if isinstance(self.frequencies, range) else list(self.frequencies)
        return f"dim={self.dim}, frequencies={kept}, engine={self.engine!r}, window={self.window}"


def length_mask(x: Tensor, lengths: Tensor) -> Tensor:
    """A mask (batch, n, 1), true within each sample's length and false in the padding behind it."""
    lengths = check_lengths(lengths, x.shape[0], x.shape[1], x.device)
    return torch.arange(x.shape[1], device=x.device)[None, :, None] < lengths[:, None, None]  # (batch, n, 1)


class ResonanceLayer(nn.Module):
    """A residual block around `BandMixing`: x + dropout(BandMixing(LayerNorm(x))).

    x: (batch, n, dim) -> (batch, n, dim).  With `lengths`, (batch,), sample b has lengths[b] positions and padding
    behind them: the mixing treats the padding as zero, and it passes through unchanged.  With `window` as well, a
    sample's output does not depend on how far its batch was padded.
    Arguments, errors, cost: as `BandMixing`; `dropout` in [0, 1) acts on the branch, not on the residual path.
    """

    def __init__(
        self,
        dim: int,
        num_frequencies: int,
        *,
        engine: str = "auto",
        interference: bool = True,
        dropout: float = 0.0,
        window: int | None = None,
    ):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mixing = BandMixing(dim, num_frequencies, engine=engine, interference=interference, window=window)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        check_sequences(x, self.mixing.dim)
        if lengths is None:
            return x + self.dropout(self.mixing(self.norm(x)))
        inside = length_mask(x, lengths)  # (batch, n, 1)
        # Before the norm as well: a NaN in the padding must reach neither the band nor a gradient.
        branch = self.norm(x.masked_fill(~inside, 0.0)).masked_fill(~inside, 0.0)  # (batch, n, dim)
        return x + self.dropout(self.mixing(branch)).masked_fill(~inside, 0.0)


class FeedForward(nn.Module):
    """The pointwise residual block beside a mixing layer: x + dropout(W_2 gelu(W_1 LayerNorm(x))).

    x: (..., dim) -> (..., dim).  W_1 widens each position to `width`, 4 dim unless given, and W_2 narrows it again.
    Parameters: 2 dim width + width + 3 dim.  Cost: 2 dim width multiply-adds a position.
    """

    def __init__(self, dim: int, width: int | None = None, dropout: float = 0.0):
        super().__init__()
        width = width or 4 * dim
        self.norm = nn.LayerNorm(dim)
        self.widen, self.narrow = nn.Linear(dim, width), nn.Linear(width, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.gelu(self.widen(self.norm(x)))  # (..., width)
        return x + self.dropout(self.narrow(inner))  # (..., dim)
