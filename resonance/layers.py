"""The resonance layer: mixing along the sequence by k kept frequencies, without attention.

LayerNorm comes first, so that the residual path carries the gradient through any depth (thm:depth); the source puts it
after the residual sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .band import Band, OpenBand, index_set, next_power_of_two, open_band
from .polar import Interference, PolarWeight, mixed, weighted
from .settings import WithSettings, placed
from .spectral import (
    autocasts,
    check_engine,
    check_lengths,
    check_sequences,
    check_values,
    packed_analysis,
    packed_synthesis,
)


class BandMixing(WithSettings):
    """Mix a sequence through its k lowest frequencies: analysis, polar weights, interference, synthesis (eq:layer).

        y = S M W A x,    W = diag(r_fc e^{i phi_fc}) for frequency f and channel c,    M complex k x k

    Give `window`, the longest n: without it the grid is the next power of two >= n, and one sample more, 65 for 64, can
    change the frequency of every weight and with it every output.  With it the grid is the next power of two >= window,
    and one filter applies to every n <= window, whatever the padding.
    x: (batch, n, dim) -> (batch, n, dim), linear in x.

    Arguments: dim, channels; num_frequencies, k, for the k lowest, or `frequencies`, a sorted set in cycles per grid;
    engine, how the transforms are computed (the map is the same); interference=False leaves M out.
    Raises ValueError for a wrong shape, for a frequency above the band of the grid, for n above the window.  Weights of
    other frequencies or of another grid do not load.
    Parameters: 2 k dim, and 2 k^2 for M.  Cost: two band transforms and 4 k^2 dim multiply-adds.

    >>> mixing, x = BandMixing(4, 3, window=16), torch.randn(2, 9, 4)
    >>> longer = torch.cat([x, torch.zeros(2, 7, 4)], dim=1)  # padding has no effect: (2, 16, 4)
    >>> torch.allclose(mixing(longer)[:, :9], mixing(x), atol=1e-5)
    True
    """

    defines = ("frequencies", "window")

    @placed
    def __init__(
        self,
        dim: int,
        num_frequencies: int | None = None,
        *,
        frequencies: Iterable[int] | None = None,
        engine: str = "auto",
        interference: bool = True,
        window: int | None = None,
        device=None,
        dtype=None,
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
        n = check_dtype(check_sequences(x, self.dim), self.weight.magnitude).shape[1]
        if self.window and isinstance(n, torch.SymInt):  # exported for every length: the tables of the window serve all
            whole = self(F.pad(x, (0, 0, 0, self.window - n)))
            return whole.index_select(1, torch.arange(n, device=x.device))  # a slice would exclude n = window
        return self.decode(self.mix(self.encode(x)), n)  # (batch, n, dim)

    def band_of(self, n: int) -> Band | OpenBand:
        """The kept band of a sequence of n samples; raises ValueError when n or the band does not fit."""
        if self.window is not None and n > self.window:
            raise ValueError(f"sequence of n={n} samples is longer than window={self.window}")
        return open_band(n, self.frequencies, self.window and next_power_of_two(self.window))

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

    def meaning(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings with the grid in place of the window."""
        return settings | {"window": (window := settings.get("window")) and next_power_of_two(window)}

    def extra_repr(self) -> str:
        kept = self.num_frequencies if isinstance(self.frequencies, range) else list(self.frequencies)
        return f"dim={self.dim}, frequencies={kept}, engine={self.engine!r}, window={self.window}"


def check_dtype(x: Tensor, weight: Tensor) -> Tensor:
    """Pass on x when weights of this dtype can act on it; raise TypeError, naming both, otherwise."""
    if torch.promote_types(x.dtype, weight.dtype) != weight.dtype and not autocasts(x):
        raise TypeError(f"expected x of the weights' dtype, {weight.dtype}, got {x.dtype}")
    return x


def length_mask(x: Tensor, lengths: Tensor) -> Tensor:
    """A mask (batch, n, 1), true within each sample's length and false in the padding behind it."""
    lengths = check_lengths(lengths, x.shape[0], x.shape[1], x.device)
    return torch.arange(x.shape[1], device=x.device)[None, :, None] < lengths[:, None, None]  # (batch, n, 1)


class ResonanceLayer(nn.Module):
    """A residual block around `BandMixing`: x + dropout(BandMixing(LayerNorm(x))).

    x: (batch, n, dim) -> (batch, n, dim).  With `lengths`, (batch,), sample b has lengths[b] positions and padding
    behind them: the mixing treats the padding as zero, and it passes through unchanged.  With `window` as well, a
    sample's output does not depend on how far its batch was padded.
    Arguments, errors, cost: as `BandMixing`, where `window` matters; `dropout` acts on the branch.

    >>> layer, x = ResonanceLayer(4, 3, window=16), torch.randn(2, 9, 4)
    >>> torch.equal(layer(x, lengths=torch.tensor([9, 5]))[1, 5:], x[1, 5:])  # the padding
    True
    """

    @placed
    def __init__(
        self,
        dim: int,
        num_frequencies: int,
        *,
        engine: str = "auto",
        interference: bool = True,
        dropout: float = 0.0,
        window: int | None = None,
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mixing = BandMixing(dim, num_frequencies, engine=engine, interference=interference, window=window)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        check_dtype(check_sequences(x, self.mixing.dim), self.norm.weight)
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

    @placed
    def __init__(self, dim: int, width: int | None = None, dropout: float = 0.0, *, device=None, dtype=None):
        super().__init__()
        width = width or 4 * dim
        self.norm = nn.LayerNorm(dim)
        self.widen, self.narrow = nn.Linear(dim, width), nn.Linear(width, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.narrow(F.gelu(self.widen(self.norm(x)))))  # (..., dim)


class AsSelfAttention(nn.Module):
    """A mixing under the interface of `nn.MultiheadAttention`, as the `self_attn` of `nn.TransformerEncoderLayer`.

        layer.self_attn = AsSelfAttention(BandMixing(dim, num_frequencies, window=longest))

    query: (batch, n, dim), or (n, batch, dim) with batch_first=False, as in the layer; returns (output, None).
    `key_padding_mask` (batch, n), true or negative in the padding behind each sequence: taken as zero, output zero.
    Raises ValueError, by name, for what a mixing does not have: `attn_mask` and `is_causal` (see `CausalResonance`),
    `need_weights`, a key or value that is not the query; and for padding before a token.
    """

    # These disable the fused path of `nn.TransformerEncoderLayer`, which reads them and bypasses `forward`.
    in_proj_bias, _qkv_same_embed_dim, out_proj = None, False, SimpleNamespace(weight=None, bias=None)
    in_proj_weight = type("Overridden", (), {"__torch_function__": None})()

    def __init__(self, mixing: nn.Module, *, batch_first: bool = True):
        super().__init__()
        self.mixing, self.batch_first = mixing, batch_first

    def forward(
        self,
        query,
        key=None,
        value=None,
        key_padding_mask=None,
        need_weights=False,
        attn_mask=None,
        average_attn_weights=True,
        is_causal=False,
    ) -> tuple[Tensor, None]:
        refused = {"attn_mask": attn_mask is not None, "is_causal": is_causal, "need_weights": need_weights}
        refused |= {name: part is not None and part is not query for name, part in (("key", key), ("value", value))}
        if names := [name for name, given in refused.items() if given]:
            raise ValueError(f"not supported by a mixing: {names} (no attention weights, no mask, one sequence)")
        x = check_sequences(query if self.batch_first else query.transpose(0, 1))
        if key_padding_mask is not None:
            mask = torch.as_tensor(key_padding_mask, device=x.device)
            if mask.shape != x.shape[:2]:
                raise ValueError(f"expected key_padding_mask of shape {tuple(x.shape[:2])}, got {tuple(mask.shape)}")
            padding = mask < 0 if mask.is_floating_point() else mask.bool()
            behind, place = padding[:, 1:] >= padding[:, :-1], torch.arange(1, x.shape[1], device=x.device)
            check_values(place.expand_as(behind), behind, "no token behind the padding of key_padding_mask")
            y = self.mixing(x.masked_fill(padding[..., None], 0.0)).masked_fill(padding[..., None], 0.0)
        else:
            y = self.mixing(x)
        return (y if self.batch_first else y.transpose(0, 1)), None
