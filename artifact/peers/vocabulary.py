"""Peers of `HierarchicalEmbedding` with as many parameters: hashing, low rank, waves added instead of multiplied."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resonance.vocabulary import DigitWaves, Hierarchy, check_ids


def table(vocab_size: int, dim: int, *, std: float = 1.0) -> nn.Embedding:
    """Torch's embedding table, with entries of standard deviation `std` at the start."""
    embedding = nn.Embedding(vocab_size, dim)
    nn.init.normal_(embedding.weight, std=std)
    return embedding


class HashingEmbedding(nn.Module):
    """Sum two rows of a small table, chosen by two hash functions: ids to (*shape, dim).

    Two ids share both rows with a probability of about 2 / rows^2; one shared row is common.  With `direct`, the
    lowest ids own a row each, as in `HierarchicalEmbedding`, and only the others are hashed.
    Parameters: (rows + direct) dim.  Sources: Weinberger et al. (ICML 2009), Serra and Karatzoglou (RecSys 2017).
    """

    MULTIPLIERS = (2654435761, 2246822519)  # odd: multiplicative hashing modulo 2^32

    def __init__(self, vocab_size: int, dim: int, rows: int, *, direct: int = 0, std: float = 1.0):
        super().__init__()
        if rows < 1 or not 0 <= direct < vocab_size:
            raise ValueError(f"expected rows >= 1 and 0 <= direct < {vocab_size}, got {rows} and {direct}")
        self.vocab_size, self.dim, self.direct = vocab_size, dim, direct
        self.table = nn.Parameter(std * 0.5**0.5 * torch.randn(rows, dim))
        self.own = table(direct, dim, std=std) if direct else None

    def places(self, ids: Tensor) -> Tensor:
        """Indices of the two rows of each id, (*shape, 2)."""
        hashed = [(ids + 1) * multiplier % 2**32 for multiplier in self.MULTIPLIERS]
        # A multiplicative hash mixes its high bits best.
        return torch.stack([(value * len(self.table)) >> 32 for value in hashed], dim=-1)

    def forward(self, ids: Tensor) -> Tensor:
        ids = check_ids(ids, self.vocab_size)
        flat = ids.reshape(-1)
        rows = F.embedding_bag(self.places(flat), self.table, mode="sum")
        if self.own is not None:
            own = (flat < self.direct).nonzero().squeeze(1)
            rows = rows.index_copy(0, own, self.own(flat[own]))
        return rows.reshape(*ids.shape, self.dim)


class LowRankEmbedding(nn.Module):
    """A table of `rank` numbers an id, and a linear map from them to `dim`: ids to (*shape, dim).

    Parameters: rank (vocab_size + dim).  Source: the factorised embedding of ALBERT (Lan et al., ICLR 2020).
    """

    def __init__(self, vocab_size: int, dim: int, rank: int, *, std: float = 1.0):
        super().__init__()
        self.codes = nn.Embedding(vocab_size, rank)
        self.widen = nn.Linear(rank, dim, bias=False)
        nn.init.normal_(self.widen.weight, std=std * rank**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        return self.widen(self.codes(ids))


class SumEmbedding(nn.Module):
    """The waves of an id's digits, added: ids to (*shape, dim); no id owns a row.

    `HierarchicalEmbedding` multiplies them.  Ids that differ in one of L digits have a cosine near 1 - 1/L here.
    """

    def __init__(self, vocab_size: int, dim: int, *, levels: int = 3):
        super().__init__()
        self.hierarchy = Hierarchy(vocab_size, levels, 0)
        self.waves = DigitWaves(levels, self.hierarchy.base, dim)

    def forward(self, ids: Tensor) -> Tensor:
        ids = check_ids(ids, self.hierarchy.vocab_size)
        digits = self.hierarchy.digits(ids.reshape(-1))
        waves = self.waves()
        rows = sum(F.embedding(digit, wave) for wave, digit in zip(waves, digits, strict=True)) * len(digits) ** -0.5
        return rows.reshape(*ids.shape, waves.shape[-1])
