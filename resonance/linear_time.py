"""Band transforms in time linear in n: blocks, Chebyshev points, and one small dense transform (engine "fast").

Within a block of B samples, a wave of frequency f <= f_max turns by 2 theta at most, theta = pi f_max B / N.  So smooth
a function is known from its values at p Chebyshev points of the block, whatever B is:

    exp(-2 pi i f t / N)  ~  sum_q L_tq exp(-2 pi i f t_q / N),    L_tq = (2/p) sum'_j T_j(s_t) T_j(s_q)

with s in [-1, 1] the place in the block and the first term of sum' halved.  The analysis then is two small products,
projection of every block on its p points and a Fourier table between the m p points and the k frequencies; its adjoint
is the same two products backwards.  Operations a channel: 2 n p + 4 k m p, linear in n since m = n / B <= k / cycles.

Bound (report, theorem "linear-time resonance").  By Jacobi-Anger e^{i theta s} = J_0 + 2 sum_j i^j J_j(theta) T_j(s);
interpolation keeps T_j for j < p and turns each later one into at most one other polynomial of size 1, so

    |error| <= 4 sum_{j >= p} |J_j(theta)| <= 4 sum_{j >= p} (theta / 2)^j / j!,

for every frequency of the band.  Each coefficient is then wrong by at most that times ||x|| sqrt(n / N), each sample of
the adjoint by that times N^(-1/2) sum |Y_f|.  p is the least number of points that keeps the bound under the dtype's
tolerance.  Prior art: the partial Fourier transform (Park, Jang, Kang, KDD 2021: analysis alone, other polynomials),
low-rank non-uniform FFTs (Ruiz-Antolin, Townsend 2018).
"""

from __future__ import annotations

import math
import threading
from functools import lru_cache
from typing import NamedTuple

import torch
from cachetools import LRUCache, cached
from torch import Tensor

from .band import Band, fourier_table

# The error allowed to interpolation, as a share of the sequence's norm; rounding comes on top.
TOLERANCE = {torch.float64: 1e-14, torch.float32: 1e-6, torch.float16: 5e-4, torch.bfloat16: 4e-3}


class Plan(NamedTuple):
    """How a band transform is cut: `blocks` blocks of `size` samples, `points` Chebyshev points each."""

    size: int  # B; the last block may be shorter
    blocks: int  # m = ceil(n / B)
    points: int  # p
    bound: float  # of the interpolation error; 0 where every sample is its own point

    def operations(self, band: Band) -> int:
        """Return the multiply-adds of one transform of one channel."""
        projection = band.n * self.points if self.size > 1 else 0
        return projection + 2 * band.k * self.blocks * self.points


def interpolation_bound(theta: float, points: int) -> float:
    """Return 4 sum_{j >= p} (theta / 2)^j / j!, which bounds the error of e^{i theta s} from p points, |s| <= 1."""
    if theta == 0.0:
        return 0.0  # a constant is its own interpolant
    half = theta / 2
    first = points * math.log(half) - math.lgamma(points + 1)
    if first > 0:
        return math.inf  # more than 4: says nothing
    term = math.exp(first)
    total, j = 0.0, points
    while term > 1e-18 * total:
        total += term
        j += 1
        term *= half / j
    return 4 * total


def points_for(theta: float, tolerance: float) -> int:
    """Return the least number of Chebyshev points whose bound at theta is within the tolerance."""
    points = max(1, int(theta))  # fewer never suffice: (theta / 2)^p / p! is above 1
    while interpolation_bound(theta, points) > tolerance:
        points += 1
    return points


@lru_cache(maxsize=1024)
def make_plan(band: Band, dtype: torch.dtype) -> Plan:
    """Return the plan with the fewest multiply-adds; blocks that fill n exactly are preferred, they need no tail.

    Samples as points (B = p = 1) are always among the choices: short sequences and wide bands then cost a dense
    transform, and have no interpolation error.
    """
    best, least = Plan(1, band.n, 1, 0.0), float(2 * band.k * band.n)
    counts = {d for a in range(1, math.isqrt(band.n) + 1) if band.n % a == 0 for d in (a, band.n // a)}
    counts |= {round(2 ** (e / 4)) for e in range(4 * band.n.bit_length())}
    for blocks in counts:
        size = -(-band.n // blocks)
        if size < 4:  # fewer samples than points: nothing to gain
            continue
        blocks = -(-band.n // size)
        theta = math.pi * band.highest * size / band.grid
        if theta > size:
            continue
        points = points_for(theta, TOLERANCE[dtype])
        plan = Plan(size, blocks, points, interpolation_bound(theta, points))
        cost = plan.operations(band) * (1.0 if band.n % size == 0 else 1.1)
        if points < size and cost < least:
            best, least = plan, cost
    return best


# --------------------------------------------------------------------------- tables

# Entries of one Fourier table that is kept (16 MiB in float32); a larger one is made again for every call, in slices.
TABLE_LIMIT = 2**22
_CACHE: LRUCache = LRUCache(maxsize=2**28, getsizeof=lambda pair: sum(t.numel() * t.element_size() for t in pair))


class Tables(NamedTuple):
    """The two matrices of a plan: `project` (p, B), L transposed, and `fourier` (2k, m p)."""

    project: Tensor
    fourier: Tensor


def interpolation_matrix(at_point: Tensor, at_sample: Tensor) -> Tensor:
    """Return L transposed, (p, B): L = (2/p) sum'_j cos(j a) cos(j b), the angles a at the points, b at the samples.

    The sum has a closed form, sum'_{j < p} cos(j x) = sin((p - 1/2) x) / (2 sin(x / 2)), at x = a - b and x = a + b.
    """
    points = len(at_point)

    def kernel(x: Tensor) -> Tensor:
        half_sine = torch.sin(x / 2)
        regular = half_sine.abs() > 1e-9
        return torch.where(
            regular, torch.sin((points - 0.5) * x) / (2 * half_sine.where(regular, torch.ones_like(x))), points - 0.5
        )

    a, b = at_point[:, None], at_sample
    return (kernel(a - b) + kernel(a + b)) / points


def build_tables(band: Band, plan: Plan, dtype: torch.dtype, device: torch.device, blocks: range) -> Tables:
    """Return the tables of a plan, `fourier` for some of its blocks; made in float64, kept in `dtype`."""
    at_point = math.pi * (torch.arange(plan.points, dtype=torch.float64, device="cpu") + 0.5) / plan.points
    sample = (2 * torch.arange(plan.size, dtype=torch.float64, device="cpu") + 1 - plan.size) / plan.size
    project = interpolation_matrix(at_point, torch.arccos(sample))
    block = torch.arange(blocks.start, blocks.stop, device="cpu")
    double_centre = 2 * plan.size * block + plan.size - 1
    offset = (plan.size / 2 * torch.cos(at_point)).repeat(len(block)) if plan.size > 1 else None
    fourier = fourier_table(band, double_centre.repeat_interleave(plan.points), offset)
    return Tables(project.to(dtype=dtype, device=device), fourier.to(dtype=dtype, device=device))


def plan_of(band: Band, dtype: torch.dtype, blocked: bool) -> Plan:
    """Return the plan of the fast engine, or, not `blocked`, that of a dense transform: every sample a point."""
    return make_plan(band, dtype) if blocked else Plan(1, band.n, 1, 0.0)


@cached(_CACHE, lock=threading.RLock())
def _kept_tables(n, frequencies, grid, blocked, dtype, device) -> tuple[Tensor, Tensor]:
    band = Band(n, frequencies, grid)
    plan = plan_of(band, dtype, blocked)
    # What inference mode makes, training could not use.
    with torch.inference_mode(False), torch.no_grad():
        return tuple(build_tables(band, plan, dtype, device, range(plan.blocks)))


@torch.compiler.assume_constant_result
def _constant_tables(*arguments) -> tuple[Tensor, Tensor]:
    return _kept_tables(*arguments)


def tables(band: Band, blocked: bool, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return (project, fourier) of the whole plan, from the cache where that is safe.

    A compiled graph holds them as constants; an exported one makes them, so that it needs nothing beside itself.
    """
    arguments = (band.n, band.frequencies, band.grid, blocked, like.dtype, like.device)
    if torch.compiler.is_dynamo_compiling():
        return _constant_tables(*arguments)
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0:
        plan = plan_of(band, like.dtype, blocked)
        return build_tables(band, plan, like.dtype, like.device, range(plan.blocks))
    return _kept_tables(*arguments)


def _slices(band: Band, plan: Plan) -> list[range]:
    """Cut the blocks of a plan into ranges whose Fourier tables stay within the limit."""
    step = max(1, TABLE_LIMIT // (2 * band.k * plan.points))
    return [range(start, min(start + step, plan.blocks)) for start in range(0, plan.blocks, step)]


# --------------------------------------------------------------------------- the transform and its adjoint


def _project(x: Tensor, table: Tensor) -> Tensor:
    """Return each block of x, (batch, n, d), on its p points: (batch, m p, d); `table` is (p, B)."""
    points, size = table.shape
    if size == 1:
        return x
    batch, n, d = x.shape
    whole = n // size
    blocks = x[:, : whole * size].reshape(batch * whole, size, d)
    values = torch.bmm(table.expand(batch * whole, points, size), blocks).view(batch, whole * points, d)
    if n % size:  # a block whose missing samples are zero
        values = torch.cat([values, torch.matmul(table[:, : n % size], x[:, whole * size :])], dim=1)
    return values


def _interpolate(values: Tensor, table: Tensor, n: int) -> Tensor:
    """Return n samples from values at the points, (batch, m p, d): the transpose of `_project`."""
    points, size = table.shape
    if size == 1:
        return values
    batch, places, d = values.shape
    blocks = batch * (places // points)
    samples = torch.bmm(table.T.expand(blocks, size, points), values.reshape(blocks, points, d))
    # The last block is computed whole and cut: a view costs nothing where a copy would cost a pass.
    return samples.view(batch, places // points * size, d)[:, :n]


def transform(x: Tensor, band: Band, blocked: bool) -> Tensor:
    """Return the spectrum of x, (batch, n, d), as (batch, 2k, d): real parts, then imaginary parts."""
    plan = plan_of(band, x.dtype, blocked)
    if 2 * band.k * plan.blocks * plan.points <= TABLE_LIMIT:
        project, fourier = tables(band, blocked, x)
        return torch.matmul(fourier, _project(x, project))
    project = build_tables(band, plan, x.dtype, x.device, range(1)).project
    values = _project(x, project)
    spectrum = x.new_zeros(x.shape[0], 2 * band.k, x.shape[2])
    for blocks in _slices(band, plan):
        fourier = build_tables(band, plan, x.dtype, x.device, blocks).fourier
        part = values[:, blocks.start * plan.points : blocks.stop * plan.points]
        spectrum = spectrum + torch.matmul(fourier, part)
    return spectrum


def adjoint(spectrum: Tensor, band: Band, blocked: bool) -> Tensor:
    """Return the transpose of `transform` applied to a spectrum (batch, 2k, d): (batch, n, d)."""
    plan = plan_of(band, spectrum.dtype, blocked)
    if 2 * band.k * plan.blocks * plan.points <= TABLE_LIMIT:
        project, fourier = tables(band, blocked, spectrum)
        return _interpolate(torch.matmul(fourier.T, spectrum), project, band.n)
    parts = []
    for blocks in _slices(band, plan):
        project, fourier = build_tables(band, plan, spectrum.dtype, spectrum.device, blocks)
        parts.append(torch.matmul(fourier.T, spectrum))
    return _interpolate(torch.cat(parts, dim=1), project, band.n)
