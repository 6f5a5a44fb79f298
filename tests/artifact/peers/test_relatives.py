"""The relatives against recurrences from the papers' equations and outputs of reference code; and how they start."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from artifact.peers.matrix_memory import GatedDeltaNet, GatedLinearAttention, SelectiveScan, in_chunks
from artifact.peers.relatives import RELATIVES, GatedMixer, relative
from artifact.peers.state_space import LRU, S4D, diagonal_scan

LENGTHS = (1, 31, 32, 33, 150)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def inputs(n, dim=8, batch=2):
    return torch.randn(batch, n, dim, dtype=torch.float64), torch.randn(batch, n, dim, dtype=torch.float64)


def moved(layer):
    """A layer in float64 with every parameter away from its special initial value."""
    layer = layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer


# --------------------------------------------------------------------------- references, one step after the other


def s4d_reference(layer, value):
    """S4D, section 3: zero-order hold of x' = A x + B u with B = 1, y = 2 Re C x + D u; channel by channel."""
    y = torch.zeros_like(value)
    step, c = layer.log_step.exp(), torch.view_as_complex(layer.readout)
    a = -layer.log_decay.exp() + 1j * layer.frequency
    for channel in range(layer.dim):
        a_bar = (a[channel] * step[channel]).exp()
        b_bar = (a_bar - 1) / a[channel]
        x = torch.zeros(len(value), layer.pairs, dtype=torch.complex128)
        for t in range(value.shape[1]):
            x = a_bar * x + b_bar * value[:, t, channel, None]
            y[:, t, channel] = 2 * (x * c[channel]).sum(-1).real + layer.direct[channel] * value[:, t, channel]
    return y


def lru_reference(layer, value):
    """LRU, section 3: x = lambda x + e^gamma B u, y = Re C x + D u, lambda = exp(-e^nu + i theta)."""
    k = layer.states
    b = layer.collect.weight[:k] + 1j * layer.collect.weight[k:]
    c = layer.read.weight[:, :k] - 1j * layer.read.weight[:, k:]
    pole = torch.exp(-layer.log_decay.exp()) * torch.exp(1j * layer.phase)
    x, y = torch.zeros(len(value), k, dtype=torch.complex128), []
    for u in value.unbind(1):
        x = pole * x + layer.log_gain.exp() * (u.to(b.dtype) @ b.T)
        y.append((x @ c.T).real + u * layer.direct)
    return torch.stack(y, 1)


def memory_reference(layer, u, value):
    """The three matrix memories from their papers' recurrences, head by head, sequence by sequence."""
    d, y = layer.dim // layer.heads, torch.zeros_like(value)
    for batch in range(len(value)):
        for head in range(layer.heads):
            own = slice(head * layer.features, (head + 1) * layer.features)
            channels = slice(head * d, (head + 1) * d)
            state = torch.zeros(layer.features, d, dtype=torch.float64)
            for t in range(value.shape[1]):
                x, v = u[batch, t], value[batch, t, channels]
                if isinstance(layer, SelectiveScan):
                    q, k = F.silu(layer.query.weight @ x), F.silu(layer.key.weight @ x)
                    step = F.softplus(layer.gates.weight.weight[head] @ x + layer.gates.bias[head])
                    state = torch.exp(-layer.gates.log_rate[head].exp() * step) * state + step * torch.outer(k, v)
                    read = state.T @ q + layer.direct[head] * v
                elif isinstance(layer, GatedLinearAttention):
                    q, k = layer.query.weight[own] @ x / math.sqrt(layer.features), layer.key.weight[own] @ x
                    gate = layer.wide_decay.weight[own] @ (layer.narrow_decay.weight @ x) + layer.bias[own]
                    state = torch.diag(torch.sigmoid(gate) ** (1 / 16)) @ state + torch.outer(k, v)
                    read = state.T @ q
                else:
                    q, k = (F.silu(linear.weight[own] @ x) for linear in (layer.query, layer.key))
                    q, k = q / q.norm(), k / k.norm()
                    step = F.softplus(layer.gates.weight.weight[head] @ x + layer.gates.bias[head])
                    alpha = torch.exp(-layer.gates.log_rate[head].exp() * step)
                    beta = torch.sigmoid(layer.strength.weight[head] @ x + layer.strength_bias[head])
                    keep = torch.eye(layer.features, dtype=torch.float64) - beta * torch.outer(k, k)
                    state = alpha * keep @ state + beta * torch.outer(k, v)
                    read = state.T @ q
                y[batch, t, channels] = read / (read.square().mean() + 1e-5).sqrt() * layer.scale[channels]
    return y


@pytest.mark.parametrize("n", LENGTHS)
@torch.no_grad()
def test_s4d_and_lru_equal_their_recurrences(n):
    u, value = inputs(n)
    for layer, reference in ((S4D(8, 5), s4d_reference), (LRU(8, 6), lru_reference)):
        torch.testing.assert_close(moved(layer)(u, value), reference(layer, value), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("n", [1, 65, 150])
@pytest.mark.parametrize("kind", [SelectiveScan, GatedLinearAttention, GatedDeltaNet])
@torch.no_grad()
def test_matrix_memories_equal_their_recurrences(kind, n):
    u, value = inputs(n)
    layer = moved(kind(8, 2, features=4))
    torch.testing.assert_close(layer(u, value), memory_reference(layer, u, value), rtol=1e-8, atol=1e-8)


# --------------------------------------------------------------------------- outputs of reference code


MEMORY = {"query.weight": "query", "key.weight": "key"}
GATES = {"gates.weight.weight": "step", "gates.bias": "dt_bias", "gates.log_rate": "A_log"}
REFERENCES = {  # our layer, and which weights of the reference are ours
    "s4d": (
        S4D,
        {"log_step": "log_dt", "log_decay": "log_A_real", "frequency": "A_imag", "readout": "C", "direct": "D"},
    ),
    "lru": (LRU, {"log_decay": "nu_log", "log_gain": "gamma_log", "direct": "D"}),
    "mamba2": (SelectiveScan, MEMORY | GATES | {"direct": "D"}),
    "gla": (
        GatedLinearAttention,
        MEMORY | {"narrow_decay.weight": "narrow", "wide_decay.weight": "wide", "bias": "bias"},
    ),
    "gated_deltanet": (GatedDeltaNet, MEMORY | GATES | {"strength.weight": "beta"}),
}


@pytest.mark.parametrize("name", REFERENCES)
@torch.no_grad()
def test_a_relative_gives_the_output_of_reference_code(name):
    """In the block a reading is divided by its root mean square; the reference's output is, too, to be compared."""
    stored = np.load(Path(__file__).parent / "reference" / f"{name}.npz")
    given = {key: torch.from_numpy(stored[key]).double() for key in stored}
    kind, names = REFERENCES[name]
    layer = (kind(4, 3) if kind in (S4D, LRU) else kind(4, 2, features=3)).double()
    ours = {key: given[theirs] for key, theirs in names.items()}
    if kind is LRU:
        ours["phase"] = given["theta_log"].exp()
        ours["collect.weight"] = torch.cat([given["B_re"], given["B_im"]])
        ours["read.weight"] = torch.cat([given["C_re"], -given["C_im"]], dim=1)
    missing, unexpected = layer.load_state_dict(ours, strict=False)
    assert not unexpected and set(missing) <= {"scale", "strength_bias"}  # one and zero, as they start
    value, expected = given["value"], given["output"]
    if kind not in (S4D, LRU):
        expected = F.rms_norm(expected, expected.shape[-1:], eps=1e-5).flatten(2)
    torch.testing.assert_close(layer(given.get("input", value), value), expected, rtol=1e-5, atol=2e-6)


# --------------------------------------------------------------------------- the block


@pytest.mark.parametrize("name", RELATIVES)
@torch.no_grad()
def test_a_step_is_the_parallel_form_and_nothing_sees_the_future(name):
    layer, (x, later) = moved(relative(name, 8, 6)), inputs(70)
    y, state = layer(x), layer.initial_state(2)
    steps = []
    for token in x.unbind(1):
        out, state = layer.step(token, state)
        steps.append(out)
    torch.testing.assert_close(torch.stack(steps, 1), y, rtol=1e-8, atol=1e-8)
    changed = torch.cat([x[:, :40], later[:, 40:]], 1)
    torch.testing.assert_close(layer(changed)[:, :40], y[:, :40], rtol=1e-8, atol=1e-8)
    assert not torch.allclose(layer(changed)[:, 41:], y[:, 41:])


@pytest.mark.parametrize("name", RELATIVES)
def test_every_parameter_learns_and_the_state_is_as_large_as_said(name):
    layer = relative(name, 16, 8)
    layer(torch.randn(2, 40, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())
    state = layer.initial_state(1)["core"]
    reals = state.numel() * (2 if state.is_complex() else 1)
    assert reals == (2 * 16 if name == "LRU" else 8 * 16)


def test_two_memories_are_ones_that_are_known():
    """Without decay GLA's sum is linear attention; with strength 1 the delta rule reads the newest value exactly."""
    q, k, v = (torch.randn(1, 2, 50, width, dtype=torch.float64) for width in (6, 6, 3))
    none = torch.zeros(1, 2, 50, 1, dtype=torch.float64)
    linear = ((q @ k.mT).tril()) @ v
    torch.testing.assert_close(in_chunks(q, k, v, none, None, size=16), linear)
    torch.testing.assert_close(in_chunks(q, k, v, none.expand(-1, -1, -1, 6), None, size=16), linear)
    k = F.normalize(k, dim=-1)
    torch.testing.assert_close(in_chunks(k, k, v, none - 0.3, none + 1, size=16), v)


@pytest.mark.parametrize("kind", [SelectiveScan, GatedLinearAttention, GatedDeltaNet])
def test_a_memory_starts_with_the_time_scale_asked_for(kind):
    layer = kind(8, 2, features=4)
    layer.remember_(500.0)
    *_, log_decay, _ = layer.parts(*(torch.randn(1, 3, 8) for _ in range(4)))
    torch.testing.assert_close(log_decay, torch.full_like(log_decay, -1 / 500), rtol=1e-4, atol=0)


def test_strong_decay_stays_finite():
    """A decay by e^2 a step, e^64 over a chunk, overflows no factor and leaves the newest value."""
    q = k = torch.ones(1, 1, 96, 2)
    v = torch.randn(1, 1, 96, 3)
    read = in_chunks(q, k, v, torch.full((1, 1, 96, 2), -2.0), None, size=32)
    expected = sum(2 * math.exp(-2 * lag) * F.pad(v, (0, 0, lag, 0))[:, :, :96] for lag in range(12))
    torch.testing.assert_close(read, expected, rtol=1e-4, atol=1e-4)


def test_a_scan_is_a_recurrence_for_poles_of_any_size():
    log_pole = torch.tensor([-1e-3 + 1j, -9.0 - 2j, -0.1 + 0j], dtype=torch.complex128)
    x, state = torch.randn(2, 77, 3, dtype=torch.complex128), torch.zeros(2, 3, dtype=torch.complex128)
    for t, y in enumerate(diagonal_scan(log_pole, x).unbind(1)):
        state = log_pole.exp() * state + x[:, t]
        torch.testing.assert_close(y, state)


def test_errors_say_what_was_expected():
    with pytest.raises(ValueError, match="unknown relative 'RWKV': expected one of S4D"):
        relative("RWKV", 8)
    with pytest.raises(ValueError, match="heads that divide dim"):
        GatedDeltaNet(9, 2)
    with pytest.raises(ValueError, match="pairs >= 1"):
        S4D(4, 0)
    with pytest.raises(ValueError, match=r"\(batch, n, 8\)"):
        GatedMixer(8, LRU(8, 4))(torch.zeros(3, 8))
