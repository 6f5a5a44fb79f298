"""The block engine where its plan has blocks: every way to call it, against the FFT."""

from __future__ import annotations

import copy
import math
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resonance import BandMixing, ResonanceLayer
from resonance.band import make_band, next_power_of_two
from resonance.engines import dense, linear_time
from resonance.engines import tables as constants
from resonance.engines.linear_time import Plan, adjoint, make_plan, misses, transform, turn_bound, turn_rank
from resonance.spectral import ENGINES, analysis, synthesis

N, K = 1000, 64


@pytest.fixture(autouse=True)
def blocks():
    """Each test here is about blocks: the plan must have some."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        assert make_plan(make_band(N, K), dtype).size > 1


def both(x):
    return synthesis(*analysis(x, K, engine="fast"), x.shape[1], engine="fast")


def reference(x):
    return synthesis(*analysis(x, K, engine="fft"), x.shape[1], engine="fft")


def near(a, b, share):
    return (a.float() - b.float()).norm() <= share * b.float().norm()


@pytest.mark.parametrize("frequencies", [range(1, 128, 2), range(0, 128, 2), [0, *range(1, 128, 2)], range(5, 60)])
@pytest.mark.parametrize("n", [4096, 3000])
def test_index_sets_by_blocks_are_those_of_the_fft(frequencies, n):
    torch.manual_seed(0)
    fast = BandMixing(4, frequencies=frequencies, engine="fast")
    fft = BandMixing(4, frequencies=frequencies, engine="fft")
    fft.load_state_dict(fast.state_dict())
    x, target = torch.randn(2, n, 4, requires_grad=True), torch.randn(2, n, 4)
    outputs = []
    for mixing in (fast, fft):
        y = mixing(x)
        # A loss that depends on phases: of the squared norm, their gradient would be a small difference.
        outputs.append([y, *torch.autograd.grad((y * target).sum(), [x, *mixing.parameters()])])
    assert make_plan(make_band(n, frequencies), torch.float32).size > 1
    assert all(near(a, b, 1e-5) for a, b in zip(*outputs, strict=True))


def test_derivatives_of_every_order():
    x = torch.randn(1, N, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(both, x, fast_mode=True, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda x: both(x) ** 3, x, fast_mode=True, atol=1e-4)


def test_vmap_and_strides():
    x = torch.randn(3, 1, N, 2)
    each = torch.func.vmap(both)(x)
    torch.testing.assert_close(each[1], both(x[1]))
    strided = torch.randn(2, 3, N).transpose(1, 2)
    torch.testing.assert_close(both(strided), both(strided.contiguous()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast(dtype):
    torch.manual_seed(0)
    x = torch.randn(2, N, 4, requires_grad=True)
    whole = reference(x)
    assert near(both(x.detach().to(dtype)), whole, 0.02)
    with torch.autocast("cpu", dtype=dtype):
        half = both(x)
    assert half.dtype == dtype and near(half, whole, 0.02)
    half.float().square().sum().backward()
    assert x.grad.dtype == torch.float32 and torch.isfinite(x.grad).all()
    layer = ResonanceLayer(4, K)
    with torch.autocast("cpu", dtype=dtype):
        y = layer(x.detach())
    assert near(y, layer(x.detach()), 0.02)


@pytest.mark.filterwarnings("ignore")
def test_compiled_and_exported():
    torch.manual_seed(0)
    layer, x = ResonanceLayer(4, K), torch.randn(1, N, 4)
    results = []
    for call in (layer, torch.compile(copy.deepcopy(layer), backend="aot_eager", fullgraph=True)):
        leaf = x.clone().requires_grad_(True)
        y = call(leaf)
        results.append([y, torch.autograd.grad(y.square().sum(), leaf)[0]])
    assert all(near(a, b, 1e-5) for a, b in zip(*results, strict=True))
    exported = torch.export.export(layer, (x,))
    assert near(exported.module()(x), layer(x), 1e-5)
    assert near(both(x), reference(x), 1e-5), "nothing that was traced serves a real call"


def test_nothing_of_length_n_is_kept():
    kept = []
    mixing, x = BandMixing(4, K), torch.randn(1, N, 4, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        mixing(x)
    assert kept and all(N not in shape for shape in kept)


def test_one_sample_of_the_batch_does_not_reach_another():
    band = make_band(N, K)
    for f, length in ((transform, N), (adjoint, 2 * K)):
        x = torch.randn(2, length, 3)
        spoilt = x.clone()
        spoilt[0, 10] = float("nan")
        assert torch.equal(f(x, band)[1], f(spoilt, band)[1]) and f(spoilt, band)[0].isnan().any()


def test_numbers_of_other_libraries_count():
    assert BandMixing(4, np.int64(5)).num_frequencies == 5


@st.composite
def bands(draw):
    """Lengths, odd and prime ones too; grids; k at both ends; and index sets with gaps, near DC and over the band."""
    n = draw(st.one_of(st.integers(1, 300), st.sampled_from([509, 512, 513, 1000, 2039])))
    grid = draw(st.sampled_from([next_power_of_two(n), n, n + 1, 2 * next_power_of_two(n)]))
    top = grid // 2 + 1
    k = draw(st.sampled_from([1, top, min(top, 9), draw(st.integers(1, top))]))
    if draw(st.booleans()):
        return make_band(n, k, grid)
    highest = draw(st.sampled_from([top, k]))
    return make_band(n, draw(st.sets(st.integers(0, highest - 1), min_size=1, max_size=20).map(sorted)), grid)


def forget_plans():
    for cache in (linear_time._chosen_plan, linear_time.block_functions):
        cache.cache_clear()
    constants._CACHE.clear()


@contextmanager
def costs(merged):
    """Plans of this block alone, by costs at which the last two products are one, or never are."""
    forget_plans()
    with mock.patch.object(linear_time, "THREE" if merged else "MERGED", ((1e6, 1e6, 1e6), 0.0, 0.0)):
        yield
    forget_plans()


@settings(deadline=None, max_examples=60)
@given(bands(), st.sampled_from([1e-2, 1e-4, 1e-6, 1e-10, 1e-14]), st.booleans())
@example(make_band(2039, 64), 1e-6, False)  # folded, the last block cut short
@example(make_band(2039, 64), 1e-6, True)
@example(make_band(1100, 64), 1e-6, False)  # folded, blocks missing at the end
@example(make_band(1100, 64), 1e-6, True)
@example(make_band(1000, 64), 1e-6, False)
@example(make_band(300, 100, 4096), 1e-6, False)  # not folded
@example(make_band(1500, 100, 4096), 1e-6, False)  # not folded, for more than a third of the grid
@example(make_band(2039, 9, 2039), 1e-6, False)  # a grid that no block divides
@example(make_band(2039, 9, 2039), 1e-6, True)
@example(make_band(4096, range(0, 128, 2)), 1e-6, False)  # even frequencies alone
@example(make_band(4096, range(1, 128, 2)), 1e-6, False)  # odd ones alone
@example(make_band(3000, range(1, 100, 2)), 1e-6, False)
@example(make_band(3000, [0, 7, 1500], 3000), 1e-6, True)  # what is real among them
def test_the_fast_engine_stays_within_its_bound(band, tolerance, merged):
    """Against the dense transform, in float64, for the worst input and the worst spectrum."""
    with costs(merged), mock.patch.dict(linear_time.TOLERANCE, {torch.float64: tolerance}):
        plan = make_plan(band, torch.float64)
        ours = ENGINES["fast"].transform(torch.eye(band.n, dtype=torch.float64)[None], band)[0]
        back = ENGINES["fast"].adjoint(torch.eye(2 * band.k, dtype=torch.float64)[None], band)[0]
    assert plan.size == 1 or merged == (plan.residues == 0)
    exact = dense.transform(torch.eye(band.n, dtype=torch.float64)[None], band)[0]
    assert plan.bound <= tolerance and plan.blocks == -(-band.n // plan.size)
    missed = (ours - exact).square().sum(1)
    assert (missed[: band.k] + missed[band.k :]).sqrt().max() <= plan.bound + 1e-13
    torch.testing.assert_close(back, ours.T, rtol=0, atol=1e-13)


def test_operations_and_cost_are_those_of_the_three_products():
    band = make_band(60, 7, 64)
    whole, folded = (Plan(16, 4, 5, 0.0, fold, 3) for fold in (False, True))
    assert whole.parts(band) == (60 * 5, 2 * 3 * 4 * 5, 4 * 7 * 5) and whole.operations(band) == 300 + 120 + 140
    assert folded.parts(band) == (60 * 5, 2 * 3 * 2 * 5, 4 * 7 * 5)
    assert whole.cost(band) == pytest.approx(1.5 * 300 + 1.3 * 120 + 7 * 140 + 110 * 4 * 5 + 2 * 12 * 60 + 2**14)
    merged = Plan(15, 4, 5, 0.0, False, 0)  # blocks of 15 divide the 60 samples: one pass less
    assert merged.parts(band) == (60 * 5, 2 * 7 * 4 * 5, 0)
    assert merged.cost(band) == pytest.approx(1.25 * 300 + 1.3 * 280 + 48 * 4 * 5 + 12 * 60 + 2**12.5)
    dense = Plan(1, 60, 1, 0.0, False, 7)
    assert dense.operations(band) == 2 * 7 * 60
    assert dense.cost(band) == pytest.approx(1.2 * 2 * 7 * 60 + 12 * 60 + 2**12)


@pytest.mark.parametrize("size", [1, 5, 8, 16])
def test_residues_are_phase_advances_up_to_their_sign(size):
    band = make_band(64, range(33), 64)
    residue, sign = linear_time.residues(band, size)
    advance = np.exp(2j * np.pi * np.arange(33) * size / 64)
    np.testing.assert_allclose(np.exp(2j * np.pi * sign * residue / 64), advance, atol=1e-13)
    assert residue.min() >= 0 and residue.max() <= 32 and set(sign[2 * residue % 64 == 0]) == {1.0}


@pytest.mark.parametrize(("n", "k", "grid"), [(4096, 64, None), (3000, 64, None), (2**13, 100, None), (3000, 20, 3001)])
def test_the_plan_costs_least(n, k, grid):
    """Of all sizes, by the functions themselves; the choice goes by their number in a block of many samples."""
    band = make_band(n, k, grid)
    plan, possible = make_plan(band, torch.float32), [Plan(1, n, 1, 0.0, False, k).cost(band)]
    for size in sorted({4, 5, 6, 7, *(2**e // 2**half for e in range(3, 13) for half in (0, 0.5)), plan.size}):
        rho = linear_time.block_functions(band, int(size))[1]
        rank = int((rho > 1e-6).sum())
        if rank < size:
            possible += [other.cost(band) for other in linear_time.plans(band, int(size), rank, 0.0)]
    assert min(possible) <= plan.cost(band) <= 1.02 * min(possible) and plan.size > 1
    assert plan.rank == int((linear_time.block_functions(band, plan.size)[1] > 1e-6).sum())
    assert plan.bound == linear_time.block_functions(band, plan.size)[1][plan.rank]


@pytest.mark.parametrize(("n", "folded"), [(48, False), (64, False), (65, True), (80, True), (128, True)])
def test_halves_are_folded_where_the_blocks_reach_beyond_half_of_the_grid(n, folded):
    assert linear_time.plans(make_band(n, 10, 128), 16, 4, 0.0)[0].folded is folded


def test_a_dense_plan_is_chosen_where_blocks_do_not_pay():
    for band in (make_band(1, 1), make_band(3, 2), make_band(64, 33), make_band(300, 3)):
        assert make_plan(band, torch.float32) == (1, band.n, 1, 0.0, False, band.k)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-6, 1e-12])
def test_the_number_of_functions_hardly_depends_on_how_they_are_sampled(tolerance):
    place = (np.arange(500) + 0.5) / 250 - 1
    for theta in (0.3, 4.0, 17.0, 30.0):
        angle = np.multiply.outer(place, np.linspace(0, theta, 60))
        fine = (misses(np.cos(angle), np.sin(angle))[1] > tolerance).sum()
        assert abs(turn_rank(theta, tolerance) - fine) <= 1


@pytest.mark.parametrize("theta", [0.0, 0.3, 5.0])
def test_the_bound_is_its_series(theta):
    for rank in (0, 1, 4):
        series = 4 * sum((theta / 2) ** j / math.factorial(j) for j in range(rank, rank + 60))
        assert turn_bound(theta, rank) == pytest.approx(series, rel=1e-9, abs=1e-15)


def test_short_plans_are_exercised():
    """The examples above are what they are meant to be."""
    with costs(merged=False):
        plans = [make_plan(make_band(*args), torch.float32) for args in ((2039, 64), (1100, 64), (300, 100, 4096))]
        odd_or_even = [make_band(n, range(first, 100, 2)) for n in (4096, 3000) for first in (0, 1)]
        halves = [make_plan(band, torch.float32) for band in odd_or_even]
    assert [plan.folded for plan in plans] == [True, True, False] and all(plan.size > 1 for plan in plans)
    assert 2039 % plans[0].size and plans[1].blocks < 2048 // plans[1].size
    assert [plan.folded for plan in halves] == [True, False] * 2 and all(plan.size > 1 for plan in halves)


@given(st.floats(0.01, 60.0), st.integers(1, 120))
def test_the_bound_covers_the_tail_of_bessel_functions(theta, rank):
    from scipy.special import jv

    tail = 4 * np.abs(jv(np.arange(rank, rank + 400), theta)).sum()
    assert tail <= turn_bound(theta, rank) * (1 + 1e-9) + 1e-15


@settings(deadline=None, max_examples=30)
@given(st.integers(4, 200), st.integers(1, 40), st.floats(0.0, 30.0))
def test_what_the_functions_miss(size, k, theta):
    place = (2 * np.arange(size) + 1 - size) / size
    angle = np.multiply.outer(place, np.linspace(0, theta, k))
    u, rho = misses(np.cos(angle), np.sin(angle))
    np.testing.assert_allclose(u.T @ u, np.eye(u.shape[1]), atol=1e-13)
    waves = np.exp(-1j * angle)
    for p in range(0, len(rho), 3):
        left = waves - u[:, :p] @ (u[:, :p].T @ waves)
        assert rho[p] == pytest.approx(np.linalg.norm(left, axis=0).max() / math.sqrt(size), abs=1e-13)
        assert rho[p] <= math.sqrt(k) * turn_bound(theta, p) * (1 + 1e-9) + 1e-13


def test_few_functions_are_enough_and_their_number_grows_with_the_turn():
    ranks = [turn_rank(theta, 1e-6) for theta in (0.0, 0.3, math.pi, 10.0, 30.0)]
    assert ranks[0] == 1 and ranks == sorted(ranks) and ranks[-1] < 2 * 30 / math.pi + 14
    assert turn_rank(math.pi, 1e-2) < turn_rank(math.pi, 1e-6) < turn_rank(math.pi, 1e-12)


def test_operations_of_the_fast_engine_are_linear_in_n():
    per_sample = [
        make_plan(make_band(2**e, 64), torch.float32).operations(make_band(2**e, 64)) / 2**e for e in (12, 16, 20)
    ]
    assert per_sample[0] > per_sample[1] > per_sample[2] > 1
    plan = make_plan(make_band(2**20, 64), torch.float32)
    assert plan.rank <= 8 and plan.operations(make_band(2**20, 64)) < 8 * 2**20


@given(bands(), st.integers(2, 64), st.integers(1, 20))
def test_operations_are_those_of_the_theorem(band, size, rank):
    three, merged = linear_time.plans(band, size, rank, 0.0)
    m = band.grid // size
    if size <= band.n and band.grid % size == 0 and m % 2 == 0:
        bound = 2 * band.n * rank + rank * m * (m + 3) + 8 * band.k * rank
        assert 2 * three.operations(band) + three.folded * rank * m <= bound  # products, and additions of folding
        assert 2 * merged.operations(band) <= 2 * band.n * rank + 4 * band.k * rank * m
    assert make_plan(band, torch.float32).cost(band) <= Plan(1, band.n, 1, 0.0, False, band.k).cost(band)


def test_folding_is_part_of_the_bound_where_every_residue_occurs():
    band, size, rank = make_band(1024, 33), 16, 7
    m = band.grid // size
    plan = Plan(size, m, rank, 0.0, True, m // 2 + 1)
    products = 2 * band.n * rank + rank * m * (m + 2) + 8 * band.k * rank
    assert 2 * plan.operations(band) == products < products + rank * m
