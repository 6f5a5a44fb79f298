"""Recall over a long gap: a value early in the sequence is queried at its end.

Tokens are one-hot: VALUES values, a blank and a query.  The value is at a random position of the first quarter, the
query last, blanks everywhere else (the copying problem of Hochreiter and Schmidhuber 1997, with one symbol); the output
at the last token is the answer.  A bridge's weights belong to cycles per window, so a model trained on one window runs
on a longer one with its weights unchanged.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from resonance.long_context import LongContextResonanceNet
from resonance.settings import without_settings

VALUES = 8


def recall_batch(batch: int, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences (batch, n, VALUES + 2) and the values to recall (batch,); n >= 4."""
    if n < 4:
        raise ValueError(f"expected n >= 4 tokens, a first quarter and an end, got {n}")
    value = torch.randint(VALUES, (batch,), generator=generator)
    place = torch.randint(n // 4, (batch,), generator=generator)
    x = torch.zeros(batch, n, VALUES + 2)
    x[..., VALUES] = 1.0
    x[torch.arange(batch), place] = F.one_hot(value, VALUES + 2).float()
    x[:, -1] = F.one_hot(torch.tensor(VALUES + 1), VALUES + 2).float()
    return x, value


def recall_model(n: int, *, bridges: bool = True) -> LongContextResonanceNet:
    """A small network for windows of n tokens; without bridges the same network with their gain set to 0."""
    model = LongContextResonanceNet(
        VALUES + 2, n, 512, 2, hidden_dim=64, num_frequencies=16, local_frequencies=8, output_dim=VALUES
    )
    if not bridges:
        for layer in model.layers:
            layer.gain = 0.0
    return model


def train_recall(n: int, seed: int, *, bridges: bool = True, steps: int = 100):
    """Train by Adam on fresh batches of 32 at length n; returns the model and its loss at each step."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = recall_model(n, bridges=bridges)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(steps):
        x, value = recall_batch(32, n, generator)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x)[:, -1], value)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return model, losses


@torch.no_grad()
def recall_accuracy(model: LongContextResonanceNet, n: int, seed: int, *, bridges: bool = True) -> float:
    """Share of correct answers on 64 fresh sequences of n tokens, the weights copied to a network of that window."""
    longer = recall_model(n, bridges=bridges)
    longer.load_state_dict(without_settings(model.state_dict()))
    generator = torch.Generator().manual_seed(10**6 + seed)
    right = 0
    for _ in range(16):
        x, value = recall_batch(4, n, generator)
        right += int((longer(x)[:, -1].argmax(-1) == value).sum())
    return right / 64
