"""Causal attention: its cache equals the parallel form, and rotary scores depend on distances alone."""

from __future__ import annotations

import pytest
import torch

from artifact.peers.causal import CausalAttention, RotaryAttention, state_after


@pytest.mark.parametrize("attention", [CausalAttention, RotaryAttention])
def test_the_peer_extends_and_steps_as_it_runs_in_parallel_and_is_causal(attention):
    torch.manual_seed(0)
    peer = attention(16, 4, room=2).double()
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    first, state = peer.extend(x[:, :3], peer.initial_state(2))
    second, state = peer.extend(x[:, 3:5], state)
    parts = [first, second]
    for token in x[:, 5:].unbind(1):
        y, state = peer.step(token, state)
        parts.append(y[:, None])
    torch.testing.assert_close(torch.cat(parts, dim=1), peer(x))
    torch.testing.assert_close(peer(x[:, :5]), peer(x)[:, :5])
    assert state["length"].tolist() == [9, 9]


def test_a_cache_grows_and_stays_right():
    attention, x = RotaryAttention(16, 2, room=1).double(), torch.randn(2, 40, 16).double()
    state, y = attention.initial_state(2, dtype=torch.float64), []
    for t in range(40):
        answer, state = attention.step(x[:, t], state)
        y.append(answer)
    assert state["keys"].shape[2] == 64 and state["length"].tolist() == [40, 40]
    torch.testing.assert_close(torch.stack(y, 1), attention(x), rtol=1e-9, atol=1e-9)
    later = attention(torch.cat([torch.zeros(2, 3, 16).double(), x], 1))  # with unknown tokens before, another answer
    assert not torch.allclose(later[:, 3:], attention(x))


def test_rotary_scores_depend_on_distance_alone():
    layer = RotaryAttention(16, 2).double()
    query, key = torch.randn(2, 1, 2, 1, 8, dtype=torch.float64)
    scores = [(layer.placed(query, t + 5) * layer.placed(key, t)).sum(-1) for t in (0, 17, 58)]
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(scores[0], scores[2], rtol=1e-6, atol=1e-6)
    assert not torch.allclose(scores[0], (layer.placed(query, 9) * layer.placed(key, 0)).sum(-1))


def test_a_state_for_timing_is_as_long_as_asked_for():
    peer = RotaryAttention(16, 2, room=4)
    state = state_after(peer, 10)
    assert state["keys"].shape == (1, 2, 11, 8) and state["length"].tolist() == [10]
    y, after = peer.step(torch.randn(1, 16), state)
    assert y.shape == (1, 16) and after["keys"].shape[2] == 11 and after["length"].tolist() == [11]


def test_errors_say_what_was_expected():
    with pytest.raises(ValueError, match="divisible"):
        CausalAttention(6, 4)
    with pytest.raises(ValueError, match="dim=18, num_heads=4"):
        RotaryAttention(18, 4)
    with pytest.raises(ValueError, match=r"\(batch, 16\), got \(1, 3, 16\)"):
        RotaryAttention(16).step(torch.zeros(1, 3, 16), {})
