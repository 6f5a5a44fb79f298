"""Large vocabularies: token id -> digits of a hierarchy -> spectra -> waves -> a row, with no table of rows.

    Hierarchy              which ids own a row or leaf, and the digits of the others
    DigitWaves             the waves of every digit of every level, from polar spectra
    HierarchicalEmbedding  ids to rows; `output_head` is its counterpart, hidden states to log-probabilities

An id t below `direct` owns a row.  Any other id has digits d_1 .. d_L, the most significant first, in base b, and

    e_t = x_1[d_1] * x_2[d_2] * ... * x_L[d_L],    x_l[d] = S W_l[d]        (report, eq. "embedding")

with S the synthesis on a grid of `dim` samples, W_l[d] the polar weights of k frequencies, and * the product entry by
entry.  A product of waves convolves their spectra, so the digits interfere: the rows of two ids that share a digit are
as good as orthogonal, where a sum of waves (`baselines_vocabulary.SumEmbedding`) would leave them half alike.  The
transform acts on the L b digits and not on the tokens: a lookup is L gathers from tables that fit a cache.

Number ids by falling frequency: the most frequent then own rows, and the first digit is a band of frequency ranks.
Related: quotient and remainder embeddings (Shi et al., KDD 2020), binding of vectors (Plate 1995).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .band import make_band
from .polar import PolarWeight
from .spectral import synthesis


@dataclass(frozen=True)
class Hierarchy:
    """A tree over ids 0 .. vocab_size-1: `direct` leaves at the root, the other ids at depth `levels`.

    Raises ValueError for sizes that make no tree.
    """

    vocab_size: int
    levels: int
    direct: int

    def __post_init__(self):
        if self.vocab_size < 1 or self.levels < 2:
            raise ValueError(f"expected vocab_size >= 1 and levels >= 2, got {self.vocab_size} and {self.levels}")
        if not 0 <= self.direct < self.vocab_size:
            raise ValueError(f"expected 0 <= direct < vocab_size={self.vocab_size}, got {self.direct}")

    @property
    def base(self) -> int:
        """The smallest b with b^levels >= the number of ids that own no row."""
        tail = self.vocab_size - self.direct
        base = max(1, round(tail ** (1 / self.levels)))
        while base**self.levels < tail:
            base += 1
        while base > 1 and (base - 1) ** self.levels >= tail:
            base -= 1
        return base

    def digits(self, ids: Tensor) -> list[Tensor]:
        """Return the digits of ids that own no row, one tensor a level, the most significant first."""
        rest, digits = ids - self.direct, []
        for _ in range(self.levels):
            digits.append(rest % self.base)
            rest = rest // self.base
        return digits[::-1]


def check_ids(ids: Tensor, vocab_size: int, what: str = "ids") -> Tensor:
    """Return ids when they are an integer tensor with values in 0 .. vocab_size-1; else raise."""
    if not isinstance(ids, Tensor):
        raise TypeError(f"expected {what} as a torch tensor of integers, got {type(ids).__name__}")
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TypeError(f"expected {what} of an integer dtype, got {ids.dtype}")
    if ids.numel():
        low, high = (int(v) for v in torch.aminmax(ids))
        if low < 0 or high >= vocab_size:
            raise ValueError(f"expected {what} in 0..{vocab_size - 1}, got {low if low < 0 else high}")
    return ids.long()


class DigitWaves(nn.Module):
    """The waves x_l[d] = S W_l[d] of the digits d < base of each level, (dim,) each, from k frequencies.

    W_l: polar weights (base, k).  At the start the entries of a wave have mean square 1, as have their products.
    Parameters: 2 k levels base.
    """

    def __init__(self, levels: int, base: int, dim: int, num_frequencies: int | None = None):
        super().__init__()
        k = dim // 2 + 1 if num_frequencies is None else num_frequencies
        if dim < 1 or not 1 <= k <= dim // 2 + 1:
            raise ValueError(f"expected 1 <= num_frequencies <= dim // 2 + 1 = {dim // 2 + 1}, got {k}")
        self.dim, self.base, self.num_frequencies = dim, base, k
        power = float(make_band(dim, k, dim).multiplicity(torch.zeros(())).sum()) / dim  # of a wave of unit weights
        self.weights = nn.ModuleList(PolarWeight(base, k, scale=power**-0.5) for _ in range(levels))

    def forward(self, level: int, digits: Tensor | None = None) -> Tensor:
        """Return the waves of the digits (count,) of a level, (count, dim); without digits, of all of them."""
        weight = self.weights[level]
        if digits is not None and len(digits) < self.base:  # fewer waves than there are digits: make only those
            return self._waves(*(F.embedding(digits, p) for p in (weight.magnitude, weight.phase)))
        waves = self._waves(weight.magnitude, weight.phase)
        return waves if digits is None else F.embedding(digits, waves)

    def _waves(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        re, im = magnitude * torch.cos(phase), magnitude * torch.sin(phase)
        return synthesis(re[..., None], im[..., None], self.dim, grid=self.dim, engine="fft").squeeze(-1)

    def product(self, digits: list[Tensor]) -> Tensor:
        """Return x_1[d_1] * ... * x_j[d_j] for the digits of the first j levels, (count, dim)."""
        row = self(0, digits[0])
        for level in range(1, len(digits)):
            row = row * self(level, digits[level])
        return row


class _Rows(torch.autograd.Function):
    """Rows of flat ids: products of waves, and own rows over them, in chunks whose gathered waves stay in the cache.

    Nothing of the size of the result is kept: the backward pass gathers the waves again.
    """

    CHUNK = 2**18  # numbers: a megabyte in float32

    @staticmethod
    def chunks(ids, hierarchy, *rows):
        """Yield, a chunk: places of the ids that own a row, these ids, the digits of all, and its part of `rows`."""
        size = max(1, _Rows.CHUNK // rows[0].shape[1])
        digits = zip(*(d.split(size) for d in hierarchy.digits(ids.clamp_min(hierarchy.direct))), strict=True)
        owns = ids < hierarchy.direct
        some = bool(owns.any())
        for chunk, own, *parts in zip(
            ids.split(size), owns.split(size), digits, *(r.split(size) for r in rows), strict=True
        ):
            places = own.nonzero().squeeze(1) if some else chunk[:0]
            yield places, chunk[places], *parts

    @staticmethod
    def forward(own, hierarchy, ids, *waves):
        rows = own.new_empty(len(ids), own.shape[1])
        *first, last = waves
        for places, heads, digits, out in _Rows.chunks(ids, hierarchy, rows):
            product = reduce(Tensor.mul_, (wave.index_select(0, d) for wave, d in zip(first, digits[:-1], strict=True)))
            torch.mul(product, last.index_select(0, digits[-1]), out=out)
            if len(places):
                out.index_copy_(0, places, own.index_select(0, heads))
        return rows

    @staticmethod
    def setup_context(ctx, inputs, output):
        own, ctx.hierarchy, ids, *waves = inputs
        ctx.save_for_backward(own, ids, *waves)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        own, ids, *waves = ctx.saved_tensors
        own_gradient = torch.zeros_like(own)
        wave_gradients = [torch.zeros_like(wave) for wave in waves]
        for places, heads, digits, part in _Rows.chunks(ids, ctx.hierarchy, gradient):
            suffix = part  # the gradient times the waves after a level
            if len(places):
                own_gradient.index_add_(0, heads, part[places])
                suffix = part.index_fill(0, places, 0.0)
            gathered = [wave.index_select(0, digit) for wave, digit in zip(waves, digits, strict=True)]
            before = list(accumulate(gathered[:-1], torch.mul))  # products of the waves before a level
            for level in range(len(waves) - 1, 0, -1):
                wave_gradients[level].index_add_(0, digits[level], suffix * before[level - 1])
                suffix = suffix * gathered[level]
            wave_gradients[0].index_add_(0, digits[0], suffix)
        return own_gradient, None, None, *wave_gradients


class HierarchicalEmbedding(nn.Module):
    """Embed ids of a large vocabulary without a table of rows: products of digit waves (see the module).

    ids: any shape, integers in 0 .. vocab_size-1 -> (*shape, dim).  A stand-in for `nn.Embedding`: at the start rows
    have entries of mean square 1 and are nearly orthogonal.  Only the digits and rows looked up get a gradient.

    Arguments: levels, L, the digits of an id; direct, how many of the lowest ids own a row (by default one in a
    hundred); num_frequencies, k, by default all dim // 2 + 1 of a grid of dim samples.
    Raises TypeError for ids that are no integers, ValueError for ids out of range and for sizes that make no tree.
    Parameters: 2 k L b + direct dim, b the root of degree L of the ids without a row, rounded up: 1.03% of the table at
    1,000,000 x 768.  Cost of a lookup: L gathers and L - 1 products of dim a token, and the synthesis of at most L b
    waves a call.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        *,
        levels: int = 3,
        direct: int | None = None,
        num_frequencies: int | None = None,
    ):
        super().__init__()
        self.hierarchy = Hierarchy(vocab_size, levels, vocab_size // 100 if direct is None else direct)
        self.vocab_size, self.dim = vocab_size, dim
        self.waves = DigitWaves(levels, self.hierarchy.base, dim, num_frequencies)
        self.rows = nn.Parameter(torch.randn(self.hierarchy.direct, dim))

    def forward(self, ids: Tensor) -> Tensor:
        """Return the rows of ids, (*ids.shape, dim)."""
        flat = check_ids(ids, self.vocab_size).reshape(-1)
        h = self.hierarchy
        if len(flat) < h.base:  # few tokens: make their waves and no others
            return self._few(flat).reshape(*ids.shape, self.dim)
        waves = [self.waves(level) for level in range(h.levels)]
        rows = _Rows.apply(self.rows.to(waves[0].dtype), h, flat, *waves)
        return rows.reshape(*ids.shape, self.dim)

    def _few(self, ids: Tensor) -> Tensor:
        is_tail = ids >= self.hierarchy.direct
        rows = self.waves.product(self.hierarchy.digits(ids.clamp_min(self.hierarchy.direct)))
        if bool(is_tail.all()):
            return rows
        own = F.embedding(ids.clamp_max(self.hierarchy.direct - 1), self.rows)
        return torch.where(is_tail[:, None], rows, own.to(rows.dtype))

    def extra_repr(self) -> str:
        h = self.hierarchy
        return f"vocab_size={self.vocab_size}, dim={self.dim}, levels={h.levels}, base={h.base}, direct={h.direct}"
