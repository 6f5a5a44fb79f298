"""Band transforms: the engines agree, and are what the equations say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resonance import linear_time
from resonance.band import index_set, make_band, next_power_of_two
from resonance.linear_time import TOLERANCE as INTERPOLATION
from resonance.linear_time import interpolation_bound, make_plan, points_for
from resonance.spectral import ENGINES, analysis, choose_engine, synthesis

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


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


def relative(a, b):
    return ((a - b).norm() / b.norm().clamp_min(1e-30)).item()


def random_pair(band, d, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, band.k, d)
    return [torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2)]


@settings(deadline=None, max_examples=60)
@given(bands(), st.integers(1, 3), st.sampled_from(list(TOLERANCE)), st.integers(0, 2**20))
def test_engines_agree_forward_and_backward(band, d, dtype, seed):
    x = torch.randn(2, band.n, d, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    re, im = random_pair(band, d, dtype, seed + 1)
    results = {}
    for name in ENGINES:
        leaves = [leaf.clone().requires_grad_(True) for leaf in (x, re, im)]
        spectrum = analysis(leaves[0], band.frequencies, grid=band.grid, engine=name)
        y = synthesis(leaves[1], leaves[2], band.n, frequencies=band.frequencies, grid=band.grid, engine=name)
        gradients = torch.autograd.grad((spectrum[0] * re + spectrum[1] * im).sum() + (y * x).sum(), leaves)
        results[name] = [torch.cat(spectrum), y, *gradients]
    reference = results.pop("fft")
    scale = max(r.norm().item() for r in reference)
    for others in results.values():
        for other, expected in zip(others, reference, strict=True):
            assert (other - expected).norm().item() <= TOLERANCE[dtype] * max(expected.norm().item(), 1e-3 * scale)


@settings(deadline=None, max_examples=40)
@given(bands(), st.sampled_from(list(ENGINES)), st.integers(0, 2**20))
def test_analysis_is_numpys_transform(band, engine, seed):
    x = torch.randn(1, band.n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    re, im = analysis(x, band.frequencies, grid=band.grid, engine=engine)
    expected = np.fft.rfft(x.numpy(), n=band.grid, axis=1, norm="ortho")[:, list(band.frequencies)]
    np.testing.assert_allclose(re.numpy() + 1j * im.numpy(), expected, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(bands(), st.sampled_from(list(ENGINES)), st.integers(0, 2**20))
def test_synthesis_is_the_weighted_adjoint(band, engine, seed):
    x = torch.randn(2, band.n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    re, im = random_pair(band, 2, torch.float64, seed + 1)
    spectrum = analysis(x, band.frequencies, grid=band.grid, engine=engine)
    c = band.multiplicity(x)[:, None]
    left = (c * (spectrum[0] * re + spectrum[1] * im)).sum()
    right = (x * synthesis(re, im, band.n, frequencies=band.frequencies, grid=band.grid, engine=engine)).sum()
    torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 65, 127])
def test_parseval_and_inverse_on_the_whole_band(engine, n):
    torch.manual_seed(n)
    x = torch.randn(2, n, 3, dtype=torch.float64)
    band = make_band(n, next_power_of_two(n) // 2 + 1)
    re, im = analysis(x, band.k, engine=engine)
    energy = (band.multiplicity(x)[:, None] * (re**2 + im**2)).sum()
    torch.testing.assert_close(energy, (x**2).sum(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(synthesis(re, im, n, engine=engine), x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_imaginary_dc_and_nyquist_have_no_effect(engine):
    re, im = torch.randn(1, 9, 2), torch.zeros(1, 9, 2)
    changed = im.clone()
    changed[:, [0, 8]] = 5.0
    a, b = (synthesis(re, part, 16, engine=engine) for part in (im, changed))
    assert torch.equal(a, b)


@pytest.mark.parametrize("engine", ENGINES)
def test_gradcheck(engine):
    x = torch.randn(1, 7, 2, dtype=torch.float64, requires_grad=True)
    pair = [torch.randn(1, 5, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda x: analysis(x, 5, engine=engine), x)
    assert torch.autograd.gradcheck(lambda re, im: synthesis(re, im, 7, engine=engine), pair)


@pytest.mark.parametrize("engine", ENGINES)
def test_half_precision_stays_near_float32(engine):
    torch.manual_seed(0)
    x = torch.randn(2, 100, 4)
    whole = torch.cat(analysis(x, 20, engine=engine))
    half = torch.cat(analysis(x.bfloat16(), 20, engine=engine))
    assert half.dtype == torch.bfloat16
    assert relative(half.float(), whole) < 0.02


def test_dense_is_exact_at_long_lengths():
    """Angles are reduced in integers: a table at a million samples is as good as one at a thousand."""
    n, k = 2**20, 3
    x = torch.randn(1, n, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a, b = (torch.cat(analysis(x, k, engine=engine)) for engine in ("dense", "fft"))
    assert relative(a, b) < 1e-12


def test_tables_made_in_inference_mode_serve_training():
    with torch.inference_mode():
        analysis(torch.randn(1, 23, 1), 4, engine="dense")
    x = torch.randn(1, 23, 1, requires_grad=True)
    analysis(x, 4, engine="dense")[0].sum().backward()
    assert x.grad is not None


@settings(deadline=None, max_examples=60)
@given(bands(), st.sampled_from([torch.float32, torch.float64]), st.integers(0, 2**20))
def test_the_fast_engine_stays_within_its_bound(band, dtype, seed):
    """Against a transform in float64, for the worst input: the one that its own error points at."""
    plan = make_plan(band, dtype)
    assert plan.bound <= INTERPOLATION[dtype] and plan.blocks == -(-band.n // plan.size)
    x = torch.eye(band.n, dtype=torch.float64)[None]
    exact = linear_time.build_tables(
        band, linear_time.plan_of(band, dtype, False), dtype=x.dtype, device=x.device, blocks=range(band.n)
    ).fourier
    project, fourier = linear_time.build_tables(band, plan, x.dtype, x.device, range(plan.blocks))
    ours = fourier @ linear_time._project(x, project)[0]
    assert (ours - exact).abs().max() <= plan.bound / math.sqrt(band.grid) + 1e-13
    assert torch.linalg.vector_norm(ours - exact, dim=1).max() <= plan.bound * math.sqrt(band.n / band.grid) + 1e-13


@given(st.floats(0.01, 60.0), st.integers(1, 120))
def test_the_bound_covers_the_tail_of_bessel_functions(theta, points):
    from scipy.special import jv

    tail = 4 * np.abs(jv(np.arange(points, points + 400), theta)).sum()
    assert tail <= interpolation_bound(theta, points) * (1 + 1e-9) + 1e-15


def test_points_are_the_least_within_the_tolerance():
    for theta in (0.0, 0.3, math.pi, 20.0):
        points = points_for(theta, 1e-6)
        assert interpolation_bound(theta, points) <= 1e-6
        assert points == 1 or interpolation_bound(theta, points - 1) > 1e-6 or points <= theta / 2


def test_operations_of_the_fast_engine_are_linear_in_n():
    per_sample = [
        make_plan(make_band(2**e, 64), torch.float32).operations(make_band(2**e, 64)) / 2**e for e in (12, 16, 20)
    ]
    assert per_sample[0] > per_sample[1] > per_sample[2] > 1


def test_tables_beyond_the_limit_are_made_in_slices(monkeypatch):
    torch.manual_seed(0)
    x, pair = torch.randn(2, 500, 3), torch.randn(2, 2, 40, 3)
    for engine in ("dense", "fast"):
        whole = [*analysis(x, 40, engine=engine), synthesis(*pair, 500, engine=engine)]
        monkeypatch.setattr(linear_time, "TABLE_LIMIT", 3000)
        sliced = [*analysis(x, 40, engine=engine), synthesis(*pair, 500, engine=engine)]
        monkeypatch.undo()
        for a, b in zip(whole, sliced, strict=True):
            torch.testing.assert_close(a, b)


def test_the_cache_of_tables_is_bounded():
    for n in range(3000, 3040):
        analysis(torch.randn(1, n, 1), 300, engine="dense")
    kept = sum(t.numel() * t.element_size() for pair in linear_time._CACHE.values() for t in pair)
    assert 0 < kept <= linear_time._CACHE.maxsize


def saved_for_backward(call) -> list[torch.Tensor]:
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        call()
    return kept


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_of_length_n_is_kept_for_the_backward_pass(engine):
    x = torch.randn(1, 999, 4, requires_grad=True)
    kept = saved_for_backward(lambda: synthesis(*analysis(x, 5, engine=engine), 999, engine=engine))
    assert all(999 not in t.shape for t in kept)


@pytest.mark.parametrize("engine", ENGINES)
def test_double_backward_and_forward_mode(engine):
    x = torch.randn(1, 50, 2, dtype=torch.float64, requires_grad=True)

    def cubed(x):
        re, im = analysis(x, 4, engine=engine)
        return synthesis(re**3, im**3, 50, engine=engine)

    assert torch.autograd.gradgradcheck(cubed, x, atol=1e-4)
    _, slope = torch.func.jvp(cubed, (x.detach(),), (torch.ones_like(x),))
    step = (cubed(x.detach() + 1e-6) - cubed(x.detach() - 1e-6)) / 2e-6
    torch.testing.assert_close(slope, step, rtol=1e-5, atol=1e-7)


def test_vmap_is_a_batch():
    x = torch.randn(3, 1, 40, 2)
    each = torch.func.vmap(lambda x: torch.cat(analysis(x, 4, engine="fast")))(x)
    torch.testing.assert_close(each[1], torch.cat(analysis(x[1], 4, engine="fast")))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n", [128, 130, 1009])
def test_strided_input_needs_no_copy_by_the_caller(engine, n):
    x = torch.randn(2, 3, n).transpose(1, 2)
    torch.testing.assert_close(analysis(x, 5, engine=engine), analysis(x.contiguous(), 5, engine=engine))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(engine, dtype):
    torch.manual_seed(0)
    x = torch.randn(2, 300, 4, requires_grad=True)
    whole = synthesis(*analysis(x, 20, engine=engine), 300, engine=engine)
    with torch.autocast("cpu", dtype=dtype):
        half = synthesis(*analysis(x, 20, engine=engine), 300, engine=engine)
    assert half.dtype == (torch.float32 if engine == "fft" else dtype)
    half.float().square().sum().backward()
    assert relative(half.float(), whole) < 0.02 and x.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("n", "k", "engine"),
    [
        (1, 1, "fast"),
        (128, 64, "fast"),
        (4096, 64, "fast"),
        (2**18, 256, "fast"),
        (1024, 256, "fft"),
        (4096, 256, "fft"),
    ],
)
def test_auto_follows_its_rule(n, k, engine):
    assert choose_engine(make_band(n, k)) == engine


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", ["dense", "fast"])
def test_tracing_leaves_nothing_behind(engine):
    """A table made while exporting or compiling must not serve a real call."""
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    class Low(torch.nn.Module):
        def forward(self, x):
            return synthesis(*analysis(x, 5, engine=engine), x.shape[1], engine=engine)

    x = torch.randn(1, 290, 2)
    exported = torch.export.export(Low(), (x,)).module()(x)
    with FakeTensorMode() as mode:
        Low()(mode.from_tensor(x))
    compiled = torch.compile(Low(), backend="eager", fullgraph=True)(x)
    plain = Low()(x)
    assert not isinstance(plain, FakeTensor)
    torch.testing.assert_close(exported, plain)
    torch.testing.assert_close(compiled, plain)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: analysis(torch.randn(3, 4), 1), "(batch, n, d)"),
        (lambda: analysis(torch.randn(1, 8, 2), 6), "1 <= k <= 5"),
        (lambda: analysis(torch.randn(1, 8, 2), 0), "1 <= k <= 5"),
        (lambda: analysis(torch.randn(1, 8, 2), 3, grid=7), "grid of 7"),
        (lambda: analysis(torch.randn(1, 8, 2), 3, engine="warp"), "auto, fft, dense, fast"),
        (lambda: analysis(torch.randn(0, 8, 2), 3), "non-empty"),
        (lambda: analysis(torch.randn(1, 8, 2), [1, 5]), "frequency 5 is above"),
        (lambda: analysis(torch.randn(1, 8, 2), [2, 1]), "sorted set"),
        (lambda: analysis(torch.randn(1, 8, 2), []), "sorted set"),
        (lambda: synthesis(*torch.randn(2, 1, 3, 2), 8, frequencies=[0, 1]), "2 frequencies"),
        (lambda: synthesis(torch.randn(1, 3, 2), torch.randn(1, 4, 2), 8), "one shape"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(call, says):
    with pytest.raises(ValueError) as error:
        call()
    assert says in str(error.value)


def test_integers_are_refused():
    with pytest.raises(TypeError, match="floating"):
        analysis(torch.ones(1, 8, 2, dtype=torch.long), 3)


def test_an_index_set_without_gaps_is_the_lowest_band():
    assert index_set([0, 1, 2]) == index_set(3) == index_set(torch.arange(3)) == range(3)
    assert index_set([0, 2]) == (0, 2) and make_band(8, [0, 4]).real == [0, 1]


@given(st.integers(1, 10**6))
def test_next_power_of_two(n):
    power = next_power_of_two(n)
    assert power >= n and power < 2 * n and math.log2(power).is_integer()
