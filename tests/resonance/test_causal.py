"""Causal resonance: one map three ways, causality, stability, states, lengths, and what the layer is a limit of."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from artifact.peers.causal import CausalAttention
from artifact.studies.causal import benchmark as causal_benchmark
from artifact.studies.causal import study as causal_study
from artifact.studies.causal.study import undamped
from artifact.studies.causal.tables import causal_tables
from resonance import BandMixing, CausalMixing, CausalResonance, causal_mixing
from resonance.engines.chunked import (
    _Chunked,
    by_chunks,
    by_fft,
    chunked,
    constants,
    kernel,
    make_poles,
    make_powers,
    turned,
)
from resonance.forecasting import Series, forecast_task

ENGINES = ["fft", "chunked"]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
extreme = st.floats(-(2.0**100), 2.0**100, width=32)


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


def stepped(layer, x, state=None):
    """The recurrence over a whole sequence: y, and the state behind it."""
    state = layer.initial_state(len(x), dtype=x.dtype) if state is None else state
    with torch.no_grad():
        out = []
        for token in x.unbind(1):
            y, state = layer.step(token, state)
            out.append(y)
    return torch.stack(out, dim=1), state


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


# --------------------------------------------------------------------------- one map, three ways


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 150), st.integers(1, 5), st.sampled_from(ENGINES), st.sampled_from([1, 3, 32]))
def test_both_engines_are_the_equation(n, k, engine, chunk):
    torch.manual_seed(n * 10 + k)
    mixing = CausalMixing(3, k, longest=50, engine=engine).double()
    x = torch.randn(2, n, 3, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(causal_mixing, "chunk_size", lambda n: min(n, chunk))
        torch.testing.assert_close(mixing(x), by_definition(mixing, x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("longest", [2048, 16384])
@torch.no_grad()
def test_three_ways_agree_over_16384_steps(dtype, longest):
    torch.manual_seed(0)
    layer = CausalResonance(4, 16, longest=longest).to(dtype)
    x = torch.randn(1, 16384, 4, dtype=dtype)
    y, state = stepped(layer, x)
    for engine in ENGINES:
        layer.mixing.engine = engine
        parallel, end = layer.extend(x, layer.initial_state(1))
        assert relative(parallel, y) < TOLERANCE[dtype]
        assert relative(layer(x), y) < TOLERANCE[dtype]
        assert relative(end["resonators"], state["resonators"]) < TOLERANCE[dtype]
        assert torch.equal(end["previous"], state["previous"])


@settings(deadline=None, max_examples=20)
@given(st.data(), st.integers(1, 200), st.sampled_from(ENGINES))
def test_a_state_is_carried_across_any_cut(data, n, engine):
    torch.manual_seed(n)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4)))
    layer = CausalResonance(3, 4, longest=64, engine=engine).double()
    x = torch.randn(2, n, 3, dtype=torch.float64)
    whole, end = layer.extend(x, layer.initial_state(2))
    state, parts = layer.initial_state(2), []
    for a, b in zip([0, *cuts], [*cuts, n], strict=True):
        if b > a:
            y, state = layer.extend(x[:, a:b], state)
            parts.append(y)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state, end, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
def test_cuts_at_and_beside_the_borders_of_chunks(engine):
    torch.manual_seed(0)
    layer = CausalResonance(2, 3, engine=engine).double()
    n = 3000
    size = causal_mixing.chunk_size(n)
    x = torch.randn(1, n, 2, dtype=torch.float64)
    y, end = stepped(layer, x)
    for cut in (size - 1, size, size + 1, 7 * size):
        first, state = layer.extend(x[:, :cut], layer.initial_state(1))
        second, state = layer.extend(x[:, cut:], state)
        torch.testing.assert_close(torch.cat([first, second], dim=1), y, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(state, end, rtol=1e-10, atol=1e-10)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=4), st.sampled_from(ENGINES))
@example([1, 32, 33, 64], "chunked")
def test_sequences_of_unequal_length_in_one_batch(lengths, engine):
    torch.manual_seed(sum(lengths))
    n = max(lengths) + 3
    layer = CausalResonance(3, 2, engine=engine).double()
    x = torch.randn(len(lengths), n, 3, dtype=torch.float64)
    for row, length in zip(x, lengths, strict=True):
        row[length:] = math.nan  # what stands in the padding must reach nothing
    x.requires_grad_(True)
    start = {name: torch.randn_like(part) for name, part in layer.initial_state(len(lengths)).items()}
    y, end = layer.extend(x, start, torch.tensor(lengths))
    for b, length in enumerate(lengths):
        alone, state = layer.extend(x[b : b + 1, :length], {name: part[b : b + 1] for name, part in start.items()})
        torch.testing.assert_close(y[b : b + 1, :length], alone, rtol=1e-10, atol=1e-10)
        assert not y[b, length:].any()
        torch.testing.assert_close({name: part[b : b + 1] for name, part in end.items()}, state, rtol=1e-10, atol=1e-10)
    (g,) = torch.autograd.grad(y.sum() + end["resonators"].sum(), x)
    assert g.isfinite().all() and all(not row[length:].any() for row, length in zip(g, lengths, strict=True))


# --------------------------------------------------------------------------- causality, stability


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_output_depends_on_a_later_input(engine, dtype):
    """The gradient of every output position, at every input position."""
    torch.manual_seed(0)
    n = 70  # two whole chunks and a part of one
    layer = CausalResonance(2, 4, engine=engine).to(dtype)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x).sum((0, 2)), torch.randn(1, n, 2, dtype=dtype))
    size = jacobian[:, 0].abs().amax(-1)  # (output, input)
    future = size.triu(1).max() / size.max()
    assert size.diagonal().min() > 0 and size.tril().count_nonzero() == n * (n + 1) // 2
    # An FFT mixes all samples and cancels them: to rounding.
    assert future <= {"fft": {torch.float32: 1e-6, torch.float64: 1e-14}[dtype], "chunked": 0.0}[engine]


@settings(deadline=None, max_examples=100)
@given(extreme, extreme)
@example(1e30, 0.0)
@example(-1e30, 1e30)
@example(20.0, 0.5)
def test_every_pole_lies_inside_the_circle(octave, turns):
    for dtype in (torch.float32, torch.float64):
        pole = make_poles(torch.tensor([octave]), torch.tensor([turns]), dtype)[0].double()
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
        torch.testing.assert_close(stepped(mixing, x)[0], y.detach(), rtol=1e-3, atol=1e-4 * float(bound.max()))


def test_a_unit_resonator_has_unit_energy():
    pole = make_poles(torch.tensor([1.0, 5.0]), torch.tensor([0.3, 2.0]), torch.float64)[0]
    powers = make_powers(pole, 2000)
    energy = powers.square().sum((0, 2)) * (1 - pole.square().sum(1))
    torch.testing.assert_close(energy, torch.ones(2, dtype=torch.float64), rtol=1e-9, atol=0)


def test_powers_of_the_rounded_pole_are_those_that_a_recurrence_takes():
    pole = make_poles(torch.tensor([14.0]), torch.tensor([700.3]), torch.float32)[0]
    powers = make_powers(pole, 16385)
    exact = torch.view_as_complex(pole.double()) ** 16384
    assert abs(torch.view_as_complex(powers[-1].double()) - exact) < 1e-6 * abs(exact)


# --------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n", [3, 8, 10])
def test_gradcheck(engine, n, monkeypatch):
    monkeypatch.setattr(causal_mixing, "chunk_size", lambda n: min(n, 4))
    torch.manual_seed(0)
    layer = CausalResonance(2, 3, longest=20, engine=engine).double()
    names = [name for name, _ in layer.named_parameters()]
    lengths = torch.tensor([n, n - 1])

    class Extended(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = layer

        def forward(self, x, resonators, previous):
            y, state = self.inner.extend(x, {"resonators": resonators, "previous": previous}, lengths)
            return y, state["resonators"], state["previous"]

    extended = Extended()

    def call(x, resonators, previous, *values):
        parameters = {f"inner.{name}": value for name, value in zip(names, values, strict=True)}
        return torch.func.functional_call(extended, parameters, (x, resonators, previous))

    inputs = [torch.randn(2, n, 2), torch.randn(2, 2, 3, 2), torch.randn(2, 2), *layer.parameters()]
    assert torch.autograd.gradcheck(call, [v.detach().double().clone().requires_grad_(True) for v in inputs])


def test_the_written_gradients_are_those_of_the_operations():
    torch.manual_seed(0)
    mixing = CausalMixing(3, 4).double()
    x = torch.randn(3, 2, 24, dtype=torch.float64, requires_grad=True)
    start = torch.randn(3, 2, 4, 2, dtype=torch.float64, requires_grad=True)
    results = []
    for run in (_Chunked.apply, chunked):
        powers, readout = constants(mixing.octave, mixing.turns * mixing.spacing, mixing.readout, 9)
        y, states = run(x, powers, readout, mixing.direct, start)
        leaves = [x, start, *mixing.parameters()]
        results.append((y, states, *torch.autograd.grad(y.square().sum() + states.pow(3).sum(), leaves)))
    for written, derived in zip(*results, strict=True):
        torch.testing.assert_close(written, derived, rtol=1e-9, atol=1e-9)


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


# --------------------------------------------------------------------------- a filter, and the band layer's limit


def test_the_response_is_the_transform_of_the_kernel():
    torch.manual_seed(0)
    mixing = CausalMixing(3, 5, longest=20).double()
    h = mixing.kernel(1024)  # 20 steps: nothing is left of it behind
    spectrum = torch.fft.rfft(h, dim=0)
    re, im = mixing.response(torch.fft.rfftfreq(1024).double())
    torch.testing.assert_close(torch.complex(re, im), spectrum, rtol=1e-9, atol=1e-9)


def test_the_band_layer_is_what_undamped_resonators_say_after_the_window():
    """Proposition "limit", first part: N samples, then silence; the second period is the band layer, exactly."""
    torch.manual_seed(0)
    n, k, d = 32, 6, 3
    mixing = BandMixing(d, k, interference=False).double()
    x = torch.randn(2, n, d, dtype=torch.float64)
    pole, readout = undamped(mixing, n, 1.0)
    heard = torch.cat([x, torch.zeros_like(x)], dim=1).permute(2, 0, 1).contiguous()
    powers = make_powers(pole, 17)
    y, _ = by_chunks(heard, powers, readout, torch.zeros(d, dtype=torch.float64), None)
    torch.testing.assert_close(y[..., n:].permute(1, 2, 0), mixing(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("decay", [1e-1, 1e-2, 1e-3])
def test_and_the_limit_of_damped_ones_on_a_periodic_signal(decay):
    """Proposition "limit", second part: an N-periodic signal; the distance is within its bound."""
    torch.manual_seed(0)
    n, k, d = 16, 5, 2
    mixing = BandMixing(d, k, interference=False).double()
    x = torch.randn(1, n, d, dtype=torch.float64)
    r = math.exp(-decay / n)
    pole, readout = undamped(mixing, n, r)
    periods = math.ceil(36 / decay) + 1  # e^-36 is left of the first
    heard = x.repeat(1, periods, 1).permute(2, 0, 1).contiguous()
    y, _ = by_chunks(heard, make_powers(pole, 65), readout * (1 - r**n), torch.zeros(d, dtype=torch.float64), None)
    error = (y[..., -n:].permute(1, 2, 0) - mixing(x)).abs()
    bound = (1 - r**n) * readout.norm(dim=-1).sum(1) * x.abs().sum(1)  # (1, d)
    assert (error <= bound[:, None] + 1e-9).all() and error.max() > 0.01 * bound.max()


# --------------------------------------------------------------------------- half precision, compilers, shape and state


@pytest.mark.parametrize("engine", ENGINES)
def test_autocast_to_bfloat16(engine):
    torch.manual_seed(0)
    layer = CausalResonance(16, 4, engine=engine)
    x = torch.randn(2, 100, 16)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):  # the whole step inside, as training loops have it
        y = layer(x)
        y.float().square().mean().backward()
    assert y.dtype == torch.bfloat16 and relative(y.float(), expected) < 0.03
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in layer.parameters())
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        stepped_y, state = stepped(layer, x)
    assert state["resonators"].dtype == torch.float32 and relative(stepped_y.float(), expected) < 0.03


def test_a_layer_in_bfloat16_keeps_its_state_in_float32():
    layer = CausalResonance(8, 4).bfloat16()
    x = torch.randn(2, 40, 8).bfloat16()
    y, state = layer.extend(x, layer.initial_state(2))
    assert y.dtype == torch.bfloat16 and state["resonators"].dtype == torch.float32
    assert relative(stepped(layer, x)[0].float(), y.float()) < 0.05


@pytest.mark.parametrize("engine", ENGINES)
def test_compile_and_export(engine):
    torch.manual_seed(0)
    layer = CausalResonance(4, 3, engine=engine)
    x = torch.randn(2, 50, 4)
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    y = compiled(x)
    torch.testing.assert_close(y, layer(x), rtol=1e-4, atol=1e-5)
    expected = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    for a, b in zip(torch.autograd.grad(y.square().sum(), list(layer.parameters())), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    program = torch.export.export(layer, (x,))
    torch.testing.assert_close(program.module()(x), layer(x), rtol=1e-4, atol=1e-5)


def test_state_and_parameters_are_real_and_of_constant_size():
    layer = CausalResonance(8, 4)
    state = layer.initial_state(3, dtype=torch.float64)
    assert {name: tuple(part.shape) for name, part in state.items()} == {"resonators": (3, 8, 4, 2), "previous": (3, 8)}
    assert all(not t.is_complex() for t in [*state.values(), *layer.state_dict().values()])
    assert sum(p.numel() for p in layer.parameters()) == 3 * 64 + (2 * 4 + 5) * 8 + 2 * 4
    _, after = layer.extend(torch.randn(3, 500, 8), layer.initial_state(3))
    assert {name: part.shape for name, part in after.items()} == {name: part.shape for name, part in state.items()}


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CausalMixing(0, 4), "dim >= 1"),
        (lambda: CausalResonance(4, 0), "num_resonators >= 1"),
        (lambda: CausalMixing(4, 4, longest=1), "longest time scale"),
        (lambda: CausalMixing(4, 4, engine="fast"), "unknown engine 'fast'"),
        (lambda: CausalResonance(4, 2)(torch.zeros(2, 3)), "batch"),
        (lambda: CausalResonance(4, 2)(torch.zeros(2, 3, 5)), "4"),
        (lambda: CausalResonance(4, 2)(torch.zeros(2, 3, 4), torch.tensor([1, 4])), "1..3"),
        (lambda: CausalMixing(4, 2).step(torch.zeros(2, 3, 4), torch.zeros(2, 4, 2, 2)), "one sample"),
        (lambda: CausalMixing(4, 2).extend(torch.zeros(2, 3, 4), torch.zeros(1, 4, 2, 2)), "expected a state"),
        (lambda: CausalAttention(6, 4), "divisible"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --------------------------------------------------------------------------- the peer, the choice, the benchmark


def test_the_peer_steps_as_it_runs_in_parallel_and_is_causal():
    torch.manual_seed(0)
    peer = CausalAttention(16, 4).double()
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    cache = peer.initial_state(2, 9)
    y = torch.stack([peer.step(token, cache, t) for t, token in enumerate(x.unbind(1))], dim=1)
    torch.testing.assert_close(y, peer(x))
    torch.testing.assert_close(peer(x[:, :5]), peer(x)[:, :5])


@pytest.mark.parametrize("n", [1, 7, 64, 256, 1024, 5000, 70000])
def test_auto_is_one_of_the_engines_and_its_chunks_fit(n):
    assert causal_mixing.choose_engine(n) in ENGINES and 1 <= causal_mixing.chunk_size(n) <= n


def test_benchmark_tables():
    table = causal_benchmark.layers([64, 128, 192], resonators=[4], rounds=1)
    auto = table[table["engine"] == "auto"]
    assert (table["ratio"] * table["seconds"]).to_list() == pytest.approx(table["peer_seconds"].to_list())
    assert (auto["products_floor"] > 0).all() and (auto["seconds"] > auto["bytes_floor"]).all()
    slopes = causal_benchmark.growth(table, shortest=1)
    assert set(slopes["case"]) == {"auto.k4", "fft.k4", "attention"} and (slopes["low"] <= slopes["high"]).all()
    steps = causal_benchmark.steps([64, 128], k=4, rounds=1)
    assert steps["state_bytes"].nunique() == 1 and steps["state_bytes"][0] == 4 * (128 * 4 * 2 + 128)
    assert steps["cache_bytes"].to_list() == [2 * 4 * 128 * (n + 1) for n in (64, 128)]
    choice = causal_benchmark.engines([32], batches=[2], k=4, rounds=1)
    assert choice["over_best"][0] >= 1


def test_kernel_and_engines_share_their_constants():
    mixing = CausalMixing(2, 3).double()
    powers, readout = constants(mixing.octave, mixing.turns * mixing.spacing, mixing.readout, 41)
    impulse = torch.zeros(2, 1, 40, dtype=torch.float64)
    impulse[..., 0] = 1
    torch.testing.assert_close(
        by_fft(impulse, powers, readout, mixing.direct, None)[:, 0], kernel(powers[:40], readout, mixing.direct)
    )
    assert torch.equal(turned(powers[:1], powers[5]), powers[5:6])


# --------------------------------------------------------------------------- the study


def test_the_study_finds_what_the_report_says_and_its_tables_print_it():
    torch.manual_seed(0)
    equal, leaks = causal_study.equalities(300, dim=3, k=4), causal_study.leaks(40)
    assert len(equal) == 8 and equal["reached"].all() and (equal["error"] > 0).all()
    assert (leaks["past"] == 40 * 41 / 2).all() and (leaks.loc[leaks["engine"] == "chunked", "future"] == 0).all()
    limit = causal_study.limit([1, 10], n=16, k=4)
    assert (limit["error"] <= limit["bound"] + 1e-9).all() and limit["error"].is_monotonic_decreasing
    errors, gains = pd.DataFrame({"mse": [1.0, 2.0, 3.0, 4.0]}), pd.DataFrame({"layer": ["trained"] * 2})
    gains = gains.assign(frequency=[0.05, 0.1], gain=[1.0, 2.0])
    found = causal_study.measures(equal, leaks, limit, errors, gains, 12)
    speeds = causal_benchmark.layers([32, 64], resonators=[4], rounds=1)
    steps, engines = causal_benchmark.steps([32], k=4, rounds=1), pd.DataFrame({"over_best": [1.1]})
    found += causal_benchmark.measures(speeds, causal_benchmark.growth(speeds), engines, steps)
    by_key = pd.DataFrame([(key, value) for key, value, *_ in found], columns=["key", "value"]).set_index("key")
    assert by_key.index.is_unique and by_key["value"].map(math.isfinite).all()
    assert by_key.loc["causal.filter.peak", "value"] == pytest.approx(10)
    tables = causal_tables(by_key.rename(index=lambda key: key.replace("k4", "k16")))
    assert set(tables) == {"causal", "causal_steps"} and r"\num{32}" not in tables["causal"]
    assert causal_tables(by_key.iloc[:0]) == {}


def test_a_filter_trained_on_waves_advances_them():
    generator = np.random.default_rng(0)
    hours = np.arange(3000)
    wave = np.sin(2 * np.pi * hours / 20 + np.cumsum(0.05 * generator.standard_normal(3000)))
    values = np.stack([wave, wave + 0.5 * generator.standard_normal(3000)], axis=1)
    task = forecast_task(Series("waves", values, ("a", "b"), 20, "hour"), 7)
    torch.manual_seed(0)
    start, model, errors = causal_study.fit_filter(task, k=8, longest=128, ahead=7, steps=250, rate=0.05)
    mse = errors.set_index("forecast")["mse"]
    assert mse["learned filter"] < 0.8 * mse.drop("learned filter").min()
    # What foretells a wave is an advance at its frequency.
    answer = torch.complex(*model.response(torch.tensor([1 / 20])))[0, 0].item()
    assert abs(answer - np.exp(2j * np.pi * 7 / 20)) < 0.2
    poles, gains = causal_study.read_filter({"at the start": start, "trained": model}, points=100)
    assert len(poles) == 16 and len(gains) == 200 and (np.hypot(poles["re"], poles["im"]) < 1).all()
