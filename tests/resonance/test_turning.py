"""Turning frames: the equation itself, three forms of one map, exact phases, and what frames can express."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resonance import TurningMixing
from resonance.turning import conjugate, prefix_products, product, unit_quaternion

KINDS = [("plane", None), ("plane", 12), ("space", None)]
kinds = st.sampled_from(KINDS)


def layer(turns, grid, *, dim=16, k=3, heads=2, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    made = TurningMixing(dim, k, heads, turns=turns, grid=grid, longest=30, dtype=dtype)
    torch.nn.init.normal_(made.turn, std=0.3)
    torch.nn.init.normal_(made.anchor)
    return made


def rotation(turns, turn):
    """The matrix of one head's turn over its group of channels, by the definition."""
    if turns == "plane":
        a = 2 * math.pi * turn.item()
        return torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]], dtype=torch.float64)
    skew = torch.zeros(4, 4, dtype=torch.float64)
    x, y, z = (2 * math.pi * turn).tolist()
    skew[1:, 1:] = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.linalg.matrix_exp(skew)


def by_definition(made, x):
    """Equation (eq:turning) with matrices, token by token, one sequence."""
    frames, frame = [], torch.eye(made.dim, dtype=x.dtype)
    for turn in made.turns_of(x):
        own = [rotation(made.turns, one) for one in turn]  # a matrix a head, for each of its groups of channels
        frame = torch.block_diag(*[m for m in own for _ in range(made.dim // made.heads // len(m))]) @ frame
        frames.append(frame)
    inward = torch.stack([f.T @ v for f, v in zip(frames, x, strict=True)])
    mixed = made.mixing(inward[None])[0]
    return torch.stack([f @ (v + made.anchor) for f, v in zip(frames, mixed, strict=True)])


@settings(deadline=None, max_examples=25)
@given(kinds, st.integers(1, 40), st.sampled_from([1, 2]), st.integers(1, 4))
def test_it_is_the_equation(kind, n, heads, k):
    made = layer(*kind, heads=heads, k=k, seed=n)
    x = torch.randn(1, n, 16, dtype=torch.float64)
    torch.testing.assert_close(made(x)[0], by_definition(made, x[0]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_without_turn_and_anchor_it_is_causal_mixing(kind):
    made = TurningMixing(16, 3, 2, turns=kind[0], grid=kind[1], dtype=torch.float64)
    x = torch.randn(2, 50, 16, dtype=torch.float64)
    torch.testing.assert_close(made(x), made.mixing(x), rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(kinds, st.integers(1, 70), st.integers(0, 70))
def test_forward_extend_and_step_are_one_map(kind, n, cut):
    made, cut = layer(*kind), min(cut, n)
    x = torch.randn(2, n, 16, dtype=torch.float64)
    whole, end = made.extend(x, made.initial_state(2))
    torch.testing.assert_close(whole, made(x), rtol=1e-10, atol=1e-10)
    parts, state = [], made.initial_state(2)
    for part in (x[:, :cut], x[:, cut:]):
        if part.shape[1]:
            y, state = made.extend(part, state)
            parts.append(y)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-9, atol=1e-9)
    stepped, state = [], made.initial_state(2)
    for token in x.unbind(1):
        y, state = made.step(token, state)
        stepped.append(y)
    torch.testing.assert_close(torch.stack(stepped, dim=1), whole, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(made.turned(made.anchor.expand(2, -1), made._parted(state, 2)[1]), end_anchor(made, end))


def end_anchor(made, state):
    """The anchor in the frame of a state: frames are compared by what they do, for q and -q are one rotation."""
    return made.turned(made.anchor.expand(len(state), -1), made._parted(state, len(state))[1])


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_end_outputs_and_states(kind):
    made = layer(*kind)
    x = torch.randn(3, 30, 16, dtype=torch.float64)
    y, state = made.extend(x, made.initial_state(3), torch.tensor([30, 7, 1]))
    short, end = made.extend(x[1:2, :7], made.initial_state(1))
    torch.testing.assert_close(y[1:2, :7], short)
    assert not y[1, 7:].any()
    torch.testing.assert_close(state[1:2], end)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_causal_and_its_gradients_are_right(kind):
    made = layer(kind[0], None)
    x = torch.randn(1, 9, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(made, (x,))
    (g,) = torch.autograd.grad(layer(*kind)(x)[0, 4].sum(), x)
    assert g[0, 5:].abs().max() < 1e-13 and g[0, :5].abs().min() > 1e-9  # an FFT leaks by rounding


def test_rounded_angles_pass_their_gradient():
    x = torch.randn(1, 20, 16, dtype=torch.float64)
    free, rounded = layer("plane", None), layer("plane", 2**20)
    for made in (free, rounded):
        made(x).square().sum().backward()
    torch.testing.assert_close(rounded.turn.grad, free.turn.grad, rtol=1e-3, atol=1e-3)


def test_phases_on_a_grid_are_exact_at_any_length():
    made = layer("plane", 60, dtype=torch.float32)
    ids = torch.randint(5, (1, 100_000), generator=torch.Generator().manual_seed(0))
    table = torch.randn(5, 16)
    steps = (made.turns_of(table) * 60).round().long()  # (5, heads)
    expected = np.cumsum(steps.numpy()[ids[0]], axis=0) % 60
    found = (made.frames(table[ids]) * 60).round().long()[0].numpy() % 60
    assert (found == expected).all()
    _, state = made.extend(table[ids], made.initial_state(1))
    frame = (made._parted(state, 1)[1] * 60).round().long()[0].numpy() % 60
    assert (frame == expected[-1]).all()


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 33))
def test_prefix_products_are_products_in_order(n):
    q = torch.nn.functional.normalize(torch.randn(2, n, 3, 4, dtype=torch.float64), dim=-1)
    out, one = [], None
    for step in q.unbind(1):
        one = step if one is None else product(step, one)
        out.append(one)
    torch.testing.assert_close(prefix_products(q), torch.stack(out, dim=1))


def test_quaternions():
    p, q = torch.randn(2, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(product(p, q).norm(dim=-1), p.norm(dim=-1) * q.norm(dim=-1))
    torch.testing.assert_close(product(p, conjugate(p))[:, 1:], torch.zeros(5, 3, dtype=torch.float64))
    turn = torch.tensor([[0.0, 0.0, 0.25], [0.0, 0.0, 0.0]], dtype=torch.float64)
    half = math.sqrt(0.5)
    expected = torch.tensor([[half, 0, 0, half], [1, 0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(unit_quaternion(turn), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_dtypes_and_empty_batches(kind, dtype):
    made = layer(*kind, dtype=dtype)
    x = torch.randn(2, 20, 16, dtype=dtype)
    assert made(x).dtype == dtype and made(x[:0]).shape == (0, 20, 16)
    y, state = made.step(x[:, 0], made.initial_state(2))
    assert y.dtype == dtype and state.dtype == torch.float32
    expected = layer(*kind, dtype=dtype).double()(x.double())
    torch.testing.assert_close(made(x).double(), expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"turns": "line"}, "unknown turns 'line': expected one of plane, space"),
        ({"heads": 3}, "multiple of 2 heads"),
        ({"heads": 8, "turns": "space"}, "multiple of 4 heads"),
        ({"grid": 1}, "grid of 2 to 2"),
        ({"grid": 5, "turns": "space"}, "turns='plane' alone"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        TurningMixing(16, 2, **options)


def test_weights_of_another_grid_are_refused():
    weights = layer("plane", None).state_dict()
    layer("plane", None).load_state_dict(weights)
    with pytest.raises(RuntimeError, match="expected weights of grid=12, found weights of grid=None"):
        layer("plane", 12).load_state_dict(weights)


def test_bad_inputs():
    made = layer("plane", None)
    with pytest.raises(ValueError, match="expected a tensor of shape"):
        made(torch.randn(2, 5, 8))
    with pytest.raises(ValueError, match="expected a state of shape"):
        made.extend(torch.randn(2, 5, 16, dtype=torch.float64), torch.zeros(2, 16, 3, 2))
