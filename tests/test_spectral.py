"""Band transforms: the engines agree, and are what the equations say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resonance.spectral import ENGINES, Band, analysis, choose_engine, make_band, next_power_of_two, synthesis

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


@st.composite
def bands(draw):
    n = draw(st.integers(1, 300))
    grid = draw(st.sampled_from([next_power_of_two(n), n, n + 1, 2 * next_power_of_two(n)]))
    top = grid // 2 + 1
    k = draw(st.sampled_from([1, top, draw(st.integers(1, top))]))
    return Band(n, k, grid)


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
        spectrum = analysis(leaves[0], band.k, grid=band.grid, engine=name)
        y = synthesis(leaves[1], leaves[2], band.n, grid=band.grid, engine=name)
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
    re, im = analysis(x, band.k, grid=band.grid, engine=engine)
    expected = np.fft.rfft(x.numpy(), n=band.grid, axis=1, norm="ortho")[:, : band.k]
    np.testing.assert_allclose(re.numpy() + 1j * im.numpy(), expected, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(bands(), st.sampled_from(list(ENGINES)), st.integers(0, 2**20))
def test_synthesis_is_the_weighted_adjoint(band, engine, seed):
    x = torch.randn(2, band.n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    re, im = random_pair(band, 2, torch.float64, seed + 1)
    spectrum = analysis(x, band.k, grid=band.grid, engine=engine)
    c = band.multiplicity(x)[:, None]
    left = (c * (spectrum[0] * re + spectrum[1] * im)).sum()
    right = (x * synthesis(re, im, band.n, grid=band.grid, engine=engine)).sum()
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


def test_auto_follows_its_rule():
    assert choose_engine(make_band(4096, 96)) == "dense"  # 8 log2 N
    assert choose_engine(make_band(4096, 97)) == "fft"
    assert choose_engine(make_band(2**20, 4)) == "dense"
    assert choose_engine(make_band(2**20, 5)) == "fft"  # the table would pass its limit
    assert choose_engine(make_band(1, 1)) == "dense"


@pytest.mark.filterwarnings("ignore")
def test_tracing_leaves_nothing_behind():
    """A table made while exporting or compiling must not serve a real call."""
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    class Low(torch.nn.Module):
        def forward(self, x):
            return synthesis(*analysis(x, 5, engine="dense"), x.shape[1], engine="dense")

    x = torch.randn(1, 29, 2)
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
        (lambda: analysis(torch.randn(1, 8, 2), 3, engine="warp"), "auto, fft, dense"),
        (lambda: analysis(torch.randn(0, 8, 2), 3), "non-empty"),
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


@given(st.integers(1, 10**6))
def test_next_power_of_two(n):
    power = next_power_of_two(n)
    assert power >= n and power < 2 * n and math.log2(power).is_integer()
