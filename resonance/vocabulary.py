"""Embedding of large vocabularies: a product of waves for the digits of an id, instead of a table of rows.

An id t below `direct` owns a row.  Any other id has digits d_1 .. d_L, the most significant first, in base b, and

    e_t = c + x_1[d_1] * x_2[d_2] * ... * x_L[d_L],    x_l[d] = S W_l[d]    (eq:embedding)

with S the synthesis on a grid of `dim` samples, W_l[d] the polar weights of k frequencies, * the elementwise product,
and c one row shared by all of them, zero at the start, because products of waves have no common part.  A product of
waves convolves their spectra, so rows of two ids that share a digit are nearly orthogonal, where a sum of waves would
have a cosine of one half.  The transform acts on the L b digits: a lookup is L gathers from tables that fit a cache.

Number ids by falling frequency: the most frequent then own rows, and the first digit is a band of frequency ranks.
Related: quotient and remainder embeddings (Shi et al., KDD 2020), binding of vectors (Plate 1995).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .band import make_band
from .layers import length_mask
from .polar import PolarWeight
from .settings import placed
from .spectral import Kept, PlainFunction, check_ids, traced


@dataclass(frozen=True)
class Hierarchy:
    """A tree over ids 0 .. vocab_size-1: `direct` leaves at the root, the other ids at depth `levels`."""

    vocab_size: int
    levels: int
    direct: int

    def __post_init__(self):
        if self.levels < 2 or not 0 <= self.direct < self.vocab_size:
            raise ValueError(f"expected levels >= 2 and 0 <= direct < vocab_size, got {self}")

    @property
    def base(self) -> int:
        """Smallest b with b^levels >= the number of ids that own no row."""
        tail = self.vocab_size - self.direct
        near = round(tail ** (1 / self.levels))
        return next(base for base in range(max(1, near - 1), near + 2) if base**self.levels >= tail)

    def nodes(self, depth: int) -> int:
        """Number of nodes at a depth, 1 .. levels, that are an id without a row or have one below them."""
        return -(-(self.vocab_size - self.direct) // self.base ** (self.levels - depth))

    def digits(self, ids: Tensor) -> list[Tensor]:
        """Digits of ids that own no row, one tensor a level, the most significant first."""
        rest, digits = ids - self.direct, []
        for _ in range(self.levels - 1):
            above = rest // self.base
            digits.append(rest - above * self.base)
            rest = above
        return [rest, *reversed(digits)]


class DigitWaves(nn.Module):
    """Waves x_l[d] = S W_l[d] of the digits d < base of each level, (dim,) each (eq:embedding).

    Polar weights (levels, base, k).  Products of one wave a level start with entries of mean square std^2.
    Parameters: 2 k levels base.
    """

    def __init__(self, levels: int, base: int, dim: int, num_frequencies: int | None = None, *, std: float = 1.0):
        super().__init__()
        k = dim // 2 + 1 if num_frequencies is None else num_frequencies
        if dim < 1 or not 1 <= k <= dim // 2 + 1:
            raise ValueError(f"expected 1 <= num_frequencies <= dim // 2 + 1 = {dim // 2 + 1}, got {k}")
        self.dim, self.base, self.num_frequencies = dim, base, k
        band = make_band(dim, k, dim)
        self.real = band.real  # places of DC and Nyquist
        power = (2 * k - len(self.real)) / dim  # of a wave of unit weights
        self.weight = PolarWeight(levels, base, k, scale=power**-0.5 * std ** (1 / levels))
        self._kept = Kept()

    def forward(self) -> Tensor:
        """Waves of all digits, (levels, base, dim)."""
        return self._waves(*self.weight.polar())

    def kept(self) -> Tensor:
        """As `forward`, computed anew only for other weights where no gradient is recorded; not to be changed."""
        magnitude, phase = self.weight.polar()
        return self._kept(lambda _: self._waves(magnitude, phase), magnitude.dtype, magnitude, phase)

    def of(self, level: int, digits: Tensor) -> Tensor:
        """Waves of the given digits of a level alone, (count,) -> (count, dim)."""
        return self._waves(*(F.embedding(digits, p[level]) for p in self.weight.polar()))

    def _waves(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """S applied to spectra in polar form, (..., k) -> (..., dim)."""
        re, im = magnitude * phase.cos(), magnitude * phase.sin()
        for place in self.real:  # FFT libraries differ in what they do with an imaginary part there: pass none
            im[..., place] = 0.0
        wide = torch.promote_types(re.dtype, torch.float32)  # half precision has no FFT on CPUs
        return torch.fft.irfft(torch.complex(re.to(wide), im.to(wide)), n=self.dim, norm="ortho").to(re.dtype)


def plain_rows(
    own: Tensor, common: Tensor, hierarchy: Hierarchy, ids: Tensor, waves: Tensor | Callable[[int, Tensor], Tensor]
) -> Tensor:
    """Rows of flat ids by plain operations; waves (levels, base, dim), or a function of a level and its digits."""
    digits = hierarchy.digits(ids.clamp_min(hierarchy.direct))
    parts = (F.embedding(d, waves[i]) if isinstance(waves, Tensor) else waves(i, d) for i, d in enumerate(digits))
    rows = common + reduce(torch.mul, parts)
    if hierarchy.direct == 0:
        return rows
    return torch.where((ids < hierarchy.direct)[:, None], F.embedding(ids.clamp_max(hierarchy.direct - 1), own), rows)


class _Rows(PlainFunction):
    """Rows of flat ids, own rows and products of waves, in chunks that stay in the cache.

    The backward pass gathers the waves again: nothing as large as the result is kept; that of second derivatives is
    the one of `plain_rows`.
    """

    CHUNK = 2**18  # elements: a megabyte in float32, so that two of them fit the cache of a core

    @staticmethod
    def forward(own, common, hierarchy, ids, waves):
        rows = own.new_empty(len(ids), own.shape[1])
        size = max(1, _Rows.CHUNK // own.shape[1])
        gathered = own.new_empty(min(size, len(ids)), own.shape[1])
        heads = (ids < hierarchy.direct).nonzero().squeeze(1)
        if 2 * len(heads) > len(ids):  # mostly own rows: gather one for every id, then overwrite the others
            torch.index_select(own, 0, ids.clamp_max(hierarchy.direct - 1), out=rows)
            places, product = (ids >= hierarchy.direct).nonzero().squeeze(1), torch.empty_like(gathered)
            for part, *digits in _Rows.parts(size, places, *hierarchy.digits(ids[places])):
                rows.index_copy_(0, part, _Rows.product(common, waves, digits, product[: len(part)], gathered))
        else:
            for out, *digits in _Rows.parts(size, rows, *hierarchy.digits(ids.clamp_min(hierarchy.direct))):
                _Rows.product(common, waves, digits, out, gathered)
            rows.index_copy_(0, heads, own.index_select(0, ids[heads]))
        return rows

    @staticmethod
    def parts(size, *tensors):
        return zip(*(tensor.split(size) for tensor in tensors), strict=True)

    @staticmethod
    def product(common, waves, digits, out, gathered):
        gathered = gathered[: len(out)]
        torch.index_select(waves[0], 0, digits[0], out=out)
        for wave, digit in zip(waves[1:-1], digits[1:-1], strict=True):
            out.mul_(torch.index_select(wave, 0, digit, out=gathered))
        return torch.addcmul(common, out, torch.index_select(waves[-1], 0, digits[-1], out=gathered), out=out)

    @staticmethod
    def setup_context(ctx, inputs, output):
        own, common, ctx.hierarchy, ids, waves = inputs
        ctx.save_for_backward(own, common, ids, waves)

    @staticmethod
    def backward(ctx, gradient):
        own, common, ids, waves = ctx.saved_tensors
        if torch.is_grad_enabled():
            rows = partial(plain_rows, hierarchy=ctx.hierarchy, ids=ids)
            _, pull = torch.func.vjp(lambda own, common, waves: rows(own, common, waves=waves), own, common, waves)
            own_gradient, common_gradient, wave_gradients = pull(gradient)
            return own_gradient, common_gradient, None, None, wave_gradients
        size = max(1, _Rows.CHUNK // own.shape[1])
        own_gradient, wave_gradients = torch.zeros_like(own), torch.zeros_like(waves)
        common_gradient = own.new_zeros(own.shape[1])
        is_tail = ids >= ctx.hierarchy.direct
        for places in (~is_tail).nonzero().squeeze(1).split(size):
            own_gradient.index_add_(0, ids[places], gradient[places])
        tail = is_tail.nonzero().squeeze(1)
        for places, *digits in _Rows.parts(size, tail, *ctx.hierarchy.digits(ids[tail])):
            suffix = gradient[places]
            common_gradient += suffix.sum(0)
            gathered = [wave.index_select(0, digit) for wave, digit in zip(waves, digits, strict=True)]
            before = list(accumulate(gathered[:-1], torch.mul))  # products of the waves before a level
            for level in range(len(waves) - 1, 0, -1):  # suffix: the gradient times the waves after a level
                wave_gradients[level].index_add_(0, digits[level], suffix * before[level - 1])
                suffix.mul_(gathered[level])
            wave_gradients[0].index_add_(0, digits[0], suffix)
        return own_gradient, common_gradient, None, None, wave_gradients


class HierarchicalRows(nn.Module):
    """A tree over ids with own rows and digit waves: the constructor of the embedding and of the output head.

    Arguments: vocab_size ids; dim, channels; levels, L, the digits of an id; direct, how many of the lowest ids own a
    row (by default one in a hundred); num_frequencies, k, by default all dim // 2 + 1 of a grid of dim samples; std,
    the root mean square of entries at the start.
    Raises ValueError for sizes that make no tree, or k outside the band.
    """

    @placed
    def __init__(
        self,
        vocab_size: int,
        dim: int,
        *,
        levels: int = 3,
        direct: int | None = None,
        num_frequencies: int | None = None,
        std: float = 1.0,
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.hierarchy = Hierarchy(vocab_size, levels, vocab_size // 100 if direct is None else direct)
        self.vocab_size, self.dim = vocab_size, dim
        self.waves = DigitWaves(levels, self.hierarchy.base, dim, num_frequencies, std=std)
        self.rows = nn.Parameter(std * torch.randn(self.hierarchy.direct, dim))
        self.add_parameters()

    def add_parameters(self) -> None:
        """Create what a subclass has beside rows and waves."""

    def extra_repr(self) -> str:
        h = self.hierarchy
        return f"vocab_size={self.vocab_size}, dim={self.dim}, levels={h.levels}, base={h.base}, direct={h.direct}"


class HierarchicalEmbedding(HierarchicalRows):
    """Embed ids of a large vocabulary by own rows and products of digit waves, without a table (eq:embedding).

    ids: any shape, integers in 0 .. vocab_size-1 -> (*shape, dim).  A drop-in for `nn.Embedding`: rows start with
    entries of mean square std^2 and nearly orthogonal.  Only rows and waves that were looked up get a gradient, and c.
    Arguments, errors: as `HierarchicalRows` and `check_ids`.
    Parameters: 2 k L b + (direct + 1) dim, b the root of degree L of the ids without a row, rounded up: 1.03% of the
    table at 1,000,000 x 768.  Cost: L gathers and L - 1 products of dim a token, and L b waves at most a call.

    >>> table = HierarchicalEmbedding(1_000_000, 64)
    >>> table(torch.tensor([[3, 999_999]])).shape, sum(p.numel() for p in table.parameters()) < 0.02 * 64_000_000
    (torch.Size([1, 2, 64]), True)
    """

    def add_parameters(self) -> None:
        self.common = nn.Parameter(torch.zeros(self.dim))  # c

    def forward(self, ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Rows of ids, (*ids.shape, dim); of ids (batch, n), what stands behind `lengths` (batch,) is read as 0."""
        inside = None if lengths is None else length_mask(ids, lengths)[..., 0]
        flat = check_ids(ids, self.vocab_size, inside=inside).reshape(-1)
        if traced(flat):  # one graph for any number of ids
            rows = plain_rows(self.rows, self.common, self.hierarchy, flat, self.waves.kept())
        elif 0 < len(flat) < self.hierarchy.base:  # few ids: synthesise their waves alone
            rows = plain_rows(self.rows, self.common, self.hierarchy, flat, self.waves.of)
        else:
            rows = _Rows.apply(self.rows, self.common, self.hierarchy, flat, self.waves.kept())
        return rows.reshape(*ids.shape, self.dim)
