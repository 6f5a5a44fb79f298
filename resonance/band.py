"""The kept band of a grid: which frequencies, how often each occurs in the full spectrum, and its Fourier table."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


def next_power_of_two(n: int) -> int:
    """Smallest power of two that is at least n (n >= 1)."""
    return 1 << (n - 1).bit_length()


def index_set(frequencies: int | Iterable[int]) -> range | tuple[int, ...]:
    """Frequencies as the range 0 .. k-1 for a number k, else as a sorted tuple: of a list, array or integer tensor.

    Raises TypeError for booleans and floats, ValueError when the set is empty, not sorted or not distinct, or below 0.
    """
    if isinstance(frequencies, range) and frequencies == range(len(frequencies)):
        return frequencies
    given = frequencies.tolist() if hasattr(frequencies, "tolist") else frequencies
    chosen = tuple(given) if isinstance(given, Iterable) else (given,)
    if any(isinstance(f, bool | np.bool_) or not hasattr(f, "__index__") for f in chosen):
        raise TypeError(f"expected frequencies as whole numbers, got {chosen[:8]}")
    chosen = tuple(operator.index(f) for f in chosen)
    if not isinstance(given, Iterable):
        return range(*chosen)
    if not chosen or chosen[0] < 0 or any(a >= b for a, b in pairwise(chosen)):
        raise ValueError(f"expected frequencies as a sorted set of distinct whole numbers from 0 up, got {chosen[:8]}")
    return range(len(chosen)) if chosen[-1] == len(chosen) - 1 else chosen


@dataclass(frozen=True)
class Band:
    """Kept frequencies of a grid of N samples, for sequences of n <= N samples, zero-padded to N (eq:analysis).

    A frequency f counts cycles per grid: f / N cycles per sample.
    Raises ValueError when n < 1, when the grid is shorter than n, or when a frequency is not in 0 .. N // 2.
    """

    n: int  # samples of the sequence
    frequencies: range | tuple[int, ...]  # one side of the spectrum, sorted
    grid: int  # N, samples of the padded grid

    def __post_init__(self):
        if self.n < 1:
            raise ValueError(f"a sequence needs at least 1 sample, got n={self.n}")
        if self.grid < self.n:
            raise ValueError(f"a grid of {self.grid} samples cannot hold a sequence of n={self.n}")
        top = self.grid // 2
        if self.is_lowest and not 1 <= self.k <= top + 1:
            most = f"at most N//2+1={top + 1} on a grid of N={self.grid} samples"
            raise ValueError(f"expected 1 <= k <= {top + 1} frequencies, {most}, got k={self.k}")
        if self.highest > top:
            raise ValueError(f"frequency {self.highest} is above the band 0 .. N//2={top} of a grid of N={self.grid}")

    @property
    def key(self) -> tuple:
        """What defines the band: `Band(*band.key)` equals it."""
        return self.n, self.frequencies, self.grid

    @property
    def k(self) -> int:
        """k, the number of kept frequencies."""
        return len(self.frequencies)

    @property
    def highest(self) -> int:
        """Highest kept frequency, in cycles per grid."""
        return self.frequencies[-1]

    @property
    def is_lowest(self) -> bool:
        """Whether the band is the k lowest frequencies, without gaps."""
        return isinstance(self.frequencies, range)

    @property
    def real(self) -> list[int]:
        """Positions in the band whose coefficient is real for a real signal: DC and, for even N, Nyquist."""
        return [place for place in sorted({0, self.k - 1}) if self.frequencies[place] in (0, self.grid / 2)]

    def multiplicity(self, like: Tensor) -> Tensor:
        """c of eq:layer, how often a frequency occurs in the full spectrum: 1 at DC and Nyquist, else 2; (k,)."""
        c = like.new_full((self.k,), 2.0)
        return c.index_fill_(0, torch.tensor(self.real, dtype=torch.int64, device=like.device), 1.0)


def make_band(n: int, frequencies: int | Iterable[int], grid: int | None = None) -> Band:
    """Band on a grid of `grid` samples, by default the next power of two >= n; an int means the k lowest."""
    n = operator.index(n)  # a compiler's symbolic length becomes a number: tables are made for one length
    return Band(n, index_set(frequencies), next_power_of_two(max(n, 1)) if grid is None else operator.index(grid))


class OpenBand(NamedTuple):
    """A band for a symbolic length, resolved to a `Band` at run time."""

    n: int
    frequencies: range | tuple[int, ...]
    grid: int | None


def open_band(n: int, frequencies: int | Iterable[int], grid: int | None = None) -> Band | OpenBand:
    """`make_band`, except where a graph is traced for every length n: an `OpenBand`."""
    if torch.compiler.is_compiling() and not torch.fx.experimental.symbolic_shapes.has_static_value(n):
        return OpenBand(n, index_set(frequencies), grid)
    return make_band(n, frequencies, grid)


def fourier_table(band: Band, time: np.ndarray) -> np.ndarray:
    """N^(-1/2) (cos; -sin)(2 pi f t / N) at integer times t: (2k, times) in float64."""
    turns = np.multiply.outer(np.array(band.frequencies), time) % band.grid  # (k, times), reduced exactly, as integers
    angle = turns * (2.0 * math.pi / band.grid)
    sine = -np.sin(angle)
    sine[band.real] = 0.0  # what rounding leaves at DC and Nyquist
    return np.concatenate([np.cos(angle), sine]) / math.sqrt(band.grid)  # (2k, times)
