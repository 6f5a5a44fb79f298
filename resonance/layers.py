"""The resonance layer: mixing along the sequence by k kept frequencies, without attention.

    BandMixing        S M W A x      A analysis, W polar weights, M interference, S synthesis (report, eq. "layer")
    ResonanceLayer    x + dropout(BandMixing(LayerNorm(x)))

The source's own order, LayerNorm after the residual sum, is measured beside this one in `01_stable_gradients`; the
layer normalises first because the residual path then carries the gradient through any depth.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .band import Band, index_set, make_band, next_power_of_two
from .polar import Interference, PolarWeight, mixed, weighted
from .spectral import check_engine, check_sequences, packed_analysis, packed_synthesis


class BandMixing(nn.Module):
    """Mix a sequence through its k lowest frequencies: analysis, polar weights, interference, synthesis.

        y = S M W A x,    W = diag(r_fc e^{i phi_fc}) for frequency f and channel c,    M complex k x k

    x: (batch, n, dim) -> (batch, n, dim), linear in x.  The grid is the next power of two >= n, so what a weight
    means changes with n; `window` fixes the grid at the next power of two >= window, and every n <= window then
    sees the same filter, whatever padding stands behind it.

    Arguments: dim, channels; num_frequencies, k, for the k lowest, or `frequencies`, a sorted set in cycles per grid;
    engine, how the transforms are computed (never what they are); interference=False leaves M out (the map is then
    diagonal in frequency).
    Raises ValueError for a wrong shape, for a frequency above the band of the grid, for n above the window.
    Parameters: 2 k dim, and 2 k^2 for M.  Cost: two band transforms and 4 k^2 dim multiply-adds.  Kept for the
    backward pass: the band, 2 k dim numbers a sample, and nothing of length n.
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
        if dim < 1 or (frequencies is None and num_frequencies < 1):
            raise ValueError(
                f"expected dim >= 1 and num_frequencies >= 1, got dim={dim}, num_frequencies={num_frequencies}"
            )
        self.frequencies = index_set(num_frequencies if frequencies is None else frequencies)
        self.dim, self.num_frequencies, self.window = dim, len(self.frequencies), window
        if window is not None:
            self._check_band(window, f"window={window}")
        self.engine = check_engine(engine)
        self.weight = PolarWeight(self.num_frequencies, dim)
        self.interference = Interference(self.num_frequencies) if interference else None

    def grid_of(self, n: int) -> int:
        """Return N, the grid for a sequence of n samples; raise ValueError when n or the band does not fit."""
        if self.window is not None and n > self.window:
            raise ValueError(f"sequence of n={n} samples is longer than window={self.window}")
        return self._check_band(self.window or n, f"a sequence of n={n} samples")

    def _check_band(self, n: int, what: str) -> int:
        grid = next_power_of_two(n)
        if self.frequencies[-1] > grid // 2:
            lowest = isinstance(self.frequencies, range)
            have = f"num_frequencies={self.num_frequencies}" if lowest else f"frequency {self.frequencies[-1]}"
            most = f"at most N//2+1={grid // 2 + 1}" if lowest else f"at most N//2={grid // 2}"
            raise ValueError(f"{have} is above the band of {what} (grid N={grid}): {most}; keep fewer or set window")
        return grid

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed sequence; x and the result are (batch, n, dim)."""
        return self.decode(self.mix(self.encode(x)), x.shape[1])

    # A spectrum is one real tensor here, (batch, 2k, dim): the real parts of the k frequencies, then the imaginary.

    def band_of(self, n: int) -> Band:
        """Return the kept band of a sequence of n samples."""
        return make_band(n, self.frequencies, self.grid_of(n))

    def encode(self, x: Tensor) -> Tensor:
        """Return A x, the kept band (batch, 2k, dim) of x (batch, n, dim)."""
        return packed_analysis(x, self.band_of(check_sequences(x, self.dim).shape[1]), self.engine)

    def decode(self, spectrum: Tensor, n: int) -> Tensor:
        """Return S applied to a band (batch, 2k, dim): (batch, n, dim)."""
        return packed_synthesis(spectrum, self.band_of(n), self.engine)

    def mix(self, spectrum: Tensor) -> Tensor:
        """Return M W applied to a band (batch, 2k, dim)."""
        if self.interference is None:
            return weighted(spectrum, *self.weight.pair())
        return mixed(spectrum, self.weight.pair(), self.interference.pair())

    def extra_repr(self) -> str:
        kept = self.num_frequencies if isinstance(self.frequencies, range) else list(self.frequencies)
        return f"dim={self.dim}, frequencies={kept}, engine={self.engine!r}, window={self.window}"


def length_mask(x: Tensor, lengths: Tensor) -> Tensor:
    """Return (batch, n, 1) booleans, true within a sample's length, false in the padding behind it."""
    lengths = torch.as_tensor(lengths, device=x.device)
    if lengths.shape != x.shape[:1]:
        raise ValueError(f"expected one length a sample, shape ({x.shape[0]},), got {tuple(lengths.shape)}")
    if int(lengths.min()) < 1 or int(lengths.max()) > x.shape[1]:
        raise ValueError(f"lengths must lie in 1..{x.shape[1]}, got {int(lengths.min())}..{int(lengths.max())}")
    return torch.arange(x.shape[1], device=x.device)[None, :, None] < lengths[:, None, None]


class ResonanceLayer(nn.Module):
    """A residual block around `BandMixing`: x + dropout(BandMixing(LayerNorm(x))).

    x: (batch, n, dim) -> (batch, n, dim).  With `lengths`, (batch,), sample b holds lengths[b] positions and padding
    behind them: the padding is zero to the mixing and passes through unchanged.  Set `window` as well, and a
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
        """Return x plus its mixed, normalised self; x and the result are (batch, n, dim)."""
        check_sequences(x, self.mixing.dim)
        if lengths is None:
            return x + self.dropout(self.mixing(self.norm(x)))
        inside = length_mask(x, lengths)
        # Before the norm as well: what stands in the padding, NaN say, must reach neither the band nor a gradient.
        branch = self.norm(x.masked_fill(~inside, 0.0)).masked_fill(~inside, 0.0)
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
        return x + self.dropout(self.narrow(inner))
