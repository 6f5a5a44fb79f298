"""Band transforms: a sequence to its k lowest frequencies and back, in real arithmetic.

Every layer of the architecture rests on two linear maps on a grid of N samples (report, section "Method"):

    analysis    X_f = N^(-1/2) sum_t x_t exp(-2 pi i f t / N),               f = 0 .. k-1
    synthesis   y_t = N^(-1/2) sum_f c_f Re[ Y_f exp(2 pi i f t / N) ],      t = 0 .. n-1

with c_f = 2 inside the band and c_f = 1 at DC and at Nyquist (N even), because a real signal holds each inner
frequency twice.  Synthesis is the adjoint of analysis under the inner product weighted by c; with the whole band
kept and n = N it is its inverse.  A frequency f counts cycles per grid of N samples: f / N cycles per sample.

Complex numbers travel as pairs of real tensors (re, im) of shape (batch, k, d): autocast, compilation, export and
gradient all-reduce then work as for any other tensor.

An engine is a way to compute these two maps, never another map: `"fft"` is the reference, `"dense"` two real matrix
products.  A new engine is one more row of `ENGINES` and one more line in `choose_engine`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


def next_power_of_two(n: int) -> int:
    """Return the smallest power of two that is at least n (n >= 1)."""
    return 1 << (n - 1).bit_length()


@dataclass(frozen=True)
class Band:
    """The k lowest frequencies of a grid of N samples, for sequences of n <= N samples (zero-padded to N).

    Raises ValueError when n < 1, when the grid is shorter than n, or when k is not in 1 .. N // 2 + 1.
    """

    n: int  # samples of the sequence
    k: int  # kept frequencies, DC included; one side of the spectrum
    grid: int  # N, samples of the padded grid

    def __post_init__(self):
        if self.n < 1:
            raise ValueError(f"a sequence needs at least 1 sample, got n={self.n}")
        if self.grid < self.n:
            raise ValueError(f"a grid of {self.grid} samples cannot hold a sequence of n={self.n}")
        if not 1 <= self.k <= self.grid // 2 + 1:
            raise ValueError(
                f"k={self.k} kept frequencies, but a grid of N={self.grid} samples has a band of "
                f"N//2+1={self.grid // 2 + 1}: expected 1 <= k <= {self.grid // 2 + 1}"
            )

    @property
    def has_nyquist(self) -> bool:
        """Whether the highest kept frequency is Nyquist, N/2 cycles per grid."""
        return self.grid % 2 == 0 and self.k == self.grid // 2 + 1

    def multiplicity(self, like: Tensor) -> Tensor:
        """Return c, how often each kept frequency stands in the full spectrum: (k,), 1 at DC and Nyquist, else 2."""
        c = torch.full((self.k,), 2.0, dtype=like.dtype, device=like.device)
        c[0] = 1.0
        if self.has_nyquist:
            c[-1] = 1.0
        return c


def make_band(n: int, k: int, grid: int | None = None) -> Band:
    """Return the band of k frequencies on `grid` samples, by default the next power of two at or above n."""
    return Band(n, k, next_power_of_two(max(n, 1)) if grid is None else grid)


# --------------------------------------------------------------------------- engine "fft": the reference


def _fft_dtype(x: Tensor) -> torch.dtype:
    """FFTs run in float32 or float64: half precision has none on CPUs, and loses too much elsewhere."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _fft_analysis(x: Tensor, band: Band) -> tuple[Tensor, Tensor]:
    spectrum = torch.fft.rfft(x.to(_fft_dtype(x)), n=band.grid, dim=1, norm="ortho")[:, : band.k]
    return spectrum.real.to(x.dtype), spectrum.imag.to(x.dtype)


def _fft_synthesis(re: Tensor, im: Tensor, band: Band) -> Tensor:
    dtype = _fft_dtype(re)
    # What irfft makes of an imaginary part at DC and Nyquist differs between FFT libraries: give it none.
    inner = torch.ones(band.k, 1, dtype=dtype, device=re.device)
    inner[0] = 0.0
    if band.has_nyquist:
        inner[-1] = 0.0
    spectrum = torch.complex(re.to(dtype), im.to(dtype) * inner)
    return torch.fft.irfft(spectrum, n=band.grid, dim=1, norm="ortho")[:, : band.n].to(re.dtype)


# --------------------------------------------------------------------------- engine "dense": two matrix products


def _build_table(band: Band, dtype: torch.dtype, device: torch.device, transposed: bool) -> Tensor:
    """Return the analysis as a real matrix (2k, n), k cosine rows then k rows of minus sine, times N^(-1/2).

    `transposed` gives the synthesis instead, (n, 2k): the transpose, its columns weighted by c.
    The angle is reduced modulo N in integers before it meets a float, so that it is exact at any length.
    """
    f, t = torch.arange(band.k, device="cpu"), torch.arange(band.n, device="cpu")
    angle = (f[:, None] * t % band.grid).to(torch.float64) * (2.0 * math.pi / band.grid)
    sine = -torch.sin(angle)
    if band.has_nyquist:
        sine = torch.cat([sine[:-1], torch.zeros_like(sine[-1:])])  # sin(pi t) is 0, not 1e-16 t
    table = torch.cat([torch.cos(angle), sine]) / math.sqrt(band.grid)
    if transposed:
        table = (table.T * band.multiplicity(table).repeat(2)).contiguous()
    return table.to(dtype=dtype, device=device)


@lru_cache(maxsize=32)
def _kept_table(band: Band, dtype: torch.dtype, device: torch.device, transposed: bool) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        return _build_table(band, dtype, device, transposed)


def _table(band: Band, like: Tensor, *, transposed: bool = False) -> Tensor:
    # While a graph is traced the table is part of it; what a trace makes must never be kept for real calls.
    tracing = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0
    return (_build_table if tracing else _kept_table)(band, like.dtype, like.device, transposed)


def _dense_analysis(x: Tensor, band: Band) -> tuple[Tensor, Tensor]:
    spectrum = torch.matmul(_table(band, x), x)  # (2k, n) @ (batch, n, d) -> (batch, 2k, d)
    return spectrum[:, : band.k], spectrum[:, band.k :]


def _dense_synthesis(re: Tensor, im: Tensor, band: Band) -> Tensor:
    spectrum = torch.cat([re, im], dim=1)  # (batch, 2k, d)
    return torch.matmul(_table(band, re, transposed=True), spectrum)  # (batch, n, d)


# --------------------------------------------------------------------------- the choice of engine


class Engine(NamedTuple):
    """A way to compute the band transforms."""

    analysis: Callable[[Tensor, Band], tuple[Tensor, Tensor]]
    synthesis: Callable[[Tensor, Tensor, Band], Tensor]


ENGINES: dict[str, Engine] = {
    "fft": Engine(_fft_analysis, _fft_synthesis),
    "dense": Engine(_dense_analysis, _dense_synthesis),
}

# Two tables of n x 2k reals are kept per shape; above this many entries (32 MiB in float32) they cost more than
# they save.
DENSE_TABLE_LIMIT = 2**23


def choose_engine(band: Band) -> str:
    """Return the engine that `"auto"` stands for.

    A transform by matrix product costs 4 n k operations a channel, by FFT about 2.5 N log2 N operations that run
    several times slower each (strided, bound by memory).  Rule, from timings of both on 2 cores (`03_complexity`
    repeats them at one k): dense while k <= 8 log2 N and its table stays within `DENSE_TABLE_LIMIT` entries, else fft.
    """
    fits = 2 * band.n * band.k <= DENSE_TABLE_LIMIT
    return "dense" if fits and band.k <= 8 * max(1.0, math.log2(band.grid)) else "fft"


def check_engine(name: str) -> str:
    """Return `name` when it names an engine or `"auto"`, else raise ValueError with the names known."""
    if name != "auto" and name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}: expected one of {', '.join(['auto', *ENGINES])}")
    return name


def _engine(name: str, band: Band) -> Engine:
    return ENGINES[choose_engine(band) if check_engine(name) == "auto" else name]


def check_sequences(x: Tensor, dim: int | None = None) -> Tensor:
    """Return x when it is a non-empty floating tensor (batch, n, d), with d = dim if given; else raise."""
    expected = f"(batch, n, {dim if dim is not None else 'd'})"
    if not isinstance(x, Tensor):
        raise TypeError(f"expected a torch tensor {expected}, got {type(x).__name__}")
    if x.dim() != 3 or (dim is not None and x.shape[-1] != dim):
        raise ValueError(f"expected sequences of shape {expected}, got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise TypeError(f"expected a real floating dtype, got {x.dtype}")
    if x.numel() == 0:
        raise ValueError(f"expected a non-empty tensor {expected}, got {tuple(x.shape)}")
    return x


def analysis(
    x: Tensor, num_frequencies: int, *, grid: int | None = None, engine: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Return the k lowest frequencies of each channel, X_f = N^(-1/2) sum_t x_t exp(-2 pi i f t / N).

    x: (batch, n, d), real.  Returns (re, im), each (batch, k, d) with k = num_frequencies, in the dtype of x.
    `grid` is N, by default the next power of two >= n.  Units: f in cycles per grid.
    Raises ValueError for a shape that is not (batch, n, d), for k above the band N//2+1, for an unknown engine.
    Operations a channel: 2.5 N log2 N ("fft"), 4 n k ("dense").
    """
    band = make_band(check_sequences(x).shape[1], num_frequencies, grid)
    return _engine(engine, band).analysis(x, band)


def synthesis(re: Tensor, im: Tensor, n: int, *, grid: int | None = None, engine: str = "auto") -> Tensor:
    """Return the real sequence with the given band, y_t = N^(-1/2) sum_f c_f Re[Y_f exp(2 pi i f t / N)].

    re, im: (batch, k, d).  Returns (batch, n, d): the first n samples of the grid.  The imaginary parts at DC and
    at Nyquist have no effect: a real signal has none.
    Raises ValueError when re and im differ in shape and as `analysis` does.  Cost: as `analysis`.
    """
    if re.shape != im.shape:
        raise ValueError(f"re and im must have one shape, got {tuple(re.shape)} and {tuple(im.shape)}")
    band = make_band(n, check_sequences(re).shape[1], grid)
    return _engine(engine, band).synthesis(re, im, band)
