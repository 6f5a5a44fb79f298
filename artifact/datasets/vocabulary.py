"""Tokens of texts and their ids: words or letters, and a vocabulary of them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|[.,;:!?]")
LETTERS = " abcdefghijklmnopqrstuvwxyz"
RESERVED = ("<padding>", "<unknown>")  # ids PADDING and UNKNOWN of `resonance.models`


def words(text: str) -> list[str]:
    """The lower-case words of a text, inner apostrophes kept, and its punctuation marks, in order."""
    return WORD.findall(text.lower())


def letters(text: str) -> str:
    """A text in 27 symbols: accents dropped, lower case, every run of anything but a to z as one space."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z]+", " ", plain)


class Vocabulary:
    """Ids of tokens: first the `reserved` symbols, the last of which is any unknown token, then `tokens` in order.

    Without reserved symbols an unknown token is a KeyError.  Raises ValueError for a token given twice.
    """

    def __init__(self, tokens: Iterable[str], *, reserved: Sequence[str] = RESERVED):
        self.tokens = tuple(tokens)
        self.symbols = (*reserved, *self.tokens)  # by id
        self._unknown = len(reserved) - 1 if reserved else None
        self._ids = {token: i for i, token in enumerate(self.tokens, start=len(reserved))}
        if len(self._ids) < len(self.tokens):
            raise ValueError("expected tokens that differ, got one twice")

    @classmethod
    def of(cls, documents: Iterable[Iterable[str]], size: int, *, reserved: Sequence[str] = RESERVED) -> Vocabulary:
        """The vocabulary of at most `size` ids: the commonest tokens of some documents, ties by alphabet."""
        if size <= len(reserved):
            raise ValueError(f"expected size >= {len(reserved) + 1}, {len(reserved)} being reserved, got {size}")
        counts = Counter(token for document in documents for token in document)
        commonest = sorted(counts, key=lambda token: (-counts[token], token))
        return cls(commonest[: size - len(reserved)], reserved=reserved)

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, tokens: Iterable[str]) -> Tensor:
        """The ids of tokens, (n,) int64; a document without a token is one unknown token."""
        if self._unknown is None:
            return torch.tensor([self._ids[token] for token in tokens], dtype=torch.long)
        return torch.tensor([self._ids.get(token, self._unknown) for token in tokens] or [self._unknown])

    def decode(self, ids: Tensor) -> list[str]:
        """The symbols of ids (n,)."""
        return [self.symbols[i] for i in ids.tolist()]
