"""Facts written in one call and queried in later ones: a task that is impossible without a memory.

A fact is a key and a value.  A key is a random direction of KEY_DIM dimensions, new in every episode, so that it cannot
be learned in the weights; a value is one of VALUES, one-hot, also random.  A fact is written as a sequence of TOKENS
tokens, its key at a random position of the first half, its value at one of the second, zeros elsewhere; a query has the
key alone, at a random position, in noise.  The output at the last token is the answer.  Writing and querying are
separate calls, connected by the memory only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from resonance.models import ResonanceNet

KEY_DIM, VALUES, TOKENS = 64, 16, 16
CONDITIONS = {
    "with memory": "written, then queried in later calls",
    "reloaded": "written, saved, loaded by a new network, then queried",
    "without": "the same network queried with use_memory=False",
    "emptied": "the same network, its memory cleared before the queries",
    "trained without": "a network trained and queried without a memory",
}


class Facts(NamedTuple):
    """Facts of one episode: the sequences that are written, the queries, and the answers."""

    written: Tensor  # (facts, TOKENS, KEY_DIM + VALUES)
    query: Tensor  # the same shape
    value: Tensor  # (facts,) in 0 .. VALUES - 1


def draw_facts(count: int, generator: torch.Generator, *, noise: float = 0.5) -> Facts:
    """Draw facts; `noise` is the norm of the noise in a query's mean over that of its key."""
    if count < 1:
        raise ValueError(f"expected at least one fact, got {count}")
    key = F.normalize(torch.randn(count, KEY_DIM, generator=generator), dim=1)
    value = torch.randint(VALUES, (count,), generator=generator)
    fact, half = torch.arange(count), TOKENS // 2
    first, second, third = (torch.randint(half, (count,), generator=generator) for _ in range(3))
    written = torch.zeros(count, TOKENS, KEY_DIM + VALUES)
    written[fact, first, :KEY_DIM] = key
    written[fact, half + second, KEY_DIM:] = F.one_hot(value, VALUES).float()
    query = noise * (written[0].numel()) ** -0.5 * torch.randn(written.shape, generator=generator)
    query[fact, third, :KEY_DIM] += key
    return Facts(written, query, value)


def facts_model() -> ResonanceNet:
    """A small network with a memory of 1000 patterns; the answer is its output at the last token."""
    return ResonanceNet(KEY_DIM + VALUES, 8, 32, 1, 1000, dropout=0.0, output_dim=VALUES)


def train_facts(seed: int, *, memory: bool = True, steps: int = 150) -> ResonanceNet:
    """Train by Adam, an episode a step: write 64 facts in one call, query all of them in the next.

    With memory=False nothing is stored or read.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = facts_model()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        episode = draw_facts(64, generator)
        model.holographic_memory.clear()
        with torch.no_grad():
            model(episode.written, store_to_memory=memory)
        optimizer.zero_grad()
        F.cross_entropy(model(episode.query, use_memory=memory)[:, -1], episode.value).backward()
        optimizer.step()
    return model


@torch.no_grad()
def write(model: ResonanceNet, facts: Facts, *, calls: int = 4) -> None:
    """Store the facts in so many calls."""
    for part in facts.written.chunk(calls):
        model(part, store_to_memory=True)


@torch.no_grad()
def accuracy(model: ResonanceNet, facts: Facts, *, use_memory: bool = True) -> float:
    """Share of correct answers, queried in batches, each a call."""
    answers = [model(query, use_memory=use_memory)[:, -1].argmax(-1) for query in facts.query.split(64)]
    return (torch.cat(answers) == facts.value).float().mean().item()


def reload(model: ResonanceNet) -> ResonanceNet:
    """A new network with the weights and the memory of `model`, by way of a safetensors file."""
    fresh = facts_model()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_file(model.state_dict(), path)
        fresh.load_state_dict(load_file(path))
    return fresh


def measure(seeds: Iterable[int], *, facts: int = 500, steps: int = 150) -> pd.DataFrame:
    """Train, and test on new facts written in four calls, under every condition of CONDITIONS.

    Cost: about two seconds a seed on one core.
    """
    rows = []
    for seed in seeds:
        model, without = (train_facts(seed, memory=memory, steps=steps) for memory in (True, False))
        fresh = draw_facts(facts, torch.Generator().manual_seed(10**6 + seed))
        model.holographic_memory.clear()
        write(model, fresh)
        right = [accuracy(model, fresh), accuracy(reload(model), fresh), accuracy(model, fresh, use_memory=False)]
        model.holographic_memory.clear()
        right += [accuracy(model, fresh), accuracy(without, fresh, use_memory=False)]
        rows += [(seed, condition, share) for condition, share in zip(CONDITIONS, right, strict=True)]
    table = pd.DataFrame(rows, columns=["seed", "condition", "accuracy"])
    return table.assign(facts=facts, chance=1 / VALUES)
