"""Causal resonance: one map three ways, states, lengths, causality, half precision and compilers."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from resonance import CausalMixing, CausalResonance, HolographicRecall, causal_mixing
from resonance.recall import PlainRecall

ENGINES = ["fft", "chunked"]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CausalResonance(4, 0), "num_resonators >= 1"),
        (lambda: CausalResonance(4, 2)(torch.zeros(2, 3)), "batch"),
        (lambda: CausalResonance(4, 2)(torch.zeros(2, 3, 5)), "4"),
        (lambda: CausalResonance(4, 2)(torch.zeros(2, 3, 4), torch.tensor([1, 4])), "1..3"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


LAYERS = {
    "mixing by fft": lambda: CausalMixing(3, 2, engine="fft"),
    "mixing by chunks": lambda: CausalMixing(3, 2, engine="chunked"),
    "sublayer": lambda: CausalResonance(3, 2),
    "plain recall": lambda: PlainRecall(3, 1, features=4),
    "recall": lambda: HolographicRecall(3, 1, features=4),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    torch.manual_seed(0)
    return LAYERS[request.param]().double()


def state_of(layer, batch=2):
    return layer.initial_state(batch, dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 31, 32, 33, 129, 160])
def test_an_activation_in_place_may_follow(layer, n):
    x = torch.randn(2, n, 3, dtype=torch.float64)
    for call in (layer, lambda x: layer(x, [n, 1]), lambda x: layer.extend(x, state_of(layer))[0]):
        leaves = [x.requires_grad_(), *layer.parameters()]
        found, expected = (torch.autograd.grad(f(call(x)).sum(), leaves) for f in (torch.relu_, torch.relu))
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("n", [1, 129, 200])
def test_every_saved_tensor_is_unpacked_once(layer, n):
    class Once:
        def __init__(self, tensor):
            self.tensor, self.left = tensor, 1

        def unpack(self):
            self.left -= 1
            assert self.left >= 0, "a saved tensor is read twice"
            return self.tensor

    x = torch.randn(2, n, 3, dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(layer(x).square().sum(), x)
    with torch.autograd.graph.saved_tensors_hooks(Once, Once.unpack):
        loss = layer(x).square().sum()
    assert torch.equal(torch.autograd.grad(loss, x)[0], expected[0])
    again = checkpoint(layer, x, use_reentrant=False).square().sum()
    assert torch.equal(torch.autograd.grad(again, x)[0], expected[0])


@pytest.mark.parametrize("n", [3, 5, 8])
def test_second_derivatives(layer, n, monkeypatch):
    monkeypatch.setattr(causal_mixing, "chunk_size", lambda n: min(n, 4))
    names, values = zip(*layer.named_parameters(), strict=True)

    def call(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    x = torch.randn(2, n, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(call, (x, *values), fast_mode=True)


@pytest.mark.parametrize("n", [5, 140])
def test_functional_transforms(layer, n):
    xs, v = torch.randn(3, 2, n, 3, dtype=torch.float64), torch.randn(2, n, 3, dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(layer)(xs), torch.stack([layer(x) for x in xs]))
    parameters = dict(layer.named_parameters())

    def loss(parameters, x):
        return torch.func.functional_call(layer, parameters, (x,)).square().sum()

    def derived(x):
        return dict(zip(parameters, torch.autograd.grad(loss(parameters, x), parameters.values()), strict=True))

    expected = [derived(x) for x in xs]
    torch.testing.assert_close(torch.func.grad(loss)(parameters, xs[0]), expected[0])
    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, xs)  # a gradient a sample
    torch.testing.assert_close(found, {name: torch.stack([g[name] for g in expected]) for name in parameters})
    slope = (torch.autograd.functional.jvp(layer, xs[0], v)[1], torch.func.jvp(layer, (xs[0],), (v,))[1])
    with torch.autograd.forward_ad.dual_level():
        dual = layer(torch.autograd.forward_ad.make_dual(xs[0], v))
        slope += (torch.autograd.forward_ad.unpack_dual(dual).tangent,)
    for found in slope[1:]:
        torch.testing.assert_close(found, slope[0])


def test_a_state_has_memory_of_its_own(layer):
    """A buffer that is filled anew for every token, as streams have it, must not reach back into the state."""
    tokens, buffer, state = torch.randn(5, 2, 3, dtype=torch.float64), torch.empty(2, 3).double(), state_of(layer)
    with torch.no_grad():
        expected, end = stepped_anew(layer, tokens)
        found = []
        for token in tokens:
            y, state = layer.step(buffer.copy_(token), state)
            found.append(y)
        buffer.fill_(math.nan)
        torch.testing.assert_close((torch.stack(found), state), (expected, end), rtol=0, atol=0)
        x = tokens.movedim(0, 1).clone()
        _, state = layer.extend(x, state_of(layer))
        x.fill_(math.nan)
        for part in copy.deepcopy(state if isinstance(state, dict) else {"s": state}).values():
            assert part.isfinite().all() and part.untyped_storage().nbytes() == part.nbytes


def stepped_anew(layer, tokens):
    state, ys = state_of(layer), []
    for token in tokens:
        y, state = layer.step(token.clone(), state)
        ys.append(y)
    return torch.stack(ys), state


@pytest.mark.parametrize("name", ["sublayer", "recall"])
def test_one_graph_serves_every_batch_and_length(name):
    torch.manual_seed(0)
    layer, x = LAYERS[name](), torch.randn(3, 70, 3)
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    with torch._dynamo.config.patch(recompile_limit=4), torch.no_grad():
        for n in (70, *range(40, 46), 1, 2, 64, 65, 130):
            torch.testing.assert_close(compiled(x[:, :1].expand(-1, n, -1)), layer(x[:, :1].expand(-1, n, -1)))
    sizes = {0: torch.export.Dim("batch")} | ({1: torch.export.Dim("n")} if name == "sublayer" else {})
    program = torch.export.export(layer, (x,), dynamic_shapes=(sizes,)).module()
    for batch, n in [(1, 70), (5, 70)] + ([(1, 1), (2, 65), (2, 300)] if name == "sublayer" else []):
        x = torch.randn(batch, n, 3)
        torch.testing.assert_close(program(x), layer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [1, 40, 200])
def test_an_empty_batch_gives_an_empty_result(layer, n):
    x = torch.randn(0, n, 3, dtype=torch.float64, requires_grad=True)
    y, state = layer.extend(x, state_of(layer, 0))
    assert y.shape == x.shape == layer(x, torch.zeros(0, dtype=torch.int32)).shape
    assert all(len(part) == 0 for part in (state.values() if isinstance(state, dict) else [state]))
    y.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_a_step_refuses_integers_and_other_shapes(layer):
    layer = layer()
    for x, error in ((torch.ones(2, 3).long(), TypeError), (torch.ones(2, 4), ValueError)):
        with pytest.raises(error, match="expected"):
            layer.step(x, layer.initial_state(2))
