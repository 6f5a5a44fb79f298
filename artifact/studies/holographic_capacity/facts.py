"""Facts told in one call and asked for in later ones: a task that no model without a memory can do.

A fact is a key and a value.  A key is a random direction of KEY_DIM dimensions, fresh in every episode, so that weights
cannot know it; a value is one of VALUES, one-hot, drawn fresh too.  A fact is told as a sequence of TOKENS tokens, its
key at a random place of the first half, its value at one of the second, all else zero; a question holds the key alone,
at a random place, in noise.  The answer is read at the last token.  Telling, silence and asking are calls of their own:
what connects them is the memory.

    facts.measure(range(5))      a row for each seed and condition of CONDITIONS
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
    "with memory": "told, then asked in later calls",
    "reloaded": "told, saved, loaded by a fresh network in another state, then asked",
    "without": "the same network asked with use_memory=False",
    "emptied": "the same network, its memory cleared before it is asked",
    "trained without": "a network that was trained and asked without a memory",
}


class Facts(NamedTuple):
    """Facts of one episode: how they are told, how they are asked for, and the answers."""

    told: Tensor  # (facts, TOKENS, KEY_DIM + VALUES)
    asked: Tensor  # the same shape
    value: Tensor  # (facts,) in 0 .. VALUES - 1


def draw_facts(count: int, generator: torch.Generator, *, noise: float = 0.5) -> Facts:
    """Draw facts; `noise` is the norm of the noise in a question's mean over that of its key."""
    if count < 1:
        raise ValueError(f"expected at least one fact, got {count}")
    key = F.normalize(torch.randn(count, KEY_DIM, generator=generator), dim=1)
    value = torch.randint(VALUES, (count,), generator=generator)
    fact, half = torch.arange(count), TOKENS // 2
    first, second, third = (torch.randint(half, (count,), generator=generator) for _ in range(3))
    told = torch.zeros(count, TOKENS, KEY_DIM + VALUES)
    told[fact, first, :KEY_DIM] = key
    told[fact, half + second, KEY_DIM:] = F.one_hot(value, VALUES).float()
    asked = noise * (told[0].numel()) ** -0.5 * torch.randn(told.shape, generator=generator)
    asked[fact, third, :KEY_DIM] += key
    return Facts(told, asked, value)


def facts_model(capacity: int = 1000) -> ResonanceNet:
    """Return a small network with a memory of `capacity` patterns; its last token answers."""
    return ResonanceNet(KEY_DIM + VALUES, 8, 32, 1, capacity, dropout=0.0, output_dim=VALUES)


def train_facts(
    seed: int, *, memory: bool = True, steps: int = 150, facts: int = 64, rate: float = 1e-2, capacity: int = 1000
) -> tuple[ResonanceNet, list[float]]:
    """Train by Adam, an episode a step: tell `facts` facts in one call, ask for all of them in the next.

    Returns the network and its loss at each step.  With memory=False it is told the same but cannot look it up.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = facts_model(capacity)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    losses = []
    for _ in range(steps):
        episode = draw_facts(facts, generator)
        model.holographic_memory.clear()
        with torch.no_grad():
            model(episode.told, store_to_memory=memory)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(episode.asked, use_memory=memory)[:, -1], episode.value)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, losses


@torch.no_grad()
def tell(model: ResonanceNet, facts: Facts, *, calls: int = 4) -> None:
    """Tell the facts in so many calls."""
    for told in facts.told.chunk(calls):
        model(told, store_to_memory=True)


@torch.no_grad()
def ask(model: ResonanceNet, facts: Facts, *, use_memory: bool = True, batch: int = 64) -> float:
    """Return the share of facts answered rightly, asked for in batches, each a call."""
    answers = [model(asked, use_memory=use_memory)[:, -1].argmax(-1) for asked in facts.asked.split(batch)]
    return (torch.cat(answers) == facts.value).float().mean().item()


def reload(model: ResonanceNet) -> ResonanceNet:
    """Return a fresh network with the weights and the memory of `model`, by way of a safetensors file."""
    fresh = facts_model(model.holographic_capacity)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_file(model.state_dict(), path)
        fresh.load_state_dict(load_file(path))
    return fresh


def measure(
    seeds: Iterable[int], *, facts: int = 500, steps: int = 150, capacity: int = 1000, noise: float = 0.5
) -> pd.DataFrame:
    """Train and ask under every condition; return a row for each: seed, condition, facts, accuracy, chance.

    The facts asked for are fresh ones, `facts` of them, told in four calls, and asked for with `noise` (see
    `draw_facts`).  Cost: about two seconds a seed on one core.
    """
    rows = []
    for seed in seeds:
        model, _ = train_facts(seed, steps=steps, capacity=capacity)
        without, _ = train_facts(seed, memory=False, steps=steps, capacity=capacity)
        fresh = draw_facts(facts, torch.Generator().manual_seed(10**6 + seed), noise=noise)
        model.holographic_memory.clear()
        tell(model, fresh)
        accuracy = {
            "with memory": ask(model, fresh),
            "reloaded": ask(reload(model), fresh),
            "without": ask(model, fresh, use_memory=False),
        }
        model.holographic_memory.clear()
        accuracy |= {"emptied": ask(model, fresh), "trained without": ask(without, fresh, use_memory=False)}
        rows += [{"seed": seed, "condition": c, "accuracy": accuracy[c]} for c in CONDITIONS]
    return pd.DataFrame(rows).assign(facts=facts, chance=1 / VALUES)
