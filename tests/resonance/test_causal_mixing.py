"""Damped resonators: the equation, stable poles, learning, the layer read as a filter."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, stack_module_state

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
            layer._kept.last = None
            assert torch.equal(kept, layer.step(x.to(layer.octave.dtype), state)[0])
        assert not torch.allclose(before.double(), kept)


def test_the_gradients_that_are_written_out_are_those_of_autograd():
    torch.manual_seed(0)
    octave = torch.tensor([-3.0, 2.0, 8.0, 15.0], dtype=torch.float64)
    turn = torch.tensor([0.0, 0.3, 1.7, -0.4], dtype=torch.float64)
    inputs = [t.requires_grad_(True) for t in (octave, turn, torch.randn(8, 2, dtype=torch.float64))]
    results = []
    for call in (causal_mixing.powers_and_readout, causal_mixing._PowersAndReadout.apply):
        torch.manual_seed(1)
        outputs = call(*inputs, 7)
        cotangents = [torch.randn_like(output) for output in outputs]
        gradients = torch.autograd.grad(outputs, inputs, cotangents, create_graph=True)
        first = torch.autograd.grad(call(*inputs, 7), inputs, cotangents)  # without a graph: another path
        second = torch.autograd.grad(sum(g.square().sum() for g in gradients), inputs)
        results.append([*outputs, *gradients, *first, *second])
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-9)
    single = [t.detach().float().requires_grad_(True) for t in inputs]
    outputs = causal_mixing._PowersAndReadout.apply(*single, 7)
    gradients = torch.autograd.grad(outputs, single, [c.float() for c in cotangents])
    assert {t.dtype for t in (*outputs, *gradients)} == {torch.float32}
    for ours, exact in zip(gradients, results[0][5:8], strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-4)


def test_time_scales_stay_within_their_octaves():
    theta = torch.tensor([-1e9, -4.0, 0.0, 8.0, 9.0, 20.0, 1e9], dtype=torch.float64)
    exact = torch.exp2(8 + 12 * torch.tanh((theta - 8) / 12))
    torch.testing.assert_close(1 / causal_mixing.decay_rate(theta), exact)
    assert exact[0] == 2**-4 and exact[3] == 2**8 and exact[-1] == 2**20
    torch.testing.assert_close(causal_mixing.octave_of(exact[1:-1]), theta[1:-1])
    mixing = resonators(theta[1:-1].tolist(), [0.0, 0.25, -0.25, 1.2, -3.4])
    torch.testing.assert_close(mixing.time_scales(), exact[1:-1])
    turns = torch.tensor([0.0, 0.25, -0.25, 0.2, -0.4], dtype=torch.float64)
    torch.testing.assert_close(mixing.frequencies(), turns, rtol=1e-5, atol=1e-9)
    poles = torch.polar(torch.exp(-1 / exact[1:-1]), 2 * math.pi * turns)
    torch.testing.assert_close(torch.view_as_complex(mixing.poles()), poles, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_mixing_starts_as_it_says():
    torch.manual_seed(0)
    mixing = CausalMixing(500, 6)
    tau = mixing.time_scales()
    assert tau[0] == pytest.approx(2, rel=1e-5) and tau[-1] == pytest.approx(2048, rel=1e-5)
    assert mixing.turns.tolist() == [0.0, 0.25, 0.5, 1.0, 0.0, 0.25]
    cycles = torch.tensor([0.0, 0.25, 0.5, 1.0, 0.0, 0.25], dtype=torch.float64)
    torch.testing.assert_close(mixing.frequencies() * tau, cycles, rtol=1e-3, atol=1e-4)
    assert mixing.readout.std() == pytest.approx(6**-0.5, rel=0.05) and torch.equal(mixing.direct, torch.ones(500))
    assert CausalMixing(1, 1, longest=2, dtype=torch.float64).octave.dtype == torch.float64
    assert CausalMixing(1, 4, longest=2**20 - 1).num_resonators == 4


@pytest.mark.parametrize("engine", ENGINES)
def test_padding_has_no_effect_and_the_output_there_is_zero(engine):
    torch.manual_seed(0)
    mixing = CausalMixing(3, 2, engine=engine)
    x, start, lengths = torch.randn(4, 70, 3), torch.randn(4, 3, 2, 2), torch.tensor([1, 33, 69, 70])
    spoilt = x.masked_fill(torch.arange(70)[:, None] >= lengths[:, None, None], math.nan)
    y, state = mixing.extend(spoilt, start, lengths)
    for i, n in enumerate(lengths.tolist()):
        alone, end = mixing.extend(x[i : i + 1, :n], start[i : i + 1])
        torch.testing.assert_close(y[i, :n], alone[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(state[i], end[0], rtol=1e-4, atol=1e-5)
        assert (y[i, n:] == 0).all()
    out, none = mixing.extend(spoilt, None, lengths)
    assert none is None and torch.equal(out, mixing(spoilt, lengths)) and (out[0, 1:] == 0).all()


@torch.no_grad()
def test_states_are_float32_at_least_and_outputs_as_the_input():
    mixing = CausalMixing(3, 2)
    assert mixing.initial_state(4).shape == (4, 3, 2, 2) and not mixing.initial_state(4).any()
    for dtype, kept in ((torch.bfloat16, torch.float32), (None, torch.float32), (torch.float64, torch.float64)):
        assert mixing.initial_state(1, dtype=dtype).dtype == kept
    x = torch.randn(4, 3, dtype=torch.bfloat16)
    for model in (mixing, CausalMixing(3, 2, dtype=torch.bfloat16)):
        y, state = model.step(x, model.initial_state(4))
        assert y.dtype == torch.bfloat16 and state.dtype == torch.float32
        z, state = model.extend(x[:, None], model.initial_state(4))
        assert z.dtype == torch.bfloat16 and state.dtype == torch.float32
        torch.testing.assert_close(z[:, 0], y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mixing(torch.ones(1, 200, 3)), mixing(torch.ones(1, 200, 3)).float())
    assert mixing.poles(torch.float64).dtype == torch.float64 and mixing.poles().dtype == torch.float32


def test_constants_of_a_step_are_kept_while_no_gradient_is_recorded():
    layer = CausalMixing(3, 2)
    x, state = torch.randn(1, 3), torch.randn(1, 3, 2, 2)
    layer.step(x, state)[0].sum().backward()
    assert layer._kept.last is None and layer.octave.grad is not None
    with torch.no_grad():
        first = layer._step_constants(torch.float32)
        assert all(a is b for a, b in zip(first, layer._step_constants(torch.float32), strict=True))
        assert layer._step_constants(torch.float64)[0].dtype == torch.float64
    assert layer._step_constants(torch.float64)[0].requires_grad


class Step(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.mixing = CausalMixing(4, 3)

    def forward(self, x, state):
        return self.mixing.step(x, state)[0]


@torch.no_grad()
def test_a_step_within_a_transform_leaves_nothing_that_a_later_step_meets():
    model, others, x = Step(), [Step(), Step()], torch.randn(2, 4)
    state, (weights, buffers) = model.mixing.initial_state(2), stack_module_state(others)
    expected = model(x, state)
    for _ in range(2):
        one_each = torch.vmap(lambda w, b: functional_call(model, (w, b), (x, state)))(weights, buffers)
        torch.testing.assert_close(one_each, torch.stack([other(x, state) for other in others]))
        with FakeTensorMode(allow_non_fake_inputs=True) as fake:
            assert model(fake.from_tensor(x), fake.from_tensor(state)).shape == x.shape
        assert torch.equal(model(x, state), expected)
    meta = Step().to("meta")
    for _ in range(2):
        assert meta(x.to("meta"), state.to("meta")).shape == x.shape


def test_time_scales_are_spread_over_the_octaves():
    mixing = CausalMixing(1, 11, longest=2048)
    torch.testing.assert_close(
        mixing.time_scales().log2(), torch.arange(1.0, 12.0, dtype=torch.float64), rtol=1e-5, atol=0
    )
    assert mixing.frequencies().abs().max() <= 0.5


@pytest.mark.parametrize("n", [1, 7, 64, 256, 1024, 5000, 70000])
def test_auto_is_one_of_the_engines_and_its_chunks_fit(n):
    assert causal_mixing.choose_causal_engine(n) in ENGINES and 1 <= causal_mixing.chunk_size(n) <= n


def test_the_measured_choices():
    assert [causal_mixing.choose_causal_engine(n) for n in (128, 129)] == ENGINES
    assert [causal_mixing.chunk_size(n) for n in (31, 33, 4096, 4097)] == [31, 32, 32, 64]
    compiled = torch.compile(lambda x: x * (causal_mixing.choose_causal_engine(len(x)) == "fft"), backend="eager")
    assert compiled(torch.ones(500)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CausalMixing(0, 4), "dim >= 1"),
        (lambda: CausalMixing(4, 0), "num_resonators >= 1"),
        (lambda: CausalMixing(4, 4, longest=1.5), "longest time scale"),
        (lambda: CausalMixing(4, 4, longest=2**20), "longest time scale"),
        (lambda: CausalMixing(4, 4, engine="fast"), "unknown engine 'fast'"),
        (lambda: CausalMixing(4, 2).step(torch.zeros(2, 3, 4), torch.zeros(2, 4, 2, 2)), r"shape \(batch, 4\)"),
        (lambda: CausalMixing(4, 2).step(torch.zeros(2, 3), torch.zeros(2, 4, 2, 2)), r"shape \(batch, 4\)"),
        (lambda: CausalMixing(4, 2).step(torch.zeros(2, 4), torch.zeros(3, 4, 2, 2)), "expected a state"),
        (lambda: CausalMixing(4, 2).extend(torch.zeros(2, 3, 4), torch.zeros(1, 4, 2, 2)), "expected a state"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
