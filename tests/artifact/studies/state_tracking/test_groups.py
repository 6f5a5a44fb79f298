"""The groups are groups, labels are products, and frames express what the proposition says (prop:tracking)."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from artifact.studies.state_tracking.groups import GENERATORS, task, words
from resonance import TurningMixing
from resonance.automaton import extract_automaton, phase_codes, point_codes

ORDERS = {"parity": 2, "addition mod 5": 5, "addition mod 60": 60, "S3": 6, "A5": 60, "S5": 120}


@pytest.mark.parametrize("name", GENERATORS)
def test_orders_and_labels(name):
    own = task(name)
    assert len(own.outputs) == ORDERS[name]
    assert all(sorted(column) == list(range(ORDERS[name])) for column in own.transitions.T)  # a token permutes
    ids, labels = words(name, 7, 12, torch.Generator().manual_seed(0))
    assert torch.equal(labels, own.run(ids))
    seen: dict[tuple, int] = {}
    for word, label in zip(ids.tolist(), labels.tolist(), strict=True):
        element = tuple(range(len(GENERATORS[name][0])))
        for token, number in zip(word, label, strict=True):
            element = tuple(GENERATORS[name][token][i] for i in element)
            assert seen.setdefault(element, number) == number
    assert len(set(seen.values())) == len(seen)


def test_unknown_tasks_are_refused():
    with pytest.raises(ValueError, match="unknown task 'S9': expected one of parity"):
        task("S9")


def layer_of(turns, table):
    """A layer whose heads turn by a table (tokens, heads[, 3]) in cycles, of one-hot tokens."""
    heads = table.shape[1]
    made = TurningMixing(4 * heads * max(1, -(-len(table) // (4 * heads))), 1, heads, turns=turns, dtype=torch.float64)
    with torch.no_grad():
        made.turn[:, : len(table)] = table.flatten(1).T
    return made, torch.eye(made.dim, dtype=torch.float64)[: len(table)]


@pytest.mark.parametrize(
    ("name", "heads"), [("addition mod 5", [5]), ("addition mod 60", [60]), ("addition mod 60", [3, 4, 5])]
)
def test_abelian_groups_in_a_plane(name, heads):
    """Part (a), with one head, and with one for each cyclic factor."""
    order = ORDERS[name]
    table = (torch.arange(order, dtype=torch.float64)[:, None] % torch.tensor(heads)) / torch.tensor(heads)
    made, tokens = layer_of("plane", table)
    ids, labels = words(name, 2000, 20, torch.Generator().manual_seed(1))
    found = extract_automaton(phase_codes(made.turns_of(tokens[ids])), ids, labels, order)
    assert found is not None and len(found.outputs) == order


def rotations(name):
    """Turns (tokens, 3) of the generators of S3 or A5 as rotations in space: axes found by trying."""
    golden = (1 + math.sqrt(5)) / 2
    if name == "S3":
        return torch.tensor([[0.5, 0, 0], [0, 0, 1 / 3]], dtype=torch.float64)
    vertices = [(0, a, b * golden) for a, b in product((1, -1), repeat=2)]
    vertices += [v[i:] + v[:i] for v in vertices for i in (1, 2)]
    fifth = np.array(vertices[0]) / np.linalg.norm(vertices[0])
    for face in product(vertices, repeat=3):
        centre = np.sum(face, axis=0)
        if np.linalg.norm(centre) < 1:
            continue
        third = centre / np.linalg.norm(centre) / 3
        for power in (1, 2):
            turns = torch.tensor(np.array([third, power * fifth / 5]))
            if homomorphic(name, turns):
                return turns
    raise AssertionError("no rotations found")


def homomorphic(name, turns):
    """Whether rotations by the turns, multiplied along every word, depend on the product of the word alone."""
    made, tokens = layer_of("space", turns[:, None])
    ids, labels = words(name, 60, 30, torch.Generator().manual_seed(2))
    codes = point_codes(made.frames(tokens[ids]), 0.05)[:, 1:, 0]
    of_label = torch.full((ORDERS[name],), -2)
    of_label[labels.flatten()] = codes.flatten()
    return codes.min() >= 0 and bool((of_label[labels] == codes).all())


@pytest.mark.parametrize("name", ["S3", "A5"])
def test_groups_of_rotations_in_space(name):
    """Part (b): one head, as many frames as elements, and an automaton that is exact on long words."""
    made, tokens = layer_of("space", rotations(name)[:, None])
    ids, labels = words(name, 800, 40, torch.Generator().manual_seed(3))
    found = extract_automaton(point_codes(made.frames(tokens[ids]), 0.05), ids, labels, 2)
    assert found is not None and len(found.outputs) == ORDERS[name]
    long, right = words(name, 1, 5000, torch.Generator().manual_seed(4))
    assert torch.equal(found.run(long), right)


def test_s5_is_a_cascade_of_its_sign_and_a5():
    """Part (d): the turn of the second layer depends on the token and the parity before it, and lies in A5."""
    own, tau = GENERATORS["S5"], GENERATORS["S5"][0]

    def times(a, b):  # a after b
        return tuple(a[i] for i in b)

    def sign(a):
        return sum(a[i] > a[j] for i in range(5) for j in range(i + 1, 5)) % 2

    def power(p):
        return tau if p else tuple(range(5))

    generator, whole, parity, a = torch.Generator().manual_seed(5), tuple(range(5)), 0, tuple(range(5))
    for token in torch.randint(2, (200,), generator=generator).tolist():
        after = (parity + sign(own[token])) % 2
        turn = times(power(after), times(own[token], power(parity)))  # tau is its own inverse
        assert sign(turn) == 0
        parity, a, whole = after, times(turn, a), times(own[token], whole)
        assert times(power(parity), a) == whole
