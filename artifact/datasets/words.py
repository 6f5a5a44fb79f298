"""Words of texts, or pairs of words, as ids by falling frequency: vocabularies of up to half a million types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from artifact.datasets.documents import SPLITS
from artifact.datasets.vocabulary import words


@dataclass(frozen=True)
class Tokens:
    """Texts as ids by falling frequency in the training part: the id of a type is its rank.

    inputs and targets: {"train", "validation", "test"} -> int64, position by position: targets[i] follows inputs[i].
    counts: (vocab_size,) occurrences of each target type in the training part.
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]
    input_types: int
    counts: Tensor


def _ranked(texts: list[np.ndarray], train: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """The texts with each id replaced by its rank in the training part, and the counts there, by rank."""
    types = int(max(text.max() for text in texts)) + 1
    counts = np.bincount(np.concatenate(train), minlength=types)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(types, np.int64)
    rank[order] = np.arange(types)
    return [rank[text] for text in texts], counts[order]


def tokens(texts: Sequence[str], *, pairs: bool = False, held_out: float = 0.05) -> Tokens:
    """The words of texts; the last `held_out` of each is its test part, as much before it its validation part.

    With pairs, an input is a pair of words, the one before and this one: a vocabulary of bigrams.  Targets are words.
    The types are those of all parts, ranked by the training part alone.
    """
    index: dict[str, int] = {}
    texts_ids = [np.array([index.setdefault(w, len(index)) for w in words(text)], np.int64) for text in texts]
    cut = [(round(len(t) * (1 - 2 * held_out)), round(len(t) * (1 - held_out))) for t in texts_ids]
    train = [t[:a] for t, (a, _) in zip(texts_ids, cut, strict=True)]
    targets, counts = _ranked(texts_ids, train)
    inputs, types = targets, len(index)
    if pairs:
        codes = [np.concatenate([t[:1] * types + t[:1], t[:-1] * types + t[1:]]) for t in targets]
        known = np.unique(np.concatenate(codes))
        codes = [np.searchsorted(known, t) for t in codes]
        inputs, _ = _ranked(codes, [t[:a] for t, (a, _) in zip(codes, cut, strict=True)])
        types = len(known)

    def joined(stream: list[np.ndarray], shift: slice) -> dict[str, Tensor]:
        parts = [(t[:a][shift], t[a:b][shift], t[b:][shift]) for t, (a, b) in zip(stream, cut, strict=True)]
        return {name: torch.from_numpy(np.concatenate([text[i] for text in parts])) for i, name in enumerate(SPLITS)}

    return Tokens(joined(inputs, slice(None, -1)), joined(targets, slice(1, None)), types, torch.from_numpy(counts))


def passages(tokens: Tokens, part: str, length: int, size: int, generator: torch.Generator) -> Iterator:
    """Yield batches without end of (inputs, targets), each (size, length), from places drawn at random."""
    inputs, targets = tokens.inputs[part], tokens.targets[part]
    offsets = torch.arange(length)
    while True:
        places = torch.randint(len(inputs) - length + 1, (size, 1), generator=generator) + offsets
        yield inputs[places], targets[places]
