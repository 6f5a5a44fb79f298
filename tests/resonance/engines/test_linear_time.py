"""The block engine where its plan has blocks: every way to call it, against the FFT."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from resonance import BandMixing, ResonanceLayer
from resonance.band import make_band
from resonance.engines.linear_time import adjoint, make_plan, transform
from resonance.spectral import analysis, synthesis

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
    x = torch.randn(2, n, 4, requires_grad=True)
    outputs = []
    for mixing in (fast, fft):
        y = mixing(x)
        outputs.append([y, *torch.autograd.grad(y.square().sum(), [x, *mixing.parameters()])])
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
