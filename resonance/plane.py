"""Mixing in the plane: the lowest two-dimensional frequencies of an image's tokens, weighted and coupled.

On a plane of R x C tokens the analysis is the discrete Fourier transform restricted to a band (eq:plane),

    X_f = (R C)^(-1/2) sum_yx x_yx exp(-2 pi i (f_y y / R + f_x x / C)),      |f_y| < k_y, 0 <= f_x < k_x,

with frequencies in cycles per image, on the plane's own grid, not a power of two: a weight then has the same meaning
at any size.  The spectrum of a real plane is conjugate symmetric, so one half plane is kept, each frequency once:

    K = k_y k_x + (k_y - 1)(k_x - 1),    first f_y >= 0 and f_x >= 0, row by row, then f_y < 0 < f_x.

Synthesis counts DC once and every other frequency twice, for its conjugate; no band reaches Nyquist, its own conjugate.
A plane too small for a frequency does not hold it: its coefficient is zero, and synthesis ignores it.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .band import Band, make_band
from .engines.tables import BUILDERS, constants
from .polar import Interference, PolarWeight, mixed, weighted
from .settings import WithSettings, placed
from .spectral import check_engine, check_sequences, lowered, packed_analysis, packed_synthesis, without_autocast

# Multiply-adds a channel up to which the table of a whole plane is faster than two steps (measured: 14 x 14 tokens).
TABLE_LIMIT = 2**18


@dataclass(frozen=True)
class PlaneBand:
    """Kept band of a plane of `rows` x `columns` tokens: |f_y| < k_y and 0 <= f_x < k_x, cycles per image."""

    rows: int
    columns: int
    ky: int
    kx: int

    def __post_init__(self):
        if min(self.key) < 1:
            raise ValueError(f"expected at least 1 row, column and frequency an axis, got {self}")

    @property
    def k(self) -> int:
        """K, the number of frequencies of the half plane."""
        return self.ky * self.kx + (self.ky - 1) * (self.kx - 1)

    @property
    def axes(self) -> tuple[Band, Band]:
        """Bands of the two steps, along a column and along a row: the frequencies below Nyquist that they hold."""
        return tuple(make_band(n, min(k, (n + 1) // 2), n) for n, k in ((self.rows, self.ky), (self.columns, self.kx)))

    @property
    def key(self) -> tuple:
        """What defines the band: `PlaneBand(*band.key)` equals it."""
        return self.rows, self.columns, self.ky, self.kx

    @property
    def held(self) -> int:
        """How many of the K frequencies the plane holds: those below Nyquist on both axes."""
        return PlaneBand(1, 1, *(axis.k for axis in self.axes)).k


def plane_frequencies(ky: int, kx: int) -> np.ndarray:
    """Pairs (f_y, f_x) of the kept half plane in the order of the packed spectrum: (K, 2) whole numbers."""
    first = [(fy, fx) for fy in range(ky) for fx in range(kx)]
    return np.array(first + [(-fy, fx) for fy in range(1, ky) for fx in range(1, kx)])  # f_y < 0 < f_x


def axes_of(num_frequencies: int | tuple[int, int]) -> tuple[int, int]:
    """(k_y, k_x), from one number for both axes or from a pair."""
    ky, kx = (num_frequencies,) * 2 if hasattr(num_frequencies, "__index__") else num_frequencies
    return operator.index(ky), operator.index(kx)


def _fold(quads: Tensor, band: PlaneBand) -> Tensor:
    """Pack the half plane from the real and imaginary parts of the two steps, (batch, 2, ky, 2, kx, d)."""
    quads = F.pad(quads, (0, 0, 0, band.kx - quads.shape[4], 0, 0, 0, band.ky - quads.shape[2]))
    (rr, ri), (ir, ii) = ((quads[:, part, :, 0], quads[:, part, :, 1]) for part in (0, 1))  # (batch, ky, kx, d)
    parts = rr - ii, (rr + ii)[:, 1:, 1:], ri + ir, (ri - ir)[:, 1:, 1:]  # Re X, X_-y, Im X, X_-y
    return torch.cat([part.flatten(1, 2) for part in parts], dim=1)  # (batch, 2K, d)


def _unfold(spectrum: Tensor, band: PlaneBand, held: tuple[int, int]) -> Tensor:
    """Unpack a half plane for two steps of synthesis: the inverse of `_fold` on the frequencies held."""
    first, second = band.ky * band.kx, (band.ky - 1) * (band.kx - 1)
    re, re_minus, im, im_minus = spectrum.split([first, second, first, second], dim=1)
    # Inner frequencies are counted 2 x 2 times by two steps, and twice by one.
    once = spectrum.new_full((band.ky, band.kx, 1), 0.5)
    once[0].fill_(1.0)
    once[:, 0].fill_(1.0)
    re, im = (part.unflatten(1, (band.ky, band.kx)) * once for part in (re, im))  # (batch, ky, kx, d)
    re_minus, im_minus = (
        F.pad(0.5 * part.unflatten(1, (band.ky - 1, band.kx - 1)), (0, 0, 1, 0, 1, 0)) if second else 0.0
        for part in (re_minus, im_minus)
    )
    rr, ri, ir, ii = re + re_minus, im + im_minus, im - im_minus, re_minus - re
    quads = torch.stack([torch.stack([rr, ri], dim=2), torch.stack([ir, ii], dim=2)], dim=1)
    return quads[:, :, : held[0], :, : held[1]]  # (batch, 2, ky, 2, kx, d)


def _analysis_in_two(x: Tensor, band: PlaneBand, engine: str) -> Tensor:
    batch, rows, columns, dim = x.shape
    along_column, along_row = band.axes
    half = packed_analysis(x.reshape(batch * rows, columns, dim), along_row, engine)  # (batch rows, 2 kx, d)
    quads = packed_analysis(half.reshape(batch, rows, 2 * along_row.k * dim), along_column, engine)
    return _fold(quads.reshape(batch, 2, along_column.k, 2, along_row.k, dim), band)


def _synthesis_in_two(spectrum: Tensor, band: PlaneBand, engine: str) -> Tensor:
    batch, _, dim = spectrum.shape
    along_column, along_row = band.axes
    quads = _unfold(spectrum, band, (along_column.k, along_row.k))
    half = packed_synthesis(quads.flatten(3).flatten(1, 2), along_column, engine)  # (batch, rows, 2 kx d)
    plane = packed_synthesis(half.reshape(batch * band.rows, 2 * along_row.k, dim), along_row, engine)
    return plane.reshape(batch, band.rows, band.columns, dim)  # (batch, rows, columns, d)


def _tables(key: tuple, dtype: torch.dtype) -> list[np.ndarray]:
    """Matrices of analysis, (2K, R C), and of synthesis, (R C, 2K), their angles reduced exactly."""
    rows, columns, ky, kx = key
    f, tokens = plane_frequencies(ky, kx), rows * columns
    y, x = np.divmod(np.arange(tokens), columns)
    angle = (f[:, :1] * y * columns + f[:, 1:] * x * rows) % tokens * (2 * math.pi / tokens)  # (K, R C)
    held = (2 * np.abs(f) < (rows, columns)).all(axis=1)[:, None]
    forward = np.concatenate([held * np.cos(angle), held * -np.sin(angle)]) / math.sqrt(tokens)
    count = np.full((2, len(f), 1), 2.0)
    count[:, 0] = 1.0  # DC
    return [forward, (count.reshape(-1, 1) * forward).T]


BUILDERS["plane"] = _tables


def _plan(rows: int, columns: int, num_frequencies: int | tuple[int, int], engine: str) -> tuple[PlaneBand, bool]:
    """Make the band, and say whether one table is used.  A compiler's symbolic sizes become numbers: of one plane."""
    band = PlaneBand(operator.index(rows), operator.index(columns), *axes_of(num_frequencies))
    small = 2 * band.k * band.rows * band.columns <= TABLE_LIMIT
    return band, check_engine(engine) == "dense" or (engine == "auto" and small)


def plane_analysis(x: Tensor, num_frequencies: int | tuple[int, int], engine: str = "auto") -> Tensor:
    """Kept band of a plane (eq:plane), packed: (batch, 2K, d), real parts before imaginary ones.

    x: (batch, rows, columns, d), real.  num_frequencies: (k_y, k_x), or one number for both; the order of the K is that
    of `plane_frequencies`.  engine: one of `spectral`, along columns and along rows, "dense" by one table for both.
    Raises TypeError or ValueError for a wrong shape or dtype, for no frequency, for an unknown engine.
    Multiply-adds a channel: 2 K R C by one table; by two steps 2 k_x R C + 4 k_y k_x R, or fewer with "fast".
    """
    check_sequences(x, axes=("rows", "columns"))
    x, (band, one_table) = lowered(x), _plan(*x.shape[1:3], num_frequencies, engine)
    if not one_table:
        return _analysis_in_two(x, band, engine)
    with without_autocast(x):
        return torch.matmul(constants("plane", band.key, x)[0], x.flatten(1, 2))  # (batch, 2K, d)


def plane_synthesis(
    spectrum: Tensor, rows: int, columns: int, num_frequencies: int | tuple[int, int], engine: str = "auto"
) -> Tensor:
    """Synthesise the plane of a packed band, y_yx = (R C)^(-1/2) sum_f c_f Re[Y_f exp(2 pi i (f_y y/R + f_x x/C))].

    spectrum: (batch, 2K, d) in the layout of `plane_analysis`; the result is (batch, rows, columns, d).  c is 1 at DC,
    else 2.  On an odd plane with its whole band kept this inverts the analysis.  Frequencies that a plane of rows x
    columns does not hold, and the imaginary part at DC, have no effect.  Errors and cost: as `plane_analysis`.
    """
    spectrum, (band, one_table) = lowered(spectrum), _plan(rows, columns, num_frequencies, engine)
    if spectrum.dim() != 3 or spectrum.shape[1] != 2 * band.k:
        raise ValueError(f"expected a spectrum (batch, 2K={2 * band.k}, d), got {tuple(spectrum.shape)}")
    if not one_table:
        return _synthesis_in_two(spectrum, band, engine)
    with without_autocast(spectrum):
        plane = torch.matmul(constants("plane", band.key, spectrum)[1], spectrum)  # (batch, R C, d)
    return plane.unflatten(1, (rows, columns))  # (batch, rows, columns, d)


class PlaneMixing(WithSettings):
    """Mix a plane of tokens through its lowest frequencies: `layers.BandMixing` in two dimensions.

        y = S M W A x,    W = diag(r_fc e^{i phi_fc}) for frequency f and channel c,    M complex K x K

    x: (batch, rows, columns, dim) -> the same shape, linear in x; A as in eq:plane.  Frequencies count cycles per image
    on the exact grid, so the same weights apply to a plane of any size; without M (interference=False) the map is a
    circular convolution with a kernel that grows with the image.
    Arguments: dim, channels; num_frequencies, (k_y, k_x) or one number for both; engine.  Raises as `plane_analysis`.
    Parameters: 2 K dim, and 2 K^2 for M.  Cost: two transforms and 4 K^2 dim multiply-adds a plane.

    >>> mixing = PlaneMixing(4, 3)
    >>> [tuple(mixing(torch.randn(2, n, n + 1, 4)).shape) for n in (6, 9)]  # the same weights
    [(2, 6, 7, 4), (2, 9, 10, 4)]
    """

    defines = ("num_frequencies",)

    @placed
    def __init__(
        self,
        dim: int,
        num_frequencies: int | tuple[int, int],
        *,
        engine: str = "auto",
        interference: bool = True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if dim < 1:
            raise ValueError(f"expected dim >= 1, got {dim}")
        self.dim, self.num_frequencies, self.engine = dim, axes_of(num_frequencies), check_engine(engine)
        k = PlaneBand(1, 1, *self.num_frequencies).k
        self.weight = PolarWeight(k, dim)
        self.interference = Interference(k) if interference else None

    def forward(self, x: Tensor) -> Tensor:
        check_sequences(x, self.dim, axes=("rows", "columns"))
        spectrum = self.mix(plane_analysis(x, self.num_frequencies, self.engine))  # (batch, 2K, dim)
        return plane_synthesis(spectrum, *x.shape[1:3], self.num_frequencies, self.engine)

    def mix(self, spectrum: Tensor) -> Tensor:
        """M W applied to a band (batch, 2K, dim), in the band's precision: it can be as large as the plane."""
        with without_autocast(spectrum):
            weight = tuple(part.to(spectrum.dtype) for part in self.weight.pair())
            if self.interference is None:
                return weighted(spectrum, *weight)
            return mixed(spectrum, weight, tuple(part.to(spectrum.dtype) for part in self.interference.pair()))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, num_frequencies={self.num_frequencies}, engine={self.engine!r}"
