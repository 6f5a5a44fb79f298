"""The two-dimensional transform on its band, and mixing in the plane."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resonance import BandMixing, PlaneMixing
from resonance.plane import PlaneBand, plane_analysis, plane_frequencies, plane_synthesis
from resonance.polar import count_parameters
from resonance.settings import without_settings

ENGINES = ("auto", "dense", "fft", "fast")
SIZES = st.integers(1, 12)
FREQUENCIES = st.integers(1, 6)


def complex_band(packed):
    return torch.complex(*packed.chunk(2, dim=1))


def fft2_band(x, ky, kx):
    """The kept half plane by torch's own two-dimensional FFT; zero where the plane does not hold a frequency."""
    rows, columns = x.shape[1:3]
    full = torch.fft.fft2(x, dim=(1, 2), norm="ortho")
    band = [
        full[:, fy % rows, fx % columns] if 2 * abs(fy) < rows and 2 * fx < columns else torch.zeros_like(full[:, 0, 0])
        for fy, fx in plane_frequencies(ky, kx).tolist()
    ]
    return torch.stack(band, dim=1)


def ifft2_plane(band, rows, columns, ky, kx):
    """The real plane of a half plane, its conjugates set by hand, by torch's own inverse FFT."""
    full = band.new_zeros(band.shape[0], rows, columns, band.shape[2])
    for value, (fy, fx) in zip(band.unbind(1), plane_frequencies(ky, kx).tolist(), strict=True):
        if 2 * abs(fy) < rows and 2 * fx < columns:
            full[:, fy % rows, fx % columns] += value if fy or fx else value.real
            if fy or fx:
                full[:, -fy % rows, -fx % columns] += value.conj()
    plane = torch.fft.ifft2(full, dim=(1, 2), norm="ortho")
    assert plane.imag.abs().max() < 1e-12
    return plane.real


# --------------------------------------------------------------------------- the transform


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, FREQUENCIES, FREQUENCIES, st.sampled_from(ENGINES), st.integers(0, 2**16))
def test_analysis_and_synthesis_are_the_two_dimensional_dft_on_the_band(rows, columns, ky, kx, engine, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, rows, columns, 3, generator=generator, dtype=torch.float64)
    band = complex_band(plane_analysis(x, (ky, kx), engine))
    torch.testing.assert_close(band, fft2_band(x, ky, kx), rtol=0, atol=1e-12)
    packed = torch.randn(2, 2 * len(plane_frequencies(ky, kx)), 3, generator=generator, dtype=torch.float64)
    expected = ifft2_plane(complex_band(packed), rows, columns, ky, kx)
    plane = plane_synthesis(packed, rows, columns, (ky, kx), engine)
    torch.testing.assert_close(plane, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_float32_is_as_close_as_float32_is(engine):
    x = torch.randn(2, 14, 14, 3)
    exact = plane_analysis(x.double(), 7, "fft")
    assert (plane_analysis(x, 7, engine) - exact).norm() < 1e-6 * exact.norm()


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES, FREQUENCIES, FREQUENCIES)
def test_every_frequency_of_the_half_plane_is_kept_once(rows, columns, ky, kx):
    chosen = plane_frequencies(ky, kx).tolist()
    assert len(chosen) == PlaneBand(rows, columns, ky, kx).k == ky * kx + (ky - 1) * (kx - 1)
    both = {tuple(f) for f in chosen} | {(-fy, -fx) for fy, fx in chosen}
    assert len(both) == (2 * ky - 1) * (2 * kx - 1) == 2 * len(chosen) - 1


def test_a_whole_odd_plane_comes_back():
    x = torch.randn(2, 7, 9, 3, dtype=torch.float64)
    torch.testing.assert_close(plane_synthesis(plane_analysis(x, (4, 5)), 7, 9, (4, 5)), x)


@pytest.mark.parametrize("engine", ENGINES)
def test_synthesis_is_the_adjoint_under_the_counted_product(engine):
    x, y = torch.randn(1, 8, 5, 1, dtype=torch.float64), torch.randn(1, 26, 1, dtype=torch.float64)
    c = torch.full((1, 26, 1), 2.0, dtype=torch.float64)
    c[:, 0] = c[:, 13] = 1.0
    y[:, 13] = 0.0  # the imaginary part at DC
    left = (c * plane_analysis(x, (3, 3), engine) * y).sum()
    torch.testing.assert_close(left, (x * plane_synthesis(y, 8, 5, (3, 3), engine)).sum())


def test_a_band_that_the_plane_cannot_hold_is_left_out():
    x = torch.randn(1, 3, 4, 2)
    large, small = complex_band(plane_analysis(x, 5)), complex_band(plane_analysis(x, 2))
    places = [plane_frequencies(5, 5).tolist().index(f) for f in plane_frequencies(2, 2).tolist()]
    torch.testing.assert_close(large[:, places], small)
    rest = [i for i in range(large.shape[1]) if i not in places]
    assert large[:, rest].abs().max() == 0


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: plane_analysis(torch.randn(3, 4, 5), 2), ValueError, r"\(batch, rows, columns, d\)"),
        (lambda: plane_analysis(torch.ones(1, 4, 5, 1, dtype=torch.int64), 2), TypeError, "floating"),
        (lambda: plane_analysis(np.ones((1, 4, 5, 1)), 2), TypeError, "torch tensor"),
        (lambda: plane_analysis(torch.randn(2, 0, 4, 1), 2), ValueError, "non-empty"),
        (lambda: plane_analysis(torch.randn(1, 4, 5, 1), 0), ValueError, "ky=0, kx=0"),
        (lambda: plane_analysis(torch.randn(1, 4, 5, 1), 2, "quick"), ValueError, "unknown engine"),
        (lambda: plane_synthesis(torch.randn(1, 9, 1), 4, 4, 2), ValueError, "2K=10"),
        (lambda: PlaneMixing(3, 2)(torch.randn(1, 4, 4, 2)), ValueError, "columns, 3"),
        (lambda: PlaneMixing(0, 2), ValueError, "dim >= 1"),
    ],
)
def test_bad_input_is_a_clear_error(call, error, match):
    with pytest.raises(error, match=match):
        call()


# --------------------------------------------------------------------------- mixing


def test_without_interference_it_is_a_circular_convolution():
    mixing = PlaneMixing(2, (3, 4), interference=False).double()
    x = torch.randn(1, 7, 9, 2, dtype=torch.float64)
    w = torch.complex(*mixing.weight.pair())
    with torch.no_grad():
        delta = torch.zeros(1, 7, 9, 2, dtype=torch.float64)
        delta[:, 0, 0] = 1.0
        kernel, out = mixing(delta), mixing(x)
        torch.testing.assert_close(mixing(x.roll((2, 5), (1, 2))), out.roll((2, 5), (1, 2)))
        product = torch.fft.rfft2(kernel, dim=(1, 2)) * torch.fft.rfft2(x, dim=(1, 2))
        torch.testing.assert_close(torch.fft.irfft2(product, (7, 9), dim=(1, 2)), out)
        index = plane_frequencies(3, 4).tolist().index([-2, 3])
        torch.testing.assert_close(torch.fft.fft2(kernel, dim=(1, 2))[0, -2, 3], w[index])


def test_one_row_is_the_layer_in_one_dimension():
    plane, line = PlaneMixing(3, (1, 4)), BandMixing(3, 4)
    line.load_state_dict(plane.state_dict())
    x = torch.randn(2, 1, 8, 3)
    torch.testing.assert_close(plane(x)[:, 0], line(x[:, 0]))
    turned = PlaneMixing(3, (4, 1))
    turned.load_state_dict(without_settings(plane.state_dict()))
    torch.testing.assert_close(turned(x.transpose(1, 2))[:, :, 0], line(x[:, 0]))


def test_the_same_weights_are_the_same_map_at_any_size():
    """Samples of one band-limited image on two grids go to samples of one image, with interference as without."""
    for interference in (True, False):
        mixing = PlaneMixing(2, 3, interference=interference).double()
        band = torch.randn(1, 2 * 13, 2, dtype=torch.float64)
        images = {n: plane_synthesis(n * band, n, n, 3) for n in (5, 6, 15, 30)}
        with torch.no_grad():
            fine = mixing(images[30])
            for n in (5, 6, 15):
                torch.testing.assert_close(mixing(images[n]), fine[:, :: 30 // n, :: 30 // n])


def test_gradients_are_right():
    mixing = PlaneMixing(2, 2).double()
    x = torch.randn(1, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    for engine in ("dense", "fft"):
        mixing.engine = engine
        parameters = dict(mixing.named_parameters())
        assert torch.autograd.gradcheck(
            lambda x, *p: torch.func.functional_call(mixing, dict(zip(parameters, p, strict=True)), x),  # noqa: B023
            (x, *(p.detach().requires_grad_() for p in parameters.values())),
        )


def test_autocast_computes_in_bfloat16_and_stays_close():
    torch.manual_seed(0)
    mixing, x = PlaneMixing(4, 3), torch.randn(2, 8, 8, 4)
    for engine in ("dense", "fast"):
        mixing.engine = engine
        with torch.autocast("cpu", torch.bfloat16):
            low = mixing(x)
        exact = mixing(x)
        assert low.dtype == torch.bfloat16
        assert (low.float() - exact).norm() < 0.02 * exact.norm()


def test_parameters_are_the_printed_formula():
    assert count_parameters(PlaneMixing(8, (3, 2))) == 2 * 8 * 8 + 2 * 8**2
