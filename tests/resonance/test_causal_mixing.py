"""Damped resonators: the equation, stable poles, learning, the layer read as a filter."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resonance import CausalMixing, causal_mixing
from resonance.engines.chunked import make_powers

ENGINES = ["fft", "chunked"]
extreme = st.floats(-(2.0**100), 2.0**100, width=32)


def resonators(octaves, frequencies, dtype=torch.float64):
    """A mixing whose parameters are given, frequencies in cycles per step."""
    mixing = CausalMixing(2, len(octaves)).to(dtype)
    with torch.no_grad():
        mixing.octave.copy_(torch.tensor(octaves))
        mixing.turns.copy_(torch.tensor(frequencies))
        mixing.spacing.fill_(1.0)
    return mixing


def stepped(mixing, x):
    state, out = mixing.initial_state(len(x)), []
    for sample in x.unbind(1):
        y, state = mixing.step(sample, state)
        out.append(y)
    return torch.stack(out, dim=1)


def by_definition(mixing, x):
    """The equation itself, in complex numbers and float64, sample by sample."""
    log = torch.complex(-1 / mixing.time_scales(), 2 * math.pi * mixing.frequencies())
    pole = log.exp()
    factor = torch.complex(*mixing.readout.double().chunk(2)) * (1 - pole.abs() ** 2).sqrt()[:, None]
    s = torch.zeros(len(x), len(pole), x.shape[2], dtype=torch.complex128)
    out = []
    for sample in x.double().unbind(1):
        s = pole[:, None] * s + sample[:, None]
        out.append(mixing.direct.double() * sample + (factor * s).real.sum(1))
    return torch.stack(out, dim=1)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 150), st.integers(1, 5), st.sampled_from(ENGINES), st.sampled_from([1, 3, 32]))
def test_both_engines_are_the_equation(n, k, engine, chunk):
    torch.manual_seed(n * 10 + k)
    mixing = CausalMixing(3, k, longest=50, engine=engine).double()
    x = torch.randn(2, n, 3, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(causal_mixing, "chunk_size", lambda n: min(n, chunk))
        torch.testing.assert_close(mixing(x), by_definition(mixing, x), rtol=1e-10, atol=1e-10)


@settings(deadline=None, max_examples=100)
@given(extreme, extreme)
@example(1e30, 0.0)
@example(-1e30, 1e30)
@example(20.0, 0.5)
def test_every_pole_lies_inside_the_circle(octave, turns):
    for dtype in (torch.float32, torch.float64):
        pole = resonators([octave], [turns], dtype).poles().double()
        assert 0 < pole.square().sum() < 1


@settings(deadline=None, max_examples=30)
@given(st.lists(extreme, min_size=6, max_size=6), st.sampled_from([1, 2, 31, 64, 65, 257]), st.sampled_from(ENGINES))
@example([1e30, 1e30, 1e30, 0.0, 0.5, 1e30], 257, "chunked")
def test_any_parameter_value_gives_a_bounded_map_and_finite_gradients(values, n, engine):
    torch.manual_seed(n)
    mixing = CausalMixing(2, 3, engine=engine)
    with torch.no_grad():
        mixing.octave.copy_(torch.tensor(values[:3]))
        mixing.turns.copy_(torch.tensor(values[3:]))
    x = torch.randn(1, n, 2)
    y, state = mixing.extend(x, mixing.initial_state(1))
    # A unit resonator has |h|_2 <= 1, so that |y_t| <= (b + sum |c|) |x|_2 (Cauchy-Schwarz).
    bound = (mixing.direct.abs() + torch.hypot(*mixing.readout.chunk(2)).sum(0)) * x.norm(dim=1)
    assert (y.abs() <= 1.001 * bound[:, None]).all() and (state.norm(dim=-1) <= n**0.5 * x.norm()).all()
    (y.square().sum() + state.square().mean()).backward()
    assert all(p.grad.isfinite().all() for p in mixing.parameters())
    with torch.no_grad():
        torch.testing.assert_close(stepped(mixing, x), y.detach(), rtol=1e-3, atol=1e-4 * float(bound.max()))


def test_a_unit_resonator_has_unit_energy():
    pole = resonators([1.0, 5.0], [0.3, 2.0]).poles()
    powers = make_powers(pole, 2000)
    energy = powers.square().sum((0, 2)) * (1 - pole.square().sum(1))
    torch.testing.assert_close(energy, torch.ones(2, dtype=torch.float64), rtol=1e-9, atol=0)


def test_powers_of_the_rounded_pole_are_those_that_a_recurrence_takes():
    pole = resonators([14.0], [700.3], torch.float32).poles()
    powers = make_powers(pole, 16385)
    exact = torch.view_as_complex(pole.double()) ** 16384
    assert abs(torch.view_as_complex(powers[-1].double()) - exact) < 1e-6 * abs(exact)


def test_it_learns_a_damped_wave_that_it_did_not_start_with():
    """A filter of one pole is found again, by gradient, through the chunked form."""
    torch.manual_seed(0)
    truth, model = CausalMixing(1, 1), CausalMixing(1, 1)
    with torch.no_grad():
        truth.octave.fill_(5.0), truth.turns.fill_(0.12), truth.readout.copy_(torch.tensor([[1.0], [-0.5]]))
        model.octave.fill_(4.5), model.turns.fill_(0.14)
    x = torch.randn(4, 300, 1)
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    for _ in range(400):
        optimizer.zero_grad()
        loss = (model(x) - truth(x)).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 1e-4
    torch.testing.assert_close(model.frequencies(), truth.frequencies(), rtol=0.02, atol=0)
    torch.testing.assert_close(model.time_scales(), truth.time_scales(), rtol=0.1, atol=0)


def test_the_response_is_the_transform_of_the_kernel():
    torch.manual_seed(0)
    mixing = CausalMixing(3, 5, longest=20).double()
    h = mixing.kernel(1024)  # 20 steps: nothing is left of it behind
    spectrum = torch.fft.rfft(h, dim=0)
    re, im = mixing.response(torch.fft.rfftfreq(1024).double())
    torch.testing.assert_close(torch.complex(re, im), spectrum, rtol=1e-9, atol=1e-9)


def test_a_step_follows_a_change_of_the_parameters_however_made():
    layer = CausalMixing(3, 2)
    x, state = torch.randn(1, 3), torch.randn(1, 3, 2, 2)
    with torch.no_grad():
        before = layer.step(x, state)[0]
        for change in (lambda: layer.turns.data.add_(0.3), lambda: layer.readout.mul_(2), lambda: layer.double()):
            change()
            kept = layer.step(x.to(layer.octave.dtype), state)[0]
            layer._kept = None
            assert torch.equal(kept, layer.step(x.to(layer.octave.dtype), state)[0])
        assert not torch.allclose(before.double(), kept)


def test_time_scales_are_spread_over_the_octaves():
    mixing = CausalMixing(1, 11, longest=2048)
    torch.testing.assert_close(
        mixing.time_scales().log2(), torch.arange(1.0, 12.0, dtype=torch.float64), rtol=1e-5, atol=0
    )
    assert mixing.frequencies().abs().max() <= 0.5


@pytest.mark.parametrize("n", [1, 7, 64, 256, 1024, 5000, 70000])
def test_auto_is_one_of_the_engines_and_its_chunks_fit(n):
    assert causal_mixing.choose_engine(n) in ENGINES and 1 <= causal_mixing.chunk_size(n) <= n


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CausalMixing(0, 4), "dim >= 1"),
        (lambda: CausalMixing(4, 4, longest=1), "longest time scale"),
        (lambda: CausalMixing(4, 4, engine="fast"), "unknown engine 'fast'"),
        (lambda: CausalMixing(4, 2).step(torch.zeros(2, 3, 4), torch.zeros(2, 4, 2, 2)), "one sample"),
        (lambda: CausalMixing(4, 2).extend(torch.zeros(2, 3, 4), torch.zeros(1, 4, 2, 2)), "expected a state"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
