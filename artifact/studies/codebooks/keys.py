"""Keys that place the symbols of N positions in one real trace: permutations of a codebook, and Fourier operators.

    glossary   code        report
               n           N, positions, each with one symbol of M
               m           M, symbols of the codebook
               dim         D, entries of the trace
               columns     x_im, the vector of symbol m at position i: D entries of power 1 on average
               blocks      C, column blocks of N / C positions; C = 1 is no coupling
               width       w, row blocks of D / R entries that a column block reaches, of R = C + w - 1

    S = sum_i x_{i,m_i}    (eq:codebook-trace)

Both classes have the same two maps, `apply` (beliefs (N, M) to a trace (R, D/R)) and `adjoint`, its transpose.  In a
band of blocks the entries have power R/w, so that every x_im has the energy D (spatial coupling: Krzakala et al. 2012;
Barbier et al. 2015).
"""

from __future__ import annotations

import numpy as np
from scipy import fft

Array = np.ndarray


def one_hot(symbols: Array, m: int) -> Array:
    """The beliefs (N, M) of one who is certain of the symbols (N,)."""
    beliefs = np.zeros((len(symbols), m), np.float32)
    beliefs[np.arange(len(symbols)), symbols] = 1
    return beliefs


class PermutedKeys:
    """x_im = P_i C_m: one bipolar codebook, a random permutation of the entries for each position.

    The traces of Frady et al. (2018) and Kleyko et al. (2023): integers.  Cost of each map: 2 N M D operations.
    """

    blocks = width = 1

    def __init__(self, n: int, m: int, dim: int, rng: np.random.Generator):
        self.n, self.m, self.dim = n, m, dim
        self.codebook = rng.choice(np.float32([-1, 1]), (m, dim))
        self._places = np.stack([rng.permutation(dim) for _ in range(n)])  # (N, D): entry j of C_m goes to places[i, j]
        self._sources = np.argsort(self._places, axis=1)
        self._flat = self._sources + dim * np.arange(n)[:, None]

    def apply(self, beliefs: Array) -> Array:
        mixed = beliefs @ self.codebook  # (N, D)
        return mixed.ravel()[self._flat].sum(axis=0)[None]

    def adjoint(self, trace: Array) -> Array:
        return trace[0][self._places] @ self.codebook.T

    def position(self, i: int) -> Array:
        """x_im of one position, (M, D)."""
        return self.codebook[:, self._sources[i]]


class FourierKeys:
    """x_im: columns of a cosine transform with random signs and order, in D/R of its rows, for every block of a band.

    Neither a key nor a codebook is stored, only places and signs.  Cost of each map: O(w N M log(N M / C)) operations.
    A block with more rows than columns leaves places of its transform empty.
    Raises ValueError where R does not divide D, or C does not divide N.
    Source: Barbier, Schülke & Krzakala, J. Stat. Mech. (2015) P05013.
    """

    def __init__(self, n: int, m: int, dim: int, rng: np.random.Generator, *, blocks: int = 1, width: int = 1):
        rows = blocks + width - 1
        if dim % rows or n % blocks:
            raise ValueError(f"expected dim a multiple of {rows} and n of {blocks}, got dim {dim} and n {n}")
        columns, high = n // blocks * m, dim // rows  # of a block
        size = max(columns, high)  # of its transform
        self.n, self.m, self.dim, self.blocks, self.width = n, m, dim, blocks, width
        self._shape = (width, blocks, columns)
        self._size = size
        self._places, self._kept = (  # columns in their transforms, and the rows of these that are stored
            rng.permuted(np.tile(np.arange(size), (width * blocks, 1)), axis=1)[:, :count]
            + size * np.arange(width * blocks)[:, None]
            for count in (columns, high)
        )
        self._signs = rng.choice(np.float32([-1, 1]), self._shape)
        self._scale = np.float32((size * rows / width) ** 0.5)

    def apply(self, beliefs: Array) -> Array:
        width, blocks, columns = self._shape
        x = np.zeros((width * blocks, self._size), np.float32)
        x.ravel()[self._places] = (beliefs.reshape(blocks, columns) * self._signs).reshape(-1, columns)
        parts = fft.dct(x, norm="ortho", axis=1).ravel()[self._kept].reshape(width, blocks, -1)
        trace = np.zeros((blocks + width - 1, parts.shape[2]), np.float32)
        for shift, part in enumerate(parts):  # column block c reaches row blocks c .. c + w - 1
            trace[shift : shift + blocks] += part
        return self._scale * trace

    def adjoint(self, trace: Array) -> Array:
        width, blocks, _ = self._shape
        spectrum = np.zeros((width * blocks, self._size), np.float32)
        spectrum.ravel()[self._kept] = np.concatenate([trace[shift : shift + blocks] for shift in range(width)])
        x = fft.idct(spectrum, norm="ortho", axis=1).ravel()[self._places].reshape(self._shape)
        return self._scale * (x * self._signs).sum(axis=0).reshape(self.n, self.m)
