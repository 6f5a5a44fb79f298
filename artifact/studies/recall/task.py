"""Multi-query associative recall: pairs of a key and a value, then every key again as a query for its value.

The task is Zoology's (Arora et al., arXiv:2312.04927; their generator `multiquery_ar`), drawn afresh for each
batch instead of from a fixed set.  Of a vocabulary of V tokens, keys are drawn from 1 .. V/2 - 1 and values from V/2 ..
V - 1, D of each, none twice in a sequence.

    position     0    1    2    3   ..  2D-2  2D-1  |  2D + 2 g_1        2D + 2 g_2  ...
    token        k_1  v_1  k_2  v_2 ..  k_D   v_D   |  k_1               k_2
    answer                                          |  v_1               v_2

The gaps g_i are D different ones of 0 .. (n - 2D)/2 - 1, drawn without replacement with probability proportional to
(g + 1)^(a - 1), a = 0.01: short gaps are likely, as in language.  All other positions hold random tokens of the whole
vocabulary, keys and values among them, and so also conflicting pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

IGNORED = -100  # no query at this position: the index that cross_entropy ignores
POWER = 0.01


class Task(NamedTuple):
    """A size of the task: tokens in the vocabulary, tokens in a sequence, pairs."""

    vocab_size: int
    length: int
    pairs: int

    def __str__(self) -> str:
        return f"({self.vocab_size}, {self.length}, {self.pairs})"


def associative_recall(
    task: Task, batch: int, generator: torch.Generator, *, fill: bool = True
) -> tuple[Tensor, Tensor]:
    """Draw a batch of sequences: tokens (batch, n) and answers (batch, n), `IGNORED` away from queries.

    fill=False leaves zero, a token that is neither key nor value, at every position that holds no pair and no query.
    Raises ValueError for a length that is odd or under 4 pairs, or a vocabulary not above the length, as the source.
    """
    vocab, n, pairs = task
    if n % 2 or pairs < 1 or 4 * pairs > n or vocab <= n or batch < 1:
        raise ValueError(
            f"expected an even length of at least 4 pairs, below the vocabulary, and a batch, got {task}, batch={batch}"
        )
    half, room = vocab // 2, n // 2 - pairs
    keys = 1 + _drawn(torch.ones(half - 1), batch, pairs, generator)
    values = half + _drawn(torch.ones(vocab - half), batch, pairs, generator)
    gaps = _drawn(torch.arange(1.0, room + 1) ** (POWER - 1), batch, pairs, generator)
    tokens, answers = torch.zeros(batch, n, dtype=torch.long), torch.full((batch, n), IGNORED)
    tokens[:, : 2 * pairs] = torch.stack([keys, values], dim=-1).flatten(1)
    tokens.scatter_(1, 2 * (pairs + gaps), keys)
    answers.scatter_(1, 2 * (pairs + gaps), values)
    if fill:
        anything = torch.randint(vocab, (batch, n), generator=generator)
        tokens = torch.where(tokens == 0, anything, tokens)
    return tokens, answers


def _drawn(weights: Tensor, batch: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` different indices a row, one after the other, each in proportion to the weights that are left."""
    return torch.multinomial(weights.expand(batch, -1), count, generator=generator)
