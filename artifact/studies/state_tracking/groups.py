"""Words over the generators of a finite group, labelled by the product so far: the tasks of `17_state_tracking`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from resonance.automaton import Automaton

Permutation = tuple[int, ...]


def cycle(size: int, step: int = 1) -> Permutation:
    """The permutation i -> i + step modulo size."""
    return tuple((i + step) % size for i in range(size))


GENERATORS: dict[str, list[Permutation]] = {  # a token each; in cyclic groups every element is a token
    "parity": [cycle(2, step) for step in range(2)],
    "addition mod 5": [cycle(5, step) for step in range(5)],
    "addition mod 60": [cycle(60, step) for step in range(60)],
    "S3": [(1, 0, 2), cycle(3)],
    "A5": [(1, 2, 0, 3, 4), cycle(5)],
    "S5": [(1, 0, 2, 3, 4), cycle(5)],
}


def group(generators: Sequence[Permutation]) -> Automaton:
    """The automaton whose state is the product of the tokens so far, the newest on the left; its label, too."""
    identity = tuple(range(len(generators[0])))
    elements, rows = {identity: 0}, []
    for element in (order := [identity]):
        row = []
        for token in generators:
            product = tuple(token[i] for i in element)
            if product not in elements:
                elements[product] = len(elements)
                order.append(product)
            row.append(elements[product])
        rows.append(row)
    return Automaton(np.array(rows), np.arange(len(order)))


@cache
def task(name: str) -> Automaton:
    """The group of a task by name; raises ValueError for an unknown one."""
    if name not in GENERATORS:
        raise ValueError(f"unknown task {name!r}: expected one of {', '.join(GENERATORS)}")
    return group(GENERATORS[name])


def words(name: str, count: int, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random words (count, n) of a task and their labels (count, n)."""
    own = task(name)
    ids = torch.randint(own.transitions.shape[1], (count, n), generator=generator)
    state, labels, table = np.zeros(count, dtype=np.int64), [], own.transitions
    for token in ids.numpy().T:
        state = table[state, token]
        labels.append(own.outputs[state])
    return ids, torch.from_numpy(np.stack(labels, axis=1))
