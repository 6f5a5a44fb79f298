"""Band transforms in time linear in n: blocks, a few functions that hold the band, small products (engine "fast").

Within a block of B samples the phase of a wave of frequency f <= f_max advances by at most 2 theta, theta = pi f_max
B / N.  All waves of the band then lie, to within a tolerance, in the span of p orthonormal functions u_1 .. u_p of the
block, p about 2 theta / pi plus some ten, whatever B is.  The best such functions are the left singular vectors of the
block's waves (sampled prolate functions, for a band of lowest frequencies).  The analysis becomes (eq:fast)

    V_bq = sum_s u_q(s) x_(bB+s)                 every block on its p functions            n p
    Z_rq = sum_b exp(-2 pi i r b / m) V_bq       a short transform over the m = N / B blocks, r = f mod m
    X_f  = sum_q gamma_fq Z_rq                   gamma_fq = N^(-1/2) sum_s u_q(s) exp(-2 pi i f s / N)

and its adjoint the transposes of the same three products.  Z_(m-r) is the conjugate of Z_r, and the sum over b is one
over the sums (even r) and the differences (odd r) of the two halves of the sequence: p m (m/2 + 1) in all.  Where
m p is small the last two products are one, a table 2k x m p: more products, fewer calls.  Real products alone, linear
in n: m depends on the band, not on n.

Bound (eq:bound, thm:linear).  The residual of a wave, rho_f = |e_f - U U' e_f| / |e_f|, is computed with the functions,
and p is the least that keeps every rho_f below the dtype's tolerance.  The error of coefficient f is then at most
rho_f |x|, that of the adjoint of a spectrum Y at most sum_f rho_f |Y_f| in norm, plus rounding.
A priori, by Jacobi-Anger and Eckart-Young, rho <= sqrt(k) 4 sum_{j >= p} (theta / 2)^j / j!.

Prior art: the partial Fourier transform (Park, Jang, Kang, KDD 2021: analysis alone, polynomials for the functions),
low-rank non-uniform FFTs (Ruiz-Antolin, Townsend 2018), prolate functions (Slepian 1978; fast: Karnik et al. 2016).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..band import Band, fourier_table
from . import dense
from .tables import BUILDERS, constant_result, constants

# Largest residual rho of the p functions, relative to the sequence's norm; rounding comes on top.
TOLERANCE = {torch.float64: 1e-14, torch.float32: 1e-6, torch.float16: 5e-4, torch.bfloat16: 4e-3}
LONGEST_TURN = 32.0  # largest theta considered: beyond it, more blocks are always cheaper
# Costs in multiply-adds of a large square product: one of each of the three products, the memory traffic of one value
# V_bq, the calls (for 256 channels); and that of one sample, in any plan, twice where the last block is cut short.
# Least squares of relative errors over n = 2^8 .. 2^16, k = 4 .. 1024, d = 64 .. 768, on 2 cores with AVX2.
THREE = (1.5, 1.3, 7.0), 110.0, 2.0**14
MERGED = (1.25, 1.3, 0.0), 48.0, 2.0**12.5  # the last two products are one
DENSE = (0.0, 1.2, 0.0), 0.0, 2.0**12
A_SAMPLE = 12.0


def turn_bound(theta: float, rank: int) -> float:
    """4 sum_{j >= p} (theta / 2)^j / j!, which times sqrt(k) bounds the residual of the best p functions (eq:bound)."""
    p, half = torch.tensor([rank, theta / 2], dtype=torch.float64, device="cpu")
    tail = float(torch.special.gammainc(p, half)) if rank else 1.0  # of exp(half), the whole sum
    return 4 * math.exp(theta / 2) * tail


def misses(cosine: np.ndarray, sine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(U, rho): the best functions for k waves, given by their cosines and sines (B, k), and their residuals.

    U (B, r) holds the left singular vectors; rho (r + 1,) the largest root mean square residual, over the waves, of
    the projection on the first 0, 1, .., r of them.
    """
    waves = np.concatenate([cosine, sine], axis=1)  # (B, 2k)
    u, s, vt = np.linalg.svd(waves, full_matrices=False)
    energy = ((s[:, None] * vt) ** 2).reshape(len(s), 2, -1).sum(axis=1)  # (r, k)
    tail = np.cumsum(energy[::-1], axis=0)[::-1]
    return u, np.append(np.sqrt(tail.max(axis=1) / len(waves)), 0.0)


@lru_cache(maxsize=4096)
def turn_rank(theta: float, tolerance: float) -> int:
    """How many functions span every wave e^{i w s}, |w| <= theta, |s| <= 1, to the tolerance (rho of `misses`)."""
    place = (np.arange(64 + 4 * math.ceil(theta)) + 0.5) / (32 + 2 * math.ceil(theta)) - 1
    angle = place[:, None] * np.linspace(0, theta, 16 + math.ceil(theta))
    return int((misses(np.cos(angle), np.sin(angle))[1] > tolerance).sum())


@lru_cache(maxsize=16)
def block_functions(band: Band, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(U, rho) of `misses` (U of eq:fast) for the band's waves in a block of `size` samples, time 0 at its centre."""
    double_place = 2 * np.arange(size) + 1 - size
    turns = np.multiply.outer(double_place, np.array(band.frequencies)) % (2 * band.grid)  # exact, in whole numbers
    angle = turns * (math.pi / band.grid)
    return misses(np.cos(angle), np.sin(angle))


class Plan(NamedTuple):
    """The factorisation of a band transform (thm:linear): `blocks` blocks of `size` samples, `rank` functions each.

    Its `operations` are those of prop:operations.
    """

    size: int  # B, the last block may be shorter; 1: no factorisation pays, the transform is dense
    blocks: int  # ceil(n / B)
    rank: int  # p
    bound: float  # rho, of the functions' error; 0 where the transform is dense
    folded: bool  # whether the halves of the sequence are added and subtracted
    residues: int  # how many frequencies the transform over the blocks has; 0: the last two products are one

    def parts(self, band: Band) -> tuple[int, int, int]:
        """Multiply-adds a channel of each of the three products."""
        if self.size == 1:
            return 0, 2 * band.k * band.n, 0
        if not self.residues:
            return band.n * self.rank, 2 * band.k * self.blocks * self.rank, 0
        return band.n * self.rank, 2 * self.residues * self.columns(band) * self.rank, 4 * band.k * self.rank

    def columns(self, band: Band) -> int:
        """The blocks that the second product sums over: half of the grid's where the sequence is folded."""
        return band.grid // self.size // 2 if self.folded else self.blocks

    def operations(self, band: Band) -> int:
        """Multiply-adds of one transform of one channel."""
        return sum(self.parts(band))

    def cost(self, band: Band) -> float:
        """Estimated time of one transform of one channel, in multiply-adds of a large product."""
        weights, a_value, calls = DENSE if self.size == 1 else THREE if self.residues else MERGED
        products = sum(weight * part for weight, part in zip(weights, self.parts(band), strict=True))
        passes = 2 if band.n % self.size else 1
        return products + a_value * self.blocks * self.rank + passes * A_SAMPLE * band.n + calls


def residues(band: Band, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The phase advance of each frequency from block to block, in units of 1/N in 0 .. N/2, and its sign."""
    turn = np.array(band.frequencies) * size % band.grid
    return np.minimum(turn, band.grid - turn), np.where(2 * turn > band.grid, -1.0, 1.0)


def plans(band: Band, size: int, rank: int, bound: float) -> tuple[Plan, Plan]:
    """The two plans with blocks of `size` samples: in three products, and with the last two in one."""
    blocks = -(-band.n // size)
    whole = band.grid // size if band.grid % size == 0 else 0
    turn = residues(band, size)[0]
    even = bool((turn // size % 2 == 0).any())  # with odd frequencies alone the sums would not be used
    folded = whole % 2 == 0 and 2 * blocks > whole > 0 and even
    return Plan(size, blocks, rank, bound, folded, len(np.unique(turn))), Plan(size, blocks, rank, bound, False, 0)


def make_plan(band: Band, dtype: torch.dtype) -> Plan:
    """The plan of least cost, over block sizes that divide n, or the grid (frequencies share residues), and others."""
    return Plan(*_constant_plan(band.key, dtype))


@lru_cache(maxsize=1024)
def _chosen_plan(key: tuple, dtype: torch.dtype) -> tuple:
    band, tolerance = Band(*key), TOLERANCE[dtype]
    best = Plan(1, band.n, 1, 0.0, False, band.k)
    least = best.cost(band)
    sizes = {-(-band.n // round(2 ** (e / 2))) for e in range(2, 40)}
    for whole in (band.n, band.grid):
        divisors = {m for m in range(1, math.isqrt(whole) + 1) if whole % m == 0}
        sizes |= divisors | {whole // m for m in divisors}
    for size in sorted(sizes):
        theta = math.pi * band.highest * size / band.grid
        if size < 4 or size > band.n or theta > LONGEST_TURN:
            continue
        for plan in plans(band, size, min(turn_rank(theta, tolerance), 2 * band.k), tolerance):
            fits = plan.residues or 2 * band.k * plan.blocks * plan.rank <= dense.TABLE_LIMIT
            if plan.rank < size and fits and plan.cost(band) < least:
                best, least = plan, plan.cost(band)
    if best.size == 1:
        return tuple(best)
    rho = block_functions(band, best.size)[1]
    rank = int((rho > tolerance).sum())
    return tuple(best._replace(rank=rank, bound=float(rho[rank])))


@constant_result  # an lru_cache itself would be traced
def _constant_plan(*arguments) -> tuple:
    return _chosen_plan(*arguments)


def build_tables(key: tuple, dtype: torch.dtype) -> list[np.ndarray]:
    """The tables project (p, B), order (2k,), inverse, and for each half `over_blocks` (2R, m) and `mix` (R, 2g, 2p).

    Where the last two products are one: project, and their product (2k, m p).  Otherwise a half has R residues, and at
    most g frequencies a residue; its output has R 2g rows, of which `order` picks the 2k that are frequencies.
    Without folding there is one half.
    """
    band = Band(*key)
    plan = make_plan(band, dtype)
    u = block_functions(band, plan.size)[0][:, : plan.rank]  # (B, p)
    # Time 0 at the first sample of a block, not at its centre: the three factors are then those of eq:fast.
    re, im = (fourier_table(band, np.arange(plan.size)) @ u).reshape(2, band.k, plan.rank)  # gamma of eq:fast
    if not plan.residues:
        advance = np.multiply.outer(np.array(band.frequencies) * plan.size % band.grid, np.arange(plan.blocks))
        angle = (advance % band.grid * (2 * math.pi / band.grid))[..., None]  # (k, m, 1)
        re, im = re[:, None], im[:, None]  # (k, 1, p)
        both = [np.cos(angle) * re + np.sin(angle) * im, np.cos(angle) * im - np.sin(angle) * re]
        return [u.T, np.reshape(both, (2 * band.k, -1))]
    residue, sign = residues(band, plan.size)
    rows = np.concatenate([re, -sign[:, None] * im, im, sign[:, None] * re], axis=1).reshape(band.k, 2, 2 * plan.rank)
    rows[band.real, 1] = 0.0  # the imaginary part of a real coefficient is exactly zero
    turns = [residue // plan.size % 2 == parity for parity in (0, 1)] if plan.folded else [residue >= 0]
    columns = plan.columns(band)
    order, halves, start = np.zeros((band.k, 2), dtype=np.int64), [], 0
    for members in (np.flatnonzero(turn) for turn in turns):
        if len(members) == 0:
            continue
        kinds, place = np.unique(residue[members], return_inverse=True)
        slot = np.array([(place[:i] == r).sum() for i, r in enumerate(place)])
        mix = np.zeros((len(kinds), slot.max() + 1, 2, 2 * plan.rank))  # (R, g, 2, 2p)
        mix[place, slot] = rows[members]
        order[members] = start + 2 * (place * mix.shape[1] + slot)[:, None] + np.arange(2)
        start += mix[..., 0].size
        turned = np.multiply.outer(kinds, np.arange(columns)) % band.grid * (2 * math.pi / band.grid)
        over_blocks = np.stack([np.cos(turned), -np.sin(turned)], axis=1)  # (R, 2, m)
        halves += [over_blocks.reshape(-1, columns), mix.reshape(len(kinds), -1, 2 * plan.rank)]
    order = order.T.flatten()  # real parts, then imaginary parts
    inverse = np.zeros(start, dtype=np.int64)  # a row without a frequency may read any other: its mix is zero
    inverse[order] = np.arange(2 * band.k)
    return [u.T, order, inverse, *halves]


BUILDERS["fast"] = build_tables


def _project(x: Tensor, functions: Tensor) -> Tensor:
    """V of eq:fast: each block of x, (batch, n, d), projected on the p functions (p, B): (batch, blocks, p d)."""
    rank, size = functions.shape
    batch, n, d = x.shape
    whole = n // size
    blocks = x[:, : whole * size].reshape(batch * whole, size, d)
    values = torch.bmm(functions.expand(batch * whole, rank, size), blocks).view(batch, whole, rank * d)
    if n % size:  # a block whose missing samples are zero
        last = torch.matmul(functions[:, : n % size], x[:, whole * size :])  # (batch, p, d)
        values = torch.cat([values, last.reshape(batch, 1, rank * d)], dim=1)
    return values  # (batch, blocks, p d)


def _expand(values: Tensor, functions: Tensor, n: int) -> Tensor:
    """The transpose of `_project`: n samples from values (batch, blocks, p d)."""
    rank, size = functions.shape
    batch, blocks, width = values.shape
    values = values.reshape(batch * blocks, rank, width // rank)
    samples = torch.bmm(functions.T.expand(batch * blocks, size, rank), values)  # (batch blocks, B, d)
    # The last block is computed whole and cut: a view costs nothing where a copy would cost a pass.
    return samples.view(batch, blocks * size, width // rank)[:, :n]


def transform(x: Tensor, band: Band) -> Tensor:
    """The spectrum of x, (batch, n, d), as (batch, 2k, d): real parts, then imaginary parts (eq:fast)."""
    plan = make_plan(band, x.dtype)
    if plan.size == 1:
        return dense.transform(x, band)
    functions, *tables = constants("fast", band.key, x)
    values = _project(x, functions)  # (batch, blocks, p d)
    if not plan.residues:
        return torch.matmul(tables[0], values.view(x.shape[0], plan.blocks * plan.rank, x.shape[2]))
    order, _, *halves = tables
    parts = [values]
    if plan.folded:
        low, high = values.tensor_split([halves[0].shape[1]], dim=1)
        high = F.pad(high, (0, 0, 0, low.shape[1] - high.shape[1])) if low.shape[1] > high.shape[1] else high
        parts = [low + high, low - high][: len(halves) // 2]
    spectra = []
    for part, over_blocks, mix in zip(parts, halves[::2], halves[1::2], strict=True):
        z = torch.matmul(over_blocks, part).view(x.shape[0], len(mix), 2 * plan.rank, x.shape[2])  # (batch, R, 2p, d)
        spectra.append(torch.matmul(mix, z).flatten(1, 2))  # (batch, R 2g, d)
    return torch.cat(spectra, dim=1).index_select(1, order)


def adjoint(spectrum: Tensor, band: Band) -> Tensor:
    """The transpose of `transform` applied to a spectrum (batch, 2k, d): (batch, n, d)."""
    plan = make_plan(band, spectrum.dtype)
    if plan.size == 1:
        return dense.adjoint(spectrum, band)
    functions, *tables = constants("fast", band.key, spectrum)
    batch, _, d = spectrum.shape
    if not plan.residues:
        values = torch.matmul(tables[0].T, spectrum)  # (batch, blocks p, d)
        return _expand(values.view(batch, plan.blocks, plan.rank * d), functions, band.n)
    _, inverse, *halves = tables
    rows = spectrum.index_select(1, inverse).split([mix.shape[0] * mix.shape[1] for mix in halves[1::2]], dim=1)
    parts = []
    for part, over_blocks, mix in zip(rows, halves[::2], halves[1::2], strict=True):
        z = torch.matmul(mix.mT, part.view(batch, mix.shape[0], mix.shape[1], d))  # (batch, R, 2p, d)
        parts.append(torch.matmul(over_blocks.T, z.view(batch, len(over_blocks), plan.rank * d)))  # (batch, m, p d)
    values = parts[0]
    if plan.folded:
        low, high = (values, values) if len(parts) == 1 else (values + parts[1], values - parts[1])
        values = torch.cat([low, high[:, : plan.blocks - low.shape[1]]], dim=1)  # (batch, blocks, p d)
    return _expand(values, functions, band.n)
