"""Automata: exact runs, codes of phases and points, and what an extraction accepts and refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resonance import automaton
from resonance.automaton import Automaton, extract_automaton, phase_codes, point_codes
from resonance.turning import prefix_products, unit_quaternion


def cyclic(order):
    table = (np.arange(order)[:, None] + np.arange(order)) % order
    return Automaton(table, np.arange(order))


def random_words(order, count=400, n=30, seed=0):
    ids = torch.randint(order, (count, n), generator=torch.Generator().manual_seed(seed))
    return ids, cyclic(order).run(ids)


def test_a_run_is_the_table():
    ids = torch.tensor([[1, 1, 0], [2, 2, 2]])
    assert cyclic(3).run(ids).tolist() == [[1, 2, 2], [2, 1, 0]]
    assert cyclic(3).run(ids[:0]).shape == (0, 3)
    with pytest.raises(ValueError, match=r"ids in 0\.\.2"):
        cyclic(3).run(ids + 1)


@settings(deadline=None, max_examples=15)
@given(st.integers(2, 12), st.integers(1, 11), st.floats(-0.02, 0.02))
def test_a_turning_head_that_has_learned_a_cyclic_group_gives_it(order, factor, error):
    """Every generator of the group's characters, with an error of training far below a step of the grid."""
    if np.gcd(order, factor) != 1:
        factor = 1
    ids, labels = random_words(order)
    turns = (ids[..., None].double() * factor + error) / order
    found = extract_automaton(phase_codes(turns), ids, labels, order)
    long = torch.randint(order, (1, 5000))
    assert found is not None and torch.equal(found.run(long), cyclic(order).run(long))


def test_two_heads_together_where_one_is_not_enough():
    ids, labels = random_words(6, count=800)
    turns = torch.stack([ids / 2, ids / 3, ids * 0.137], dim=-1)
    found = extract_automaton(phase_codes(turns), ids, labels, 6)
    assert len(found.parts) == 2 and found.transitions.shape == (6, 6)
    assert extract_automaton(phase_codes(turns), ids, labels, 6, most=1) is None


def test_grids_that_fit_are_found_and_their_multiples_left_out():
    turns = torch.tensor([[0.25, 0.5, 0.749]])[..., None]
    codes = phase_codes(turns)
    assert codes.shape == (1, 4, 1) and codes[0, :, 0].tolist() == [0, 1, 3, 2]
    assert phase_codes(torch.rand(1, 500, 1, generator=torch.Generator().manual_seed(0))).shape == (1, 501, 0)


def test_points_get_the_code_of_the_first_near_one():
    quarter = unit_quaternion(torch.tensor([0.0, 0.0, 0.25], dtype=torch.float64))
    frames = prefix_products(quarter.expand(1, 9, 1, 4).contiguous())
    noisy = torch.nn.functional.normalize(frames + 0.001 * torch.randn(frames.shape), dim=-1)
    assert point_codes(noisy, 0.1)[0, :, 0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    torch.testing.assert_close(point_codes(-noisy, 0.1), point_codes(noisy, 0.1))


def test_points_without_end_get_no_code():
    spread = torch.nn.functional.normalize(torch.randn(1, 3000, 1, 4), dim=-1)
    codes = point_codes(spread, 0.05)
    assert codes.min() == -1
    labels = torch.zeros(1, 3000, dtype=torch.long)
    assert extract_automaton(codes, torch.zeros(1, 3000, dtype=torch.long), labels, 1) is None


def test_a_head_is_refused_by_its_first_frames_just_where_all_of_them_refuse_it(monkeypatch):
    """With the same codes where it is not: few frames are a beginning of all."""
    few = torch.nn.functional.normalize(torch.randn(1, 6, 1, 4), dim=-1)
    frames = few[:, torch.randint(6, (2000,))]  # six points, again and again
    monkeypatch.setattr(automaton, "MOST_POINTS", 7)
    monkeypatch.setattr(automaton, "FEW", 10**9)
    codes = point_codes(frames, 1e-3)
    late = torch.cat([frames, torch.nn.functional.normalize(torch.randn(1, 900, 1, 4), dim=-1)], dim=1)
    assert sorted(codes.unique().tolist()) == list(range(7)) and point_codes(late, 1e-3).min() == -1
    monkeypatch.setattr(automaton, "FEW", 64)
    assert torch.equal(point_codes(frames, 1e-3), codes)
    assert point_codes(late, 1e-3).min() == -1 and (point_codes(late.flip(1), 1e-3) == -1).all()


def codes_of(order, ids):
    return torch.nn.functional.pad(ids.cumsum(1) % order, (1, 0))[..., None]


def test_a_single_wrong_label_refuses():
    ids, labels = random_words(5)
    assert extract_automaton(codes_of(5, ids), ids, labels, 5) is not None
    labels[-1, -1] = (labels[-1, -1] + 1) % 5
    assert extract_automaton(codes_of(5, ids), ids, labels, 5) is None


def test_codes_that_are_no_state_are_refused():
    ids, labels = random_words(4)
    parity = codes_of(4, ids) % 2  # determines itself, not the label
    assert extract_automaton(parity, ids, labels, 4) is None
    assert extract_automaton(parity, ids, labels % 2, 4) is not None


def test_a_table_with_a_gap_is_refused():
    ids, labels = random_words(5)
    few = ids[:1, :6]
    assert extract_automaton(codes_of(5, few), few, labels[:1, :6], 5) is None
    ids[:, 0] = 0  # no word begins with another token
    assert extract_automaton(codes_of(5, ids), ids, cyclic(5).run(ids), 5) is None


def test_the_first_state_must_be_seen_again_with_every_token_where_it_comes_back():
    """Else nothing says that the state which comes back is the first one: here it is not, after the token 1."""
    codes = torch.tensor([[0, 1, 0, 1, 0], [0, 0, 0, 0, 0]])[..., None]  # 1 changes the code, 0 keeps it
    ids = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])
    labels = torch.tensor([[1, 5, 1, 5], [5, 5, 5, 5]])
    assert extract_automaton(codes, ids, labels, 2) is None  # the state 1 was never followed by 0
    codes = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 0]])[..., None]
    ids, labels = torch.tensor([[1, 0, 1], [0, 1, 1]]), torch.tensor([[1, 1, 5], [5, 1, 5]])
    assert extract_automaton(codes, ids, labels, 2) is None  # a word came back to 0 and ended: what follows is unknown


def test_shapes_are_checked():
    ids, labels = random_words(5)
    with pytest.raises(ValueError, match="expected codes"):
        extract_automaton(codes_of(5, ids)[:, 1:], ids, labels, 5)
    with pytest.raises(ValueError, match="expected codes"):
        extract_automaton(codes_of(5, ids), ids, labels[:, 1:], 5)
