"""The error of k frequencies: the bound, that it is the best of its rank, jumps, slopes, filters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.studies.information.approximation import (
    SHAPES,
    error_curves,
    filter_curves,
    filter_layer,
    filter_matrix,
    projecting_layer,
    projection_error,
    random_curves,
    random_signals,
    seminorm,
    slopes,
    worst_error,
)
from artifact.studies.information.information import layer_matrix
from resonance.layers import BandMixing

KS = [8, 11, 16, 23, 32, 45, 64]


def wave(n, f, phase=0.0):
    return torch.cos(2 * math.pi * f * torch.arange(n, dtype=torch.float64) / n + phase)[None]


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 7), st.floats(0.0, 4.0), st.data())
def test_bound_holds_for_any_signal(log, s, data):
    n = 2**log
    k = data.draw(st.integers(1, n // 2))
    x = torch.randn(3, n, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 10**6))))
    assert (projection_error(x, k) <= seminorm(x, s) * k**-s * (1 + 1e-9) + 1e-12).all()


@pytest.mark.parametrize(("k", "s"), [(1, 0.5), (5, 1.0), (15, 3.0)])
def test_bound_is_sharp(k, s):
    x = wave(32, k, 0.3)
    assert projection_error(x, k).item() == pytest.approx(k**-s * seminorm(x, s).item(), rel=1e-12)
    assert projection_error(x, k + 1).item() < 1e-14


def test_seminorm_of_a_wave_and_of_a_derivative():
    assert seminorm(3 * wave(64, 6) + 5, 2.0).item() == pytest.approx(3 * 36 / math.sqrt(2))
    assert seminorm(wave(64, 32), 1.0).item() == pytest.approx(32)  # Nyquist stands once, with mean square 1
    x = torch.randn(2, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(seminorm(x, 0.0), x.std(dim=1, correction=0))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 15), st.sampled_from([0.5, 1.0, 2.0]), st.integers(0, 10**6))
def test_no_map_of_its_rank_does_better(k, s, seed):
    g = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(*shape, dtype=torch.float64, generator=g) for shape in ((32, 2 * k - 1), (2 * k - 1, 32)))
    best = k**-s
    projection = layer_matrix(projecting_layer(k), 32)
    assert torch.linalg.matrix_rank(projection) == 2 * k - 1
    assert worst_error(projection, s) == pytest.approx(best, rel=1e-9)
    basis = torch.linalg.qr(a).Q
    near = projection + 0.01 * projection @ torch.randn(32, 32, dtype=torch.float64, generator=g)
    for other in (a @ b / 32, basis @ basis.mT, near):
        assert worst_error(other, s) >= best * (1 - 1e-9)


def test_the_projecting_layer_projects():
    p = layer_matrix(projecting_layer(5), 16)
    torch.testing.assert_close(p @ p, p)
    torch.testing.assert_close(p, p.mT)


# --------------------------------------------------------------------------- slopes


def test_slopes_of_shapes():
    curves = error_curves(4096, KS)
    table = slopes(curves[np.isfinite(curves["predicted"])], "signal").set_index("signal")
    for name, (_, predicted) in SHAPES.items():
        if math.isfinite(predicted):
            assert table.loc[name, "slope"] == pytest.approx(predicted, abs=0.05), name
    smooth = curves[curves["signal"] == "smooth and periodic"]
    assert smooth["error"].iloc[0] < 1e-6 and smooth["error"].iloc[2] < 1e-13  # faster than any power


@pytest.mark.parametrize("name", ["jump", "smooth, ends differ", "the same, zero-padded"])
def test_constant_of_a_jump(name):
    """Error |J| / (pi sqrt(2k)), jumps far apart adding by squares."""
    jumps = {"jump": [1.0], "smooth, ends differ": [math.e - 1], "the same, zero-padded": [math.e, math.e]}[name]
    curve = error_curves(8192, [64]).set_index("signal")
    expected = math.sqrt(sum(j * j for j in jumps) / (2 * 64)) / math.pi
    assert curve.loc[name, "error"] == pytest.approx(expected, rel=0.05)


def test_bernoulli_coefficients():
    """B_m has Fourier coefficients -m! / (2 pi i f)^m, so the error of k is known in closed form."""
    f = np.arange(16, 200_000)
    exact = math.sqrt(2 * ((2 / (2 * math.pi * f) ** 2) ** 2).sum())
    assert error_curves(8192, [16]).set_index("signal").loc["kink", "error"] == pytest.approx(exact, rel=1e-3)


def test_slopes_of_random_signals_and_their_bound():
    curves = random_curves(4096, KS, (0.5, 1.0, 2.0), 30, seed=0)
    assert (curves["error"] <= curves["bound"]).all()
    table = slopes(curves, "s").set_index("s")
    for s, row in table.iterrows():
        assert row["slope"] == pytest.approx(-s, abs=0.06 * (1 + s))
        assert row["low"] < row["slope"] < row["high"]
    again = random_curves(4096, KS[:1], (0.5,), 30, seed=0)
    assert list(again["error"]) == list(curves["error"][:30])


def test_random_signals_have_no_mean():
    x = random_signals(64, 1.0, 5, torch.Generator().manual_seed(0))
    assert x.shape == (5, 64) and x.mean(dim=1).abs().max() < 1e-12


# --------------------------------------------------------------------------- filters


def test_filter_matrix_is_circular_convolution():
    h = torch.randn(16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = filter_matrix(torch.fft.rfft(h))
    expected = torch.stack([h.roll(i) for i in range(16)], dim=1)
    torch.testing.assert_close(matrix, expected)


def test_filter_error_is_the_tail_exactly():
    curves = filter_curves(128, [3, 8, 20], [1, 2])
    np.testing.assert_allclose(curves["error"], curves["bound"], rtol=1e-9)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 15), st.integers(0, 10**6), st.booleans())
def test_no_layer_of_the_band_comes_closer_to_a_filter(k, seed, interference):
    torch.manual_seed(seed)
    transfer = torch.randn(17, dtype=torch.complex128)
    transfer[[0, -1]] = transfer[[0, -1]].real.to(transfer.dtype)
    target = filter_matrix(transfer)
    tail = transfer[k:].abs().max().item()
    nearest = target - layer_matrix(filter_layer(transfer, k), 32)
    assert torch.linalg.matrix_norm(nearest, 2).item() == pytest.approx(tail, rel=1e-9)
    other = layer_matrix(BandMixing(1, k, interference=interference, engine="fft"), 32)
    assert torch.linalg.matrix_norm(target - other, 2).item() >= tail * (1 - 1e-9)
