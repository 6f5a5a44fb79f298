"""Holograms: many patterns in one record, each read by its own reference (eq:hologram).

    glossary   code         report
               patterns     P_i, i = 0 .. N-1, of D complex entries: a pair (re, im) of shape (N, D)
               references   R_i, of A complex entries (the aperture, in pixels): a pair of shape (N, A)
               hologram     the record; H has a row for each entry y of a pattern, a column for each pixel x

One algebra (Gabor 1948; Plate 1995): a pattern is *bound* to its reference by a product, bound patterns are *bundled*
by a sum, and a reference *unbinds* its pattern by the conjugate product.  Every medium below has two methods: `record`
binds and bundles patterns (N, D), `read` unbinds with all references at once and returns the N readings (N, D).  A
trace is (D,), a hologram (D, A), four frames (4, D, A).

    PhasorTrace             sum_i P_i K_i, entry by entry            2D reals: FHRR, one trace for all
    AmplitudeHologram       sum_i P_i[y] conj(R_i[x])                2DA reals: the interference term
    PseudoInverseHologram   the same record, read by the dual references
    RealHologram            the same for real patterns and references, DA reals
    IntensityHologram       sum_i |P_i[y] + R_i[x]|^2                DA reals: the record of a film or detector
    PhaseShiftingHologram   four intensity frames, 4DA reals, from which the amplitude hologram follows

Reading by R_i is (1/A) sum_x H[y, x] R_i[x].  Plane waves of different carriers are orthogonal, so they read without
crosstalk; the other terms of an intensity, the zero order and the conjugate twin, fall on other carriers.
Cost: recording and reading N patterns is a product of D x N and N x A each; a trace costs ND.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from resonance.polar import complex_matmul, complex_product

Pair = tuple[Tensor, Tensor]

# --------------------------------------------------------------------------- the algebra, and references


def conjugate(a: Pair) -> Pair:
    """The complex conjugate of a (re, im) pair."""
    return a[0], -a[1]


def transpose(a: Pair) -> Pair:
    """The transpose of a matrix held as a (re, im) pair, without conjugation."""
    return a[0].mT, a[1].mT


def bind(pattern: Pair, key: Pair) -> Pair:
    """Bind patterns to keys, entry by entry: P K; shapes (..., D)."""
    return complex_product(pattern, key)


def bundle(bound: Pair) -> Pair:
    """Sum bound patterns: (..., N, D) -> (..., D)."""
    return bound[0].sum(dim=-2), bound[1].sum(dim=-2)


def unbind(trace: Pair, key: Pair) -> Pair:
    """Read a trace with a key: S conj(K), the inverse of `bind` for unit phasors."""
    return complex_product(trace, conjugate(key))


def random_phasors(n: int, d: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Pair:
    """Draw e^{i phi}, phi uniform on the circle: a pair of shape (n, d)."""
    phase = 2 * math.pi * torch.rand(n, d, generator=generator, dtype=torch.float64)
    return phase.cos().to(dtype), phase.sin().to(dtype)


def plane_waves(carriers: Iterable[int], aperture: int, dtype: torch.dtype = torch.float32) -> Pair:
    """Return R_f[x] = exp(2 pi i f x / A), f in cycles per aperture: a pair of shape (len(carriers), A).

    f x is reduced modulo A in integers and the angle computed in float64, whatever the dtype: exact for any carrier.
    """
    f = torch.as_tensor(list(carriers), dtype=torch.int64)
    turns = torch.remainder(f[:, None] * torch.arange(aperture), aperture).double() / aperture
    angle = 2 * math.pi * turns
    return angle.cos().to(dtype), angle.sin().to(dtype)


def cosine_waves(n: int, aperture: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The first n real references of the DCT-II, each of mean square 1: shape (n, A), n <= A, orthogonal."""
    if not 0 < n <= aperture:
        raise ValueError(f"expected 1 to {aperture} cosine waves on {aperture} pixels, got {n}")
    k, x = torch.arange(n), torch.arange(aperture)
    turns = torch.remainder(k[:, None] * (2 * x + 1), 4 * aperture).double() / (4 * aperture)
    waves = (2 * math.pi * turns).cos() * math.sqrt(2.0)
    waves[0] = 1.0
    return waves.to(dtype)


def stored_reals(hologram: Tensor | Pair) -> int:
    """The number of reals in a record; a complex number counts as two."""
    return hologram.numel() if isinstance(hologram, Tensor) else sum(part.numel() for part in hologram)


def _check_patterns(part: Tensor, n: int) -> None:
    if part.dim() != 2 or part.shape[0] != n:
        raise ValueError(f"expected {n} patterns of shape ({n}, D), one a reference, got {tuple(part.shape)}")


# --------------------------------------------------------------------------- one trace


class PhasorTrace:
    """One trace for all patterns: S = sum_i P_i K_i, read by conj(K_i) S (FHRR: Plate 1995; Heddes et al. 2023).

    The other patterns remain as crosstalk: relative error sqrt(N - 1) for independent patterns, whatever D.
    Stores 2D reals.
    """

    def __init__(self, keys: Pair):
        self.keys = keys  # unit phasors, (N, D)

    def record(self, patterns: Pair) -> Pair:
        _check_patterns(patterns[0], len(self.keys[0]))
        return bundle(bind(patterns, self.keys))

    def read(self, trace: Pair) -> Pair:
        return unbind(trace, self.keys)


# --------------------------------------------------------------------------- holograms on an aperture


class AmplitudeHologram:
    """The interference term alone: H[y, x] = sum_i P_i[y] conj(R_i[x]), read by (1/A) sum_x H[y, x] R_i[x].

    Orthogonal references of mean square 1 (N <= A) read exactly; random phasors leave sqrt((N - 1)/A).
    Stores 2DA reals.
    """

    def __init__(self, references: Pair):
        self.references = references  # (N, A)

    def record(self, patterns: Pair) -> Pair | Tensor:
        _check_patterns(patterns[0], len(self.references[0]))
        return complex_matmul(transpose(patterns), conjugate(self.references))

    def read(self, hologram: Pair) -> Pair:
        aperture = self.references[0].shape[1]
        re, im = complex_matmul(self.references, transpose(hologram))
        return re / aperture, im / aperture


class PseudoInverseHologram(AmplitudeHologram):
    """The same record, read by the dual references (R R^H)^{-1} R: exact for any N <= A independent references.

    Noise grows with the condition number of the references, and reading needs all of them at once.
    """

    def read(self, hologram: Pair) -> Pair:
        gram = torch.complex(*complex_matmul(self.references, conjugate(transpose(self.references))))
        dual = torch.linalg.solve(gram, torch.complex(*self.references))
        return complex_matmul((dual.real, dual.imag), transpose(hologram))


class RealHologram:
    """Real patterns on real references: H[y, x] = sum_i P_i[y] R_i[x]; exact on `cosine_waves` up to N = A.

    Stores DA reals, as many as the patterns have when N = A: nothing is compressed.
    """

    def __init__(self, references: Tensor):
        self.references = references  # (N, A)

    def record(self, patterns: Tensor) -> Tensor:
        _check_patterns(patterns, len(self.references))
        return patterns.mT @ self.references

    def read(self, hologram: Tensor) -> Tensor:
        return self.references @ hologram.mT / self.references.shape[1]


class IntensityHologram(AmplitudeHologram):
    """A detector's record (eq:hologram): H[y, x] = sum_i |P_i[y] + R_i[x]|^2, read by (1/A) sum_x H[y, x] R_i[x].

    H = zero order + twin + amplitude hologram: sum_i (|P_i|^2 + |R_i|^2) + 2 Re sum_i P_i conj(R_i).  On plane waves of
    carriers 1 .. floor((A-1)/2) the zero order and every twin fall on other carriers, and reading is exact; past that
    carrier f reads P_f + conj(P_{A-f}).  Stores DA reals.
    """

    def record(self, patterns: Pair) -> Tensor:
        _check_patterns(patterns[0], len(self.references[0]))
        p, r = (re.square().sum(0) + im.square().sum(0) for re, im in (patterns, self.references))  # (D,), (A,)
        order_zero = p[:, None] + r
        return order_zero + 2 * (patterns[0].mT @ self.references[0] + patterns[1].mT @ self.references[1])

    def read(self, hologram: Tensor) -> Pair:
        re, im = (part @ hologram.mT / part.shape[1] for part in self.references)
        return re, im


class PhaseShiftingHologram(AmplitudeHologram):
    """Four intensity frames with the references times i^q: the whole complex amplitude (Yamaguchi & Zhang 1997).

    I_q = sum_i |P_i + i^q R_i|^2 gives sum_i P_i conj(R_i) = (I_0 - I_2 + i (I_1 - I_3))/4: no zero order, no twin, no
    carrier needed, so any references of unit modulus do, and orthogonal ones read N = A complex patterns.
    Records 4DA reals, of which reading needs 2DA.
    """

    def record(self, patterns: Pair) -> Tensor:
        re, im = self.references
        references = ((re, im), (-im, re), (-re, -im), (im, -re))  # times 1, i, -1, -i
        return torch.stack([IntensityHologram(reference).record(patterns) for reference in references])

    def read(self, frames: Tensor) -> Pair:
        return super().read(((frames[0] - frames[2]) / 4, (frames[1] - frames[3]) / 4))
