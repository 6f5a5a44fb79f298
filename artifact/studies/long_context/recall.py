"""Recall over a long gap: values early in the sequence are queried at its end, with bridges and without.

Tokens are one-hot: VALUES values, a blank and a query.  The first quarter is cut into as many cells as there are
symbols, each with one value at a random place; the queries stand at the ends of as many cells of the last quarter, the
last at the last token; blanks are everywhere else (the copying problem of Hochreiter and Schmidhuber 1997).  The output
at query j is value j.  A bridge's weights belong to cycles per window, so a model trained on one window runs on a
longer one with its weights unchanged.

    bridges      `LongContextResonanceNet` as it is
    mean         the control: every chunk receives the mean of all, through a small feed-forward, in place of bridges
    none         no exchange between chunks: the gain of the bridges is 0
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from artifact.studies.common.tuning import widened
from resonance.long_context import EPSILON, BridgedLayer, LongContextResonanceNet
from resonance.settings import without_settings

VALUES, DIM, LAYERS, CHUNK = 8, 64, 2, 256
VARIANTS = ("bridges", "mean", "none")
FREQUENCIES = 32  # of a bridge: sixteen cells of a quarter can be distinguished


def recall_batch(batch: int, n: int, generator: torch.Generator, symbols: int = 1) -> tuple[Tensor, Tensor]:
    """Sequences (batch, n, VALUES + 2) and the values to recall (batch, symbols), queried at `queries(n, symbols)`.

    Raises ValueError where a quarter of n has no place for every symbol.
    """
    cell = n // 4 // symbols
    if cell < 1:
        raise ValueError(f"expected n >= {4 * symbols} tokens, a quarter of {symbols} cells, got {n}")
    value = torch.randint(VALUES, (batch, symbols), generator=generator)
    place = torch.randint(cell, (batch, symbols), generator=generator) + cell * torch.arange(symbols)
    x = torch.zeros(batch, n, VALUES + 2)
    x[..., VALUES] = 1.0
    x[torch.arange(batch)[:, None], place] = F.one_hot(value, VALUES + 2).float()
    x[:, queries(n, symbols)] = F.one_hot(torch.tensor(VALUES + 1), VALUES + 2).float()
    return x, value


def queries(n: int, symbols: int) -> Tensor:
    """The places of the queries, (symbols,): ends of equal cells of the last quarter."""
    return n - 1 - (n // 4 // symbols) * torch.arange(symbols - 1, -1, -1)


class MeanLayer(BridgedLayer):
    """A bridged layer whose bridge is a feed-forward of the mean token, scaled to a mean square of 1 as a band is.

    Parameters: 2 dim (dim + 1) in place of the 2 k dim + 2 k^2 of a bridge, so that at k = dim / 2 it has more.
    """

    def __init__(self, dim: int, max_length: int, chunk_size: int, num_frequencies: int, local_frequencies: int):
        super().__init__(dim, max_length, chunk_size, num_frequencies, local_frequencies)
        self.bridge = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, h: Tensor) -> Tensor:
        u, local = self.norm(h), self.local.weight.pair() + self.local.interference.pair()
        mean = u.mean(dim=1, keepdim=True)  # (batch, 1, dim)
        mean = mean * torch.rsqrt(mean.square().mean(dim=2, keepdim=True) + EPSILON)
        return h + self.local_wave(self.local_bands(u, *local), h.shape[1]) + self.bridge(mean)


class MeanNet(LongContextResonanceNet):
    """`LongContextResonanceNet` of `MeanLayer`s, by plain autograd."""

    def __init__(self, input_dim: int, n: int, chunk: int, layers: int, *, hidden_dim: int, **bands):
        super().__init__(input_dim, n, chunk, layers, hidden_dim=hidden_dim, **bands)
        sizes = bands["num_frequencies"], bands["local_frequencies"]
        self.layers = nn.ModuleList(MeanLayer(hidden_dim, n, chunk, *sizes) for _ in range(layers))

    def _is_plain(self) -> bool:
        return True


def recall_model(n: int, variant: str = "bridges") -> LongContextResonanceNet:
    """A small network for windows of n tokens; raises ValueError for an unknown variant."""
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}: expected one of {', '.join(VARIANTS)}")
    make = MeanNet if variant == "mean" else LongContextResonanceNet
    bands = {"num_frequencies": FREQUENCIES, "local_frequencies": 8}
    model = make(VALUES + 2, n, CHUNK, LAYERS, hidden_dim=DIM, output_dim=VALUES, **bands)
    if variant == "none":
        for layer in model.layers:
            layer.gain = 0.0
    return model


def train_recall(
    n: int, seed: int, variant: str = "bridges", *, symbols: int = 1, steps: int = 100, rate: float = 6e-3
) -> tuple[LongContextResonanceNet, list[float]]:
    """Train by Adam under a one-cycle rate on fresh batches of 32 at length n: the model, its loss at each step."""
    torch.manual_seed(seed)
    generator, model, places = torch.Generator().manual_seed(seed), recall_model(n, variant), queries(n, symbols)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=0.1)
    losses = []
    for _ in range(steps):
        x, value = recall_batch(32, n, generator, symbols)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x)[:, places].flatten(0, 1), value.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return model, losses


@torch.no_grad()
def recall_scores(
    model: LongContextResonanceNet, n: int, seed: int, variant: str = "bridges", *, symbols: int = 1
) -> tuple[float, float]:
    """Share of values recalled and cross-entropy (nats) on fresh sequences of n tokens, 64 or more values.

    The weights are copied to a network of that window.
    """
    longer = recall_model(n, variant)
    longer.load_state_dict(without_settings(model.state_dict()))
    generator, sequences = torch.Generator().manual_seed(10**6 + seed), max(16, 64 // symbols)
    logits, values = [], []
    for _ in range(sequences // 4):
        x, value = recall_batch(4, n, generator, symbols)
        logits.append(longer(x)[:, queries(n, symbols)].flatten(0, 1))
        values.append(value.flatten())
    logits, values = torch.cat(logits), torch.cat(values)
    return (logits.argmax(-1) == values).double().mean().item(), F.cross_entropy(logits, values).item()


def recall_study(
    variants: Sequence[str],
    symbols: Sequence[int],
    lengths: Sequence[int],
    *,
    train_length: int,
    rates: Sequence[float],
    wider: int,
    seeds: int,
    steps: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every variant on every number of symbols: the rates tried, and the share recalled at each length by each seed.

    The rate has the lowest cross-entropy at the training length with a seed of its own, in a grid that widens
    (`widened`); one rate alone is taken as it is.  Tried: variant, symbols, value, score.  Recalled: variant, symbols,
    seed, n, accuracy.
    """
    tried, recalled = [], []
    for count in symbols:
        for variant in variants:

            def train(rate: float, seed: int, variant=variant, count=count) -> LongContextResonanceNet:
                return train_recall(train_length, seed, variant, symbols=count, steps=steps, rate=rate)[0]

            def score(rate: float, train=train, variant=variant, count=count) -> float:
                return recall_scores(train(rate, seeds), train_length, seeds, variant, symbols=count)[1]

            rate = rates[0]
            if len(rates) > 1:
                table = widened(score, rates, wider=wider).assign(variant=variant, symbols=count)
                tried.append(table)
                rate = table.loc[table["score"].idxmin(), "value"]
            for seed in range(seeds):
                model = train(rate, seed)
                for n in [train_length, *lengths]:
                    accuracy, _ = recall_scores(model, n, seed, variant, symbols=count)
                    recalled.append((variant, count, seed, n, accuracy))
    columns = ["variant", "symbols", "value", "score"]
    tried = pd.concat(tried)[columns] if tried else pd.DataFrame(columns=columns)
    return tried, pd.DataFrame(recalled, columns=["variant", "symbols", "seed", "n", "accuracy"])
