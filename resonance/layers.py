"""The resonance layer: mixing along the sequence by k kept frequencies, without attention.

    BandMixing        S M W A x      A analysis, W polar weights, M interference, S synthesis (report, eq. "layer")
    ResonanceLayer    x + dropout(BandMixing(LayerNorm(x)))

The source's own order, LayerNorm after the residual sum, is measured beside this one in `01_stable_gradients`; the
layer normalises first because the residual path then carries the gradient through any depth.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .polar import Interference, PolarWeight
from .spectral import analysis, check_engine, check_sequences, next_power_of_two, synthesis


class BandMixing(nn.Module):
    """Mix a sequence through its k lowest frequencies: analysis, polar weights, interference, synthesis.

        y = S M W A x,    W = diag(r_fc e^{i phi_fc}) for frequency f and channel c,    M complex k x k

    x: (batch, n, dim) -> (batch, n, dim), linear in x.  The grid is the next power of two >= n, so what a weight
    means changes with n; `window` fixes the grid at the next power of two >= window, and every n <= window then
    sees the same filter, whatever padding stands behind it.

    Arguments: dim, channels; num_frequencies, k; engine, how the transforms are computed (never what they are);
    interference=False leaves M out (the map is then diagonal in frequency).
    Raises ValueError for a wrong shape, for k above the band of the grid, for n above the window.
    Parameters: 2 k dim, and 2 k^2 for M.  Cost: two band transforms and 4 k^2 dim multiply-adds.
    """

    def __init__(
        self,
        dim: int,
        num_frequencies: int,
        *,
        engine: str = "auto",
        interference: bool = True,
        window: int | None = None,
    ):
        super().__init__()
        if dim < 1 or num_frequencies < 1:
            raise ValueError(
                f"expected dim >= 1 and num_frequencies >= 1, got dim={dim}, num_frequencies={num_frequencies}"
            )
        if window is not None and num_frequencies > next_power_of_two(window) // 2 + 1:
            raise ValueError(
                f"num_frequencies={num_frequencies} is above the band of window={window}: "
                f"at most {next_power_of_two(window) // 2 + 1}"
            )
        self.dim, self.num_frequencies, self.window = dim, num_frequencies, window
        self.engine = check_engine(engine)
        self.weight = PolarWeight(num_frequencies, dim)
        self.interference = Interference(num_frequencies) if interference else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed sequence; x and the result are (batch, n, dim)."""
        n = check_sequences(x, self.dim).shape[1]
        if self.window is not None and n > self.window:
            raise ValueError(f"sequence of n={n} samples is longer than window={self.window}")
        grid = next_power_of_two(self.window or n)
        if self.num_frequencies > grid // 2 + 1:
            raise ValueError(
                f"num_frequencies={self.num_frequencies} is above the band of a sequence of n={n} samples (grid "
                f"N={grid}): at most N//2+1={grid // 2 + 1}; lower num_frequencies or set window"
            )
        re, im = analysis(x, self.num_frequencies, grid=grid, engine=self.engine)
        re, im = self.weight(re, im)
        if self.interference is not None:
            re, im = self.interference(re, im)
        return synthesis(re, im, n, grid=grid, engine=self.engine)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, num_frequencies={self.num_frequencies}, engine={self.engine!r}, window={self.window}"


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
